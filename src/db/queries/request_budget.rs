//! The request budget that replicas on one PostgreSQL share. It uses the database's clock, so the replicas' clocks may
//! differ. A reservation is one statement and does not wait for other transactions. `next_at` is the time up to which
//! requests are reserved at the steady rate.

use std::time::Duration;

use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension, RunQueryDsl};

use crate::db::engine::conn::Conn;
use crate::db::engine::pool::Db;
use crate::db::engine::schema::request_budgets;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// The current time in UTC, as the columns store it.
macro_rules! now {
    () => {
        "(clock_timestamp() AT TIME ZONE 'UTC')"
    };
}

/// `next_at` if it is within the next 5 minutes, otherwise the current time. It is further ahead only if the database's
/// clock was set back after it was written.
macro_rules! next_at {
    () => {
        concat!(
            "CASE WHEN b.next_at BETWEEN ",
            now!(),
            " AND ",
            now!(),
            " + interval '5 minutes' THEN b.next_at ELSE ",
            now!(),
            " END"
        )
    };
}

/// Adds one interval to `next_at`, counted from the current time if `next_at` is in the past. Returns no row, and
/// reserves nothing, if requests are paused or the wait would exceed the limit.
const RESERVE_SQL: &str = concat!(
    "INSERT INTO request_budgets AS b (tenant_id, next_at, held_until) VALUES ($1, ",
    now!(),
    " + $2 * interval '1 microsecond', ",
    now!(),
    ") ON CONFLICT (tenant_id) DO UPDATE SET next_at = ",
    next_at!(),
    " + $2 * interval '1 microsecond' WHERE b.held_until <= ",
    now!(),
    " AND ",
    next_at!(),
    " <= ",
    now!(),
    " + $3 * interval '1 microsecond' RETURNING (EXTRACT(EPOCH FROM b.next_at - ",
    now!(),
    ") * 1000000)::bigint AS ahead, 0::bigint AS held"
);

/// Reads how far `next_at` and `held_until`, the end of a pause, are ahead of the current time.
const PEEK_SQL: &str = concat!(
    "SELECT (EXTRACT(EPOCH FROM b.next_at - ",
    now!(),
    ") * 1000000)::bigint AS ahead, (EXTRACT(EPOCH FROM b.held_until - ",
    now!(),
    ") * 1000000)::bigint AS held FROM request_budgets b WHERE b.tenant_id = $1"
);

/// Extends `held_until`. Never shortens it.
const PAUSE_SQL: &str = concat!(
    "INSERT INTO request_budgets AS b (tenant_id, next_at, held_until) VALUES ($1, ",
    now!(),
    ", ",
    now!(),
    " + $2 * interval '1 microsecond') ON CONFLICT (tenant_id) DO UPDATE SET held_until = ",
    "GREATEST(b.held_until, EXCLUDED.held_until)"
);

/// How far `next_at` and `held_until` are ahead of the current time, in microseconds.
#[derive(diesel::QueryableByName)]
struct BudgetRow {
    #[diesel(sql_type = BigInt)]
    ahead: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
}

/// The result of reserving one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateReservation {
    /// Reserved. At the steady rate, the requests reserved reach this far into the future.
    Taken(Duration),
    /// Not reserved: earlier reservations already reach this far into the future.
    TooLate(Duration),
    /// Not reserved: no request may be sent for this long.
    Paused(Duration),
}

impl Tx<'_> {
    /// Deletes all reservations and pauses, because the connection has changed.
    pub fn delete_request_budget(&mut self) -> Result<()> {
        diesel::delete(self.scoped(request_budgets::table)).execute(self.conn)?;
        Ok(())
    }
}

impl Db {
    /// Reserves one or more requests to a tenant's ConnectWise: as many as take `interval` at the steady rate. Reserves
    /// nothing if earlier reservations reach further ahead than `limit`. On SQLite there are no replicas, and it always
    /// succeeds.
    pub async fn take_request(
        &self,
        tenant: &TenantId,
        interval: Duration,
        limit: Duration,
    ) -> Result<RateReservation> {
        let tenant = tenant.clone();
        let take = move |conn: &mut Conn| {
            let Conn::Postgres(conn) = conn else { return Ok(RateReservation::Taken(Duration::ZERO)) };
            let length = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or_default());
            let taken: Option<BudgetRow> = diesel::sql_query(RESERVE_SQL)
                .bind::<Text, _>(tenant.as_str())
                .bind::<BigInt, _>(micros(interval))
                .bind::<BigInt, _>(micros(limit))
                .get_result(conn)
                .optional()?;
            if let Some(given) = taken {
                return Ok(RateReservation::Taken(length(given.ahead)));
            }
            let now: BudgetRow = diesel::sql_query(PEEK_SQL).bind::<Text, _>(tenant.as_str()).get_result(conn)?;
            Ok(if now.held > 0 {
                RateReservation::Paused(length(now.held))
            } else {
                RateReservation::TooLate(length(now.ahead))
            })
        };
        self.blocking(take).await
    }

    /// Holds all requests to a tenant's ConnectWise for `wait`. Does nothing on SQLite.
    pub async fn pause_requests(&self, tenant: &TenantId, wait: Duration) -> Result<()> {
        let tenant = tenant.clone();
        let hold = move |conn: &mut Conn| {
            if let Conn::Postgres(conn) = conn {
                let query = diesel::sql_query(PAUSE_SQL).bind::<Text, _>(tenant.as_str());
                query.bind::<BigInt, _>(micros(wait)).execute(conn)?;
            }
            Ok(())
        };
        self.blocking(hold).await
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
