// The search and the filters of the lines.

import { h } from "../dom.js";
import { filterList } from "../filters.js";
import { changed, go } from "../route.js";

/** @typedef {import("./page.js").View} View */

/**
 * The search, the filters and the order, which the address holds.
 * @param {View} view
 */
export function toolbar(view) {
  const query = view.route.query;
  const search = h("input", {
    type: "search",
    value: query.get("search") ?? "",
    placeholder: "Company or identifier",
    "aria-label": "Search companies",
    maxlength: 300,
  });
  const find = h("form", { class: "row", role: "search" }, search, h("button", null, "Search"));
  find.addEventListener("submit", (event) => {
    event.preventDefault();
    go(changed(view.route, { search: search.value.trim() || null }));
  });
  const enabled = filterList(view.route, "enabled", "Push enabled", [
    ["", "Push: any"],
    ["true", "Push enabled"],
    ["false", "Push not enabled"],
  ]);
  const last = filterList(view.route, "last_push", "Last result", [
    ["", "Any last result"],
    ["pushed", "Pushed"],
    ["unchanged", "Unchanged"],
    ["skipped", "Skipped"],
    ["held", "Held"],
    ["failed,unverified", "Failed or unverified"],
  ]);
  const dated = filterList(view.route, "out_of_date", "Out of date", [
    ["", "Out of date: any"],
    ["true", "Out of date"],
    ["false", "Up to date"],
  ]);
  const sort = filterList(view.route, "sort", "Order", [
    ["", "By company"],
    ["-company_name", "By company, reversed"],
    ["company_external_id", "By external id"],
    ["agreement_status", "By agreement status"],
    ["addition_status", "By addition status"],
    ["-created_at", "Newest first"],
  ]);
  const group = h(
    "a",
    {
      class: "button",
      href: changed(view.route, { view: view.grouped ? null : "grouped", need: null, attention: null }),
    },
    view.grouped ? "Show as a list" : "Group by what is needed",
  );
  return h("div", { class: "row" }, find, enabled, last, dated, sort, group);
}
