//! The custom fields of an addition.

use serde_json::{Value, json};

/// The custom fields of an addition as ConnectWise returned them. To write one of them, all must be sent, because
/// ConnectWise empties those that are left out (its guide to PATCH requests).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomFields(Vec<Value>);

impl CustomFields {
    pub(super) fn read(addition: &Value) -> Self {
        Self(addition.get("customFields").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Estimates the memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.iter().map(memory).sum()
    }

    /// Whether a field with this caption accepts any text.
    pub fn has_text(&self, caption: &str) -> bool {
        self.0.iter().any(|field| is_text(field, caption))
    }

    /// The same fields, with the text in the field with this caption; `None` if no such field accepts any text.
    pub fn with_text(&self, caption: &str, text: &str) -> Option<Self> {
        let mut fields = self.0.clone();
        fields.iter_mut().find(|field| is_text(field, caption))?["value"] = json!(text);
        Some(Self(fields))
    }

    pub(super) fn operation(&self) -> Value {
        json!({"op": "replace", "path": "customFields", "value": self.0})
    }
}

/// Estimates the memory of a JSON value in bytes. The members of an object are kept in nodes of eleven.
fn memory(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) => 0,
            Value::Number(_) => 32,
            Value::String(text) => text.len() + 16,
            Value::Array(values) => values.iter().map(memory).sum::<usize>() + 16,
            Value::Object(members) => {
                let values: usize = members.iter().map(|(name, value)| name.len() + 16 + memory(value)).sum();
                values + 640 * members.len().div_ceil(11)
            }
        }
}

/// Whether a field has this caption, ignoring case, and accepts any text: it is neither a list nor of another type.
fn is_text(field: &Value, caption: &str) -> bool {
    let text = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
    let takes_text = matches!(text("type"), "Text" | "TextArea") && matches!(text("entryMethod"), "" | "EntryField");
    takes_text && text("caption").trim().to_lowercase() == caption.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_set_and_the_other_fields_stay() {
        let addition = json!({"customFields": [
            {"id": 1, "caption": "Vendor id", "type": "Text", "entryMethod": "EntryField", "value": "v-17"},
            {"id": 2, "caption": "Billed by", "type": "Text", "entryMethod": "EntryField"},
            {"id": 3, "caption": "Tier", "type": "Text", "entryMethod": "List", "value": "Gold"},
            {"id": 4, "caption": "Since", "type": "Date", "entryMethod": "EntryField", "value": "2026-01-01"},
        ]});
        let fields = CustomFields::read(&addition);
        let noted = fields.with_text("billed BY ", "push 7").unwrap();
        let mut expected = addition["customFields"].clone();
        expected[1]["value"] = json!("push 7");
        assert_eq!(noted.operation()["value"], expected);
        for caption in ["Tier", "Since", "Nothing"] {
            assert!(!fields.has_text(caption) && fields.with_text(caption, "x").is_none(), "{caption}");
        }
        assert_eq!(CustomFields::read(&json!({"id": 1})), CustomFields::default());
    }
}
