//! Every path. One list registers the handlers and documents them, so that no handler is undocumented.

use actix_web::middleware::from_fn;
use actix_web::web;
use utoipa_actix_web::scope;
use utoipa_actix_web::service_config::ServiceConfig;

use super::kit::fallback::no_route;
use super::kit::{auth, deprecation_headers, unused_input};
use super::resources::{
    api_keys, audit_log, billing_lines, companies, connection, connectwise, health, import_export, mappings,
    matching_rules, problem_pages, products, push_jobs, push_schedule, reconciliation, tenants, usage, webhooks,
};

/// Defines two functions for a list of handlers: one serves them, one documents them. The documentation takes some
/// megabytes of memory, so the threads that serve requests don't build it.
macro_rules! handlers {
    ($($served:ident, $documented:ident: $($handler:path),+;)+) => { $(
        pub(super) fn $served(config: &mut web::ServiceConfig) {
            config$(.service($handler))+;
        }
        fn $documented(config: &mut ServiceConfig<'_>) {
            config$(.service($handler))+;
        }
    )+ };
}

handlers! {
    serve_operation, document_operation:
        health::healthz, health::readyz, health::metrics, health::openapi,
        problem_pages::list_problems, problem_pages::explain_problem;
    // Registered before the paths with an id in the same position: actix takes the first route that matches.
    serve_fixed, document_fixed:
        companies::batch::upsert_companies, companies::batch::delete_companies,
        companies::matches::auto_match_companies, matching_rules::preview_matching_rule,
        billing_lines::summary::summarize_billing_lines;
    serve_setup, document_setup:
        connection::get_connection, connection::put_connection, connection::delete_connection,
        connection::test_connection,
        connectwise::list_connectwise_companies, connectwise::list_connectwise_agreements,
        connectwise::list_connectwise_additions, connectwise::refresh_connectwise,
        companies::list_companies, companies::create_company, companies::get_company, companies::replace_company,
        companies::update_company, companies::delete_company, companies::matches::match_company, companies::matches::unmatch_company,
        products::list_products, products::create_product, products::get_product, products::replace_product,
        products::update_product, products::delete_product, products::resolve_product,
        matching_rules::list_matching_rules, matching_rules::create_matching_rule, matching_rules::get_matching_rule,
        matching_rules::replace_matching_rule, matching_rules::delete_matching_rule;
    serve_billing, document_billing:
        billing_lines::list_billing_lines, billing_lines::edit::update_billing_lines, billing_lines::explain::get_billing_line,
        billing_lines::edit::update_billing_line,
        mappings::list_agreement_mappings, mappings::get_agreement_mapping, mappings::choose_agreement,
        mappings::clear_agreement_choice, mappings::list_addition_mappings, mappings::get_addition_mapping,
        mappings::choose_addition, mappings::clear_addition_choice, mappings::bulk::choose_agreements,
        mappings::bulk::choose_additions,
        import_export::export::export_company_matches, import_export::import_company_matches, import_export::export::export_billing_lines,
        import_export::import_billing_lines,
        usage::add_usage, usage::list_usage,
        push_jobs::create_push_job, push_jobs::list_push_jobs, push_jobs::get_push_job, push_jobs::lines::list_push_lines, push_jobs::history::list_push_history,
        push_jobs::history::export_push_lines,
        push_jobs::actions::cancel_push_job, push_jobs::actions::retry_push_job, push_jobs::actions::revert_push_job,
        push_jobs::actions::approve_push_lines, push_jobs::actions::drop_push_lines, push_jobs::events::watch_push_job,
        companies::statement::get_company_statement, reconciliation::get_reconciliation, reconciliation::export::export_reconciliation,
        reconciliation::history::list_reconciliation_history,
        push_schedule::get_push_schedule, push_schedule::put_push_schedule,
        webhooks::list_webhooks, webhooks::create_webhook, webhooks::get_webhook, webhooks::update_webhook,
        webhooks::delete_webhook, webhooks::rotate_webhook_secret, webhooks::deliveries::test_webhook,
        webhooks::deliveries::list_webhook_deliveries, webhooks::deliveries::get_webhook_delivery,
        webhooks::deliveries::resend_webhook_delivery,
        audit_log::list_audit_log, audit_log::export_audit_log,
        api_keys::list_api_keys, api_keys::create_api_key, api_keys::revoke_api_key,
        tenants::list_tenants, tenants::create_tenant;
}

/// Serves the paths of the API, which need an API key.
pub(super) fn serve_api(config: &mut web::ServiceConfig) {
    let api = web::scope("/api/v1")
        .wrap(from_fn(unused_input::reject))
        .wrap(from_fn(deprecation_headers::announce))
        // The outermost middleware, so that callers without a key learn nothing else.
        .wrap(from_fn(auth::authenticate))
        .configure(serve_fixed)
        // With another method, `auto-match` and `preview` must not be taken for ids.
        .route("/companies/auto-match", web::route().to(no_route))
        .route("/matching-rules/preview", web::route().to(no_route))
        .route("/billing-lines/summary", web::route().to(no_route))
        .configure(serve_setup)
        .configure(serve_billing);
    config.service(api);
}

/// Documents all paths.
pub(super) fn document(config: &mut ServiceConfig<'_>) {
    document_operation(config);
    let api = scope::scope("/api/v1").configure(document_fixed).configure(document_setup).configure(document_billing);
    config.service(api);
}
