//! The schemas of the document.

use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::{OpenApi, Ref, RefOr};

/// Lets the schema of a list refer to that of its items, which the generator writes out once more.
pub(super) fn refer_to_list_items(openapi: &mut OpenApi) {
    let Some(components) = openapi.components.as_mut() else { return };
    for (name, schema) in &mut components.schemas {
        let (Some(item), RefOr::T(Schema::Object(list))) = (name.strip_prefix("List_"), schema) else { continue };
        if let Some(RefOr::T(Schema::Array(items))) = list.properties.get_mut("items") {
            items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
        }
    }
}
