//! Claims of push lines by lease, which is how workers of one or several processes share the work.

use std::collections::HashSet;

use chrono::NaiveDateTime;
use diesel::dsl::exists;
use diesel::prelude::*;

use super::push_job::PushLine;
use crate::db::engine::conn::Conn;
use crate::db::engine::schema::{cw_refreshes, push_jobs, push_lines};
use crate::db::engine::tx::SystemTx;
use crate::domain::clock::Instant;
use crate::domain::ids::{CwAgreementId, PushJobId, TenantId};
use crate::domain::push::{JobState, LineEvent, LineState};
use crate::domain::{Error, Result};

/// Maximum number of due lines of a job that one claim looks at, to find an agreement that no other worker or transaction
/// holds.
const DUE_LINES_PER_CLAIM: i64 = 200;

/// A job that has not ended, for a worker that looks for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    /// Whose job it is.
    pub tenant_id: TenantId,
    /// The job's id.
    pub id: PushJobId,
    /// Whether lines can be claimed now.
    pub is_due: bool,
    /// Whether lines are open, now or later. A job without any was not ended, because its process died.
    pub has_open_lines: bool,
}

/// The lines of a job that a worker can still process.
macro_rules! open_lines {
    ($job:expr) => {
        push_lines::table.filter(push_lines::job_id.eq($job)).filter(push_lines::finished_at.is_null())
    };
}

/// The open lines that wait for nothing.
macro_rules! waiting_for_nothing {
    ($job:expr) => {
        open_lines!($job).filter(push_lines::state.eq(LineState::Pending)).filter(push_lines::not_before.is_null())
    };
}

/// The open lines that were delayed until a time that has come.
macro_rules! delayed_until_now {
    ($job:expr, $at:expr) => {
        open_lines!($job).filter(push_lines::state.eq(LineState::Pending)).filter(push_lines::not_before.le($at))
    };
}

/// The open lines whose worker let its lease expire.
macro_rules! abandoned {
    ($job:expr, $at:expr) => {
        open_lines!($job).filter(push_lines::state.eq(LineState::Working)).filter(push_lines::lease_until.lt($at))
    };
}

impl SystemTx<'_> {
    /// The jobs, queued or running, of all tenants, oldest first. One statement.
    pub fn open_jobs(&mut self, now: Instant) -> Result<Vec<OpenJob>> {
        let at = now.naive_utc();
        let is_due = exists(waiting_for_nothing!(push_jobs::id))
            .or(exists(delayed_until_now!(push_jobs::id, at)))
            .or(exists(abandoned!(push_jobs::id, at)));
        let jobs: Vec<(TenantId, PushJobId, bool, bool)> = push_jobs::table
            .filter(push_jobs::finished_at.is_null())
            .filter(push_jobs::state.eq_any([JobState::Queued, JobState::Running]))
            .order(push_jobs::id)
            .select((push_jobs::tenant_id, push_jobs::id, is_due, exists(open_lines!(push_jobs::id))))
            .load(self.conn)?;
        let job = |(tenant_id, id, is_due, has_open_lines)| OpenJob { tenant_id, id, is_due, has_open_lines };
        Ok(jobs.into_iter().map(job).collect())
    }

    /// Claims by lease the due lines of one agreement in one job of a tenant. Returns the claimed lines, or none if no
    /// line is due, or other workers have claimed those that are.
    pub fn claim_push_lines(
        &mut self,
        tenant: &TenantId,
        owner: &str,
        now: Instant,
        lease_until: Instant,
    ) -> Result<Vec<PushLine>> {
        let at = now.naive_utc();
        // Skip agreements that a worker holds, in any job: if two workers wrote the same addition at once, the result
        // could be the quantity of either.
        let mut held = self.held_agreements(tenant, at)?;
        let jobs: Vec<PushJobId> = push_jobs::table
            .filter(push_jobs::tenant_id.eq(tenant))
            .filter(push_jobs::finished_at.is_null())
            .filter(push_jobs::state.eq_any([JobState::Queued, JobState::Running]))
            .order(push_jobs::id)
            .select(push_jobs::id)
            .load(self.conn)?;
        for job in jobs {
            let mut tried = HashSet::new();
            for agreement in self.due_agreements(&job, &held, at)? {
                if held.contains(&agreement) || !tried.insert(agreement) {
                    continue;
                }
                // Two workers may pick the same lines. The first to lock them claims them; the other tries the next.
                if self.lock_agreement(tenant, agreement, at)? {
                    self.end_expired_leases(tenant, agreement, at)?;
                    let claimed = self.claim_group(&job, agreement, owner, now, lease_until)?;
                    if !claimed.is_empty() {
                        return Ok(claimed);
                    }
                }
                // Another worker has just claimed this agreement, and may have claimed more.
                held = self.held_agreements(tenant, at)?;
            }
        }
        Ok(Vec::new())
    }

    /// The agreements of the first due lines of a job that are not held, in the lines' order.
    fn due_agreements(
        &mut self,
        job: &PushJobId,
        held: &HashSet<CwAgreementId>,
        at: NaiveDateTime,
    ) -> Result<Vec<CwAgreementId>> {
        let held: Vec<CwAgreementId> = held.iter().copied().collect();
        // One query each, so that each walks its index and stops.
        let mut found: Vec<Option<CwAgreementId>> = abandoned!(job, at)
            .order(push_lines::id)
            .filter(push_lines::agreement_id.ne_all(held.clone()))
            .limit(DUE_LINES_PER_CLAIM)
            .select(push_lines::agreement_id)
            .load(self.conn)?;
        found.extend(
            delayed_until_now!(job, at)
                .order(push_lines::not_before)
                .filter(push_lines::agreement_id.ne_all(held.clone()))
                .limit(DUE_LINES_PER_CLAIM)
                .select(push_lines::agreement_id)
                .load::<Option<CwAgreementId>>(self.conn)?,
        );
        found.extend(
            waiting_for_nothing!(job)
                .order(push_lines::id)
                .filter(push_lines::agreement_id.ne_all(held.clone()))
                .limit(DUE_LINES_PER_CLAIM)
                .select(push_lines::agreement_id)
                .load::<Option<CwAgreementId>>(self.conn)?,
        );
        Ok(found.into_iter().flatten().collect())
    }

    fn held_agreements(&mut self, tenant: &TenantId, at: NaiveDateTime) -> Result<HashSet<CwAgreementId>> {
        let held: Vec<Option<CwAgreementId>> = push_lines::table
            .filter(push_lines::tenant_id.eq(tenant))
            .filter(push_lines::lease_owner.is_not_null())
            .filter(push_lines::lease_until.ge(at))
            .select(push_lines::agreement_id)
            .distinct()
            .load(self.conn)?;
        Ok(held.into_iter().flatten().collect())
    }

    /// Returns an agreement's lines whose lease has expired to the queue, in all jobs. Their worker may only have been
    /// stopped: when it goes on, it must write nothing beside the worker that claims the agreement now.
    fn end_expired_leases(&mut self, tenant: &TenantId, agreement: CwAgreementId, at: NaiveDateTime) -> Result<()> {
        let expired = push_lines::table
            .filter(push_lines::tenant_id.eq(tenant))
            .filter(push_lines::agreement_id.eq(agreement))
            .filter(push_lines::finished_at.is_null())
            .filter(push_lines::state.eq(LineState::Working))
            .filter(push_lines::lease_until.lt(at));
        let state = LineState::Working.after(LineEvent::Release).map_err(Error::internal)?;
        diesel::update(expired)
            .set((
                push_lines::state.eq(state),
                push_lines::lease_owner.eq(None::<String>),
                push_lines::lease_until.eq(None::<NaiveDateTime>),
                push_lines::fence.eq(push_lines::fence + 1),
            ))
            .execute(self.conn)?;
        Ok(())
    }

    fn claim_group(
        &mut self,
        job: &PushJobId,
        agreement: CwAgreementId,
        owner: &str,
        now: Instant,
        lease_until: Instant,
    ) -> Result<Vec<PushLine>> {
        let at = now.naive_utc();
        let group = push_lines::table.filter(push_lines::job_id.eq(job)).filter(push_lines::agreement_id.eq(agreement));
        // Expired leases have been ended before, so that what can be claimed is pending.
        let is_claimable = push_lines::finished_at
            .is_null()
            .and(push_lines::state.eq(LineState::Pending))
            .and(push_lines::not_before.is_null().or(push_lines::not_before.le(at)));
        let state = LineState::Pending.after(LineEvent::Claim).map_err(Error::internal)?;
        diesel::update(group.filter(is_claimable))
            .set((
                push_lines::state.eq(state),
                push_lines::lease_owner.eq(owner),
                push_lines::lease_until.eq(lease_until.naive_utc()),
                push_lines::fence.eq(push_lines::fence + 1),
                push_lines::started_at.eq(at),
            ))
            .execute(self.conn)?;
        let mine = push_lines::table
            .filter(push_lines::job_id.eq(job))
            .filter(push_lines::agreement_id.eq(agreement))
            .filter(push_lines::state.eq(LineState::Working))
            .filter(push_lines::lease_owner.eq(owner))
            .filter(push_lines::lease_until.eq(lease_until.naive_utc()));
        Ok(mine.order(push_lines::id).select(PushLine::as_select()).load(self.conn)?)
    }

    /// Locks an agreement's lines in all jobs, without waiting. Returns `false` if another transaction has locked one
    /// of them, or if a worker has claimed one meanwhile. The other transaction may be another replica's claim of the
    /// same agreement in another job. Its process may have been stopped halfway, so a worker that waited could claim
    /// nothing.
    fn lock_agreement(&mut self, tenant: &TenantId, agreement: CwAgreementId, at: NaiveDateTime) -> Result<bool> {
        // On SQLite, this transaction is the only writer.
        let Conn::Postgres(conn) = &mut *self.conn else { return Ok(true) };
        let lines = push_lines::table
            .filter(push_lines::tenant_id.eq(tenant))
            .filter(push_lines::agreement_id.eq(agreement))
            .filter(push_lines::finished_at.is_null())
            .filter(push_lines::state.eq_any([LineState::Pending, LineState::Working]));
        // A row that changed after the statement began is locked and returned in its current state.
        let locked: Vec<Option<NaiveDateTime>> =
            lines.clone().select(push_lines::lease_until).for_update().skip_locked().load(conn)?;
        let all: i64 = lines.count().get_result(conn)?;
        let held = locked.iter().flatten().any(|until| *until >= at);
        Ok(!held && i64::try_from(locked.len()).is_ok_and(|locked| locked == all))
    }

    /// Ends every lease. Returns the number of push lines freed. Call it only when a process starts and is the only
    /// one, as on SQLite.
    pub fn end_leases(&mut self, now: Instant) -> Result<usize> {
        let at = now.naive_utc();
        let refreshing = cw_refreshes::table.filter(cw_refreshes::lease_until.gt(at));
        diesel::update(refreshing).set(cw_refreshes::lease_until.eq(at)).execute(self.conn)?;
        let held =
            push_lines::table.filter(push_lines::lease_owner.is_not_null()).filter(push_lines::lease_until.ge(at));
        // One second earlier, because a lease is still valid at its last instant.
        let over = at - chrono::TimeDelta::seconds(1);
        Ok(diesel::update(held).set(push_lines::lease_until.eq(over)).execute(self.conn)?)
    }
}
