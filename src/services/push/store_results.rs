//! Ends claimed lines, and stores their results.

use chrono::TimeDelta;

use super::alerts;
use super::claimed::ClaimedLines;
use super::jobs::{advance, finish_if_done};
use crate::db::{AdditionQuantity, Connection, LineResult, PushJob, PushLine, PushLineEnd, Tx};
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAgreementId, PushJobId};
use crate::domain::push::{JobEvent, PushLineEvent, PushLineState, PushReason};
use crate::services::push::line_result::{
    CONNECTION_RETRY_SECONDS, ReadBack, StopReason, after_read_back, result, untouched,
};

/// Whether more results of a claim will follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StorePhase {
    /// The results so far; more will follow.
    SoFar,
    /// The last results: the job may have ended.
    Last,
}

/// The results to store, with the job and connection with which they were obtained.
struct Results {
    job: PushJob,
    connection: Option<Connection>,
    /// Whether the connection was known to fail.
    was_failing: bool,
    lines: Vec<(PushLine, LineResult)>,
    stop: Option<StopReason>,
    store: StorePhase,
    now: Timestamp,
    max_late: TimeDelta,
}

impl ClaimedLines<'_> {
    /// Stores the results so far, in one transaction. If this fails, their lines are left without a result.
    pub(super) async fn store_results(&mut self, stop: Option<&StopReason>, store: StorePhase) -> Result<()> {
        let lines = self.take_results();
        if lines.is_empty() && store == StorePhase::SoFar {
            return Ok(());
        }
        let without_result: Vec<PushLine> = lines.iter().map(|(line, _)| line.clone()).collect();
        let results = Results {
            job: self.job.clone(),
            connection: self.connection.clone(),
            was_failing: self.was_failing,
            lines,
            stop: stop.cloned(),
            store,
            now: self.ctx.clock.now(),
            max_late: self.ctx.settings.schedule_max_late,
        };
        let stored = self.ctx.db.write(&self.tenant, move |tx| results.store(tx)).await;
        match stored {
            Ok(events) => {
                for event in events {
                    metrics::counter!("push_lines_total", "outcome" => event.as_str()).increment(1);
                }
                Ok(())
            }
            Err(error) => {
                self.left.extend(without_result.into_iter().map(|line| (line.id.clone(), line)));
                Err(error)
            }
        }
    }

    /// Stops the work on all lines, for a reason that concerns one agreement or all lines. Returns the reason to store
    /// with the results.
    pub(super) async fn stop(&mut self, agreement: Option<CwAgreementId>, stop: StopReason) -> Result<StopReason> {
        self.log_stop(&stop);
        let stop = if matches!(stop, StopReason::Connection(_)) { self.unless_reconnected(stop).await? } else { stop };
        let concerned = |line: &PushLine| stop.concerns_all() || agreement.is_none() || line.agreement_id == agreement;
        let (ended, others): (Vec<PushLine>, Vec<PushLine>) =
            std::mem::take(&mut self.left).into_values().partition(concerned);
        self.settle_lines(ended, &stop).await;
        for line in others {
            self.add_result(line, untouched());
        }
        Ok(stop)
    }

    /// Replaces the reason if the connection was changed in the meantime.
    async fn unless_reconnected(&self, stop: StopReason) -> Result<StopReason> {
        let present = self.ctx.db.query(&self.tenant, |tx| tx.connection()).await?;
        Ok(if present == self.connection { stop } else { StopReason::Busy("the connection was changed".to_owned()) })
    }

    /// Decides what becomes of lines on which the work stops: a final result, or back to the queue. A line whose write was sent and whose response was lost gets a final result only
    /// after its addition was read back.
    pub(super) async fn settle_lines(&mut self, lines: Vec<PushLine>, stop: &StopReason) {
        let now = self.ctx.clock.now();
        let (stored_at, max_late) = (self.job.created_at.and_utc(), self.ctx.settings.schedule_max_late);
        let must_read_back = |line: &PushLine, result: &LineResult| {
            line.attempts > 0 && PushLineState::Working.after(result.event).is_ok_and(PushLineState::is_final)
        };
        let planned = lines.into_iter().map(|line| {
            let result = stop.result(&line, now, stored_at, max_late);
            (line, result)
        });
        let (unknown, known): (Vec<_>, Vec<_>) = planned.partition(|(line, result)| must_read_back(line, result));
        for (line, result) in known {
            self.add_result(line, result);
        }
        for (line, result) in self.verify_lost_writes(unknown, now).await {
            self.add_result(line, result);
        }
    }

    /// Returns the results of lines whose writes were sent and whose responses were lost, by reading back their
    /// additions.
    async fn verify_lost_writes(
        &self,
        mut planned: Vec<(PushLine, LineResult)>,
        now: Timestamp,
    ) -> Vec<(PushLine, LineResult)> {
        let (stored_at, max_late) = (self.job.created_at.and_utc(), self.ctx.settings.schedule_max_late);
        planned.sort_by_key(|(line, _)| line.agreement_id);
        let mut results = Vec::with_capacity(planned.len());
        for of_agreement in planned.chunk_by(|(one, _), (other, _)| one.agreement_id == other.agreement_id) {
            for ((line, planned), read) in of_agreement.iter().zip(self.read_back(of_agreement).await) {
                let read = match read {
                    // Repeated waits must not keep a line open forever.
                    ReadBack::NotYet(_) if now - line.waiting_since(stored_at) >= max_late => ReadBack::Unreadable,
                    other => other,
                };
                results.push((line.clone(), after_read_back(line, planned.clone(), read, now)));
            }
        }
        results
    }

    pub(super) fn log_stop(&self, stop: &StopReason) {
        let (tenant, job, lines) = (&self.tenant, &self.job.id, self.left.len());
        if matches!(stop, StopReason::Busy(_) | StopReason::Cancelled | StopReason::Shutdown) {
            // A cancellation, or a refresh by another process: the operator need not act.
            tracing::debug!(%tenant, push_job = %job, lines, why = stop.text(), "push lines are waiting");
        } else {
            tracing::warn!(%tenant, push_job = %job, lines, cause = stop.text(), "push lines stopped");
        }
    }
}

impl Results {
    /// Returns the events of the lines, for the metrics.
    fn store(mut self, tx: &mut Tx<'_>) -> Result<Vec<PushLineEvent>> {
        let id = self.job.id.clone();
        let cancelled = tx.push_job(&id)?.cancel_requested;
        for (_, found) in self.lines.iter_mut().filter(|(_, result)| cancelled && result.event == PushLineEvent::Hold) {
            // A cancelled job does not wait for approval.
            *found = result(PushLineEvent::Cancel, None);
        }
        let recorded = tx.record_results(&self.lines, self.job.kind, self.now)?;
        self.lines.retain(|(line, _)| recorded.contains(&line.id));
        let quantities: Vec<AdditionQuantity> = self.lines.iter().filter_map(quantity_in_connectwise).collect();
        tx.set_addition_quantities(&quantities)?;
        let events: Vec<PushLineEvent> = self.lines.iter().map(|(_, result)| result.event).collect();
        if self.job.detail.is_some() && events.iter().any(|event| *event != PushLineEvent::Release) {
            // ConnectWise responds again: the job no longer waits.
            tx.set_job_detail(&id, None)?;
        }
        alerts::record_results(tx, &self.job, &self.lines, self.now)?;
        if self.was_failing && alerts::proves_connection_works(&self.lines) {
            tx.clear_connection_failure()?;
        }
        self.note_stop(tx)?;
        if cancelled && !matches!(self.stop, Some(StopReason::Cancelled)) && events.contains(&PushLineEvent::Release) {
            // The cancellation was requested while the lines were being processed.
            tx.cancel_push_job(&id, self.now)?;
        } else if events.contains(&PushLineEvent::Release) && tx.connection()? != self.connection {
            // The connection was saved in the meantime, which woke only the lines that were pending then.
            tx.make_pending_lines_due()?;
        }
        if self.store == StorePhase::Last {
            finish_if_done(tx, &id, self.now)?;
        }
        Ok(events)
    }

    /// Applies the reason for stopping to the job and its pending lines.
    fn note_stop(&self, tx: &mut Tx<'_>) -> Result<()> {
        let is_late = self.now - self.job.created_at.and_utc() >= self.max_late;
        let id = &self.job.id;
        match &self.stop {
            Some(StopReason::Connection(why)) => {
                alerts::record_failing(tx, &self.job, why, self.now)?;
                if is_late {
                    self.give_up(tx, PushReason::Connection, why)?;
                }
                let until = self.now + TimeDelta::seconds(CONNECTION_RETRY_SECONDS);
                tx.postpone_pending_lines(id, until, why)?;
                tx.set_job_detail(id, Some(&format!("waiting for ConnectWise: {why}")))
            }
            Some(StopReason::Wait(_, why)) => {
                if is_late {
                    self.give_up(tx, PushReason::Unavailable, why)?;
                }
                tx.set_job_detail(id, Some(why))
            }
            Some(StopReason::Retry(why)) => tx.set_job_detail(id, Some(why)),
            None => match self.lines.iter().rev().find(|(_, result)| result.counts_as_failure) {
                Some((_, result)) => tx.set_job_detail(id, result.detail.as_deref()),
                None => Ok(()),
            },
            Some(
                StopReason::Cancelled
                | StopReason::Shutdown
                | StopReason::Busy(_)
                | StopReason::Stale(_)
                | StopReason::Failed(..),
            ) => Ok(()),
        }
    }

    /// Fails the lines of a job that waited too long for the connection, or because ConnectWise asked to wait. Also
    /// fails the job if no open line is left and every line was failed, skipped or cancelled.
    fn give_up(&self, tx: &mut Tx<'_>, reason: PushReason, why: &str) -> Result<()> {
        let id: &PushJobId = &self.job.id;
        let end = PushLineEnd {
            event: PushLineEvent::Fail,
            reason: Some(reason),
            detail: Some(why),
            decided_until: Some(self.now - self.max_late),
        };
        tx.end_unwritten_lines(id, PushLineState::Pending, &end, self.now)?;
        alerts::record_given_up(tx, &self.job, &self.lines, self.now)?;
        let progress = super::progress(tx, id, self.now)?;
        use PushLineState::{Held, Pushed, Unchanged, Unverified, WouldPush};
        let tried = [Pushed, Unchanged, WouldPush, Held, Unverified];
        let nothing_done = !progress.counts.keys().any(|state| tried.contains(state));
        if nothing_done && !tx.has_open_lines(id)? && !progress.job.state.is_final() {
            advance(tx, id, JobEvent::Fail, Some(why), self.now)?;
        }
        Ok(())
    }
}

/// The quantity of the line's addition that the worker read or wrote.
fn quantity_in_connectwise((line, result): &(PushLine, LineResult)) -> Option<AdditionQuantity> {
    let seen = if result.event == PushLineEvent::Push { line.to_quantity } else { result.from };
    Some(AdditionQuantity { id: line.addition_id?, quantity: seen? })
}
