// Writes values for people. Decimals stay text: a number of JavaScript would round them.

import { h, hiddenText } from "./dom.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */

/**
 * A decimal with commas between thousands. "–" means that there is none.
 * @param {string | null | undefined} value
 */
export function decimal(value) {
  if (value === null || value === undefined) return "–";
  const [whole = "", fraction] = value.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction ? `${grouped}.${fraction}` : grouped;
}

/**
 * The exact sum of two decimals.
 * @param {string} one
 * @param {string} other
 */
export function sum(one, other) {
  const places = Math.max(...[one, other].map((value) => value.split(".")[1]?.length ?? 0));
  const whole = (/** @type {string} */ value) => {
    const [integer = "", fraction = ""] = value.split(".");
    return BigInt(integer + fraction.padEnd(places, "0"));
  };
  const total = whole(one) + whole(other);
  const digits = String(total < 0n ? -total : total).padStart(places + 1, "0");
  const integer = digits.slice(0, digits.length - places);
  return `${total < 0n ? "-" : ""}${integer}${places > 0 ? `.${digits.slice(-places)}` : ""}`;
}

/**
 * An amount of money, with at least two decimals.
 * @param {string | null | undefined} amount
 * @param {string | null | undefined} currency
 */
export function money(amount, currency) {
  if (amount === null || amount === undefined) return "–";
  const [whole = "", fraction = ""] = amount.split(".");
  return `${decimal(whole)}.${fraction.padEnd(2, "0")} ${currency ?? ""}`.trim();
}

/** @param {number} value */
const two = (value) => String(value).padStart(2, "0");

/**
 * A time in the browser's time zone, to the minute.
 * @param {string | null | undefined} value
 */
export function time(value) {
  if (!value) return "–";
  const at = new Date(value);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return h("time", { datetime: value, title: value }, `${day} ${two(at.getHours())}:${two(at.getMinutes())}`);
}

/**
 * A value of the API, as words: `completed_with_failures` becomes "completed with failures".
 * @param {string | null | undefined} value
 */
export function words(value) {
  return value ? value.replaceAll("_", " ") : "–";
}

/** @type {Record<string, string>} */
const STARTED = {
  manual: "by hand",
  schedule: "by the schedule",
  retry: "as a retry",
  dry_run: "from a preview",
  revert: "to revert a push",
};

/**
 * How a push job was started.
 * @param {Schemas["PushTrigger"]} trigger
 */
export const startedBy = (trigger) => STARTED[trigger] ?? words(trigger);

/** @type {Record<string, string>} */
const TONES = {
  resolved: "good",
  pushed: "good",
  unchanged: "good",
  succeeded: "good",
  agrees: "good",
  chosen: "good",
  ambiguous: "warn",
  unresolved: "warn",
  held: "warn",
  unverified: "warn",
  waiting_for_approval: "warn",
  completed_with_failures: "warn",
  stale: "bad",
  failed: "bad",
};

/**
 * A state as a badge.
 * @param {string} value
 */
export function badge(value) {
  return h("span", { class: `badge ${TONES[value] ?? ""}` }, words(value));
}

/**
 * What was measured, or why there is nothing. No usage is "–"; a silent meter is said in words, because zero and silence
 * bill differently.
 * @param {Schemas["LineUsage"]} usage
 */
export function usageCell(usage) {
  if (usage.amount !== null) return [`${decimal(usage.amount)} ${usage.unit}`];
  if (usage.reason === "usage_too_old") {
    return [h("span", { class: "badge bad" }, "silent meter"), h("small", null, usage.problem ?? usage.explanation)];
  }
  return [
    h("span", { title: usage.explanation ?? "", "aria-hidden": "true" }, "–"),
    hiddenText(usage.explanation ?? "none"),
  ];
}

/**
 * "1 line", "2 lines".
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${decimal(String(count))} ${count === 1 ? one : many}`;
}
