// Makes elements. Every text becomes a text node, so that no name is ever taken for markup.

/** @typedef {import("../types/dom.js").Child} Child */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden"]);

/**
 * @param {Element} element
 * @param {Record<string, any> | null} attributes
 * @param {readonly Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) /** @type {any} */ (element)[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
}

/**
 * @param {Element} element
 * @param {readonly Child[]} children
 */
function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(String(child));
  }
}

/**
 * An element. Attributes that are functions listen (`onclick`); false and null leave an attribute out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any> | null} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = null, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/**
 * An element of a drawing.
 * @param {string} tag
 * @param {Record<string, any> | null} [attributes]
 * @param {...Child} children
 */
export function svg(tag, attributes = null, ...children) {
  const element = document.createElementNS(SVG, tag);
  fill(element, attributes, children);
  return element;
}

/**
 * A button. While what it started goes on, further clicks do nothing.
 * @param {Child} text
 * @param {(event: MouseEvent) => unknown} onclick
 * @param {Record<string, any>} [attributes]
 */
export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick: once(onclick), ...attributes }, text);
}

/**
 * A listener that does nothing while its last call goes on: a double click starts one thing.
 * @template {Event} E
 * @param {(event: E) => unknown} listen
 */
export function once(listen) {
  let isBusy = false;
  return async (/** @type {E} */ event) => {
    if (event.type === "submit") event.preventDefault();
    if (isBusy) return;
    isBusy = true;
    // A disabled button would lose the focus; `aria-busy` does not.
    const target = event.currentTarget instanceof HTMLElement ? event.currentTarget : null;
    target?.setAttribute("aria-busy", "true");
    try {
      await listen(event);
    } finally {
      isBusy = false;
      target?.removeAttribute("aria-busy");
    }
  };
}

/**
 * A labelled field: the label, the control, a hint, and a place for what is wrong with it.
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} control
 * @param {string} [hint]
 */
export function field(label, control, hint) {
  if (!control.id) control.id = newId();
  const wrong = h("p", { class: "wrong", id: newId(), hidden: true });
  const described = hint ? h("p", { class: "hint", id: newId() }, hint) : null;
  control.setAttribute("aria-describedby", [described?.id, wrong.id].filter(Boolean).join(" "));
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, described, wrong);
}

/**
 * Shows what is wrong with a control of `field`, or nothing.
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} control
 * @param {string | null} message
 */
export function setWrong(control, message) {
  const wrong = /** @type {HTMLElement} */ (control.closest(".field")?.querySelector(".wrong"));
  wrong.textContent = message;
  wrong.hidden = message === null;
  if (message === null) control.removeAttribute("aria-invalid");
  else control.setAttribute("aria-invalid", "true");
}

/**
 * A drop-down list.
 * @param {[value: string, text: string][]} options
 * @param {string} value
 * @param {Record<string, any>} [attributes]
 */
export function select(options, value, attributes = {}) {
  const list = h(
    "select",
    attributes,
    options.map(([value, text]) => h("option", { value }, text)),
  );
  list.value = value;
  return list;
}

let ids = 0;

/** An id that no other element has. */
export function newId() {
  ids += 1;
  return `id-${ids}`;
}

/** @param {string} text */
export const hiddenText = (text) => h("span", { class: "hidden-text" }, text);

/**
 * A table in a frame that scrolls sideways where the window is narrow; the keyboard can scroll it, too.
 * @param {string} label
 * @param {HTMLTableElement} table
 */
export function framed(label, table) {
  return h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": label }, table);
}
