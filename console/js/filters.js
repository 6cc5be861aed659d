// Filters that the address holds.

import { h, select } from "./dom.js";
import { changed, go } from "./route.js";

/**
 * A list whose value is a filter in the address.
 * @param {import("./route.js").Route} route
 * @param {string} name
 * @param {string} label
 * @param {[string, string][]} options
 */
export function filterList(route, name, label, options) {
  const onchange = (/** @type {Event} */ event) =>
    go(changed(route, { [name]: /** @type {HTMLSelectElement} */ (event.target).value || null }));
  return select(options, route.query.get(name) ?? "", { "aria-label": label, onchange });
}

/**
 * A month that is a filter in the address.
 * @param {import("./route.js").Route} route
 */
export function monthFilter(route) {
  const input = h("input", { type: "month", value: route.query.get("month") ?? "", placeholder: "2026-11" });
  input.addEventListener("change", () => go(changed(route, { month: input.value || null })));
  return h("label", { class: "inline" }, "Month", input);
}
