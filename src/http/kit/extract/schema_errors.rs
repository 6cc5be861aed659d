//! All invalid fields of a body or of query parameters at once. Serde stops at the first error; once it has rejected a
//! value, the schema of the document finds the others. A valid request is never checked here.

use std::collections::BTreeMap;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};

use crate::domain::{FieldCode, FieldError};

/// Maximum number of errors that are collected.
const MAX_ERRORS: usize = 1_000;

/// A schema of the document, with the schemas that it refers to.
pub(super) struct Checked {
    document: Value,
    validator: Validator,
}

impl Checked {
    /// Prepares to check the schema of a type. `None` if the schema is not valid, which tests rule out.
    pub(super) fn of<T: utoipa::ToSchema>() -> Option<Self> {
        let mut referred = Vec::new();
        T::schemas(&mut referred);
        Self::new(serde_json::to_value(T::schema()).ok()?, referred)
    }

    /// Prepares to check a schema that may refer to these others.
    pub(super) fn new(schema: Value, referred: Vec<(String, RefOr<Schema>)>) -> Option<Self> {
        let mut document = schema;
        let schemas: BTreeMap<_, _> = referred.into_iter().collect();
        document.as_object_mut()?.insert("components".to_owned(), json!({ "schemas": schemas }));
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&document).ok()?;
        Some(Self { document, validator })
    }

    /// The errors of a value, in the order of their positions.
    pub(super) fn errors(&self, value: &Value) -> Vec<FieldError> {
        let mut found = Vec::new();
        for error in self.validator.iter_errors(value).take(MAX_ERRORS) {
            self.collect(&error, &mut found);
        }
        found.sort_by(|a, b| a.field.cmp(&b.field));
        found.dedup_by(|a, b| a.field == b.field);
        found
    }

    fn collect(&self, error: &ValidationError<'_>, found: &mut Vec<FieldError>) {
        let at = error.instance_path().as_str();
        let (code, message) = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.siblings(error, "properties");
                found.extend(unexpected.iter().take(MAX_ERRORS).map(|name| {
                    let message = format!("unknown member; expected one of: {known}");
                    FieldError::new(format!("{at}/{}", escaped(name)), FieldCode::UnknownField, message)
                }));
                return;
            }
            ValidationErrorKind::Required { property } => {
                let name = escaped(property.as_str().unwrap_or_default());
                found.push(FieldError::new(format!("{at}/{name}"), FieldCode::Required, "is required"));
                return;
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                // A nullable value has two schemas; report the errors of the one that is not null.
                let fits_not = |errors: &&Vec<ValidationError<'_>>| !errors.iter().any(|error| expects_null(error, at));
                if let Some(errors) = context.iter().filter(fits_not).min_by_key(|errors| errors.len()) {
                    errors.iter().for_each(|error| self.collect(error, found));
                    return;
                }
                (FieldCode::BadValue, "is not valid".to_owned())
            }
            kind => self.described(kind, error),
        };
        found.push(FieldError::new(at, code, message));
    }

    fn described(&self, kind: &ValidationErrorKind, error: &ValidationError<'_>) -> (FieldCode, String) {
        match kind {
            ValidationErrorKind::Type { kind } => {
                let message = format!("must be {}, not {}", expected(kind), kind_of(error.instance()));
                (FieldCode::WrongType, message)
            }
            ValidationErrorKind::Enum { options } => {
                let names = options.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>();
                (FieldCode::BadValue, format!("must be one of: {}", names.join(", ")))
            }
            ValidationErrorKind::Format { format } if format == "date-time" => {
                (FieldCode::BadValue, "must be a time such as 2026-11-22T12:00:00Z".to_owned())
            }
            ValidationErrorKind::MinLength { limit } => {
                (FieldCode::Length, format!("must be at least {limit} characters long"))
            }
            ValidationErrorKind::MaxLength { limit } => {
                (FieldCode::Length, format!("must be at most {limit} characters long"))
            }
            ValidationErrorKind::MinItems { limit } => (FieldCode::Length, format!("must have at least {limit} items")),
            ValidationErrorKind::MaxItems { limit } => (FieldCode::Length, format!("must have at most {limit} items")),
            ValidationErrorKind::Minimum { limit } => (FieldCode::OutOfRange, format!("must be at least {limit}")),
            ValidationErrorKind::Maximum { limit } => (FieldCode::OutOfRange, format!("must be at most {limit}")),
            _ => {
                let what = self.parent(error).and_then(|schema| schema.get("description")).and_then(Value::as_str);
                let message =
                    what.map_or_else(|| "is not valid".to_owned(), |what| format!("is not valid: {}", what.trim()));
                (FieldCode::BadValue, message)
            }
        }
    }

    /// The names in a member of the schema that failed, such as its properties.
    fn siblings(&self, error: &ValidationError<'_>, member: &str) -> String {
        let members = self.parent(error).and_then(|schema| schema.get(member)).and_then(Value::as_object);
        members.into_iter().flatten().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The schema whose keyword failed.
    fn parent(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
        self.document.pointer(parent)
    }
}

fn expects_null(error: &ValidationError<'_>, at: &str) -> bool {
    let is_null = |kind: &TypeKind| matches!(kind, TypeKind::Single(kind) if kind.to_string() == "null");
    error.instance_path().as_str() == at && matches!(error.kind(), ValidationErrorKind::Type { kind } if is_null(kind))
}

fn expected(kind: &TypeKind) -> String {
    let kinds: Vec<String> = match kind {
        TypeKind::Single(kind) => vec![kind.to_string()],
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| kind.to_string()).collect(),
    };
    let names = kinds.iter().map(|kind| match kind.as_str() {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    });
    names.collect::<Vec<_>>().join(" or ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
