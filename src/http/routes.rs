//! Every path. Registering a handler documents it.

use actix_web::middleware::from_fn;
use actix_web::web;
use utoipa_actix_web::scope;
use utoipa_actix_web::service_config::ServiceConfig;

use super::server::nothing_here;
use super::{
    api_keys, auth, billing_lines, companies, connection, connectwise, events, health, mappings, matching_rules,
    products, push_jobs, push_schedule, tenants, usage,
};

/// All paths: those of the API behind its key, and those of operation.
pub fn all(config: &mut ServiceConfig<'_>) {
    config
        .service(health::healthz)
        .service(health::readyz)
        .service(health::metrics)
        .service(health::openapi)
        .service(scope::scope("/api/v1").wrap(from_fn(auth::authenticate)).configure(api));
}

fn api(config: &mut ServiceConfig<'_>) {
    config
        .service(connection::get_connection)
        .service(connection::put_connection)
        .service(connection::delete_connection)
        .service(connection::test_connection)
        .service(connectwise::list_connectwise_companies)
        .service(connectwise::list_connectwise_agreements)
        .service(connectwise::list_connectwise_additions)
        .service(connectwise::refresh_connectwise)
        // Before /companies/{id}: the first that fits is taken, and other methods must not take it for an id.
        .service(companies::auto_match_companies)
        .route("/companies/auto-match", web::route().to(nothing_here))
        .service(companies::list_companies)
        .service(companies::create_company)
        .service(companies::get_company)
        .service(companies::replace_company)
        .service(companies::update_company)
        .service(companies::delete_company)
        .service(companies::match_company)
        .service(companies::unmatch_company)
        .service(products::list_products)
        .service(products::create_product)
        .service(products::get_product)
        .service(products::replace_product)
        .service(products::update_product)
        .service(products::delete_product)
        .service(products::resolve_product)
        .service(matching_rules::preview_matching_rule)
        .route("/matching-rules/preview", web::route().to(nothing_here))
        .service(matching_rules::list_matching_rules)
        .service(matching_rules::create_matching_rule)
        .service(matching_rules::get_matching_rule)
        .service(matching_rules::replace_matching_rule)
        .service(matching_rules::delete_matching_rule)
        .configure(billing);
}

fn billing(config: &mut ServiceConfig<'_>) {
    config
        .service(billing_lines::list_billing_lines)
        .service(billing_lines::update_billing_lines)
        .service(billing_lines::get_billing_line)
        .service(billing_lines::update_billing_line)
        .service(mappings::list_agreement_mappings)
        .service(mappings::get_agreement_mapping)
        .service(mappings::choose_agreement)
        .service(mappings::unchoose_agreement)
        .service(mappings::list_addition_mappings)
        .service(mappings::get_addition_mapping)
        .service(mappings::choose_addition)
        .service(mappings::unchoose_addition)
        .service(usage::add_usage)
        .service(usage::list_usage)
        .service(push_jobs::create_push_job)
        .service(push_jobs::list_push_jobs)
        .service(push_jobs::get_push_job)
        .service(push_jobs::list_push_lines)
        .service(push_jobs::cancel_push_job)
        .service(push_jobs::retry_push_job)
        .service(events::watch_push_job)
        .service(push_schedule::get_push_schedule)
        .service(push_schedule::put_push_schedule)
        .service(api_keys::list_api_keys)
        .service(api_keys::create_api_key)
        .service(api_keys::revoke_api_key)
        .service(tenants::list_tenants)
        .service(tenants::create_tenant);
}
