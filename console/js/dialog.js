// Dialogs. The browser keeps the focus inside, closes on Escape, and gives the focus back.

import { Problem } from "./api.js";
import { button, h, newId, setWrong } from "./dom.js";
import { describe, report } from "./notices.js";

/**
 * Opens a dialog. Returns it; closing removes it.
 * @param {string} title
 * @param {import("./dom.js").Child[]} children
 * @param {{ wide?: boolean, onclose?: () => void }} [options]
 */
export function openDialog(title, children, options = {}) {
  const id = newId();
  const heading = h("div", { class: "row" }, h("h2", { id }, title));
  const dialog = h("dialog", { "aria-labelledby": id, class: options.wide ? "wide" : null });
  heading.append(button("Close", () => dialog.close(), { class: "push-right" }));
  dialog.append(h("div", { class: "body" }, heading, children));
  dialog.addEventListener("close", () => {
    dialog.remove();
    options.onclose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks for values, and saves them. The dialog stays open while they are wrong, with each error beside its field.
 * @param {{
 *   title: string,
 *   intro?: import("./dom.js").Child,
 *   body: import("./dom.js").Child[],
 *   save: string,
 *   danger?: boolean,
 *   fields?: Record<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>,
 *   others?: import("./dom.js").Child[],
 *   onsave: () => Promise<unknown>,
 * }} options `fields` are the controls by the API's pointer, such as `/name`.
 * @returns {Promise<boolean>} whether it was saved
 */
export function openForm(options) {
  return new Promise((resolve) => {
    const id = newId();
    let saved = false;
    const wrong = h("p", { class: "wrong", role: "alert" });
    const submit = h("button", { class: options.danger ? "danger" : "primary" }, options.save);
    const dialog = h("dialog", { "aria-labelledby": id });
    const finish = () => dialog.close();
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id }, options.title),
      options.intro ? h("p", null, options.intro) : null,
      ...options.body,
      wrong,
      h("div", { class: "row end" }, options.others ?? [], button("Cancel", finish), submit),
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      wrong.textContent = "";
      try {
        await options.onsave();
        saved = true;
        finish();
      } catch (error) {
        showErrors(error, options.fields ?? {}, wrong);
      }
      submit.disabled = false;
    });
    dialog.append(form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(saved);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Shows an error's fields beside their controls, and the rest at `wrong`.
 * @param {unknown} error
 * @param {Record<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>} fields
 * @param {HTMLElement} wrong
 */
export function showErrors(error, fields, wrong) {
  for (const control of Object.values(fields)) setWrong(control, null);
  if (!(error instanceof Problem)) return report(error);
  let first = null;
  for (const { field, message } of error.fields) {
    const control = fields[field];
    if (control) {
      setWrong(control, message);
      first ??= control;
    }
  }
  if (first) first.focus();
  else wrong.textContent = describe(error);
}

/**
 * Asks before something that cannot be taken back.
 * @param {string} title
 * @param {string} intro
 * @param {string} save
 * @param {() => Promise<unknown>} onsave
 */
export const confirm = (title, intro, save, onsave) => openForm({ title, intro, body: [], save, danger: true, onsave });
