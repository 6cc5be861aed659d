//! The history of billing lines: what changed, when, and who changed it.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::line_changes;
use crate::db::engine::scope::insert_many;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::{BillingLineId, LineChangeId, TenantId};
use crate::domain::mappings::LineField;

/// One change of a billing line.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = line_changes, check_for_backend(MultiBackend))]
pub struct LineChangeRow {
    pub id: LineChangeId,
    pub tenant_id: TenantId,
    pub billing_line_id: BillingLineId,
    pub part: LineField,
    /// The new value, as JSON.
    pub became: String,
    pub changed_at: NaiveDateTime,
    pub changed_by: String,
}

impl Tx<'_> {
    /// Adds changes to the history of lines.
    pub fn insert_line_changes(&mut self, rows: &[LineChangeRow]) -> Result<()> {
        insert_many!(self, line_changes, rows);
        Ok(())
    }

    /// The latest changes of a line, newest first.
    pub fn line_changes(&mut self, line: &BillingLineId, limit: i64) -> Result<Vec<LineChangeRow>> {
        let scoped = self.scoped(line_changes::table).filter(line_changes::billing_line_id.eq(line));
        Ok(scoped.order(line_changes::id.desc()).limit(limit).select(LineChangeRow::as_select()).load(self.conn)?)
    }
}
