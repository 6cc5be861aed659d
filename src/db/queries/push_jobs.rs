//! Push jobs and push lines: the quantity to write, the result, and the lease.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use diesel::dsl::count_star;
use diesel::prelude::*;

use super::last_push::LastPush;
use crate::db::engine::conn::MultiBackend;
use crate::db::engine::in_list::InListMethod;
use crate::db::engine::schema::{push_jobs, push_lines};
use crate::db::engine::scope::{insert_many, insert_scoped};
use crate::db::engine::tx::Tx;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{
    BillingLineId, CompanyId, CwAdditionId, CwAgreementId, MonotonicIds, ProductId, PushJobId, PushLineId, TenantId,
};
use crate::domain::line_quantity::Adjustment;
use crate::domain::push::{JobState, PushLineEvent, PushLineState, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::push_counts::{FinalCounts, PushLineCount};
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity, Quantity};
use crate::domain::{Error, Result};

/// One run that writes quantities.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = push_jobs, check_for_backend(MultiBackend))]
pub struct PushJob {
    pub id: PushJobId,
    pub tenant_id: TenantId,
    pub kind: PushKind,
    #[diesel(column_name = started_by)]
    pub trigger: PushTrigger,
    pub state: JobState,
    /// Why the job waits or failed.
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
    /// Stored when the job ends; `None` before, and in jobs of earlier versions.
    pub final_counts: Option<FinalCounts>,
}

/// The push of one billing line in a job.
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
    /// The adjustment that applied.
    pub adjustment: Option<Adjustment>,
    /// The minimum that applied.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The included quantity that applied.
    pub included_quantity: Option<IncludedQuantity>,
    /// The quantity in ConnectWise before the write. It is stored before the write is sent, so that a lost response can
    /// be distinguished from a write that was never sent.
    pub from_quantity: Option<Quantity>,
    /// The quantity to write.
    pub to_quantity: Option<Quantity>,
    pub state: PushLineState,
    pub reason: Option<PushReason>,
    pub detail: Option<String>,
    /// The number of writes that were started, except those that are known not to have been carried out.
    pub attempts: i64,
    /// The number of temporary failures.
    pub failures: i64,
    pub lease_owner: Option<String>,
    pub lease_until: Option<NaiveDateTime>,
    /// A fencing token, incremented by each claim: only the worker with the latest claim may record a result.
    pub fence: i64,
    pub not_before: Option<NaiveDateTime>,
    /// The quantity that ConnectWise must still have for the line to be written.
    pub expected_from: Option<Quantity>,
    /// Whether a person approved the change from `from_quantity` to `to_quantity`.
    pub approved: bool,
    /// Why the line was held when it was approved.
    pub approved_for: Option<PushReason>,
    /// Who approved or dropped the line.
    pub decided_by: Option<String>,
    /// The month whose usage is billed; `None` in lines stored by earlier versions, which bill the job's month.
    pub billing_month: Option<BillingMonth>,
    /// Whether the billing month had ended when the quantity was computed.
    pub month_closed: Option<bool>,
    /// When the newest usage record that counted was measured.
    pub usage_through: Option<NaiveDateTime>,
    /// The number of usage records that counted.
    pub usage_records: Option<i64>,
    /// When a person approved or dropped the line.
    pub decided_at: Option<NaiveDateTime>,
    pub started_at: Option<NaiveDateTime>,
    pub finished_at: Option<NaiveDateTime>,
}

/// The result of a line that a worker holds.
#[derive(Debug, Clone)]
pub struct LineResult {
    pub event: PushLineEvent,
    /// The quantity in ConnectWise. `None` keeps the stored one, except for `Hold` and `WouldPush`, which store `None`.
    pub from: Option<Quantity>,
    pub reason: Option<PushReason>,
    pub detail: Option<String>,
    /// For `Release`: when the line may be tried again.
    pub not_before: Option<Timestamp>,
    /// For `Release`: whether this counts as a failure of the line.
    pub counts_as_failure: bool,
}

impl PushLine {
    /// The time since which the line waits: when its job was stored or, if later, when a person decided about the line.
    pub fn waiting_since(&self, job_stored_at: Timestamp) -> Timestamp {
        self.decided_at.map_or(job_stored_at, |at| at.and_utc().max(job_stored_at))
    }
}

/// Whether a job is queued or running. With `eq_any`, the database would prepare the statement each time.
macro_rules! is_queued_or_running {
    () => {
        push_jobs::state
            .eq($crate::domain::push::JobState::Queued)
            .or(push_jobs::state.eq($crate::domain::push::JobState::Running))
    };
}
pub(in crate::db) use is_queued_or_running;

impl Tx<'_> {
    /// Stores a job with its lines.
    pub fn insert_push_job(&mut self, job: &PushJob, lines: &[PushLine]) -> Result<()> {
        insert_scoped!(self, push_jobs, std::slice::from_ref(job))?;
        insert_many!(self, push_lines, lines);
        if job.kind == PushKind::Push {
            // A disabled line is not pushed, so it keeps the result of its last push.
            let ended = |line: &&PushLine| !line.state.is_open() && line.reason != Some(PushReason::Disabled);
            let mut alike: HashMap<(PushLineState, Option<PushReason>), Vec<BillingLineId>> = HashMap::new();
            for line in lines.iter().filter(ended) {
                alike.entry((line.state, line.reason)).or_default().push(line.billing_line_id.clone());
            }
            for ((state, reason), lines) in alike {
                let last = LastPush::new(&job.id, state, reason, None, job.created_at.and_utc());
                self.set_last_push(&lines, &last)?;
            }
        }
        Ok(())
    }

    /// Generates ids for a job and its lines, greater than those of all earlier jobs: ids define which job is later.
    pub fn later_push_ids(&mut self) -> Result<MonotonicIds> {
        let jobs = self.scoped(push_jobs::table);
        let job: Option<PushJobId> = jobs.select(diesel::dsl::max(push_jobs::id)).get_result(self.conn)?;
        let lines = self.scoped(push_lines::table).filter(push_lines::job_id.nullable().eq(job.clone()));
        let line: Option<PushLineId> = lines.select(diesel::dsl::max(push_lines::id)).get_result(self.conn)?;
        let (job, line) = (job.map(|id| id.to_string()), line.map(|id| id.to_string()));
        Ok(MonotonicIds::after(job.max(line).as_deref()))
    }

    /// The job with an id, or a not-found error.
    pub fn push_job(&mut self, id: &PushJobId) -> Result<PushJob> {
        let scoped = self.scoped(push_jobs::table).filter(push_jobs::id.eq(id));
        let row = scoped.select(PushJob::as_select()).first(self.conn).optional()?;
        row.ok_or_else(|| Error::not_found("push job", id))
    }

    /// All lines of a job, or those in one state.
    pub fn all_push_lines(&mut self, job: &PushJobId, state: Option<PushLineState>) -> Result<Vec<PushLine>> {
        let mut query = self.scoped(push_lines::table).filter(push_lines::job_id.eq(job.clone())).into_boxed();
        if let Some(state) = state {
            query = query.filter(push_lines::state.eq(state));
        }
        Ok(query.order(push_lines::id).select(PushLine::as_select()).load(self.conn)?)
    }

    /// The numbers of lines of the given jobs. Reads the lines of only those jobs that have no final counts.
    pub fn push_line_counts(&mut self, jobs: &[PushJob]) -> Result<HashMap<PushJobId, Vec<PushLineCount>>> {
        let mut counts: HashMap<PushJobId, Vec<PushLineCount>> = HashMap::new();
        let mut others = Vec::new();
        for job in jobs {
            match &job.final_counts {
                Some(known) => drop(counts.insert(job.id.clone(), known.counts().to_vec())),
                None => others.push(job.id.clone()),
            }
        }
        for (job, count) in self.count_push_lines(&others)? {
            counts.entry(job).or_default().push(count);
        }
        Ok(counts)
    }

    /// Counts the lines of the given jobs, by state and billing month.
    pub(super) fn count_push_lines(&mut self, jobs: &[PushJobId]) -> Result<Vec<(PushJobId, PushLineCount)>> {
        macro_rules! counts_where {
            ($jobs:expr) => {
                self.scoped(push_lines::table)
                    .filter($jobs)
                    .group_by((push_lines::job_id, push_lines::state, push_lines::billing_month))
                    .select((push_lines::job_id, push_lines::state, push_lines::billing_month, count_star()))
                    .load(self.conn)?
            };
        }
        let rows: Vec<(PushJobId, PushLineState, Option<BillingMonth>, i64)> = match jobs {
            [] => Vec::new(),
            // PostgreSQL plans a list as if it had ten jobs, and could then read the lines of all jobs.
            [job] => counts_where!(push_lines::job_id.eq(job)),
            jobs => counts_where!(push_lines::job_id.in_list(jobs)),
        };
        let count = |(job, state, billing_month, lines)| (job, PushLineCount { state, billing_month, lines });
        Ok(rows.into_iter().map(count).collect())
    }

    /// Whether any push job is queued or running. A job that waits for approval does not count.
    pub fn has_open_push_job(&mut self) -> Result<bool> {
        let open =
            self.scoped(push_jobs::table).filter(push_jobs::finished_at.is_null()).filter(is_queued_or_running!());
        Ok(diesel::select(diesel::dsl::exists(open.select(push_jobs::id))).get_result(self.conn)?)
    }

    /// Whether any line of a job is unfinished.
    pub fn has_open_lines(&mut self, job: &PushJobId) -> Result<bool> {
        let open = self
            .scoped(push_lines::table)
            .filter(push_lines::job_id.eq(job.clone()))
            .filter(push_lines::finished_at.is_null())
            // The order of the index of unfinished lines. Without it, PostgreSQL may read the finished ones as well.
            .order((push_lines::state, push_lines::not_before, push_lines::id));
        let first: Option<PushLineId> = open.select(push_lines::id).first(self.conn).optional()?;
        Ok(first.is_some())
    }
}
