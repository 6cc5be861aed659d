// One billing line as a row of the table.

import { button, h, hiddenText } from "../dom.js";
import { badge, decimal, time, usageCell } from "../format.js";
import { reporting } from "../notices.js";
import { link } from "../route.js";
import { chooseAddition, chooseAgreement, chooseCompany } from "./choose.js";
import { openDetails } from "./details.js";
import { changeLine } from "./edit.js";

/** @typedef {import("../../types/call.js").Line} Line */

/**
 * @param {string} label
 * @param {Record<string, any> | null} attributes
 * @param {...import("../dom.js").Child} children
 */
const cell = (label, attributes, ...children) =>
  h("td", { role: "cell", "data-label": label, ...attributes }, children);

/**
 * @param {Line} line
 * @param {import("./page.js").View} view
 */
export function lineRow(line, view) {
  const company = line.company.name;
  const box = h("input", {
    type: "checkbox",
    checked: view.selected.has(line.id),
    "aria-label": `Select ${company}`,
    "data-select": line.id,
    "data-part": "select",
  });
  const row = h("tr", { role: "row", "data-line": line.id, class: box.checked ? "selected" : null });
  box.addEventListener("change", () => {
    // Its cells may be in another row by now, which was drawn before.
    box.closest("tr")?.classList.toggle("selected", box.checked);
    view.selected.set(line, box.checked);
  });
  row.append(
    cell("Select", null, h("div", null, box)),
    companyCell(line),
    cell("ConnectWise id", null, h("div", null, matchButton(line, view))),
    cell("Agreement", { class: "agreement" }, mappingButton(line, "agreement", view)),
    cell("Addition", { class: "addition" }, mappingButton(line, "addition", view)),
    cell("Usage", { class: "number" }, h("div", null, usageCell(line.usage))),
    cell("Block size", { class: "number" }, h("div", null, blockSize(line, view))),
    cell("Quantity", { class: "number quantity" }, h("div", null, quantity(line))),
    cell("In ConnectWise", { class: "number" }, h("div", null, inConnectWise(line))),
    cell("Push", null, h("div", null, pushEnabled(line, view))),
    cell("Last push", null, h("div", null, lastPush(line))),
  );
  return row;
}

/** @param {Line} line */
function companyCell(line) {
  const open = button(
    line.company.name,
    reporting(() => openDetails(line)),
    { class: "value", dir: "auto", "data-part": "details", "aria-haspopup": "dialog" },
  );
  return h("th", { scope: "row", role: "rowheader" }, h("div", null, open, h("small", null, line.company.external_id)));
}

/**
 * @param {Line} line
 * @param {import("./page.js").View} view
 */
function matchButton(line, view) {
  const known = line.company.connectwise_company;
  const text = known === null ? h("span", { class: "badge warn" }, "Not Set") : known.identifier;
  const label = `ConnectWise id of ${line.company.name}: ${known?.identifier ?? "Not Set"}. Choose another.`;
  const open = button(
    text,
    reporting(() => chooseCompany(view.line(line.id), view)),
    { class: "value", "aria-label": label, "data-part": "company", "aria-haspopup": "dialog" },
  );
  return [open, known?.deleted ? h("small", { class: "wrong" }, line.agreement.explanation) : null];
}

/**
 * The agreement or the addition: its name, or what is wrong with it.
 * @param {Line} line
 * @param {"agreement" | "addition"} target
 * @param {import("./page.js").View} view
 */
function mappingButton(line, target, view) {
  const mapping = line[target];
  const choose = target === "agreement" ? chooseAgreement : chooseAddition;
  // Before the company or the agreement is there, there is nothing to choose from.
  const before = line.need === "company" || (target === "addition" && line.need === "agreement");
  if (before)
    return h("span", { class: "muted", title: mapping.explanation ?? "" }, "–", hiddenText(mapping.explanation ?? ""));
  const name = target === "addition" ? (line.addition_product_identifier ?? mapping.name) : mapping.name;
  const isResolved = mapping.status === "resolved";
  const label = `${target === "agreement" ? "Agreement" : "Addition"} of ${line.company.name}: ${isResolved ? (name ?? mapping.id) : mapping.status}. Choose another.`;
  const open = button(
    isResolved ? (name ?? mapping.id) : badge(mapping.status),
    reporting(() => choose(view.line(line.id), view)),
    {
      class: "value",
      "aria-label": label,
      title: mapping.name ?? "",
      "data-part": target,
      "aria-haspopup": "dialog",
    },
  );
  const hand = mapping.source === "manual" ? h("small", null, "chosen manually") : null;
  return h("div", null, open, isResolved ? hand : h("small", null, mapping.explanation));
}

/**
 * @param {Line} line
 * @param {import("./page.js").View} view
 */
function blockSize(line, view) {
  const input = h("input", {
    class: line.block_size_override === null ? "small" : "small own",
    value: line.block_size,
    inputmode: "decimal",
    "aria-label": `Block size of ${line.company.name}, in ${line.usage.unit}`,
    title:
      line.block_size_override === null
        ? "The product's block size. Type another for this line."
        : "This line's own block size. Empty it to use the product's.",
    "data-part": "block",
  });
  // What differs from it is still being typed.
  input.defaultValue = line.block_size;
  input.addEventListener("change", () => {
    input.defaultValue = input.value;
    return changeLine(line.id, { block_size: input.value.trim() || null }, view);
  });
  return input;
}

/** @param {Line} line */
function quantity(line) {
  if (line.usage.quantity === null) return [h("span", { "aria-hidden": "true" }, "–"), hiddenText("no quantity")];
  const parts = [decimal(line.usage.quantity)];
  return [
    parts,
    line.usage.adjustment === null ? null : h("small", null, `adjusted by ${decimal(line.usage.adjustment)}`),
    line.out_of_date ? h("small", null, "out of date") : null,
  ];
}

/**
 * ConnectWise's quantity. Beside a meter without usage, a quantity that is still billed stands out.
 * @param {Line} line
 */
function inConnectWise(line) {
  const theirs = line.connectwise_quantity;
  if (theirs === null) return [h("span", { "aria-hidden": "true" }, "–"), hiddenText("unknown")];
  if (theirs === line.usage.quantity) return [decimal(theirs)];
  if (line.usage.quantity === null && theirs === "0") return [decimal(theirs)];
  return [h("span", { class: "differs" }, decimal(theirs)), h("small", null, "differs")];
}

/**
 * @param {Line} line
 * @param {import("./page.js").View} view
 */
function pushEnabled(line, view) {
  const box = h("input", {
    type: "checkbox",
    checked: line.push_enabled,
    "aria-label": `Push enabled for ${line.company.name}`,
    "data-part": "push",
  });
  box.addEventListener("change", () => changeLine(line.id, { push_enabled: box.checked }, view));
  return box;
}

/** @param {Line} line */
function lastPush(line) {
  const last = line.last_push;
  if (last === null) return [h("span", { class: "muted" }, "never")];
  // What is held is decided for the whole push; otherwise its line of this company is of interest.
  const filter = last.state === "held" ? { state: "held" } : { company: line.company.id };
  const sign = h(
    "a",
    { href: link(`pushes/${last.push_job_id}`, filter), title: last.explanation ?? "" },
    badge(last.state),
  );
  // What a mapping needs is said beside the mapping.
  const why = line.need === null || line.need === "approval" || line.need === "failure" ? last.explanation : null;
  return [sign, h("small", null, time(last.at)), why ? h("small", null, why) : null];
}
