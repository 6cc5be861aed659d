//! The parameters of the document: shared ones are defined once, and referenced by the operations.

use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema};

use super::operations::operations;
use crate::http::kit::extract::query::MAX_VALUES;

/// Minimum number of uses of a shared parameter.
const MIN_USES_TO_SHARE: usize = 3;

/// Declares that no text in a query contains a NUL character, which `kit::fallback` rejects.
pub(super) fn reject_nul(openapi: &mut OpenApi) {
    for parameter in parameters(openapi) {
        let RefOr::T(Parameter { parameter_in: ParameterIn::Query, schema: Some(RefOr::T(schema)), .. }) = parameter
        else {
            continue;
        };
        let Schema::Object(text) = schema else { continue };
        let is_text = matches!(&text.schema_type, SchemaType::Type(Type::String))
            || matches!(&text.schema_type, SchemaType::Array(types) if types.contains(&Type::String));
        if is_text && text.pattern.is_none() && text.format.is_none() && text.enum_values.is_none() {
            text.pattern = Some(r"^[^\u0000]*$".to_owned());
        }
    }
}

/// Declares how many values a filter may have.
pub(super) fn limit_lists(openapi: &mut OpenApi) {
    for parameter in parameters(openapi) {
        if let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Array(values))), .. }) = parameter {
            values.max_items = Some(MAX_VALUES);
        }
    }
}

/// Moves shared parameters to `components/parameters`.
pub(super) fn share_parameters(openapi: &mut OpenApi) {
    let mut known: Vec<(Parameter, usize)> = Vec::new();
    for parameter in parameters(openapi) {
        let RefOr::T(parameter) = parameter else { continue };
        // Lists that happen to have the same sort keys do not share them.
        if parameter.name == "sort" {
            continue;
        }
        match known.iter_mut().find(|(other, _)| other == parameter) {
            Some((_, count)) => *count += 1,
            None => known.push((parameter.clone(), 1)),
        }
    }
    let mut shared: Vec<(String, Parameter)> = Vec::new();
    for (parameter, count) in known {
        let name = component_name(&parameter);
        // If two parameters would get the same name, the second stays inline.
        if count >= MIN_USES_TO_SHARE && shared.iter().all(|(taken, _)| *taken != name) {
            shared.push((name, parameter));
        }
    }
    for parameter in parameters(openapi) {
        let component = shared.iter().find(|(_, known)| matches!(parameter, RefOr::T(own) if own == known));
        if let Some((name, _)) = component {
            *parameter = RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
        }
    }
    let components = openapi.components.get_or_insert_default();
    components.parameters.extend(shared.into_iter().map(|(name, parameter)| (name, RefOr::T(parameter))));
}

fn parameters(openapi: &mut OpenApi) -> impl Iterator<Item = &mut RefOr<Parameter>> {
    operations(openapi).flat_map(|operation| operation.parameters.iter_mut().flatten())
}

/// The name of a shared parameter: `limit` is "Limit", `If-Match` is "IfMatch". An id in a path is named after its
/// description, such as "PushJobId"; `product_id` in a query is "FilterProductId".
fn component_name(parameter: &Parameter) -> String {
    let text = match (&parameter.parameter_in, &parameter.description) {
        (ParameterIn::Path, Some(what)) => format!("{} id", what.trim_start_matches("The ")),
        // An id in a query filters a list.
        (ParameterIn::Query, _) if parameter.name.ends_with("_id") => format!("filter {}", parameter.name),
        _ => parameter.name.clone(),
    };
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
