//! Finds which file uses definitions of which other file, and checks that there are no circles.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, sources, src};

/// The files of the crate by module path, such as `db::engine::tx`.
struct Modules {
    code: BTreeMap<String, String>,
    /// The re-exports of each module: the name, and the path that it stands for.
    reexports: BTreeMap<String, BTreeMap<String, String>>,
}

impl Modules {
    fn load() -> Self {
        let mut modules = Self { code: BTreeMap::new(), reexports: BTreeMap::new() };
        for path in sources(&src()) {
            let relative = path.strip_prefix(src()).unwrap().with_extension("");
            let mut parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if ["mod", "lib", "main"].contains(&parts.last().unwrap().as_str()) {
                parts.pop();
            }
            if parts.is_empty() {
                continue;
            }
            modules.code.insert(parts.join("::"), code(&path));
        }
        for (module, code) in &modules.code {
            let uses = uses(code).0.into_iter().filter(|(public, _)| *public);
            let names = uses.flat_map(|(_, tree)| leaves(&tree)).map(|path| {
                let absolute = modules.absolute(&path, module).unwrap_or_else(|| format!("{module}::{path}"));
                (path.rsplit("::").next().unwrap().to_owned(), absolute)
            });
            modules.reexports.insert(module.clone(), names.collect());
        }
        modules
    }

    /// A path of this crate, from its root; `None` for a library's.
    fn absolute(&self, path: &str, module: &str) -> Option<String> {
        let mut base: Vec<&str> = module.split("::").collect();
        let mut parts = path.split("::").peekable();
        match *parts.peek()? {
            "crate" => {
                parts.next();
                base.clear();
            }
            "self" => drop(parts.next()),
            "super" => {
                while parts.next_if_eq(&"super").is_some() {
                    base.pop();
                }
            }
            first => {
                // A child's name, as in a mod.rs.
                self.code.contains_key(&format!("{module}::{first}")).then_some(())?;
            }
        }
        base.extend(parts);
        Some(base.join("::"))
    }

    /// The module that defines the item of a path.
    fn definer(&self, path: &str) -> Option<String> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            let parts: Vec<&str> = path.split("::").collect();
            let length = (1..=parts.len()).rev().find(|length| self.code.contains_key(&parts[..*length].join("::")))?;
            let module = parts[..length].join("::");
            let reexport = parts.get(length).and_then(|name| self.reexports.get(&module)?.get(*name));
            match reexport {
                Some(target) if !target.starts_with(&path) => {
                    path = [&[target.as_str()], &parts[length + 1..]].concat().join("::");
                }
                _ => return Some(module),
            }
        }
        None
    }

    /// The modules that a module uses.
    fn used_by(&self, module: &str) -> BTreeSet<String> {
        let (uses, rest) = uses(&self.code[module]);
        let imported = uses.into_iter().filter(|(public, _)| !public).flat_map(|(_, tree)| leaves(&tree));
        let named = imported.chain(inline_paths(&rest));
        let used = named.filter_map(|path| self.definer(&self.absolute(&path, module)?));
        used.filter(|other| other != module).collect()
    }
}

/// The `use` statements of a text, each with whether it re-exports; and the text without them.
fn uses(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let (visibility, after) = match line.trim_start().strip_prefix("pub") {
            Some(after) => (true, after.trim_start_matches(|c: char| c != ' ').trim_start()),
            None => (false, line.trim_start()),
        };
        let Some(tree) = after.strip_prefix("use ") else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.trim_end().ends_with(';') {
            tree.push_str(lines.next().unwrap());
        }
        found
            .push((visibility, tree.trim_end().trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    (found, rest)
}

/// Every path of a `use` tree.
fn leaves(tree: &str) -> Vec<String> {
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap().trim();
        return vec![path.trim_end_matches("::self").trim_end_matches("::*").to_owned()];
    };
    let group = group.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in group.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(|part| leaves(&format!("{}{part}", prefix.trim()))).collect()
}

/// The paths in the code that begin with `crate` or `super`.
fn inline_paths(code: &str) -> Vec<String> {
    let starts = ["crate::", "super::"].into_iter().flat_map(|start| code.match_indices(start));
    let first = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let starts = starts.map(|(at, _)| at).filter(first);
    let path = |at: usize| {
        let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        code[at..end.map_or(code.len(), |end| at + end)].trim_end_matches(':').to_owned()
    };
    starts.map(path).collect()
}

/// A path from a module back to itself, if there is one.
fn circle(used: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        module: &str,
        used: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(at) = way.iter().position(|step| step == module) {
            let mut circle = way[at..].to_vec();
            circle.push(module.to_owned());
            return Some(circle);
        }
        if done.contains(module) {
            return None;
        }
        way.push(module.to_owned());
        let found = used[module].iter().find_map(|next| visit(next, used, way, done));
        way.pop();
        done.insert(module.to_owned());
        found
    }
    let mut done = BTreeSet::new();
    used.keys().find_map(|module| visit(module, used, &mut Vec::new(), &mut done))
}

#[test]
fn no_file_uses_itself_through_others() {
    let modules = Modules::load();
    let used: BTreeMap<_, _> = modules.code.keys().map(|module| (module.clone(), modules.used_by(module))).collect();
    if let Some(circle) = circle(&used) {
        panic!("a circle of imports: {}", circle.join(" -> "));
    }
}

#[test]
fn the_search_for_circles_sees_imports() {
    let modules = Modules::load();
    let used = |module: &str| modules.used_by(module).into_iter().collect::<Vec<_>>();
    assert!(used("services::push::jobs").contains(&"services::push::progress".to_owned()));
    // Through a re-export: the module with the definition.
    assert!(used("services::push::jobs").contains(&"db::engine::page".to_owned()));
    assert!(used("http::server").contains(&"http::kit::request_id".to_owned()));
    let all: usize = modules.code.keys().map(|module| used(module).len()).sum();
    assert!(all > 600, "{all}");
    assert_eq!(
        leaves("crate::a::{self, b::{C, d}, e as f}"),
        ["crate::a", "crate::a::b::C", "crate::a::b::d", "crate::a::e"]
    );
    assert_eq!(inline_paths("x(crate::a::b(), $crate::c!(), y::super::z)"), ["crate::a::b", "crate::c"]);
    let arrows = |pairs: &[(&str, &str)]| {
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            used.entry((*to).to_owned()).or_default();
            used.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circle(&used)
    };
    assert_eq!(arrows(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
    assert_eq!(arrows(&[("a", "b"), ("b", "c"), ("c", "b")]).unwrap(), ["b", "c", "b"]);
}
