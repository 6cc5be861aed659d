//! Reads companies, agreements and additions from ConnectWise into the database.

use std::collections::HashSet;
use std::time::Duration;

use crate::connectwise::{Client, ListBudget, RetryPolicy};
use crate::db::{LineFilter, RefreshRow, Tx};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAgreementId, TenantId};
use crate::domain::invoice_terms::RecapPath;
use crate::domain::records::{Agreement, CwCompany};
use crate::domain::rules::Target;
use crate::domain::{ConflictCode, Error, Result};
use crate::services::context::AppContext;
use crate::services::mappings::missing_additions;
use crate::services::mappings::resolve;
use crate::services::remote::additions::{self, ReadPrecondition, refresh_running};
use crate::services::remote::client;
use crate::services::schedule::billing_calendar;
use crate::services::security::actor::Actor;

/// How long an interactive request waits for a refresh by another process.
const MAX_WAIT_FOR_ANOTHER_REFRESH: Duration = Duration::from_secs(10);
/// How often a waiting request checks whether that refresh has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Up to this number of known records, all of them may disappear: the tenant is being set up.
const SMALL_LIST: usize = 10;

/// The result of a refresh.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The number of companies in ConnectWise.
    pub companies: usize,
    /// The number of agreements in ConnectWise.
    pub agreements: usize,
    /// The number of agreements whose additions were read.
    pub agreements_with_additions: usize,
    /// The resulting changes to billing lines.
    pub resolved: resolve::Resolved,
}

/// The data that a refresh reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshScope {
    /// Companies and agreements.
    Lists,
    /// Companies, agreements, and the additions of every agreement that a line bills to or a rule matches, with one
    /// request for each of them.
    Additions,
}

/// The options of a refresh.
#[derive(Debug, Clone, Copy)]
pub struct RefreshOptions {
    /// How long the refresh keeps trying.
    pub policy: RetryPolicy,
    /// The data to read.
    pub scope: RefreshScope,
    /// Whether more than half of the known records may disappear.
    pub force: bool,
}

impl RefreshOptions {
    /// A refresh that a person waits for, with all additions in use.
    pub fn interactive(force: bool) -> Self {
        Self { policy: RetryPolicy::Interactive, scope: RefreshScope::Additions, force }
    }
}

/// Refreshes companies and agreements if they were never read, or were last read longer ago than `refresh_max_age`.
pub async fn ensure_fresh(ctx: &AppContext, tenant: &TenantId, policy: RetryPolicy) -> Result<()> {
    let oldest = ctx.clock.now() - ctx.settings.refresh_max_age;
    ensure_since(ctx, tenant, oldest, policy).await
}

/// Refreshes companies and agreements if they were never read.
pub async fn ensure_known(ctx: &AppContext, tenant: &TenantId) -> Result<()> {
    ensure_since(ctx, tenant, Timestamp::UNIX_EPOCH, RetryPolicy::Interactive).await
}

/// Refreshes companies and agreements if they were last read before `oldest`. An interactive caller waits for a refresh
/// by another process; a background caller gets a conflict.
pub async fn ensure_since(ctx: &AppContext, tenant: &TenantId, oldest: Timestamp, policy: RetryPolicy) -> Result<()> {
    let actor = Actor::internal(tenant.clone(), "refresh");
    let until = tokio::time::Instant::now() + MAX_WAIT_FOR_ANOTHER_REFRESH;
    loop {
        // Callers in this process that need the same refresh wait here, and then find it done.
        let turn = ctx.refreshing.wait(tenant.as_str()).await;
        let row = ctx.db.read(tenant, |tx| tx.refresh()).await?;
        let read_at = row.as_ref().and_then(|row| row.finished_at).map(|at| at.and_utc());
        if read_at.is_some_and(|at| at >= oldest) {
            return Ok(());
        }
        let running_elsewhere = row.and_then(|row| row.lease_until).is_some_and(|at| at.and_utc() > ctx.clock.now());
        let outcome = if running_elsewhere {
            Err(refresh_running())
        } else {
            run(ctx, &actor, RefreshOptions { policy, scope: RefreshScope::Lists, force: false }).await.map(drop)
        };
        drop(turn);
        match outcome {
            // An interactive caller also waits for a refresh by another process. A job retries later and does other
            // work in the meantime.
            Err(error)
                if is_running(&error) && policy == RetryPolicy::Interactive && tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

/// Reads all companies and agreements, optionally with the additions of agreements in use, and then resolves every line
/// again. Each tenant has one refresh at a time. Without `force`, errors and saves nothing if more than half of the
/// known records would disappear.
pub async fn run(ctx: &AppContext, actor: &Actor, options: RefreshOptions) -> Result<Report> {
    // Spawned as a task: a caller that disconnects must not leave a refresh unfinished and its lease held.
    let (ctx, actor) = (ctx.clone(), actor.clone());
    let task = tokio::spawn(async move { run_leased(&ctx, &actor, options).await });
    task.await.map_err(Error::internal)?
}

async fn run_leased(ctx: &AppContext, actor: &Actor, options: RefreshOptions) -> Result<Report> {
    let client = client::for_tenant(ctx, &actor.tenant).await?;
    let owner = take_lease(ctx, &actor.tenant).await?;
    let outcome = tokio::select! {
        outcome = read_and_save(ctx, actor, &client, &owner, options) => outcome,
        () = keep_lease(ctx, &actor.tenant, &owner) => Err(refresh_running()),
    };
    let (now, error) = (ctx.clock.now(), outcome.as_ref().err().map(ToString::to_string));
    let release = move |tx: &mut Tx<'_>| {
        let mut row = tx.refresh()?.unwrap_or_else(|| blank(tx.tenant()));
        if row.lease_owner.as_deref() == Some(owner.as_str()) {
            (row.lease_owner, row.lease_until) = (None, None);
            row.finished_at = if error.is_none() { Some(now.naive_utc()) } else { row.finished_at };
            if error.is_none() && tx.connection_failure()?.is_some() {
                tx.clear_connection_failure()?;
            }
            row.error = error;
            (row.companies, row.agreements) = tx.cw_counts()?;
            tx.put_refresh(&row)?;
        }
        Ok(())
    };
    ctx.db.write(&actor.tenant, release).await?;
    outcome
}

fn blank(tenant: &TenantId) -> RefreshRow {
    RefreshRow {
        tenant_id: tenant.clone(),
        lease_owner: None,
        lease_until: None,
        finished_at: None,
        error: None,
        companies: 0,
        agreements: 0,
        additions: 0,
        recap_list: None,
    }
}

/// Remembers where the site has the agreement recap, which refreshes read from now on.
pub async fn remember_recap_list(ctx: &AppContext, tenant: &TenantId, list: Option<RecapPath>) -> Result<()> {
    let known = ctx.db.query(tenant, |tx| tx.refresh()).await?.and_then(|row| row.recap_list);
    if known == list {
        return Ok(());
    }
    let remember = move |tx: &mut Tx<'_>| {
        let row = tx.refresh()?.unwrap_or_else(|| blank(tx.tenant()));
        tx.put_refresh(&RefreshRow { recap_list: list, ..row })
    };
    ctx.db.write(tenant, remember).await
}

/// Forgets where the agreement recap is: the connection is to another site now.
pub(super) fn forget_recap_list(tx: &mut Tx<'_>) -> Result<()> {
    match tx.refresh()? {
        Some(row) if row.recap_list.is_some() => tx.put_refresh(&RefreshRow { recap_list: None, ..row }),
        _ => Ok(()),
    }
}

async fn take_lease(ctx: &AppContext, tenant: &TenantId) -> Result<String> {
    let (now, lease) = (ctx.clock.now(), ctx.settings.lease);
    let take = move |tx: &mut Tx<'_>| {
        let mut row = tx.refresh()?.unwrap_or_else(|| blank(tx.tenant()));
        if row.lease_until.is_some_and(|until| until > now.naive_utc()) {
            return Err(refresh_running());
        }
        let owner = uuid::Uuid::now_v7().to_string();
        row.lease_owner = Some(owner.clone());
        row.lease_until = Some((now + lease).naive_utc());
        tx.put_refresh(&row)?;
        Ok(owner)
    };
    ctx.db.write(tenant, take).await
}

/// Renews the lease repeatedly, so it can be short. Returns when another process has taken it.
async fn keep_lease(ctx: &AppContext, tenant: &TenantId, owner: &str) {
    let lease = ctx.settings.lease;
    let pause = (lease / 3).to_std().unwrap_or_default();
    loop {
        tokio::time::sleep(pause).await;
        let (owner, clock) = (owner.to_owned(), ctx.clock.clone());
        let renew = move |tx: &mut Tx<'_>| {
            let Some(mut row) = tx.refresh()?.filter(|row| row.lease_owner.as_deref() == Some(&*owner)) else {
                return Ok(false);
            };
            row.lease_until = Some((clock.now() + lease).naive_utc());
            tx.put_refresh(&row)?;
            Ok(true)
        };
        match ctx.db.write(tenant, renew).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(%tenant, cause = %error.chain(), "failed to renew the lease of a refresh"),
        }
    }
}

/// Returns whether an error means that another process is refreshing.
fn is_running(error: &Error) -> bool {
    matches!(error, Error::Conflict { code: ConflictCode::RefreshRunning, .. })
}

async fn read_and_save(
    ctx: &AppContext,
    actor: &Actor,
    client: &Client,
    owner: &str,
    RefreshOptions { policy, scope, force }: RefreshOptions,
) -> Result<Report> {
    let known = |tx: &mut Tx<'_>| Ok((tx.connection()?, tx.refresh()?));
    let (connection, row) = ctx.db.read(&actor.tenant, known).await?;
    let lists = ListBudget::default();
    let (companies, mut agreements) =
        tokio::try_join!(client.companies(policy, &lists), client.agreements(policy, &lists))?;
    if let Some(list) = row.and_then(|row| row.recap_list) {
        add_recaps(&actor.tenant, client, list, policy, &mut agreements, &lists).await;
    }
    let mut report = Report { companies: companies.len(), agreements: agreements.len(), ..Report::default() };
    let now = ctx.clock.now();
    let precondition = ReadPrecondition { connection, refresh: Some(owner.to_owned()) };
    let still_leased = precondition.clone();
    let save = move |tx: &mut Tx<'_>| {
        let _kept_until_saved = lists;
        still_leased.check(tx)?;
        if !force {
            guard_against_mass_deletion(tx, &companies, &agreements)?;
        }
        let written = tx.save_cw_companies(companies, true, now)?.written();
        let written = written + tx.save_agreements(None, agreements, now)?.written();
        let in_use = if scope == RefreshScope::Additions { agreements_to_read(tx, now)? } else { Vec::new() };
        Ok((in_use, written))
    };
    let (in_use, written) = ctx.db.write(&actor.tenant, save).await?;
    ctx.after_growth(written).await;
    report.agreements_with_additions = in_use.len();
    additions::read_if(ctx, &actor.tenant, in_use, policy, precondition).await?;
    let by = actor.shown_name();
    let resolve = move |tx: &mut Tx<'_>| resolve::resolve_lines(tx, &LineFilter::default(), now, &by);
    report.resolved = ctx.db.write(&actor.tenant, resolve).await?;
    // Lines that now resolve to another agreement, such as one renewed for another year, need its additions.
    report.resolved = missing_additions::with_additions(ctx, actor, LineFilter::default(), report.resolved).await;
    Ok(report)
}

/// Adds the data of the agreement recap. If it cannot be read, the known data is kept. Only for billing cycles longer than
/// a month does nothing else tell that an invoice was made.
async fn add_recaps(
    tenant: &TenantId,
    client: &Client,
    list: RecapPath,
    policy: RetryPolicy,
    agreements: &mut [Agreement],
    lists: &ListBudget,
) {
    match client.recaps(list, policy, lists).await {
        Ok(recaps) => {
            for agreement in agreements {
                if let Some(recap) = recaps.get(&agreement.id) {
                    agreement.terms.add_recap(recap);
                }
            }
        }
        Err(error) => tracing::warn!(%tenant, %list, cause = %error, "failed to read the last invoices"),
    }
}

/// Rejects a response that lacks most of the known records: it is more likely wrong than right.
fn guard_against_mass_deletion(tx: &mut Tx<'_>, companies: &[CwCompany], agreements: &[Agreement]) -> Result<()> {
    let (known_companies, known_agreements) = tx.cw_counts()?;
    for (what, known, read) in
        [("companies", known_companies, companies.len()), ("agreements", known_agreements, agreements.len())]
    {
        let known = usize::try_from(known).unwrap_or_default();
        if known > SMALL_LIST && read * 2 < known {
            let detail = format!(
                "ConnectWise returned {read} {what}, but {known} were known, so nothing was changed. Check the API \
                 member's permissions; if the number is correct, refresh with {{\"force\": true}}"
            );
            return Err(Error::conflict(ConflictCode::RefreshWouldDrop, detail));
        }
    }
    Ok(())
}

/// The agreements that lines bill to or that a product's rule matches, including those of unmatched ConnectWise
/// companies: a reconciliation finds additions there that no line bills to.
fn agreements_to_read(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<CwAgreementId>> {
    let lines = tx.mapped_lines(&LineFilter::default())?;
    let mut used: HashSet<CwAgreementId> = lines.iter().filter_map(|line| line.agreement.target).collect();
    let today = billing_calendar::today(tx, now)?;
    let record_index = tx.record_index(None, today)?;
    for rules in resolve::rules(tx, None)?.values() {
        if let Some(rule) = rules.get(Target::Agreement) {
            used.extend(record_index.live_agreements(Some(rule)).map(|agreement| agreement.id));
        }
    }
    let used: Vec<CwAgreementId> = used.into_iter().collect();
    let there = tx.agreements_by_id(&used)?;
    Ok(there.into_iter().filter(|row| row.gone_at.is_none()).map(|row| row.id).collect())
}
