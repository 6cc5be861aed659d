//! State changes of push jobs and push lines. Each goes through the domain's table of valid transitions.

use chrono::NaiveDateTime;
use diesel::IntoSql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::last_push::LastPush;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{push_jobs, push_lines};
use crate::db::engine::tx::Tx;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, PushJobId, PushLineId};
use crate::domain::push::PushKind;
use crate::domain::push::{JobEvent, JobState, PushLineEvent, PushLineState, PushReason};
use crate::domain::push_counts::FinalCounts;
use crate::domain::{ConflictCode, Error, Result};

/// How to end lines for which no write was sent.
#[derive(Debug, Clone, Copy)]
pub struct PushLineEnd<'t> {
    pub event: PushLineEvent,
    pub reason: Option<PushReason>,
    pub detail: Option<&'t str>,
    /// Excludes lines that a person approved or dropped after this time.
    pub decided_until: Option<Timestamp>,
}

impl PushLineEnd<'static> {
    /// Ends lines because their job was cancelled.
    pub const CANCELLED: Self = Self { event: PushLineEvent::Cancel, reason: None, detail: None, decided_until: None };
}

impl Tx<'_> {
    /// Changes the state of a job, and returns the new one. Only this and `start_job` change it. Errors with
    /// `invalid_transition` if `event` is not valid now.
    pub fn advance_job(
        &mut self,
        id: &PushJobId,
        event: JobEvent,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<JobState> {
        let job = self.push_job(id)?;
        let state = job
            .state
            .after(event)
            .map_err(|step| Error::conflict(ConflictCode::InvalidTransition, step.to_string()))?;
        let final_counts = if state.is_final() {
            let counts = self.count_push_lines(std::slice::from_ref(id))?;
            FinalCounts::new(counts.into_iter().map(|(_, count)| count).collect())
        } else {
            None
        };
        let scoped = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(scoped.filter(push_jobs::state.eq(job.state)))
            .set((
                push_jobs::state.eq(state),
                push_jobs::detail.eq(detail.map(str::to_owned)),
                push_jobs::started_at.eq(job.started_at.or(Some(now.naive_utc()))),
                push_jobs::finished_at.eq(state.is_final().then(|| now.naive_utc())),
                push_jobs::final_counts.eq(final_counts),
            ))
            .execute(self.conn)?;
        Ok(state)
    }

    /// Starts a job, unless another worker has started it.
    pub fn start_job(&mut self, id: &PushJobId, now: Timestamp) -> Result<()> {
        let state = JobState::Queued.after(JobEvent::Start).map_err(Error::internal)?;
        let scoped = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(scoped.filter(push_jobs::state.eq(JobState::Queued)))
            .set((push_jobs::state.eq(state), push_jobs::started_at.eq(now.naive_utc())))
            .execute(self.conn)?;
        Ok(())
    }

    /// Sets the reason why an unfinished job waits. `None` means that it continues.
    pub fn set_job_detail(&mut self, id: &PushJobId, detail: Option<&str>) -> Result<()> {
        let scoped =
            self.scoped(push_jobs::table).filter(push_jobs::id.eq(id)).filter(push_jobs::finished_at.is_null());
        diesel::update(scoped).set(push_jobs::detail.eq(detail.map(str::to_owned))).execute(self.conn)?;
        Ok(())
    }

    /// Requests cancellation of a job, and ends its lines that no worker holds and for which no write was sent. If a
    /// write was sent, the line is left to a worker, which reads the quantity from ConnectWise first.
    pub fn cancel_push_job(&mut self, id: &PushJobId, now: Timestamp) -> Result<()> {
        // Lines before the job, in the same order as a claim: taking the same locks in another order could deadlock.
        self.end_unwritten_lines(id, PushLineState::Pending, &PushLineEnd::CANCELLED, now)?;
        self.end_unwritten_lines(id, PushLineState::Held, &PushLineEnd::CANCELLED, now)?;
        let scoped = self.scoped(push_lines::table).filter(push_lines::job_id.eq(id));
        diesel::update(scoped.filter(push_lines::state.eq(PushLineState::Pending)))
            .set(push_lines::not_before.eq(None::<NaiveDateTime>))
            .execute(self.conn)?;
        let scoped = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(scoped).set(push_jobs::cancel_requested.eq(true)).execute(self.conn)?;
        Ok(())
    }

    /// Ends the lines of a job that are in a state (`pending` or `held`) and for which no write was sent, except those
    /// that [`PushLineEnd::decided_until`] excludes.
    pub fn end_unwritten_lines(
        &mut self,
        job: &PushJobId,
        of: PushLineState,
        end: &PushLineEnd<'_>,
        now: Timestamp,
    ) -> Result<()> {
        let PushLineEnd { event, reason, detail, decided_until } = *end;
        let state = of.after(event).map_err(Error::internal)?;
        let until = decided_until.map(|at| at.naive_utc());
        let any_decision = until.is_none().into_sql::<Bool>();
        let untried = self
            .scoped(push_lines::table)
            .filter(push_lines::job_id.eq(job))
            .filter(push_lines::state.eq(of))
            .filter(push_lines::decided_at.is_null().or(push_lines::decided_at.le(until)).or(any_decision))
            .filter(push_lines::attempts.eq(0).or(push_lines::state.eq(PushLineState::Held)));
        if self.push_job(job)?.kind == PushKind::Push {
            let lines: Vec<BillingLineId> = untried.clone().select(push_lines::billing_line_id).load(self.conn)?;
            self.set_last_push(&lines, &LastPush::new(job, state, reason, None, now))?;
        }
        diesel::update(untried)
            .set((
                push_lines::state.eq(state),
                push_lines::reason.eq(reason),
                push_lines::detail.eq(detail.map(str::to_owned)),
                push_lines::not_before.eq(None::<NaiveDateTime>),
                push_lines::finished_at.eq(now.naive_utc()),
            ))
            .execute(self.conn)?;
        Ok(())
    }

    /// Delays the pending lines of a job until a time, and stores why.
    pub fn postpone_pending_lines(&mut self, job: &PushJobId, until: Timestamp, why: &str) -> Result<()> {
        let scoped = self.scoped(push_lines::table).filter(push_lines::job_id.eq(job));
        diesel::update(scoped.filter(push_lines::state.eq(PushLineState::Pending)))
            .set((push_lines::not_before.eq(until.naive_utc()), push_lines::detail.eq(why.to_owned())))
            .execute(self.conn)?;
        Ok(())
    }

    /// Ends the delay of every pending line of the tenant.
    pub fn make_pending_lines_due(&mut self) -> Result<()> {
        let scoped = self.scoped(push_lines::table).filter(push_lines::finished_at.is_null());
        diesel::update(scoped.filter(push_lines::state.eq(PushLineState::Pending)))
            .set(push_lines::not_before.eq(None::<NaiveDateTime>))
            .execute(self.conn)?;
        Ok(())
    }

    /// Records a person's decision about held lines: approved or dropped.
    pub fn decide_held_lines(
        &mut self,
        job: &PushJobId,
        lines: &[PushLineId],
        event: PushLineEvent,
        by: &str,
        now: Timestamp,
    ) -> Result<()> {
        let state = PushLineState::Held.after(event).map_err(Error::internal)?;
        let dropped = state.is_final();
        for chunk in chunks(lines) {
            let held = self
                .scoped(push_lines::table)
                .filter(push_lines::job_id.eq(job.clone()))
                .filter(push_lines::state.eq(PushLineState::Held))
                .filter(push_lines::id.in_list(chunk));
            if dropped {
                let of: Vec<BillingLineId> = held.clone().select(push_lines::billing_line_id).load(self.conn)?;
                self.set_last_push(&of, &LastPush::new(job, state, Some(PushReason::Dropped), None, now))?;
            }
            diesel::update(held)
                .set((
                    push_lines::state.eq(state),
                    push_lines::approved_for.eq(push_lines::reason),
                    push_lines::reason.eq(dropped.then_some(PushReason::Dropped)),
                    push_lines::approved.eq(!dropped),
                    push_lines::decided_by.eq(by.to_owned()),
                    push_lines::decided_at.eq(now.naive_utc()),
                    push_lines::not_before.eq(None::<NaiveDateTime>),
                    push_lines::finished_at.eq(dropped.then(|| now.naive_utc())),
                ))
                .execute(self.conn)?;
        }
        Ok(())
    }
}
