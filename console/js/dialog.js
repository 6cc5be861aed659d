// Dialogs. The browser keeps the focus inside, and closes them on Escape.

import { Problem } from "./api.js";
import { button, h, newId, once, setWrong } from "./dom.js";
import { rememberFocus } from "./focus.js";
import { describe, report } from "./notices.js";

/**
 * Shows a dialog. It is removed when it is closed, and the focus goes back to where it was.
 * @param {HTMLDialogElement} dialog
 * @param {() => void} onclose
 */
function show(dialog, onclose) {
  const restore = rememberFocus();
  dialog.addEventListener("close", () => {
    // Messages outlive the dialog in which they were shown.
    document.getElementById("notices")?.append(...dialog.querySelectorAll(".notice"));
    dialog.remove();
    onclose();
    // What had the focus may be drawn again meanwhile.
    restore();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** Closes all dialogs, because another page comes. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}

/**
 * Opens a dialog. Returns it; closing removes it.
 * @param {string} title
 * @param {import("../types/dom.js").Child[]} children
 * @param {{ wide?: boolean, onclose?: () => void }} [options]
 */
export function openDialog(title, children, options = {}) {
  const id = newId();
  const heading = h("h2", { id, dir: "auto", tabindex: -1, autofocus: true }, title);
  const dialog = h("dialog", { "aria-labelledby": id, class: options.wide ? "wide" : null });
  const close = button("Close", () => dialog.close(), { class: "push-right" });
  dialog.append(
    h("div", { class: "body" }, h("div", { class: "row" }, heading, close), children, h("div", { class: "notices" })),
  );
  show(dialog, () => options.onclose?.());
  return dialog;
}

/**
 * Asks for values, and saves them. The dialog stays open while they are wrong, with each error beside its field.
 * @param {{
 *   title: string,
 *   intro?: import("../types/dom.js").Child,
 *   body: import("../types/dom.js").Child[],
 *   save: string,
 *   danger?: boolean,
 *   fields?: Record<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>,
 *   others?: import("../types/dom.js").Child[],
 *   canSave?: boolean,
 *   onsave: () => Promise<unknown>,
 * }} options `fields` are the controls by the API's pointer, such as `/name`.
 * @returns {Promise<boolean>} whether it was saved
 */
export function openForm(options) {
  return new Promise((resolve) => {
    const id = newId();
    let saved = false;
    let isSaving = false;
    const wrong = h("p", { class: "wrong", role: "alert" });
    const submit = h(
      "button",
      { class: options.danger ? "danger" : "primary", disabled: options.canSave === false },
      options.save,
    );
    const dialog = h("dialog", { "aria-labelledby": id });
    const hasFields = Object.keys(options.fields ?? {}).length > 0;
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id, dir: "auto", tabindex: -1, autofocus: !hasFields }, options.title),
      options.intro ? h("p", null, options.intro) : null,
      ...options.body,
      wrong,
      h("div", { class: "notices" }),
      h(
        "div",
        { class: "row end" },
        options.others ?? [],
        button("Cancel", () => isSaving || dialog.close()),
        submit,
      ),
    );
    let saving = Promise.resolve();
    const save = async () => {
      wrong.textContent = "";
      try {
        await options.onsave();
        saved = true;
        dialog.close();
      } catch (error) {
        // The page may have been left meanwhile.
        if (dialog.open) showErrors(error, options.fields ?? {}, wrong);
        else report(error);
      }
    };
    form.addEventListener(
      "submit",
      once(async () => {
        isSaving = true;
        await (saving = save());
        isSaving = false;
      }),
    );
    // What is being saved cannot be taken back.
    dialog.addEventListener("cancel", (event) => isSaving && event.preventDefault());
    dialog.append(form);
    show(dialog, () => saving.then(() => resolve(saved)));
  });
}

/**
 * Shows an error's fields beside their controls, and the rest at `wrong`.
 * @param {unknown} error
 * @param {Record<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>} fields
 * @param {HTMLElement} wrong
 */
export function showErrors(error, fields, wrong) {
  clearErrors(fields);
  if (!(error instanceof Problem)) return report(error);
  const known = error.fields.filter(({ field }) => fields[field]);
  for (const { field, message } of known) setWrong(/** @type {HTMLInputElement} */ (fields[field]), message);
  if (known[0]) fields[known[0].field]?.focus();
  else wrong.textContent = describe(error);
}

/** @param {Record<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>} fields */
export function clearErrors(fields) {
  for (const control of Object.values(fields)) setWrong(control, null);
}

/**
 * Asks before something that cannot be taken back.
 * @param {string} title
 * @param {string} intro
 * @param {string} save
 * @param {() => Promise<unknown>} onsave
 */
export const confirm = (title, intro, save, onsave) => openForm({ title, intro, body: [], save, danger: true, onsave });
