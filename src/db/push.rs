//! Push jobs and their lines: what is wanted, what was done, and by whose lease.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::billing_line::LastPush;
use super::conn::MultiBackend;
use super::page::chunks;
use super::pool::Tx;
use super::schema::{push_jobs, push_lines};
use super::scope::insert_own;
use crate::domain::clock::Instant;
use crate::domain::ids::{
    BillingLineId, CompanyId, CwAdditionId, CwAgreementId, LaterIds, ProductId, PushJobId, PushLineId, TenantId,
};
use crate::domain::push::{JobEvent, JobState, LineEvent, LineState, PushReason};
use crate::domain::quantity::{Amount, BlockSize, Quantity};
use crate::domain::usage::BillingMonth;
use crate::domain::words::{PushKind, PushTrigger};
use crate::domain::{Error, Result};

/// One run that writes quantities.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = push_jobs, check_for_backend(MultiBackend))]
pub struct PushJob {
    pub id: PushJobId,
    pub tenant_id: TenantId,
    pub kind: PushKind,
    pub started_by: PushTrigger,
    pub state: JobState,
    /// Why it failed.
    pub detail: Option<String>,
    pub product_id: Option<ProductId>,
    /// The job that this one retries, reverts, or was started from.
    pub parent_job_id: Option<PushJobId>,
    pub billing_month: BillingMonth,
    /// The name of the API key, or `schedule`.
    pub requested_by: String,
    pub cancel_requested: bool,
    pub line_count: i64,
    pub created_at: NaiveDateTime,
    pub started_at: Option<NaiveDateTime>,
    pub finished_at: Option<NaiveDateTime>,
}

/// A billing line's part in a push job.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = push_lines, check_for_backend(MultiBackend))]
pub struct PushLine {
    pub id: PushLineId,
    pub tenant_id: TenantId,
    pub job_id: PushJobId,
    pub billing_line_id: BillingLineId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub product_id: ProductId,
    pub product_code: String,
    pub agreement_id: Option<CwAgreementId>,
    pub agreement_name: Option<String>,
    pub addition_id: Option<CwAdditionId>,
    pub addition_name: Option<String>,
    pub usage_amount: Option<Amount>,
    pub block_size: Option<BlockSize>,
    /// What ConnectWise had before. Stored before the write, so that a lost answer can be told from no write.
    pub from_quantity: Option<Quantity>,
    /// What ConnectWise shall have.
    pub to_quantity: Option<Quantity>,
    pub state: LineState,
    pub reason: Option<PushReason>,
    pub detail: Option<String>,
    /// How often a write was begun.
    pub attempts: i64,
    /// How often it was given back after a failure that may pass.
    pub failures: i64,
    pub lease_owner: Option<String>,
    pub lease_until: Option<NaiveDateTime>,
    /// Grows with every claim: a worker whose claim is not the latest may record nothing.
    pub fence: i64,
    pub not_before: Option<NaiveDateTime>,
    /// What ConnectWise must still have for the line to be written.
    pub expected_from: Option<Quantity>,
    /// A person let the change from `from_quantity` to `to_quantity` through.
    pub approved: bool,
    /// Who approved or dropped it.
    pub decided_by: Option<String>,
    pub started_at: Option<NaiveDateTime>,
    pub finished_at: Option<NaiveDateTime>,
}

/// What became of a line that a worker held.
#[derive(Debug, Clone)]
pub struct LineResult {
    pub event: LineEvent,
    /// What ConnectWise had; `None` keeps what was noted before.
    pub from: Option<Quantity>,
    pub reason: Option<PushReason>,
    pub detail: Option<String>,
    /// For `release`: not to be tried again before.
    pub not_before: Option<Instant>,
    /// For `release`: whether this was a failure of the line's.
    pub counted: bool,
}

/// How many lines of a job are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCount {
    pub job_id: PushJobId,
    pub state: LineState,
    pub lines: i64,
}

impl Tx<'_> {
    /// Stores a job with its lines.
    pub fn insert_push_job(&mut self, job: &PushJob, lines: &[PushLine]) -> Result<()> {
        insert_own!(self, push_jobs, std::slice::from_ref(job))?;
        for chunk in lines.chunks(300) {
            insert_own!(self, push_lines, chunk)?;
        }
        if job.kind == PushKind::Push {
            // A disabled line was not meant to be pushed; what the last push did to it stays.
            let ended = |line: &&PushLine| line.state.is_final() && line.reason != Some(PushReason::Disabled);
            let mut alike: HashMap<(LineState, Option<PushReason>), Vec<BillingLineId>> = HashMap::new();
            for line in lines.iter().filter(ended) {
                alike.entry((line.state, line.reason)).or_default().push(line.billing_line_id.clone());
            }
            for ((state, reason), lines) in alike {
                let last = last_push(&job.id, state, reason, None, job.created_at.and_utc());
                self.set_last_push(&lines, &last)?;
            }
        }
        Ok(())
    }

    /// Ids for a job and its lines, later than those of every job before: what is later is told by them.
    pub fn later_push_ids(&mut self) -> Result<LaterIds> {
        let jobs = self.own(push_jobs::table);
        let job: Option<PushJobId> = jobs.select(diesel::dsl::max(push_jobs::id)).get_result(self.conn)?;
        let lines = self.own(push_lines::table).filter(push_lines::job_id.nullable().eq(job.clone()));
        let line: Option<PushLineId> = lines.select(diesel::dsl::max(push_lines::id)).get_result(self.conn)?;
        let (job, line) = (job.map(|id| id.to_string()), line.map(|id| id.to_string()));
        Ok(LaterIds::after(job.max(line).as_deref()))
    }

    /// The lines that jobs write, or wrote.
    fn written(&self) -> push_lines::BoxedQuery<'static, MultiBackend> {
        let writing = self.own(push_jobs::table).filter(push_jobs::kind.eq(PushKind::Push)).select(push_jobs::id);
        self.own(push_lines::table)
            .filter(push_lines::state.ne_all([LineState::Skipped, LineState::Cancelled]))
            .filter(push_lines::job_id.eq_any(writing))
            .into_boxed()
    }

    /// Whether a later job writes, or wrote, the same billing line.
    pub fn has_later_push(&mut self, line: &PushLine) -> Result<bool> {
        let of_line = self.written().filter(push_lines::billing_line_id.eq(line.billing_line_id.clone()));
        let later = of_line.filter(push_lines::id.gt(line.id.clone()));
        let first: Option<PushLineId> = later.select(push_lines::id).first(self.conn).optional()?;
        Ok(first.is_some())
    }

    /// The billing lines that jobs after this one write, or wrote.
    pub fn lines_pushed_after(&mut self, job: &PushJobId) -> Result<HashSet<BillingLineId>> {
        let later = self.written().filter(push_lines::job_id.gt(job.clone()));
        let lines: Vec<BillingLineId> = later.select(push_lines::billing_line_id).load(self.conn)?;
        Ok(lines.into_iter().collect())
    }

    /// A job.
    pub fn push_job(&mut self, id: &PushJobId) -> Result<PushJob> {
        let own = self.own(push_jobs::table).filter(push_jobs::id.eq(id));
        let row = own.select(PushJob::as_select()).first(self.conn).optional()?;
        row.ok_or_else(|| Error::not_found("push job", id))
    }

    /// All lines of a job, or those in one state.
    pub fn all_push_lines(&mut self, job: &PushJobId, state: Option<LineState>) -> Result<Vec<PushLine>> {
        let mut query = self.own(push_lines::table).filter(push_lines::job_id.eq(job.clone())).into_boxed();
        if let Some(state) = state {
            query = query.filter(push_lines::state.eq(state));
        }
        Ok(query.order(push_lines::id).select(PushLine::as_select()).load(self.conn)?)
    }

    /// How many lines of jobs are in which state.
    pub fn push_line_counts(&mut self, jobs: &[PushJobId]) -> Result<Vec<LineCount>> {
        let rows: Vec<(PushJobId, LineState, i64)> = self
            .own(push_lines::table)
            .filter(push_lines::job_id.eq_any(jobs.to_vec()))
            .group_by((push_lines::job_id, push_lines::state))
            .select((push_lines::job_id, push_lines::state, diesel::dsl::count_star()))
            .load(self.conn)?;
        Ok(rows.into_iter().map(|(job_id, state, lines)| LineCount { job_id, state, lines }).collect())
    }

    /// Whether a push job is not finished yet.
    pub fn has_open_push_job(&mut self) -> Result<bool> {
        let open = self.own(push_jobs::table).filter(push_jobs::finished_at.is_null());
        Ok(diesel::select(diesel::dsl::exists(open)).get_result(self.conn)?)
    }

    /// Takes a job a step further: the one place where a job's state changes.
    pub fn advance_job(&mut self, id: &PushJobId, event: JobEvent, detail: Option<&str>, now: Instant) -> Result<()> {
        let job = self.push_job(id)?;
        let state = job.state.after(event).map_err(|step| Error::conflict("illegal_step", step.to_string()))?;
        let own = self.own(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(own.filter(push_jobs::state.eq(job.state)))
            .set((
                push_jobs::state.eq(state),
                push_jobs::detail.eq(detail.map(str::to_owned).or(job.detail)),
                push_jobs::started_at.eq(job.started_at.or(Some(now.naive_utc()))),
                push_jobs::finished_at.eq(state.is_final().then(|| now.naive_utc())),
            ))
            .execute(self.conn)?;
        Ok(())
    }

    /// Asks the worker to stop a job, and ends every line that no worker holds.
    pub fn cancel_push_job(&mut self, id: &PushJobId, now: Instant) -> Result<()> {
        // Lines first, as those who claim take them: two that take the same locks in other orders could block each other.
        self.end_pending_lines(id, LineEvent::Cancel, None, None, now)?;
        let own = self.own(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(own).set(push_jobs::cancel_requested.eq(true)).execute(self.conn)?;
        Ok(())
    }

    /// Ends every line of a job that no worker holds.
    pub fn end_pending_lines(
        &mut self,
        job: &PushJobId,
        event: LineEvent,
        reason: Option<PushReason>,
        detail: Option<&str>,
        now: Instant,
    ) -> Result<()> {
        let state = LineState::Pending.after(event).map_err(Error::internal)?;
        let pending = self
            .own(push_lines::table)
            .filter(push_lines::job_id.eq(job))
            .filter(push_lines::state.eq(LineState::Pending));
        if self.push_job(job)?.kind == PushKind::Push {
            let lines: Vec<BillingLineId> = pending.clone().select(push_lines::billing_line_id).load(self.conn)?;
            self.set_last_push(&lines, &last_push(job, state, reason, None, now))?;
        }
        diesel::update(pending)
            .set((
                push_lines::state.eq(state),
                push_lines::reason.eq(reason),
                push_lines::detail.eq(detail.map(str::to_owned)),
                push_lines::finished_at.eq(now.naive_utc()),
            ))
            .execute(self.conn)?;
        Ok(())
    }

    /// Notes, before the write, what ConnectWise had; renews the lease. Errors with `lost_lease` where another worker
    /// has taken over.
    pub fn begin_write(&mut self, line: &PushLine, from: Option<Quantity>, lease_until: Instant) -> Result<()> {
        let held = self
            .own(push_lines::table)
            .filter(push_lines::id.eq(line.id.clone()))
            .filter(push_lines::fence.eq(line.fence))
            .filter(push_lines::state.eq(LineState::Working));
        let changed = diesel::update(held)
            .set((
                push_lines::from_quantity.eq(from),
                push_lines::attempts.eq(push_lines::attempts + 1),
                push_lines::lease_until.eq(lease_until.naive_utc()),
            ))
            .execute(self.conn)?;
        if changed == 1 { Ok(()) } else { Err(Error::conflict("lost_lease", "another worker holds this line")) }
    }

    /// Renews the lease of those of some lines that their worker still holds; gives how many there are.
    pub fn renew_leases(&mut self, lines: &[PushLine], until: Instant) -> Result<usize> {
        let mut renewed = 0;
        for line in lines {
            let held = self
                .own(push_lines::table)
                .filter(push_lines::id.eq(line.id.clone()))
                .filter(push_lines::fence.eq(line.fence))
                .filter(push_lines::state.eq(LineState::Working));
            renewed += diesel::update(held).set(push_lines::lease_until.eq(until.naive_utc())).execute(self.conn)?;
        }
        Ok(renewed)
    }

    /// Records what became of a line held by lease: the one place where a held line's state changes. Gives `false`,
    /// and records nothing, where another worker has taken over.
    pub fn finish_line(&mut self, line: &PushLine, result: &LineResult, kind: PushKind, now: Instant) -> Result<bool> {
        let state = LineState::Working.after(result.event).map_err(Error::internal)?;
        let finished_at = state.is_final().then(|| now.naive_utc());
        // What is shown to a person is what ConnectWise has now, even where that is nothing.
        let sees = result.from.is_some() || matches!(result.event, LineEvent::Hold | LineEvent::WouldPush);
        let held = self
            .own(push_lines::table)
            .filter(push_lines::id.eq(line.id.clone()))
            .filter(push_lines::fence.eq(line.fence))
            .filter(push_lines::state.eq(LineState::Working));
        let changed = diesel::update(held)
            .set((
                push_lines::state.eq(state),
                sees.then(|| push_lines::from_quantity.eq(result.from)),
                (result.event == LineEvent::Hold).then(|| push_lines::approved.eq(false)),
                push_lines::reason.eq(result.reason),
                push_lines::detail.eq(result.detail.clone()),
                push_lines::lease_owner.eq(None::<String>),
                push_lines::lease_until.eq(None::<NaiveDateTime>),
                push_lines::failures.eq(push_lines::failures + i64::from(result.counted)),
                push_lines::not_before.eq(result.not_before.map(|at| at.naive_utc())),
                push_lines::finished_at.eq(finished_at),
            ))
            .execute(self.conn)?;
        if changed == 1 && state.is_final() && kind == PushKind::Push {
            let quantity = line.to_quantity.filter(|_| matches!(state, LineState::Pushed | LineState::Unchanged));
            let last = last_push(&line.job_id, state, result.reason, quantity, now);
            self.set_last_push(std::slice::from_ref(&line.billing_line_id), &last)?;
        }
        Ok(changed == 1)
    }

    /// Takes held lines a step further, by a person's decision.
    pub fn decide_held_lines(
        &mut self,
        job: &PushJobId,
        lines: &[PushLineId],
        event: LineEvent,
        by: &str,
        now: Instant,
    ) -> Result<()> {
        let state = LineState::Held.after(event).map_err(Error::internal)?;
        let dropped = state.is_final();
        for chunk in chunks(lines) {
            let held = self
                .own(push_lines::table)
                .filter(push_lines::job_id.eq(job.clone()))
                .filter(push_lines::state.eq(LineState::Held))
                .filter(push_lines::id.eq_any(chunk));
            if dropped {
                let of: Vec<BillingLineId> = held.clone().select(push_lines::billing_line_id).load(self.conn)?;
                self.set_last_push(&of, &last_push(job, state, Some(PushReason::Dropped), None, now))?;
            }
            diesel::update(held)
                .set((
                    push_lines::state.eq(state),
                    push_lines::reason.eq(dropped.then_some(PushReason::Dropped)),
                    push_lines::approved.eq(!dropped),
                    push_lines::decided_by.eq(by.to_owned()),
                    push_lines::not_before.eq(None::<NaiveDateTime>),
                    push_lines::finished_at.eq(dropped.then(|| now.naive_utc())),
                ))
                .execute(self.conn)?;
        }
        Ok(())
    }

    /// Whether any line of a job has no outcome yet.
    pub fn has_open_lines(&mut self, job: &PushJobId) -> Result<bool> {
        let open = self
            .own(push_lines::table)
            .filter(push_lines::job_id.eq(job.clone()))
            .filter(push_lines::finished_at.is_null());
        Ok(diesel::select(diesel::dsl::exists(open)).get_result(self.conn)?)
    }
}

fn last_push(
    job: &PushJobId,
    state: LineState,
    reason: Option<PushReason>,
    quantity: Option<Quantity>,
    now: Instant,
) -> LastPush {
    LastPush {
        last_push_job_id: Some(job.clone()),
        last_push_state: Some(state),
        last_push_reason: reason,
        last_push_at: Some(now.naive_utc()),
        last_push_quantity: quantity,
    }
}
