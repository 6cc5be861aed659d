// The page and its filters are in the address, after the #: it can be kept, shared and reloaded.

/**
 * @typedef {object} Route
 * @property {string} page
 * @property {string | null} id
 * @property {URLSearchParams} query
 */

/**
 * The route of the current address.
 * @returns {Route}
 */
export function current() {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", id = null] = path.split("/");
  return { page: page || "billing", id: id === null ? null : decoded(id), query: new URLSearchParams(query) };
}

/**
 * A part of an address. One that somebody typed may be wrong.
 * @param {string} text
 */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * The address of a page. Filters without a value are left out.
 * @param {string} path
 * @param {Record<string, string | null | undefined>} [query]
 */
export function link(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/**
 * The address of the current page with other filters.
 * @param {Route} route
 * @param {Record<string, string | null>} changes
 */
export function changed(route, changes) {
  const path = route.id === null ? route.page : `${route.page}/${encodeURIComponent(route.id)}`;
  return link(path, { ...Object.fromEntries(route.query), ...changes });
}

/** @param {string} address */
export function go(address) {
  if (location.hash === address) window.dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = address;
}
