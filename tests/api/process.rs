//! The real process: its output, its start and its end.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectwise-billing"));
    // The tester's own settings must not reach the process.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CWB_")) {
        command.env_remove(name);
    }
    command
}

/// A process whose standard output is read line by line. It is killed when it is dropped.
pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    errors: Option<JoinHandle<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Its log goes to a file.
    pub fn start_logging(command: &mut Command, log: File) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, errors: None }
    }

    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        // A pipe that nobody reads fills up and then blocks the process.
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self { child, out, errors: Some(errors) }
    }

    /// Everything up to and including the line that contains a text.
    pub fn until(&mut self, sign: &str) -> String {
        let mut text = String::new();
        while !text.contains(sign) {
            let read = self.out.read_line(&mut text).unwrap();
            if read == 0 {
                let errors = self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default();
                panic!("it ended before it said {sign}:\n{text}\n{errors}");
            }
        }
        text
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Sends Ctrl-C and reads the rest of the output; the process must exit successfully.
    pub fn interrupt(&mut self) -> String {
        self.signal("INT");
        // A process that does not end is killed, which its status shows.
        let (pid, (ended, end)) = (self.child.id().to_string(), std::sync::mpsc::channel::<()>());
        std::thread::spawn(move || {
            if end.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &pid]).status();
            }
        });
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        drop(ended);
        assert!(status.success(), "{status}");
        text
    }
}

/// A running demo.
pub struct Demo {
    running: Running,
    pub said: String,
    pub address: String,
    pub key: String,
}

pub fn after(text: &str, sign: &str) -> String {
    let rest = text.split(sign).nth(1).unwrap_or_else(|| panic!("{sign} is missing from {text}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

impl Demo {
    pub fn start(folder: &TempDir) -> Self {
        Self::start_with(folder, &[])
    }

    pub fn start_with(folder: &TempDir, more: &[&str]) -> Self {
        let mut command = program();
        command.args(["demo", "--listen", "127.0.0.1:0", "--sandbox-listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(folder.path()).args(more);
        let mut running = Running::start(&mut command);
        let said = running.until("Press Ctrl-C to stop.");
        let address = after(&said, "The service keeps running at ");
        let key = after(&said, "API key:");
        Self { running, said, address, key }
    }

    pub fn stop(mut self) {
        let last = self.running.interrupt();
        assert!(last.contains("Stopped."), "{last}");
    }

    /// The commands that it printed.
    fn commands(&self) -> Vec<String> {
        self.said.lines().filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
    }

    /// The results of its tables' rows, with the row.
    fn rows(&self, result: &str) -> usize {
        self.said.lines().filter(|line| line.contains(&format!("┆ {result}"))).count()
    }
}

fn demo_twice(more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let first = Demo::start_with(&folder, &[more, &["--all"]].concat());
    for case in [
        "pushed",
        "unchanged",
        "failed: rejected",
        "skipped: ambiguous",
        "skipped: unresolved",
        "skipped: stale",
        "skipped: disabled",
        "skipped: no_usage",
        "skipped: company_not_set",
    ] {
        assert!(first.rows(case) > 0, "no line is {case}:\n{}", first.said);
    }
    assert!(first.said.contains("(by hand)") && first.said.contains("1 -> 28"), "{}", first.said);
    assert!(first.said.contains("198 lines: 154 pushed, 11 unchanged, 32 skipped, 1 failed."), "{}", first.said);
    let commands = first.commands();
    assert_eq!(commands.len(), 4);
    for command in commands {
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.starts_with('{') && !text.contains("/problems/"), "{command}\n{text}");
    }
    first.stop();
    let second = Demo::start_with(&folder, more);
    assert!(second.said.contains("Continuing where the last demo ended."), "{}", second.said);
    assert!(second.said.contains("198 lines: 165 unchanged, 32 skipped, 1 failed."), "{}", second.said);
    assert!(second.said.contains("33 of 198 lines need attention. demo --all prints every line."), "{}", second.said);
    assert_eq!((second.rows("unchanged"), second.rows("skipped") + second.rows("failed")), (0, 33), "{}", second.said);
    assert!(second.said.contains("\nfailed: rejected, ") && second.said.contains(": 1 line\n"), "{}", second.said);
    second.stop();
}

mod sqlite {
    #[test]
    fn the_demo_shows_every_case_and_goes_on_where_it_ended() {
        super::demo_twice(&[]);
    }
}

mod postgres {
    use crate::support::{Backend, TestDatabase};

    #[test]
    fn the_demo_shows_every_case_and_goes_on_where_it_ended() {
        let database = TestDatabase::new(Backend::Postgres);
        super::demo_twice(&["--database-url", database.text()]);
    }
}

fn serve(folder: &TempDir) -> Running {
    let url = format!("sqlite:{}", folder.path().join("billing.db").display());
    Running::start(program().args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url]))
}

#[test]
fn the_first_start_prints_a_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = serve(&folder);
    let said = first.until("Swagger UI");
    assert_eq!(said.matches("cwb_").count(), 1, "{said}");
    first.interrupt();
    let mut second = serve(&folder);
    assert!(!second.until("Swagger UI").contains("cwb_"));
    second.interrupt();
    let url = format!("sqlite:{}", folder.path().join("billing.db").display());
    let made = program().args(["create-key", "--database-url", &url]).output().unwrap();
    assert!(String::from_utf8(made.stdout).unwrap().starts_with("cwb_"));
    let key = folder.path().join("billing.key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key).unwrap().permissions()) & 0o777, 0o600);
}

#[test]
fn a_failed_start_reports_the_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("x.db").display());
    for (arguments, says) in [
        (vec!["serve", "--database-url", "billing.db"], "begins with sqlite:"),
        (
            vec!["serve", "--database-url", "postgres://nobody:hunter2@127.0.0.1:1/x", "--encryption-key", "x"],
            "32 random bytes",
        ),
        (vec!["serve", "--database-url", "postgres://nobody:hunter2@127.0.0.1:1/x"], "--encryption-key"),
        (vec!["serve", "--database-url", &url, "--listen", &taken], "cannot listen on"),
        (vec!["serve", "--database-url", &url, "--lease", "10"], "--lease must be longer"),
        (vec!["serve", "--database-url", &url, "--operator-key", "short"], "at least 16"),
        (vec!["sandbox", "--listen", "0.0.0.0:0"], "loopback"),
    ] {
        let output = program().args(&arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(says), "{arguments:?}: {errors}");
        assert!(!errors.contains("hunter2") && !errors.contains("panicked"), "{arguments:?}: {errors}");
    }
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let down = "postgres://nobody:hunter2@127.0.0.1:1/x";
    let output = program()
        .args(["serve", "--listen", "127.0.0.1:0", "--database-url", down, "--encryption-key", key])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("postgres://nobody:***@127.0.0.1:1/x"), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
}

/// Nobody reads the log any more: the service continues, and ends on request.
#[test]
fn a_closed_log_does_not_stop_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("billing.db").display());
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    drop(child.stderr.take());
    let mut serve = Running { child, out, errors: None };
    let said = serve.until("Swagger UI");
    let ready = format!("{}/readyz", after(&said, "Listening on "));
    for _ in 0..3 {
        assert!(Command::new("curl").args(["-sf", "-o", "/dev/null", &ready]).status().unwrap().success());
    }
    serve.interrupt();
}

/// Killed during a push, the demo continues at once when it is started again, and every line is recorded once.
#[test]
fn a_killed_push_goes_on_after_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder);
    let script = |demo: &Demo, commands: &str| {
        let api = format!(
            "api() {{ curl -s -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \"$@\"; }}\nAPI={}/api/v1\n",
            demo.key, demo.address
        );
        let output = Command::new("bash").args(["-c", &(api + commands)]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // Every storage quantity changes; the kill comes while they are written.
    let asked = script(
        &demo,
        r#"P=$(api "$API/products?code=STORAGE" | grep -o '"id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
           api -X PATCH $API/products/$P -d '{"block_size": "7"}' > /dev/null
           api $API/push-jobs -d "{\"product_id\": \"$P\"}""#,
    );
    let job = asked.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // Waits until some lines, but not all, are written.
    let begun =
        script(&demo, &format!("until api $API/push-jobs/{job} | grep -qv '\"pushed\":0,'; do :; done; echo begun"));
    assert_eq!(begun, "begun\n");
    drop(demo);
    let started = std::time::Instant::now();
    let demo = Demo::start(&folder);
    assert!(started.elapsed().as_secs() < 60, "it waited for a dead process's lease");
    let text =
        script(&demo, &format!("api -N $API/push-jobs/{job}/events | grep '^event: end'; api $API/push-jobs/{job}"));
    assert!(text.contains("event: end") && text.contains("\"total\":66,\"done\":66"), "{text}");
    demo.stop();
}

/// With everything logged, the log has no secret: no API key, no ConnectWise key, no operator's key.
#[test]
fn no_secret_is_ever_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Running::start(program().args(["sandbox", "--listen", "127.0.0.1:0"]));
    let site = after(&sandbox.until("_sandbox/ledger"), "ConnectWise is at ").trim_end_matches('.').to_owned();
    let url = format!("sqlite:{}", folder.path().join("billing.db").display());
    let log = folder.path().join("log");
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url, "--allow-private-connectwise"]);
    command.args(["--log", "trace", "--operator-key", "operatorsecret-operatorsecret"]);
    let mut child = command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut serve = Running { child, out, errors: None };
    let said = serve.until("Swagger UI");
    let key = format!("cwb_{}", said.split("cwb_").nth(1).unwrap().split_whitespace().next().unwrap());
    let api = format!("{}/api/v1", after(&said, "Listening on "));
    let script = format!(
        r#"api() {{ curl -s -H "Authorization: Bearer {key}" -H 'Content-Type: application/json' "$@"; }}
        put() {{ api -X PUT {api}/connection -d "{{\"site\": \"{site}\", \"company_id\": \"sandbox\", \"public_key\": \"$1\",
            \"private_key\": \"$2\", \"client_id\": \"00000000-0000-4000-8000-000000000000\"}}"; }}
        put publicsecret privatesecret; api -X POST {api}/connection/test; api {api}/connectwise/refresh -d "{{}}"
        put publicsecret 5; put sandboxpublickey sandboxprivatekey; api -X POST {api}/connection/test; api {api}/connectwise/refresh -d "{{}}"
        api -X PUT {api}/connection -d '{{"private_key": "privatesecret", "public_key": 7}}'
        curl -s -H 'Authorization: Bearer operatorsecret-operatorsecret' {api}/tenants"#
    );
    let answers = String::from_utf8(Command::new("bash").args(["-c", &script]).output().unwrap().stdout).unwrap();
    assert!(answers.contains("\"passed\":true") && answers.contains("connectwise_keys"), "{answers}");
    serve.interrupt();
    sandbox.interrupt();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.lines().count() > 50, "{log}");
    for secret in [key.as_str(), "publicsecret", "privatesecret", "sandboxprivatekey", "operatorsecret"] {
        assert!(!answers.contains(secret), "{secret} is in an answer");
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is in the log: {line:?}");
    }
}

#[test]
fn the_sandbox_runs_alone() {
    let mut sandbox = Running::start(program().args(["sandbox", "--listen", "127.0.0.1:0"]));
    let said = sandbox.until("_sandbox/ledger");
    assert!(said.contains("\"company_id\": \"sandbox\""), "{said}");
    sandbox.interrupt();
}
