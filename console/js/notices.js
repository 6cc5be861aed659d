// Short messages at the edge of the window, which screen readers read out.

import { Problem } from "./api.js";
import { button, h } from "./dom.js";

/**
 * What the API says to programs, for a person in front of this page.
 * @type {Record<string, string>}
 */
export const FOR_PEOPLE = {
  unauthorized: "This API key is not valid, or no longer valid. Sign in with another.",
  version_mismatch: "Somebody else changed this in the meantime. Look at it as it is now, then try again.",
  not_connected: "There is no connection to ConnectWise yet. Set it up under Settings.",
  connectwise_company_taken:
    "Another company is matched to this ConnectWise company already. If both are the same customer, tick “Several companies share this ConnectWise company”.",
};

/**
 * @param {import("./dom.js").Child} text
 * @param {"good" | "bad"} tone
 */
function show(text, tone) {
  // A message behind a modal dialog can be neither read nor closed.
  const dialog = tone === "bad" ? [...document.querySelectorAll("dialog[open] .notices")].at(-1) : null;
  const list = /** @type {HTMLElement} */ (dialog ?? document.getElementById("notices"));
  const notice = h(
    "div",
    { class: `notice ${tone}`, role: tone === "bad" ? "alert" : "status" },
    h("span", null, text),
  );
  notice.append(button("Close", () => notice.remove(), { "aria-label": "Close the message" }));
  list.append(notice);
  notice.scrollIntoView({ block: "nearest" });
  while (list.children.length > 4) list.firstElementChild?.remove();
  if (tone === "good") setTimeout(() => notice.remove(), 6_000);
}

/**
 * Says that something was done.
 * @param {import("./dom.js").Child} text
 */
export const say = (text) => show(text, "good");

/**
 * Shows an error. One that the API reported is shown in its words, with each value that is wrong.
 * @param {unknown} error
 */
export function report(error) {
  if (error instanceof Error && error.name === "AbortError") return;
  // The page asks for a new key instead.
  if (error instanceof Problem && error.status === 401) return;
  if (!(error instanceof Problem)) console.error(error);
  show(describe(error), "bad");
}

/** @param {unknown} error */
export function describe(error) {
  if (!(error instanceof Problem)) return "Something went wrong in the console. Reload the page.";
  const forPeople = FOR_PEOPLE[error.code ?? ""];
  if (forPeople) return forPeople;
  if (error.fields.length === 0) return error.message;
  return error.fields.map(({ field, message }) => `${named(field)}${message}`).join(". ");
}

/**
 * A value by its pointer: `/choices/0/agreement_id` is "agreement id: ".
 * @param {string} pointer
 */
function named(pointer) {
  const name = pointer.split("/").findLast((part) => part !== "" && !/^\d+$/.test(part));
  return name ? `${name.replaceAll("_", " ")}: ` : "";
}

/**
 * Runs a download, and says which file was saved.
 * @param {() => Promise<string>} download
 */
export const saving = (download) => reporting(async () => say(`Saved as ${await download()}.`));

/** Removes the errors of the page that is left. What was done is still said on the next one. */
export function clear() {
  for (const error of document.querySelectorAll("#notices [role=alert]")) error.remove();
}

/**
 * Runs what a person started, and shows its error.
 * @template {unknown[]} Arguments
 * @param {(...given: Arguments) => Promise<unknown>} action
 */
export const reporting =
  (action) =>
  /** @param {Arguments} given */
  async (...given) => {
    try {
      await action(...given);
    } catch (error) {
      report(error);
    }
  };
