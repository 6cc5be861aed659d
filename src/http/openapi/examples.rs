//! Examples of ids. A demo replaces them by ids of its own records, so that every operation can be tried as it is
//! shown.

use serde_json::{Value, json};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use super::operations::operations;
use crate::http::kit::example_ids::ExampleRecord;

/// The example of a path's parameter, by its description.
const DESCRIBED: [(&str, ExampleRecord); 10] = [
    ("The company", ExampleRecord::Company),
    ("The product", ExampleRecord::Product),
    ("The billing line", ExampleRecord::BillingLine),
    ("The matching rule", ExampleRecord::MatchingRule),
    ("The push job", ExampleRecord::PushJob),
    ("The API key", ExampleRecord::ApiKey),
    ("The webhook", ExampleRecord::Webhook),
    ("The delivery", ExampleRecord::Delivery),
    ("ConnectWise's id of the company", ExampleRecord::ConnectWiseCompany),
    ("ConnectWise's id of the agreement", ExampleRecord::Agreement),
];

/// Gives each path parameter an example.
pub(super) fn add(openapi: &mut OpenApi) {
    for parameter in operations(openapi).flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        let RefOr::T(described) = parameter else { continue };
        let record = DESCRIBED.iter().find(|(text, _)| described.description.as_deref() == Some(*text));
        if let (ParameterIn::Path, Some((_, record))) = (&described.parameter_in, record) {
            let example: Value = json!(record.placeholder());
            *parameter = RefOr::T(ParameterBuilder::from(described.clone()).example(Some(example)).build());
        }
    }
}
