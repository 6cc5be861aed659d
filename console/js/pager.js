// Pages of a list, by the API's cursors.

import { button, h } from "./dom.js";
import { keepFocus } from "./focus.js";
import { decimal } from "./format.js";
import { reporting } from "./notices.js";

/**
 * @template Item
 * @typedef {{ items: Item[], next_cursor: string | null, total?: number | null }} List
 */

/**
 * A list that shows one page at a time.
 * @template Item
 * @template {List<Item>} Page
 * @param {{
 *   read: (cursor: string | undefined) => Promise<Page>,
 *   show: (page: Page) => void,
 *   first: Page,
 *   label: string,
 * }} options `read` reads the page at a cursor. `first` is shown at once.
 */
export function pager(options) {
  /** @type {(string | undefined)[]} */
  const cursors = [undefined];
  const status = h("span", { class: "muted", role: "status" });
  let total = options.first.total ?? null;
  let before = 0;
  /** @type {number[]} */
  const sizes = [];
  let page = options.first;

  const show = () => {
    total = page.total ?? total;
    const from = before + 1;
    const to = before + page.items.length;
    const of = total === null ? "" : ` of ${decimal(String(total))}`;
    status.textContent = page.items.length === 0 ? "none" : `${decimal(String(from))}–${decimal(String(to))}${of}`;
    previous.disabled = cursors.length === 1;
    next.disabled = page.next_cursor === null;
    keepFocus(() => options.show(page));
  };
  let isMoving = false;
  let asked = 0;
  const move = reporting(
    /** @param {1 | -1} step */
    async (step) => {
      if (isMoving) return;
      isMoving = true;
      asked += 1;
      try {
        const cursor = step === 1 ? (page.next_cursor ?? undefined) : cursors.at(-2);
        const read = await options.read(cursor);
        if (step === 1) {
          sizes.push(page.items.length);
          before += page.items.length;
          cursors.push(cursor);
        } else {
          before -= sizes.pop() ?? 0;
          cursors.pop();
        }
        page = read;
        show();
      } finally {
        isMoving = false;
      }
    },
  );
  const previous = button("Previous", () => move(-1));
  const next = button("Next", () => move(1));
  const bar = h("nav", { class: "row", "aria-label": options.label }, previous, status, next);
  show();
  return {
    bar,
    /** Reads the current page again. */
    reload: async () => {
      if (isMoving) return;
      asked += 1;
      const mine = asked;
      const read = await options.read(cursors.at(-1));
      // Another page, or a newer answer, may be shown by now.
      if (mine !== asked) return;
      page = read;
      show();
    },
  };
}
