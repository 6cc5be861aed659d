"""What `scripts/measure push` and `scripts/measure tenants` print: how fast quantities are pushed.

It speaks HTTP to a release build of the service and of its sandbox, which it starts and stops.
"""
import datetime, http.client, json, os, resource, selectors, shutil, socket, subprocess, sys, tempfile, threading, time

BINARY = "target/release/connectwise-billing"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Http:
    def __init__(self, port, key=None):
        self.port, self.key = port, key
        self.conn = http.client.HTTPConnection("127.0.0.1", port)

    def __call__(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        self.conn.request(method, path, None if body is None else json.dumps(body), headers)
        reply = self.conn.getresponse()
        text = reply.read()
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {text[:500]}")
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def api(self, method, path, body=None):
        return self(method, "/api/v1" + path, body)

    def all(self, path):
        rows, cursor = [], ""
        while True:
            page = self.api("GET", f"{path}{cursor}")
            rows += page["items"]
            if not page["next_cursor"]:
                return rows
            cursor = f"&cursor={page['next_cursor']}"


def wait_for(port, path):
    while True:
        try:
            Http(port)("GET", path)
            return
        except (OSError, RuntimeError, http.client.HTTPException):
            time.sleep(0.02)


def start_sandbox():
    site = free_port()
    sandbox = subprocess.Popen([BINARY, "sandbox", "--log", "error", "--listen", f"127.0.0.1:{site}"], stdout=subprocess.DEVNULL)
    wait_for(site, "/_sandbox/ledger")
    return sandbox, site


def start_service(folder, *options, url=None):
    port = free_port()
    service = subprocess.Popen(
        [BINARY, "serve", "--log", "error", "--listen", f"127.0.0.1:{port}", "--database-url", url or f"sqlite:{folder}/billing.db",
         "--encryption-key-file", f"{folder}/key", "--allow-private-connectwise", "--connectwise-per-minute", "10000000",
         "--operator-key", "the-operators-key-of-this-measurement", *options],
        stdout=subprocess.PIPE, text=True)
    key = None
    for line in service.stdout:
        if "cwb_" in line:
            key = line.strip()
        if "Listening" in line:
            break
    wait_for(port, "/readyz")
    return service, port, key


def start(folder, *options):
    return *start_sandbox(), *start_service(folder, *options)


def memory(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(what))


def metric(port, name):
    text = Http(port)("GET", "/metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def set_up(http, site, companies, products, quantity):
    """A tenant with a line for each company and product, enabled, whose quantities are not those of ConnectWise."""
    http.api("PUT", "/connection", {
        "site": f"http://127.0.0.1:{site}", "company_id": "sandbox", "public_key": "sandboxpublickey",
        "private_key": "sandboxprivatekey", "client_id": "00000000-0000-4000-8000-000000000000"})
    for code in products:
        product = http.api("POST", "/products", {"code": code, "name": code, "unit": "GB", "block_size": "1"})["id"]
        for target, rule in (("agreement", "name like '%'"), ("addition", f"product/identifier = '{code}'")):
            http.api("POST", "/matching-rules", {"product_id": product, "target": target, "expression": rule})
    for c in range(1, companies + 1):
        http.api("POST", "/companies", {"external_id": f"C{c}", "name": f"Customer {c:06}"})
    http.api("POST", "/companies/auto-match", {})
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    records = [{"company_external_id": f"C{c}", "product_code": code, "amount": str(quantity), "measured_at": now}
               for c in range(1, companies + 1) for code in products]
    for first in range(0, len(records), 1000):
        http.api("POST", "/usage", {"records": records[first:first + 1000]})
    ids = [line["id"] for line in http.all("/billing-lines?limit=500")]
    for first in range(0, len(ids), 5000):
        http.api("PATCH", "/billing-lines", {"ids": ids[first:first + 5000], "push_enabled": True})
    return len(ids)


def watch(port, key, job, count):
    """So many watchers of a job's events; gives what counts those that saw its end."""
    selector, ended = selectors.DefaultSelector(), set()
    ask = f"GET /api/v1/push-jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(ask)
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ)

    def read():
        while len(ended) < count:
            for found, _ in selector.select(1):
                text = found.fileobj.recv(65536)
                if not text or b"event: end" in text:
                    ended.add(found.fd)
                    selector.unregister(found.fileobj)
                    found.fileobj.close()

    thread = threading.Thread(target=read)
    thread.start()
    return ended, thread


def push(watchers=0):
    folder = tempfile.mkdtemp()
    sandbox, site, service, port, key = start(folder, "--workers", "8", "--connectwise-parallel", "8")
    try:
        Http(site)("POST", "/_sandbox/fill", {"companies": 500, "agreements_each": 1, "additions_each": 4})
        http = Http(port, key)
        lines = set_up(http, site, 500, ["BKP-GB", "OTHER-1", "OTHER-2", "OTHER-3"], 7)
        tuning = {"latency_ms": 50}
        Http(site)("PUT", "/_sandbox/behavior", tuning)
        for round_ in ("changed", "unchanged"):
            Http(site)("DELETE", "/_sandbox/ledger")
            before = time.time()
            job = http.api("POST", "/push-jobs", {})["id"]
            ended, thread = watch(port, key, job, watchers)
            while True:
                now = http.api("GET", f"/push-jobs/{job}")
                if now["finished_at"]:
                    break
                time.sleep(0.02)
            took = time.time() - before
            thread.join()
            ledger = Http(site)("GET", "/_sandbox/ledger")
            calls, writes = len(ledger["requests"]), len(ledger["writes"])
            ideal = calls * 0.050 / 8
            assert now["state"] == "succeeded", now
            print(f"{lines} {round_} lines over 500 agreements, 50 ms a call, 8 at once: {took:.2f} s, ideal {ideal:.2f} s "
                  f"({took / ideal:.2f} times); {calls} calls, {writes} writes, {now['lines_per_minute']} lines a minute, {watchers} watchers")
    finally:
        stop(folder, service, sandbox)


def tenants(count=1000, each=100):
    folder = tempfile.mkdtemp()
    sandbox, site, service, port, _ = start(folder, "--workers", "4", "--connectwise-parallel", "4")
    try:
        Http(site)("POST", "/_sandbox/fill", {"companies": each, "agreements_each": 1, "additions_each": 1})
        operator = Http(port, "the-operators-key-of-this-measurement")
        keys = [operator.api("POST", "/tenants", {"name": f"Tenant {n}"})["key"] for n in range(count)]

        def prepare(part):
            for n in part:
                set_up(Http(port, keys[n]), site, each, ["BKP-GB"], n + 2)

        threads = [threading.Thread(target=prepare, args=(range(part, count, 4),)) for part in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        total = count * each
        statements = metric(port, "database_statements_total")
        Http(site)("DELETE", "/_sandbox/ledger")
        before, marks = time.time(), []
        for key in keys:
            Http(port, key).api("POST", "/push-jobs", {})
        stored = time.time() - before
        while (done := metric(port, "push_lines_total")) < total:
            if len(marks) < 4 and done > total * len(marks) / 4:
                marks.append(memory(service.pid))
            time.sleep(0.2)
        took = time.time() - before
        marks.append(memory(service.pid))
        statements = metric(port, "database_statements_total") - statements
        print(f"{total} lines of {count} tenants, no latency: {took:.1f} s (the jobs stored after {stored:.1f} s), {total / took:.0f} lines/s, "
              f"{statements / total:.1f} statements a line")
        print("resident memory on the way: " + ", ".join(f"{mark:.0f}" for mark in marks) + f" MiB; peak {memory(service.pid, 'VmHWM'):.0f} MiB")
    finally:
        stop(folder, service, sandbox)


def stop(folder, *processes):
    for process in processes:
        process.terminate()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Thousands of watchers are thousands of open files, in the service as here.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    {"push": push, "tenants": tenants}[sys.argv[1]](*map(int, sys.argv[2:]))
