// The connection to ConnectWise, with its test.

import { call, Problem } from "../api.js";
import { button, field, h, once } from "../dom.js";
import { clearErrors, confirm, showErrors } from "../dialog.js";
import { time } from "../format.js";
import { reporting, say } from "../notices.js";

/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["Connection"]} Connection */

/** The connection; null if there is none. */
export function readConnection() {
  return call("get", "/api/v1/connection").catch((error) => {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  });
}

/** @param {Connection | null} first */
export function connectionSection(first) {
  let connection = first;
  const text = (/** @type {string} */ value) => h("input", { value, spellcheck: "false", autocomplete: "off" });
  const secret = () => h("input", { type: "password", autocomplete: "new-password", spellcheck: "false" });
  const inputs = {
    site: text(first?.site ?? ""),
    company_id: text(first?.company_id ?? ""),
    public_key: secret(),
    private_key: secret(),
    client_id: text(first?.client_id ?? ""),
    provenance_field: text(first?.provenance_field ?? ""),
  };
  const state = h("div", { class: "stack" });
  const steps = h("div", { role: "status" });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const remove = button(
    "Delete",
    reporting(() => askToDelete()),
    { class: "danger" },
  );
  const test = button(
    "Test the connection",
    reporting(() => runTest()),
  );
  const keep = first ? "Leave it empty to keep the one that is stored." : undefined;
  const form = h(
    "form",
    { class: "stack" },
    field("Site", inputs.site, "Such as na.myconnectwise.net."),
    field("Company id", inputs.company_id, "The one that people sign in to ConnectWise with."),
    field("Public key", inputs.public_key, keep),
    field("Private key", inputs.private_key, keep),
    field("Client id", inputs.client_id),
    field(
      "Custom field for the origin of a quantity",
      inputs.provenance_field,
      "A text field of additions, or empty: each push writes its id into it.",
    ),
    wrong,
    h("div", { class: "row" }, h("button", { class: "primary" }, "Save"), test, remove),
  );
  const show = () => {
    test.disabled = connection === null;
    remove.hidden = connection === null;
    state.replaceChildren();
    if (connection === null) state.append(h("p", { class: "muted" }, "There is no connection yet."));
    else if (connection.failing_since)
      state.append(
        h(
          "p",
          { class: "wrong" },
          "Failing since ",
          time(connection.failing_since),
          `: ${connection.last_failure ?? ""}`,
        ),
      );
  };
  /** Reads the connection as somebody else left it. */
  const readAgain = async () => {
    connection = await readConnection();
    show();
  };
  const save = async () => {
    wrong.textContent = "";
    const fields = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [`/${name}`, input]));
    try {
      const body = {
        site: inputs.site.value.trim(),
        company_id: inputs.company_id.value.trim(),
        client_id: inputs.client_id.value.trim(),
        provenance_field: inputs.provenance_field.value.trim() || null,
        public_key: inputs.public_key.value || null,
        private_key: inputs.private_key.value || null,
      };
      connection = await call(
        "put",
        "/api/v1/connection",
        connection ? { body, version: connection.version } : { body },
      );
      inputs.public_key.value = inputs.private_key.value = "";
      clearErrors(fields);
      show();
      say("Saved. Test the connection now.");
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "version_mismatch") return showErrors(error, fields, wrong);
      await readAgain();
      const now = connection ? `it is now ${connection.company_id} at ${connection.site}` : "it was deleted";
      wrong.textContent = `Somebody else changed the connection in the meantime: ${now}. To replace it, save again.`;
    }
  };
  form.addEventListener("submit", once(reporting(save)));
  const runTest = async () => {
    steps.replaceChildren(testSteps(await call("post", "/api/v1/connection/test")));
  };
  const askToDelete = async () => {
    const text = "Nothing can be read or pushed until there is a connection again. Matches and choices stay.";
    await confirm("Delete the connection?", text, "Delete", async () => {
      const options = connection ? { version: connection.version } : {};
      await call("delete", "/api/v1/connection", options).catch(async (error) => {
        if (error instanceof Problem && error.code === "version_mismatch") await readAgain();
        throw error;
      });
      connection = null;
      show();
    });
  };
  show();
  return h(
    "section",
    { class: "panel stack", "aria-label": "Connection" },
    h("h2", null, "Connection to ConnectWise"),
    state,
    form,
    steps,
  );
}

/** @param {Schemas["ConnectionTest"]} result */
function testSteps(result) {
  const rows = result.steps.map((step) => {
    const [tone, text] =
      step.passed === null ? ["", "not tried"] : step.passed ? ["good", "passed"] : ["bad", "failed"];
    return h(
      "li",
      null,
      h("span", { class: `badge ${tone}` }, text),
      " ",
      h("strong", null, step.step),
      ` – ${step.detail}`,
    );
  });
  return h(
    "div",
    { class: "stack" },
    h("h3", null, result.passed ? "The connection works" : "The connection does not work"),
    h("ul", null, rows),
  );
}
