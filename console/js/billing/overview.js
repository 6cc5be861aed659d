// What stands over the lines: the steps of the month's end, the products, and what lines need.

import { button, h } from "../dom.js";
import { decimal } from "../format.js";
import { reporting } from "../notices.js";
import { openPush } from "../push_now.js";
import { changed, link } from "../route.js";
import { openMatching } from "./matching.js";

/** @typedef {import("./page.js").View} View */

/** @type {Record<string, string>} */
export const NEEDS = {
  company: "Match the company",
  agreement: "Choose the agreement",
  addition: "Choose the addition",
  approval: "Approve",
  failure: "Look into the failure",
};

/**
 * The number of lines that need something.
 * @param {View} view
 * @param {string} need
 */
const count = (view, need) => view.summary.needs.find((one) => one.need === need)?.lines ?? 0;

/**
 * The products, each with the number of lines that need attention.
 * @param {View} view
 */
export function productTabs(view) {
  const items = view.summaries.map((one) => {
    const current = one.product_id === view.summary.product_id;
    const href = link("billing", { product: one.product_id, view: view.route.query.get("view") });
    const attention = h(
      "span",
      { class: "badge warn" },
      String(one.needs_attention),
      h("span", { class: "hidden-text" }, " need attention"),
    );
    return h(
      "li",
      null,
      h(
        "a",
        { href, "aria-current": current ? "true" : null },
        one.product_name,
        one.needs_attention ? attention : null,
      ),
    );
  });
  return h("ul", { class: "tabs", "aria-label": "Products" }, items);
}

/**
 * What lines need, as filters.
 * @param {View} view
 */
export function needChips(view) {
  const query = view.route.query;
  // The counts are of the whole product.
  const number = (/** @type {number} */ count) =>
    view.isNarrowed ? null : h("span", { class: "number muted" }, decimal(String(count)));
  /** @type {(text: string, count: number, changes: Record<string, string | null>) => HTMLElement} */
  const chip = (text, count, changes) => {
    const current = !view.grouped && ["need", "attention"].every((name) => (changes[name] ?? null) === query.get(name));
    const href = changed(view.route, { need: null, attention: null, view: null, ...changes });
    return h("li", null, h("a", { href, "aria-current": current ? "true" : null }, text, number(count)));
  };
  const needs = view.summary.needs.map((one) => chip(NEEDS[one.need] ?? one.need, one.lines, { need: one.need }));
  const ready = view.summary.lines - view.summary.needs_attention;
  return h(
    "ul",
    { class: "chips", "aria-label": "What lines need" },
    chip("All", view.summary.lines, {}),
    needs,
    chip("Ready", ready, { attention: "false" }),
  );
}

/**
 * The steps of a month's end, each with what is left of it.
 * @param {View} view
 */
export function monthEnd(view) {
  if (view.summary.lines === 0)
    return h("p", { class: "panel" }, "There is no company yet. Companies and their usage come in through the API.");
  const unmatched = count(view, "company");
  const unresolved = count(view, "agreement") + count(view, "addition");
  const waiting = count(view, "approval") + count(view, "failure");
  /** @type {(title: string, left: string, done: boolean, ...more: import("../dom.js").Child[]) => HTMLElement} */
  const step = (title, left, done, ...more) =>
    h(
      "li",
      { class: done ? "done" : null },
      h("h2", null, title),
      h("strong", null, left),
      h("div", { class: "row" }, more),
    );
  /** @param {string} need */
  const show = (need) =>
    h(
      "a",
      { href: link("billing", { product: view.summary.product_id, need }), "data-part": `show ${need}` },
      "Show them",
    );
  return h(
    "ol",
    { class: "steps", "aria-label": "The month's end" },
    step(
      "Match companies",
      unmatched ? `${decimal(String(unmatched))} not matched` : "All matched",
      !unmatched,
      unmatched ? show("company") : null,
      unmatched
        ? button(
            "Match automatically",
            reporting(() => openMatching(view)),
            { class: "link" },
          )
        : null,
    ),
    step(
      "Refresh",
      "From ConnectWise",
      false,
      button(
        "Refresh now",
        reporting(() => view.refresh()),
        { class: "link" },
      ),
    ),
    step(
      "Resolve",
      unresolved ? `${decimal(String(unresolved))} to choose` : unmatched ? "None to choose" : "All resolved",
      !unresolved && !unmatched,
      unresolved
        ? show("agreement,addition")
        : h("a", { href: link("rules", { product: view.summary.product_id }) }, "Rules"),
    ),
    step(
      "Check and push",
      waiting ? `${decimal(String(waiting))} to look at` : "Nothing to check",
      !waiting,
      waiting ? show("approval,failure") : null,
      button("Push now", () => openPush(view, view.selected.lines), {
        class: "link",
        "aria-label": "Push now, from step 4",
      }),
    ),
    h(
      "li",
      null,
      h("h2", null, "Totals"),
      view.totals,
      h("div", null, h("a", { href: link("reconciliation", { product: view.summary.product_id }) }, "Compare amounts")),
    ),
  );
}
