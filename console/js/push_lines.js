// A table of push lines: what was, or would be, written.

import { h } from "./dom.js";
import { badge, decimal, time } from "./format.js";
import { link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["PushLine"]} PushLine */

/**
 * @param {string} label
 * @param {{ select?: (line: PushLine) => HTMLElement | null, withJob?: boolean }} [options]
 */
export function pushLinesTable(label, options = {}) {
  const names = ["Company", "Product", "Month", "Addition", "From", "To", "State", "When"];
  if (options.withJob) names.push("Push");
  const heads = names.map((name) => h("th", { scope: "col", role: "columnheader", class: name === "From" || name === "To" ? "number" : null }, name));
  const first = options.select ? h("th", { scope: "col", role: "columnheader" }, h("span", { class: "hidden-text" }, "Select")) : null;
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { role: "table", class: "cards", "aria-label": label }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, first, heads)), body);
  return {
    frame: h("div", { class: "table-frame" }, table),
    /** @param {(PushLine & { push_job?: Schemas["LineJob"] })[]} lines */
    show(lines) {
      body.replaceChildren(...lines.map((line) => pushLineRow(line, options)));
      const columns = heads.length + (first ? 1 : 0);
      if (lines.length === 0) body.append(h("tr", { role: "row" }, h("td", { role: "cell", class: "empty plain", colspan: columns }, "There is no such line.")));
    },
  };
}

/**
 * @param {PushLine & { push_job?: Schemas["LineJob"] }} line
 * @param {{ select?: (line: PushLine) => HTMLElement | null, withJob?: boolean }} options
 */
function pushLineRow(line, options) {
  /** @type {(label: string, attributes: Record<string, any> | null, ...children: any[]) => HTMLElement} */
  const cell = (label, attributes, ...children) => h("td", { role: "cell", "data-label": label, ...attributes }, h("div", null, children));
  const why = line.explanation ? h("small", { class: ["failed", "unverified"].includes(line.state) ? "wrong" : null }, line.explanation) : null;
  // The service's own words add what ConnectWise reported.
  const detail = line.detail && line.detail !== line.explanation ? h("small", null, line.detail) : null;
  const decided = line.decided_by ? h("small", null, `decided by ${line.decided_by}`) : null;
  const row = h("tr", { role: "row", "data-push-line": line.id });
  if (options.select) row.append(cell("Select", null, options.select(line)));
  row.append(
    h("th", { scope: "row", role: "rowheader" }, line.company_name),
    cell("Product", null, line.product_code),
    cell("Month", { class: "number" }, line.billing_month),
    cell("Addition", null, line.addition_name ?? "–", line.agreement_name ? h("small", null, line.agreement_name) : null),
    cell("From", { class: "number" }, decimal(line.from ?? line.expected_from)),
    cell("To", { class: "number quantity" }, decimal(line.to)),
    cell("State", null, badge(line.state), why, detail, decided),
    cell("When", null, time(line.finished_at)),
  );
  if (options.withJob && line.push_job) {
    row.append(cell("Push", null, h("a", { href: link(`pushes/${line.push_job.id}`) }, line.push_job.requested_by), h("small", null, line.push_job.started_by)));
  }
  return row;
}
