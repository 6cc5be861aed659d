// The billing page: the lines of a product, what they need, and what can be done about it.

import { call } from "../api.js";
import { button, h } from "../dom.js";
import { keepFocus } from "../focus.js";
import { decimal, money, plural } from "../format.js";
import { report, say } from "../notices.js";
import { pager } from "../pager.js";
import { openPush } from "../push_now.js";
import { changed, link } from "../route.js";
import { monthEnd, NEEDS, needChips, productTabs } from "./overview.js";
import { selection } from "./selection.js";
import { linesTable } from "./table.js";
import { toolbar } from "./toolbar.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["BillingLineSummary"]} Summary */

const PAGE_SIZE = 50;
/** How many lines of each group are shown before it is opened. */
const GROUP_SIZE = 10;
/** How long after a change the money is compared again, in milliseconds. */
const TOTALS_PAUSE = 1_000;
/** How many lines are read at the same time. */
const READ_AT_ONCE = 8;

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
  return h(
    "p",
    { class: "panel" },
    "There is no product yet. Connect to ConnectWise under ",
    settings,
    ", then add a product under ",
    rules,
    ". Companies and usage come in through the API.",
  );
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
    /** @type {ReturnType<typeof linesTable> | null} */
    this.table = null;
    this.left = new AbortController();
    this.timer = 0;
    /** The lines that were read, by id. @type {Map<string, Line>} */
    this.known = new Map();
    /** The last change of each line that was sent. @type {Map<string, Promise<void>>} */
    this.changes = new Map();
    this.selected = selection(this);
  }

  get grouped() {
    return this.route.query.get("view") === "grouped";
  }

  get content() {
    const push = button("Push now", () => openPush(this, this.selected.lines), { class: "primary push-right" });
    return [
      h("div", { class: "row" }, h("h1", null, "Billing"), push),
      this.steps,
      this.tabs,
      toolbar(this),
      this.chips,
      this.lines,
      this.selected.bar,
    ];
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
    this.selected.show();
  }

  /**
   * Reads lines again that somebody else, or something else, has changed.
   * @param {string[]} ids
   */
  async readAgain(ids) {
    for (let at = 0; at < ids.length; at += READ_AT_ONCE) {
      const read = ids
        .slice(at, at + READ_AT_ONCE)
        .map((id) => call("get", "/api/v1/billing-lines/{id}", { path: { id } }));
      this.update(await Promise.all(read), { restore: true });
    }
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
    const rest = { need: null, explanation: "These lines need no action.", filter: { needs_attention: "false" } };
    const all = [...groups, rest];
    const read = all.map((group) =>
      call("get", "/api/v1/billing-lines", {
        query: {
          ...this.filters(),
          need: null,
          needs_attention: null,
          ...group.filter,
          limit: GROUP_SIZE,
          total: "true",
        },
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
    return h(
      "div",
      { class: "row" },
      `${title}: ${plural(group.lines, "line")}`,
      h("span", { class: "muted" }, group.explanation),
      group.lines > shown ? all : null,
    );
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
    this.readCounts().catch(report);
  }

  /** Reads the rows of the current page and the counts again. */
  async again() {
    // The groups follow from the counts.
    await this.readCounts();
    await this.reload?.();
    const elsewhere = this.selected.lines.filter((line) => !this.table?.shows(line.id));
    if (elsewhere.length > 0) await this.readAgain(elsewhere.map((line) => line.id));
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

  showCounts() {
    keepFocus(() => {
      this.tabs.replaceChildren(productTabs(this));
      this.chips.replaceChildren(needChips(this));
      this.steps.replaceChildren(monthEnd(this));
    });
  }

  /** The money that ConnectWise has too little of, or too much; it is read after the lines, which matter more. */
  async readTotals() {
    const query = { product_id: this.summary.product_id, limit: 1 };
    const found = await call("get", "/api/v1/reconciliation", { query, signal: this.left.signal });
    const differing = found.totals.filter((total) => Number(total.amount_difference) !== 0);
    const sums = differing.map((total) => money(total.amount_difference, total.currency)).join(", ");
    this.totals.textContent =
      found.totals.length === 0 ? "Nothing has a price" : sums ? `${sums} to adjust` : "Nothing to adjust";
  }

  async refresh() {
    const read = await call("post", "/api/v1/connectwise/refresh", { body: {} });
    say(
      `Read ${plural(read.companies, "company", "companies")} and ${plural(read.agreements, "agreement")}. ${plural(read.resolved.changed, "line")} changed.`,
    );
    await this.again();
  }
}
