// One push job: its progress, its lines, and what can still be done.

import { call } from "./api.js";
import { button, h } from "./dom.js";
import { confirm } from "./dialog.js";
import { keepFocus } from "./focus.js";
import { plural, startedBy, time, words } from "./format.js";
import { report, reporting, say } from "./notices.js";
import { pager } from "./pager.js";
import { canBePushed, isAtRest, liveProgress, RESULTS } from "./progress.js";
import { pushLinesTable } from "./push_lines.js";
import { changed, go, link } from "./route.js";

/** @typedef {import("../types/call.js").Schemas} Schemas */
/** @typedef {Schemas["PushJob"]} Job */

/** How often the lines are read again while a job runs, in milliseconds. */
const READ_EVERY = 1_500;

/**
 * @param {import("./route.js").Route} route
 * @param {string} id
 */
export async function jobPage(route, id) {
  const job = await call("get", "/api/v1/push-jobs/{id}", { path: { id } });
  const view = new JobView(route, job);
  await view.read();
  view.follow();
  return { title: job.kind === "dry_run" ? "Preview" : "Push", content: view.content, leave: () => view.left.abort() };
}

/**
 * @param {Element[]} some
 * @param {Element[]} others
 */
const sameTexts = (some, others) =>
  some.length === others.length && some.every((one, index) => one.textContent === others[index]?.textContent);

class JobView {
  /**
   * @param {import("./route.js").Route} route
   * @param {Job} job
   */
  constructor(route, job) {
    this.route = route;
    this.job = job;
    this.left = new AbortController();
    this.actions = h("div", { class: "row" });
    this.chips = h("div");
    this.lines = h("div", { class: "stack" });
    this.progress = h("div", { class: "panel" });
    /** @type {Set<string>} */
    this.selected = new Set();
    this.readAt = 0;
  }

  get content() {
    const job = this.job;
    const kind = job.kind === "dry_run" ? "Preview" : "Push";
    const parent = job.parent_job_id
      ? h("a", { href: link(`pushes/${job.parent_job_id}`) }, "the job that it follows")
      : null;
    const about = h(
      "p",
      { class: "muted" },
      `Started ${startedBy(job.trigger)}, by ${job.requested_by}, `,
      time(job.created_at),
      parent ? ", after " : "",
      parent,
    );
    return [
      h("h1", null, `${kind} of ${job.billing_months.join(" and ") || "without lines"}`),
      about,
      this.progress,
      this.narrowed(),
      this.actions,
      this.chips,
      this.lines,
    ];
  }

  /** Whether only the lines of one company are shown. */
  get isNarrowed() {
    return this.route.query.has("company");
  }

  /** Says that lines are left out, and leads to all of them. */
  narrowed() {
    const all = h("a", { href: changed(this.route, { company: null }) }, "Show all lines of this push");
    return this.isNarrowed ? h("p", { class: "panel" }, "Only the lines of one company are shown. ", all) : "";
  }

  async read() {
    const query = { state: this.route.query.get("state"), company_id: this.route.query.get("company"), limit: 50 };
    /** @param {string} [cursor] */
    const read = (cursor) =>
      call("get", "/api/v1/push-jobs/{id}/lines", { path: { id: this.job.id }, query: { ...query, cursor } });
    const table = pushLinesTable("Lines of the push", { select: (line) => this.box(line) });
    const show = (/** @type {Schemas["PushLineList"]} */ page) => {
      for (const line of page.items) if (line.state !== "held") this.selected.delete(line.id);
      this.showActions();
      table.show(page.items);
    };
    const pages = pager({ read, first: await read(), label: "Pages of lines", show });
    this.reload = pages.reload;
    this.lines.replaceChildren(table.frame, pages.bar);
  }

  /** Shows the job, and follows it until it ends. */
  follow() {
    const live = liveProgress(this.job, this.left.signal, (job) => this.show(job));
    this.progress.replaceChildren(live.element);
    live.ended.catch(report);
  }

  /** @param {Job} job */
  show(job) {
    const moved = job.lines.done !== this.job.lines.done || job.state !== this.job.state;
    this.job = job;
    this.showActions();
    keepFocus(() => this.chips.replaceChildren(this.stateChips()));
    const isDue = isAtRest(job) || Date.now() - this.readAt > READ_EVERY;
    if (moved && isDue) {
      this.readAt = Date.now();
      this.reload?.().catch(report);
    }
  }

  stateChips() {
    const now = this.route.query.get("state");
    /** @type {(text: string, count: number, state: string | null) => HTMLElement} */
    const chip = (text, count, state) =>
      h(
        "li",
        null,
        h(
          "a",
          { href: changed(this.route, { state }), "aria-current": now === state ? "true" : null },
          text,
          h("span", { class: "muted number" }, String(count)),
        ),
      );
    const shown = RESULTS.filter((state) => this.job.lines[state] > 0);
    return h(
      "ul",
      { class: "chips", "aria-label": "Lines by state" },
      chip("all", this.job.lines.total, null),
      shown.map((state) => chip(words(state), this.job.lines[state], state)),
    );
  }

  /** @param {Schemas["PushLine"]} line */
  box(line) {
    if (line.state !== "held") return null;
    const box = h("input", {
      type: "checkbox",
      checked: this.selected.has(line.id),
      "aria-label": `Select ${line.company_name}, ${line.product_code}`,
    });
    box.addEventListener("change", () => {
      if (box.checked) this.selected.add(line.id);
      else this.selected.delete(line.id);
      this.showActions();
    });
    return box;
  }

  showActions() {
    const { job } = this;
    const failed = job.lines.failed + job.lines.unverified;
    // Beside the lines of one company, nothing is offered for all.
    const held = this.isNarrowed && this.selected.size === 0 ? 0 : job.lines.held;
    const chosen = this.selected.size > 0 ? `${this.selected.size} selected` : `all ${held} held`;
    const isPush = job.kind === "push";
    const isWhole = !this.isNarrowed;
    const buttons = [
      !isAtRest(job) && !job.cancel_requested
        ? button(
            "Cancel",
            reporting(() => this.cancel()),
            { class: "danger" },
          )
        : null,
      isPush && held > 0
        ? button(
            `Approve ${chosen}`,
            reporting(() => this.decide("approve")),
            { class: "primary" },
          )
        : null,
      isPush && held > 0
        ? button(
            `Drop ${chosen}`,
            reporting(() => this.decide("drop")),
          )
        : null,
      isPush && isWhole && isAtRest(job) && failed > 0
        ? button(
            "Retry what failed",
            reporting(() => this.start("retry")),
          )
        : null,
      isPush && isWhole && isAtRest(job) && job.lines.pushed > 0
        ? button(
            "Revert",
            reporting(() => this.revert()),
            { class: "danger" },
          )
        : null,
      !isPush && isWhole && canBePushed(job) && job.lines.would_push > 0
        ? button(
            `Push ${plural(job.lines.would_push, "line")}`,
            reporting(() => this.push()),
            { class: "primary" },
          )
        : null,
    ];
    const shown = buttons.filter((one) => one !== null);
    // A button that stays is not drawn again: somebody may be about to press it.
    if (sameTexts(shown, [...this.actions.children])) return;
    keepFocus(() => this.actions.replaceChildren(...shown));
  }

  async cancel() {
    this.show(await call("post", "/api/v1/push-jobs/{id}/cancel", { path: { id: this.job.id } }));
    say("The push stops after the lines that are being written.");
  }

  /** @param {"approve" | "drop"} verb */
  async decide(verb) {
    const ids = [...this.selected];
    const count = plural(ids.length || this.job.lines.held, "held line");
    const text = verb === "approve" ? `${count} will be written.` : `${count} will not be written.`;
    const word = verb === "approve" ? "Approve" : "Drop";
    /** @type {Job | undefined} */
    let decided;
    await confirm(`${word}?`, text, word, async () => {
      const options = { path: { id: this.job.id }, body: ids.length > 0 ? { push_line_ids: ids } : {} };
      decided =
        verb === "approve"
          ? await call("post", "/api/v1/push-jobs/{id}/lines/approve", options)
          : await call("post", "/api/v1/push-jobs/{id}/lines/drop", options);
    });
    // The page may have been left meanwhile.
    if (!decided || this.left.signal.aborted) return;
    this.selected.clear();
    this.left.abort();
    this.left = new AbortController();
    this.job = decided;
    this.follow();
    await this.reload?.();
  }

  async revert() {
    const text = `Every addition that this push wrote gets the quantity back that it had before: ${plural(this.job.lines.pushed, "line")}. A quantity that was changed since stays.`;
    await confirm("Revert this push?", text, "Revert", () => this.start("revert"));
  }

  /** @param {"retry" | "revert"} verb */
  async start(verb) {
    const options = { path: { id: this.job.id }, once: true };
    const job =
      verb === "retry"
        ? await call("post", "/api/v1/push-jobs/{id}/retry", options)
        : await call("post", "/api/v1/push-jobs/{id}/revert", options);
    go(link(`pushes/${job.id}`));
  }

  async push() {
    const job = await call("post", "/api/v1/push-jobs", { body: { from_dry_run: this.job.id }, once: true });
    go(link(`pushes/${job.id}`));
  }
}
