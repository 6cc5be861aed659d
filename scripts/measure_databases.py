"""What `scripts/measure databases` prints: one job on each kind of database. scripts/measure starts it with a throw-away
PostgreSQL, as scripts/test does.
"""
import os, subprocess, tempfile, time

from measure_push import BINARY, Http, memory, metric, set_up, start_sandbox, start_service, stop

SERVER = os.environ["CWB_TEST_POSTGRES_URL"]


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


if __name__ == "__main__":
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    databases()
    databases(latency=50)
