//! Checks the dependencies between layers by reading the imports of each file.

mod circles;

use std::path::{Path, PathBuf};

/// The layers, and the layers that each may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("db", &["domain"]),
    ("outgoing", &["domain"]),
    ("connectwise", &["domain", "outgoing"]),
    ("services", &["domain", "db", "connectwise", "outgoing"]),
    // connectwise only for its types (statuses, steps, retry policy); db for reads without a service.
    ("http", &["domain", "db", "connectwise", "services"]),
    ("worker", &["domain", "services"]),
    ("app", &["domain", "db", "connectwise", "outgoing", "services", "http", "worker", "sandbox"]),
    ("sandbox", &[]),
];

/// Libraries that only these layers may use.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("diesel", &["db"]),
    ("diesel_migrations", &["db"]),
    ("r2d2", &["db"]),
    ("reqwest", &["connectwise", "outgoing"]),
    ("backon", &["connectwise"]),
    ("governor", &["connectwise"]),
    ("actix_web", &["http", "sandbox"]),
    ("utoipa", &["http"]),
    ("utoipa_actix_web", &["http"]),
    ("utoipa_swagger_ui", &["http"]),
    ("validator", &["http"]),
    ("csv", &["http"]),
    ("chacha20poly1305", &["services"]),
    ("hmac", &["outgoing"]),
    ("winnow", &["sandbox"]),
    ("clap", &["app"]),
    ("indicatif", &["app"]),
    ("comfy_table", &["app"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of a file, without comments and tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The names that follow `crate::` anywhere in a text, including nested `use crate::{a, b}`.
fn layers_named(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match part.strip_prefix('{') {
            Some(list) => {
                let list = list.split_once("};").map_or(list, |(list, _)| list);
                names.extend(list.split(',').map(|name| word(name.trim())));
            }
            None => names.push(word(part)),
        }
    }
    names
}

#[test]
fn every_folder_is_a_layer() {
    let mut folders: Vec<String> = std::fs::read_dir(src())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut layers: Vec<&str> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    folders.sort();
    layers.sort_unstable();
    assert_eq!(folders, layers);
}

#[test]
fn no_layer_names_what_it_may_not() {
    let all: Vec<&str> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    for (layer, allowed) in LAYERS {
        for path in sources(&src().join(layer)) {
            for name in layers_named(&code(&path)) {
                let fine = !all.contains(&name.as_str()) || name == *layer || allowed.contains(&name.as_str());
                assert!(fine, "{} names crate::{name}, which {layer} may not", path.display());
            }
        }
    }
}

#[test]
fn each_library_is_used_only_in_its_folder() {
    for (layer, _) in LAYERS {
        for path in sources(&src().join(layer)) {
            let code = code(&path);
            for (library, rooms) in LIBRARIES.iter().filter(|(_, rooms)| !rooms.contains(layer)) {
                let named = [format!("use {library}::"), format!("{library}::"), format!("use {library};")];
                let words = |text: &str| {
                    code.match_indices(text)
                        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
                };
                assert!(
                    !named.iter().any(|text| words(text)),
                    "{} names {library}, which belongs to {rooms:?}",
                    path.display()
                );
            }
        }
    }
}

/// Places in `src/db` that access a table without naming the tenant.
fn past_the_tenant(code: &str) -> Vec<String> {
    let code: String = code.split_whitespace().collect();
    let tables = code.match_indices("::table").filter(|(at, table)| {
        let (before, after) = (&code[..*at], &code[at + table.len()..]);
        let name = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && !name.ends_with("self.scoped(")
            && !name.ends_with("tx.scoped(")
    });
    let others = ["insert_into(", "copy_from(", "sql_query("].into_iter().flat_map(|text| code.match_indices(text));
    let around = |at: usize| code[at.saturating_sub(30)..].chars().take(60).collect();
    tables.chain(others).map(|(at, _)| around(at)).collect()
}

/// A query cannot forget its tenant: db/engine/scope.rs is its only way to the tables.
#[test]
fn tenants_are_kept_apart_in_one_place() {
    // Files with queries across all tenants, and files that query no table.
    let apart = [
        "scope.rs",
        "system.rs",
        "push_claim.rs",
        "schema.rs",
        "schema/reconciliation_tables.rs",
        "schema/schedule_tables.rs",
        "schema/webhook_tables.rs",
        "tx.rs",
        "request_budget.rs",
        "copy.rs",
        "backup.rs",
        "maintenance.rs",
    ];
    for path in sources(&src().join("db")) {
        if !apart.iter().any(|name| path.ends_with(name)) {
            assert_eq!(past_the_tenant(&code(&path)), Vec::<String>::new(), "{}", path.display());
        }
    }
    for bad in
        ["x::table.filter(x::id.eq(1))", "diesel::insert_into(x::table)", "self.scoped(x::table).inner_join(y::table)"]
    {
        assert!(!past_the_tenant(bad).is_empty(), "{bad}");
    }
    assert_eq!(past_the_tenant("self.scoped(x::table).filter(x::table_name)"), Vec::<String>::new());
    let tx = code(&src().join("db/engine/tx.rs"));
    assert!(!tx.contains("::table") && tx.matches("sql_query").count() == 1, "tx.rs asks for its lock alone");
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(layers_named("use crate::db::Tx; crate::{domain::x, http};"), ["db", "domain", "http"]);
    assert!(sources(&src()).len() > 50);
    assert!(code(&src().join("db/queries/push_jobs.rs")).contains("diesel"));
}

/// Code that all handlers share does not use any handler.
#[test]
fn the_kit_names_no_resource() {
    let kit = sources(&src().join("http/kit"));
    assert!(kit.len() > 10);
    for path in kit {
        assert!(!code(&path).contains("resources::"), "{}", path.display());
    }
}

/// Only services open write transactions; a handler may read.
#[test]
fn http_opens_no_write_transaction() {
    let writes = |code: &str| [".write(", ".write_system"].iter().any(|call| code.contains(call));
    for path in sources(&src().join("http")) {
        assert!(!writes(&code(&path)), "{}", path.display());
    }
    assert!(writes(&code(&src().join("services/products.rs"))), "the check sees one");
}

/// The name of a file, or of its folder if it is a `mod.rs`.
fn stem(path: &Path) -> String {
    let named = if path.ends_with("mod.rs") { path.parent().unwrap() } else { path };
    named.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn is_one_letter_apart(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    match long.len() - short.len() {
        0 => short.bytes().zip(long.bytes()).filter(|(left, right)| left != right).count() == 1,
        1 => (0..long.len()).any(|at| [&long[..at], &long[at + 1..]].concat() == short),
        _ => false,
    }
}

#[test]
fn file_names_differ_by_more_than_a_letter() {
    assert!(is_one_letter_apart("product", "products") && is_one_letter_apart("batch", "patch"));
    let mut names: Vec<String> = sources(&src()).iter().map(|path| stem(path)).collect();
    names.sort();
    names.dedup();
    for (at, one) in names.iter().enumerate() {
        let alike: Vec<&String> = names[at + 1..].iter().filter(|other| is_one_letter_apart(one, other)).collect();
        assert!(alike.is_empty(), "{one} is easily confused with {alike:?}: rename one of them");
    }
}

#[test]
fn files_stay_readable() {
    for path in sources(&src()) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines: split it by meaning", path.display());
    }
}
