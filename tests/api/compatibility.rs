//! Compares the OpenAPI document with the last released one, `openapi/released.json`: a client of the released version
//! must be able to use this one. docs/API-DESIGN.md says what may change.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Who sends a value: what a caller sends may become wider, and what the service sends may get more members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    ByCaller,
    ByService,
}

/// Collects changes that would break a client of the old document.
struct Comparison<'d> {
    old: &'d Value,
    new: &'d Value,
    found: Vec<String>,
    /// The pairs of schemas that were compared, because schemas can contain themselves.
    seen: BTreeSet<(String, bool)>,
}

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn texts(value: &Value) -> BTreeSet<String> {
    let one = value.as_str().map(str::to_owned);
    let many = value.as_array().into_iter().flatten().map(|text| text.to_string().trim_matches('"').to_owned());
    one.into_iter().chain(many).collect()
}

fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(at) => document.pointer(at.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => value,
    }
}

impl<'d> Comparison<'d> {
    fn of(old: &'d Value, new: &'d Value) -> Vec<String> {
        let mut comparison = Self { old, new, found: Vec::new(), seen: BTreeSet::new() };
        comparison.operations();
        for (name, _) in object(&old["components"]["schemas"]) {
            comparison
                .require(!new["components"]["schemas"][name].is_null(), || format!("the schema {name} is missing"));
        }
        comparison.found
    }

    fn require(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.found.push(complaint());
        }
    }

    fn operations(&mut self) {
        for (path, item) in object(&self.old["paths"]) {
            for method in METHODS.into_iter().filter(|method| item[*method].is_object()) {
                let (old, new) = (&item[method], &self.new["paths"][path][method]);
                let place = format!("{} {path}", method.to_uppercase());
                self.require(new.is_object(), || format!("{place} is missing"));
                if new.is_object() {
                    self.operation(old, new, &place);
                }
            }
        }
    }

    fn operation(&mut self, old: &'d Value, new: &'d Value, place: &str) {
        self.require(old["operationId"] == new["operationId"], || format!("{place} has another operationId"));
        self.parameters(old, new, place);
        for (kind, content) in object(&resolve(self.old, &old["requestBody"])["content"]) {
            let body = resolve(self.new, &new["requestBody"]);
            let schema = &body["content"][kind]["schema"];
            self.require(!schema.is_null(), || format!("{place} does not take {kind} any more"));
            self.schema(&content["schema"], schema, Sent::ByCaller, &format!("the body of {place}"));
        }
        let newly_required = new["requestBody"]["required"] == true && old["requestBody"]["required"] != true;
        self.require(!newly_required, || format!("{place} requires a body"));
        for (status, response) in object(&old["responses"]).filter(|(status, _)| status.starts_with('2')) {
            self.require(!new["responses"][status].is_null(), || format!("{place} does not return {status} any more"));
            for (kind, content) in object(&resolve(self.old, response)["content"]) {
                let schema = &resolve(self.new, &new["responses"][status])["content"][kind]["schema"];
                self.require(!schema.is_null(), || format!("{place} does not return {kind} any more"));
                self.schema(&content["schema"], schema, Sent::ByService, &format!("{status} of {place}"));
            }
        }
    }

    fn parameters(&mut self, old: &'d Value, new: &'d Value, place: &str) {
        let list = |document: &'d Value, operation: &'d Value| -> Vec<&'d Value> {
            let all = operation["parameters"].as_array().into_iter().flatten();
            all.map(|parameter| resolve(document, parameter)).collect()
        };
        let (before, after) = (list(self.old, old), list(self.new, new));
        let same = |one: &Value, other: &Value| one["name"] == other["name"] && one["in"] == other["in"];
        for parameter in &before {
            let place = format!("the parameter {} of {place}", parameter["name"]);
            match after.iter().find(|known| same(known, parameter)) {
                None => self.found.push(format!("{place} is missing")),
                Some(known) => self.schema(&parameter["schema"], &known["schema"], Sent::ByCaller, &place),
            }
        }
        for parameter in after.iter().filter(|parameter| parameter["required"] == true) {
            let was = before.iter().any(|known| same(known, parameter) && known["required"] == true);
            self.require(was, || format!("{place} requires the parameter {}", parameter["name"]));
        }
    }

    fn schema(&mut self, old: &'d Value, new: &'d Value, sent: Sent, place: &str) {
        if let Some(name) = old["$ref"].as_str()
            && !self.seen.insert((format!("{name} {}", new["$ref"]), sent == Sent::ByCaller))
        {
            return;
        }
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        self.types(old, new, sent, place);
        self.members(old, new, sent, place);
        if !old["items"].is_null() {
            self.schema(&old["items"], &new["items"], sent, &format!("an item of {place}"));
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            let (before, after) = (old[choice].as_array(), new[choice].as_array());
            let (Some(before), Some(after)) = (before, after) else {
                self.require(before.is_none() == after.is_none(), || format!("{place} has another form"));
                continue;
            };
            self.require(before.len() == after.len(), || format!("{place} has another number of forms"));
            for (one, other) in before.iter().zip(after) {
                self.schema(one, other, sent, place);
            }
        }
    }

    fn types(&mut self, old: &Value, new: &Value, sent: Sent, place: &str) {
        let (before, after) = (texts(&old["type"]), texts(&new["type"]));
        let fits = if sent == Sent::ByCaller { before.is_subset(&after) } else { after.is_subset(&before) };
        self.require(before.is_empty() || fits, || format!("the type of {place} was {before:?} and is {after:?}"));
        let (before, after) = (texts(&old["enum"]), texts(&new["enum"]));
        let closed = sent == Sent::ByCaller && !after.is_empty() && (before.is_empty() || !before.is_subset(&after));
        self.require(!closed, || format!("{place} does not take all values any more"));
        if sent == Sent::ByService {
            return;
        }
        for (limit, narrower) in [
            ("maxLength", -1.0),
            ("maxItems", -1.0),
            ("maximum", -1.0),
            ("minLength", 1.0),
            ("minItems", 1.0),
            ("minimum", 1.0),
        ] {
            let (before, after) = (old[limit].as_f64(), new[limit].as_f64());
            let is_narrower = after.is_some_and(|after| before.is_none_or(|before| (after - before) * narrower > 0.0));
            self.require(!is_narrower, || format!("{limit} of {place} was {before:?} and is {after:?}"));
        }
        let pattern = new["pattern"].is_null() || new["pattern"] == old["pattern"];
        self.require(pattern, || format!("{place} has another pattern"));
    }

    fn members(&mut self, old: &'d Value, new: &'d Value, sent: Sent, place: &str) {
        for (name, member) in object(&old["properties"]) {
            let (place, known) = (format!("{name} of {place}"), &new["properties"][name]);
            match known {
                Value::Null => self.found.push(format!("{place} is missing")),
                known => self.schema(member, known, sent, &place),
            }
        }
        let (before, after) = (texts(&old["required"]), texts(&new["required"]));
        let (must, not_before) = if sent == Sent::ByCaller { (&after, &before) } else { (&before, &after) };
        for name in must.difference(not_before) {
            self.found.push(match sent {
                Sent::ByCaller => format!("{name} of {place} is required"),
                Sent::ByService => format!("{name} of {place} may be missing"),
            });
        }
    }
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// If this fails, a client of the last release would break. Make the change compatible; before the first release, copy
/// `openapi/openapi.json` to `openapi/released.json` and say in CHANGELOG.md what changed.
#[test]
fn clients_of_the_last_release_can_use_this_version() {
    let old = document(include_str!("../../openapi/released.json"));
    let new = document(include_str!("../../openapi/openapi.json"));
    assert_eq!(Comparison::of(&old, &new), Vec::<String>::new());
}

/// A document with one operation, as changed by a test.
fn changed(change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut thing = json!({
        "type": "object", "required": ["id"],
        "properties": {"id": {"type": "string"}, "size": {"type": ["string", "null"], "maxLength": 9, "enum": ["a", "b"]}},
    });
    change(thing.as_object_mut().unwrap());
    let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}});
    json!({
        "paths": {"/things": {"post": {
            "operationId": "create_thing", "requestBody": body, "responses": {"201": body},
            "parameters": [{"name": "dry_run", "in": "query", "schema": {"type": "boolean"}}],
        }}},
        "components": {"schemas": {"Thing": thing}},
    })
}

#[test]
fn what_breaks_a_client_is_found() {
    let same = changed(|_| {});
    assert_eq!(Comparison::of(&same, &same), Vec::<String>::new());
    let found = |new: Value| Comparison::of(&changed(|_| {}), &new).join("; ");
    let gone = found(changed(|thing| drop(thing["properties"].as_object_mut().unwrap().remove("size"))));
    assert!(gone.contains("size of the body") && gone.contains("size of 201"), "{gone}");
    assert!(found(changed(|thing| thing["required"] = json!(["id", "size"]))).contains("is required"));
    assert!(found(changed(|thing| thing["required"] = json!([]))).contains("may be missing"));
    assert!(found(changed(|thing| thing["properties"]["id"]["type"] = json!("integer"))).contains("the type of id"));
    assert!(found(changed(|thing| thing["properties"]["size"]["type"] = json!("string"))).contains("the type of size"));
    assert!(found(changed(|thing| thing["properties"]["size"]["enum"] = json!(["a"]))).contains("all values"));
    assert!(found(changed(|thing| thing["properties"]["size"]["maxLength"] = json!(8))).contains("maxLength"));
    assert!(found(changed(|thing| thing["properties"]["id"]["pattern"] = json!("^x"))).contains("pattern"));
    let wider = found(changed(|thing| {
        thing["properties"]["new"] = json!({"type": "string"});
        thing["properties"]["size"]["enum"] = json!(["a", "b", "c"]);
        thing["properties"]["size"]["maxLength"] = json!(10);
    }));
    assert_eq!(wider, "", "more is no less");
    let mut without = changed(|_| {});
    without["paths"]["/things"]["post"]["parameters"] = json!([]);
    assert!(found(without).contains("dry_run"));
    let mut renamed = changed(|_| {});
    renamed["paths"]["/things"]["post"]["operationId"] = json!("make_thing");
    assert!(found(renamed).contains("operationId"));
    assert!(found(json!({"paths": {}, "components": {"schemas": {}}})).contains("POST /things is missing"));
}
