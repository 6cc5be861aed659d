//! Reads the current state of an agreement from ConnectWise before a push writes to it.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;

use super::group::Group;
use super::outcome::{ReadBack, StepError, Stop};
use crate::connectwise::{Client, CwError, Fault, RetryPolicy};
use crate::db::{PushLine, Tx};
use crate::domain::change_guard::ChangeGuard;
use crate::domain::ids::{CwAdditionId, CwAgreementId, ProductId};
use crate::domain::push::PushReason;
use crate::domain::records::{Addition, Agreement};
use crate::domain::{ConflictCode, Error, Result};
use crate::services::billing_calendar;
use crate::services::refresh;
use crate::services::remote::client;

/// How long a job uses the lists of companies and agreements before it reads them again.
const LISTS_VALID_FOR: TimeDelta = TimeDelta::hours(1);

/// The ConnectWise data that the lines of one agreement are compared with.
pub(super) struct AgreementContext {
    pub(super) client: Arc<Client>,
    /// The live additions.
    pub(super) additions: HashMap<CwAdditionId, Addition>,
    pub(super) guards: HashMap<ProductId, ChangeGuard>,
}

impl Group<'_> {
    /// Reads the agreement's current additions from ConnectWise. Stops if the agreement is no longer live.
    pub(super) async fn read_agreement(
        &self,
        agreement: CwAgreementId,
        approved: bool,
    ) -> Result<AgreementContext, StepError> {
        self.refresh_lists(approved).await?;
        let now = self.ctx.clock.now();
        let look = move |tx: &mut Tx<'_>| {
            Ok((tx.agreements_by_id(&[agreement])?, billing_calendar::today(tx, now)?, tx.all_products()?))
        };
        let (known, today, products) = self.ctx.db.read(&self.tenant, look).await?;
        let Some(known) = known.into_iter().next().map(Agreement::from) else {
            return Err(Stop::Stale("agreement: no longer known".to_owned()).into());
        };
        if let Some(reason) = known.inactive_reason(today) {
            return Err(Stop::Stale(format!("agreement: {reason}")).into());
        }
        let client = client::for_tenant(self.ctx, &self.tenant).await?;
        let additions = match client.additions(agreement, RetryPolicy::Background).await {
            Ok(additions) => additions,
            Err(error) => return Err(self.classify(&client, error).await.into()),
        };
        // Additions that are no longer live are treated as deleted.
        let live = additions.into_iter().filter(|row| row.inactive_reason(today).is_none());
        Ok(AgreementContext {
            client,
            additions: live.map(|row| (row.id, row)).collect(),
            guards: products.into_iter().map(|row| (row.id.clone(), row.guard())).collect(),
        })
    }

    /// Reads companies and agreements again if the stored lists are too old.
    async fn refresh_lists(&self, approved: bool) -> Result<(), StepError> {
        // The age is counted from the job's creation, so that a job reads the lists once, and again for each hour that
        // it takes: it may wait for its connection for days. An approval may also come days after the job.
        let now = self.ctx.clock.now();
        let since = if approved { now } else { self.job.created_at.and_utc().max(now - LISTS_VALID_FOR) };
        let oldest = since - self.ctx.settings.refresh_max_age;
        match refresh::ensure_since(self.ctx, &self.tenant, oldest, RetryPolicy::Background).await {
            Ok(()) => Ok(()),
            // The lists do not depend on one line: a failure is either a fault of the connection or temporary.
            Err(Error::ConnectWise { connection_at_fault: true, detail, .. }) => {
                let client = client::for_tenant(self.ctx, &self.tenant).await?;
                Err(self.confirm(&client, detail).await.into())
            }
            Err(Error::ConnectWise { detail, .. }) => {
                let client = client::for_tenant(self.ctx, &self.tenant).await?;
                Err(client.paused_for().map_or(Stop::Later(detail.clone()), |wait| Stop::Wait(wait, detail)).into())
            }
            Err(Error::Conflict { code: ConflictCode::RefreshRunning | ConflictCode::ConnectionChanged, detail }) => {
                Err(Stop::Busy(detail).into())
            }
            // For example, a list lacks most of the known records: a person must check it.
            Err(Error::Conflict { detail, .. }) => Err(Stop::Connection(detail).into()),
            Err(other) => Err(other.into()),
        }
    }

    /// Classifies a failure of one agreement or addition. A single unusual response never stops a job: a fault of the
    /// connection is confirmed by a request that does not depend on the agreement.
    pub(super) async fn classify(&self, client: &Client, error: CwError) -> Stop {
        match error {
            // The API member may lack permission for this agreement only.
            CwError::Configuration { fault: Fault::Permission(_), ref detail } => {
                Stop::Failed(PushReason::Connection, detail.clone())
            }
            CwError::Configuration { detail, .. } => self.confirm(client, detail).await,
            other => Stop::of(other),
        }
    }

    async fn confirm(&self, client: &Client, detail: String) -> Stop {
        match client.confirm().await {
            Err(CwError::Configuration { detail, .. }) => Stop::Connection(detail),
            _ => Stop::Later(detail),
        }
    }

    /// Reads back, with one request, the additions of lines whose write was sent and whose response was lost.
    pub(super) async fn read_back(&self, agreement: CwAgreementId, lines: &[PushLine]) -> Vec<ReadBack> {
        let read = match client::for_tenant(self.ctx, &self.tenant).await {
            Ok(client) => client.additions(agreement, RetryPolicy::Interactive).await,
            Err(_) => return vec![ReadBack::Unreadable; lines.len()],
        };
        if let Err(CwError::CircuitOpen(wait) | CwError::Throttled(wait)) = read {
            // Nothing was read, so nothing is known yet.
            return vec![ReadBack::Later(wait); lines.len()];
        }
        let look = |line: &PushLine| match (&read, line.addition_id) {
            (Ok(additions), Some(id)) => {
                let found = additions.iter().find(|addition| addition.id == id);
                found.map_or(ReadBack::NotFound, |addition| ReadBack::Has(addition.quantity))
            }
            (Err(CwError::NotFound), _) => ReadBack::NotFound,
            _ => ReadBack::Unreadable,
        };
        lines.iter().map(look).collect()
    }
}
