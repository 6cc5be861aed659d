//! Push history: pages of jobs, and pages of lines of one job or of all jobs.

use diesel::prelude::*;

use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::{Page, PageRequest, keyset, total};
use crate::db::engine::schema::{push_jobs, push_lines};
use crate::db::engine::scope::scoped_joined;
use crate::db::engine::tx::Tx;
use crate::db::queries::push_jobs::{PushJob, PushLine};
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, CompanyId, ProductId, PushJobId};
use crate::domain::push::{JobState, PushLineState, PushReason};
use crate::domain::push::{PushKind, PushTrigger};
use crate::domain::string_enum::string_enum;

string_enum! {
    /// The sort keys of push jobs and their lines.
    PushSort {
        /// Oldest first.
        CreatedAt = "created_at",
    }
}

/// The filter of push jobs.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs of this kind.
    pub kind: Option<PushKind>,
    /// Has a line of this product.
    pub product_id: Option<ProductId>,
    /// Has a line of this company.
    pub company_id: Option<CompanyId>,
    /// Only jobs with this cause, such as the schedule.
    pub trigger: Option<PushTrigger>,
    /// Created at or after this time.
    pub from: Option<Timestamp>,
    /// Created before this time.
    pub to: Option<Timestamp>,
    /// Has a line that bills this month.
    pub billing_month: Option<BillingMonth>,
    /// Retries, reverts or pushes this job.
    pub parent_job_id: Option<PushJobId>,
}

/// The filter of push lines.
#[derive(Debug, Clone, Default)]
pub struct PushLineFilter {
    /// Only push lines of this job.
    pub job_id: Option<PushJobId>,
    /// Only push lines in one of these states, if there are any.
    pub states: Vec<PushLineState>,
    /// Only push lines with one of these reasons for being skipped, held, failed or unverified, if there are any.
    pub reasons: Vec<PushReason>,
    /// Only push lines of this company.
    pub company_id: Option<CompanyId>,
    /// Only push lines of this product.
    pub product_id: Option<ProductId>,
    /// Only push lines of this billing line.
    pub billing_line_id: Option<BillingLineId>,
    /// Bills this month.
    pub billing_month: Option<BillingMonth>,
    /// Only push lines of jobs of this kind.
    pub kind: Option<PushKind>,
    /// The job was created at or after this time.
    pub from: Option<Timestamp>,
    /// The job was created before this time.
    pub to: Option<Timestamp>,
}

impl Tx<'_> {
    /// A page of jobs.
    pub fn push_jobs(&mut self, filter: &JobFilter, page: &PageRequest<PushSort>) -> Result<Page<PushJob>> {
        let of_filter = |tx: &Self| {
            let mut query = tx.scoped(push_jobs::table).into_boxed();
            if let Some(state) = filter.state {
                query = query.filter(push_jobs::state.eq(state));
            }
            if let Some(kind) = filter.kind {
                query = query.filter(push_jobs::kind.eq(kind));
            }
            let lines = || tx.scoped(push_lines::table);
            if let Some(id) = &filter.product_id {
                let with = lines().filter(push_lines::product_id.eq(id.clone())).select(push_lines::job_id);
                query = query.filter(push_jobs::id.eq_any(with));
            }
            if let Some(id) = &filter.company_id {
                let with = lines().filter(push_lines::company_id.eq(id.clone())).select(push_lines::job_id);
                query = query.filter(push_jobs::id.eq_any(with));
            }
            if let Some(id) = &filter.parent_job_id {
                query = query.filter(push_jobs::parent_job_id.eq(id.clone()));
            }
            if let Some(trigger) = filter.trigger {
                query = query.filter(push_jobs::started_by.eq(trigger));
            }
            if let Some(from) = filter.from {
                query = query.filter(push_jobs::created_at.ge(from.naive_utc()));
            }
            if let Some(to) = filter.to {
                query = query.filter(push_jobs::created_at.lt(to.naive_utc()));
            }
            if let Some(month) = filter.billing_month {
                let with = lines().filter(push_lines::billing_month.eq(month)).select(push_lines::job_id);
                // Lines stored by earlier versions have no month of their own, and bill the job's month.
                let unnamed =
                    lines().filter(push_lines::job_id.eq(push_jobs::id)).filter(push_lines::billing_month.is_null());
                let of_job =
                    push_jobs::billing_month.eq(month).and(diesel::dsl::exists(unnamed.select(push_lines::id)));
                query = query.filter(push_jobs::id.eq_any(with).or(of_job));
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        let query = keyset!(query, page, push_jobs::id, push_jobs::id);
        let rows = query.limit(page.fetch()).select(PushJob::as_select()).load(self.conn)?;
        Ok(page.page(rows, |row: &PushJob| (row.id.to_string(), row.id.to_string())).with_total(total))
    }

    /// A page of lines with their jobs, in order of creation.
    pub fn push_lines(
        &mut self,
        filter: &PushLineFilter,
        page: &PageRequest<PushSort>,
    ) -> Result<Page<(PushLine, PushJob)>> {
        let of_filter = |tx: &Self| {
            let mut query = scoped_joined!(tx, push_lines, push_jobs).into_boxed();
            if let Some(id) = &filter.job_id {
                query = query.filter(push_lines::job_id.eq(id.clone()));
            }
            if !filter.states.is_empty() {
                query = query.filter(push_lines::state.in_list(&filter.states));
            }
            if !filter.reasons.is_empty() {
                query = query.filter(push_lines::reason.in_list(&filter.reasons));
            }
            if let Some(id) = &filter.company_id {
                query = query.filter(push_lines::company_id.eq(id.clone()));
            }
            if let Some(id) = &filter.product_id {
                query = query.filter(push_lines::product_id.eq(id.clone()));
            }
            if let Some(id) = &filter.billing_line_id {
                query = query.filter(push_lines::billing_line_id.eq(id.clone()));
            }
            if let Some(month) = filter.billing_month {
                let of_job = push_lines::billing_month.is_null().and(push_jobs::billing_month.eq(month));
                query = query.filter(push_lines::billing_month.eq(month).or(of_job));
            }
            if let Some(kind) = filter.kind {
                query = query.filter(push_jobs::kind.eq(kind));
            }
            if let Some(from) = filter.from {
                query = query.filter(push_jobs::created_at.ge(from.naive_utc()));
            }
            if let Some(to) = filter.to {
                query = query.filter(push_jobs::created_at.lt(to.naive_utc()));
            }
            query
        };
        let (total, query) = (total!(page, of_filter(self), self.conn), of_filter(self));
        // The lines of a company and of a billing line have indexes in the order of ids. All lines of a tenant have only
        // one by job, which is the same order: the ids of a job and its lines are greater than those of earlier jobs.
        let query = if filter.company_id.is_none() && filter.billing_line_id.is_none() {
            let mut by_job = page.clone();
            if let Some(at) = &mut by_job.after {
                // A cursor has only the line's id, so that it also fits the other versions.
                let line = self.scoped(push_lines::table).filter(push_lines::id.eq(at.id.clone()));
                let job: Option<PushJobId> = line.select(push_lines::job_id).first(self.conn).optional()?;
                at.key = job.map_or_else(|| at.key.clone(), |job| job.to_string());
            }
            keyset!(query, by_job, push_lines::job_id, push_lines::id)
        } else {
            keyset!(query, page, push_lines::id, push_lines::id)
        };
        let rows = query.limit(page.fetch()).select((PushLine::as_select(), PushJob::as_select())).load(self.conn)?;
        Ok(page.page(rows, |(row, _): &(PushLine, PushJob)| (row.id.to_string(), row.id.to_string())).with_total(total))
    }
}
