"""What `scripts/measure databases` and `scripts/measure explain` print: one job on each kind of database, and how the
billing page's rows are found. scripts/measure starts it with a throw-away PostgreSQL, as scripts/test does.
"""
import os, re, sqlite3, subprocess, sys, tempfile, time

from measure_push import BINARY, Http, memory, metric, set_up, start_sandbox, start_service, stop

SERVER, LOG = os.environ["CWB_TEST_POSTGRES_URL"], os.environ["CWB_TEST_POSTGRES_LOG"]


def psql(sql, database="postgres"):
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", sql, f"{SERVER}/{database}"], check=True, stdout=subprocess.DEVNULL)


KINDS = (("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 2), ("PostgreSQL", 3))


def databases(companies=2500, latency=0, kinds=KINDS):
    """A job of 10,000 lines over 2,500 agreements; with a latency of ConnectWise's, in milliseconds."""
    products = ["BKP-GB", "OTHER-1", "OTHER-2", "OTHER-3"]
    for name, replicas in kinds:
        folder, url = tempfile.mkdtemp(), None
        if name == "PostgreSQL":
            psql(f"CREATE DATABASE measured{replicas}_{latency}")
            url = f"{SERVER}/measured{replicas}_{latency}?sslmode=disable"
        sandbox, site = start_sandbox()
        started = [start_service(folder, url=url) for _ in range(replicas)]
        services, ports, keys = zip(*started)
        try:
            Http(site)("POST", "/_sandbox/fill", {"companies": companies, "agreements_each": 1, "additions_each": len(products)})
            http = Http(ports[0], keys[0])
            lines = set_up(http, site, companies, products, 7)
            Http(site)("PUT", "/_sandbox/behavior", {"latency_ms": latency})
            count = lambda: sum(metric(port, "database_statements_total") for port in ports)
            statements, before = count(), time.time()
            job = http.api("POST", "/push-jobs", {})["id"]
            while not (now := http.api("GET", f"/push-jobs/{job}"))["finished_at"]:
                time.sleep(0.5)
            took = time.time() - before
            assert now["state"] == "succeeded" and now["lines"]["pushed"] == lines, now
            used = ", ".join(f"{memory(service.pid, 'VmHWM'):.0f}" for service in services)
            print(f"{lines} lines, {latency} ms a call, {name}, {replicas} process(es) of 4 workers: {took:.1f} s, {lines / took:.0f} lines/s, "
                  f"{(count() - statements) / lines:.1f} statements a line, peak memory {used} MiB", flush=True)
        finally:
            stop(folder, sandbox, *services)


PAGES = {
    "the page": "",
    "next page": "&cursor={cursor}",
    "one product": "&product_id={product}",
    "one product, next page": "&product_id={product}&cursor={product_cursor}",
    "one company": "&company_id={company}",
    "ambiguous agreements": "&product_id={product}&agreement_status=ambiguous",
    "search": "&product_id={product}&search=Customer%2000042",
    "enabled": "&product_id={product}&push_enabled=true",
    "by external id": "&product_id={product}&sort=company_external_id",
    "by agreement status": "&product_id={product}&sort=agreement_status",
    "newest": "&product_id={product}&sort=-created_at",
    "newest of all products": "&sort=-created_at",
    "all products by agreement status": "&sort=agreement_status",
    "all products, stale agreements": "&agreement_status=stale",
    "one company, newest": "&company_id={company}&sort=-created_at",
}


def explain(companies=10_000, products=10):
    folder = tempfile.mkdtemp()
    psql("CREATE DATABASE explained")
    url = f"{SERVER}/explained?sslmode=disable"
    sandbox, site = start_sandbox()
    service, port, key = start_service(folder, url=url)
    try:
        Http(site)("POST", "/_sandbox/fill", {"companies": companies, "agreements_each": 1, "additions_each": 1})
        lines = set_up(Http(port, key), site, companies, ["BKP-GB", *(f"P{n}" for n in range(1, products))], 7)
        service.terminate()
        service.wait()
        psql("VACUUM ANALYZE", "explained")
        # Every plan of every statement goes to the server's log.
        for setting in ("session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0"):
            psql(f"ALTER DATABASE explained SET {setting}")
        service, port, _ = start_service(folder, url=url)
        http = Http(port, key)
        page = http.api("GET", "/billing-lines?limit=50")
        product = page["items"][0]["product_id"]
        words = {"cursor": page["next_cursor"], "product": product, "company": page["items"][0]["company"]["id"],
                 "product_cursor": http.api("GET", f"/billing-lines?limit=50&product_id={product}")["next_cursor"]}
        plans = {}

        def ask(query):
            before = time.time()
            http.api("GET", "/billing-lines?limit=50" + query.format(**words))
            return (time.time() - before) * 1000

        for name, query in PAGES.items():
            seen = os.path.getsize(LOG)
            took = ask(query)
            time.sleep(0.2)
            with open(LOG) as log:
                log.seek(seen)
                plans[name] = took, [found for found in statements(log.read()) if '"billing_lines"' in found[0]]
        service.terminate()
        service.wait()
        copied = f"{folder}/explained.db"
        subprocess.run([BINARY, "copy", "--from", url, "--to", f"sqlite:{copied}"], check=True, stdout=subprocess.DEVNULL)
        service, port, _ = start_service(folder, url=f"sqlite:{copied}")
        http = Http(port, key)
        ask("")
        took_lite = {name: ask(query) for name, query in PAGES.items()}
        service.terminate()
        service.wait()
        lite = sqlite3.connect(copied)
        print(f"{lines} lines; the plans of PostgreSQL as it ran them, and of SQLite for the same statements")
        bad = 0
        for name, (took, found) in plans.items():
            print(f"\n{name} ({took:.0f} ms on PostgreSQL, {took_lite[name]:.0f} ms on SQLite)")
            for text, plan in found:
                lines_of_plan = [line.strip() for line in plan if re.search(r"Scan|Sort\b|Sort Key", line)]
                print("  PostgreSQL: " + "; ".join(re.sub(r"\s*\(cost.*", "", line) for line in lines_of_plan))
                steps = [row[3] for row in lite.execute("EXPLAIN QUERY PLAN " + for_sqlite(text), [None] * len(places(text)))]
                print("  SQLite:     " + "; ".join(steps))
                bad += any("Seq Scan on billing_lines" in line for line in plan)
                bad += any(re.match(r"SCAN billing_lines$", step) for step in steps)
        print(f"\n{bad} of them read the whole table of lines")
        return bad
    finally:
        stop(folder, sandbox, service)


def statements(log):
    """What auto_explain wrote: each statement's text and the lines of its plan."""
    for part in log.split("Query Text: ")[1:]:
        text, _, rest = part.partition("\n")
        plan = []
        for line in rest.splitlines():
            if not line.startswith("\t"):
                break
            plan.append(line)
        yield text, plan


def places(text):
    return re.findall(r"\$\d+", text)


def for_sqlite(text):
    # How each database writes a list: src/db/engine/in_list.rs.
    text = re.sub(r"= ANY \(CAST\((\$\d+) AS (\w+)\[\]\)\)", r"IN (SELECT CAST(value AS \2) FROM json_each(\1))", text)
    return re.sub(r"\$\d+", "?", text)


if __name__ == "__main__":
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    if sys.argv[1] == "explain":
        sys.exit(1 if explain() else 0)
    databases()
    databases(latency=50)
