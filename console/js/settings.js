// Settings: the connection, the schedule, and the API keys.

import { call, Problem } from "./api.js";
import { h } from "./dom.js";
import { connectionSection } from "./settings/connection.js";
import { keysSection } from "./settings/keys.js";
import { scheduleSection } from "./settings/schedule.js";

export async function settingsPage() {
  const [connection, schedule, keys] = await Promise.all([
    call("get", "/api/v1/connection").catch((error) => {
      // There is none yet.
      if (error instanceof Problem && error.status === 404) return null;
      throw error;
    }),
    call("get", "/api/v1/push-schedule"),
    call("get", "/api/v1/api-keys"),
  ]);
  const columns = h("div", { class: "columns" }, connectionSection(connection), scheduleSection(schedule));
  return { title: "Settings", content: [h("h1", null, "Settings"), columns, keysSection(keys.items)] };
}
