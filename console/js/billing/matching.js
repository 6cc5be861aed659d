// Matches companies automatically: shows what would be matched, then does it.

import { call } from "../api.js";
import { h } from "../dom.js";
import { openForm } from "../dialog.js";
import { badge, plural } from "../format.js";
import { say } from "../notices.js";

/** @param {import("./page.js").View} view */
export async function openMatching(view) {
  const found = await call("post", "/api/v1/companies/auto-match", { body: { dry_run: true } });
  const rows = found.proposals.map((one) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, one.name, h("small", null, one.external_id)),
      h("td", null, badge(one.outcome)),
      h("td", null, one.candidates.map((candidate) => h("div", null, `${candidate.identifier} – ${candidate.name}`))),
    ),
  );
  const head = h("thead", null, h("tr", null, ["Company", "Outcome", "ConnectWise company"].map((name) => h("th", { scope: "col" }, name))));
  const fitting = found.proposals.filter((one) => one.outcome === "proposed").length;
  await openForm({
    title: "Match companies automatically",
    intro: `${plural(fitting, "company", "companies")} would be matched, by equal identifier, then by equal name. The others need a choice.`,
    body: [rows.length > 0 ? h("div", { class: "table-frame" }, h("table", null, head, h("tbody", null, rows))) : h("p", { class: "empty" }, "Every company is matched.")],
    save: "Match them",
    onsave: async () => {
      const done = await call("post", "/api/v1/companies/auto-match", { body: { dry_run: false } });
      say(`${plural(done.applied, "company", "companies")} matched.`);
      await view.again();
    },
  });
}
