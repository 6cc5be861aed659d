// Bills one month: companies, rules, usage, a dry run, a push, and its revert. See README.md.

import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];
type BillingLine = Schemas["BillingLine"];
type Problem = Schemas["Problem"];
type PushJob = Schemas["PushJob"];

const PRODUCT_CODE = "EXAMPLE-BACKUP";

const RULES: [Schemas["Target"], string][] = [
  ["agreement", 'type/name = "SP Backup"'],
  ["addition", 'product/identifier = "BKP-GB"'],
];

// The vendor's customers, what finds each in ConnectWise, and the GB it used. Amounts are strings, because a
// JavaScript number would round long decimals.
const CUSTOMERS = [
  { external_id: "EXAMPLE-1", name: "Example West", search: "TwinWest", amount: "1681.3" },
  { external_id: "EXAMPLE-2", name: "Example Law", search: "Beacon Hill", amount: "420.5" },
  { external_id: "EXAMPLE-3", name: "Example Marine", search: "Blue Heron", amount: "999.99" },
];
type Company = (typeof CUSTOMERS)[number] & { id: string };

const api = createClient<paths>({
  baseUrl: setting("API_URL"),
  headers: { Authorization: `Bearer ${setting("API_KEY")}` },
});

/** An error that the API reported. */
class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

/** Returns the body of a response, or throws the problem that it reports. */
async function body<T>(request: Promise<{ data?: T; error?: Problem; response: Response }>): Promise<T> {
  const { data, error, response } = await request;
  if (data !== undefined) return data;
  // A proxy on the way can fail, too, and does not send a Problem.
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  if (error && isProblem) throw new ProblemError(error);
  throw new Error(`${response.url} returned ${response.status} without a problem.`);
}

async function checkConnection(): Promise<void> {
  const site = process.env["CONNECTWISE_URL"];
  if (site) {
    // The keys of the demo's stand-in for ConnectWise.
    const keys = { public_key: "sandboxpublickey", private_key: "sandboxprivatekey" };
    const ids = { company_id: "sandbox", client_id: "00000000-0000-4000-8000-000000000000" };
    await body(api.PUT("/api/v1/connection", { body: { site, ...ids, ...keys } }));
  }
  const connection = await body(api.GET("/api/v1/connection"));
  const test = await body(api.POST("/api/v1/connection/test"));
  // `passed` is null for the steps after the first failure.
  const rows = test.steps.map(({ step, passed, detail }) => [step, passed ?? "not tested", detail]);
  print(`1. The connection to ${connection.site}`, ["step", "passed", "detail"], rows);
  if (!test.passed) throw new Error("The connection to ConnectWise does not work.");
}

async function createCompanies(): Promise<Company[]> {
  const companies = CUSTOMERS.map(({ external_id, name }) => ({ external_id, name }));
  const { items } = await body(api.POST("/api/v1/companies/batch", { body: { companies } }));
  print("2. Companies", ["company", "outcome"], items.map((item) => [item.external_id, item.outcome]));
  return CUSTOMERS.map((customer) => {
    const id = items.find((item) => item.external_id === customer.external_id)?.id;
    if (!id) throw new Error(`The response has no id for ${customer.external_id}.`);
    return { ...customer, id };
  });
}

async function matchCompanies(companies: Company[]): Promise<void> {
  const rows = [];
  for (const { id, name, search } of companies) {
    const { items } = await body(api.GET("/api/v1/connectwise/companies", { params: { query: { search } } }));
    const [found] = items;
    // Do not guess: a wrong match bills another customer.
    if (!found || items.length > 1) throw new Error(`${items.length} ConnectWise companies match "${search}".`);
    rows.push([name, found.name, found.identifier, (await match(id, found.id)) ? "shared" : ""]);
  }
  print("3. Matched to companies in ConnectWise", ["company", "in ConnectWise", "identifier", ""], rows);
}

/** Matches a company, and returns whether it shares the ConnectWise company with another company. */
async function match(id: string, connectwiseId: string, shared = false): Promise<boolean> {
  const options = { params: { path: { id } }, body: { id: connectwiseId, shared } };
  const request = api.PUT("/api/v1/companies/{id}/connectwise-company", options);
  const { error } = await request;
  // A company of the demo has it. Sharing bills nothing twice: a push skips lines that would write one addition.
  if (error?.code === "connectwise_company_taken" && !shared) return match(id, connectwiseId, true);
  await body(request);
  return shared;
}

async function findOrCreateProduct(): Promise<string> {
  const { items } = await body(api.GET("/api/v1/products", { params: { query: { code: PRODUCT_CODE } } }));
  const content = { code: PRODUCT_CODE, name: "Example backup", unit: "GB", block_size: "100" };
  const product = items[0] ?? (await body(api.POST("/api/v1/products", { body: content })));
  const { id, code, name, block_size, unit } = product;
  print("4. The product", ["code", "name", "block"], [[code, name, `${block_size} ${unit}`]]);
  return id;
}

function preview(product_id: string, target: Schemas["Target"], expression: string) {
  return api.POST("/api/v1/matching-rules/preview", { body: { product_id, target, expression, limit: 1 } });
}

/** Shows how to mark an error in a rule where it is. */
async function showRuleError(productId: string): Promise<void> {
  const expression = 'type/name starts with "SP Backup"';
  const { error } = await preview(productId, "agreement", expression);
  const field = error?.errors?.[0];
  if (!field) throw new Error("An invalid rule was accepted.");
  const marks = " ".repeat(field.offset ?? 0) + "^".repeat(field.length || 1);
  console.log(`\n5. A rule with an error\n${expression}\n${marks}\n${field.message}`);
}

async function saveRules(product_id: string): Promise<void> {
  const { items } = await body(api.GET("/api/v1/matching-rules", { params: { query: { product_id } } }));
  const rows = [];
  for (const [target, expression] of RULES) {
    const { agreements, additions } = await body(preview(product_id, target, expression));
    const counts = target === "agreement" ? agreements : additions;
    rows.push([target, expression, counts.resolved, counts.ambiguous, counts.unresolved]);
    const id = items.find((rule) => rule.target === target)?.id;
    await (id
      ? body(api.PUT("/api/v1/matching-rules/{id}", { params: { path: { id } }, body: { expression } }))
      : body(api.POST("/api/v1/matching-rules", { body: { product_id, target, expression } })));
  }
  print("6. The rules, previewed and saved", ["target", "rule", "resolved", "ambiguous", "unresolved"], rows);
}

async function addUsage(): Promise<void> {
  const common = { product_code: PRODUCT_CODE, measured_at: new Date().toISOString(), source: "example" };
  const records = CUSTOMERS.map(({ external_id, amount }) => ({ company_external_id: external_id, amount, ...common }));
  const params = idempotencyKey();
  const rows = [];
  for (const request of ["first", "repeated"]) {
    const sent = api.POST("/api/v1/usage", { params, body: { records } });
    const { added, corrected, duplicates } = await body(sent);
    const { response } = await sent;
    rows.push([request, added, corrected, duplicates, response.headers.get("Idempotent-Replayed") ?? "false"]);
  }
  print("7. Usage", ["request", "added", "corrected", "duplicates", "replayed"], rows);
  if (rows[1]?.at(-1) !== "true") throw new Error("The repeated request was executed again.");
}

/** Lists the product's billing lines of our companies; it also has lines of the demo's companies. */
async function billingLines(title: string, product_id: string, companies: Company[]): Promise<BillingLine[]> {
  const ours = new Set(companies.map(({ id }) => id));
  const lines = [];
  let cursor: string | null = null;
  do {
    const query = { product_id, limit: 50, ...(cursor && { cursor }) };
    const page: Schemas["BillingLineList"] = await body(api.GET("/api/v1/billing-lines", { params: { query } }));
    lines.push(...page.items.filter((line) => ours.has(line.company.id)));
    cursor = page.next_cursor;
  } while (cursor);
  const rows = lines.map(({ company, usage, agreement, addition, push_enabled }) => {
    const [agreed, added] = [agreement.name ?? agreement.status, addition.name ?? addition.status];
    return [company.name, usage.amount, usage.quantity, agreed, added, push_enabled];
  });
  print(title, ["company", "GB", "quantity", "agreement", "addition", "enabled"], rows);
  return lines;
}

/** Chooses the first candidate wherever a rule matched several. In real life a person chooses. */
async function chooseByHand(lines: BillingLine[]): Promise<void> {
  const rows = [];
  for (const { id, company, agreement } of lines) {
    const params = { path: { billing_line_id: id } };
    const [firstAgreement] = agreement.candidates;
    if (firstAgreement) {
      const choice = { agreement_id: firstAgreement.id };
      await body(api.PUT("/api/v1/agreement-mappings/{billing_line_id}", { params, body: choice }));
      rows.push([company.name, "agreement", firstAgreement.name, agreement.candidates.length]);
    }
    // Read only now: an addition has candidates only once its agreement is resolved.
    const { mapping: addition } = await body(api.GET("/api/v1/addition-mappings/{billing_line_id}", { params }));
    const [firstAddition] = addition.candidates;
    if (firstAddition) {
      const choice = { addition_id: firstAddition.id };
      await body(api.PUT("/api/v1/addition-mappings/{billing_line_id}", { params, body: choice }));
      rows.push([company.name, "addition", firstAddition.name, addition.candidates.length]);
    }
  }
  print("9. Chosen by hand; a choice stays for later months", ["company", "target", "chosen", "candidates"], rows);
}

/** Reads a job's server-sent events. They come through `fetch`, because `EventSource` cannot send the API key. */
async function* jobEvents(id: string): AsyncGenerator<{ event: string; job: PushJob }> {
  const params = { path: { id } };
  const stream = await body(api.GET("/api/v1/push-jobs/{id}/events", { params, parseAs: "stream" }));
  const reader = stream?.pipeThrough(new TextDecoderStream()).getReader();
  let received = "";
  try {
    for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
      const events = (received + part.value).split("\n\n");
      received = events.pop() ?? "";
      for (const text of events) {
        const event = /^event: (.*)$/m.exec(text)?.[1] ?? "message";
        const data = /^data: (.*)$/m.exec(text)?.[1];
        // An event without data is a comment that keeps the connection open.
        if (data !== undefined) yield { event, job: JSON.parse(data) };
      }
    }
  } finally {
    await reader?.cancel();
  }
}

/** Follows a job to its end, and prints its lines. Returns the number of lines that it pushed. */
async function watch(title: string, id: string): Promise<number> {
  console.log(`\n${title}`);
  // If the service restarts, the stream ends early. The first event of the next stream has the whole state.
  for (;;) {
    for await (const { event, job } of jobEvents(id)) {
      console.log(`${job.state}: ${job.lines.done} of ${job.lines.total} lines are done`);
      if (job.state === "waiting_for_approval") throw new Error("Large changes wait for a person's approval.");
      if (event !== "end") continue;
      const { items } = await body(api.GET("/api/v1/push-jobs/{id}/lines", { params: { path: { id } } }));
      const rows = items.map((line) => [line.company_name, line.from, line.to, line.state, line.reason]);
      print("", ["company", "from", "to", "state", "reason"], rows);
      if (job.state !== "succeeded") throw new Error(`The push job is ${job.state}. ${job.detail ?? ""}`);
      return job.lines.pushed;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** A new key for a new request: if the response is lost, the same request with the same key is executed only once. */
function idempotencyKey() {
  return { header: { "Idempotency-Key": randomUUID() } };
}

async function startJob(request: Schemas["CreatePushJobRequest"]): Promise<string> {
  return (await body(api.POST("/api/v1/push-jobs", { params: idempotencyKey(), body: request }))).id;
}

async function main(): Promise<void> {
  await checkConnection();
  const companies = await createCompanies();
  await matchCompanies(companies);
  const product_id = await findOrCreateProduct();
  await showRuleError(product_id);
  await saveRules(product_id);
  await addUsage();
  const lines = await billingLines("8. The billing lines", product_id, companies);
  await chooseByHand(lines);
  const ids = lines.map(({ id }) => id);
  await body(api.PATCH("/api/v1/billing-lines", { body: { ids, push_enabled: true } }));
  await billingLines("10. The billing lines, enabled", product_id, companies);

  const company_ids = companies.map(({ id }) => id);
  const dryRun = await startJob({ dry_run: true, product_id, company_ids });
  await watch("11. The dry run: what a push would write", dryRun);
  const push = await startJob({ from_dry_run: dryRun });
  const pushed = await watch("12. The push", push);
  const params = { path: { id: push }, ...idempotencyKey() };
  const revert = await body(api.POST("/api/v1/push-jobs/{id}/revert", { params }));
  const reverted = await watch("13. The revert", revert.id);
  if (reverted !== pushed) throw new Error(`Only ${reverted} of ${pushed} lines were reverted.`);
  console.log(`\nThe month is done: ${pushed} lines pushed, ${reverted} reverted.`);
}

function setting(name: string): string {
  const value = process.env[name];
  if (value) return value;
  console.error(`Set the environment variable ${name}.`);
  process.exit(1);
}

function print(title: string, head: string[], rows: unknown[][]): void {
  const cells = [head, ...rows].map((row) => row.map((value) => String(value ?? "")));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  if (title) console.log(`\n${title}`);
  if (rows.length === 0) return console.log("nothing");
  for (const row of cells) {
    console.log(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd());
  }
}

main().catch((error: unknown) => {
  if (error instanceof ProblemError) {
    const { status, title, detail, errors = [] } = error.problem;
    console.error(`${status} ${title}: ${detail}`);
    for (const { field, message } of errors) console.error(`${field}: ${message}`);
  } else {
    console.error(error);
  }
  process.exitCode = 1;
});
