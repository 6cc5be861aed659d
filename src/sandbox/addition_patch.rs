//! PATCH and PUT of an addition, with the pitfalls of ConnectWise.

use serde_json::{Map, Value, json};

use super::response::Response;

/// The members of an addition, as ConnectWise spells them. PATCH paths must match this spelling exactly.
pub(super) const ADDITION: &[&str] = &[
    "id",
    "product",
    "quantity",
    "lessIncluded",
    "unitPrice",
    "unitCost",
    "billCustomer",
    "effectiveDate",
    "cancelledDate",
    "taxableFlag",
    "serialNumber",
    "invoiceDescription",
    "purchaseItemFlag",
    "specialOrderFlag",
    "agreementId",
    "description",
    "billedQuantity",
    "uom",
    "extPrice",
    "extCost",
    "sequenceNumber",
    "margin",
    "prorateCost",
    "proratePrice",
    "extendedProrateCost",
    "extendedProratePrice",
    "prorateCurrentPeriodFlag",
    "opportunity",
    "agreementStatus",
    "invoiceGrouping",
    "_info",
    "customFields",
];

/// Members that ConnectWise computes. A change of them succeeds but is ignored.
const DERIVED: &[&str] = &["id", "agreementId", "billedQuantity", "extPrice", "extCost", "margin", "agreementStatus"];

/// Applies the operations of a PATCH. Returns the changed record.
pub(super) fn apply(record: &Map<String, Value>, body: &Value) -> Result<Map<String, Value>, Response> {
    let Some(operations) = body.as_array() else {
        return Err(Response::error(400, "InvalidOperation", "The body must be an array of operations"));
    };
    let mut record = record.clone();
    for operation in operations {
        let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (op, path) = (text("op"), text("path"));
        let path = path.strip_prefix('/').unwrap_or(&path);
        // An operation on a path into an object succeeds but changes nothing.
        if path.contains('/') {
            continue;
        }
        if !ADDITION.contains(&path) {
            return Err(Response::invalid("addition", path, "InvalidField", "The field is unknown"));
        }
        if DERIVED.contains(&path) {
            continue;
        }
        let value = match op.as_str() {
            "add" | "replace" => operation.get("value").cloned().unwrap_or(Value::Null),
            "remove" => Value::Null,
            _ => return Err(Response::error(400, "InvalidOperation", "op must be add, replace or remove")),
        };
        let value = checked(path, value)?;
        record.insert(path.to_owned(), value);
    }
    derive(&mut record);
    Ok(record)
}

/// Builds the record that a PUT stores. Members left out of the body are reset.
pub(super) fn replace(record: &Map<String, Value>, body: &Value) -> Result<Map<String, Value>, Response> {
    let Some(given) = body.as_object() else {
        return Err(Response::error(400, "InvalidOperation", "The body must be an addition"));
    };
    for required in ["product", "billCustomer"] {
        if given.get(required).is_none_or(Value::is_null) {
            return Err(Response::invalid("addition", required, "MissingRequiredField", "The field is required"));
        }
    }
    let mut new = Map::new();
    for kept in ["id", "agreementId", "agreementStatus"] {
        new.insert(kept.to_owned(), record.get(kept).cloned().unwrap_or(Value::Null));
    }
    for (name, value) in given.iter().filter(|(name, _)| !DERIVED.contains(&name.as_str())) {
        if !ADDITION.contains(&name.as_str()) {
            return Err(Response::invalid("addition", name, "InvalidField", "The field is unknown"));
        }
        new.insert(name.clone(), checked(name, value.clone())?);
    }
    derive(&mut new);
    Ok(new)
}

fn checked(name: &str, value: Value) -> Result<Value, Response> {
    match name {
        "quantity" | "lessIncluded" | "unitPrice" | "unitCost" => match &value {
            Value::Null => Ok(Value::Null),
            // ConnectWise stores doubles, and accepts numbers written as text.
            Value::Number(number) => Ok(json!(number.as_f64())),
            Value::String(text) if text.trim().parse::<f64>().is_ok() => Ok(json!(text.trim().parse::<f64>().ok())),
            _ => Err(Response::invalid("addition", name, "InvalidType", "The value must be a number")),
        },
        "effectiveDate" | "cancelledDate" => match &value {
            Value::String(text) if text.contains('.') => {
                Err(Response::error(400, "InvalidObject", format!("Unsupported format applied to {name}")))
            }
            _ => Ok(value),
        },
        _ => Ok(value),
    }
}

fn derive(record: &mut Map<String, Value>) {
    let number = |record: &Map<String, Value>, name: &str| record.get(name).and_then(Value::as_f64).unwrap_or_default();
    let billed = (number(record, "quantity") - number(record, "lessIncluded")).max(0.0);
    let price = number(record, "unitPrice");
    record.insert("billedQuantity".to_owned(), json!(billed));
    record.insert("extPrice".to_owned(), json!(billed * price));
}
