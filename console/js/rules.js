// The matching rules of a product: tried while they are typed, saved when they fit.

import { call, Problem } from "./api.js";
import { button, framed, h, newId, select } from "./dom.js";
import { confirm } from "./dialog.js";
import { keepFocus } from "./focus.js";
import { badge, plural } from "./format.js";
import { describe, report, reporting, say } from "./notices.js";
import { openProduct } from "./product_form.js";
import { link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["Target"]} Target */

/** How long a person must pause before the rule is tried, in milliseconds. */
const PAUSE = 250;
const SHOWN = 50;
/** @type {[string, string][]} */
const WHICH = [
  ["changed", "Lines that would change"],
  ["", "All lines"],
  ["ambiguous", "Ambiguous lines"],
  ["unresolved", "Unresolved lines"],
  ["stale", "Stale lines"],
];

/** @type {Record<Target, string>} */
const HINTS = {
  agreement: 'Attributes: name, type/name. For example: type/name like "SP Backup%"',
  addition: 'Attributes: product/identifier, description. For example: product/identifier = "BKP-GB"',
};

/** @param {import("./route.js").Route} route */
export async function rulesPage(route) {
  const products = (await call("get", "/api/v1/products", { query: { limit: 500, sort: "name" } })).items;
  const product = products.find((one) => one.id === route.query.get("product")) ?? products[0];
  const add = button(
    "Add a product",
    reporting(() => openProduct(null)),
  );
  if (!product)
    return {
      title: "Rules",
      content: [
        h("h1", null, "Matching rules"),
        h("p", { class: "panel" }, "There is no product yet."),
        h("div", null, add),
      ],
    };
  const settings = button(
    "Product settings",
    reporting(() => openProduct(product)),
    { class: "push-right" },
  );
  const tab = (/** @type {Schemas["Product"]} */ one) =>
    h(
      "li",
      null,
      h(
        "a",
        { href: link("rules", { product: one.id }), "aria-current": one.id === product.id ? "true" : null },
        one.name,
      ),
    );
  const rules = (await call("get", "/api/v1/matching-rules", { query: { product_id: product.id } })).items;
  const editor = new Editor(product, rules);
  await editor.tryOut();
  return {
    title: `Rules of ${product.name}`,
    content: [
      h("div", { class: "row" }, h("h1", null, "Matching rules"), settings, add),
      h("ul", { class: "tabs", "aria-label": "Products" }, products.map(tab)),
      ...editor.content,
    ],
    leave: () => editor.leave(),
  };
}

/** The two rules of a product, with what they would resolve. */
class Editor {
  /**
   * @param {Schemas["Product"]} product
   * @param {Schemas["MatchingRule"][]} rules
   */
  constructor(product, rules) {
    this.product = product;
    this.fields = {
      agreement: new RuleField(
        this,
        "agreement",
        rules.find((rule) => rule.target === "agreement"),
      ),
      addition: new RuleField(
        this,
        "addition",
        rules.find((rule) => rule.target === "addition"),
      ),
    };
    this.result = h("section", { class: "panel stack", "aria-label": "What the rules would resolve", role: "region" });
    this.timer = 0;
    this.which = select(WHICH, "changed", { onchange: () => this.tryOut().catch(report) });
    this.trying = new AbortController();
  }

  get content() {
    return [h("div", { class: "columns" }, this.fields.agreement.element, this.fields.addition.element), this.result];
  }

  get status() {
    const which = /** @type {Schemas["MappingStatus"] | "changed" | ""} */ (this.which.value);
    return which === "changed" || which === "" ? null : which;
  }

  leave() {
    clearTimeout(this.timer);
    this.trying.abort();
  }

  typed() {
    clearTimeout(this.timer);
    // Its answer would be about the text before.
    this.trying.abort();
    this.timer = setTimeout(() => this.tryOut().catch(report), PAUSE);
  }

  /** Tries both rules, as they are typed. */
  async tryOut() {
    this.trying.abort();
    this.trying = new AbortController();
    const { agreement, addition } = this.fields;
    // A rule alone is tried with the saved other one.
    const [tried, other] = agreement.text ? [agreement, addition] : [addition, agreement];
    agreement.setWrong(null);
    addition.setWrong(null);
    if (!tried.text)
      return this.result.replaceChildren(h("p", { class: "muted" }, "Type a rule to see what it would resolve."));
    const body = {
      product_id: this.product.id,
      target: tried.target,
      expression: tried.text,
      other_expression: other.text || null,
      changed_only: this.which.value === "changed",
      status: this.status,
      limit: SHOWN,
    };
    try {
      this.show(await call("post", "/api/v1/matching-rules/preview", { body, signal: this.trying.signal }));
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") return;
      if (!(error instanceof Problem) || error.status === 401) throw error;
      for (const field of error.fields) (field.field === "/other_expression" ? other : tried).setWrong(field);
      if (other.text && tried.isWrong) await this.checkAlone(other);
      this.result.replaceChildren(
        h("p", { class: "muted" }, error.fields.length > 0 ? "The rule cannot be tried yet." : describe(error)),
      );
    }
  }

  /**
   * Marks what is wrong with a rule beside one that is wrong itself.
   * @param {RuleField} field
   */
  async checkAlone(field) {
    const body = { product_id: this.product.id, target: field.target, expression: field.text, limit: 1 };
    try {
      await call("post", "/api/v1/matching-rules/preview", { body, signal: this.trying.signal });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      for (const one of error.fields) field.setWrong(one);
    }
  }

  /** @param {Schemas["PreviewMatchingRuleResponse"]} found */
  show(found) {
    /** @type {(name: string, counts: Schemas["MappingStatusCounts"]) => HTMLElement} */
    const counts = (name, counts) => {
      const states = /** @type {const} */ (["resolved", "ambiguous", "unresolved", "stale"]);
      return h(
        "p",
        { class: "row" },
        h("strong", null, name),
        states.filter((state) => counts[state] > 0).map((state) => h("span", null, badge(state), ` ${counts[state]}`)),
      );
    };
    const heads = ["Company", "Agreement now", "Agreement after", "Addition now", "Addition after"].map((name) =>
      h("th", { scope: "col" }, name),
    );
    const rows = found.items.map(previewRow);
    const more = found.next_cursor ? h("p", { class: "muted" }, `The first ${SHOWN} lines are shown.`) : null;
    const saved = [this.fields.agreement, this.fields.addition].find((one) => !one.text && one.rule);
    const shown = [
      h("h2", null, found.changed > 0 ? `${plural(found.changed, "line")} would change` : "Nothing would change"),
      h("div", { role: "status" }, counts("Agreements", found.agreements), counts("Additions", found.additions)),
      h("label", { class: "inline" }, "Show", this.which),
      rows.length > 0
        ? framed("Preview", h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null, rows)))
        : h("p", { class: "empty" }, "No line matches."),
      more,
      saved ? h("p", { class: "muted" }, `The ${saved.target} rule is empty here: the saved one is used.`) : null,
    ];
    keepFocus(() => this.result.replaceChildren(...shown.filter((one) => one !== null)));
  }
}

/** @param {Schemas["RulePreviewLine"]} line */
function previewRow(line) {
  /** @param {Schemas["MappingState"]} state */
  const cell = (state) =>
    h(
      "td",
      null,
      state.status === "resolved" ? (state.name ?? state.id) : badge(state.status),
      state.status === "resolved" ? null : h("small", null, state.explanation),
    );
  const changes = line.changes ? h("span", { class: "badge warn" }, "changes") : null;
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, line.company_name, " ", changes),
    cell(line.agreement_now),
    cell(line.agreement_then),
    cell(line.addition_now),
    cell(line.addition_then),
  );
}

/** One rule: its text, what is wrong with it, and its buttons. */
class RuleField {
  /**
   * @param {Editor} editor
   * @param {Target} target
   * @param {Schemas["MatchingRule"] | undefined} rule
   */
  constructor(editor, target, rule) {
    this.editor = editor;
    this.target = target;
    this.rule = rule;
    const id = newId();
    this.area = h("textarea", {
      id,
      rows: 3,
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      "aria-describedby": `${id}-wrong ${id}-hint`,
      value: rule?.expression ?? "",
    });
    this.marks = h("div", { class: "marks", "aria-hidden": "true" });
    this.wrong = h("p", { class: "wrong", id: `${id}-wrong`, role: "status" });
    this.saveButton = button(
      "Save",
      reporting(() => this.save()),
      { class: "primary" },
    );
    this.deleteButton = button(
      "Delete",
      reporting(() => this.remove()),
      { class: "danger" },
    );
    this.area.addEventListener("input", () => {
      // The mark is about the text before.
      this.marks.replaceChildren();
      this.editor.typed();
    });
    const title = target === "agreement" ? "Agreement rule" : "Addition rule";
    this.element = h(
      "section",
      { class: "panel stack rule", "aria-label": title },
      h("label", { for: id }, title),
      h("div", { class: "editor" }, this.area, this.marks),
      this.wrong,
      h("p", { class: "muted", id: `${id}-hint` }, HINTS[target]),
      h("div", { class: "row" }, this.saveButton, this.deleteButton),
    );
    this.showRule();
  }

  get text() {
    return this.area.value.trim();
  }

  get isWrong() {
    return this.area.hasAttribute("aria-invalid");
  }

  showRule() {
    this.deleteButton.hidden = this.rule === undefined;
  }

  /**
   * Shows what is wrong, and marks the letters where it stands.
   * @param {Schemas["ProblemField"] | null} field
   */
  setWrong(field) {
    this.wrong.textContent = field?.message ?? "";
    this.marks.replaceChildren();
    this.saveButton.disabled = field !== null;
    if (field === null) return this.area.removeAttribute("aria-invalid");
    this.area.setAttribute("aria-invalid", "true");
    // The rule was sent without the spaces before it.
    const text = this.area.value;
    const from = text.length - text.trimStart().length + (field.offset_utf16 ?? 0);
    const until = from + (field.length_utf16 ?? 0);
    // Where something is missing at the end, the mark stands after the last letter.
    this.marks.append(text.slice(0, from), h("mark", null, text.slice(from, until) || "\u00a0"), text.slice(until));
  }

  async save() {
    try {
      const body = { expression: this.text };
      const saved = this.rule
        ? await call("put", "/api/v1/matching-rules/{id}", {
            path: { id: this.rule.id },
            body,
            version: this.rule.version,
          })
        : await call("post", "/api/v1/matching-rules", {
            body: { ...body, product_id: this.editor.product.id, target: this.target },
            once: true,
          });
      this.rule = saved.rule;
      this.showRule();
      say(`Saved. ${plural(saved.resolved.changed, "line")} changed.`);
      await this.editor.tryOut();
    } catch (error) {
      if (error instanceof Problem && ["version_mismatch", "rule_exists", "not_found"].includes(error.code ?? ""))
        return this.showSaved();
      const field = error instanceof Problem ? error.fields.find((one) => one.field === "/expression") : undefined;
      if (!field) throw error;
      this.setWrong(field);
      this.area.focus();
    }
  }

  /** Somebody else saved this rule in the meantime: says what it is now. Saving again replaces it. */
  async showSaved() {
    const query = { product_id: this.editor.product.id, target: this.target };
    this.rule = (await call("get", "/api/v1/matching-rules", { query })).items[0];
    this.showRule();
    const now = this.rule ? `It is now: ${this.rule.expression}` : "It was deleted.";
    this.wrong.textContent = `Somebody else changed this rule in the meantime. ${now} To replace it, save again.`;
  }

  async remove() {
    const { rule } = this;
    if (!rule) return;
    const text = "Lines that this rule resolved become unresolved. Manual choices stay.";
    await confirm("Delete the rule?", text, "Delete", async () => {
      const options = { path: { id: rule.id }, version: rule.version };
      const resolved = await call("delete", "/api/v1/matching-rules/{id}", options).catch(async (error) => {
        if (error instanceof Problem && error.code === "version_mismatch") await this.showSaved();
        throw error;
      });
      this.rule = undefined;
      this.area.value = "";
      this.showRule();
      say(`Deleted. ${plural(resolved.changed, "line")} changed.`);
      await this.editor.tryOut();
    });
  }
}
