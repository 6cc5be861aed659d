// Settings: the connection, the schedule, and the API keys.

import { call } from "./api.js";
import { h } from "./dom.js";
import { connectionSection, readConnection } from "./settings/connection.js";
import { keysSection } from "./settings/keys.js";
import { scheduleSection } from "./settings/schedule.js";

export async function settingsPage() {
  const [connection, schedule, keys] = await Promise.all([
    readConnection(),
    call("get", "/api/v1/push-schedule"),
    call("get", "/api/v1/api-keys"),
  ]);
  const columns = h("div", { class: "columns" }, connectionSection(connection), scheduleSection(schedule));
  return { title: "Settings", content: [h("h1", null, "Settings"), columns, keysSection(keys.items)] };
}
