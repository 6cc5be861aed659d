// Starts the console: signs in, and shows the page that the address names.

import { call, Problem, session, signedOut } from "./api.js";
import { closeDialogs } from "./dialog.js";
import { button, field, h, once } from "./dom.js";
import { keepFocus } from "./focus.js";
import { clear, describe, FOR_PEOPLE } from "./notices.js";
import { current } from "./route.js";

/** @typedef {{ title: string, content: (Node | string)[], leave?: () => void, name?: string }} Page */

/** @type {Record<string, () => Promise<(route: import("./route.js").Route) => Promise<Page>>>} */
const PAGES = {
  billing: async () => (await import("./billing/page.js")).billingPage,
  rules: async () => (await import("./rules.js")).rulesPage,
  pushes: async () => (await import("./pushes.js")).pushesPage,
  reconciliation: async () => (await import("./reconciliation.js")).reconciliationPage,
  settings: async () => (await import("./settings.js")).settingsPage,
};

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const bar = /** @type {HTMLElement} */ (document.getElementById("session"));

const SIGNED_OUT = "signed out";

/** What the current page must end when it is left. */
let leave = () => {};
let shown = 0;
let isFirst = true;

async function show() {
  const mine = (shown += 1);
  const route = current();
  for (const anchor of document.querySelectorAll("header nav a")) {
    if (anchor.getAttribute("href") === `#/${route.page}`) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const page = await load(route);
  // Meanwhile, the person may have gone on to another page.
  if (mine !== shown) return page.leave?.();
  leave();
  leave = page.leave ?? (() => {});
  const name = page.name ?? `${route.page} ${route.id}`;
  const samePage = main.dataset["page"] === name;
  main.dataset["page"] = name;
  if (samePage) keepFocus(() => main.replaceChildren(...page.content));
  else main.replaceChildren(...page.content);
  document.title = `${page.title} – Billing console`;
  if (!samePage) scrollTo(0, 0);
  // A browser leaves the focus on the link that was followed; after the first page it is at the top, as it should be.
  if (!samePage && !isFirst) main.focus({ preventScroll: true });
  isFirst = false;
}

/**
 * @param {import("./route.js").Route} route
 * @returns {Promise<Page>}
 */
async function load(route) {
  if (session.key === null) return signIn(null);
  const known = Object.hasOwn(PAGES, route.page) ? PAGES[route.page] : undefined;
  if (!known) return message("Not found", "There is no such page.");
  try {
    const page = await known();
    return await page(route);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return signIn(describe(error));
    if (!(error instanceof Problem)) console.error(error);
    return message(error instanceof Problem && error.status === 404 ? "Not found" : "Error", describe(error));
  }
}

/**
 * @param {string} title
 * @param {string} text
 * @returns {Page}
 */
function message(title, text) {
  const again = button("Load again", show);
  return {
    title,
    content: [h("h1", null, title), h("div", { class: "panel stack", role: "alert" }, text, h("div", null, again))],
  };
}

/** @param {string | null} reason */
function signIn(reason) {
  session.end();
  showSession();
  const key = h("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false", id: "api-key" });
  const user = h("input", { autocomplete: "name", maxlength: 100, id: "acting-user" });
  const wrong = h("p", { class: "wrong", role: "alert" }, reason);
  const form = h(
    "form",
    { class: "panel stack" },
    field(
      "API key",
      key,
      "It begins with cwb_. It is kept until this window is closed, and sent to this service only.",
    ),
    field("Your name", user, "The history records it beside the key's name. It may be left out."),
    wrong,
    h("div", null, h("button", { class: "primary" }, "Sign in")),
  );
  const enter = async () => {
    wrong.textContent = "";
    session.start(key.value.trim(), user.value.trim());
    try {
      await call("get", "/api/v1/products", { query: { limit: 1 } });
      showSession();
      await show();
    } catch (error) {
      session.end();
      wrong.textContent = describe(error);
      key.focus();
    }
  };
  form.addEventListener("submit", once(enter));
  return { title: "Sign in", content: [h("h1", null, "Sign in"), form], name: SIGNED_OUT };
}

function showSession() {
  if (session.key === null) return bar.replaceChildren();
  const out = button("Sign out", () => {
    session.end();
    showSession();
    show();
  });
  bar.replaceChildren(h("span", null, session.user || "Signed in"), out);
}

signedOut.addEventListener("401", () => {
  // While signing in, the form shows the error itself.
  if (main.dataset["page"] === SIGNED_OUT) return;
  closeDialogs();
  leave();
  leave = () => {};
  shown += 1;
  const page = signIn(FOR_PEOPLE["unauthorized"] ?? "");
  main.dataset["page"] = SIGNED_OUT;
  main.replaceChildren(...page.content);
  document.title = `${page.title} – Billing console`;
});

document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  clear();
  closeDialogs();
  show();
});
showSession();
show();
