"""Bills one month: companies, rules, usage, a dry run, a push, and its revert. See README.md."""

import datetime
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import TypeVar

import httpx

from connectwise_billing_client import AuthenticatedClient, models
from connectwise_billing_client.api.billing_lines import list_billing_lines, update_billing_lines
from connectwise_billing_client.api.companies import match_company, upsert_companies
from connectwise_billing_client.api.connection import get_connection, put_connection, test_connection
from connectwise_billing_client.api.connectwise import list_connectwise_companies
from connectwise_billing_client.api.mappings import choose_addition, choose_agreement, get_addition_mapping
from connectwise_billing_client.api.matching_rules import (
    create_matching_rule,
    list_matching_rules,
    preview_matching_rule,
    replace_matching_rule,
)
from connectwise_billing_client.api.products import create_product, list_products
from connectwise_billing_client.api.push_jobs import create_push_job, get_push_job, list_push_lines, revert_push_job
from connectwise_billing_client.api.usage import add_usage
from connectwise_billing_client.errors import UnexpectedStatus
from connectwise_billing_client.models import BillingLine, JobState, Problem, Target
from connectwise_billing_client.types import UNSET, Response, Unset

T = TypeVar("T")

PRODUCT_CODE = "EXAMPLE-BACKUP"
RULES = {
    Target.AGREEMENT: 'type/name = "SP Backup"',
    Target.ADDITION: 'product/identifier = "BKP-GB"',
}

# The vendor's customers: external id, name, what finds it in ConnectWise, and the GB it used. Amounts are strings,
# because a float would round long decimals.
CUSTOMERS = [
    ("EXAMPLE-1", "Example West", "TwinWest", "1681.3"),
    ("EXAMPLE-2", "Example Law", "Beacon Hill", "420.5"),
    ("EXAMPLE-3", "Example Marine", "Blue Heron", "999.99"),
]


class ProblemError(Exception):
    """An error that the API reported."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class UnexpectedResult(Exception):
    """The API did as it was asked, but the result is not what this program needs."""


def body(response: Response[T | Problem]) -> T:
    """Returns the body of a response, or raises the problem that it reports.

    Annotate the result of a GET: its 304, which has no body, makes the generated type `Any`.
    """
    if isinstance(response.parsed, Problem):
        raise ProblemError(response.parsed)
    if response.parsed is None:
        raise UnexpectedResult(f"The response {response.status_code} has no body.")
    return response.parsed


def check_connection(api: AuthenticatedClient) -> None:
    site = os.environ.get("CONNECTWISE_URL")
    if site:
        # The keys of the demo's stand-in for ConnectWise.
        request = models.ConnectionRequest(
            site=site,
            company_id="sandbox",
            public_key="sandboxpublickey",
            private_key="sandboxprivatekey",
            client_id="00000000-0000-4000-8000-000000000000",
        )
        body(put_connection.sync_detailed(client=api, body=request))
    connection = body(get_connection.sync_detailed(client=api))
    test = body(test_connection.sync_detailed(client=api))
    # `passed` is None for the steps after the first failure.
    rows = [(step.step, "not tested" if step.passed is None else step.passed, step.detail) for step in test.steps]
    table(f"1. The connection to {connection.site}", ("step", "passed", "detail"), rows)
    if not test.passed:
        raise UnexpectedResult("The connection to ConnectWise does not work.")


def create_companies(api: AuthenticatedClient) -> dict[str, str]:
    """Creates the companies, and returns their ids by external id."""
    companies = [models.CompanyRequest(external_id=external_id, name=name) for external_id, name, _, _ in CUSTOMERS]
    batch = body(upsert_companies.sync_detailed(client=api, body=models.CompanyBatchRequest(companies=companies)))
    table("2. Companies", ("company", "outcome"), [(item.external_id, item.outcome) for item in batch.items])
    return {item.external_id: item.id for item in batch.items if item.id is not None}


def match_companies(api: AuthenticatedClient, company_ids: dict[str, str]) -> None:
    rows = []
    for external_id, name, search, _ in CUSTOMERS:
        found: models.ConnectWiseCompanyList = body(list_connectwise_companies.sync_detailed(client=api, search=search))
        # Do not guess: a wrong match bills another customer.
        if len(found.items) != 1:
            raise UnexpectedResult(f'{len(found.items)} ConnectWise companies match "{search}".')
        company = found.items[0]
        shared = match(api, company_ids[external_id], company.id)
        rows.append((name, company.name, company.identifier, "shared" if shared else ""))
    table("3. Matched to companies in ConnectWise", ("company", "in ConnectWise", "identifier", ""), rows)


def match(api: AuthenticatedClient, company_id: str, connectwise_id: str, shared: bool = False) -> bool:
    """Matches a company, and returns whether it shares the ConnectWise company with another company."""
    request = models.MatchCompanyRequest(id=connectwise_id, shared=shared)
    try:
        body(match_company.sync_detailed(company_id, client=api, body=request))
    except ProblemError as error:
        # A company of the demo has it. Sharing bills nothing twice: a push skips lines that would write one
        # addition.
        if error.problem.code != models.ProblemCode.CONNECTWISE_COMPANY_TAKEN or shared:
            raise
        return match(api, company_id, connectwise_id, shared=True)
    return shared


def find_or_create_product(api: AuthenticatedClient) -> str:
    found: models.ProductList = body(list_products.sync_detailed(client=api, code=PRODUCT_CODE))
    request = models.ProductRequest(code=PRODUCT_CODE, name="Example backup", unit="GB", block_size="100")
    product = found.items[0] if found.items else body(create_product.sync_detailed(client=api, body=request))
    block = f"{product.block_size} {product.unit}"
    table("4. The product", ("code", "name", "block"), [(product.code, product.name, block)])
    return product.id


def show_rule_error(api: AuthenticatedClient, product_id: str) -> None:
    """Shows how to mark an error in a rule where it is."""
    expression = 'type/name starts with "SP Backup"'
    request = models.PreviewMatchingRuleRequest(product_id=product_id, target=Target.AGREEMENT, expression=expression)
    problem = preview_matching_rule.sync(client=api, body=request)
    if not isinstance(problem, Problem) or not problem.errors:
        raise UnexpectedResult("An invalid rule was accepted.")
    error = problem.errors[0]
    print(f"\n5. A rule with an error\n{expression}")
    print(" " * (error.offset or 0) + "^" * (error.length or 1) + f"\n{error.message}")


def save_rules(api: AuthenticatedClient, product_id: str) -> None:
    rules: models.MatchingRuleList = body(list_matching_rules.sync_detailed(client=api, product_id=product_id))
    saved = {rule.target: rule.id for rule in rules.items}
    rows = []
    for target, expression in RULES.items():
        draft = models.PreviewMatchingRuleRequest(product_id=product_id, target=target, expression=expression)
        preview = body(preview_matching_rule.sync_detailed(client=api, body=draft))
        counts = preview.agreements if target is Target.AGREEMENT else preview.additions
        rows.append((target, expression, counts.resolved, counts.ambiguous, counts.unresolved))
        if target in saved:
            changed = models.ReplaceMatchingRuleRequest(expression=expression)
            body(replace_matching_rule.sync_detailed(saved[target], client=api, body=changed))
        else:
            new = models.CreateMatchingRuleRequest(product_id=product_id, target=target, expression=expression)
            body(create_matching_rule.sync_detailed(client=api, body=new))
    table("6. The rules, previewed and saved", ("target", "rule", "resolved", "ambiguous", "unresolved"), rows)


def add_month_usage(api: AuthenticatedClient) -> None:
    now = datetime.datetime.now(datetime.UTC)
    records = [
        models.NewUsageRecord(
            amount=amount, measured_at=now, company_external_id=external_id, product_code=PRODUCT_CODE
        )
        for external_id, _, _, amount in CUSTOMERS
    ]
    batch, key = models.AddUsageRequest(records=records), new_key()
    rows = []
    for request in ("first", "repeated"):
        response = add_usage.sync_detailed(client=api, body=batch, idempotency_key=key)
        usage = body(response)
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        rows.append((request, usage.added, usage.corrected, usage.duplicates, replayed))
    table("7. Usage", ("request", "added", "corrected", "duplicates", "replayed"), rows)
    if not replayed:
        raise UnexpectedResult("The repeated request was executed again.")


def product_lines(api: AuthenticatedClient, product_id: str) -> Iterator[BillingLine]:
    cursor: str | Unset | None = UNSET
    while cursor is not None:
        response = list_billing_lines.sync_detailed(client=api, product_id=product_id, limit=50, cursor=cursor)
        page: models.BillingLineList = body(response)
        yield from page.items
        cursor = page.next_cursor


def show_lines(api: AuthenticatedClient, title: str, product_id: str, company_ids: dict[str, str]) -> list[BillingLine]:
    """Lists the product's billing lines of our companies; it also has lines of the demo's companies."""
    lines = [line for line in product_lines(api, product_id) if line.company.id in company_ids.values()]
    rows = [
        (
            line.company.name,
            line.usage.amount,
            line.usage.quantity,
            line.agreement.name or line.agreement.status,
            line.addition.name or line.addition.status,
            line.push_enabled,
        )
        for line in lines
    ]
    table(title, ("company", "GB", "quantity", "agreement", "addition", "enabled"), rows)
    return lines


def choose_by_hand(api: AuthenticatedClient, lines: list[BillingLine]) -> None:
    """Chooses the first candidate wherever a rule matched several. In real life a person chooses."""
    rows = []
    for line in lines:
        candidates = line.agreement.candidates
        if candidates:
            agreement = models.ChooseAgreementRequest(agreement_id=candidates[0].id)
            body(choose_agreement.sync_detailed(line.id, client=api, body=agreement))
            rows.append((line.company.name, "agreement", candidates[0].name, len(candidates)))
        # Read only now: an addition has candidates only once its agreement is resolved.
        candidates = body(get_addition_mapping.sync_detailed(line.id, client=api)).mapping.candidates
        if candidates:
            addition = models.ChooseAdditionRequest(addition_id=candidates[0].id)
            body(choose_addition.sync_detailed(line.id, client=api, body=addition))
            rows.append((line.company.name, "addition", candidates[0].name, len(candidates)))
    title = "9. Chosen by hand; a choice stays for later months"
    table(title, ("company", "target", "chosen", "candidates"), rows)


def start_job(api: AuthenticatedClient, request: models.CreatePushJobRequest) -> str:
    return body(create_push_job.sync_detailed(client=api, body=request, idempotency_key=new_key())).id


def watch(api: AuthenticatedClient, title: str, job_id: str) -> int:
    """Follows a job to its end, and prints its lines. Returns the number of lines that it pushed."""
    print(f"\n{title}")
    while True:
        job: models.PushJob = body(get_push_job.sync_detailed(job_id, client=api))
        print(f"{job.state}: {job.lines.done} of {job.lines.total} lines are done")
        if job.state is JobState.WAITING_FOR_APPROVAL:
            raise UnexpectedResult("Large changes wait for a person's approval.")
        if job.finished_at is not None:
            break
        time.sleep(0.5)
    lines: models.PushLineList = body(list_push_lines.sync_detailed(job_id, client=api))
    rows = [(line.company_name, line.from_, line.to, line.state, line.reason) for line in lines.items]
    table("", ("company", "from", "to", "state", "reason"), rows)
    if job.state is not JobState.SUCCEEDED:
        raise UnexpectedResult(f"The push job is {job.state}. {job.detail or ''}")
    return job.lines.pushed


def new_key() -> str:
    """A new key for a new request: if the response is lost, the same request with the same key runs only once."""
    return str(uuid.uuid4())


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [head, *(["" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    if title:
        print(f"\n{title}")
    for row in cells if rows else ():
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not rows:
        print("nothing")


def bill_month(api: AuthenticatedClient) -> None:
    check_connection(api)
    company_ids = create_companies(api)
    match_companies(api, company_ids)
    product_id = find_or_create_product(api)
    show_rule_error(api, product_id)
    save_rules(api, product_id)
    add_month_usage(api)
    lines = show_lines(api, "8. The billing lines", product_id, company_ids)
    choose_by_hand(api, lines)
    enable = models.UpdateBillingLinesRequest(ids=[line.id for line in lines], push_enabled=True)
    body(update_billing_lines.sync_detailed(client=api, body=enable))
    show_lines(api, "10. The billing lines, enabled", product_id, company_ids)

    scope = list(company_ids.values())
    dry_run = start_job(api, models.CreatePushJobRequest(dry_run=True, product_id=product_id, company_ids=scope))
    watch(api, "11. The dry run: what a push would write", dry_run)
    push = start_job(api, models.CreatePushJobRequest(from_dry_run=dry_run))
    pushed = watch(api, "12. The push", push)
    revert = body(revert_push_job.sync_detailed(push, client=api, idempotency_key=new_key()))
    reverted = watch(api, "13. The revert", revert.id)
    if reverted != pushed:
        raise UnexpectedResult(f"Only {reverted} of {pushed} lines were reverted.")
    print(f"\nThe month is done: {pushed} lines pushed, {reverted} reverted.")


def setting(name: str) -> str:
    return os.environ.get(name) or sys.exit(f"Set the environment variable {name}.")


def main() -> int:
    client = AuthenticatedClient(
        base_url=setting("API_URL"),
        token=setting("API_KEY"),
        timeout=httpx.Timeout(30),
        # Without this, a status that the API's document does not list would be None.
        raise_on_unexpected_status=True,
    )
    try:
        with client as api:
            bill_month(api)
    except ProblemError as error:
        problem = error.problem
        print(f"{problem.status} {problem.title}: {problem.detail}", file=sys.stderr)
        for field in problem.errors or []:
            print(f"{field.field}: {field.message}", file=sys.stderr)
        return 1
    except (UnexpectedResult, UnexpectedStatus, httpx.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
