// Short messages at the edge of the window, which screen readers read out.

import { Problem } from "./api.js";
import { button, h } from "./dom.js";

/**
 * What the API says to programs, for a person in front of this page.
 * @type {Record<string, string>}
 */
const FOR_PEOPLE = {
  unauthorized: "This API key is not valid, or no longer valid. Sign in with another.",
  version_mismatch: "Somebody else changed this in the meantime. Look at it as it is now, then try again.",
  not_connected: "There is no connection to ConnectWise yet. Set it up under Settings.",
  connectwise_company_taken:
    "Another company is matched to this ConnectWise company already. If both are the same customer, say that they share it.",
};

/**
 * @param {import("./dom.js").Child} text
 * @param {"good" | "bad"} tone
 */
function show(text, tone) {
  // What lies behind a dialog can be neither seen well, nor heard, nor closed.
  const dialog = tone === "bad" ? [...document.querySelectorAll("dialog[open] .notices")].at(-1) : null;
  const list = /** @type {HTMLElement} */ (dialog ?? document.getElementById("notices"));
  const notice = h("div", { class: `notice ${tone}`, role: tone === "bad" ? "alert" : "status" }, h("span", null, text));
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
  if (!(error instanceof Problem)) return "The console failed. Load the page again.";
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

/** Removes all messages. */
export function clear() {
  document.getElementById("notices")?.replaceChildren();
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
