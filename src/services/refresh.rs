//! Reading companies, agreements and additions from ConnectWise into our tables.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::{Actor, Services, connections, resolve};
use crate::connectwise::{Client, CwError, Fault, Patience};
use crate::db::{Connection, LineFilter, RefreshRow, Tx};
use crate::domain::agreement::{Addition, Agreement, CwCompany};
use crate::domain::clock::Instant;
use crate::domain::ids::{CwAgreementId, TenantId};
use crate::domain::{Error, Result};

/// How long a person waits for another process's refresh.
const FOR_ANOTHER: Duration = Duration::from_secs(10);
/// How often they look whether it has ended.
const LOOK: Duration = Duration::from_millis(250);
/// Fewer known records than this may all vanish: somebody is setting up.
const FEW: usize = 10;
/// Additions of so many agreements are saved together.
const BATCH: usize = 200;

/// What a refresh found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many companies ConnectWise has.
    pub companies: usize,
    /// How many agreements it has.
    pub agreements: usize,
    /// Of how many agreements the additions were read.
    pub agreements_with_additions: usize,
    /// What it changed of the billing lines.
    pub resolved: resolve::Resolved,
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Companies and agreements: pages only.
    Lists,
    /// And the additions of every agreement in use: a request for each.
    Additions,
}

/// Refreshes companies and agreements when what is known is older than the setting, or nothing is.
pub async fn ensure_fresh(services: &Services, tenant: &TenantId, patience: Patience) -> Result<()> {
    let oldest = services.clock.now() - services.settings.refresh_max_age;
    ensure_since(services, tenant, oldest, patience).await
}

/// Refreshes when nothing is known yet.
pub async fn ensure_known(services: &Services, tenant: &TenantId) -> Result<()> {
    ensure_since(services, tenant, Instant::UNIX_EPOCH, Patience::Person).await
}

/// Refreshes companies and agreements when they were last read before a moment.
pub async fn ensure_since(services: &Services, tenant: &TenantId, oldest: Instant, patience: Patience) -> Result<()> {
    let actor = Actor { tenant: tenant.clone(), name: "refresh".to_owned() };
    let until = tokio::time::Instant::now() + FOR_ANOTHER;
    loop {
        // Those of this process that need the same refresh wait for the one that does it, and find it done.
        let turn = services.refreshing.wait(tenant.as_str()).await;
        let row = services.db.read(tenant, |tx| tx.refresh()).await?;
        let read_at = row.as_ref().and_then(|row| row.finished_at).map(|at| at.and_utc());
        if read_at.is_some_and(|at| at >= oldest) {
            return Ok(());
        }
        let running_elsewhere =
            row.and_then(|row| row.lease_until).is_some_and(|at| at.and_utc() > services.clock.now());
        let outcome = if running_elsewhere {
            Err(running())
        } else {
            run(services, &actor, patience, Depth::Lists, false).await.map(drop)
        };
        drop(turn);
        match outcome {
            // So does a person for another process's; a job comes back to it, and does other work meanwhile.
            Err(error) if is_running(&error) && patience == Patience::Person && tokio::time::Instant::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            outcome => return outcome,
        }
    }
}

/// Reads all companies and agreements, and as asked the additions of agreements in use; then resolves every line again.
/// Never two at once for a tenant. Unless `force`d, it stops where more than half of what was known would vanish.
pub async fn run(services: &Services, actor: &Actor, patience: Patience, depth: Depth, force: bool) -> Result<Report> {
    // A task of its own: a caller who hangs up must not leave a refresh half done and its lease behind.
    let (services, actor) = (services.clone(), actor.clone());
    let task = tokio::spawn(async move { run_leased(&services, &actor, patience, depth, force).await });
    task.await.map_err(Error::internal)?
}

async fn run_leased(
    services: &Services,
    actor: &Actor,
    patience: Patience,
    depth: Depth,
    force: bool,
) -> Result<Report> {
    let client = connections::client(services, &actor.tenant).await?;
    let owner = take_lease(services, &actor.tenant).await?;
    let outcome = tokio::select! {
        outcome = read_and_save(services, actor, &client, &owner, patience, depth, force) => outcome,
        () = keep_lease(services, &actor.tenant, &owner) => Err(running()),
    };
    let (now, error) = (services.clock.now(), outcome.as_ref().err().map(ToString::to_string));
    let release = move |tx: &mut Tx<'_>| {
        let mut row = tx.refresh()?.unwrap_or_else(|| blank(tx.tenant()));
        if row.lease_owner.as_deref() == Some(owner.as_str()) {
            (row.lease_owner, row.lease_until) = (None, None);
            row.finished_at = if error.is_none() { Some(now.naive_utc()) } else { row.finished_at };
            row.error = error;
            (row.companies, row.agreements) = tx.cw_counts()?;
            tx.put_refresh(&row)?;
        }
        Ok(())
    };
    services.db.write(&actor.tenant, release).await?;
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
    }
}

async fn take_lease(services: &Services, tenant: &TenantId) -> Result<String> {
    let (now, lease) = (services.clock.now(), services.settings.lease);
    let take = move |tx: &mut Tx<'_>| {
        let mut row = tx.refresh()?.unwrap_or_else(|| blank(tx.tenant()));
        if row.lease_until.is_some_and(|until| until > now.naive_utc()) {
            return Err(running());
        }
        let owner = uuid::Uuid::now_v7().to_string();
        row.lease_owner = Some(owner.clone());
        row.lease_until = Some((now + lease).naive_utc());
        tx.put_refresh(&row)?;
        Ok(owner)
    };
    services.db.write(tenant, take).await
}

/// Renews the lease, again and again, so that a dead process's is soon over; ends when another has it.
async fn keep_lease(services: &Services, tenant: &TenantId, owner: &str) {
    let lease = services.settings.lease;
    let pause = (lease / 3).to_std().unwrap_or_default();
    loop {
        tokio::time::sleep(pause).await;
        let (owner, clock) = (owner.to_owned(), services.clock.clone());
        let renew = move |tx: &mut Tx<'_>| {
            let Some(mut row) = tx.refresh()?.filter(|row| row.lease_owner.as_deref() == Some(&*owner)) else {
                return Ok(false);
            };
            row.lease_until = Some((clock.now() + lease).naive_utc());
            tx.put_refresh(&row)?;
            Ok(true)
        };
        match services.db.write(tenant, renew).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(%tenant, cause = %error.chain(), "failed to renew the lease of a refresh"),
        }
    }
}

const RUNNING: &str = "refresh_running";
const CONNECTION_CHANGED: &str = "connection_changed";

/// Whether an error says that another process is reading what ConnectWise has.
fn is_running(error: &Error) -> bool {
    matches!(error, Error::Conflict { code: RUNNING, .. })
}

/// Whether an error says that something else came first: another process's reading, or another connection.
pub fn is_overtaken(error: &Error) -> bool {
    matches!(error, Error::Conflict { code: RUNNING | CONNECTION_CHANGED, .. })
}

fn running() -> Error {
    Error::conflict(RUNNING, "what ConnectWise has is being read already: try again when that has ended")
}

async fn read_and_save(
    services: &Services,
    actor: &Actor,
    client: &Client,
    owner: &str,
    patience: Patience,
    depth: Depth,
    force: bool,
) -> Result<Report> {
    let connection = services.db.read(&actor.tenant, |tx| tx.connection()).await?;
    let (companies, agreements) = tokio::try_join!(client.companies(patience), client.agreements(patience))?;
    let mut report = Report { companies: companies.len(), agreements: agreements.len(), ..Report::default() };
    let now = services.clock.now();
    let read_under = ReadUnder { connection, refresh: Some(owner.to_owned()) };
    let still_held = read_under.clone();
    let save = move |tx: &mut Tx<'_>| {
        still_held.check(tx)?;
        if !force {
            refuse_great_loss(tx, &companies, &agreements)?;
        }
        tx.save_cw_companies(companies, true, now)?;
        tx.save_agreements(None, agreements, now)?;
        if depth == Depth::Additions { agreements_in_use(tx) } else { Ok(Vec::new()) }
    };
    let in_use = services.db.write(&actor.tenant, save).await?;
    report.agreements_with_additions = in_use.len();
    read_additions(services, &actor.tenant, in_use, patience, read_under).await?;
    let by = actor.name.clone();
    let resolve = move |tx: &mut Tx<'_>| resolve::lines(tx, &LineFilter::default(), now, &by);
    report.resolved = services.db.write(&actor.tenant, resolve).await?;
    // Lines that found another agreement, one renewed for another year, want its additions.
    report.resolved = resolve::completed(services, actor, LineFilter::default(), report.resolved).await;
    Ok(report)
}

/// An answer that lacks most of what was there is more likely wrong than true.
fn refuse_great_loss(tx: &mut Tx<'_>, companies: &[CwCompany], agreements: &[Agreement]) -> Result<()> {
    let (known_companies, known_agreements) = tx.cw_counts()?;
    for (what, known, read) in
        [("companies", known_companies, companies.len()), ("agreements", known_agreements, agreements.len())]
    {
        let known = usize::try_from(known).unwrap_or_default();
        if known > FEW && read * 2 < known {
            let detail = format!(
                "ConnectWise gave {read} {what} where {known} were known, so nothing was changed. Check the API member's \
                 rights; if it is right, refresh with {{\"force\": true}}"
            );
            return Err(Error::conflict("refresh_would_drop", detail));
        }
    }
    Ok(())
}

fn agreements_in_use(tx: &mut Tx<'_>) -> Result<Vec<CwAgreementId>> {
    let lines = tx.mapped_lines(&LineFilter::default())?;
    let used: std::collections::HashSet<_> = lines.iter().filter_map(|line| line.agreement.target).collect();
    let used: Vec<CwAgreementId> = used.into_iter().collect();
    let there = tx.agreements_by_id(&used)?;
    Ok(there.into_iter().filter(|row| row.gone_at.is_none()).map(|row| row.id).collect())
}

/// Reads and saves the additions of agreements. An agreement that refuses is left as it was known; a fault of the
/// connection ends it.
pub async fn additions(
    services: &Services,
    tenant: &TenantId,
    agreements: Vec<CwAgreementId>,
    patience: Patience,
) -> Result<()> {
    let connection = services.db.read(tenant, |tx| tx.connection()).await?;
    read_additions(services, tenant, agreements, patience, ReadUnder { connection, refresh: None }).await
}

/// Under which connection, and by whose lease of a refresh, something was read from ConnectWise. What was read under
/// another is not saved: it may be another ConnectWise's, or older than what is there.
#[derive(Debug, Clone)]
struct ReadUnder {
    connection: Option<Connection>,
    /// The lease's owner, for what is read by a refresh.
    refresh: Option<String>,
}

impl ReadUnder {
    fn check(&self, tx: &mut Tx<'_>) -> Result<()> {
        if tx.connection()? != self.connection {
            return Err(Error::conflict(CONNECTION_CHANGED, "the connection was changed meanwhile: refresh again"));
        }
        let Some(owner) = &self.refresh else { return Ok(()) };
        let holder = tx.refresh()?.and_then(|row| row.lease_owner);
        if holder.as_ref() == Some(owner) { Ok(()) } else { Err(running()) }
    }
}

async fn read_additions(
    services: &Services,
    tenant: &TenantId,
    agreements: Vec<CwAgreementId>,
    patience: Patience,
    read_under: ReadUnder,
) -> Result<()> {
    if agreements.is_empty() {
        return Ok(());
    }
    let row = read_under.connection.as_ref().ok_or_else(connections::not_connected)?;
    let client = connections::client_for(services, row)?;
    let parallel = services.settings.connectwise.parallel;
    for batch in agreements.chunks(BATCH) {
        let answers: Vec<(CwAgreementId, Result<Vec<Addition>, CwError>)> = stream::iter(batch.to_vec())
            .map(|id| {
                let client = client.clone();
                async move { (id, client.additions(id, patience).await) }
            })
            .buffer_unordered(parallel)
            .collect()
            .await;
        let (now, read_under) = (services.clock.now(), read_under.clone());
        let save = move |tx: &mut Tx<'_>| {
            read_under.check(tx)?;
            save_answers(tx, answers, now)
        };
        let failure = services.db.write(tenant, save).await?;
        if let Some(error) = failure {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Saves what could be read; gives the failure that is not one agreement's own.
fn save_answers(
    tx: &mut Tx<'_>,
    answers: Vec<(CwAgreementId, Result<Vec<Addition>, CwError>)>,
    now: Instant,
) -> Result<Option<CwError>> {
    let (mut read, mut found, mut failure) = (Vec::new(), Vec::new(), None);
    for (id, answer) in answers {
        match answer {
            Ok(additions) => {
                read.push(id);
                found.extend(additions);
            }
            Err(CwError::Gone) => tx.mark_agreement_gone(id, now)?,
            Err(
                error @ (CwError::Rejected(_)
                | CwError::Failed(_)
                | CwError::Unintelligible(_)
                | CwError::Configuration { fault: Fault::Permission(_), .. }),
            ) => {
                tracing::warn!(
                    tenant = %tx.tenant(), agreement = %id, cause = %error,
                    "failed to read the additions of an agreement"
                );
            }
            Err(error) => failure = Some(error),
        }
    }
    tx.save_additions(&read, found, now)?;
    Ok(failure)
}

/// The additions of an agreement as choices, read from ConnectWise where they were not read lately.
pub async fn additions_of(services: &Services, actor: &Actor, agreement: CwAgreementId) -> Result<Vec<Addition>> {
    let oldest = (services.clock.now() - services.settings.refresh_max_age).naive_utc();
    let stored = move |tx: &mut Tx<'_>| {
        let row = tx.agreements_by_id(&[agreement])?.pop();
        row.ok_or_else(|| Error::not_found("agreement", agreement))
    };
    let row = services.db.read(&actor.tenant, stored).await?;
    if row.gone_at.is_none() && row.additions_read_at.is_none_or(|at| at < oldest) {
        additions(services, &actor.tenant, vec![agreement], Patience::Person).await?;
    }
    services.db.read(&actor.tenant, move |tx| tx.additions_of(Some(&[agreement]))).await
}
