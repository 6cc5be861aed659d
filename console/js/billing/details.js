// Why a line is as it is: how its quantity was computed, why it bills to its addition, what was pushed and changed.

import { call, download } from "../api.js";
import { button, h } from "../dom.js";
import { openDialog } from "../dialog.js";
import { badge, decimal, money, time, words } from "../format.js";
import { saving } from "../notices.js";
import { link } from "../route.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */

/** @param {Line} line */
export async function openDetails(line) {
  const month = line.usage.billing_month;
  const query = { billing_line_id: line.id, kind: "push", limit: 5 };
  const [detail, statement, pushes] = await Promise.all([
    call("get", "/api/v1/billing-lines/{id}", { path: { id: line.id } }),
    call("get", "/api/v1/companies/{id}/statement", { path: { id: line.company.id }, query: { billing_month: month } }),
    call("get", "/api/v1/push-lines", { query }),
  ]);
  const product = statement.products.find((one) => one.product_id === line.product_id);
  /** @param {"csv" | "html"} format */
  const save = (format) =>
    saving(() =>
      download("/api/v1/companies/{id}/statement", {
        path: { id: line.company.id },
        query: { billing_month: month, format },
      }),
    );
  openDialog(
    `${line.company.name}: ${line.product_name}`,
    [
      quantitySection(detail, product),
      invoiceSection(detail),
      mappingSection("Agreement", detail.agreement, detail.explanation.agreement),
      mappingSection("Addition", detail.addition, detail.explanation.addition),
      pushSection(pushes.items),
      changesSection(detail.explanation.changes),
      h("div", { class: "row" }, button("Statement as CSV", save("csv")), button("Statement as a page", save("html"))),
    ],
    { wide: true },
  );
}

/**
 * @param {string} title
 * @param {...import("../dom.js").Child} children
 */
const section = (title, ...children) => h("section", { class: "stack" }, h("h3", null, title), children);

/**
 * @param {Line} line
 * @param {Schemas["StatementProduct"] | undefined} product
 */
function quantitySection(line, product) {
  const closed = line.usage.month_closed ? "closed" : "still open";
  return section(
    `Quantity of ${line.usage.billing_month} (${closed})`,
    product ? h("p", null, product.explanation) : null,
    h(
      "ol",
      null,
      (product?.steps ?? []).map((step) => h("li", null, step)),
    ),
    line.usage.explanation ? h("p", { class: "muted" }, line.usage.problem ?? line.usage.explanation) : null,
    line.usage.usage_through
      ? h("p", { class: "muted" }, "Newest usage that counts: ", time(line.usage.usage_through))
      : null,
  );
}

/** @param {Line} line */
function invoiceSection(line) {
  const invoice = line.invoice;
  if (!invoice) return null;
  const warnings = invoice.warnings.map((warning) => h("li", null, badge(warning.code), " ", warning.explanation));
  const billed = `${decimal(invoice.billed_quantity)} at ${money(invoice.unit_price, invoice.currency)}: ${money(invoice.amount, invoice.currency)}`;
  const next = invoice.next_invoice_on ? ` Next invoice: ${invoice.next_invoice_on}.` : "";
  return section(
    "ConnectWise's invoice",
    h("p", null, `${billed}.${next}`),
    warnings.length > 0 ? h("ul", null, warnings) : null,
  );
}

/**
 * @param {string} title
 * @param {Schemas["MappingBody"]} mapping
 * @param {Schemas["MappingExplanation"]} explanation
 */
function mappingSection(title, mapping, explanation) {
  const candidates = explanation.candidates.map((one) => {
    const compared = one.comparisons.map((part) =>
      h("small", { class: "muted code" }, ` ${part.holds ? "✓" : "✗"} ${part.comparison}`),
    );
    return h("li", null, badge(one.verdict), " ", h("strong", null, one.name), ` – ${one.explanation}`, compared);
  });
  return section(
    title,
    h("p", null, badge(mapping.status), " ", mapping.name ?? "", mapping.explanation ? ` ${mapping.explanation}` : ""),
    explanation.rule ? h("p", null, "Rule: ", h("span", { class: "code" }, explanation.rule.expression)) : null,
    candidates.length > 0 ? h("ul", null, candidates) : null,
  );
}

/** @param {Schemas["PushLineInJob"][]} lines */
function pushSection(lines) {
  const rows = lines.map((one) =>
    h(
      "li",
      null,
      time(one.finished_at ?? one.push_job.created_at),
      " ",
      badge(one.state),
      one.from === null ? " " : ` ${decimal(one.from)} → ${decimal(one.to)} `,
      `by ${one.push_job.requested_by} `,
      h("a", { href: link(`pushes/${one.push_job.id}`) }, "push"),
      one.explanation ? h("small", { class: "muted" }, ` ${one.explanation}`) : null,
    ),
  );
  return section(
    "Last pushes",
    rows.length > 0 ? h("ul", null, rows) : h("p", { class: "muted" }, "It was never pushed."),
  );
}

/** @param {Schemas["LineHistoryEntry"][]} changes */
function changesSection(changes) {
  /** @param {unknown} value */
  const written = (value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "object") return String(value);
    const part = /** @type {Record<string, string | null>} */ (value);
    return part["name"] ?? part["amount"] ?? words(part["status"]);
  };
  const rows = changes.map((one) =>
    h("li", null, time(one.at), ` ${words(one.part)}: ${written(one.old)} → ${written(one.new)}, by ${one.by}`),
  );
  return section("Changes", rows.length > 0 ? h("ul", null, rows) : h("p", { class: "muted" }, "Nothing was changed."));
}
