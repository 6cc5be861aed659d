// The API keys: who may call the API.

import { call, session } from "../api.js";
import { button, field, framed, h } from "../dom.js";
import { confirm, openDialog, openForm } from "../dialog.js";
import { time } from "../format.js";
import { reporting, say } from "../notices.js";

/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["ApiKey"]} ApiKey */

/** @param {ApiKey[]} first */
export function keysSection(first) {
  const body = h("tbody");
  const heads = ["Name", "Begins with", "Created", "Revoked", ""].map((name) =>
    name ? h("th", { scope: "col" }, name) : h("td"),
  );
  /** @param {ApiKey[]} keys */
  const show = (keys) => body.replaceChildren(...keys.map((key) => keyRow(key, reload)));
  const reload = async () => show((await call("get", "/api/v1/api-keys")).items);
  const create = button(
    "New key",
    reporting(() => createKey(reload)),
  );
  show(first);
  return h(
    "section",
    { class: "panel stack", "aria-label": "API keys" },
    h("div", { class: "row" }, h("h2", null, "API keys"), h("span", { class: "push-right" }, create)),
    framed("API keys", h("table", null, h("thead", null, h("tr", null, heads)), body)),
  );
}

/**
 * @param {ApiKey} key
 * @param {() => Promise<void>} reload
 */
function keyRow(key, reload) {
  const isOwn = session.key?.startsWith(key.prefix) ?? false;
  const revoke = button(
    "Revoke",
    reporting(() => askToRevoke(key, isOwn, reload)),
    { class: "danger", "aria-label": `Revoke ${key.name}` },
  );
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, key.name, isOwn ? h("small", null, "the key that you signed in with") : null),
    h("td", { class: "code" }, key.prefix),
    h("td", null, time(key.created_at)),
    h("td", null, time(key.revoked_at)),
    h("td", null, key.revoked_at ? null : revoke),
  );
}

/**
 * @param {ApiKey} key
 * @param {boolean} isOwn
 * @param {() => Promise<void>} reload
 */
async function askToRevoke(key, isOwn, reload) {
  const text = isOwn
    ? "It is the key that you signed in with: you will have to sign in with another."
    : "Whoever uses it can no longer call the API.";
  const isRevoked = await confirm(`Revoke the key ${key.name}?`, text, "Revoke", async () => {
    await call("delete", "/api/v1/api-keys/{id}", { path: { id: key.id } });
    say(`The key ${key.name} is revoked.`);
  });
  if (isRevoked) await reload();
}

/** @param {() => Promise<void>} reload */
async function createKey(reload) {
  const name = h("input", { maxlength: 100, required: true });
  /** @type {Schemas["CreateApiKeyResponse"] | null} */
  let made = null;
  await openForm({
    title: "New key",
    body: [field("Name", name, "Histories record it as the user.")],
    save: "Create",
    fields: { "/name": name },
    onsave: async () => {
      made = await call("post", "/api/v1/api-keys", { body: { name: name.value.trim() } });
    },
  });
  const created = /** @type {Schemas["CreateApiKeyResponse"] | null} */ (made);
  if (!created) return;
  const shown = h("input", { readonly: true, value: created.key, class: "code", "aria-label": "The new key" });
  shown.addEventListener("focus", () => shown.select());
  openDialog(`The key ${created.api_key.name}`, [h("p", null, "It is shown only now. Copy it."), shown]);
  await reload();
}
