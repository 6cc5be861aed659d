// A table of push lines: what was, or would be, written.

import { dataTable } from "./data_table.js";
import { h } from "./dom.js";
import { badge, decimal, startedBy, time } from "./format.js";
import { link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["PushLine"] & { push_job?: Schemas["PushLineJob"] }} PushLine */

/**
 * @param {string} label
 * @param {{ select?: (line: PushLine) => HTMLElement | null, withJob?: boolean }} [options]
 */
export function pushLinesTable(label, options = {}) {
  /** @type {import("./data_table.js").Column<PushLine>[]} */
  const columns = [
    { name: "Company", kind: "heading", show: (line) => line.company_name },
    { name: "Product", show: (line) => line.product_code },
    { name: "Month", kind: "number", show: (line) => line.billing_month },
    {
      name: "Addition",
      show: (line) => [line.addition_name ?? "–", line.agreement_name ? h("small", null, line.agreement_name) : null],
    },
    { name: "From", kind: "number", show: (line) => decimal(line.from ?? line.expected_from) },
    { name: "To", kind: "quantity", show: (line) => decimal(line.to) },
    { name: "State", show: state },
    { name: "When", show: (line) => time(line.finished_at) },
  ];
  const { select } = options;
  if (select) columns.unshift({ name: "Select", show: select });
  if (options.withJob) columns.push({ name: "Push", show: job });
  return dataTable(label, columns, "No line matches the filters.");
}

/** @param {PushLine} line */
function state(line) {
  const isWrong = line.state === "failed" || line.state === "unverified";
  return [
    badge(line.state),
    line.explanation ? h("small", { class: isWrong ? "wrong" : null }, line.explanation) : null,
    // What ConnectWise or the service reported, beside what to do about it.
    line.detail && line.detail !== line.explanation ? h("small", null, line.detail) : null,
    line.decided_by ? h("small", null, `decided by ${line.decided_by}`) : null,
  ];
}

/** @param {PushLine} line */
function job(line) {
  if (!line.push_job) return null;
  return [
    h("a", { href: link(`pushes/${line.push_job.id}`) }, line.push_job.requested_by),
    h("small", null, startedBy(line.push_job.trigger)),
  ];
}
