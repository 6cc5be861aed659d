//! Tests the documents: README's commands, the settings' table, and the rules of docs/RULES.md.

use std::process::Command;

use connectwise_billing::domain::rules::Rule;
use serde_json::Value;

use crate::process::Demo;
use crate::support::http_client;
use crate::support::schema::resolve;

const README: &str = include_str!("../../README.md");
const COOKBOOK: &str = include_str!("../../docs/COOKBOOK.md");
const RULES: &str = include_str!("../../docs/RULES.md");

/// The fenced blocks of a document, with the text after the fence.
fn blocks(document: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, Vec<&str>)> = None;
    for line in document.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => open = Some((kind.to_owned(), Vec::new())),
            (Some(_), Some((kind, lines))) => found.push((kind, lines.join("\n"))),
            (None, Some((kind, mut lines))) => {
                lines.push(line);
                open = Some((kind, lines));
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn the_rules_of_the_manual_are_as_it_says() {
    let (mut good, mut bad) = (0, 0);
    for (kind, text) in blocks(RULES) {
        let (kind, target) = kind.split_once(' ').unwrap();
        let rule = Rule::parse(target.parse().unwrap(), &text);
        match kind {
            "rule" => good += usize::from(rule.map_err(|error| panic!("{text}: {error}")).is_ok()),
            "bad-rule" => {
                assert!(rule.is_err(), "{text} was read");
                bad += 1;
            }
            other => panic!("what is {other}?"),
        }
    }
    assert!(good >= 6 && bad >= 5);
    // The table of operators, one example in each row's last cell.
    let examples: Vec<&str> =
        RULES.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4).collect();
    let mut tried = 0;
    for line in examples {
        let example = line.rsplit('|').nth(1).unwrap().trim().trim_matches('`');
        if example.contains('"') {
            Rule::parse("agreement".parse().unwrap(), example).unwrap_or_else(|error| panic!("{example}: {error}"));
            tried += 1;
        }
    }
    assert_eq!(tried, 6);
}

/// Sends every operation of a demo's document with the examples of its path and body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_works_in_a_demo() {
    let folder = tempfile::tempdir().unwrap();
    let demo = tokio::task::block_in_place(|| Demo::start(&folder));
    let http = http_client();
    let document: Value =
        http.get(format!("{}/openapi.json", demo.address)).send().await.unwrap().json().await.unwrap();
    // There is no operator's key and no webhook; the example is another ConnectWise.
    let no_record = ["list_tenants", "create_tenant", "get_webhook", "update_webhook", "delete_webhook"];
    let no_webhook = ["rotate_webhook_secret", "test_webhook", "get_webhook_delivery", "resend_webhook_delivery"];
    let not_to_do = ["put_connection", "delete_connection", "revoke_api_key", "watch_push_job"];
    // No line is held, no push runs or failed, the product has both rules, and the first example used its code.
    let no_state = [
        "approve_push_lines",
        "drop_push_lines",
        "cancel_push_job",
        "retry_push_job",
        "create_matching_rule",
        "replace_product",
    ];
    let left_out = [&no_record[..], &no_webhook, &not_to_do, &no_state].concat();
    let mut operations: Vec<(String, String, Value)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    // Reading before changing, and deleting last.
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    operations.sort_by_key(|(path, method, _)| {
        let place = methods.iter().position(|one| one == method);
        // Records that belong to another are deleted before it.
        (place, if method == "DELETE" { usize::MAX - path.len() } else { 0 })
    });
    let mut rejected = Vec::new();
    let mut sent = 0;
    for (path, method, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap();
        if left_out.contains(&id) {
            continue;
        }
        // A push that an example started must end before a record can be deleted.
        while method == "DELETE" && is_pushing(&http, &demo).await {}
        let mut address = path.clone();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(&document, parameter);
            if parameter["in"] == "path" {
                let (name, value) = (parameter["name"].as_str().unwrap(), parameter["example"].as_str());
                let value = value.unwrap_or_else(|| panic!("{id} has no example of {name}"));
                address = address.replace(&format!("{{{name}}}"), value);
            }
        }
        let mut request =
            http.request(method.parse().unwrap(), format!("{}{address}", demo.address)).bearer_auth(&demo.key);
        if let Some((kind, content)) = operation["requestBody"]["content"].as_object().and_then(|all| all.iter().next())
        {
            let schema = resolve(&document, &content["schema"]);
            let example = if content["example"].is_null() { &schema["example"] } else { &content["example"] };
            assert!(!example.is_null(), "{id} has no example of its body");
            let body = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            request = request.header("content-type", kind).body(body);
        }
        let reply = request.send().await.unwrap();
        sent += 1;
        if !reply.status().is_success() {
            rejected.push(format!("{id}: {} {}", reply.status(), reply.text().await.unwrap()));
        }
    }
    assert_eq!(rejected, Vec::<String>::new());
    assert!(sent > 50, "{sent} operations were tried");
    tokio::task::block_in_place(|| demo.stop());
}

async fn is_pushing(http: &reqwest::Client, demo: &Demo) -> bool {
    let jobs = http.get(format!("{}/api/v1/push-jobs?limit=5", demo.address)).bearer_auth(&demo.key).send().await;
    let jobs: Value = jobs.unwrap().json().await.unwrap();
    jobs["items"].as_array().unwrap().iter().any(|job| job["finished_at"].is_null())
}

#[test]
fn every_setting_is_in_the_table_and_in_the_help() {
    let program = env!("CARGO_BIN_EXE_connectwise-billing");
    let mut help = String::new();
    for command in ["serve", "sandbox", "demo", "migrate", "create-key", "backup", "copy", "openapi"] {
        let output = Command::new(program).args([command, "--help"]).output().unwrap();
        assert!(output.status.success(), "{command}");
        help.push_str(&String::from_utf8(output.stdout).unwrap());
        assert!(README.contains(&format!("| `{command}` |")), "{command} is not in README's table");
    }
    let names = |text: &str| {
        let mut names: Vec<String> = text
            .match_indices("CWB_")
            .map(|(at, _)| text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(README), names(&help));
}

/// Runs every command of the tour, in one shell, as a reader would paste them.
#[test]
fn the_tour_of_the_readme_works() {
    // Kept to the end: a demo whose files were deleted creates new, empty ones.
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder);
    let tour = README.split("## A tour with curl").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands: Vec<String> =
        blocks(tour).into_iter().filter(|(kind, _)| kind == "sh").map(|(_, text)| text).collect();
    assert!(commands.len() >= 9);
    // The first block names the address and the key that the demo printed.
    let mut script = format!("set -eu\nexport API={}/api/v1\nexport KEY={}\n", demo.address, demo.key);
    for command in &commands[1..] {
        script.push_str(command);
        script.push_str("\nprintf '\\n'\n");
    }
    // The tour takes seconds; if it hangs, the test must say where.
    let output = Command::new("timeout").args(["120", "bash", "-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // One command shows the error for an invalid rule; nothing else may fail.
    assert_eq!(text.matches("\"type\":\"/problems/").count(), 1, "{text}");
    assert!(text.contains("Write like"), "{text}");
    for sign in [
        "\"passed\":true",
        "\"match_source\":\"manual\"",
        "\"added\":1",
        "event: end",
        "\"would_push\"",
        "\"from\":\"1\",\"to\":\"3\"",
        "\"next_runs\"",
    ] {
        assert!(text.contains(sign), "{sign} is missing from {text}");
    }
    demo.stop();
}

/// Runs every command of the cookbook in one shell, and compares the output of each block with the text below it.
#[test]
fn the_cookbook_prints_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder);
    let blocks = blocks(COOKBOOK);
    // The first block names the address and the key that the demo printed.
    let mut script = format!("set -eu\nexport API={}/api/v1\nexport KEY={}\n", demo.address, demo.key);
    let mut expected = Vec::new();
    for (place, (kind, text)) in blocks.iter().enumerate().skip(1) {
        match kind.as_str() {
            "sh" => {
                script.push_str(&format!("{text}\nprintf '\\036'\n"));
                let printed = blocks.get(place + 1).filter(|(kind, _)| kind == "text");
                expected.push(printed.map_or_else(String::new, |(_, text)| format!("{text}\n")));
            }
            "text" => assert_eq!(blocks[place - 1].0, "sh", "nothing prints {text}"),
            other => panic!("what is {other}?"),
        }
    }
    assert!(expected.len() >= 12 && COOKBOOK.matches("\n## ").count() == 12);
    let output = Command::new("timeout").args(["120", "bash", "-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let printed: Vec<&str> = text.split_terminator('\u{1e}').collect();
    assert_eq!(printed, expected);
    demo.stop();
}

/// The commands outside the tour, and where each is run instead.
#[test]
fn every_other_command_is_run_somewhere() {
    let tour = README.split("## A tour with curl").nth(1).unwrap().split("\n## ").next().unwrap();
    let in_tour: Vec<_> = blocks(tour);
    let others: Vec<String> = blocks(README)
        .into_iter()
        .filter(|block| block.0 == "sh" && !in_tour.contains(block))
        .map(|block| block.1)
        .collect();
    assert_eq!(
        others,
        [
            "cargo run -- demo",            // process.rs, with the same binary
            "scripts/test",                 // it runs this test
            "cargo run --release -- serve", // process.rs, with the same binary
        ]
    );
}
