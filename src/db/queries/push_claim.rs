//! Claims of push lines by lease, which is how workers of one or several processes share the work.

use std::collections::HashSet;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::push_job::PushLine;
use crate::db::engine::conn::Conn;
use crate::db::engine::schema::{cw_refreshes, push_jobs, push_lines};
use crate::db::engine::tx::SystemTx;
use crate::domain::Result;
use crate::domain::clock::Instant;
use crate::domain::ids::{CwAgreementId, PushJobId, TenantId};
use crate::domain::push::{JobState, LineState};

/// Maximum number of pending lines scanned per claim, to find an agreement that no other worker or transaction holds.
const PENDING_LINES_PER_CLAIM: i64 = 200;

/// The lines that can be claimed: due, and either pending or held by an expired lease.
macro_rules! claimable {
    ($at:expr) => {
        push_lines::finished_at.is_null().and(push_lines::not_before.is_null().or(push_lines::not_before.le($at))).and(
            push_lines::state
                .eq(LineState::Pending)
                .or(push_lines::state.eq(LineState::Working).and(push_lines::lease_until.lt($at))),
        )
    };
}

impl SystemTx<'_> {
    /// Claims by lease the claimable lines of one agreement in one job, of any tenant. Returns the claimed lines, or
    /// none if there is no work.
    pub fn claim_push_lines(&mut self, owner: &str, now: Instant, lease_until: Instant) -> Result<Vec<PushLine>> {
        let at = now.naive_utc();
        // Skip agreements that a worker holds, in any job: if two workers wrote the same addition at once, the result
        // could be the quantity of either.
        let mut held = self.held_agreements(at)?;
        let waiting: Vec<(TenantId, PushJobId, Option<CwAgreementId>)> = push_lines::table
            .filter(claimable!(at))
            .filter(push_lines::agreement_id.is_not_null())
            .order(push_lines::id)
            .limit(PENDING_LINES_PER_CLAIM)
            .select((push_lines::tenant_id, push_lines::job_id, push_lines::agreement_id))
            .load(self.conn)?;
        // Two workers may pick the same lines. The first to lock them claims them; the other tries the next agreement.
        let mut tried = HashSet::new();
        for (tenant, job, agreement) in waiting {
            let key = (tenant, agreement);
            let Some(id) = agreement.filter(|_| !held.contains(&key)) else { continue };
            if !tried.insert((job.clone(), id)) {
                continue;
            }
            if self.lock_agreement(&key.0, id, at)? {
                self.end_expired_leases(&key.0, id, at)?;
                let claimed = self.claim_group(&job, id, owner, now, lease_until)?;
                if !claimed.is_empty() {
                    return Ok(claimed);
                }
            }
            // Another worker has just claimed this agreement, and may have claimed more.
            held = self.held_agreements(at)?;
        }
        Ok(Vec::new())
    }

    fn held_agreements(&mut self, at: NaiveDateTime) -> Result<HashSet<(TenantId, Option<CwAgreementId>)>> {
        let held: Vec<(TenantId, Option<CwAgreementId>)> = push_lines::table
            .filter(push_lines::lease_owner.is_not_null())
            .filter(push_lines::lease_until.ge(at))
            .select((push_lines::tenant_id, push_lines::agreement_id))
            .distinct()
            .load(self.conn)?;
        Ok(held.into_iter().collect())
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
        diesel::update(expired)
            .set((
                push_lines::state.eq(LineState::Pending),
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
        diesel::update(group.filter(claimable!(at)))
            .set((
                push_lines::state.eq(LineState::Working),
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

    /// The unfinished jobs, queued or running, whose lines are all finished.
    pub fn unfinished_jobs(&mut self) -> Result<Vec<(TenantId, PushJobId)>> {
        let open_lines =
            push_lines::table.filter(push_lines::job_id.eq(push_jobs::id)).filter(push_lines::finished_at.is_null());
        let left_over = push_jobs::table
            .filter(push_jobs::finished_at.is_null())
            .filter(push_jobs::state.eq_any([JobState::Queued, JobState::Running]))
            .filter(diesel::dsl::not(diesel::dsl::exists(open_lines)));
        Ok(left_over.select((push_jobs::tenant_id, push_jobs::id)).load(self.conn)?)
    }
}
