//! What one client can do to the others: bodies that never end, bodies that stall, tables of commas.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Backend, Reply, TestApp};

/// The result for a client that kept sending: the response, how much it could send, and when it ended.
struct Flood {
    answer: String,
    sent: usize,
    took: Duration,
}

fn connect(app: &TestApp) -> TcpStream {
    let stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads everything until the server closes, or until a read fails.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a head, and then pieces at 3 MB/s until the server stops reading.
fn flood(app: &TestApp, head: String, chunked: bool) -> Flood {
    let began = Instant::now();
    let mut stream = connect(app);
    let mut writer = stream.try_clone().unwrap();
    writer.write_all(head.as_bytes()).unwrap();
    let sender = std::thread::spawn(move || {
        let piece = [b' '; 0x1_0000];
        let mut sent = 0;
        while sent < 64 << 20 {
            let framed = chunked.then_some(b"10000\r\n".as_slice()).into_iter().chain([piece.as_slice()]);
            let framed = framed.chain(chunked.then_some(b"\r\n".as_slice()));
            if framed.into_iter().try_for_each(|part| writer.write_all(part)).is_err() {
                break;
            }
            sent += piece.len();
            // This test must use real time: at loopback speed no number of bytes would prove anything.
            std::thread::sleep(Duration::from_millis(20));
        }
        sent
    });
    let answer = read_to_end(&mut stream);
    let took = began.elapsed();
    drop(stream);
    Flood { answer, sent: sender.join().unwrap(), took }
}

/// The server answers and closes, however much more the client would send.
async fn the_connection_closes_if_a_body_was_not_read(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let key = format!("Authorization: Bearer {}\r\n", app.key);
    let json = "Content-Type: application/json\r\n";
    let cases = [
        ("POST /api/v1/companies", String::new(), 401),
        ("POST /api/v1/companies", format!("{key}{json}"), 413),
        ("POST /api/v1/companies", key.clone(), 415),
        ("POST /api/v1/connection/test", key.clone(), 400),
        ("POST /nowhere", String::new(), 404),
        ("GET /healthz", String::new(), 200),
    ];
    for (request, headers, status) in &cases {
        for framing in ["Transfer-Encoding: chunked", "Content-Length: 99999999999"] {
            let head = format!("{request} HTTP/1.1\r\nHost: x\r\n{headers}{framing}\r\n\r\n");
            let chunked = framing.starts_with('T');
            let app = &app;
            let flood = tokio::task::block_in_place(|| flood(app, head, chunked));
            let told = &flood.answer[..flood.answer.len().min(400)];
            assert!(flood.answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}, {framing}: {told}");
            assert!(flood.took < Duration::from_secs(10), "{request}, {framing}: open for {:?}", flood.took);
            assert!(flood.sent < 32 << 20, "{request}, {framing}: {} bytes were taken", flood.sent);
        }
    }
    // An ordinary client keeps its connection.
    for _ in 0..3 {
        app.post("/companies", &json!({"external_id": "", "name": "x"})).await.problem(422, "validation");
    }
}

async fn a_rejection_has_the_headers_of_every_answer(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for (path, key) in [("/companies", "authorization"), ("/companies?search=%00", "x-nothing")] {
        let reply = app.send(reqwest::Method::GET, path, &[(key, "Bearer none"), ("x-request-id", "mine")], None).await;
        assert!([400, 401].contains(&reply.status), "{}", reply.text);
        assert_eq!((reply.header("x-request-id"), reply.header("x-content-type-options")), ("mine", "nosniff"));
    }
}

/// A head that announces a body, some of the body, and then silence.
fn stall(app: &TestApp, length: usize, sent: usize) -> TcpStream {
    let mut stream = connect(app);
    let head = format!(
        "POST /api/v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n",
        app.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b' '; sent]).unwrap();
    stream
}

async fn a_stalled_body_times_out(backend: Backend) {
    let app = TestApp::start_with(backend, Default::default(), |config| config.body_timeout = 2).await;
    let began = Instant::now();
    let mut slow = stall(&app, 8 << 20, 100_000);
    let answer = tokio::task::block_in_place(|| read_to_end(&mut slow));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_too_slow"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// Sends requests until one is rejected because a stalled body has all the memory; returns that body's connection and
/// the rejection. If another body has some of the memory while this one arrives, this one is rejected and starts again.
async fn rejected_beside_a_large_body(app: &TestApp, ask: impl AsyncFn() -> Reply) -> (TcpStream, Reply) {
    let began = Instant::now();
    loop {
        let slow = stall(app, 8_388_000, 8_300_000);
        slow.set_nonblocking(true).unwrap();
        // No response comes while the body is being read.
        while slow.peek(&mut [0]).is_err() {
            let reply = ask().await;
            if reply.status == 503 && slow.peek(&mut [0]).is_err() {
                slow.set_nonblocking(false).unwrap();
                return (slow, reply);
            }
            assert!(began.elapsed() < Duration::from_secs(60), "nobody is rejected");
        }
    }
}

/// Bodies that are being read share one budget: beyond it, callers get 503 until memory is free.
async fn all_bodies_together_have_a_budget(backend: Backend) {
    let app = TestApp::start_with(backend, Default::default(), |config| config.body_memory = 8).await;
    let body = format!("{{\"external_id\": \"C1\", \"name\": \"One\"}}{}", " ".repeat(400_000));
    let headers = [("content-type", "application/json")];
    let send = || app.send(reqwest::Method::POST, "/companies", &headers, Some(body.clone().into_bytes()));
    let (slow, rejected) = rejected_beside_a_large_body(&app, send).await;
    assert_eq!(rejected.header("retry-after"), "1");
    rejected.problem(503, "busy");
    // A small body is still read.
    app.post("/companies", &json!({"external_id": "SMALL", "name": "Small"})).await.expect(201);
    app.outside("/healthz").await.expect(200);
    app.get("/companies").await.expect(200);
    drop(slow);
    let began = Instant::now();
    while ![201, 409].contains(&send().await.status) {
        assert!(began.elapsed() < Duration::from_secs(20), "the budget is free again");
    }
}

/// One tenant's bodies can use a quarter of the budget: other tenants are not affected.
async fn one_tenants_bodies_leave_room_for_the_others(backend: Backend) {
    let app = TestApp::start_with(backend, Default::default(), |config| config.body_memory = 32).await;
    let operator = [("authorization", "Bearer the-operators-own-key"), ("content-type", "application/json")];
    let other = app.send(reqwest::Method::POST, "/tenants", &operator, Some(b"{\"name\": \"Other\"}".to_vec())).await;
    let other = format!("Bearer {}", other.expect(201)["key"].as_str().unwrap());
    let own = format!("Bearer {}", app.key);
    let body = format!("{{\"external_id\": \"C1\", \"name\": \"One\"}}{}", " ".repeat(400_000));
    let send = async |bearer: &str| {
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        app.send(reqwest::Method::POST, "/companies", &headers, Some(body.clone().into_bytes())).await
    };
    let (slow, _) = rejected_beside_a_large_body(&app, async || send(&own).await).await;
    send(&other).await.expect(201);
    drop(slow);
}

/// A response repeats only a short part of the request.
async fn answers_repeat_little_of_what_was_sent(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let long = "x".repeat(900_000);
    let headers = [("content-type", "application/json")];
    let unknown = format!("{{\"external_id\": \"C\", \"name\": \"N\", \"{long}\": 1}}");
    let reply = app.send(reqwest::Method::POST, "/companies", &headers, Some(unknown.into_bytes())).await;
    assert!(reply.status == 422 && reply.text.len() < 10_000, "{} bytes", reply.text.len());
    let record =
        json!({"company_external_id": long, "product_code": long, "amount": "1", "measured_at": app.clock.now()});
    let reply = app.post("/usage", &json!({"records": [record]})).await;
    assert!(reply.status == 422 && reply.text.len() < 20_000, "{} bytes", reply.text.len());
    for table in [vec![0_u8; 4_000_000], format!("company_external_id,product_code\n{long},x\n").into_bytes()] {
        let headers = [("content-type", "text/csv")];
        let reply = app.send(reqwest::Method::POST, "/import/billing-lines", &headers, Some(table)).await;
        assert!(reply.status == 422 && reply.text.len() < 20_000, "{} bytes", reply.text.len());
    }
}

/// Eight million commas are rejected at once with the right reason, while other requests are answered.
async fn a_table_of_commas_is_rejected_and_holds_nobody_up(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let commas = vec![b','; 8_000_000];
    let path = "/import/billing-lines";
    let headers = [("content-type", "text/csv")];
    let import = |body: Vec<u8>| app.send(reqwest::Method::POST, path, &headers, Some(body));
    let imports = futures_util::future::join_all((0..4).map(|_| import(commas.clone())));
    let pings = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            app.outside("/healthz").await.expect(200);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (rejected, slowest) = tokio::join!(imports, pings);
    for reply in rejected {
        let problem = reply.problem(422, "validation");
        assert_eq!(problem["errors"][0]["code"], "too_many_cells", "{problem}");
    }
    assert!(slowest < Duration::from_secs(3), "others waited for {slowest:?}");
    let columns = import(vec![b','; 200]).await.problem(422, "validation");
    assert_eq!(columns["errors"][0]["code"], "too_many_columns", "{columns}");
    let unknown = import(vec![b','; 99]).await.problem(422, "validation");
    assert_eq!(unknown["errors"].as_array().unwrap().len(), 100, "a hundred faults are told");
    let row = format!("company_external_id,product_code\n{}\n", ",".repeat(500_000));
    let row = import(row.into_bytes()).await.problem(422, "validation");
    assert_eq!((&row["errors"][0]["field"], &row["errors"][0]["code"]), (&json!("/2"), &json!("bad_csv")));
}

async fn every_text_of_a_query_has_a_length(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let long = "%25".repeat(16_000);
    for path in ["/companies", "/products", "/billing-lines", "/connectwise/companies", "/agreement-mappings"] {
        let problem = app.get(&format!("{path}?search={long}")).await;
        if problem.status == 400 && problem.text.contains("unknown field") {
            continue;
        }
        let problem = problem.problem(400, "malformed");
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!("search"), &json!("length"))
        );
    }
    app.get(&format!("/companies?cursor={}", "A".repeat(4_001))).await.problem(400, "malformed");
    app.get(&format!("/companies?search={}", "x".repeat(300))).await.expect(200);
}

async fn measured_at_is_limited_to_storable_times(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    app.company("C1", "One").await;
    app.product("P").await;
    let record = |at: &str| json!({"records": [{"company_external_id": "C1", "product_code": "P", "amount": "1", "measured_at": at}]});
    for at in ["-262143-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "2000-01-31T00:00:00Z"] {
        let problem = app.post("/usage", &record(at)).await.problem(422, "validation");
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!("/records/0/measured_at"), &json!("out_of_range"))
        );
    }
    app.post("/usage", &record("2000-02-02T00:00:00Z")).await.expect(200);
    app.post("/usage", &record("2016-12-31T23:59:60Z")).await.problem(422, "validation");
    for query in ["from=-262143-01-01T00:00:00Z", "to=%2B262142-01-01T00:00:00Z"] {
        let reply = app.get(&format!("/usage?{query}")).await;
        assert!([200, 400].contains(&reply.status), "{query}: {}", reply.text);
    }
}

async fn etags_are_compared_as_text_and_cursors_belong_to_one_list(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    for n in 0..3 {
        app.company(&format!("C{n}"), &format!("Company {n}")).await;
        app.product(&format!("P{n}")).await;
    }
    let company = app.all("/companies").await[0].clone();
    let path = format!("/companies/{}", company["id"].as_str().unwrap());
    let rename = |tag: &'static str| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        let (app, path) = (&app, &path);
        async move { app.send(reqwest::Method::PATCH, path, &headers, Some(b"{\"name\": \"New\"}".to_vec())).await }
    };
    for tag in ["\"+1\"", "\"01\"", "W/\"1\"", "\" 1\"", "\"2\""] {
        rename(tag).await.problem(412, "version_mismatch");
    }
    rename("1").await.problem(400, "malformed");
    rename("\"7\", \"1\"").await.expect(200);
    let cursor = |page: &serde_json::Value| page["next_cursor"].as_str().unwrap().to_owned();
    let companies = cursor(&app.get("/companies?limit=1").await.expect(200));
    let products = cursor(&app.get("/products?limit=1").await.expect(200));
    app.get(&format!("/companies?limit=1&cursor={companies}")).await.expect(200);
    app.get(&format!("/companies?limit=1&cursor={products}")).await.problem(422, "validation");
    app.get(&format!("/products?limit=1&cursor={companies}")).await.problem(422, "validation");
    app.get(&format!("/companies?limit=1&sort=-name&cursor={companies}")).await.problem(422, "validation");
    let agreements = cursor(&app.get("/agreement-mappings?limit=1").await.expect(200));
    app.get(&format!("/agreement-mappings?limit=1&cursor={agreements}")).await.expect(200);
    app.get(&format!("/addition-mappings?limit=1&cursor={agreements}")).await.problem(422, "validation");
}

/// All invalid settings are reported at once, by their names.
#[test]
fn settings_that_cannot_work_are_all_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let url = format!("sqlite:{}", file.join("sub/billing.db").display());
    let mut command = crate::process::program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url, "--log", "loud"]);
    for (name, value) in [
        ("CWB_DATABASE_CONNECTIONS", "0"),
        ("CWB_WORKERS", "0"),
        ("CWB_HTTP_THREADS", "0"),
        ("CWB_CONNECTWISE_PARALLEL", "0"),
        ("CWB_CONNECTWISE_TIMEOUT", "0"),
        ("CWB_SCHEDULE_MAX_LATE", "0"),
        ("CWB_BODY_TIMEOUT", "0"),
        ("CWB_BODY_MEMORY", "1"),
        ("CWB_OPERATOR_KEY", "short"),
        ("CWB_LEASE", "0"),
    ] {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    for name in [
        "--database-connections must be at least 1",
        "--workers must be at least 1",
        "--http-threads must be at least 1",
        "--connectwise-parallel must be at least 1",
        "--connectwise-timeout must be at least 1",
        "--schedule-max-late must be at least 1",
        "--body-timeout must be at least 1",
        "--body-memory must be at least 8",
        "--operator-key must have at least 16",
        "--lease must be longer",
        "a-file/sub is missing and cannot be made",
        "--log \"loud\"",
    ] {
        assert!(said.contains(name), "{name} is not in:\n{said}");
    }
    assert!(!said.contains("key file"), "the folder is at fault, not the key: {said}");
}

on_both!(
    the_connection_closes_if_a_body_was_not_read,
    a_rejection_has_the_headers_of_every_answer,
    a_stalled_body_times_out,
    all_bodies_together_have_a_budget,
    one_tenants_bodies_leave_room_for_the_others,
    answers_repeat_little_of_what_was_sent,
    a_table_of_commas_is_rejected_and_holds_nobody_up,
    every_text_of_a_query_has_a_length,
    measured_at_is_limited_to_storable_times,
    etags_are_compared_as_text_and_cursors_belong_to_one_list,
);
