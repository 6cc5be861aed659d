//! Evaluates the same expressions over the same records with our evaluator and with the sandbox's own, which shares no
//! code with it: the results must be equal.

use connectwise_billing::domain::records::{Addition, Agreement};
use connectwise_billing::domain::rules::Target;
use connectwise_billing::domain::rules::{Attribute, Comparison, Condition, Expr, Facts, Rule};
use connectwise_billing::sandbox::{Kind, Sandbox, Store, sample};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::support::{http_client, sandbox};

const RECORDS: i64 = 150;
const EXPRESSIONS: usize = 1_000;

/// Few letters, so that comparisons often hold; in every case and form that folding must treat as equal.
const LETTERS: &[&str] = &[
    "a",
    "A",
    "b",
    "B",
    "c",
    "ß",
    "SS",
    "é",
    "É",
    "e\u{301}",
    "σ",
    "ς",
    "Σ",
    "ı",
    "İ",
    "Я",
    "я",
    " ",
    "-",
    "1",
    "9",
    "日",
    "שלום",
    "\u{1F600}",
    "'",
];

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(LETTERS), 0..5).prop_map(|parts| parts.concat())
}

/// Records may contain characters that have a meaning in patterns.
fn values() -> impl Strategy<Value = String> {
    (words(), prop::sample::select(vec!["", "%", "_", "[", "]", "\"", "^"])).prop_map(|(text, mark)| text + mark)
}

fn patterns() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(LETTERS).prop_map(str::to_owned),
        1 => Just("_".to_owned()),
        1 => Just("[a-c]".to_owned()),
        1 => Just("[^ab]".to_owned()),
        1 => Just("[[]".to_owned()),
        3 => Just("%".to_owned()),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|parts| format!("{}%", parts.concat()))
}

fn expressions(target: Target) -> impl Strategy<Value = Expr> {
    let attributes: Vec<Attribute> = Attribute::of(target).collect();
    let condition =
        (prop::sample::select(attributes), prop::sample::select(Comparison::ALL), words(), words(), patterns())
            .prop_map(|(attribute, comparison, one, other, pattern)| {
                let texts = match comparison {
                    Comparison::In | Comparison::NotIn => vec![one, other],
                    Comparison::Like | Comparison::NotLike => vec![pattern],
                    // Our language rejects a search for an empty text.
                    Comparison::Contains | Comparison::NotContains if one.is_empty() => vec!["a".to_owned()],
                    _ => vec![one],
                };
                Expr::Condition(Condition { attribute, comparison, texts })
            });
    condition.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    })
}

fn some<T>(runner: &mut TestRunner, strategy: impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// Always the same, so a difference can be reproduced.
fn runner(seed: u8) -> TestRunner {
    TestRunner::new_with_rng(ProptestConfig::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
}

async fn sandboxed(http: &reqwest::Client, sandbox: &Sandbox, path: &str, expression: &str) -> Vec<i64> {
    let identity = sandbox.identity();
    let user = format!("{}+{}", identity.company_id, identity.public_key);
    let url = format!("{}/v2025_1/apis/3.0/{path}", sandbox.site());
    let request = http.get(url).basic_auth(user, Some(&identity.private_key)).header("clientId", &identity.client_id);
    let query = [("conditions", expression), ("fields", "id"), ("pageSize", "1000")];
    let reply = request.query(&query).send().await.unwrap();
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert_eq!(status, 200, "{expression}: {text}");
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

async fn compare(target: Target, path: &str, sandbox: &Sandbox, facts: &[(i64, Facts)], runner: &mut TestRunner) {
    let http = http_client();
    let mut found = 0;
    for _ in 0..EXPRESSIONS {
        let expression = some(runner, expressions(target)).to_string();
        // A text with both kinds of quotes cannot be written.
        let Ok(rule) = Rule::parse(target, &expression) else {
            assert!(expression.contains('\''), "{expression}");
            continue;
        };
        let ours: Vec<i64> = facts.iter().filter(|(_, facts)| rule.matches(facts)).map(|(id, _)| *id).collect();
        assert_eq!(sandboxed(&http, sandbox, path, &expression).await, ours, "{expression}");
        found += usize::from(!ours.is_empty() && ours.len() < facts.len());
    }
    assert!(found > EXPRESSIONS / 3, "only {found} expressions told records apart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agreements() {
    let (mut runner, mut store, mut facts) = (runner(1), Store::default(), Vec::new());
    store.put(Kind::Companies, sample::company(1, "C1", "Company 1"));
    for id in 1..=RECORDS {
        let (name, kind) = (some(&mut runner, values()), some(&mut runner, prop::option::of(values())));
        let mut record = sample::agreement(id, 1, &name, (1, kind.as_deref().unwrap_or_default()));
        if kind.is_none() {
            record["type"] = Value::Null;
        }
        store.put(Kind::Agreements, record);
        let record = Agreement { type_name: kind, ..Agreement::endless(id, 1, name) };
        facts.push((id, Facts::from(&record)));
    }
    compare(Target::Agreement, "finance/agreements", &sandbox(store), &facts, &mut runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn additions() {
    let (mut runner, mut store, mut facts) = (runner(2), Store::default(), Vec::new());
    store.put(Kind::Agreements, sample::agreement(1, 1, "Backup", (1, "SP Backup")));
    for id in 1..=RECORDS {
        let (product, text) = (some(&mut runner, values()), some(&mut runner, prop::option::of(values())));
        let mut record = sample::addition(id, 1, &product, "", 1.0);
        record["description"] = json!(text);
        store.put(Kind::Additions, record);
        let record = Addition { description: text, ..Addition::plain(id, 1, product) };
        facts.push((id, Facts::from(&record)));
    }
    compare(Target::Addition, "finance/agreements/1/additions", &sandbox(store), &facts, &mut runner).await;
}
