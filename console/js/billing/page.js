// The billing page: the lines of a product, what they need, and what can be done about it.

import { call } from "../api.js";
import { button, h, select } from "../dom.js";
import { keepFocus } from "../focus.js";
import { decimal, money, plural } from "../format.js";
import { report, reporting, say } from "../notices.js";
import { pager } from "../pager.js";
import { openPush } from "../push_now.js";
import { changed, go, link } from "../route.js";
import { openMatching } from "./matching.js";
import { selection } from "./selection.js";
import { linesTable } from "./table.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["BillingLineSummary"]} Summary */

const PAGE_SIZE = 50;
/** How many lines of each group are shown before it is opened. */
const GROUP_SIZE = 10;
/** How long after a change the money is compared again, in milliseconds. */
const TOTALS_PAUSE = 1_000;

/** @type {Record<string, string>} */
export const NEEDS = {
  company: "Match the company",
  agreement: "Choose the agreement",
  addition: "Choose the addition",
  approval: "Approve",
  failure: "Look into the failure",
};

/** @param {import("../route.js").Route} route */
export async function billingPage(route) {
  const summaries = (await call("get", "/api/v1/billing-lines/summary")).items;
  const wanted = route.query.get("product");
  const summary = summaries.find((one) => one.product_id === wanted) ?? summaries[0];
  if (!summary) return { title: "Billing", content: [h("h1", null, "Billing"), noProducts()] };
  const view = new View(route, summaries, summary);
  await view.read();
  return { title: summary.product_name, content: view.content, leave: () => view.leave() };
}

function noProducts() {
  const rules = h("a", { href: link("rules") }, "Rules");
  const settings = h("a", { href: link("settings") }, "Settings");
  return h("p", { class: "panel" }, "There is no product yet. Connect to ConnectWise under ", settings, ", then add a product under ", rules, ". Companies and usage come in through the API.");
}

/** One product's lines. */
export class View {
  /**
   * @param {import("../route.js").Route} route
   * @param {Summary[]} summaries
   * @param {Summary} summary
   */
  constructor(route, summaries, summary) {
    this.route = route;
    this.summaries = summaries;
    this.summary = summary;
    this.steps = h("div");
    this.tabs = h("div");
    this.chips = h("div");
    this.lines = h("div", { class: "stack" });
    this.totals = h("strong", null, "…");
    this.selected = selection(this);
    /** @type {ReturnType<typeof linesTable> | null} */
    this.table = null;
    this.left = new AbortController();
    this.timer = 0;
    /** The lines that were read, by id. @type {Map<string, Line>} */
    this.known = new Map();
    /** The last change of each line that was sent. @type {Map<string, Promise<void>>} */
    this.changes = new Map();
  }

  get grouped() {
    return this.route.query.get("view") === "grouped";
  }

  get content() {
    const push = button("Push now", () => openPush(this, this.selected.lines), { class: "primary push-right" });
    return [h("div", { class: "row" }, h("h1", null, "Billing"), push), this.steps, this.tabs, this.toolbar(), this.chips, this.lines, this.selected.bar];
  }

  /** Reads the lines, and shows everything at once, so that nothing moves. */
  async read() {
    await (this.grouped ? this.readGroups() : this.readList());
    this.showCounts();
    this.readTotals().catch(report);
  }

  /** Reads the money soon, but not after each of several changes: it compares all lines of the product. */
  readTotalsSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.readTotals().catch(report), TOTALS_PAUSE);
  }

  /**
   * A line as it was last read.
   * @param {string} id
   */
  line(id) {
    const line = this.known.get(id);
    if (!line) throw new Error(`the line ${id} is not shown`);
    return line;
  }

  /** @param {Line[]} lines */
  keep(lines) {
    for (const line of lines) this.known.set(line.id, line);
  }

  /** Whether lines are left out by a filter other than what they need. */
  get isNarrowed() {
    return ["search", "enabled", "last_push", "out_of_date"].some((name) => this.route.query.has(name));
  }

  /** The filters of the address, as the API has them. */
  filters() {
    const query = this.route.query;
    return {
      product_id: this.summary.product_id,
      search: query.get("search"),
      need: query.get("need"),
      needs_attention: query.get("need") === null && query.has("attention") ? query.get("attention") : null,
      push_enabled: query.get("enabled"),
      last_push_state: query.get("last_push"),
      out_of_date: query.get("out_of_date"),
      sort: query.get("sort"),
    };
  }

  async readList() {
    /** @param {string} [cursor] */
    const read = (cursor) =>
      call("get", "/api/v1/billing-lines", {
        query: { ...this.filters(), limit: PAGE_SIZE, cursor, total: cursor ? null : "true" },
      });
    const table = this.newTable();
    const pages = pager({
      read,
      first: await read(),
      label: "Pages of lines",
      show: (page) => {
        this.keep(page.items);
        table.show([{ lines: page.items }]);
      },
    });
    this.reload = pages.reload;
    this.lines.replaceChildren(table.frame, pages.bar);
  }

  async readGroups() {
    const groups = this.summary.needs.map((need) => ({ ...need, filter: { need: need.need } }));
    const rest = { need: null, lines: this.summary.lines - this.summary.needs_attention, filter: { needs_attention: "false" } };
    const all = [...groups, { ...rest, explanation: "Nobody is needed for these lines." }];
    const read = all.map((group) =>
      call("get", "/api/v1/billing-lines", {
        query: { ...this.filters(), need: null, needs_attention: null, ...group.filter, limit: GROUP_SIZE, total: "true" },
      }),
    );
    const pages = await Promise.all(read);
    const table = this.newTable();
    const shown = all.map((group, index) => ({
      heading: this.groupHeading({ ...group, lines: pages[index]?.total ?? 0 }, pages[index]?.items.length ?? 0),
      lines: pages[index]?.items ?? [],
    }));
    for (const group of shown) this.keep(group.lines);
    table.show(shown.filter((group) => group.lines.length > 0));
    this.reload = () => this.readGroups();
    keepFocus(() => this.lines.replaceChildren(table.frame));
  }

  /**
   * @param {{ need: string | null, explanation: string, lines: number }} group
   * @param {number} shown
   */
  groupHeading(group, shown) {
    const title = group.need === null ? "Ready" : (NEEDS[group.need] ?? group.need);
    const filters = { view: null, attention: group.need === null ? "false" : null, need: group.need };
    const all = h("a", { href: changed(this.route, filters) }, `Show all ${decimal(String(group.lines))}`);
    return h("div", { class: "row" }, `${title}: ${plural(group.lines, "line")}`, h("span", { class: "muted" }, group.explanation), group.lines > shown ? all : null);
  }

  newTable() {
    this.table = linesTable(this);
    return this.table;
  }

  /**
   * Shows rows that have changed, without reading the page again.
   * @param {Line[]} lines
   * @param {{ restore?: boolean }} [options] `restore` also replaces what somebody is typing
   */
  update(lines, options = {}) {
    this.keep(lines);
    this.table?.update(lines, options.restore ?? false);
    this.selected.update(lines);
    this.readCounts().catch(report);
  }

  /** Reads the rows of the current page and the counts again. */
  async again() {
    await Promise.all([this.reload?.(), this.readCounts()]);
  }

  async readCounts() {
    this.summaries = (await call("get", "/api/v1/billing-lines/summary", { signal: this.left.signal })).items;
    this.summary = this.summaries.find((one) => one.product_id === this.summary.product_id) ?? this.summary;
    this.showCounts();
    this.readTotalsSoon();
  }

  leave() {
    clearTimeout(this.timer);
    this.left.abort();
  }

  /** @param {string} need */
  count(need) {
    return this.summary.needs.find((one) => one.need === need)?.lines ?? 0;
  }

  showCounts() {
    keepFocus(() => {
      this.tabs.replaceChildren(this.productTabs());
      this.chips.replaceChildren(this.needChips());
      this.steps.replaceChildren(this.monthEnd());
    });
  }

  productTabs() {
    const items = this.summaries.map((one) => {
      const current = one.product_id === this.summary.product_id;
      const href = link("billing", { product: one.product_id, view: this.route.query.get("view") });
      const attention = h("span", { class: "badge warn" }, String(one.needs_attention), h("span", { class: "hidden-text" }, " need a person"));
      return h("li", null, h("a", { href, "aria-current": current ? "true" : null }, one.product_name, one.needs_attention ? attention : null));
    });
    return h("ul", { class: "tabs", "aria-label": "Products" }, items);
  }

  needChips() {
    const query = this.route.query;
    // The counts are of the whole product.
    const number = (/** @type {number} */ count) => (this.isNarrowed ? null : h("span", { class: "number muted" }, decimal(String(count))));
    /** @type {(text: string, count: number, changes: Record<string, string | null>) => HTMLElement} */
    const chip = (text, count, changes) => {
      const current = !this.grouped && ["need", "attention"].every((name) => (changes[name] ?? null) === query.get(name));
      const href = changed(this.route, { need: null, attention: null, view: null, ...changes });
      return h("li", null, h("a", { href, "aria-current": current ? "true" : null }, text, number(count)));
    };
    const needs = this.summary.needs.map((one) => chip(NEEDS[one.need] ?? one.need, one.lines, { need: one.need }));
    const ready = this.summary.lines - this.summary.needs_attention;
    return h("ul", { class: "chips", "aria-label": "What lines need" }, chip("All", this.summary.lines, {}), needs, chip("Ready", ready, { attention: "false" }));
  }

  /** The steps of a month's end, each with what is left of it. */
  monthEnd() {
    if (this.summary.lines === 0) return h("p", { class: "panel" }, "There is no company yet. Companies and their usage come in through the API.");
    const unmatched = this.count("company");
    const unresolved = this.count("agreement") + this.count("addition");
    const waiting = this.count("approval") + this.count("failure");
    /** @type {(title: string, left: string, done: boolean, ...more: import("../dom.js").Child[]) => HTMLElement} */
    const step = (title, left, done, ...more) => h("li", { class: done ? "done" : null }, h("h2", null, title), h("strong", null, left), h("div", { class: "row" }, more));
    /** @param {string} need */
    const show = (need) => h("a", { href: link("billing", { product: this.summary.product_id, need }) }, "Show them");
    return h(
      "ol",
      { class: "steps", "aria-label": "The month's end" },
      step("Match companies", unmatched ? `${decimal(String(unmatched))} not matched` : "All matched", !unmatched, unmatched ? show("company") : null, unmatched ? button("Match automatically", () => openMatching(this).catch(report), { class: "link" }) : null),
      step("Refresh", "From ConnectWise", false, button("Read again", reporting(() => this.refresh()), { class: "link" })),
      step("Resolve", unresolved ? `${decimal(String(unresolved))} to choose` : "All resolved", !unresolved, unresolved ? show("agreement,addition") : h("a", { href: link("rules", { product: this.summary.product_id }) }, "Rules")),
      step("Check and push", waiting ? `${decimal(String(waiting))} to look at` : "Nothing waits", !waiting, waiting ? show("approval,failure") : null, button("Push now", () => openPush(this, this.selected.lines), { class: "link", "aria-label": "Push now, from step 4" })),
      h("li", null, h("h2", null, "Totals"), this.totals, h("div", null, h("a", { href: link("reconciliation", { product: this.summary.product_id }) }, "Compare in money"))),
    );
  }

  /** The money that ConnectWise has too little of, or too much; it is read after the lines, which matter more. */
  async readTotals() {
    const query = { product_id: this.summary.product_id, limit: 1 };
    const found = await call("get", "/api/v1/reconciliation", { query, signal: this.left.signal });
    const sums = found.totals.map((total) => money(total.difference, total.currency));
    this.totals.textContent = sums.length > 0 ? `${sums.join(", ")} to adjust` : "Nothing to adjust";
  }

  async refresh() {
    const read = await call("post", "/api/v1/connectwise/refresh", { body: {} });
    say(`Read ${plural(read.companies, "company", "companies")} and ${plural(read.agreements, "agreement")}. ${plural(read.resolved.changed, "line")} changed.`);
    await this.again();
  }

  toolbar() {
    const query = this.route.query;
    /** @param {string} name */
    const set = (name) => (/** @type {Event} */ event) => go(changed(this.route, { [name]: /** @type {HTMLSelectElement} */ (event.target).value || null }));
    const search = h("input", { type: "search", value: query.get("search") ?? "", placeholder: "Company or identifier", "aria-label": "Search companies", maxlength: 300 });
    const find = h("form", { class: "row", role: "search" }, search, h("button", null, "Search"));
    find.addEventListener("submit", (event) => {
      event.preventDefault();
      go(changed(this.route, { search: search.value.trim() || null }));
    });
    const enabled = select([["", "Enabled or not"], ["true", "Push enabled"], ["false", "Push not enabled"]], query.get("enabled") ?? "", { "aria-label": "Push enabled", onchange: set("enabled") });
    const states = [["", "Any last result"], ["pushed", "Pushed"], ["unchanged", "Unchanged"], ["skipped", "Skipped"], ["held", "Held"], ["failed,unverified", "Failed or unverified"]];
    const last = select(/** @type {[string, string][]} */ (states), query.get("last_push") ?? "", { "aria-label": "Last result", onchange: set("last_push") });
    const dated = select([["", "Out of date or not"], ["true", "Out of date"], ["false", "Up to date"]], query.get("out_of_date") ?? "", { "aria-label": "Out of date", onchange: set("out_of_date") });
    const sort = select([["", "By company"], ["-company_name", "By company, reversed"], ["company_external_id", "By external id"], ["agreement_status", "By agreement status"], ["addition_status", "By addition status"], ["-created_at", "Newest first"]], query.get("sort") ?? "", { "aria-label": "Order", onchange: set("sort") });
    const group = h("a", { class: "button", href: changed(this.route, { view: this.grouped ? null : "grouped", need: null, attention: null }) }, this.grouped ? "Show as a list" : "Group by what is needed");
    return h("div", { class: "row" }, find, enabled, last, dated, sort, group);
  }
}
