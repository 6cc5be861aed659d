// The selected lines, and what can be done with all of them at once. They stay selected on the next page of the list.

import { call, Problem, watch } from "../api.js";
import { button, field, h, select } from "../dom.js";
import { confirm, openForm } from "../dialog.js";
import { plural } from "../format.js";
import { report, reporting, say } from "../notices.js";
import { isAtRest } from "../progress.js";
import { openPush } from "../push_now.js";

/** @typedef {import("../../types/call.js").Line} Line */
/** @typedef {import("../../types/call.js").Schemas} Schemas */
/** @typedef {import("./page.js").View} View */

/** @param {View} view */
export function selection(view) {
  /** @type {Set<string>} */
  const ids = new Set();
  const bar = h("div", { class: "selection", role: "region", "aria-label": "Selected lines", hidden: true });
  const count = h("strong", { role: "status" });
  const lines = () => [...ids].map((id) => view.line(id));

  const show = () => {
    bar.hidden = ids.size === 0;
    count.textContent = `${plural(ids.size, "line")} selected`;
    held.hidden = !lines().some((line) => line.need === "approval");
    choose.hidden = candidates(lines()).size === 0;
  };
  /** @param {Partial<Schemas["UpdateBillingLinesRequest"]>} changes */
  const change = async (changes) => {
    // What was typed into one of them just before is saved first.
    await Promise.all([...ids].map((id) => view.changes.get(id)));
    const chosen = lines();
    const versions = Object.fromEntries(chosen.map((line) => [line.id, line.version]));
    try {
      const body = { ids: chosen.map((line) => line.id), versions, ...changes };
      const answer = await call("patch", "/api/v1/billing-lines", { body });
      view.update(answer.items);
      say(`${plural(answer.changed, "line")} changed.`);
    } catch (error) {
      await showConflicts(error, chosen, view);
    }
  };
  const clear = () => {
    ids.clear();
    view.table?.clear();
    show();
  };
  const choose = button(
    "Choose…",
    reporting(() => chooseForAll(lines(), view)),
  );
  const held = button(
    "Approve",
    reporting(() => approve(lines(), view)),
  );
  bar.append(
    count,
    button(
      "Enable push",
      reporting(() => change({ push_enabled: true })),
    ),
    button(
      "Disable push",
      reporting(() => change({ push_enabled: false })),
    ),
    button(
      "Block size…",
      reporting(() => askBlockSize(change)),
    ),
    choose,
    held,
    button("Push…", () => openPush(view, lines()), { class: "primary" }),
    button("Clear", clear),
  );
  return {
    bar,
    show,
    get lines() {
      return lines();
    },
    /** @param {string} id */
    has: (id) => ids.has(id),
    /**
     * @param {Line} line
     * @param {boolean} isSelected
     */
    set(line, isSelected) {
      if (isSelected) ids.add(line.id);
      else ids.delete(line.id);
      show();
    },
  };
}

/**
 * If somebody else changed some of the lines, shows them as they are now, and throws which ones they are. Nothing was
 * changed; the lines stay selected.
 * @param {unknown} error
 * @param {Line[]} chosen
 * @param {View} view
 */
async function showConflicts(error, chosen, view) {
  if (!(error instanceof Problem)) throw error;
  const conflicts = error.fields.filter((one) => one.code === "version_mismatch");
  if (conflicts.length === 0) throw error;
  const changed = conflicts
    .map((one) => chosen[Number(one.field.split("/").at(-1))])
    .filter((line) => line !== undefined);
  await view.readAgain(changed.map((line) => line.id));
  const names = changed
    .slice(0, 5)
    .map((line) => line.company.name)
    .join(", ");
  const text = `Somebody else changed ${changed.length} of these lines (${names}). Look at them as they are now, then try again.`;
  throw new Problem(error.status, text, null);
}

/** @param {(changes: Partial<Schemas["UpdateBillingLinesRequest"]>) => Promise<void>} change */
async function askBlockSize(change) {
  const size = h("input", { inputmode: "decimal" });
  await openForm({
    title: "Block size of the selected lines",
    body: [field("Block size", size, "Leave it empty to use the product's.")],
    save: "Save",
    fields: { "/block_size": size },
    onsave: () => change({ block_size: size.value.trim() || null }),
  });
}

/**
 * What the rules leave open: for each name, the lines that have a candidate of that name.
 * @param {Line[]} lines
 */
function candidates(lines) {
  /** @type {Map<string, { target: "agreement" | "addition", name: string, choices: { line: Line, id: string }[] }>} */
  const found = new Map();
  for (const line of lines) {
    const target = line.need === "agreement" || line.need === "addition" ? line.need : null;
    for (const candidate of target ? line[target].candidates : []) {
      const key = `${target} ${candidate.name}`;
      const entry = found.get(key) ?? {
        target: /** @type {"agreement" | "addition"} */ (target),
        name: candidate.name,
        choices: [],
      };
      entry.choices.push({ line, id: candidate.id });
      found.set(key, entry);
    }
  }
  return found;
}

/**
 * Chooses the agreement or addition of one name for all lines that have it as a candidate.
 * @param {Line[]} lines
 * @param {View} view
 */
async function chooseForAll(lines, view) {
  const found = candidates(lines);
  /** @type {[string, string][]} */
  const options = [...found].map(([key, one]) => [
    key,
    `${one.target}: ${one.name} (${plural(one.choices.length, "line")})`,
  ]);
  const list = select(options, options[0]?.[0] ?? "");
  const saved = await openForm({
    title: "Choose for the selected lines",
    intro: "Lines that have no candidate of this name stay as they are.",
    body: [field("Agreement or addition", list)],
    save: "Save",
    fields: { "/choices": list },
    onsave: async () => {
      const one = found.get(list.value);
      if (!one) return;
      /** @type {"each"} */
      const mode = "each";
      // The versions of now: a change that was being saved when the dialog opened has made a new one.
      await Promise.all(one.choices.map(({ line }) => view.changes.get(line.id)));
      const chosen = one.choices.map(({ line, id }) => ({
        billing_line_id: line.id,
        version: view.line(line.id).version,
        id,
      }));
      const answer =
        one.target === "agreement"
          ? await call("patch", "/api/v1/agreement-mappings", {
              body: { mode, choices: chosen.map(({ id, ...line }) => ({ ...line, agreement_id: id })) },
            })
          : await call("patch", "/api/v1/addition-mappings", {
              body: { mode, choices: chosen.map(({ id, ...line }) => ({ ...line, addition_id: id })) },
            });
      const failed = answer.items.flatMap(({ error }, index) =>
        error ? [`${one.choices[index]?.line.company.name}: ${error.message}`] : [],
      );
      const more = failed.length > 3 ? `. And ${failed.length - 3} more` : "";
      if (failed.length > 0) report(new Problem(422, `${failed.slice(0, 3).join(". ")}${more}`, null));
      say(`${plural(answer.changed, "line")} changed.`);
    },
  });
  if (saved) await view.again();
}

/**
 * Approves what the last pushes hold of these lines, and shows them again when they are pushed.
 * @param {Line[]} lines
 * @param {View} view
 */
async function approve(lines, view) {
  const held = lines.filter((line) => line.need === "approval" && line.last_push);
  /** @type {Map<string, Set<string>>} */
  const jobs = new Map();
  for (const line of held) {
    const id = line.last_push?.push_job_id ?? "";
    jobs.set(id, (jobs.get(id) ?? new Set()).add(line.id));
  }
  let approved = 0;
  const isApproved = await confirm(
    "Approve the held lines?",
    `${plural(held.length, "line")} will be pushed with the quantities that were held.`,
    "Approve",
    async () => {
      for (const [id, wanted] of jobs) {
        const ids = (await heldLines(id, view.summary.product_id))
          .filter((line) => wanted.has(line.billing_line_id))
          .map((line) => line.id);
        if (ids.length > 0)
          await call("post", "/api/v1/push-jobs/{id}/lines/approve", { path: { id }, body: { push_line_ids: ids } });
        approved += ids.length;
      }
      say(
        approved > 0
          ? `${plural(approved, "line")} approved: being pushed.`
          : "Somebody else has decided about these lines already.",
      );
    },
  );
  if (!isApproved) return;
  for (const id of jobs.keys()) await untilAtRest(id, view.left.signal);
  if (!view.left.signal.aborted) await view.again();
}

/**
 * Waits until a push job has nothing to do.
 * @param {string} id
 * @param {AbortSignal} left
 */
async function untilAtRest(id, left) {
  const rested = new AbortController();
  const signal = AbortSignal.any([left, rested.signal]);
  await watch(id, (job) => isAtRest(job) && rested.abort(), signal);
}

/**
 * The lines of a product that a push job holds.
 * @param {string} id
 * @param {string} product
 */
async function heldLines(id, product) {
  /** @type {Schemas["PushLine"][]} */
  const found = [];
  /** @type {string | null} */
  let cursor = null;
  do {
    const query = { state: "held", product_id: product, limit: 500, cursor };
    /** @type {Schemas["PushLineList"]} */
    const page = await call("get", "/api/v1/push-jobs/{id}/lines", { path: { id }, query });
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return found;
}
