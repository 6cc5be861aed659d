//! The parameters of the document: those of several operations are written once and referred to.

use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, Ref, RefOr};

use super::errors::operations;

/// A parameter of at least so many operations is shared.
const MIN_USES_TO_SHARE: usize = 3;

/// Moves shared parameters to `components/parameters`.
pub(super) fn share_parameters(openapi: &mut OpenApi) {
    let mut known: Vec<(Parameter, usize)> = Vec::new();
    for parameter in parameters(openapi) {
        let RefOr::T(parameter) = parameter else { continue };
        // The sort keys of a few lists that happen to be the same are nothing to share.
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
        // Of two that would have the same name, one stays where it is.
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

/// `limit` as "Limit", `If-Match` as "IfMatch"; an id in a path by what it identifies, such as "PushJobId";
/// `product_id` in a query as "FilterProductId".
fn component_name(parameter: &Parameter) -> String {
    let text = match (&parameter.parameter_in, &parameter.description) {
        (ParameterIn::Path, Some(what)) => format!("{} id", what.trim_start_matches("The ")),
        // An id in a query picks the rows of a list.
        (ParameterIn::Query, _) if parameter.name.ends_with("_id") => format!("filter {}", parameter.name),
        _ => parameter.name.clone(),
    };
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
