//! The result of the last push of each billing line, stored with the line.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::in_list::InListMethod;
use crate::db::engine::page::chunks;
use crate::db::engine::schema::billing_lines;
use crate::db::engine::tx::Tx;
use crate::db::engine::update_rows::row_update;
use crate::domain::Result;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{BillingLineId, PushJobId};
use crate::domain::push::{PushLineState, PushReason};
use crate::domain::quantity::Quantity;

/// The result of a line's last push.
#[derive(Debug, Clone, AsChangeset)]
#[diesel(table_name = billing_lines, treat_none_as_null = true)]
pub struct LastPush {
    pub last_push_job_id: Option<PushJobId>,
    pub last_push_state: Option<PushLineState>,
    pub last_push_reason: Option<PushReason>,
    pub last_push_at: Option<NaiveDateTime>,
    pub last_push_quantity: Option<Quantity>,
}

impl LastPush {
    /// The result of a line that ended now. `quantity` is the quantity in ConnectWise, if known.
    pub fn new(
        job: &PushJobId,
        state: PushLineState,
        reason: Option<PushReason>,
        quantity: Option<Quantity>,
        now: Timestamp,
    ) -> Self {
        Self {
            last_push_job_id: Some(job.clone()),
            last_push_state: Some(state),
            last_push_reason: reason,
            last_push_at: Some(now.naive_utc()),
            last_push_quantity: quantity,
        }
    }
}

/// The result of one line's last push, unless a later job has recorded one.
pub(in crate::db) struct LastPushOf {
    pub id: BillingLineId,
    pub last_push_job_id: PushJobId,
    pub last_push_state: PushLineState,
    pub last_push_reason: Option<PushReason>,
    pub last_push_at: NaiveDateTime,
    pub last_push_quantity: Option<Quantity>,
}

row_update! {
    LastPushOf; billing_lines
    where id
    set last_push_job_id, last_push_state, last_push_reason, last_push_at, last_push_quantity;
    // Job ids increase with time.
    only if " AND (billing_lines.last_push_job_id IS NULL OR billing_lines.last_push_job_id <= given.column2)"
}

impl Tx<'_> {
    /// Records the push result of lines, unless a later job has recorded one. This is not an edit, so the version stays
    /// the same.
    pub fn set_last_push(&mut self, lines: &[BillingLineId], push: &LastPush) -> Result<()> {
        for chunk in chunks(lines) {
            // Job ids increase with time.
            let before = billing_lines::last_push_job_id.le(push.last_push_job_id.clone());
            let scoped = self
                .scoped(billing_lines::table)
                .filter(billing_lines::id.in_list(chunk))
                .filter(billing_lines::last_push_job_id.is_null().or(before));
            diesel::update(scoped).set(push).execute(self.conn)?;
        }
        Ok(())
    }
}
