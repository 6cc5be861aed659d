//! The budget of requests that replicas on one PostgreSQL share. Its times are the database's own, so that replicas need
//! not agree about the time; one statement takes a turn, and waits for no transaction.

use std::time::Duration;

use diesel::RunQueryDsl;
use diesel::sql_types::{BigInt, Text};

use super::conn::Conn;
use super::pool::Db;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// Now, as our columns have it.
macro_rules! now {
    () => {
        "(clock_timestamp() AT TIME ZONE 'UTC')"
    };
}

/// `next_at` grows by an interval with each request, and never falls behind the time.
const TAKE: &str = concat!(
    "INSERT INTO request_budgets AS b (tenant_id, next_at, held_until) VALUES ($1, ",
    now!(),
    " + $2 * interval '1 microsecond', ",
    now!(),
    ") ON CONFLICT (tenant_id) DO UPDATE SET next_at = GREATEST(b.next_at, ",
    now!(),
    ") + $2 * interval '1 microsecond' RETURNING (EXTRACT(EPOCH FROM b.next_at - ",
    now!(),
    ") * 1000000)::bigint AS ahead, (EXTRACT(EPOCH FROM b.held_until - ",
    now!(),
    ") * 1000000)::bigint AS held"
);

const HOLD: &str = concat!(
    "INSERT INTO request_budgets AS b (tenant_id, next_at, held_until) VALUES ($1, ",
    now!(),
    ", ",
    now!(),
    " + $2 * interval '1 microsecond') ON CONFLICT (tenant_id) DO UPDATE SET held_until = ",
    "GREATEST(b.held_until, EXCLUDED.held_until)"
);

/// What a request was given.
#[derive(diesel::QueryableByName)]
struct Given {
    #[diesel(sql_type = BigInt)]
    ahead: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
}

/// A request's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How far the requests taken reach beyond now, at the steady rate.
    pub ahead: Duration,
    /// For how long nobody may ask.
    pub held: Duration,
}

impl Db {
    /// Whether other processes may be using the same database.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Takes the place of one request to a tenant's ConnectWise.
    pub async fn take_request(&self, tenant: &TenantId, interval: Duration) -> Result<Place> {
        let tenant = tenant.clone();
        let take = move |conn: &mut Conn| {
            let Conn::Postgres(conn) = conn else { return Ok(Place { ahead: Duration::ZERO, held: Duration::ZERO }) };
            let given: Given = diesel::sql_query(TAKE)
                .bind::<Text, _>(tenant.as_str())
                .bind::<BigInt, _>(micros(interval))
                .get_result(conn)?;
            let length = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or_default());
            Ok(Place { ahead: length(given.ahead), held: length(given.held) })
        };
        self.blocking(take).await
    }

    /// Holds all requests to a tenant's ConnectWise for so long.
    pub async fn hold_requests(&self, tenant: &TenantId, wait: Duration) -> Result<()> {
        let tenant = tenant.clone();
        let hold = move |conn: &mut Conn| {
            if let Conn::Postgres(conn) = conn {
                let query = diesel::sql_query(HOLD).bind::<Text, _>(tenant.as_str());
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
