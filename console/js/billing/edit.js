// Changes of one line. Each is meant for the version that is shown.

import { call, Problem } from "../api.js";
import { report } from "../notices.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */

/**
 * @param {Line} line
 * @param {Schemas["UpdateBillingLineRequest"]} body
 * @param {import("./page.js").View} view
 */
export async function changeLine(line, body, view) {
  await changing(line, view, async () => {
    const options = { path: { id: line.id }, body, version: line.version };
    view.update([await call("patch", "/api/v1/billing-lines/{id}", options)]);
  });
}

/**
 * Runs a change. If somebody else changed the line meanwhile, or the value is wrong, the row shows the line as it is.
 * @param {Line} line
 * @param {import("./page.js").View} view
 * @param {() => Promise<void>} change
 */
export async function changing(line, view, change) {
  try {
    await change();
  } catch (error) {
    if (!(error instanceof Problem) || error.status === 401) throw error;
    report(error);
    if (error.status !== 0) view.update([await call("get", "/api/v1/billing-lines/{id}", { path: { id: line.id } })]);
  }
}
