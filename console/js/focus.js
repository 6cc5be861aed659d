// Keeps the keyboard's focus where it was when what had it is drawn again.

/**
 * What tells an element from the others of a page: its row and part, or its label.
 * @param {Element} element
 */
function key(element) {
  const row = element.closest("[data-line]");
  const part = element.getAttribute("data-part") ?? element.getAttribute("aria-label") ?? element.id ?? "";
  const label = part.startsWith("id-") ? "" : part;
  const line = row?.getAttribute("data-line") ?? "";
  // Without digits: counts change.
  return [element.tagName, line, label || (element.textContent ?? "").replace(/\d/g, "")].join(" ");
}

/** Remembers what has the focus. Returns a function that gives it back, if it was lost. */
export function rememberFocus() {
  const before = document.activeElement;
  if (!before || before === document.body) return () => {};
  const wanted = key(before);
  return () => {
    const now = document.activeElement;
    if (now && now !== document.body && now.isConnected) return;
    const same = [...document.querySelectorAll(before.tagName)].find((one) => key(one) === wanted);
    /** @type {HTMLElement | undefined} */ (same)?.focus({ preventScroll: true });
  };
}

/**
 * Draws something again, and keeps the focus.
 * @param {() => void} draw
 */
export function keepFocus(draw) {
  const restore = rememberFocus();
  draw();
  restore();
}
