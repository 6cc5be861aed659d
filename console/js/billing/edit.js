// Changes of lines. Each is meant for the version that this page knows, so that what others changed is not overwritten.

import { call, Problem } from "../api.js";
import { report } from "../notices.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {import("./page.js").View} View */

/**
 * Changes the settings of a line. Quick changes of one line are sent one after another, each for the version that the one
 * before left.
 * @param {string} id
 * @param {Schemas["UpdateBillingLineRequest"]} body
 * @param {View} view
 */
export function changeLine(id, body, view) {
  const change = async () => {
    try {
      await changing(id, view, async () => {
        const options = { path: { id }, body, version: view.line(id).version };
        view.update([await call("patch", "/api/v1/billing-lines/{id}", options)]);
      });
    } catch (error) {
      report(error);
    }
  };
  const done = (view.changes.get(id) ?? Promise.resolve()).then(change);
  view.changes.set(id, done);
  return done;
}

/**
 * Runs a change of a line. If it fails, the row shows the line as it is now.
 * @param {string} id
 * @param {View} view
 * @param {() => Promise<void>} change
 */
export async function changing(id, view, change) {
  try {
    await change();
  } catch (error) {
    if (!(error instanceof Problem) || error.status === 401) throw error;
    const now = await call("get", "/api/v1/billing-lines/{id}", { path: { id } }).catch(() => view.line(id));
    view.update([now], { restore: true });
    throw error;
  }
}
