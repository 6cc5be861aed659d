//! The schemas of the document, as client generators need them.

use utoipa::openapi::schema::{ArrayItems, OneOf, Schema};
use utoipa::openapi::{OpenApi, Ref, RefOr};

/// Improves the schemas of all components.
pub(super) fn improve(openapi: &mut OpenApi) {
    let Some(components) = openapi.components.as_mut() else { return };
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(object)) = schema {
            if let (Some(item), Some(RefOr::T(Schema::Array(items)))) =
                (name.strip_prefix(LIST), object.properties.get_mut("items"))
            {
                // The generator repeats the schema of the items in each list.
                items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
            }
            let is_request = is_request(name);
            for member in object.properties.values_mut() {
                lift_description(member);
                drop_default(member);
                if is_request {
                    add_plain_text_pattern(member);
                }
            }
        }
    }
}

/// What `extract::json::plain_text` accepts: something that is not blank, without control characters.
const PLAIN_TEXT: &str =
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";

/// Whether a schema is a request's, or a part of one.
fn is_request(name: &str) -> bool {
    name.ends_with("Request") || name.starts_with("New")
}

/// Gives the pattern of plain texts to the texts of a request that must not be empty, unless they have their own.
fn add_plain_text_pattern(member: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(text)) = member
        && text.min_length.is_some_and(|length| length > 0)
        && text.pattern.is_none()
    {
        text.pattern = Some(PLAIN_TEXT.to_owned());
    }
}

/// The prefix that the generator gives the name of a list.
const LIST: &str = "List_";

/// Renames the schemas of lists: `List_Product` becomes `ProductList`.
pub(super) fn rename_lists(json: &str) -> String {
    let mut parts = json.split(LIST);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find('"').unwrap_or(part.len());
        text.extend([&part[..end], "List", &part[end..]]);
    }
    text
}

/// Moves the description of a nullable member to where generators look for it: beside `oneOf`, not within.
fn lift_description(member: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(OneOf { items, description, .. })) = member else { return };
    for item in items {
        if let RefOr::Ref(reference) = item
            && !reference.description.is_empty()
        {
            *description = Some(std::mem::take(&mut reference.description));
        }
    }
}

/// Removes the default of a member, because its description names it. Generators would make a member with a default a
/// required one, or send the default of an older document.
fn drop_default(member: &mut RefOr<Schema>) {
    match member {
        RefOr::Ref(reference) => reference.default = None,
        RefOr::T(Schema::Object(object)) => object.default = None,
        RefOr::T(Schema::AllOf(all)) => all.default = None,
        RefOr::T(Schema::OneOf(one)) => one.default = None,
        _ => {}
    }
}
