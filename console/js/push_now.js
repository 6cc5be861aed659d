// Push Now: choose the lines, look at what would be written, then write it.

import { call } from "./api.js";
import { button, h } from "./dom.js";
import { openDialog } from "./dialog.js";
import { plural } from "./format.js";
import { reporting } from "./notices.js";
import { pager } from "./pager.js";
import { liveProgress } from "./progress.js";
import { pushLinesTable } from "./push_lines.js";
import { go, link } from "./route.js";

/** @typedef {import("../types/call.js").Line} Line */
/** @typedef {import("../types/call.js").Schemas} Schemas */

/**
 * Opens the dialog of a push.
 * @param {import("./billing/page.js").View} view
 * @param {Line[]} [lines] the selected lines, if there are any
 */
export function openPush(view, lines = []) {
  const left = new AbortController();
  const product = view.summary;
  /** @type {[string, string, Schemas["CreatePushJobRequest"]][]} */
  const scopes = [
    ["product", `${product.product_name}: every line with push enabled (${product.push_enabled})`, { product_id: product.product_id }],
    ["out_of_date", `${product.product_name}: only lines whose usage changed since their last push`, { product_id: product.product_id, out_of_date: true }],
    ["all", "All products: every line with push enabled", {}],
  ];
  if (lines.length > 0) scopes.unshift(["lines", `The ${plural(lines.length, "selected line")}`, { billing_line_ids: lines.map((line) => line.id) }]);
  const choices = scopes.map(([name, text], index) => h("label", { class: "choice" }, h("input", { type: "radio", name: "scope", value: name, checked: index === 0 }), text));
  const scope = h("fieldset", { class: "options" }, h("legend", null, "Which lines"), choices);
  const result = h("div", { class: "stack" });
  const preview = button(
    "Preview",
    reporting(async () => {
      const chosen = scope.querySelector("input:checked")?.getAttribute("value");
      const body = scopes.find(([name]) => name === chosen)?.[2] ?? {};
      preview.disabled = true;
      try {
        await showPreview(body, result, left.signal, () => dialog.close());
      } finally {
        preview.disabled = false;
      }
    }),
    { class: "primary" },
  );
  const intro = h("p", null, "The preview reads ConnectWise and writes nothing.");
  const dialog = openDialog("Push now", [intro, scope, h("div", { class: "row" }, preview), result], { wide: true, onclose: () => left.abort() });
}

/**
 * @param {Schemas["CreatePushJobRequest"]} body
 * @param {HTMLElement} result
 * @param {AbortSignal} signal
 * @param {() => void} close
 */
async function showPreview(body, result, signal, close) {
  const job = await call("post", "/api/v1/push-jobs", { body: { ...body, dry_run: true }, once: true });
  const progress = liveProgress(job, signal);
  result.replaceChildren(progress.element);
  const done = await progress.ended;
  if (signal.aborted) return;
  /** @param {string} [cursor] */
  const read = (cursor) => call("get", "/api/v1/push-jobs/{id}/lines", { path: { id: done.id }, query: { state: "would_push,held", limit: 25, cursor } });
  const table = pushLinesTable("What would be written");
  const pages = pager({ read, first: await read(), label: "Pages of the preview", show: (page) => table.show(page.items) });
  const start = button(
    `Push ${plural(done.lines.would_push, "line")}`,
    reporting(async () => {
      start.disabled = true;
      try {
        const pushed = await call("post", "/api/v1/push-jobs", { body: { from_dry_run: done.id }, once: true });
        close();
        go(link(`pushes/${pushed.id}`));
      } finally {
        start.disabled = false;
      }
    }),
    { class: "primary", disabled: done.lines.would_push === 0 },
  );
  const all = h("a", { href: link(`pushes/${done.id}`), onclick: close }, "Every line of the preview, with what is skipped and why");
  result.append(table.frame, pages.bar, h("div", { class: "row" }, all, h("span", { class: "push-right" }, start)));
  start.focus();
}

