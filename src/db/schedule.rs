//! When the monthly push is due, as set.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::conn::{MultiBackend, on_each};
use super::pool::Tx;
use super::schema::push_schedules;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// The stored schedule. Its fields were checked before they came here.
#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = push_schedules, check_for_backend(MultiBackend))]
pub struct PushSchedule {
    pub tenant_id: TenantId,
    pub enabled: bool,
    pub day_of_month: i64,
    /// `HH:MM:SS`.
    pub time_of_day: String,
    /// An IANA name.
    pub time_zone: String,
    pub version: i64,
    pub updated_at: NaiveDateTime,
}

impl Tx<'_> {
    /// The tenant's schedule, where one was set.
    pub fn push_schedule(&mut self) -> Result<Option<PushSchedule>> {
        let own = push_schedules::table.find(self.tenant().clone());
        Ok(own.select(PushSchedule::as_select()).first(self.conn).optional()?)
    }

    /// Sets the tenant's schedule.
    pub fn put_push_schedule(&mut self, row: &PushSchedule) -> Result<()> {
        on_each!(&mut *self.conn, |c| diesel::insert_into(push_schedules::table)
            .values(row)
            .on_conflict(push_schedules::tenant_id)
            .do_update()
            .set(row)
            .execute(c))?;
        Ok(())
    }
}
