// Adds a product, or changes its settings.

import { call, Problem } from "./api.js";
import { field, h, select } from "./dom.js";
import { openForm } from "./dialog.js";
import { say } from "./notices.js";
import { go, link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */

/** @type {[string, string][]} */
const AGGREGATIONS = [
  ["last", "The newest measurement"],
  ["max", "The largest of the month"],
  ["sum", "The sum of the month"],
];
/** @type {[string, string][]} */
const ROUNDINGS = [
  ["ceil", "Round up to a full block"],
  ["floor", "Full blocks only"],
  ["round", "To the nearest block"],
  ["exact", "Not rounded"],
];
/** @type {[string, string][]} */
const PERIODS = [
  ["", "As the aggregation needs"],
  ["current", "The month of the push"],
  ["previous", "The month before"],
];
/** @type {[string, string][]} */
const INVOICED = [
  ["warn", "Push it, with a warning"],
  ["hold", "Hold it for approval"],
  ["skip", "Skip it"],
];

/**
 * Opens the settings of a product; without one, adds a product.
 * @param {Schemas["Product"] | null} product
 */
export async function openProduct(product) {
  const text = (/** @type {string | null | undefined} */ value) => h("input", { value: value ?? "", maxlength: 100 });
  const decimal = (/** @type {string | null | undefined} */ value) =>
    h("input", { value: value ?? "", inputmode: "decimal" });
  const inputs = {
    code: text(product?.code),
    name: text(product?.name),
    unit: text(product?.unit),
    block_size: decimal(product?.block_size ?? "1"),
    rounding: select(ROUNDINGS, product?.rounding ?? "ceil"),
    aggregation: select(AGGREGATIONS, product?.aggregation ?? "last"),
    billing_period: select(PERIODS, product?.billing_period ?? ""),
    minimum_quantity: decimal(product?.minimum_quantity),
    max_change_percent: decimal(product?.max_change_percent),
    max_change_units: decimal(product?.max_change_units),
    when_invoiced: select(INVOICED, product?.when_invoiced ?? "warn"),
  };
  const body = () => ({
    code: inputs.code.value.trim(),
    name: inputs.name.value.trim(),
    unit: inputs.unit.value.trim(),
    block_size: inputs.block_size.value.trim(),
    rounding: /** @type {Schemas["Rounding"]} */ (inputs.rounding.value),
    aggregation: /** @type {Schemas["Aggregation"]} */ (inputs.aggregation.value),
    billing_period: /** @type {Schemas["BillingPeriod"] | null} */ (inputs.billing_period.value || null),
    minimum_quantity: inputs.minimum_quantity.value.trim() || null,
    max_change_percent: inputs.max_change_percent.value.trim() || null,
    max_change_units: inputs.max_change_units.value.trim() || null,
    when_invoiced: /** @type {Schemas["WhenInvoiced"]} */ (inputs.when_invoiced.value),
  });
  /** @type {Schemas["Product"] | null} */
  let saved = null;
  let version = product?.version ?? 0;
  await openForm({
    title: product ? `Settings of ${product.name}` : "Add a product",
    body: [
      h(
        "div",
        { class: "columns" },
        field("Code", inputs.code, "The vendor's own, such as STORAGE. Usage names it."),
        field("Name", inputs.name),
        field("Unit", inputs.unit, "What is measured, such as GB or accounts."),
        field("Block size", inputs.block_size, "How many units are one in ConnectWise."),
        field("Rounding", inputs.rounding),
        field("What counts in a month", inputs.aggregation),
        field("Which month a push bills", inputs.billing_period),
        field("Minimum quantity", inputs.minimum_quantity, "Optional."),
        field("Hold changes above, in percent", inputs.max_change_percent, "Larger changes wait for approval."),
        field("Hold changes above, in units", inputs.max_change_units),
        field("If the month was invoiced already", inputs.when_invoiced),
      ),
    ],
    save: product ? "Save" : "Add",
    fields: Object.fromEntries(Object.entries(inputs).map(([name, input]) => [`/${name}`, input])),
    onsave: async () => {
      if (!product) {
        saved = await call("post", "/api/v1/products", { body: body(), once: true });
        return;
      }
      const path = { id: product.id };
      try {
        saved = await call("patch", "/api/v1/products/{id}", { path, body: body(), version });
      } catch (error) {
        if (error instanceof Problem && error.code === "version_mismatch")
          version = (await call("get", "/api/v1/products/{id}", { path })).version;
        throw error;
      }
    },
  });
  const done = /** @type {Schemas["Product"] | null} */ (saved);
  if (!done) return;
  say(`The product ${done.name} is saved.`);
  go(link("rules", { product: done.id }));
}
