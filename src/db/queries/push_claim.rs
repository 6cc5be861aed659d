//! Claiming push lines by lease: how workers, of this process or another, share the work.

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

/// Pending lines scanned per claim, to find an agreement that no other transaction holds.
const PENDING_LINES_PER_CLAIM: i64 = 200;

/// Lines that can be claimed: waiting and due, or of a worker whose lease ran out.
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
    /// Claims by lease the waiting lines of one agreement in one job, of whichever tenant: those that no worker holds
    /// and those whose worker's lease ran out. Empty where there is no work.
    pub fn claim_push_lines(&mut self, owner: &str, now: Instant, lease_until: Instant) -> Result<Vec<PushLine>> {
        let at = now.naive_utc();
        // An agreement that some worker holds is left to it, whatever the job: two writing the same addition at once
        // could end in either's quantity.
        let mut held = self.held_agreements(at)?;
        let waiting: Vec<(TenantId, PushJobId, Option<CwAgreementId>)> = push_lines::table
            .filter(claimable!(at))
            .filter(push_lines::agreement_id.is_not_null())
            .order(push_lines::id)
            .limit(PENDING_LINES_PER_CLAIM)
            .select((push_lines::tenant_id, push_lines::job_id, push_lines::agreement_id))
            .load(self.conn)?;
        // Two workers may pick the same lines; the first to lock them gets them, and the other takes the next.
        let mut tried = HashSet::new();
        for (tenant, job, agreement) in waiting {
            let key = (tenant, agreement);
            let Some(id) = agreement.filter(|_| !held.contains(&key)) else { continue };
            if !tried.insert((job.clone(), id)) {
                continue;
            }
            if self.lock_agreement(&key.0, id, at)? {
                let claimed = self.claim_group(&job, id, owner, now, lease_until)?;
                if !claimed.is_empty() {
                    return Ok(claimed);
                }
            }
            // Another worker claimed it just now, and may have claimed more.
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

    /// Locks an agreement's lines, of every job, without waiting. `false` if another transaction holds one of them, or
    /// if a worker has claimed one meanwhile. The transaction may be another replica's claim, of the lines of another
    /// job. Its process may also have been stopped in the middle of it: a worker that waited would claim nothing else.
    fn lock_agreement(&mut self, tenant: &TenantId, agreement: CwAgreementId, at: NaiveDateTime) -> Result<bool> {
        // SQLite has one writer at a time, and this is it.
        let Conn::Postgres(conn) = &mut *self.conn else { return Ok(true) };
        let lines = push_lines::table
            .filter(push_lines::tenant_id.eq(tenant))
            .filter(push_lines::agreement_id.eq(agreement))
            .filter(push_lines::finished_at.is_null())
            .filter(push_lines::state.eq_any([LineState::Pending, LineState::Working]));
        // A row that was changed since the statement began is locked, and returned, as it is now.
        let locked: Vec<Option<NaiveDateTime>> =
            lines.clone().select(push_lines::lease_until).for_update().skip_locked().load(conn)?;
        let all: i64 = lines.count().get_result(conn)?;
        let held = locked.iter().flatten().any(|until| *until >= at);
        Ok(!held && i64::try_from(locked.len()).is_ok_and(|locked| locked == all))
    }

    /// Ends every lease: for a process that starts and knows that it is alone, as on SQLite.
    pub fn end_leases(&mut self, now: Instant) -> Result<usize> {
        let at = now.naive_utc();
        let refreshing = cw_refreshes::table.filter(cw_refreshes::lease_until.gt(at));
        diesel::update(refreshing).set(cw_refreshes::lease_until.eq(at)).execute(self.conn)?;
        let held =
            push_lines::table.filter(push_lines::lease_owner.is_not_null()).filter(push_lines::lease_until.ge(at));
        // A moment ago, as a lease holds through its last instant.
        let over = at - chrono::TimeDelta::seconds(1);
        Ok(diesel::update(held).set(push_lines::lease_until.eq(over)).execute(self.conn)?)
    }

    /// The unfinished jobs whose lines are all finished.
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
