// The table of billing lines.

import { framed, h, hiddenText } from "../dom.js";
import { keepFocus } from "../focus.js";
import { lineRow } from "./row.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {{ heading?: Node, lines: Line[] }} Group */

/**
 * Replaces the cells of a row. A field in which somebody types stays; it gets the new value if nothing else was typed, or if
 * `restore` says so.
 * @param {HTMLTableRowElement} old
 * @param {HTMLTableRowElement} made
 * @param {boolean} restore
 */
function redraw(old, made, restore) {
  const active = document.activeElement;
  const field = active instanceof HTMLInputElement && active.type !== "checkbox" ? active : null;
  for (const cell of [...old.children]) {
    const next = made.children[0];
    if (!next) break;
    if (!field || !cell.contains(field)) {
      cell.replaceWith(next);
      continue;
    }
    const drawn = /** @type {HTMLInputElement} */ (next.querySelector("input"));
    next.remove();
    field.className = drawn.className;
    field.title = drawn.title;
    if (!restore && field.value !== field.defaultValue) continue;
    field.defaultValue = drawn.value;
    // To set the same value would lose what is selected in it.
    if (field.value !== drawn.value) field.value = drawn.value;
  }
  old.className = `${made.className} changed`;
}

const COLUMNS = [
  "Company",
  "ConnectWise id",
  "Agreement",
  "Addition",
  "Usage",
  "Block size",
  "Quantity",
  "In ConnectWise",
  "Push",
  "Last push",
];
const NUMBERS = new Set(["Usage", "Block size", "Quantity", "In ConnectWise"]);

/**
 * A table of lines, whose rows can be changed one by one.
 * @param {import("./page.js").View} view the page that it is part of
 */
export function linesTable(view) {
  const heads = COLUMNS.map((name) =>
    h("th", { scope: "col", role: "columnheader", class: NUMBERS.has(name) ? "number" : null }, name),
  );
  const head = h(
    "thead",
    { role: "rowgroup" },
    h("tr", { role: "row" }, h("th", { scope: "col", role: "columnheader" }, hiddenText("Select")), heads),
  );
  const table = h("table", { role: "table", class: "cards lines", "aria-label": "Billing lines" }, head);
  const all = h("input", { type: "checkbox", "data-part": "all" });
  const selectAll = h("label", { class: "choice" }, all, "Select all lines that are shown");
  const frame = h("div", { class: "stack" }, selectAll, framed("Billing lines", table));
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
      for (const body of table.querySelectorAll("tbody")) body.remove();
      for (const group of groups) {
        const heading = h(
          "tr",
          { role: "row" },
          h("th", { scope: "rowgroup", role: "rowheader", colspan: COLUMNS.length + 1 }, group.heading),
        );
        table.append(h("tbody", { role: "rowgroup" }, group.heading ? heading : null, group.lines.map(row)));
      }
      const none = groups.every((group) => group.lines.length === 0);
      if (none)
        table.append(
          h(
            "tbody",
            { role: "rowgroup" },
            h(
              "tr",
              { role: "row" },
              h(
                "td",
                { role: "cell", class: "empty plain", colspan: COLUMNS.length + 1 },
                "No line matches the filters.",
              ),
            ),
          ),
        );
    },
    /** @param {string} id */
    shows: (id) => rows.has(id),
    /** Unticks what selects all. */
    clear() {
      all.checked = false;
      for (const box of table.querySelectorAll("input[data-select]")) {
        /** @type {HTMLInputElement} */ (box).checked = false;
        box.closest("tr")?.classList.remove("selected");
      }
    },
    /**
     * Draws rows again. What is being typed stays, unless a change failed: then the row shows what is saved.
     * @param {Line[]} lines
     * @param {boolean} restore
     */
    update(lines, restore) {
      for (const line of lines) {
        const old = rows.get(line.id);
        if (!old) continue;
        keepFocus(() => redraw(old, lineRow(line, view), restore));
      }
    },
  };
}
