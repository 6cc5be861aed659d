//! Resolving lines to agreements and additions: the domain decides, this loads what it needs and saves what changed.

use std::collections::{HashMap, HashSet};

use super::{Actor, Services, refresh, schedule};
use crate::connectwise::Patience;
use crate::db::{BillingLine, Company, LineFilter, RuleFilter, Tx};
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, CompanyId, CwAgreementId, CwCompanyId, ProductId};
use crate::domain::mapping::{AdditionMapping, AgreementMapping, Catalog, Mapping};
use crate::domain::rules::Rule;
use crate::domain::words::{MappingReason, MappingStatus, Target};
use crate::domain::{Error, Result};

/// What resolving changed of a line.
#[derive(Debug, Clone)]
pub struct LineChange {
    /// The line.
    pub billing_line_id: BillingLineId,
    /// Its company.
    pub company_id: CompanyId,
    /// The company's name.
    pub company_name: String,
    /// Its product.
    pub product_id: ProductId,
    /// The agreement before and after.
    pub agreement: (AgreementMapping, AgreementMapping),
    /// The addition before and after.
    pub addition: (AdditionMapping, AdditionMapping),
}

/// How many lines came to what, for one kind of mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusCounts {
    /// Exactly one live target.
    pub resolved: usize,
    /// None.
    pub unresolved: usize,
    /// Several.
    pub ambiguous: usize,
    /// Resolved once, and since gone.
    pub stale: usize,
}

impl StatusCounts {
    pub(super) fn count(&mut self, status: MappingStatus) {
        match status {
            MappingStatus::Resolved => self.resolved += 1,
            MappingStatus::Unresolved => self.unresolved += 1,
            MappingStatus::Ambiguous => self.ambiguous += 1,
            MappingStatus::Stale => self.stale += 1,
        }
    }
}

/// What resolving came to.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// How many lines were looked at.
    pub lines: usize,
    /// What their agreements came to.
    pub agreements: StatusCounts,
    /// What their additions came to.
    pub additions: StatusCounts,
    /// The lines that changed.
    pub changes: Vec<LineChange>,
}

/// A product's two rules, ready to evaluate.
#[derive(Debug, Default, Clone)]
pub struct Rules {
    agreement: Option<Rule>,
    addition: Option<Rule>,
}

impl Rules {
    /// Puts a rule in place of the one for its target.
    pub fn set(&mut self, target: Target, rule: Option<Rule>) {
        match target {
            Target::Agreement => self.agreement = rule,
            Target::Addition => self.addition = rule,
        }
    }
}

/// The rules of products, by product.
pub fn rules(tx: &mut Tx<'_>, product: Option<&ProductId>) -> Result<HashMap<ProductId, Rules>> {
    let filter = RuleFilter { product_id: product.cloned(), target: None };
    let mut by_product: HashMap<ProductId, Rules> = HashMap::new();
    for row in tx.rules(&filter)? {
        let rule = Rule::parse(row.target, &row.expression).map_err(Error::internal)?;
        by_product.entry(row.product_id).or_default().set(row.target, Some(rule));
    }
    Ok(by_product)
}

/// Everything read from ConnectWise that matters to some lines, in three queries.
pub fn catalog(tx: &mut Tx<'_>, rows: &[(BillingLine, Company)], everything: bool, now: Instant) -> Result<Catalog> {
    let companies: HashSet<CwCompanyId> =
        rows.iter().filter_map(|(_, company)| company.connectwise_company_id).collect();
    let companies: Vec<CwCompanyId> = companies.into_iter().collect();
    let scope = (!everything).then_some(companies.as_slice());
    let gone: Vec<CwCompanyId> =
        tx.cw_companies_by_id(scope)?.into_iter().filter(|company| company.deleted).map(|company| company.id).collect();
    let agreements = tx.agreements_of(scope)?;
    let read: Vec<CwAgreementId> =
        agreements.iter().filter(|row| row.additions_read_at.is_some()).map(|row| row.id).collect();
    let additions = tx.additions_of((!everything).then_some(read.as_slice()))?;
    let today = schedule::today(tx, now)?;
    Ok(Catalog::new(today, gone, agreements.into_iter().map(Into::into), additions, read))
}

/// What a line resolves to.
pub fn decide(
    catalog: &Catalog,
    rules: &Rules,
    line: &BillingLine,
    company: &Company,
) -> (AgreementMapping, AdditionMapping) {
    decide_from(catalog, rules, company, &line.agreement(), &line.addition())
}

fn decide_from(
    catalog: &Catalog,
    rules: &Rules,
    company: &Company,
    agreement: &AgreementMapping,
    addition: &AdditionMapping,
) -> (AgreementMapping, AdditionMapping) {
    let agreement = catalog.agreement(company.connectwise_company_id, rules.agreement.as_ref(), agreement);
    let addition = catalog.addition(&agreement, rules.addition.as_ref(), addition);
    (agreement, addition)
}

/// Resolves lines over what was read from ConnectWise, and saves those that change.
pub fn lines(tx: &mut Tx<'_>, filter: &LineFilter, now: Instant, by: &str) -> Result<Resolved> {
    resolve(tx, filter, now, by, false)
}

/// The same as if nothing had been mapped before: choices by hand are undone, too.
pub fn lines_anew(tx: &mut Tx<'_>, filter: &LineFilter, now: Instant, by: &str) -> Result<Resolved> {
    resolve(tx, filter, now, by, true)
}

fn resolve(tx: &mut Tx<'_>, filter: &LineFilter, now: Instant, by: &str, anew: bool) -> Result<Resolved> {
    let rows = tx.all_lines(filter)?;
    let rules = rules(tx, filter.product_id.as_ref())?;
    let everything = filter.company_ids.is_none() && filter.ids.is_none();
    let catalog = catalog(tx, &rows, everything, now)?;
    let none = Rules::default();
    let mut resolved = Resolved { lines: rows.len(), ..Resolved::default() };
    for (mut line, company) in rows {
        let before = (line.agreement(), line.addition());
        let rules = rules.get(&line.product_id).unwrap_or(&none);
        let after = if anew {
            let (agreement, addition) =
                (Mapping::unresolved(MappingReason::NoneMatched), Mapping::unresolved(MappingReason::NoneMatched));
            decide_from(&catalog, rules, &company, &agreement, &addition)
        } else {
            decide(&catalog, rules, &line, &company)
        };
        resolved.agreements.count(after.0.status);
        resolved.additions.count(after.1.status);
        if before == after {
            continue;
        }
        if before.0 != after.0 {
            line.set_agreement(after.0.clone(), now, by);
        }
        if before.1 != after.1 {
            line.set_addition(after.1.clone(), now, by);
        }
        tx.update_billing_line(&mut line, now)?;
        resolved.changes.push(LineChange {
            billing_line_id: line.id,
            company_id: line.company_id,
            company_name: company.name,
            product_id: line.product_id,
            agreement: (before.0, after.0),
            addition: (before.1, after.1),
        });
    }
    Ok(resolved)
}

/// The agreements that lines would resolve to and whose additions were never read, or not since `older_than`.
fn additions_wanted(
    tx: &mut Tx<'_>,
    filter: &LineFilter,
    older_than: Instant,
    now: Instant,
) -> Result<Vec<CwAgreementId>> {
    let rows = tx.all_lines(filter)?;
    let rules = rules(tx, filter.product_id.as_ref())?;
    let catalog = catalog(tx, &rows, filter.company_ids.is_none() && filter.ids.is_none(), now)?;
    let none = Rules::default();
    let wanted: HashSet<CwAgreementId> = rows
        .iter()
        .map(|(line, company)| decide(&catalog, rules.get(&line.product_id).unwrap_or(&none), line, company).0)
        .filter(|mapping| mapping.status == MappingStatus::Resolved)
        .filter_map(|mapping| mapping.target)
        .collect();
    let wanted: Vec<CwAgreementId> = wanted.into_iter().collect();
    let rows = tx.agreements_by_id(&wanted)?;
    let fresh = |at: Option<chrono::NaiveDateTime>| at.is_some_and(|at| at.and_utc() >= older_than);
    Ok(rows.into_iter().filter(|row| !fresh(row.additions_read_at)).map(|row| row.id).collect())
}

/// Resolves a product's lines: reads from ConnectWise what is missing or old, then agreements, then additions.
pub async fn product(services: &Services, actor: &Actor, product: &ProductId) -> Result<Resolved> {
    let id = product.clone();
    services.db.read(&actor.tenant, move |tx| tx.product(&id).map(drop)).await?;
    refresh::ensure_fresh(services, &actor.tenant, Patience::Person).await?;
    let filter = LineFilter { product_id: Some(product.clone()), ..LineFilter::default() };
    let now = services.clock.now();
    let older_than = now - services.settings.refresh_max_age;
    read_additions(services, actor, &filter, older_than).await?;
    let by = actor.name.clone();
    services.db.write(&actor.tenant, move |tx| lines(tx, &filter, now, &by)).await
}

async fn read_additions(services: &Services, actor: &Actor, filter: &LineFilter, older_than: Instant) -> Result<usize> {
    let (filter, now) = (filter.clone(), services.clock.now());
    let wanted = services.db.read(&actor.tenant, move |tx| additions_wanted(tx, &filter, older_than, now)).await?;
    let count = wanted.len();
    refresh::additions(services, &actor.tenant, wanted, Patience::Person).await?;
    Ok(count)
}

/// After lines found their agreements: reads the additions that were never read and resolves the lines again. What
/// fails leaves the lines at `additions_not_read`, which resolving or refreshing mends later.
pub async fn follow_up(services: &Services, actor: &Actor, filter: LineFilter) -> Result<Option<Resolved>> {
    // Nothing is older than the beginning of time: only what was never read is wanted.
    let read = match read_additions(services, actor, &filter, Instant::UNIX_EPOCH).await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(tenant = %actor.tenant, cause = %error.chain(), "additions could not be read yet");
            0
        }
    };
    if read == 0 {
        return Ok(None);
    }
    let (now, by) = (services.clock.now(), actor.name.clone());
    services.db.write(&actor.tenant, move |tx| lines(tx, &filter, now, &by)).await.map(Some)
}

/// Whether lines wait for additions to be read.
pub fn waits_for_additions(resolved: &Resolved) -> bool {
    resolved.changes.iter().any(|change| change.addition.1.reason == Some(MappingReason::AdditionsNotRead))
}

/// Two resolvings of the same lines as one: each line from its first state to its last.
pub fn merged(first: Resolved, second: Resolved) -> Resolved {
    let mut changes = first.changes;
    for change in second.changes {
        match changes.iter_mut().find(|known| known.billing_line_id == change.billing_line_id) {
            Some(known) => {
                known.agreement.1 = change.agreement.1;
                known.addition.1 = change.addition.1;
            }
            None => changes.push(change),
        }
    }
    Resolved { changes, ..second }
}
