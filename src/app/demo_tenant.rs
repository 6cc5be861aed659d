//! The demo's sample tenant, set up through the same services that the API calls.

use std::collections::HashSet;

use chrono::Datelike;

use super::application::StartError;
use super::demo_products::{NO_USAGE, PRODUCTS, PUSH_DISABLED};
use crate::db::{LineFilter, ListName, PageRequest, ProductFilter, Tx};
use crate::domain::company_match::MatchOutcome;
use crate::domain::ids::{BillingLineId, CwAgreementId, ProductId, PushJobId};
use crate::domain::mapping_status::MappingSource;
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::rules::Target;
use crate::domain::{Error, Result};
use crate::sandbox::{Kind, Sandbox, sample as connectwise};
use crate::services::AppContext;
use crate::services::companies::{self, NewCompany};
use crate::services::mappings::edit;
use crate::services::mappings::line_edit::{Bulk, Edit, LineEdit};
use crate::services::push::{self, NewPush};
use crate::services::remote::connection;
use crate::services::remote::connection::NewConnection;
use crate::services::remote::refresh;
use crate::services::remote::refresh::RefreshOptions;
use crate::services::security::api_keys;
use crate::services::security::audit::Audit;
use crate::services::usage::{self, EntityRef, MeasuredAt, NewUsage};
use crate::services::{Actor, IfMatch};
use crate::services::{matching_rules, products};

const KEY_NAME: &str = "demo";

/// The sample tenant.
pub(super) struct DemoTenant {
    pub(super) ctx: AppContext,
    pub(super) actor: Actor,
}

fn start_error(error: Error) -> StartError {
    error.chain().into()
}

fn external_id(index: usize) -> String {
    // Half of the companies have ConnectWise's identifier as external id. The others are matched by name.
    let name = connectwise::CUSTOMERS[index];
    if index.is_multiple_of(2) { connectwise::identifier(name).to_lowercase() } else { format!("V-{:04}", index + 1) }
}

impl DemoTenant {
    /// The tenant that the first start created.
    pub(super) async fn new(ctx: AppContext) -> Result<Self, StartError> {
        let tenants = ctx.db.read_system(|tx| tx.tenants()).await.map_err(start_error)?;
        let tenant = tenants.into_iter().next().ok_or("the database has no tenant")?.id;
        Ok(Self { ctx, actor: Actor::internal(tenant, KEY_NAME) })
    }

    fn audit(&self) -> Audit {
        Audit::new(&self.actor, self.ctx.clock.now())
    }

    async fn write<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T, StartError> {
        self.ctx.db.write(&self.actor.tenant, body).await.map_err(start_error)
    }

    /// Creates an API key for this run, and revokes those of earlier runs.
    pub(super) async fn new_key(&self) -> Result<String, StartError> {
        let audit = self.audit();
        let work = move |tx: &mut Tx<'_>| {
            for old in tx.api_keys()?.into_iter().filter(|key| key.name == KEY_NAME && key.revoked_at.is_none()) {
                tx.revoke_api_key(&old.id, audit.now())?;
            }
            api_keys::add(tx, KEY_NAME, &audit)
        };
        Ok(self.write(work).await?.plain)
    }

    /// Sets the connection to the stand-in, at its current address, and tests it.
    pub(super) async fn connect(&self, sandbox: &Sandbox) -> Result<(), StartError> {
        let identity = sandbox.identity();
        let new = NewConnection {
            site: sandbox.site(),
            company_id: identity.company_id.clone(),
            client_id: identity.client_id.clone(),
            keys: Some((identity.public_key.as_str().into(), identity.private_key.as_str().into())),
            provenance_field: None,
            same_records: true,
        };
        connection::put(&self.ctx, &self.actor, new, IfMatch::default()).await.map_err(start_error)?;
        let check = connection::test(&self.ctx, &self.actor).await.map_err(start_error)?;
        match check.steps.into_iter().find(|step| step.passed != Some(true)) {
            None => Ok(()),
            Some(step) => Err(format!("the connection fails at {}: {}", step.name, step.detail).into()),
        }
    }

    /// Adds companies, products and rules that do not exist yet. Returns the number of companies and of new ones.
    pub(super) async fn add_companies_and_products(&self) -> Result<(usize, usize), StartError> {
        let audit = self.audit();
        let mut samples = Vec::new();
        for sample in &PRODUCTS {
            samples.push((sample, sample.to_new()?));
        }
        let work = move |tx: &mut Tx<'_>| {
            let all = (0..connectwise::CUSTOMERS.len()).map(|index| NewCompany {
                external_id: external_id(index),
                name: connectwise::CUSTOMERS[index].to_owned(),
            });
            let mut new = Vec::new();
            for company in all {
                if tx.company_by_external_id(&company.external_id)?.is_none() {
                    new.push(company);
                }
            }
            let added = new.len();
            companies::add(tx, new, &audit)?;
            for (sample, new) in samples {
                if tx.product_by_code(sample.code)?.is_none() {
                    let product = products::add(tx, new, &audit)?.id;
                    matching_rules::add(tx, &product, Target::Agreement, sample.agreement_rule, &audit)?;
                    matching_rules::add(tx, &product, Target::Addition, sample.addition_rule, &audit)?;
                }
            }
            Ok(added)
        };
        Ok((connectwise::CUSTOMERS.len(), self.write(work).await?))
    }

    /// Runs auto-match on the companies that are Not Set. Returns a summary as text.
    pub(super) async fn match_companies(&self) -> Result<String, StartError> {
        let matched = companies::auto_match(&self.ctx, &self.actor, false).await.map_err(start_error)?;
        let count = |outcome| matched.proposals.iter().filter(|named| named.proposal.outcome == outcome).count();
        Ok(format!(
            "{} matched now, {} have several candidates, {} have none",
            count(MatchOutcome::Proposed),
            count(MatchOutcome::Ambiguous) + count(MatchOutcome::NotUnique),
            count(MatchOutcome::None)
        ))
    }

    /// The products, in the order of the sample.
    async fn products(&self) -> Result<Vec<ProductId>, StartError> {
        let read = |tx: &mut Tx<'_>| {
            PRODUCTS
                .iter()
                .map(|sample| tx.product_by_code(sample.code)?.ok_or_else(|| Error::not_found("product", sample.code)))
                .map(|product| product.map(|product| product.id))
                .collect::<Result<Vec<_>>>()
        };
        self.ctx.db.read(&self.actor.tenant, read).await.map_err(start_error)
    }

    /// The product whose lines the printed commands show.
    pub(super) async fn storage_product(&self) -> Result<ProductId, StartError> {
        self.products().await?.into_iter().next().ok_or_else(|| "there is no product".into())
    }

    /// Resolves every product. Returns one line of text for each.
    pub(super) async fn resolve(&self) -> Result<Vec<String>, StartError> {
        let mut told_lines = Vec::new();
        for (sample, product) in PRODUCTS.iter().zip(self.products().await?) {
            let done = products::resolve(&self.ctx, &self.actor, &product).await.map_err(start_error)?;
            let (agreements, additions) = (done.agreements, done.additions);
            told_lines.push(format!(
                "{:<8} agreements: {} resolved, {} ambiguous, {} unresolved, {} stale; additions: {} resolved, {} ambiguous.",
                sample.code,
                agreements.resolved,
                agreements.ambiguous,
                agreements.unresolved,
                agreements.stale,
                additions.resolved,
                additions.ambiguous,
            ));
        }
        Ok(told_lines)
    }

    async fn line(&self, product: &ProductId, customer: usize) -> Result<BillingLineId, StartError> {
        let product = product.clone();
        let read = move |tx: &mut Tx<'_>| {
            let company = tx.company_by_external_id(&external_id(customer))?;
            let company = company.ok_or_else(|| Error::not_found("company", customer))?;
            let filter =
                LineFilter { product_id: Some(product), company_ids: Some(vec![company.id]), ..LineFilter::default() };
            let line = tx.all_lines(&filter)?.pop();
            line.map(|(line, _)| line.id).ok_or_else(|| Error::not_found("billing line", customer))
        };
        self.ctx.db.read(&self.actor.tenant, read).await.map_err(start_error)
    }

    /// Chooses an agreement by hand where the rule finds two, and enables push for all but a few companies.
    pub(super) async fn choose_by_hand(&self) -> Result<(), StartError> {
        let products = self.products().await?;
        for product in products.iter().take(2) {
            let line = self.line(product, connectwise::MANUAL).await?;
            let chosen = CwAgreementId(connectwise::backup_agreement(connectwise::MANUAL));
            let change = LineEdit { agreement: Some(Some(chosen)), ..LineEdit::default() };
            let edit = Edit { line, change, if_match: IfMatch::default() };
            edit::edit_one(&self.ctx, &self.actor, edit).await.map_err(start_error)?;
        }
        let audit = self.audit();
        let work = move |tx: &mut Tx<'_>| {
            let disabled: Vec<String> = PUSH_DISABLED.iter().map(|index| external_id(*index)).collect();
            let rows = tx.all_lines(&LineFilter::default())?;
            let change = LineEdit { push_enabled: Some(true), ..LineEdit::default() };
            let edits: Vec<Edit> = rows
                .into_iter()
                .filter(|(_, company)| !disabled.contains(&company.external_id))
                .map(|(line, _)| Edit { line: line.id, change: change.clone(), if_match: IfMatch::default() })
                .collect();
            edit::apply(tx, &edits, Bulk::ALL_OR_NOTHING, &audit)
        };
        self.write(work).await.map(drop)
    }

    /// Records the usage of today and, for products billed in arrears, of the last day of last month. Records that
    /// exist already count as duplicates. Returns a summary as text.
    pub(super) async fn take_in_usage(&self) -> Result<String, StartError> {
        let now = self.ctx.clock.now();
        let today = now.date_naive();
        let last_month = today.with_day(1).and_then(|first| first.pred_opt()).unwrap_or(today);
        let mut batch = Vec::new();
        for (sample, day) in PRODUCTS.iter().flat_map(|sample| [(sample, last_month), (sample, today)]) {
            for customer in (0..connectwise::CUSTOMERS.len()).filter(|index| *index != NO_USAGE) {
                batch.push(NewUsage {
                    place: format!("/records/{}", batch.len()),
                    company: EntityRef::Vendor(external_id(customer)),
                    product: EntityRef::Vendor(sample.code.to_owned()),
                    amount: sample.amount(customer)?,
                    measured_at: MeasuredAt::Time(day.and_time(chrono::NaiveTime::MIN).and_utc()),
                    source: "demo".to_owned(),
                });
            }
        }
        let accepted = self.write(move |tx| usage::record(tx, batch, now)).await?;
        Ok(format!("{} new records, {} known already", accepted.added, accepted.duplicates))
    }

    /// Cancels an agreement in ConnectWise after it was mapped, and refreshes. Returns the customer's name.
    pub(super) async fn cancel_an_agreement(&self, sandbox: &Sandbox) -> Result<&'static str, StartError> {
        let id = connectwise::backup_agreement(connectwise::TO_BE_CANCELLED);
        let cancelled = serde_json::json!({
            "cancelledFlag": true, "dateCancelled": "2026-01-31T00:00:00Z", "agreementStatus": "Cancelled",
            "reasonCancelled": "The customer left"
        });
        let members = cancelled.as_object().cloned().unwrap_or_default();
        sandbox.change(|store| store.merge(Kind::Agreements, id, members));
        refresh::run(&self.ctx, &self.actor, RefreshOptions::interactive(false)).await.map_err(start_error)?;
        Ok(connectwise::CUSTOMERS[connectwise::TO_BE_CANCELLED])
    }

    /// Creates a push job for all lines.
    pub(super) async fn start_push(&self, kind: PushKind) -> Result<PushJobId, StartError> {
        let audit = self.audit();
        let new = NewPush { kind, ..NewPush::everything(PushTrigger::Manual) };
        Ok(self.write(move |tx| push::create(tx, &new, &audit)).await?.id)
    }

    /// The lines whose agreement was chosen by hand.
    pub(super) async fn lines_chosen_by_hand(&self) -> Result<HashSet<BillingLineId>, StartError> {
        let filter = LineFilter { agreement_source: Some(MappingSource::Manual), ..LineFilter::default() };
        let rows = self.ctx.db.read(&self.actor.tenant, move |tx| tx.all_lines(&filter)).await.map_err(start_error)?;
        Ok(rows.into_iter().map(|(line, _)| line.id).collect())
    }

    /// Code, name and unit of each product.
    pub(super) async fn units(&self) -> Result<Vec<(String, String, String)>, StartError> {
        let read = |tx: &mut Tx<'_>| {
            let page = PageRequest::parse(ListName { name: "products", filter: 0 }, None, None, "created_at")?;
            let rows = tx.products(&ProductFilter::default(), &page)?.items;
            Ok(rows.into_iter().map(|row| (row.code, row.name, row.unit)).collect())
        };
        self.ctx.db.read(&self.actor.tenant, read).await.map_err(start_error)
    }
}
