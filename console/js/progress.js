// The progress of a push job, live.

import { watch } from "./api.js";
import { h } from "./dom.js";
import { badge, plural, time } from "./format.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["PushJob"]} Job */

/** The states of lines with which nothing happens by itself. */
export const RESULTS = /** @type {const} */ ([
  "would_push",
  "pushed",
  "unchanged",
  "held",
  "skipped",
  "failed",
  "unverified",
  "cancelled",
]);
const STATES = /** @type {const} */ ([...RESULTS, "working", "pending"]);

/** Whether a preview can be pushed. @param {Job} job */
export const canBePushed = (job) => job.state === "succeeded" || job.state === "completed_with_failures";

/** Whether nothing more happens in a job until a person acts. @param {Job} job */
export const isAtRest = (job) => !["queued", "running"].includes(job.state);

/**
 * Shows a job, and follows it. `changed` is called with each new state.
 * @param {Job} first
 * @param {AbortSignal} signal
 * @param {(job: Job) => void} [changed]
 */
export function liveProgress(first, signal, changed) {
  const bar = h("progress", { max: 1, "aria-label": "Lines done" });
  const text = h("p", { class: "row", role: "status" });
  const counts = h("p", { class: "row" });
  const detail = h("p", { class: "wrong" });
  /** @param {Job} job */
  const show = (job) => {
    bar.max = Math.max(job.lines.total, 1);
    bar.value = job.lines.done;
    const rate = !isAtRest(job) && job.lines_per_minute ? `, ${plural(job.lines_per_minute, "line")} a minute` : "";
    text.replaceChildren(badge(job.state), `${job.lines.done} of ${plural(job.lines.total, "line")}${rate}`);
    if (!isAtRest(job) && job.estimated_end_at)
      text.append(h("span", { class: "muted" }, "done at about ", time(job.estimated_end_at)));
    const shown = STATES.filter((state) => job.lines[state] > 0);
    counts.replaceChildren(...shown.map((state) => h("span", null, badge(state), ` ${job.lines[state]}`)));
    detail.textContent = job.detail;
    changed?.(job);
  };
  /** @param {boolean} isLost */
  const lost = (isLost) => {
    if (isLost) detail.textContent = "The service cannot be reached. This page tries again by itself.";
  };
  show(first);
  const ended = new Promise((resolve, reject) => {
    if (isAtRest(first) && first.state !== "waiting_for_approval") return resolve(first);
    let last = first;
    watch(first.id, (job) => show((last = job)), signal, lost).then(() => resolve(last), reject);
  });
  return {
    element: h("div", { class: "stack" }, bar, text, counts, detail),
    ended: /** @type {Promise<Job>} */ (ended),
  };
}
