//! Checks requests and responses against ConnectWise's schema.

use std::collections::HashMap;
use std::sync::OnceLock;

use connectwise_billing::domain::invoice_terms::RecapPath;
use connectwise_billing::sandbox::{Entry, Ledger};
use jsonschema::Validator;
use serde_json::{Value, json};

struct Schema {
    document: Value,
    /// The validators of bodies by method and path, and then by `request` or a status.
    validators: HashMap<(String, String), HashMap<String, Validator>>,
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(Schema::load)
}

/// Panics if a request or a response does not match the schema, or breaks a rule of ConnectWise.
pub fn assert_requests_match(ledger: &Ledger) {
    assert_eq!(ledger.violations, Vec::<String>::new());
    for entry in &ledger.requests {
        schema().hold(entry);
    }
}

/// Panics if a response does not match the schema, whatever the request was.
pub fn assert_responses_match(ledger: &Ledger) {
    for entry in &ledger.requests {
        schema().hold_answer(entry);
    }
}

/// How many bodies of how many operations can be checked, to ensure that the check is not empty.
#[test]
fn the_schema_is_understood() {
    let schema = schema();
    assert!(schema.validators.len() >= 14, "{:?}", schema.validators.keys());
    let patch = &schema.validators[&("PATCH".to_owned(), "/finance/agreements/{parentId}/additions/{id}".to_owned())];
    assert!(patch["request"].is_valid(&json!([{"op": "replace", "path": "quantity", "value": 3}])));
    assert!(!patch["request"].is_valid(&json!({"op": "replace", "path": "quantity", "value": 3})));
    assert!(!patch["200"].is_valid(&json!({"id": "seven"})));
    assert!(!patch["429"].is_valid(&json!({"error": 5})));
}

impl Schema {
    fn load() -> Self {
        let text = include_str!("../../data/connectwise-openapi-subset.json");
        let mut document: Value = serde_json::from_str(text).unwrap();
        to_json_schema(&mut document);
        let mut validators = HashMap::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let mut of = HashMap::new();
                if let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") {
                    of.insert("request".to_owned(), validator(&document, schema));
                }
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let response = resolve(&document, response);
                    if let Some(schema) = response.pointer("/content/application~1json/schema") {
                        of.insert(status.clone(), validator(&document, schema));
                    }
                }
                validators.insert((method.to_uppercase(), path.clone()), of);
            }
        }
        Self { document, validators }
    }

    fn operation(&self, entry: &Entry) -> Option<&(String, String)> {
        let path = format!("/{}", entry.path.trim_start_matches('/'));
        self.validators.keys().find(|(method, known)| *method == entry.method && fits(known, &path))
    }

    fn hold_answer(&self, entry: &Entry) {
        if let (Some(key), Some(answer)) = (self.operation(entry), &entry.answer) {
            let validator = self.validators[key].get(&entry.status.to_string());
            let validator =
                validator.unwrap_or_else(|| panic!("{} {}: no answer {}", entry.method, entry.path, entry.status));
            check(validator, answer, entry);
        }
    }

    fn hold(&self, entry: &Entry) {
        // ConnectWise's schema has it under none of its names.
        if RecapPath::ALL.iter().any(|list| list.as_str() == entry.path) {
            return;
        }
        let Some(key) = self.operation(entry) else {
            panic!("{} {} is no operation of ConnectWise's", entry.method, entry.path);
        };
        let operation = &self.document["paths"][&key.1][key.0.to_lowercase()];
        let parameters: Vec<String> = operation["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| resolve(&self.document, parameter)["name"].as_str().unwrap().to_owned())
            .collect();
        for (name, _) in &entry.query {
            assert!(parameters.contains(name), "{} {} takes no {name}", entry.method, entry.path);
        }
        assert!(entry.headers.iter().any(|(name, value)| name == "clientid" && !value.is_empty()));
        let of = &self.validators[key];
        match (&entry.body, of.get("request")) {
            (Some(body), Some(validator)) => check(validator, body, entry),
            (None, _) => {}
            (Some(_), None) => panic!("{} {} takes no body", entry.method, entry.path),
        }
        self.hold_answer(entry);
    }
}

fn check(validator: &Validator, value: &Value, entry: &Entry) {
    if let Some(error) = validator.iter_errors(value).next() {
        panic!("{} {} {}: {error} at {}", entry.method, entry.path, entry.status, error.instance_path());
    }
}

fn fits(known: &str, path: &str) -> bool {
    let (known, path): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
    known.len() == path.len() && known.iter().zip(&path).all(|(known, part)| known == part || is_id(known, part))
}

fn is_id(known: &str, part: &str) -> bool {
    known.starts_with('{') && part.bytes().all(|b| b.is_ascii_digit())
}

/// A value of a document, with a reference resolved.
pub fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let whole = json!({"allOf": [schema], "components": document["components"]});
    jsonschema::validator_for(&whole).unwrap()
}

/// Converts OpenAPI 3.0 to JSON Schema: `nullable` becomes a type, and nothing is required, as `fields` picks members.
fn to_json_schema(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let nullable = members.remove("nullable") == Some(Value::Bool(true));
            if let Some(kind) = members.get("type").cloned().filter(|_| nullable) {
                members.insert("type".to_owned(), json!([kind, "null"]));
            }
            if members.get("required").is_some_and(Value::is_array) {
                members.remove("required");
            }
            members.values_mut().for_each(to_json_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        _ => {}
    }
}
