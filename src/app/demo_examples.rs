//! The demo's records whose ids replace the document's examples, so that Swagger UI's examples work unchanged.

use super::application::StartError;
use super::demo_tenant::DemoTenant;
use crate::db::{JobFilter, LineFilter, ListName, PageRequest, PushLineFilter, RuleFilter, Tx};
use crate::domain::Result;
use crate::domain::mapping_status::MappingStatus;
use crate::domain::push::PushLineState;
use crate::http::ExampleRecord::{self, *};

/// The ids of one record of each kind that the demo has.
pub(super) async fn ids(tenant: &DemoTenant) -> Result<Vec<(ExampleRecord, String)>, StartError> {
    let product = tenant.storage_product().await?;
    let read = move |tx: &mut Tx<'_>| {
        let resolved = LineFilter {
            product_id: Some(product.clone()),
            addition_status: vec![MappingStatus::Resolved],
            push_enabled: Some(true),
            ..LineFilter::default()
        };
        let mut found = vec![(Product, product.to_string())];
        if let Some((line, company)) = tx.all_lines(&resolved)?.into_iter().next() {
            found.push((BillingLine, line.id.to_string()));
            found.push((Company, company.id.to_string()));
            found.push((ExternalId, company.external_id));
            let matched = company.connectwise_company_id.into_iter().collect::<Vec<_>>();
            for known in tx.cw_companies_by_id(Some(&matched))? {
                found.push((ConnectWiseCompany, known.id.to_string()));
                found.push((Identifier, known.identifier));
            }
            found.extend(line.agreement_id.map(|id| (Agreement, id.to_string())));
            found.extend(line.addition_id.map(|id| (Addition, id.to_string())));
        }
        let rules = tx.rules(&RuleFilter { product_id: Some(product), target: None })?;
        found.extend(rules.first().map(|rule| (MatchingRule, rule.id.to_string())));
        let newest = |name| PageRequest::parse(ListName { name, filter: 0 }, Some(1), None, "-created_at");
        let jobs = tx.push_jobs(&JobFilter::default(), &newest("push-jobs")?)?.items;
        found.extend(jobs.first().map(|job| (PushJob, job.id.to_string())));
        let held = PushLineFilter { states: vec![PushLineState::Held], ..PushLineFilter::default() };
        let held = tx.push_lines(&held, &newest("push-lines")?)?.items;
        found.extend(held.first().map(|(line, _)| (PushLine, line.id.to_string())));
        Ok(found)
    };
    tenant.ctx.db.read(&tenant.actor.tenant, read).await.map_err(|error| error.chain().into())
}
