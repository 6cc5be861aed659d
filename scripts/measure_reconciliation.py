"""What `scripts/measure reconciliation` prints: the comparison of 30,000 lines with ConnectWise, after a push and with
half of the lines changed by hand. scripts/measure starts it with a throw-away PostgreSQL, as scripts/test does.
"""
import tempfile, time

from measure_databases import SERVER, psql
from measure_push import Http, memory, set_up, start_sandbox, start_service, stop

COMPANIES, PRODUCTS, ROUNDS = 10_000, ["BKP-GB", "OTHER-1", "OTHER-2"], 15


def reconciliation():
    for name in ("SQLite", "PostgreSQL"):
        folder, url = tempfile.mkdtemp(), None
        if name == "PostgreSQL":
            psql("CREATE DATABASE reconciled")
            url = f"{SERVER}/reconciled?sslmode=disable"
        sandbox, site = start_sandbox()
        service, port, key = start_service(folder, url=url)
        try:
            Http(site)("POST", "/_sandbox/fill", {"companies": COMPANIES, "agreements_each": 1, "additions_each": len(PRODUCTS)})
            http = Http(port, key)
            lines = set_up(http, site, COMPANIES, PRODUCTS, 7)

            def measured(what, query):
                took = []
                for _ in range(ROUNDS):
                    before = time.time()
                    found = http.api("GET", "/reconciliation" + query)
                    took.append((time.time() - before) * 1000)
                count = sum(kind["items"] for kind in found["kinds"])
                print(f"{name}, {what}: median of {ROUNDS} {sorted(took)[ROUNDS // 2]:.0f} ms, slowest {max(took):.0f} ms; "
                      f"{count} compared, {found['total']} to look at", flush=True)

            measured(f"{lines} lines, none pushed", "?total=true")
            job = http.api("POST", "/push-jobs", {})["id"]
            while not http.api("GET", f"/push-jobs/{job}")["finished_at"]:
                time.sleep(0.5)
            measured("all pushed", "?total=true")
            product = http.api("GET", "/products?limit=1")["items"][0]["id"]
            http.api("PATCH", f"/products/{product}", {"minimum_quantity": "1000000"})
            measured("a product out of date", "?total=true&sort=-amount_difference&limit=500")
            print(f"{name}: peak memory {memory(service.pid, 'VmHWM'):.0f} MiB", flush=True)
        finally:
            stop(folder, sandbox, service)


if __name__ == "__main__":
    reconciliation()
