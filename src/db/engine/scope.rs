//! Tenant scoping: the one place that keeps tenants apart.
//!
//! Every table except `tenants` has a `tenant_id`. A [`Tx`] reaches rows through `scoped` and `scoped_joined!`, inserts
//! rows through `insert_scoped!` and `insert_many!`, and updates many at once through `update_rows`, which names the
//! tenant itself. `tests/api/architecture.rs` rejects any other query of a `Tx`. Only `system.rs` and `push_claim.rs`
//! query across tenants. `request_budget.rs` passes the tenant's id itself, and `copy.rs` copies all rows.

use diesel::dsl::{Eq, Filter};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::schema;
use super::tx::Tx;
use crate::domain::ids::TenantId;
use crate::domain::{Error, Result};

/// A table whose rows each belong to a tenant.
pub(in crate::db) trait TenantTable {
    /// The rows of one tenant.
    type Rows;
    fn of(self, tenant: TenantId) -> Self::Rows;
}

macro_rules! owned {
    ($($table:ident),+ $(,)?) => {
        $(impl TenantTable for schema::$table::table {
            type Rows = Filter<Self, Eq<schema::$table::tenant_id, TenantId>>;
            fn of(self, tenant: TenantId) -> Self::Rows {
                self.filter(schema::$table::tenant_id.eq(tenant))
            }
        })+
        #[cfg(test)]
        const OWNED: &[&str] = &[$(stringify!($table)),+];
    };
}
owned!(
    api_keys,
    audit_log,
    billing_lines,
    billing_time_zones,
    companies,
    connection_failures,
    connections,
    cw_additions,
    cw_agreements,
    cw_companies,
    cw_generations,
    cw_refreshes,
    idempotency_keys,
    line_changes,
    matching_rules,
    products,
    push_invoice_runs,
    push_jobs,
    push_lines,
    push_schedule_runs,
    push_schedules,
    reconciliation_snapshots,
    request_budgets,
    usage_checks,
    usage_records,
    usage_totals,
    webhook_deliveries,
    webhooks,
);

impl Tx<'_> {
    /// The tenant's rows of a table: to select, update or delete.
    pub(in crate::db) fn scoped<T: TenantTable>(&self, table: T) -> T::Rows {
        table.of(self.tenant().clone())
    }

    /// Errors if any of the ids, from rows to insert, is another tenant's.
    pub(in crate::db) fn ensure_scoped<'r>(&self, mut tenants: impl Iterator<Item = &'r TenantId>) -> Result<()> {
        match tenants.find(|tenant| *tenant != self.tenant()) {
            None => Ok(()),
            Some(other) => Err(Error::internal(format!("a row of {other} in a transaction of {}", self.tenant()))),
        }
    }
}

/// The tenant's rows of a table, joined with the tenant's rows of another table that they refer to.
macro_rules! scoped_joined {
    ($tx:expr, $table:ident, $other:ident) => {
        $tx.scoped($table::table).inner_join($other::table).filter($other::tenant_id.eq($tx.tenant().clone()))
    };
}
pub(in crate::db) use scoped_joined;

diesel::define_sql_function! {
    /// The value, or the default if it is null.
    fn coalesce(value: Nullable<Text>, default: Text) -> Text;
}

/// A text of a table that is left-joined, for a condition. A condition on the column itself would turn the left join into
/// an inner one.
macro_rules! or_empty {
    ($column:expr) => {
        $crate::db::engine::scope::coalesce($column.nullable(), "")
    };
}
pub(in crate::db) use or_empty;

/// Like `scoped_joined!`, but the rows of the table are always found first, and each row of the other table by its key.
/// If SQLite is free to begin with the other table, it may read all the tenant's rows there. Conditions on the other
/// table need `or_empty!`.
macro_rules! scoped_joined_from {
    ($tx:expr, $table:ident, $other:ident) => {
        $tx.scoped($table::table)
            .left_join($other::table)
            .filter($crate::db::engine::scope::or_empty!($other::tenant_id).eq($tx.tenant().clone()))
    };
}
pub(in crate::db) use scoped_joined_from;

/// Inserts rows (a slice) of the tenant, on either database. Tokens after the rows are appended to the insert, such as
/// `.on_conflict(…)`.
macro_rules! insert_scoped {
    ($tx:expr, $table:ident, $rows:expr $(, $($more:tt)+)?) => {{
        $tx.ensure_scoped($rows.iter().map(|row| &row.tenant_id))?;
        $crate::db::engine::conn::on_each!(&mut *$tx.conn, |c| {
            diesel::insert_into($table::table).values($rows) $($($more)+)? .execute(c)
        })
    }};
}
pub(in crate::db) use insert_scoped;

/// Maximum number of rows in one statement of SQLite, which allows some 32,000 parameters.
pub(in crate::db) const ROWS_PER_INSERT: usize = 500;

/// Minimum number of rows to insert with COPY. It has no parameters, but takes a round trip more than INSERT.
pub(in crate::db) const MIN_ROWS_TO_COPY: usize = 50;

/// Inserts any number of rows (a slice) of the tenant, many at once on PostgreSQL with COPY. An error must be returned,
/// so that the transaction ends: after a failed COPY, diesel does not know that the transaction cannot be committed.
macro_rules! insert_many {
    ($tx:expr, $table:ident, $rows:expr) => {{
        let rows = &$rows[..];
        $tx.ensure_scoped(rows.iter().map(|row| &row.tenant_id))?;
        match &mut *$tx.conn {
            _ if rows.is_empty() => {}
            $crate::db::engine::conn::Conn::Postgres(c)
                if rows.len() >= $crate::db::engine::scope::MIN_ROWS_TO_COPY =>
            {
                diesel::copy_from($table::table).from_insertable(rows).execute(c)?;
            }
            $crate::db::engine::conn::Conn::Postgres(c) => {
                diesel::insert_into($table::table).values(rows).execute(c)?;
            }
            $crate::db::engine::conn::Conn::Sqlite(c) => {
                for rows in rows.chunks($crate::db::engine::scope::ROWS_PER_INSERT) {
                    diesel::insert_into($table::table).values(rows).execute(c)?;
                }
            }
        }
    }};
}
pub(in crate::db) use insert_many;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_but_tenants_is_owned() {
        let schema = concat!(
            include_str!("schema.rs"),
            include_str!("schema/reconciliation_tables.rs"),
            include_str!("schema/schedule_tables.rs"),
            include_str!("schema/webhook_tables.rs")
        );
        let tables: Vec<&str> = schema
            .split("diesel::table! {")
            .skip(1)
            .filter_map(|table| table.split_whitespace().next())
            .filter(|table| *table != "tenants")
            .collect();
        let mut sorted = tables.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, OWNED);
    }
}
