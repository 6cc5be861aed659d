//! The push lines that a worker has claimed: begins their writes, renews their leases, and records their results. Each
//! operation applies only to lines that no other worker has claimed since.

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDateTime;
use diesel::IntoSql;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::last_push::LastPushOf;
use crate::db::engine::conn::{MultiBackend, run_fixed};
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{billing_lines, push_jobs, push_lines};
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::db::queries::push_jobs::{LineResult, PushLine};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CwAdditionId, CwAgreementId, PushLineId};
use crate::domain::mapping_status::MappingStatus;
use crate::domain::push::{PushKind, PushLineEvent, PushLineState};
use crate::domain::{Error, Result};

/// The condition of all updates: the worker's claim is the latest, and the line has no result.
const STILL_LEASED: &str = " AND push_lines.state = 'working'";

/// A line whose write begins.
struct PreparedWrite(PushLine);

// `in 0`: the row is the member 0.
row_update! {
    PreparedWrite, in 0; push_lines
    where id, fence
    set from_quantity, attempts, lease_until;
    only if STILL_LEASED
}

/// A line with its new state and result. `finished_at` is set if no worker will work on it, which includes a held line.
struct RecordedLine(PushLine);

impl RecordedLine {
    fn new(line: &PushLine, result: &LineResult, now: Timestamp) -> Result<Self> {
        let state = PushLineState::Working.after(result.event).map_err(Error::internal)?;
        // A person who decides must see the current quantity in ConnectWise, even if there is none.
        let shows_current =
            result.from.is_some() || matches!(result.event, PushLineEvent::Hold | PushLineEvent::WouldPush);
        Ok(Self(PushLine {
            state,
            from_quantity: if shows_current { result.from } else { line.from_quantity },
            approved: line.approved && result.event != PushLineEvent::Hold,
            reason: result.reason,
            detail: result.detail.clone(),
            failures: line.failures + i64::from(result.counts_as_failure),
            not_before: result.not_before.map(|at| at.naive_utc()),
            finished_at: (!state.is_open()).then(|| now.naive_utc()),
            lease_owner: None,
            lease_until: None,
            ..line.clone()
        }))
    }
}

row_update! {
    RecordedLine, in 0; push_lines
    where id, fence
    set state, from_quantity, approved, reason, detail, attempts, failures, not_before, finished_at, lease_owner, lease_until;
    only if STILL_LEASED
}

/// The agreement and the addition that a billing line bills to now.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = billing_lines, check_for_backend(MultiBackend))]
pub struct CurrentTarget {
    pub id: BillingLineId,
    pub push_enabled: bool,
    pub agreement_status: MappingStatus,
    pub agreement_id: Option<CwAgreementId>,
    pub addition_status: MappingStatus,
    pub addition_id: Option<CwAdditionId>,
}

impl Tx<'_> {
    /// The current targets of the given billing lines.
    pub fn billed_to(&mut self, lines: &[BillingLineId]) -> Result<Vec<CurrentTarget>> {
        let mut rows = Vec::with_capacity(lines.len());
        for chunk in chunks(lines) {
            let scoped = self.scoped(billing_lines::table).filter(billing_lines::id.in_list(chunk));
            rows.extend(scoped.select(CurrentTarget::as_select()).load(self.conn)?);
        }
        Ok(rows)
    }

    /// Stores `from_quantity` and `attempts` of lines whose writes may be sent once this is committed, and renews their
    /// leases. Returns the ids of the lines that the worker still holds.
    pub fn begin_writes(&mut self, lines: &[PushLine], lease_until: Timestamp) -> Result<HashSet<PushLineId>> {
        let lease_until = Some(lease_until.naive_utc());
        let begun = lines.iter().map(|line| PreparedWrite(PushLine { lease_until, ..line.clone() }));
        let begun: Vec<PreparedWrite> = begun.collect();
        let found = self.update_rows(&begun)?;
        self.still_leased(lines, found)
    }

    /// Returns the time until which the worker may write a line, which is the end of its lease. Returns `None` if
    /// another worker holds the line, if the job was cancelled, or if the billing line no longer bills to this
    /// addition, or shares it with another line. A revert may write regardless of what the billing line bills to now,
    /// unless the billing line's last push is of a later job. One statement.
    pub fn may_write_until(&mut self, line: &PushLine, is_revert: bool) -> Result<Option<Timestamp>> {
        let leased = self
            .scoped(push_lines::table)
            .filter(push_lines::id.eq(line.id.clone()))
            .filter(push_lines::fence.eq(line.fence))
            .filter(push_lines::state.eq(PushLineState::Working));
        let job = self.scoped(push_jobs::table).filter(push_jobs::id.eq(line.job_id.clone()));
        let not_cancelled = exists(job.filter(push_jobs::cancel_requested.eq(false)).select(push_jobs::id));
        let scoped = self.scoped(billing_lines::table).filter(billing_lines::id.eq(line.billing_line_id.clone()));
        let resolved = self
            .scoped(billing_lines::table)
            .filter(billing_lines::push_enabled.eq(true))
            .filter(billing_lines::addition_status.eq(MappingStatus::Resolved))
            .filter(billing_lines::addition_id.eq(line.addition_id))
            .select(billing_lines::id);
        let bills = resolved
            .clone()
            .filter(billing_lines::id.eq(line.billing_line_id.clone()))
            .filter(billing_lines::agreement_status.eq(MappingStatus::Resolved))
            .filter(billing_lines::agreement_id.eq(line.agreement_id));
        let other = resolved.filter(billing_lines::id.ne(line.billing_line_id.clone()));
        // Job ids increase with time.
        let later = scoped.filter(billing_lines::last_push_job_id.gt(line.job_id.clone())).select(billing_lines::id);
        let may_write = is_revert
            .into_sql::<Bool>()
            .and(not(exists(later)))
            .or((!is_revert).into_sql::<Bool>().and(exists(bills)).and(not(exists(other))));
        let allowed = leased.filter(not_cancelled).filter(may_write).select(push_lines::lease_until);
        let until: Option<Option<NaiveDateTime>> = run_fixed!(self, allowed, first).optional()?;
        Ok(until.flatten().map(|until| until.and_utc()))
    }

    /// Renews the leases of the given lines that their worker still holds. Returns the number renewed.
    pub fn renew_leases(&mut self, lines: &[PushLine], until: Timestamp) -> Result<usize> {
        let mut by_fence: BTreeMap<i64, Vec<PushLineId>> = BTreeMap::new();
        for line in lines {
            by_fence.entry(line.fence).or_default().push(line.id.clone());
        }
        let mut renewed = 0;
        for (fence, ids) in by_fence {
            for chunk in chunks(&ids) {
                let scoped = self
                    .scoped(push_lines::table)
                    .filter(push_lines::id.in_list(chunk))
                    .filter(push_lines::fence.eq(fence))
                    .filter(push_lines::state.eq(PushLineState::Working));
                renewed +=
                    diesel::update(scoped).set(push_lines::lease_until.eq(until.naive_utc())).execute(self.conn)?;
            }
        }
        Ok(renewed)
    }

    /// Records the results of lines that a worker holds, in the push lines and in their billing lines. No other code
    /// changes the state of such a line. Returns the ids of the lines whose results were recorded, without lines that
    /// another worker holds.
    pub fn record_results(
        &mut self,
        results: &[(PushLine, LineResult)],
        kind: PushKind,
        now: Timestamp,
    ) -> Result<HashSet<PushLineId>> {
        let finished: Vec<RecordedLine> =
            results.iter().map(|(line, result)| RecordedLine::new(line, result, now)).collect::<Result<_>>()?;
        let found = self.update_rows(&finished)?;
        let lines: Vec<PushLine> = finished.into_iter().map(|RecordedLine(line)| line).collect();
        let recorded = self.still_leased(&lines, found)?;
        if kind == PushKind::Push {
            let ended = lines.iter().filter(|line| !line.state.is_open() && recorded.contains(&line.id));
            let last = ended.map(|line| LastPushOf {
                id: line.billing_line_id.clone(),
                last_push_job_id: line.job_id.clone(),
                last_push_state: line.state,
                last_push_reason: line.reason,
                last_push_at: now.naive_utc(),
                last_push_quantity: line
                    .to_quantity
                    .filter(|_| matches!(line.state, PushLineState::Pushed | PushLineState::Unchanged)),
            });
            let last: Vec<LastPushOf> = last.collect();
            self.update_rows(&last)?;
        }
        Ok(recorded)
    }

    /// The ids of the lines that no other worker has claimed, and that have the state that an update has just given
    /// them. `updated` is the number of lines that the update found; another worker may hold the others.
    fn still_leased(&mut self, lines: &[PushLine], updated: usize) -> Result<HashSet<PushLineId>> {
        let ids: Vec<PushLineId> = lines.iter().map(|line| line.id.clone()).collect();
        if updated == lines.len() {
            return Ok(ids.into_iter().collect());
        }
        let mut current: HashSet<(PushLineId, i64, PushLineState)> = HashSet::new();
        for chunk in chunks(&ids) {
            let scoped = self.scoped(push_lines::table).filter(push_lines::id.in_list(chunk));
            let rows = scoped.select((push_lines::id, push_lines::fence, push_lines::state));
            current.extend(rows.load::<(PushLineId, i64, PushLineState)>(self.conn)?);
        }
        let ours = lines.iter().filter(|line| current.contains(&(line.id.clone(), line.fence, line.state)));
        Ok(ours.map(|line| line.id.clone()).collect())
    }
}
