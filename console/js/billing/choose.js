// Chooses the ConnectWise company, the agreement or the addition of a line.

import { call, Problem } from "../api.js";
import { button, field, h } from "../dom.js";
import { openForm } from "../dialog.js";
import { badge, decimal, plural } from "../format.js";
import { reporting, say } from "../notices.js";
import { changing } from "./edit.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {import("./page.js").View} View */

/**
 * One option of a list of radio buttons.
 * @param {string} name
 * @param {string} value
 * @param {boolean} checked
 * @param {import("../dom.js").Child[]} text
 * @param {boolean} [disabled]
 */
function option(name, value, checked, text, disabled = false) {
  const radio = h("input", { type: "radio", name, value, checked, disabled, required: true });
  return h("label", { class: "choice" }, radio, h("span", null, text));
}

/** @param {HTMLElement} list */
const chosenIn = (list) => list.querySelector("input:checked")?.getAttribute("value") ?? "";

/**
 * Chooses the ConnectWise company of a line's company, for all products.
 * @param {Line} line
 * @param {View} view
 */
export async function chooseCompany(line, view) {
  const now = line.company.connectwise_company;
  const search = h("input", { type: "search", value: line.company.name, maxlength: 300 });
  const list = h("div", { class: "options", role: "radiogroup", "aria-label": "ConnectWise companies" });
  const shared = h("input", { type: "checkbox" });
  const finder = companyFinder(line, search, list);
  await finder.find();
  if (!list.querySelector("input")) {
    // The names differ: the first part of the name finds more.
    search.value = line.company.name.split(" ")[0] ?? "";
    await finder.find();
  }
  const path = { id: line.company.id };
  const notSet = option("company", "none", false, [
    h("strong", null, "Not Set"),
    h("small", { class: "muted" }, " – nothing is billed"),
  ]);
  const saved = await openForm({
    title: `ConnectWise company of ${line.company.name}`,
    intro: now ? `Now: ${now.identifier}. The match applies to all products.` : "The match applies to all products.",
    body: [
      field("Name or identifier", search),
      list,
      now ? h("div", { class: "options" }, notSet) : null,
      h("label", { class: "choice" }, shared, "Several companies share this ConnectWise company"),
    ],
    save: "Save and close",
    fields: { "/id": search, "/identifier": search },
    onsave: async () => {
      const chosen = chosenIn(/** @type {HTMLElement} */ (list.closest("form")));
      if (!chosen)
        throw new Problem(0, now ? "Choose a company, or Not Set." : "Choose a company from the list.", null);
      await changing(line.id, view, async () => {
        const options = { path, version: view.line(line.id).company.version };
        const body = { id: chosen, shared: shared.checked };
        if (chosen === "none") await call("delete", "/api/v1/companies/{id}/connectwise-company", options);
        else await call("put", "/api/v1/companies/{id}/connectwise-company", { ...options, body });
      });
    },
  });
  finder.end();
  // The match moves the lines of all products.
  if (saved) await view.again();
}

/**
 * Finds companies as somebody types. Only what was typed last counts, however late an answer comes.
 * @param {Line} line
 * @param {HTMLInputElement} search
 * @param {HTMLElement} list
 */
function companyFinder(line, search, list) {
  let asked = new AbortController();
  let timer = 0;
  const find = async () => {
    asked.abort();
    asked = new AbortController();
    const query = { search: search.value.trim(), limit: 50 };
    const found = await call("get", "/api/v1/connectwise/companies", { query, signal: asked.signal });
    list.replaceChildren(...found.items.map((one) => companyOption(one, line)));
    if (found.items.length === 0)
      list.append(h("p", { class: "empty" }, "No ConnectWise company has this name or identifier."));
    if (found.next_cursor) list.append(h("p", { class: "muted" }, "There are more. Type more of the name."));
  };
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(reporting(find), 250);
  });
  return {
    find,
    end: () => {
      clearTimeout(timer);
      asked.abort();
    },
  };
}

/**
 * @param {Schemas["ConnectWiseCompany"]} one
 * @param {Line} line
 */
function companyOption(one, line) {
  const taken = one.matched_company && one.matched_company.id !== line.company.id ? one.matched_company : null;
  const text = [
    h("strong", null, one.identifier),
    ` ${one.name} `,
    one.status ? h("span", { class: "muted" }, one.status) : null,
    taken ? h("small", { class: "muted" }, ` – matched to ${taken.name} (${taken.external_id})`) : null,
  ];
  return option("company", one.id, one.id === line.company.connectwise_company?.id, text);
}

/**
 * Chooses the agreement of a line.
 * @param {Line} line
 * @param {View} view
 */
export async function chooseAgreement(line, view) {
  const company = line.company.connectwise_company;
  if (!company) return;
  const path = { id: company.id };
  const { items } = await call("get", "/api/v1/connectwise/companies/{id}/agreements", { path });
  const options = items.map((one) => ({ ...one, title: one.name, more: one.type_name }));
  await chooseTarget(line, view, "agreement", options, async (id) => {
    const target = { path: { billing_line_id: line.id }, version: view.line(line.id).version };
    return id === null
      ? call("delete", "/api/v1/agreement-mappings/{billing_line_id}", target)
      : call("put", "/api/v1/agreement-mappings/{billing_line_id}", { ...target, body: { agreement_id: id } });
  });
}

/**
 * Chooses the addition of a line, among those of its agreement.
 * @param {Line} line
 * @param {View} view
 */
export async function chooseAddition(line, view) {
  if (line.agreement.id === null) return;
  const path = { id: line.agreement.id };
  const { items } = await call("get", "/api/v1/connectwise/agreements/{id}/additions", { path });
  const options = items.map((one) => ({
    ...one,
    title: one.product_identifier ?? "no product",
    more: [one.description, one.quantity === null ? null : `quantity ${decimal(one.quantity)}`]
      .filter(Boolean)
      .join(", "),
  }));
  await chooseTarget(line, view, "addition", options, async (id) => {
    const target = { path: { billing_line_id: line.id }, version: view.line(line.id).version };
    return id === null
      ? call("delete", "/api/v1/addition-mappings/{billing_line_id}", target)
      : call("put", "/api/v1/addition-mappings/{billing_line_id}", { ...target, body: { addition_id: id } });
  });
}

/**
 * @typedef {object} Target
 * @property {string} id
 * @property {string} title
 * @property {string | null} more
 * @property {boolean} live
 * @property {string | null} reason
 */

/**
 * Shows the choices of a mapping, those that can be chosen first, and saves one.
 * @param {Line} line
 * @param {View} view
 * @param {"agreement" | "addition"} target
 * @param {Target[]} targets
 * @param {(id: string | null) => Promise<Schemas["ChoiceResponse"]>} save null goes back to the rule
 */
async function chooseTarget(line, view, target, targets, save) {
  const mapping = line[target];
  const matched = new Set(mapping.candidates.map((candidate) => candidate.id));
  const sorted = [...targets].sort(
    (a, b) => Number(b.live) - Number(a.live) || Number(matched.has(b.id)) - Number(matched.has(a.id)),
  );
  const options = sorted.map((one) => {
    const text = [
      h("strong", null, one.title),
      one.more ? ` ${one.more} ` : " ",
      matched.has(one.id) ? badge("matches the rule") : null,
      one.live ? null : badge(one.reason ?? "not live"),
    ];
    return option(target, one.id, one.id === mapping.id, text, !one.live);
  });
  const list = h("div", { class: "options", role: "radiogroup", "aria-label": `The ${target}s` }, options);
  const none = `There is no ${target} to choose from. Create it in ConnectWise, then refresh.`;
  /** @param {string | null} id */
  const change = (id) =>
    changing(line.id, view, async () => {
      await view.changes.get(line.id);
      const answer = await save(id);
      view.update([answer.line]);
      const others = answer.resolved.changed - 1;
      if (others > 0) say(`${plural(others, "other line")} changed with it.`);
    });
  const clear = reporting(async (/** @type {MouseEvent} */ event) => {
    /** @type {HTMLElement} */ (event.target).closest("dialog")?.close();
    await change(null);
  });
  await openForm({
    title: `${target === "agreement" ? "Agreement" : "Addition"} of ${line.company.name}`,
    intro: mapping.explanation ?? "A choice overrides the rule until it is cleared.",
    body: [targets.length > 0 ? list : h("p", { class: "empty" }, none)],
    save: "Save and close",
    canSave: targets.some((one) => one.live),
    others: mapping.source === "manual" ? [button("Back to the rule", clear)] : [],
    onsave: async () => {
      const id = chosenIn(list);
      if (id && (id !== mapping.id || mapping.source !== "manual")) await change(id);
    },
  });
}
