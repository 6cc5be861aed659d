//! Claims push lines by lease, so workers of one or several processes can share the work.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::dsl::not;
use diesel::prelude::*;

use crate::db::engine::conn::Conn;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::schema::{cw_refreshes, push_jobs, push_lines};
use crate::db::engine::tx::SystemTx;
use crate::db::queries::push_jobs::{PushLine, is_queued_or_running};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAgreementId, PushJobId, TenantId};
use crate::domain::push::{PushLineEvent, PushLineState};
use crate::domain::{Error, Result};

/// Maximum number of due lines of a job that one claim examines to find an agreement that no other worker or
/// transaction holds.
const DUE_LINES_PER_CLAIM: i64 = 200;

/// Maximum number of lines in a claim of several agreements. Their writes begin and end in common transactions, and one
/// slow response of ConnectWise delays them all.
pub const LINES_PER_TRANSACTION: usize = 20;

/// A job that has not ended, for a worker that looks for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    /// The tenant that the job belongs to.
    pub tenant_id: TenantId,
    /// The job's id.
    pub id: PushJobId,
    /// Whether lines can be claimed now.
    pub is_due: bool,
    /// Whether lines are open, now or later. If not, the job was not ended because its process died.
    pub has_open_lines: bool,
}

/// The lines of a job that a worker can still process.
macro_rules! open_lines {
    ($job:expr) => {
        push_lines::table.filter(push_lines::job_id.eq($job)).filter(push_lines::finished_at.is_null())
    };
}

/// The pending lines without a delay.
macro_rules! pending_without_delay {
    ($job:expr) => {
        open_lines!($job).filter(push_lines::state.eq(PushLineState::Pending)).filter(push_lines::not_before.is_null())
    };
}

/// The pending lines whose delay is over.
macro_rules! delay_over {
    ($job:expr, $at:expr) => {
        open_lines!($job).filter(push_lines::state.eq(PushLineState::Pending)).filter(push_lines::not_before.le($at))
    };
}

/// The open lines whose worker let its lease expire.
macro_rules! lease_expired {
    ($job:expr, $at:expr) => {
        open_lines!($job).filter(push_lines::state.eq(PushLineState::Working)).filter(push_lines::lease_until.lt($at))
    };
}

/// Whether there is any of these lines. They are asked for in the order of the index `push_lines_next`, because for
/// `EXISTS` PostgreSQL may read the finished lines as well.
macro_rules! any_line {
    ($lines:expr) => {
        $lines
            .order((push_lines::state, push_lines::not_before, push_lines::id))
            .select(push_lines::id)
            .limit(1)
            .single_value()
            .is_not_null()
    };
}

/// The agreements of a tenant's leased lines.
struct LeasedAgreements {
    /// Those that a worker holds.
    held: HashSet<CwAgreementId>,
    /// Whether a worker let a lease expire.
    any_expired: bool,
}

/// One worker's share of the agreements of due lines: the first ones. `due` has one entry for each line.
fn share_of(due: &[CwAgreementId], workers: usize) -> Vec<CwAgreementId> {
    let mut lines: Vec<(CwAgreementId, usize)> = Vec::new();
    for agreement in due {
        match lines.iter_mut().find(|(known, _)| known == agreement) {
            Some((_, count)) => *count += 1,
            None => lines.push((*agreement, 1)),
        }
    }
    let most = lines.len().div_ceil(workers.max(1));
    let mut total = 0;
    let fits = |(index, (_, count)): &(usize, (CwAgreementId, usize))| {
        total += count;
        *index == 0 || total <= LINES_PER_TRANSACTION
    };
    lines.into_iter().take(most).enumerate().take_while(fits).map(|(_, (agreement, _))| agreement).collect()
}

impl SystemTx<'_> {
    /// The jobs, queued or running, of all tenants, oldest first. One statement.
    pub fn open_jobs(&mut self, now: Timestamp) -> Result<Vec<OpenJob>> {
        let at = now.naive_utc();
        let is_due = any_line!(pending_without_delay!(push_jobs::id))
            .or(any_line!(delay_over!(push_jobs::id, at)))
            .or(any_line!(lease_expired!(push_jobs::id, at)));
        let is_open = any_line!(open_lines!(push_jobs::id));
        let jobs: Vec<(TenantId, PushJobId, bool, bool)> = push_jobs::table
            .filter(push_jobs::finished_at.is_null())
            .filter(is_queued_or_running!())
            .order(push_jobs::id)
            .select((push_jobs::tenant_id, push_jobs::id, is_due, is_open))
            .load(self.conn)?;
        let job = |(tenant_id, id, is_due, has_open_lines)| OpenJob { tenant_id, id, is_due, has_open_lines };
        Ok(jobs.into_iter().map(job).collect())
    }

    /// Claims due lines of one job of a tenant by lease: all due lines of some agreements, but at most
    /// [`LINES_PER_TRANSACTION`] if there are several agreements. `workers` is the number of workers that share the
    /// tenant's lines; each leaves some for the others. Returns the claimed lines, or none if no line is due or other
    /// workers have claimed all due lines.
    pub fn claim_push_lines(
        &mut self,
        tenant: &TenantId,
        owner: &str,
        workers: usize,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Vec<PushLine>> {
        let at = now.naive_utc();
        // Skip agreements that a worker holds in any job. If two workers wrote the same addition at once, either
        // quantity could be the result.
        let mut leased = self.leased_agreements(tenant, at)?;
        let jobs: Vec<PushJobId> = push_jobs::table
            .filter(push_jobs::tenant_id.eq(tenant))
            .filter(push_jobs::finished_at.is_null())
            .filter(is_queued_or_running!())
            .order(push_jobs::id)
            .select(push_jobs::id)
            .load(self.conn)?;
        for job in jobs {
            let mut tried = HashSet::new();
            loop {
                let mut due = self.due_agreements(&job, &leased, at)?;
                due.retain(|agreement| !leased.held.contains(agreement) && !tried.contains(agreement));
                let chosen = share_of(&due, workers);
                if chosen.is_empty() {
                    break;
                }
                // Two workers may choose the same agreements. The first to lock one claims it.
                let locked = self.lock_agreements(tenant, &chosen, at)?;
                if !locked.is_empty() {
                    self.end_expired_leases(tenant, &locked, at)?;
                    let claimed = self.claim_lines(&job, &locked, owner, now, lease_until)?;
                    if !claimed.is_empty() {
                        return Ok(claimed);
                    }
                }
                tried.extend(chosen);
                // Another worker has just claimed these agreements, and may have claimed more.
                leased = self.leased_agreements(tenant, at)?;
            }
        }
        Ok(Vec::new())
    }

    /// The agreements of a job's first due lines, except agreements that a worker holds. There is one entry for each
    /// line, in the lines' order.
    fn due_agreements(
        &mut self,
        job: &PushJobId,
        leased: &LeasedAgreements,
        at: NaiveDateTime,
    ) -> Result<Vec<CwAgreementId>> {
        // One query for each kind of due line, so that each walks its part of the index `push_lines_next`, in its order, and
        // stops early. In another order, PostgreSQL may walk the lines of all jobs in that order.
        macro_rules! agreements {
            ($lines:expr) => {
                $lines
                    .filter(not(push_lines::agreement_id.in_list(&leased.held)))
                    .order((push_lines::not_before, push_lines::id))
                    .limit(DUE_LINES_PER_CLAIM)
                    .select(push_lines::agreement_id)
                    .load::<Option<CwAgreementId>>(self.conn)?
            };
        }
        let mut found = if leased.any_expired { agreements!(lease_expired!(job, at)) } else { Vec::new() };
        found.extend(agreements!(pending_without_delay!(job)));
        // Delayed lines come last, because many of them have failed before.
        if i64::try_from(found.len()).is_ok_and(|lines| lines < DUE_LINES_PER_CLAIM) {
            found.extend(agreements!(delay_over!(job, at)));
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn leased_agreements(&mut self, tenant: &TenantId, at: NaiveDateTime) -> Result<LeasedAgreements> {
        let leased: Vec<(Option<CwAgreementId>, Option<NaiveDateTime>)> = push_lines::table
            .filter(push_lines::tenant_id.eq(tenant))
            .filter(push_lines::lease_owner.is_not_null())
            .select((push_lines::agreement_id, push_lines::lease_until))
            .distinct()
            .load(self.conn)?;
        let (held, expired): (Vec<_>, Vec<_>) =
            leased.into_iter().partition(|(_, until)| until.is_some_and(|until| until >= at));
        let held = held.into_iter().filter_map(|(agreement, _)| agreement).collect();
        Ok(LeasedAgreements { held, any_expired: !expired.is_empty() })
    }

    /// Puts the agreements' lines whose lease has expired back into the queue, in all jobs. Their worker may only have been
    /// suspended. When it continues, it must not write at the same time as the worker that claims the agreements now.
    fn end_expired_leases(&mut self, tenant: &TenantId, agreements: &[CwAgreementId], at: NaiveDateTime) -> Result<()> {
        let expired = push_lines::table
            .filter(push_lines::tenant_id.eq(tenant))
            .filter(push_lines::agreement_id.in_list(agreements))
            .filter(push_lines::finished_at.is_null())
            .filter(push_lines::state.eq(PushLineState::Working))
            .filter(push_lines::lease_until.lt(at));
        let state = PushLineState::Working.after(PushLineEvent::Release).map_err(Error::internal)?;
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

    fn claim_lines(
        &mut self,
        job: &PushJobId,
        agreements: &[CwAgreementId],
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Vec<PushLine>> {
        let at = now.naive_utc();
        let of_agreements = || {
            push_lines::table.filter(push_lines::job_id.eq(job)).filter(push_lines::agreement_id.in_list(agreements))
        };
        // Expired leases have already been ended, so every claimable line is pending.
        let is_claimable = push_lines::finished_at
            .is_null()
            .and(push_lines::state.eq(PushLineState::Pending))
            .and(push_lines::not_before.is_null().or(push_lines::not_before.le(at)));
        let state = PushLineState::Pending.after(PushLineEvent::Claim).map_err(Error::internal)?;
        diesel::update(of_agreements().filter(is_claimable))
            .set((
                push_lines::state.eq(state),
                push_lines::lease_owner.eq(owner),
                push_lines::lease_until.eq(lease_until.naive_utc()),
                push_lines::fence.eq(push_lines::fence + 1),
                push_lines::started_at.eq(at),
            ))
            .execute(self.conn)?;
        let mine = of_agreements()
            .filter(push_lines::finished_at.is_null())
            .filter(push_lines::state.eq(PushLineState::Working))
            .filter(push_lines::lease_owner.eq(owner))
            .filter(push_lines::lease_until.eq(lease_until.naive_utc()));
        Ok(mine.order(push_lines::id).select(PushLine::as_select()).load(self.conn)?)
    }

    /// Locks the lines of agreements in all jobs, without waiting. Returns the agreements without any line that another
    /// transaction has locked or that was leased to a worker in the meantime. The other transaction may be another
    /// replica's claim of the same agreement in another job. Its process may have been stopped halfway, so a worker
    /// that waited for it could claim nothing.
    fn lock_agreements(
        &mut self,
        tenant: &TenantId,
        agreements: &[CwAgreementId],
        at: NaiveDateTime,
    ) -> Result<Vec<CwAgreementId>> {
        // On SQLite, this transaction is the only writer.
        let Conn::Postgres(conn) = &mut *self.conn else { return Ok(agreements.to_vec()) };
        let lines = || {
            push_lines::table
                .filter(push_lines::tenant_id.eq(tenant))
                .filter(push_lines::agreement_id.eq_any(agreements.to_vec()))
                .filter(push_lines::finished_at.is_null())
                .filter(push_lines::state.eq_any([PushLineState::Pending, PushLineState::Working]))
        };
        // A row that changed after the statement began is locked and returned in its current state.
        let locked: Vec<(Option<CwAgreementId>, Option<NaiveDateTime>)> = lines()
            .select((push_lines::agreement_id, push_lines::lease_until))
            .for_update()
            .skip_locked()
            .load(conn)?;
        let all: Vec<(Option<CwAgreementId>, i64)> = lines()
            .group_by(push_lines::agreement_id)
            .select((push_lines::agreement_id, diesel::dsl::count_star()))
            .load(conn)?;
        let all: HashMap<CwAgreementId, i64> = all.into_iter().filter_map(|(id, lines)| Some((id?, lines))).collect();
        let is_free = |agreement: &CwAgreementId| {
            let mut lease_ends = locked.iter().filter(|(id, _)| *id == Some(*agreement)).map(|(_, until)| until);
            let is_complete = i64::try_from(lease_ends.clone().count()).ok() == all.get(agreement).copied();
            is_complete && !lease_ends.any(|until| until.is_some_and(|until| until >= at))
        };
        Ok(agreements.iter().copied().filter(is_free).collect())
    }

    /// Ends every lease. Returns the number of push lines freed. Call it only when a process starts and is the only
    /// one, as on SQLite.
    pub fn end_leases(&mut self, now: Timestamp) -> Result<usize> {
        let at = now.naive_utc();
        let refreshing = cw_refreshes::table.filter(cw_refreshes::lease_until.gt(at));
        diesel::update(refreshing).set(cw_refreshes::lease_until.eq(at)).execute(self.conn)?;
        let leased =
            push_lines::table.filter(push_lines::lease_owner.is_not_null()).filter(push_lines::lease_until.ge(at));
        // One second earlier, because a lease is still valid at its last instant.
        let over = at - chrono::TimeDelta::seconds(1);
        Ok(diesel::update(leased).set(push_lines::lease_until.eq(over)).execute(self.conn)?)
    }
}
