//! The additions of agreements, read from ConnectWise on demand.

use futures_util::{FutureExt, StreamExt, stream};

use super::client;
use crate::connectwise::{ConnectionFault, CwError, ListBudget, RetryPolicy};
use crate::db::{Connection, Tx};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAgreementId, TenantId};
use crate::domain::records::Addition;
use crate::domain::{ConflictCode, Error, Result};
use crate::services::context::AppContext;
use crate::services::security::actor::Actor;

/// Number of agreements whose additions are saved in one transaction.
const BATCH: usize = 100;

/// The conflict that another refresh of the tenant is running.
pub fn refresh_running() -> Error {
    let detail = "a refresh from ConnectWise is already running: try again when it has finished";
    Error::conflict(ConflictCode::RefreshRunning, detail)
}

/// Reads and saves the additions of agreements. An agreement that cannot be read keeps its stored additions. A failure
/// that concerns more than one agreement is returned as an error.
pub async fn read(
    ctx: &AppContext,
    tenant: &TenantId,
    agreements: Vec<CwAgreementId>,
    policy: RetryPolicy,
) -> Result<()> {
    let connection = ctx.db.query(tenant, |tx| tx.connection()).await?;
    read_if(ctx, tenant, agreements, policy, ReadPrecondition { connection, refresh: None }).await
}

/// What must not have changed since data were read from ConnectWise: the connection and the refresh lease. If either
/// has, the data are not saved: they may be from another ConnectWise site, or older than the stored data.
#[derive(Debug, Clone)]
pub struct ReadPrecondition {
    /// The connection.
    pub connection: Option<Connection>,
    /// The owner of the refresh lease; `None` outside a refresh.
    pub refresh: Option<String>,
}

impl ReadPrecondition {
    /// Errors if the connection has changed, or if another process holds the lease.
    pub fn check(&self, tx: &mut Tx<'_>) -> Result<()> {
        if tx.connection()? != self.connection {
            return Err(Error::conflict(
                ConflictCode::ConnectionChanged,
                "the connection was changed in the meantime: refresh again",
            ));
        }
        let Some(owner) = &self.refresh else { return Ok(()) };
        let holder = tx.refresh()?.and_then(|row| row.lease_owner);
        if holder.as_ref() == Some(owner) { Ok(()) } else { Err(refresh_running()) }
    }
}

/// Same as [`read`], with a given precondition.
pub async fn read_if(
    ctx: &AppContext,
    tenant: &TenantId,
    agreements: Vec<CwAgreementId>,
    policy: RetryPolicy,
    precondition: ReadPrecondition,
) -> Result<()> {
    if agreements.is_empty() {
        return Ok(());
    }
    let row = precondition.connection.as_ref().ok_or_else(client::not_connected)?;
    let client = client::for_connection(ctx, row)?;
    let parallel = ctx.settings.connectwise.parallel;
    let mut before = Batch::default();
    for batch in agreements.chunks(BATCH) {
        let budget = ListBudget::default();
        let read = stream::iter(batch.to_vec())
            .map(|id| {
                let (client, budget) = (client.clone(), &budget);
                async move { (id, client.additions(id, policy, budget).await) }
            })
            .buffer_unordered(parallel)
            .collect::<Vec<AdditionsAnswer>>();
        // One batch is read while the one before it is saved.
        let saved = save(ctx, tenant, before, precondition.clone());
        let (answers, ()) = tokio::try_join!(read.map(Ok), saved)?;
        before = Batch { answers, budget };
    }
    save(ctx, tenant, before, precondition).await
}

/// ConnectWise's answer for an agreement.
type AdditionsAnswer = (CwAgreementId, Result<Vec<Addition>, CwError>);

/// ConnectWise's answers for some agreements, with the memory that they take.
#[derive(Default)]
struct Batch {
    answers: Vec<AdditionsAnswer>,
    budget: ListBudget,
}

/// Saves the additions that could be read. Errors after a failure that concerns more than one agreement.
async fn save(
    ctx: &AppContext,
    tenant: &TenantId,
    Batch { answers, budget }: Batch,
    precondition: ReadPrecondition,
) -> Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    let now = ctx.clock.now();
    let save = move |tx: &mut Tx<'_>| {
        let _kept_until_saved = budget;
        precondition.check(tx)?;
        save_answers(tx, answers, now)
    };
    let (written, failure) = ctx.db.write(tenant, save).await?;
    ctx.after_growth(written).await;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Saves the additions that could be read. Returns the number of rows written, and a failure that concerns more than
/// one agreement.
fn save_answers(tx: &mut Tx<'_>, answers: Vec<AdditionsAnswer>, now: Timestamp) -> Result<(usize, Option<CwError>)> {
    let (mut read, mut found, mut failure) = (Vec::new(), Vec::new(), None);
    for (id, answer) in answers {
        match answer {
            Ok(additions) => {
                read.push(id);
                found.extend(additions);
            }
            Err(CwError::NotFound) => tx.mark_agreement_gone(id, now)?,
            Err(
                error @ (CwError::Rejected(_)
                | CwError::Failed(_)
                | CwError::InvalidResponse(_)
                | CwError::Configuration { fault: ConnectionFault::Permission(_), .. }),
            ) => {
                tracing::warn!(
                    tenant = %tx.tenant(), agreement = %id, cause = %error,
                    "failed to read the additions of an agreement"
                );
            }
            Err(error) => failure = Some(error),
        }
    }
    Ok((tx.save_additions(&read, found, now)?.written(), failure))
}

/// Returns the additions of an agreement to choose from. Reads them from ConnectWise if they were not read recently.
pub async fn choices(ctx: &AppContext, actor: &Actor, agreement: CwAgreementId) -> Result<Vec<Addition>> {
    let oldest = (ctx.clock.now() - ctx.settings.refresh_max_age).naive_utc();
    let stored = move |tx: &mut Tx<'_>| {
        let row = tx.agreements_by_id(&[agreement])?.pop();
        row.ok_or_else(|| Error::not_found("agreement", agreement))
    };
    let row = ctx.db.read(&actor.tenant, stored).await?;
    if row.gone_at.is_none() && row.additions_read_at.is_none_or(|at| at < oldest) {
        read(ctx, &actor.tenant, vec![agreement], RetryPolicy::Interactive).await?;
    }
    ctx.db.read(&actor.tenant, move |tx| tx.additions_of(Some(&[agreement]))).await
}
