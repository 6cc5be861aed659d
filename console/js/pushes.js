// The pushes: the jobs, the ledger of what was written, and one job.

import { call, download } from "./api.js";
import { dataTable } from "./data_table.js";
import { button, h } from "./dom.js";
import { filterList, monthFilter } from "./filters.js";
import { badge, plural, startedBy, time, words } from "./format.js";
import { saving } from "./notices.js";
import { pager } from "./pager.js";
import { jobPage } from "./push_job.js";
import { pushLinesTable } from "./push_lines.js";
import { link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */

/** @param {import("./route.js").Route} route */
export async function pushesPage(route) {
  if (route.id !== null) return jobPage(route, route.id);
  const isLedger = route.query.get("view") === "lines";
  /** @type {(text: string, view: string | null) => HTMLElement} */
  const tab = (text, view) =>
    h(
      "li",
      null,
      h("a", { href: link("pushes", { view }), "aria-current": isLedger === (view !== null) ? "true" : null }, text),
    );
  const tabs = h(
    "ul",
    { class: "tabs", "aria-label": "Views" },
    tab("Push jobs", null),
    tab("Ledger of lines", "lines"),
  );
  const content = isLedger ? await ledger(route) : await jobs(route);
  return { title: "Pushes", content: [h("h1", null, "Pushes"), tabs, ...content] };
}

/** @param {import("./route.js").Route} route */
async function jobs(route) {
  const query = {
    kind: route.query.get("kind"),
    state: route.query.get("state"),
    billing_month: route.query.get("month"),
    limit: 25,
  };
  /** @param {string} [cursor] */
  const read = (cursor) => call("get", "/api/v1/push-jobs", { query: { ...query, cursor } });
  const table = jobsTable();
  const pages = pager({
    read,
    first: await read(),
    label: "Pages of push jobs",
    show: (page) => table.show(page.items),
  });
  const kinds = filterList(route, "kind", "Kind", [
    ["", "Pushes and previews"],
    ["push", "Pushes"],
    ["dry_run", "Previews"],
  ]);
  const states = [
    "queued",
    "running",
    "succeeded",
    "waiting_for_approval",
    "completed_with_failures",
    "failed",
    "cancelled",
  ];
  const state = filterList(route, "state", "State", [
    ["", "Any state"],
    ...states.map((one) => /** @type {[string, string]} */ ([one, words(one)])),
  ]);
  return [h("div", { class: "row" }, kinds, state, monthFilter(route)), table.frame, pages.bar];
}

function jobsTable() {
  /** @type {import("./data_table.js").Column<Schemas["PushJob"]>[]} */
  const columns = [
    {
      name: "Started",
      kind: "heading",
      show: (job) => h("a", { href: link(`pushes/${job.id}`) }, time(job.created_at)),
    },
    { name: "Kind", show: (job) => (job.kind === "dry_run" ? "preview" : "push") },
    { name: "By", show: (job) => [job.requested_by, h("small", null, startedBy(job.trigger))] },
    { name: "Months", show: (job) => job.billing_months.join(", ") },
    {
      name: "State",
      show: (job) => [badge(job.state), job.detail ? h("small", { class: "wrong" }, job.detail) : null],
    },
    { name: "Lines", show: (job) => [plural(job.lines.total, "line"), h("small", null, counts(job))] },
  ];
  return dataTable("Push jobs", columns, "No push matches the filters.");
}

/** @param {Schemas["PushJob"]} job */
function counts(job) {
  const states = /** @type {const} */ ([
    "pushed",
    "would_push",
    "unchanged",
    "held",
    "skipped",
    "failed",
    "unverified",
  ]);
  return states
    .filter((state) => job.lines[state] > 0)
    .map((state) => `${job.lines[state]} ${words(state)}`)
    .join(", ");
}

/** @param {import("./route.js").Route} route */
async function ledger(route) {
  const filters = { kind: "push", state: route.query.get("state"), billing_month: route.query.get("month") };
  /** @param {string} [cursor] */
  const read = (cursor) => call("get", "/api/v1/push-lines", { query: { ...filters, limit: 50, cursor } });
  const table = pushLinesTable("Push lines", { withJob: true });
  const pages = pager({
    read,
    first: await read(),
    label: "Pages of push lines",
    show: (page) => table.show(page.items),
  });
  const states = [
    ["", "Any state"],
    ["pushed", "Pushed"],
    ["unchanged", "Unchanged"],
    ["held", "Held"],
    ["skipped", "Skipped"],
    ["failed,unverified", "Failed or unverified"],
  ];
  const state = filterList(route, "state", "State", /** @type {[string, string][]} */ (states));
  const save = button(
    "Save as CSV",
    saving(() => download("/api/v1/export/push-lines", { query: { ...filters, bom: true } })),
    { class: "push-right" },
  );
  return [h("div", { class: "row" }, state, monthFilter(route), save), table.frame, pages.bar];
}
