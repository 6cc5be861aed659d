//! How many rule comparisons a second run on one core, compared with the standard library's search in the same texts.
//!
//! `cargo bench --bench rules` prints the lines of README's table.

#![allow(missing_docs, reason = "a program, not a library")]

use std::hint::black_box;
use std::time::Instant;

use connectwise_billing::domain::records::Agreement;
use connectwise_billing::domain::rules::Target;
use connectwise_billing::domain::rules::{Facts, Rule};
use connectwise_billing::domain::text::fold;

const RECORDS: i64 = 100_000;
const ROUNDS: usize = 20;

fn agreement(id: i64) -> Agreement {
    let kinds = ["SP Backup", "SP Workspace", "Managed Services", "Break Fix"];
    Agreement {
        type_name: Some(kinds[usize::try_from(id).unwrap_or_default() % kinds.len()].to_owned()),
        ..Agreement::endless(id, id, format!("Managed Backup Agreement {id} for Customer Number {id:06}"))
    }
}

/// The best of several rounds over all records: comparisons a second, and how many records match.
fn measure(mut matches: impl FnMut() -> usize) -> (f64, usize) {
    let (mut best, mut found) = (f64::MAX, 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        found = black_box(matches());
        best = best.min(started.elapsed().as_secs_f64());
    }
    (RECORDS as f64 / best, found)
}

fn main() {
    let records: Vec<Agreement> = (1..=RECORDS).map(agreement).collect();
    let facts: Vec<Facts> = records.iter().map(Facts::from).collect();
    let names: Vec<String> = records.iter().map(|record| fold(&record.name)).collect();
    let needle = fold("Number 0999");
    let (bare, found) = measure(|| names.iter().filter(|name| name.contains(black_box(needle.as_str()))).count());
    println!("{:<58} {:>7.1} million/s  {found} of {RECORDS}", "str::contains, bare", bare / 1e6);
    for (expression, comparisons) in [
        (r#"name contains "Number 0999""#, 1),
        (r#"name like "%Number 0999%""#, 1),
        (r#"name like "Managed%Number%9""#, 1),
        (r#"name like "%number _999%""#, 1),
        (r#"type/name = "SP Backup""#, 1),
        (r#"type/name in ("SP Backup", "Break Fix", "Other")"#, 1),
        (r#"type/name != "x" and name not contains "Number 0999""#, 2),
    ] {
        let Ok(rule) = Rule::parse(Target::Agreement, expression) else { continue };
        let (speed, found) = measure(|| facts.iter().filter(|facts| rule.matches(black_box(facts))).count());
        println!("{expression:<58} {:>7.1} million/s  {found} of {RECORDS}", speed * f64::from(comparisons) / 1e6);
    }
}
