// Calls the API. The key is kept in the session's storage only: it is gone when the window is closed.

/** @typedef {import("../types/call.js").Problem} ProblemBody */

const KEY = "connectwise-billing.key";
const USER = "connectwise-billing.user";

/** The key and the name of whoever signed in. */
export const session = {
  get key() {
    return sessionStorage.getItem(KEY);
  },
  get user() {
    return sessionStorage.getItem(USER) ?? "";
  },
  /**
   * @param {string} key
   * @param {string} user
   */
  start(key, user) {
    sessionStorage.setItem(KEY, key);
    sessionStorage.setItem(USER, user);
  },
  end() {
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(USER);
  },
};

/** Tells the page that the key is not, or no longer, valid. */
export const signedOut = new EventTarget();

/** An error that the API reported, or a request that did not arrive. */
export class Problem extends Error {
  /**
   * @param {number} status 0 if there was no response
   * @param {string} detail
   * @param {ProblemBody | null} body
   */
  constructor(status, detail, body) {
    super(detail);
    this.status = status;
    this.body = body;
  }

  get code() {
    return this.body?.code ?? null;
  }

  get fields() {
    return this.body?.errors ?? [];
  }
}

/** A random text of 32 hexadecimal digits. Unlike `crypto.randomUUID`, it can be made on a page without HTTPS, too. */
function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The address of an operation.
 * @param {string} path
 * @param {{ path?: Record<string, string>, query?: Record<string, any> }} options
 */
function address(path, options) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(options.path?.[name] ?? ""));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined && value !== null && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${filled}?${text}` : filled;
}

/**
 * The bytes of a text in UTF-8, each as one letter: `fetch` takes no other letters in a header.
 * @param {string} text
 */
const inUtf8 = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/**
 * @param {string} method
 * @param {any} options
 */
function request(method, options) {
  /** @type {Record<string, string>} */
  const headers = { Authorization: `Bearer ${inUtf8(session.key ?? "")}` };
  if (session.user) headers["X-Acting-User"] = inUtf8(session.user);
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (options.version !== undefined) headers["If-Match"] = `"${options.version}"`;
  if (options.once) headers["Idempotency-Key"] = random();
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  return {
    method: method.toUpperCase(),
    headers,
    body,
    signal: options.signal,
    cache: /** @type {const} */ ("no-store"),
  };
}

let reading = 0;

/** @param {number} change */
function count(change) {
  reading += change;
  const bar = document.getElementById("loading");
  if (bar) bar.hidden = reading === 0;
}

/** @param {Response} response */
async function problem(response) {
  /** @type {ProblemBody | null} */
  let body = null;
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) body = await response.json();
  const detail = body?.detail ?? `The service answered with the status ${response.status}.`;
  const error = new Problem(response.status, detail, body);
  if (response.status === 401) signedOut.dispatchEvent(new Event("401"));
  return error;
}

/**
 * Sends a request, and reads its response. Throws a `Problem`.
 * @param {string} method
 * @param {string} path
 * @param {any} options
 * @param {(response: Response) => Promise<any>} read
 */
async function send(method, path, options, read) {
  count(1);
  try {
    const response = await fetch(address(path, options), request(method, options));
    if (!response.ok) throw await problem(response);
    return await read(response);
  } catch (error) {
    if (error instanceof Problem || /** @type {Error} */ (error).name === "AbortError") throw error;
    throw new Problem(0, "The service cannot be reached. Try again in a moment.", null);
  } finally {
    count(-1);
  }
}

/**
 * Calls an operation of the API, and returns the body of its response; undefined if it has none.
 * @type {import("../types/call.js").Call}
 */
export const call = async (method, path, ...[options]) => {
  return send(method, String(path), options ?? {}, async (response) =>
    response.status === 204 ? undefined : response.json(),
  );
};

/**
 * Saves a table that the API exports as a file, and returns the file's name.
 * @type {import("../types/call.js").Download}
 */
export const download = async (path, options) => {
  const [response, content] = await send("get", String(path), options, async (response) => [
    response,
    await response.blob(),
  ]);
  const named = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = named?.[1] ?? "export.csv";
  link.click();
  // Some browsers read the content only after this.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return link.download;
};

/**
 * Watches a push job until it ends, the signal aborts, or the key is no longer valid. Connects again if the service
 * restarts.
 * @param {string} id
 * @param {(job: import("../types/call.js").Schemas["PushJob"]) => void} show
 * @param {AbortSignal} signal
 * @param {(isLost: boolean) => void} [lost] told when the service cannot be reached, and when it can again
 */
export async function watch(id, show, signal, lost) {
  let wait = 500;
  while (!signal.aborted) {
    try {
      const path = /** @type {const} */ ("/api/v1/push-jobs/{id}/events");
      const options = { path: { id }, signal };
      const response = await fetch(address(path, options), request("get", options));
      if (!response.ok) throw await problem(response);
      wait = 500;
      lost?.(false);
      if (await readEvents(response, show)) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) throw error;
    }
    if (signal.aborted) return;
    lost?.(true);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 10_000);
  }
}

/**
 * Reads the events of a response. Returns whether the job has ended.
 * @param {Response} response
 * @param {(job: any) => void} show
 */
async function readEvents(response, show) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    text += decoder.decode(value, { stream: true });
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event);
      if (data?.[1]) show(JSON.parse(data[1]));
      if (/^event: end$/m.test(event)) return true;
    }
  }
}
