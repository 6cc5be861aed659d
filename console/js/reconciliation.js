// Reconciliation: what is billed against what was used, in money.

import { call, download } from "./api.js";
import { dataTable } from "./data_table.js";
import { button, framed, h } from "./dom.js";
import { filterList, monthFilter } from "./filters.js";
import { badge, decimal, money, plural, words } from "./format.js";
import { saving } from "./notices.js";
import { pager } from "./pager.js";
import { monthsPlot } from "./plot.js";
import { changed, link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */

/** @param {import("./route.js").Route} route */
export async function reconciliationPage(route) {
  const filters = {
    billing_month: route.query.get("month"),
    product_id: route.query.get("product"),
    kind: route.query.get("kind"),
    warning: route.query.get("warning"),
  };
  const sort = route.query.get("sort");
  /** @param {string} [cursor] */
  const read = (cursor) =>
    call("get", "/api/v1/reconciliation", {
      query: { ...filters, sort, limit: 50, cursor, total: cursor ? null : "true" },
    });
  const [first, history, products] = await Promise.all([
    read(),
    call("get", "/api/v1/reconciliation/history", { query: { product_id: filters.product_id } }),
    call("get", "/api/v1/products", { query: { limit: 500, sort: "name" } }),
  ]);
  const table = itemsTable();
  const pages = pager({ read, first, label: "Pages of differences", show: (page) => table.show(page.items) });
  /** @type {[string, string][]} */
  const options = [
    ["", "All products"],
    ...products.items.map((one) => /** @type {[string, string]} */ ([one.id, one.name])),
  ];
  const order = filterList(route, "sort", "Order", [
    ["", "By company"],
    ["-amount_difference", "Largest difference first"],
    ["amount_difference", "Smallest difference first"],
  ]);
  const save = button(
    "Save as CSV",
    saving(() => download("/api/v1/export/reconciliation", { query: { ...filters, bom: true } })),
    { class: "push-right" },
  );
  const unread =
    first.unread_agreements > 0
      ? h(
          "p",
          { class: "panel" },
          `The additions of ${plural(first.unread_agreements, "agreement")} were not read yet. Refresh on the page Billing.`,
        )
      : null;
  const content = [
    h("h1", null, "Reconciliation"),
    h("div", { class: "row" }, monthFilter(route), filterList(route, "product", "Product", options), order, save),
    totals(first),
    unread,
    h(
      "div",
      { class: "columns" },
      kinds(route, first),
      monthsPlot(history.items, filters.kind || filters.warning ? null : first),
    ),
    warnings(route, first),
    table.frame,
    pages.bar,
  ];
  return { title: "Reconciliation", content: content.filter((one) => one !== null) };
}

/** @param {Schemas["Reconciliation"]} found */
function totals(found) {
  /** @type {(title: string, text: string, hint: string) => HTMLElement} */
  const tile = (title, text, hint) =>
    h("li", null, h("h2", null, title), h("strong", { class: "number" }, text), h("small", { class: "muted" }, hint));
  const rows = found.totals.map((total) =>
    h(
      "ul",
      { class: "steps totals", "aria-label": `Totals in ${total.currency ?? "an unknown currency"}` },
      tile("By usage", money(total.amount, total.currency), "what the usage is worth"),
      tile("In ConnectWise", money(total.connectwise_amount, total.currency), "what its quantities bill"),
      tile(
        "Difference",
        money(total.amount_difference, total.currency),
        "where both have a quantity; above 0 means too little is billed",
      ),
      tile("Not invoiced", money(total.not_invoiced_amount, total.currency), "of what ConnectWise does not invoice"),
    ),
  );
  return h(
    "div",
    { class: "stack" },
    rows.length > 0 ? rows : h("p", { class: "panel muted" }, "Nothing has a price."),
  );
}

/** @type {(totals: Schemas["CurrencyTotals"][]) => HTMLElement[]} */
const differences = (totals) => totals.map((total) => h("div", null, money(total.amount_difference, total.currency)));

/**
 * The money by kind. Each kind is a filter.
 * @param {import("./route.js").Route} route
 * @param {Schemas["Reconciliation"]} found
 */
function kinds(route, found) {
  const now = route.query.get("kind");
  const rows = found.kinds.map((kind) => {
    const href = changed(route, { kind: now === kind.kind ? null : kind.kind });
    const without =
      kind.without_amount > 0 ? h("small", null, `${decimal(String(kind.without_amount))} not in money`) : null;
    return h(
      "tr",
      { class: now === kind.kind ? "selected" : null },
      h(
        "th",
        { scope: "row" },
        h("a", { href, "aria-current": now === kind.kind ? "true" : null }, words(kind.kind)),
        h("small", null, kind.explanation),
      ),
      h("td", { class: "number" }, decimal(String(kind.items)), without),
      h("td", { class: "number" }, differences(kind.totals)),
    );
  });
  const heads = h(
    "tr",
    null,
    h("th", { scope: "col" }, "Kind"),
    h("th", { scope: "col", class: "number" }, "Items"),
    h("th", { scope: "col", class: "number" }, "Difference"),
  );
  return h(
    "section",
    { class: "stack", "aria-label": "By kind" },
    h("h2", null, "By kind"),
    framed("By kind", h("table", null, h("thead", null, heads), h("tbody", null, rows))),
  );
}

/**
 * @param {import("./route.js").Route} route
 * @param {Schemas["Reconciliation"]} found
 */
function warnings(route, found) {
  if (found.warnings.length === 0) return null;
  const now = route.query.get("warning");
  const rows = found.warnings.map((one) => {
    const href = changed(route, { warning: now === one.code ? null : one.code });
    const amounts = one.amounts.map((amount) => money(amount.amount, amount.currency)).join(", ");
    return h(
      "li",
      null,
      h("a", { href, "aria-current": now === one.code ? "true" : null }, words(one.code)),
      `: ${plural(one.items, "item")}, ${amounts || "no price"}. ${one.explanation}`,
    );
  });
  return h(
    "section",
    { class: "panel stack" },
    h("h2", null, "Effects on the ConnectWise invoice"),
    h("ul", null, rows),
  );
}

function itemsTable() {
  /** @type {import("./data_table.js").Column<Schemas["ReconciliationItem"]>[]} */
  const columns = [
    { name: "Company", kind: "heading", show: company },
    { name: "Product", show: (item) => item.product_code },
    { name: "Month", kind: "number", show: (item) => item.billing_month },
    {
      name: "Addition",
      show: (item) => [item.addition_name ?? "–", item.agreement_name ? h("small", null, item.agreement_name) : null],
    },
    { name: "Usage", kind: "number", show: (item) => decimal(item.usage) },
    { name: "Quantity", kind: "quantity", show: (item) => decimal(item.quantity) },
    { name: "In ConnectWise", kind: "number", show: (item) => decimal(item.connectwise_quantity) },
    { name: "Difference", kind: "number", show: (item) => decimal(item.quantity_difference) },
    {
      name: "In money",
      kind: "number",
      show: (item) => [
        money(item.amount_difference, item.currency),
        item.not_invoiced ? h("small", null, "not invoiced") : null,
      ],
    },
    { name: "Why", show: why },
  ];
  return dataTable("Differences", columns, "No item matches the filters.");
}

/** @param {Schemas["ReconciliationItem"]} item */
function company(item) {
  if (item.company_id === null) return item.company_name;
  return h("a", { href: link("billing", { product: item.product_id, search: item.company_name }) }, item.company_name);
}

/** @param {Schemas["ReconciliationItem"]} item */
function why(item) {
  const warned = item.warnings.map((warning) => h("small", null, badge(warning.code), ` ${warning.explanation}`));
  return [badge(item.kind), h("small", null, item.problem ?? item.explanation), warned];
}
