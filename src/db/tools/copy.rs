//! Copies all rows from one database to another, of the same or the other kind, and verifies them.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::db::engine::conn::{Conn, on_each, read_transaction, write_transaction};
use crate::db::engine::instance_lock::InstanceLock;
use crate::db::engine::migrate;
use crate::db::engine::schema::{
    api_keys, audit_log, billing_lines, billing_time_zones, companies, connection_failures, connections, cw_additions,
    cw_agreements, cw_companies, cw_generations, cw_refreshes, idempotency_keys, line_changes, matching_rules,
    products, push_invoice_runs, push_jobs, push_lines, push_schedule_runs, push_schedules, reconciliation_snapshots,
    tenants, usage_checks, usage_records, usage_totals, webhook_deliveries, webhooks,
};
use crate::db::engine::url::DatabaseUrl;
use crate::db::queries::audit::AuditEntry;
use crate::db::queries::billing_lines::BillingLine;
use crate::db::queries::companies::Company;
use crate::db::queries::cw_connection::{Connection as CwConnection, ConnectionFailure};
use crate::db::queries::cw_records::{AdditionRow, AgreementRow, CwCompanyRow, RefreshRow};
use crate::db::queries::idempotency::StoredResponse;
use crate::db::queries::line_changes::LineChangeRow;
use crate::db::queries::matching_rules::MatchingRule;
use crate::db::queries::missing_usage::UsageCheck;
use crate::db::queries::products::Product;
use crate::db::queries::push_jobs::{PushJob, PushLine};
use crate::db::queries::pushes_before_invoices::PushBeforeInvoice;
use crate::db::queries::reconciliation_snapshot::ReconciliationSnapshot;
use crate::db::queries::record_index::Generation;
use crate::db::queries::schedule::{BillingTimeZone, PushSchedule, ScheduleRun};
use crate::db::queries::tenants::{ApiKey, Tenant};
use crate::db::queries::usage::UsageRecord;
use crate::db::queries::usage_totals::UsageTotalsRow;
use crate::db::queries::webhook_deliveries::WebhookDelivery;
use crate::db::queries::webhooks::Webhook;
use crate::domain::{Error, Result};

/// Number of rows read, written or compared at a time.
const BATCH: i64 = 500;

/// A row type, with access to its table in the order of the key.
trait Rows: Sized + PartialEq {
    const TABLE: &'static str;
    /// Reads the next batch of rows: the first one, or the one after the given row.
    fn next(conn: &mut Conn, after: Option<&Self>) -> QueryResult<Vec<Self>>;
    fn add(conn: &mut Conn, rows: &[Self]) -> QueryResult<usize>;
}

/// Every table with its row type and key, parents before the tables that refer to them. `request_budgets` is left out:
/// its rows matter only for the current minute.
macro_rules! tables {
    ($($table:ident: $row:ty, $key:ident $(then $second:ident)?;)+) => {
        $(impl Rows for $row {
            const TABLE: &'static str = stringify!($table);

            fn next(conn: &mut Conn, after: Option<&Self>) -> QueryResult<Vec<Self>> {
                let mut query = $table::table.order(($table::$key, $($table::$second)?)).limit(BATCH).into_boxed();
                if let Some(last) = after {
                    query = tables!(@after query, last, $table, $key $(, $second)?);
                }
                query.select(<$row>::as_select()).load(conn)
            }

            fn add(conn: &mut Conn, rows: &[Self]) -> QueryResult<usize> {
                on_each!(conn, |c| diesel::insert_into($table::table).values(rows).execute(c))
            }
        })+

        fn all(each: &mut impl TableVisitor) -> Result<Vec<CopyReport>> {
            Ok(vec![$(CopyReport { table: <$row>::TABLE, rows: each.table::<$row>()? }),+])
        }
    };
    (@after $query:ident, $last:ident, $table:ident, $key:ident) => {
        $query.filter($table::$key.gt($last.$key.clone()))
    };
    (@after $query:ident, $last:ident, $table:ident, $key:ident, $second:ident) => {
        $query
            // Redundant, but an index serves only this half of the condition.
            .filter($table::$key.ge($last.$key.clone()))
            .filter($table::$key.gt($last.$key.clone()).or($table::$second.gt($last.$second.clone())))
    };
}

tables! {
    tenants: Tenant, id;
    api_keys: ApiKey, id;
    connections: CwConnection, tenant_id;
    connection_failures: ConnectionFailure, tenant_id;
    cw_companies: CwCompanyRow, tenant_id then id;
    cw_agreements: AgreementRow, tenant_id then id;
    cw_additions: AdditionRow, tenant_id then id;
    cw_refreshes: RefreshRow, tenant_id;
    cw_generations: Generation, tenant_id;
    companies: Company, id;
    products: Product, id;
    matching_rules: MatchingRule, id;
    billing_lines: BillingLine, id;
    line_changes: LineChangeRow, billing_line_id then id;
    audit_log: AuditEntry, id;
    usage_records: UsageRecord, id;
    usage_totals: UsageTotalsRow, id;
    push_jobs: PushJob, id;
    push_lines: PushLine, id;
    push_schedules: PushSchedule, tenant_id;
    billing_time_zones: BillingTimeZone, tenant_id then from_month;
    push_schedule_runs: ScheduleRun, tenant_id then month;
    reconciliation_snapshots: ReconciliationSnapshot, id;
    push_invoice_runs: PushBeforeInvoice, id;
    idempotency_keys: StoredResponse, tenant_id then key;
    usage_checks: UsageCheck, tenant_id;
    webhooks: Webhook, id;
    webhook_deliveries: WebhookDelivery, id;
}

/// The number of rows of a table that were copied and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyReport {
    pub table: &'static str,
    pub rows: usize,
}

/// An operation on each table. Returns the number of rows.
trait TableVisitor {
    fn table<R: Rows>(&mut self) -> Result<usize>;
}

struct Copy<'c>(&'c mut Conn, &'c mut Conn);

impl TableVisitor for Copy<'_> {
    fn table<R: Rows>(&mut self) -> Result<usize> {
        let (mut count, mut rows) = (0, R::next(self.0, None)?);
        while !rows.is_empty() {
            R::add(self.1, &rows)?;
            count += rows.len();
            rows = R::next(self.0, rows.last())?;
        }
        Ok(count)
    }
}

struct Compare<'c>(&'c mut Conn, &'c mut Conn);

impl TableVisitor for Compare<'_> {
    fn table<R: Rows>(&mut self) -> Result<usize> {
        let (mut count, mut last) = (0, None);
        loop {
            let (here, there) = (R::next(self.0, last.as_ref())?, R::next(self.1, last.as_ref())?);
            if here != there {
                let first = here.iter().zip(&there).take_while(|(one, other)| one == other).count();
                let detail =
                    format!("row {} of {} differs from the source; nothing was copied", count + first + 1, R::TABLE);
                return Err(Error::Tool(detail));
            }
            count += here.len();
            match here.into_iter().next_back() {
                Some(row) => last = Some(row),
                None => return Ok(count),
            }
        }
    }
}

/// Creates the tables in an empty database, copies all rows, and compares every row before it commits. Errors if a
/// process serves from either database, if the source has another schema version, or if the target is not empty.
pub fn copy(from: &DatabaseUrl, to: &DatabaseUrl) -> Result<Vec<CopyReport>> {
    if from.file().is_some_and(|file| !file.exists()) {
        return Err(Error::Tool(format!("there is no database at {from}")));
    }
    let _alone = (InstanceLock::take(from)?, InstanceLock::take(to)?);
    let unavailable = |error| Error::Unavailable(Box::new(error));
    let mut source = from.connect().map_err(unavailable)?;
    let mut target = to.connect_or_create().map_err(unavailable)?;
    if !migrate::is_current(&mut source)? {
        let detail = format!("the schema of {from} is not the one that this version uses: run migrate on it first");
        return Err(Error::Tool(detail));
    }
    reject_in_use(&mut source, from)?;
    reject_in_use(&mut target, to)?;
    migrate::up(&mut target)?;
    for conn in [&mut source, &mut target] {
        if let Conn::Postgres(conn) = conn {
            // Each connection is idle while the other one works.
            conn.batch_execute("SET idle_in_transaction_session_timeout = 0")?;
        }
    }
    let copied = read_transaction(&mut source, |source| {
        write_transaction(&mut target, |target| {
            if let Conn::Postgres(conn) = target {
                // A process that starts on the target now waits until the copy is complete.
                conn.batch_execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")?;
            }
            if !Tenant::next(target, None)?.is_empty() {
                return Err(Error::Tool(format!("{to} is not empty")));
            }
            all(&mut Copy(source, target))?;
            all(&mut Compare(source, target))
        })
    })?;
    // The planner has no statistics for the new rows yet. If this fails, autovacuum collects them later; the copy is
    // already committed.
    if let Err(cause) = target.batch_execute("ANALYZE") {
        tracing::warn!(%cause, "failed to update the copy's statistics");
    }
    Ok(copied)
}

/// Errors if the service is connected to a PostgreSQL database: rows that it writes during the copy could be missed.
fn reject_in_use(conn: &mut Conn, url: &DatabaseUrl) -> Result<()> {
    let Conn::Postgres(conn) = conn else { return Ok(()) };
    let others = "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                  AND application_name = current_setting('application_name'))";
    let others: i64 = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(others)).get_result(conn)?;
    if others == 0 {
        return Ok(());
    }
    let detail = format!("the service has {others} open connection(s) to {url}: stop it first");
    Err(Error::Tool(detail))
}
