// When pushes run by themselves. The next runs are shown while the settings are changed.

import { call, Problem } from "../api.js";
import { field, h, once } from "../dom.js";
import { clearErrors, showErrors } from "../dialog.js";
import { plural, time } from "../format.js";
import { reporting, say } from "../notices.js";

/** @typedef {import("../../types/call.js").Schemas} Schemas */

/** @param {Schemas["PushSchedule"]} first */
export function scheduleSection(first) {
  let schedule = first;
  const enabled = h("input", { type: "checkbox", checked: first.enabled });
  const zones = h(
    "datalist",
    { id: "time-zones" },
    Intl.supportedValuesOf("timeZone").map((zone) => h("option", { value: zone })),
  );
  const inputs = {
    day_of_month: h("input", { type: "number", min: 1, max: 31, value: first.day_of_month }),
    time: h("input", { type: "time", value: first.time }),
    time_zone: h("input", { value: first.time_zone, list: "time-zones", spellcheck: "false" }),
    days_before_invoice: h("input", { type: "number", min: 0, max: 27, value: first.days_before_invoice ?? "" }),
  };
  const fields = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [`/${name}`, input]));
  const runs = h("div", { role: "status" });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const body = () => ({
    enabled: enabled.checked,
    day_of_month: Number(inputs.day_of_month.value),
    time: inputs.time.value,
    time_zone: inputs.time_zone.value.trim(),
    days_before_invoice: inputs.days_before_invoice.value === "" ? null : Number(inputs.days_before_invoice.value),
  });
  /** @param {unknown} error */
  const fail = async (error) => {
    if (error instanceof Problem && error.status === 401) return;
    if (!(error instanceof Problem) || error.code !== "version_mismatch") return showErrors(error, fields, wrong);
    schedule = await call("get", "/api/v1/push-schedule");
    const now = `day ${schedule.day_of_month} at ${schedule.time}, ${schedule.time_zone}, ${schedule.enabled ? "on" : "off"}`;
    wrong.textContent = `Somebody else changed the schedule in the meantime: it is now ${now}. To replace it, save again.`;
  };
  const preview = async () => {
    wrong.textContent = "";
    try {
      const options = { body: body(), query: { dry_run: true }, version: schedule.version };
      const then = await call("put", "/api/v1/push-schedule", options);
      clearErrors(fields);
      runs.replaceChildren(nextRuns(then));
    } catch (error) {
      await fail(error);
    }
  };
  const form = h(
    "form",
    { class: "stack" },
    h("label", { class: "choice" }, enabled, "Push automatically, once a month"),
    field("Day of the month", inputs.day_of_month, "A day past the month's end means its last day."),
    field("Time", inputs.time),
    field("Time zone", inputs.time_zone, "Billing months begin and end in this time zone, too."),
    field(
      "Days before the invoice",
      inputs.days_before_invoice,
      "Optional: push each agreement this many days before its next invoice instead.",
    ),
    wrong,
    h("div", null, h("button", { class: "primary" }, "Save")),
  );
  // One after another: a preview beside a save would find another version.
  let last = Promise.resolve();
  /** @param {() => Promise<unknown>} action */
  const inTurn = (action) => (last = last.then(reporting(action)));
  form.addEventListener("change", () => inTurn(preview));
  const save = async () => {
    wrong.textContent = "";
    try {
      schedule = await call("put", "/api/v1/push-schedule", { body: body(), version: schedule.version });
      clearErrors(fields);
      runs.replaceChildren(nextRuns(schedule));
      say("The schedule is saved.");
    } catch (error) {
      await fail(error);
    }
  };
  form.addEventListener(
    "submit",
    once(() => inTurn(save)),
  );
  runs.replaceChildren(nextRuns(first));
  return h(
    "section",
    { class: "panel stack", "aria-label": "Schedule" },
    h("h2", null, "Automatic pushes"),
    form,
    zones,
    runs,
  );
}

/** @param {Schemas["PushSchedule"]} schedule */
function nextRuns(schedule) {
  const zone = schedule.time_zone;
  /** @param {string} at */
  const local = (at) =>
    new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "short", timeZone: zone }).format(new Date(at));
  const byDay = schedule.next_runs.map((at) =>
    h("li", null, `${local(at)} (${zone})`, h("small", { class: "muted" }, " – here: ", time(at))),
  );
  const byInvoice = schedule.next_invoice_runs.map((run) =>
    h("li", null, `${local(run.at)}: ${plural(run.agreements, "agreement")}, invoiced on ${run.invoice_on}`),
  );
  const title = schedule.enabled ? "Next runs" : "If enabled, it would run";
  const list = [...byInvoice, ...byDay];
  return h(
    "div",
    { class: "stack" },
    h("h3", null, title),
    list.length > 0 ? h("ul", null, list) : h("p", { class: "muted" }, "There is no next run."),
  );
}
