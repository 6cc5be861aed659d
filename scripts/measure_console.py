"""What `scripts/measure console` prints: how heavy the console is, and how soon it shows 50 of 10,000 lines.
scripts/measure starts it with a throw-away PostgreSQL, as scripts/test does. Needs chromium and chromedriver.
"""
import gzip, json, pathlib, subprocess, tempfile, time, urllib.request

from measure_databases import SERVER, psql
from measure_push import Http, free_port, set_up, start_sandbox, start_service, stop, wait_for

COMPANIES, ROUNDS = 10_000, 15
ROWS = "document.querySelectorAll('tr[data-line]').length"


class Browser:
    """Headless Chromium, through WebDriver."""

    def __init__(self):
        self.port = free_port()
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL)
        wait_for(self.port, "/status")
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]}
        self.path = ""
        made = self.post("/session", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}})
        self.path = f"/session/{made['sessionId']}"

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=60))["value"]

    def open(self, address):
        self.post("/url", {"url": address})

    def when(self, condition, value):
        """What an expression comes to once a condition holds. The page looks after each of its changes."""
        script = f"""const done = arguments[0];
            const look = () => ({condition}) && (observer.disconnect(), requestAnimationFrame(() => setTimeout(() => done({value}))));
            const observer = new MutationObserver(look);
            observer.observe(document, {{subtree: true, childList: true, characterData: true}}); look();"""
        return self.post("/execute/async", {"script": script, "args": []})

    def end(self):
        # A driver that is killed leaves its browser running.
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path}", method="DELETE"), timeout=10)
        self.driver.kill()


def weight():
    files = [path for path in pathlib.Path("console").rglob("*") if path.suffix in {".js", ".css", ".html", ".svg"}]
    bare = sum(path.stat().st_size for path in files)
    print(f"{len(files)} files, {bare / 1024:.0f} KB, with gzip {sum(len(gzip.compress(path.read_bytes())) for path in files) / 1024:.0f} KB")


def median(values):
    return sorted(values)[len(values) // 2]


def measured(name, browser, port, key):
    base = f"http://127.0.0.1:{port}/console/"
    browser.open(base)
    browser.post("/execute/sync", {"script": f"sessionStorage.setItem('connectwise-billing.key', '{key}')", "args": []})
    paints, rows, moved = [], [], []
    for _ in range(ROUNDS):
        browser.open("about:blank")
        browser.open(base)
        rows.append(browser.when(f"{ROWS} === 50", "performance.now()"))
        paints.append(browser.when("true", "performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        moved.append(browser.when("document.querySelector('.steps')?.textContent.includes('adjust')", """
            (new Promise(found => { new PerformanceObserver(list => found(list.getEntries().length)).observe({type: 'layout-shift', buffered: true});
            setTimeout(() => found(0), 200); }))"""))
    search = []
    for number in range(ROUNDS):
        search.append(browser.when(
            f"(window.asked !== {number} && (window.asked = {number}, window.from = performance.now(), location.hash = '#/billing?search=C{number}77'), "
            f"document.querySelector('input[type=search]')?.value === 'C{number}77')", "performance.now() - window.from"))
    print(f"{name}, {COMPANIES} lines, medians of {ROUNDS}: first paint {median(paints):.0f} ms, rows {median(rows):.0f} ms, "
          f"a search {median(search):.0f} ms; {sum(moved)} layout shifts", flush=True)


def console():
    weight()
    for name in ("SQLite", "PostgreSQL"):
        folder, url = tempfile.mkdtemp(), None
        if name == "PostgreSQL":
            psql("CREATE DATABASE console")
            url = f"{SERVER}/console?sslmode=disable"
        sandbox, site = start_sandbox()
        service, port, key = start_service(folder, url=url)
        browser = Browser()
        try:
            Http(site)("POST", "/_sandbox/fill", {"companies": COMPANIES, "agreements_each": 1, "additions_each": 1})
            http = Http(port, key)
            set_up(http, site, COMPANIES, ["BKP-GB"], 7)
            job = http.api("POST", "/push-jobs", {})["id"]
            while not http.api("GET", f"/push-jobs/{job}")["finished_at"]:
                time.sleep(0.5)
            measured(name, browser, port, key)
        finally:
            browser.end()
            stop(folder, sandbox, service)


if __name__ == "__main__":
    console()
