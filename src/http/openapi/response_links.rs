//! Links of the document: the operations that take an id from a response.

use serde_json::json;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{OpenApi, RefOr};

use super::operations::operations;

/// An id in a response, and the operation that takes it.
struct Linked {
    from: &'static str,
    status: &'static str,
    /// Where the id is in the response's body, as a JSON pointer.
    id: &'static str,
    to: &'static str,
    /// The name of the parameter, with its location if the operation has two of this name.
    parameter: &'static str,
}

const fn link(
    from: &'static str,
    status: &'static str,
    id: &'static str,
    to: &'static str,
    parameter: &'static str,
) -> Linked {
    Linked { from, status, id, to, parameter }
}

const LINKS: [Linked; 31] = [
    link("create_company", "201", "/id", "get_company", "id"),
    link("create_company", "201", "/id", "update_company", "id"),
    link("create_company", "201", "/id", "match_company", "id"),
    link("create_company", "201", "/id", "delete_company", "id"),
    link("list_companies", "200", "/items/0/id", "get_company", "id"),
    link("create_product", "201", "/id", "get_product", "id"),
    link("create_product", "201", "/id", "update_product", "id"),
    link("create_product", "201", "/id", "resolve_product", "id"),
    link("create_product", "201", "/id", "list_billing_lines", "product_id"),
    link("list_products", "200", "/items/0/id", "get_product", "id"),
    link("create_matching_rule", "201", "/rule/id", "get_matching_rule", "id"),
    link("create_matching_rule", "201", "/rule/id", "replace_matching_rule", "id"),
    link("create_matching_rule", "201", "/rule/id", "delete_matching_rule", "id"),
    link("list_connectwise_companies", "200", "/items/0/id", "list_connectwise_agreements", "id"),
    link("list_connectwise_agreements", "200", "/items/0/id", "list_connectwise_additions", "id"),
    link("list_billing_lines", "200", "/items/0/id", "get_billing_line", "id"),
    link("list_billing_lines", "200", "/items/0/id", "update_billing_line", "id"),
    link("list_billing_lines", "200", "/items/0/id", "choose_agreement", "billing_line_id"),
    link("list_billing_lines", "200", "/items/0/id", "choose_addition", "billing_line_id"),
    link("create_push_job", "202", "/id", "get_push_job", "id"),
    link("create_push_job", "202", "/id", "list_push_lines", "id"),
    link("create_push_job", "202", "/id", "cancel_push_job", "id"),
    link("create_push_job", "202", "/id", "revert_push_job", "id"),
    link("create_webhook", "201", "/webhook/id", "get_webhook", "id"),
    link("create_webhook", "201", "/webhook/id", "update_webhook", "id"),
    link("create_webhook", "201", "/webhook/id", "test_webhook", "id"),
    link("create_webhook", "201", "/webhook/id", "rotate_webhook_secret", "id"),
    link("create_webhook", "201", "/webhook/id", "delete_webhook", "id"),
    link("test_webhook", "202", "/id", "get_webhook_delivery", "id"),
    link("list_webhook_deliveries", "200", "/items/0/id", "resend_webhook_delivery", "id"),
    link("create_api_key", "201", "/api_key/id", "revoke_api_key", "id"),
];

/// Adds the links to their responses.
pub(super) fn add(openapi: &mut OpenApi) {
    for operation in operations(openapi) {
        let Some(id) = operation.operation_id.clone() else { continue };
        for linked in LINKS.iter().filter(|linked| linked.from == id) {
            let Some(RefOr::T(response)) = operation.responses.responses.get_mut(linked.status) else { continue };
            let value = json!(format!("$response.body#{}", linked.id));
            let link = LinkBuilder::new().operation_id(linked.to).parameter(linked.parameter, value);
            response.links.insert(linked.to.to_owned(), RefOr::T(link.build()));
        }
    }
}
