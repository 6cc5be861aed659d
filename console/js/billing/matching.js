// Matches companies automatically: shows what would be matched, then does it.

import { call } from "../api.js";
import { framed, h } from "../dom.js";
import { openForm } from "../dialog.js";
import { badge, plural } from "../format.js";
import { say } from "../notices.js";

/** How many companies are listed. */
const SHOWN = 200;

/** @param {import("./page.js").View} view */
export async function openMatching(view) {
  const found = await call("post", "/api/v1/companies/auto-match", { body: { dry_run: true } });
  const fits = (/** @type {{ outcome: string }} */ one) => Number(one.outcome === "proposed");
  const sorted = [...found.proposals].sort((a, b) => fits(b) - fits(a));
  const rows = sorted.slice(0, SHOWN).map((one) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, one.name, h("small", null, one.external_id)),
      h("td", null, badge(one.outcome)),
      h(
        "td",
        null,
        one.candidates.map((candidate) => h("div", null, `${candidate.identifier} – ${candidate.name}`)),
      ),
    ),
  );
  const head = h(
    "thead",
    null,
    h(
      "tr",
      null,
      ["Company", "Outcome", "ConnectWise company"].map((name) => h("th", { scope: "col" }, name)),
    ),
  );
  const fitting = found.proposals.filter(fits).length;
  const more = found.proposals.length - rows.length;
  const table = h("table", null, head, h("tbody", null, rows));
  const isMatched = await openForm({
    title: "Match companies automatically",
    intro: `${plural(fitting, "company", "companies")} would be matched, by equal identifier, then by equal name. The others need a choice.`,
    body: [
      rows.length > 0
        ? framed("Companies without a match", table)
        : h("p", { class: "empty" }, "Every company is matched."),
      more > 0 ? h("p", { class: "muted" }, `And ${plural(more, "other")}.`) : null,
    ],
    save: "Match them",
    canSave: fitting > 0,
    onsave: async () => {
      const done = await call("post", "/api/v1/companies/auto-match", { body: { dry_run: false } });
      say(`${plural(done.applied, "company", "companies")} matched.`);
    },
  });
  if (isMatched) await view.again();
}
