//! The lines that a worker has claimed, and their results that are not stored yet.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::db::{Connection, LINES_PER_TRANSACTION, LineResult, PushJob, PushLine};
use crate::domain::ids::{PushLineId, TenantId};
use crate::services::context::AppContext;

/// Maximum time before a result is stored, so a caller who watches the job soon sees it.
pub(super) const STORE_RESULTS_AFTER: Duration = Duration::from_secs(1);
/// Lines of some agreements in one job, claimed by one worker.
pub(super) struct ClaimedLines<'s> {
    pub(super) ctx: &'s AppContext,
    pub(super) tenant: TenantId,
    pub(super) job: PushJob,
    /// The connection when the lines were claimed.
    pub(super) connection: Option<Connection>,
    /// Whether the connection was known to fail.
    pub(super) was_failing: bool,
    /// The lines without a result.
    pub(super) left: BTreeMap<PushLineId, PushLine>,
    /// The results that are not stored yet.
    pub(super) results: Vec<(PushLine, LineResult)>,
    /// When the oldest of these results was added.
    oldest_result: Option<Instant>,
}

impl<'s> ClaimedLines<'s> {
    pub(super) fn new(
        ctx: &'s AppContext,
        job: PushJob,
        (connection, was_failing): (Option<Connection>, bool),
        lines: Vec<PushLine>,
    ) -> ClaimedLines<'s> {
        let left = lines.into_iter().map(|line| (line.id.clone(), line)).collect();
        let tenant = job.tenant_id.clone();
        ClaimedLines { ctx, tenant, job, connection, was_failing, left, results: Vec::new(), oldest_result: None }
    }

    /// Adds the result of a line, to be stored with others.
    pub(super) fn add_result(&mut self, line: PushLine, result: LineResult) {
        self.left.remove(&line.id);
        self.results.push((line, result));
        self.oldest_result.get_or_insert_with(Instant::now);
    }

    /// Whether the results must be stored now, because of their age or number.
    pub(super) fn must_store(&self) -> bool {
        self.results.len() >= LINES_PER_TRANSACTION
            || self.oldest_result.is_some_and(|at| at.elapsed() >= STORE_RESULTS_AFTER)
    }

    /// Takes the results to store. If they cannot be stored, their lines have no result.
    pub(super) fn take_results(&mut self) -> Vec<(PushLine, LineResult)> {
        self.oldest_result = None;
        std::mem::take(&mut self.results)
    }
}
