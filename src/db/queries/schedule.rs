//! The schedule of the monthly push.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::{MultiBackend, run_fixed};
use crate::db::engine::schema::{billing_time_zones, push_jobs, push_schedule_runs, push_schedules, usage_records};
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{PushJobId, TenantId};

/// The stored schedule. Its fields were validated before they were stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = push_schedules, check_for_backend(MultiBackend), treat_none_as_null = true)]
pub struct PushSchedule {
    pub tenant_id: TenantId,
    pub enabled: bool,
    pub day_of_month: i64,
    /// Local time, `HH:MM:SS`.
    pub time_of_day: String,
    /// An IANA time zone name.
    pub time_zone: String,
    /// How many days before its next invoice each agreement is pushed; `None` if all are pushed on the day.
    pub days_before_invoice: Option<i64>,
    /// The time since which the schedule is enabled with its current settings. Earlier due times do not start a push.
    pub enabled_at: Option<NaiveDateTime>,
    pub version: i64,
    pub updated_at: NaiveDateTime,
}

/// A month that the schedule has pushed.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = push_schedule_runs, check_for_backend(MultiBackend))]
pub struct ScheduleRun {
    pub tenant_id: TenantId,
    pub month: BillingMonth,
    pub due_at: NaiveDateTime,
    pub job_id: PushJobId,
    pub created_at: NaiveDateTime,
}

/// The time zone of billing months, starting with a month.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = billing_time_zones, check_for_backend(MultiBackend))]
pub struct BillingTimeZone {
    pub tenant_id: TenantId,
    /// `YYYY-MM`.
    pub from_month: BillingMonth,
    /// An IANA time zone name.
    pub time_zone: String,
}

impl Tx<'_> {
    /// The time zones of the tenant's billing months, by first month; none until the first schedule is set.
    pub fn billing_time_zones(&mut self) -> Result<Vec<BillingTimeZone>> {
        let scoped = self.scoped(billing_time_zones::table).order(billing_time_zones::from_month);
        Ok(run_fixed!(self, scoped.select(BillingTimeZone::as_select()), load)?)
    }

    /// Replaces the time zones of the tenant's billing months from a month on.
    pub fn put_billing_time_zones(&mut self, from: BillingMonth, rows: &[BillingTimeZone]) -> Result<()> {
        let scoped = self.scoped(billing_time_zones::table);
        diesel::delete(scoped.filter(billing_time_zones::from_month.ge(from))).execute(self.conn)?;
        insert_scoped!(self, billing_time_zones, rows)?;
        Ok(())
    }

    /// Whether the tenant has usage or push jobs, which depend on where its billing months begin and end.
    pub fn has_billed(&mut self) -> Result<bool> {
        let usage = self.scoped(usage_records::table).select(usage_records::id);
        let jobs = self.scoped(push_jobs::table).select(push_jobs::id);
        let (usage, jobs) = (diesel::dsl::exists(usage), diesel::dsl::exists(jobs));
        Ok(diesel::select(usage).get_result(self.conn)? || diesel::select(jobs).get_result(self.conn)?)
    }

    /// Whether the schedule has pushed a month.
    pub fn has_schedule_run(&mut self, month: BillingMonth) -> Result<bool> {
        let run = self.scoped(push_schedule_runs::table).filter(push_schedule_runs::month.eq(month.to_string()));
        let found: Option<String> = run.select(push_schedule_runs::month).first(self.conn).optional()?;
        Ok(found.is_some())
    }

    /// Records that the schedule has pushed a month. The primary key rejects a second record for the same month.
    pub fn insert_schedule_run(&mut self, run: &ScheduleRun) -> Result<()> {
        insert_scoped!(self, push_schedule_runs, std::slice::from_ref(run))?;
        Ok(())
    }

    /// The tenant's schedule, if it was set.
    pub fn push_schedule(&mut self) -> Result<Option<PushSchedule>> {
        let scoped = self.scoped(push_schedules::table);
        Ok(run_fixed!(self, scoped.select(PushSchedule::as_select()), first).optional()?)
    }

    /// Sets the tenant's schedule.
    pub fn put_push_schedule(&mut self, row: &PushSchedule) -> Result<()> {
        insert_scoped!(self, push_schedules, std::slice::from_ref(row), .on_conflict(push_schedules::tenant_id)
            .do_update()
            .set(row))?;
        Ok(())
    }
}
