// The table of billing lines.

import { h } from "../dom.js";
import { lineRow } from "./row.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {{ heading?: Node, lines: Line[] }} Group */

const COLUMNS = ["Company", "ConnectWise id", "Agreement", "Addition", "Usage", "Block size", "Quantity", "In ConnectWise", "Push", "Last push"];
const NUMBERS = new Set(["Usage", "Block size", "Quantity", "In ConnectWise"]);

/**
 * A table of lines, whose rows can be changed one by one.
 * @param {import("./page.js").View} view the page that it is part of
 */
export function linesTable(view) {
  const all = h("input", { type: "checkbox", "aria-label": "Select all lines of the page" });
  const heads = COLUMNS.map((name) => h("th", { scope: "col", role: "columnheader", class: NUMBERS.has(name) ? "number" : null }, name));
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("th", { scope: "col", role: "columnheader" }, all), heads));
  const table = h("table", { role: "table", class: "cards lines", "aria-label": "Billing lines" }, head);
  const frame = h("div", { class: "table-frame" }, table);
  /** @type {Map<string, HTMLTableRowElement>} */
  const rows = new Map();

  all.addEventListener("change", () => {
    for (const box of table.querySelectorAll("tbody input[data-select]")) {
      const one = /** @type {HTMLInputElement} */ (box);
      if (one.checked !== all.checked) one.click();
    }
  });

  /** @param {Line} line */
  const row = (line) => {
    const made = lineRow(line, view);
    rows.set(line.id, made);
    return made;
  };
  return {
    frame,
    /** @param {Group[]} groups */
    show(groups) {
      rows.clear();
      all.checked = false;
      view.selected.clear();
      for (const body of table.querySelectorAll("tbody")) body.remove();
      for (const group of groups) {
        const heading = h("tr", { role: "row" }, h("th", { scope: "rowgroup", role: "rowheader", colspan: COLUMNS.length + 1 }, group.heading));
        table.append(h("tbody", { role: "rowgroup" }, group.heading ? heading : null, group.lines.map(row)));
      }
      const none = groups.every((group) => group.lines.length === 0);
      if (none) table.append(h("tbody", { role: "rowgroup" }, h("tr", { role: "row" }, h("td", { role: "cell", class: "empty plain", colspan: COLUMNS.length + 1 }, "No line fits the filters."))));
    },
    /** @param {Line[]} lines */
    update(lines) {
      for (const line of lines) {
        const old = rows.get(line.id);
        if (!old) continue;
        const focused = old.contains(document.activeElement) ? document.activeElement?.getAttribute("data-part") : null;
        const made = row(line);
        made.classList.add("changed");
        old.replaceWith(made);
        // The focus stays where it was.
        if (focused) /** @type {HTMLElement | null} */ (made.querySelector(`[data-part="${focused}"]`))?.focus();
      }
    },
  };
}
