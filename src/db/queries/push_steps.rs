//! State changes of push jobs and push lines. Each goes through the domain's table of valid transitions.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use diesel::IntoSql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::push_job::{LineResult, PushLine, last_push};
use crate::db::engine::page::chunks;
use crate::db::engine::schema::{push_jobs, push_lines};
use crate::db::engine::tx::Tx;
use crate::domain::clock::Instant;
use crate::domain::ids::{BillingLineId, PushJobId, PushLineId};
use crate::domain::push::PushKind;
use crate::domain::push::{JobEvent, JobState, LineEvent, LineState, PushReason};
use crate::domain::quantity::Quantity;
use crate::domain::{ConflictCode, Error, Result};

/// How to end lines for which no write was sent.
#[derive(Debug, Clone, Copy)]
pub struct LineEnd<'t> {
    pub event: LineEvent,
    pub reason: Option<PushReason>,
    pub detail: Option<&'t str>,
    /// Excludes lines that a person approved or dropped after this time.
    pub decided_until: Option<Instant>,
}

impl LineEnd<'static> {
    /// Ends lines because their job was cancelled.
    pub const CANCELLED: Self = Self { event: LineEvent::Cancel, reason: None, detail: None, decided_until: None };
}

/// The line, if its worker still holds it: the fence is the same and there is no result.
macro_rules! held_by_worker {
    ($tx:expr, $line:expr) => {
        $tx.scoped(push_lines::table)
            .filter(push_lines::id.eq($line.id.clone()))
            .filter(push_lines::fence.eq($line.fence))
            .filter(push_lines::state.eq(LineState::Working))
    };
}

impl Tx<'_> {
    /// Changes the state of a job. Only this and `start_job` do so. Errors with `invalid_transition` if `event` is not valid now.
    pub fn advance_job(&mut self, id: &PushJobId, event: JobEvent, detail: Option<&str>, now: Instant) -> Result<()> {
        let job = self.push_job(id)?;
        let state = job
            .state
            .after(event)
            .map_err(|step| Error::conflict(ConflictCode::InvalidTransition, step.to_string()))?;
        let own = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(own.filter(push_jobs::state.eq(job.state)))
            .set((
                push_jobs::state.eq(state),
                push_jobs::detail.eq(detail.map(str::to_owned)),
                push_jobs::started_at.eq(job.started_at.or(Some(now.naive_utc()))),
                push_jobs::finished_at.eq(state.is_final().then(|| now.naive_utc())),
            ))
            .execute(self.conn)?;
        Ok(())
    }

    /// Starts a job, unless another worker has started it.
    pub fn start_job(&mut self, id: &PushJobId, now: Instant) -> Result<()> {
        let state = JobState::Queued.after(JobEvent::Start).map_err(Error::internal)?;
        let own = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(own.filter(push_jobs::state.eq(JobState::Queued)))
            .set((push_jobs::state.eq(state), push_jobs::started_at.eq(now.naive_utc())))
            .execute(self.conn)?;
        Ok(())
    }

    /// Sets the reason why an unfinished job waits. `None` means that it continues.
    pub fn set_job_detail(&mut self, id: &PushJobId, detail: Option<&str>) -> Result<()> {
        let own = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id)).filter(push_jobs::finished_at.is_null());
        diesel::update(own).set(push_jobs::detail.eq(detail.map(str::to_owned))).execute(self.conn)?;
        Ok(())
    }

    /// Requests cancellation of a job, and ends its lines that no worker holds and for which no write was sent. If a
    /// write was sent, the line is left to a worker, which reads the quantity from ConnectWise first.
    pub fn cancel_push_job(&mut self, id: &PushJobId, now: Instant) -> Result<()> {
        // Lines before the job, in the same order as a claim: taking the same locks in another order could deadlock.
        self.end_untried_lines(id, LineState::Pending, &LineEnd::CANCELLED, now)?;
        self.end_untried_lines(id, LineState::Held, &LineEnd::CANCELLED, now)?;
        let own = self.scoped(push_lines::table).filter(push_lines::job_id.eq(id));
        diesel::update(own.filter(push_lines::state.eq(LineState::Pending)))
            .set(push_lines::not_before.eq(None::<NaiveDateTime>))
            .execute(self.conn)?;
        let own = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        diesel::update(own).set(push_jobs::cancel_requested.eq(true)).execute(self.conn)?;
        Ok(())
    }

    /// Ends the lines of a job that are in a state (`pending` or `held`) and for which no write was sent, except those
    /// that [`LineEnd::decided_until`] excludes.
    pub fn end_untried_lines(&mut self, job: &PushJobId, of: LineState, end: &LineEnd<'_>, now: Instant) -> Result<()> {
        let LineEnd { event, reason, detail, decided_until } = *end;
        let state = of.after(event).map_err(Error::internal)?;
        let until = decided_until.map(|at| at.naive_utc());
        let any_decision = until.is_none().into_sql::<Bool>();
        let untried = self
            .scoped(push_lines::table)
            .filter(push_lines::job_id.eq(job))
            .filter(push_lines::state.eq(of))
            .filter(push_lines::decided_at.is_null().or(push_lines::decided_at.le(until)).or(any_decision))
            .filter(push_lines::attempts.eq(0).or(push_lines::state.eq(LineState::Held)));
        if self.push_job(job)?.kind == PushKind::Push {
            let lines: Vec<BillingLineId> = untried.clone().select(push_lines::billing_line_id).load(self.conn)?;
            self.set_last_push(&lines, &last_push(job, state, reason, None, now))?;
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

    /// Records that ConnectWise did not carry out a write that was started.
    pub fn note_not_written(&mut self, line: &PushLine) -> Result<()> {
        diesel::update(held_by_worker!(self, line))
            .set(push_lines::attempts.eq(push_lines::attempts - 1))
            .execute(self.conn)?;
        Ok(())
    }

    /// Delays the pending lines of a job until a time, and stores why.
    pub fn postpone_pending_lines(&mut self, job: &PushJobId, until: Instant, why: &str) -> Result<()> {
        let own = self.scoped(push_lines::table).filter(push_lines::job_id.eq(job));
        diesel::update(own.filter(push_lines::state.eq(LineState::Pending)))
            .set((push_lines::not_before.eq(until.naive_utc()), push_lines::detail.eq(why.to_owned())))
            .execute(self.conn)?;
        Ok(())
    }

    /// Ends the delay of every pending line of the tenant.
    pub fn wake_pending_lines(&mut self) -> Result<()> {
        let own = self.scoped(push_lines::table).filter(push_lines::finished_at.is_null());
        diesel::update(own.filter(push_lines::state.eq(LineState::Pending)))
            .set(push_lines::not_before.eq(None::<NaiveDateTime>))
            .execute(self.conn)?;
        Ok(())
    }

    /// Those of the given lines that their worker still holds, in their current state.
    pub fn lines_held_by_worker(&mut self, lines: &[PushLine]) -> Result<Vec<PushLine>> {
        let fences: HashMap<&PushLineId, i64> = lines.iter().map(|line| (&line.id, line.fence)).collect();
        let ids: Vec<PushLineId> = lines.iter().map(|line| line.id.clone()).collect();
        let mut held = Vec::with_capacity(lines.len());
        for chunk in chunks(&ids) {
            let own = self.scoped(push_lines::table).filter(push_lines::id.eq_any(chunk));
            let working = own.filter(push_lines::state.eq(LineState::Working)).order(push_lines::id);
            held.extend(working.select(PushLine::as_select()).load(self.conn)?);
        }
        held.retain(|line: &PushLine| fences.get(&line.id) == Some(&line.fence));
        Ok(held)
    }

    /// Stores the quantity in ConnectWise before the write, and renews the lease. Errors with `lost_lease` if another
    /// worker has taken over the line.
    pub fn begin_write(&mut self, line: &PushLine, from: Option<Quantity>, lease_until: Instant) -> Result<()> {
        let changed = diesel::update(held_by_worker!(self, line))
            .set((
                push_lines::from_quantity.eq(from),
                push_lines::attempts.eq(push_lines::attempts + 1),
                push_lines::lease_until.eq(lease_until.naive_utc()),
            ))
            .execute(self.conn)?;
        if changed == 1 {
            Ok(())
        } else {
            Err(Error::conflict(ConflictCode::LostLease, "another worker holds this line"))
        }
    }

    /// Renews the leases of those of the given lines that their worker still holds. Returns the number renewed.
    pub fn renew_leases(&mut self, lines: &[PushLine], until: Instant) -> Result<usize> {
        let mut renewed = 0;
        for line in lines {
            renewed += diesel::update(held_by_worker!(self, line))
                .set(push_lines::lease_until.eq(until.naive_utc()))
                .execute(self.conn)?;
        }
        Ok(renewed)
    }

    /// Records the result of a line that a worker holds. No other code changes the state of such a line. Returns
    /// `false` and records nothing if another worker has taken over.
    pub fn finish_line(&mut self, line: &PushLine, result: &LineResult, kind: PushKind, now: Instant) -> Result<bool> {
        let state = LineState::Working.after(result.event).map_err(Error::internal)?;
        let finished_at = (!state.is_open()).then(|| now.naive_utc());
        // A person who decides must see the current quantity in ConnectWise, even if there is none.
        let sees = result.from.is_some() || matches!(result.event, LineEvent::Hold | LineEvent::WouldPush);
        let changed = diesel::update(held_by_worker!(self, line))
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
        if changed == 1 && !state.is_open() && kind == PushKind::Push {
            let quantity = line.to_quantity.filter(|_| matches!(state, LineState::Pushed | LineState::Unchanged));
            let last = last_push(&line.job_id, state, result.reason, quantity, now);
            self.set_last_push(std::slice::from_ref(&line.billing_line_id), &last)?;
        }
        Ok(changed == 1)
    }

    /// Records a person's decision about held lines: approved or dropped.
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
                .scoped(push_lines::table)
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
                    push_lines::decided_at.eq(now.naive_utc()),
                    push_lines::not_before.eq(None::<NaiveDateTime>),
                    push_lines::finished_at.eq(dropped.then(|| now.naive_utc())),
                ))
                .execute(self.conn)?;
        }
        Ok(())
    }
}
