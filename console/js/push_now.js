// Push Now: choose the lines, look at what would be written, then write it.

import { call } from "./api.js";
import { button, h } from "./dom.js";
import { openDialog } from "./dialog.js";
import { plural } from "./format.js";
import { reporting } from "./notices.js";
import { pager } from "./pager.js";
import { canBePushed, liveProgress } from "./progress.js";
import { pushLinesTable } from "./push_lines.js";
import { go, link } from "./route.js";

/** @typedef {import("../types/call.js").Line} Line */
/** @typedef {import("../types/call.js").Schemas} Schemas */

/** The reasons for which a push holds a line. */
const HOLDING = ["guard", "overage_not_billed", "base_not_pushed", "already_invoiced"];

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
    [
      "product",
      `${product.product_name}: every line with push enabled (${product.push_enabled})`,
      { product_id: product.product_id },
    ],
    [
      "out_of_date",
      `${product.product_name}: only lines that would get another quantity than their last push wrote`,
      { product_id: product.product_id, out_of_date: true },
    ],
    ["all", "All products: every line with push enabled", {}],
  ];
  if (lines.length > 0)
    scopes.unshift([
      "lines",
      `The ${plural(lines.length, "selected line")}`,
      { billing_line_ids: lines.map((line) => line.id) },
    ]);
  const choices = scopes.map(([name, text], index) =>
    h(
      "label",
      { class: "choice" },
      h("input", { type: "radio", name: "scope", value: name, checked: index === 0 }),
      text,
    ),
  );
  const scope = h("fieldset", { class: "options" }, h("legend", null, "Which lines"), choices);
  const result = h("div", { class: "stack" });
  // A preview of other lines must not be pushed by mistake.
  scope.addEventListener("change", () => result.replaceChildren());
  const preview = button(
    "Preview",
    reporting(async () => {
      const chosen = scope.querySelector("input:checked")?.getAttribute("value");
      const body = scopes.find(([name]) => name === chosen)?.[2] ?? {};
      result.replaceChildren();
      scope.disabled = true;
      try {
        await showPreview(body, result, left.signal, () => dialog.close());
      } finally {
        scope.disabled = false;
      }
    }),
    { class: "primary" },
  );
  const intro = h("p", null, "The preview reads ConnectWise and writes nothing.");
  const dialog = openDialog("Push now", [intro, scope, h("div", { class: "row" }, preview), result], {
    wide: true,
    onclose: () => left.abort(),
  });
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
  const read = (cursor) =>
    call("get", "/api/v1/push-jobs/{id}/lines", {
      path: { id: done.id },
      query: { state: "would_push", limit: 25, cursor },
    });
  const [first, held] = await Promise.all([read(), heldLater(done.id)]);
  if (signal.aborted) return;
  const all = h("a", { href: link(`pushes/${done.id}`) }, "Every line of the preview, with what is skipped and why");
  if (done.lines.would_push === 0 || !canBePushed(done)) {
    result.append(
      h(
        "p",
        null,
        h("strong", null, canBePushed(done) ? "Nothing would be written." : "The preview did not end well."),
      ),
      h("div", null, all),
    );
    return;
  }
  const table = pushLinesTable("What would be written");
  const pages = pager({ read, first, label: "Pages of the preview", show: (page) => table.show(page.items) });
  const start = button(
    `Push ${plural(done.lines.would_push, "line")}`,
    reporting(async () => {
      const pushed = await call("post", "/api/v1/push-jobs", { body: { from_dry_run: done.id }, once: true });
      close();
      go(link(`pushes/${pushed.id}`));
    }),
    { class: "primary" },
  );
  const waiting = held > 0 ? h("p", null, `${plural(held, "line")} of these will wait for approval.`) : null;
  result.append(
    waiting ?? "",
    table.frame,
    pages.bar,
    h("div", { class: "row" }, all, h("span", { class: "push-right" }, start)),
  );
}

/**
 * How many lines of a preview a push would hold.
 * @param {string} id
 */
async function heldLater(id) {
  const query = { state: "would_push", reason: HOLDING.join(","), limit: 1, total: "true" };
  return (await call("get", "/api/v1/push-jobs/{id}/lines", { path: { id }, query })).total ?? 0;
}
