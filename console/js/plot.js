// A plot of money by month: by usage beside in ConnectWise.

import { framed, h, svg } from "./dom.js";
import { badge, money, sum } from "./format.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */

const WIDTH = 560;
const HEIGHT = 220;
const BOTTOM = 190;
const LEFT = 8;

/** @typedef {Pick<Schemas["ReconciliationMonth"], "billing_month" | "product_name"> & { totals: Total[] }} Month */
/** @typedef {Schemas["CurrencyTotals"] & Partial<Schemas["MonthlyTotals"]>} Total */

/**
 * What was recorded of each month, as a plot and as a table for each currency.
 * @param {Schemas["ReconciliationMonth"][]} recorded
 * @param {Schemas["Reconciliation"] | null} now what is found now; its months that were not recorded yet are shown, too
 */
export function monthsPlot(recorded, now) {
  const known = new Set(recorded.map((month) => `${month.product_id} ${month.billing_month}`));
  const open = (now?.products ?? []).filter((one) => !known.has(`${one.product_id} ${one.billing_month}`));
  /** @type {Month[]} */
  const months = [...open, ...recorded];
  const section = h("section", { class: "stack", "aria-label": "By month" }, h("h2", null, "By month"));
  const currencies = [...new Set(months.flatMap((month) => month.totals.map((total) => total.currency)))];
  for (const currency of currencies) section.append(plot(months, currency), table(months, currency));
  const scheduled =
    "Earlier months show what the scheduled push found before it wrote. Months without a scheduled push are not shown.";
  section.append(
    currencies.length > 0
      ? h("p", { class: "muted" }, scheduled)
      : h("p", { class: "panel muted" }, "Nothing has a price yet."),
  );
  return section;
}

/**
 * The sums of all products by month.
 * @param {Month[]} months
 * @param {string | null} currency
 */
function sums(months, currency) {
  /** @type {Map<string, { ours: string, theirs: string }>} */
  const found = new Map();
  for (const month of months) {
    for (const total of month.totals.filter((one) => one.currency === currency)) {
      const known = found.get(month.billing_month) ?? { ours: "0", theirs: "0" };
      found.set(month.billing_month, {
        ours: sum(known.ours, total.amount ?? "0"),
        theirs: sum(known.theirs, total.connectwise_amount ?? "0"),
      });
    }
  }
  return [...found].sort(([a], [b]) => a.localeCompare(b)).slice(-12);
}

/**
 * @param {Month[]} months
 * @param {string | null} currency
 */
function plot(months, currency) {
  const bars = sums(months, currency);
  const largest = Math.max(1, ...bars.flatMap(([, one]) => [one.ours, one.theirs].map(Number)));
  const step = (WIDTH - LEFT * 2) / Math.max(bars.length, 1);
  const width = Math.min(step * 0.36, 40);
  const unit = currency ?? "no currency";
  const drawing = svg("svg", {
    class: "plot",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": `Billed by month, in ${unit}. The table below has the numbers.`,
  });
  drawing.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - LEFT, y1: BOTTOM, y2: BOTTOM }));
  bars.forEach(([month, one], index) => {
    const middle = LEFT + step * (index + 0.5);
    /** @type {(kind: "ours" | "theirs", x: number, value: string) => Element} */
    const bar = (kind, x, value) => {
      // Only the bars' heights are rounded.
      const height = (Math.max(Number(value), 0) / largest) * (BOTTOM - 10);
      const title = svg(
        "title",
        null,
        `${month}: ${money(value, currency)} ${kind === "ours" ? "by usage" : "in ConnectWise"}`,
      );
      return svg("rect", { class: kind, x, y: BOTTOM - height, width, height, rx: 2 }, title);
    };
    drawing.append(bar("ours", middle - width - 1, one.ours), bar("theirs", middle + 1, one.theirs));
    drawing.append(svg("text", { x: middle, y: BOTTOM + 18, "text-anchor": "middle" }, month));
  });
  const key = h(
    "p",
    { class: "row muted" },
    h("span", { class: "key ours" }),
    "by usage",
    h("span", { class: "key theirs" }),
    `in ConnectWise (${unit})`,
  );
  return h("div", { class: "panel stack" }, drawing, key);
}

/**
 * @param {Month[]} months
 * @param {string | null} currency
 */
function table(months, currency) {
  const rows = months.flatMap((month) =>
    month.totals
      .filter((total) => total.currency === currency)
      .map((total) =>
        h(
          "tr",
          null,
          h("th", { scope: "row", class: "number" }, month.billing_month),
          h("td", null, month.product_name),
          h("td", { class: "number" }, money(total.amount, currency)),
          h("td", { class: "number" }, money(total.connectwise_amount, currency)),
          h(
            "td",
            { class: "number" },
            !total.change_percent ? "–" : `${total.change_percent} %`,
            total.changed_notably ? [" ", badge("changed notably")] : null,
          ),
        ),
      ),
  );
  const heads = ["Month", "Product", "By usage", "In ConnectWise", "Change"].map((name, index) =>
    h("th", { scope: "col", class: index > 1 ? "number" : null }, name),
  );
  return framed(
    `By month, in ${currency ?? "no currency"}`,
    h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null, rows)),
  );
}
