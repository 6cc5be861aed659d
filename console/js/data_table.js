// A table of one kind of rows. On narrow windows each row is a card with the columns' names.

import { framed, h } from "./dom.js";

/**
 * @template Item
 * @typedef {object} Column
 * @property {string} name
 * @property {(item: Item) => import("../types/dom.js").Child} show
 * @property {"heading" | "number" | "quantity" | "text"} [kind]
 */

/** @type {Record<string, string>} */
const CLASSES = { number: "number", quantity: "number quantity" };

/**
 * @template Item
 * @param {string} label
 * @param {Column<Item>[]} columns
 * @param {string} none what stands where there is no row
 */
export function dataTable(label, columns, none) {
  const heads = columns.map((column) =>
    h("th", { scope: "col", role: "columnheader", class: CLASSES[column.kind ?? ""] }, column.name),
  );
  const body = h("tbody", { role: "rowgroup" });
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
  const table = h("table", { role: "table", class: "cards", "aria-label": label }, head, body);
  /** @param {Item} item */
  const row = (item) =>
    h(
      "tr",
      { role: "row" },
      columns.map((column) => cell(column, item)),
    );
  return {
    frame: framed(label, table),
    /** @param {Item[]} items */
    show(items) {
      const empty = h(
        "tr",
        { role: "row" },
        h("td", { role: "cell", class: "empty plain", colspan: columns.length }, none),
      );
      body.replaceChildren(...(items.length > 0 ? items.map(row) : [empty]));
    },
  };
}

/**
 * @template Item
 * @param {Column<Item>} column
 * @param {Item} item
 */
function cell(column, item) {
  const content = column.show(item);
  if (column.kind === "heading") return h("th", { scope: "row", role: "rowheader" }, h("div", null, content));
  return h(
    "td",
    { role: "cell", "data-label": column.name, class: CLASSES[column.kind ?? ""] },
    h("div", null, content),
  );
}
