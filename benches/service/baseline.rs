//! The baselines: the same bytes from a bare HTTP server, the same rows by plain SQL, and the same calls to ConnectWise's
//! stand-in from a plain loop.

use std::time::Instant;

use actix_web::{App, HttpResponse, HttpServer, web};
use connectwise_billing::sandbox::Sandbox;
use diesel::connection::{DefaultLoadingMode, LoadConnection, SimpleConnection};
use diesel::row::Row;
use diesel::{Connection, PgConnection, SqliteConnection};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{COMPANIES, CONNECTIONS, MEASURED, Measured};

/// Connections to the database that read at the same time, as many as the service's pool has.
const POOL: usize = 8;

/// Requests a second at [`CONNECTIONS`] connections.
pub async fn rate(http: &Client, url: &str, key: &str) -> Measured<f64> {
    let begun = Instant::now();
    let ask = || async {
        let mut asked = 0_u32;
        while begun.elapsed() < MEASURED {
            http.get(url).bearer_auth(key).send().await?.error_for_status()?.bytes().await?;
            asked += 1;
        }
        Ok::<u32, reqwest::Error>(asked)
    };
    let asked: u32 = try_join_all((0..CONNECTIONS).map(|_| ask())).await?.into_iter().sum();
    Ok(f64::from(asked) / begun.elapsed().as_secs_f64())
}

/// Requests a second to a server that only sends these bytes.
pub async fn http_rate(http: &Client, bytes: Vec<u8>) -> Measured<f64> {
    let body = web::Bytes::from(bytes);
    let server = HttpServer::new(move || {
        let body = body.clone();
        App::new().default_service(web::to(move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").body(body) }
        }))
    });
    let server = server.workers(2).bind("127.0.0.1:0")?;
    let url = format!("http://{}/", server.addrs()[0]);
    let server = server.disable_signals().run();
    let handle = server.handle();
    tokio::spawn(server);
    let rate = rate(http, &url, "x").await;
    handle.stop(false).await;
    rate
}

/// Reads the rows of all statements again and again, and counts how often.
macro_rules! read_again {
    ($conn:expr, $statements:expr, $begun:expr) => {{
        let (mut conn, mut read) = ($conn, 0);
        while $begun.elapsed() < MEASURED {
            for statement in &$statements {
                for row in LoadConnection::<DefaultLoadingMode>::load(&mut conn, diesel::sql_query(statement))? {
                    std::hint::black_box(row?.field_count());
                }
            }
            read += 1;
        }
        Ok(read)
    }};
}

/// Reads a second of the rows of these statements, on [`POOL`] connections.
pub async fn sql_rate(database: &str, statements: &[String]) -> Measured<f64> {
    let begun = Instant::now();
    let threads = (0..POOL).map(|_| {
        let (database, statements) = (database.to_owned(), statements.to_vec());
        tokio::task::spawn_blocking(move || {
            if database.starts_with("postgres") {
                read_again!(PgConnection::establish(&database)?, statements, begun)
            } else {
                read_again!(SqliteConnection::establish(&database)?, statements, begun)
            }
        })
    });
    let read: Vec<Measured<u32>> = try_join_all(threads).await?;
    let read: u32 = read.into_iter().collect::<Measured<Vec<u32>>>()?.into_iter().sum();
    Ok(f64::from(read) / begun.elapsed().as_secs_f64())
}

/// Rows a second, as wide as a usage record, inserted in transactions of this many rows.
pub fn insert_rate(database: &str, batch: usize) -> Measured<f64> {
    if database.starts_with("postgres") {
        return insert_rows(&mut PgConnection::establish(database)?, batch);
    }
    let mut conn = SqliteConnection::establish(database)?;
    conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    insert_rows(&mut conn, batch)
}

fn insert_rows(conn: &mut impl SimpleConnection, batch: usize) -> Measured<f64> {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS baseline (id TEXT PRIMARY KEY, tenant TEXT, product TEXT, company TEXT, \
        at TEXT, source TEXT, amount TEXT); CREATE INDEX IF NOT EXISTS baseline_key ON baseline (tenant, product, company, at)";
    conn.batch_execute(TABLE)?;
    let id = || uuid::Uuid::now_v7();
    let (tenant, product) = (id(), id());
    let row = |c: usize| format!("('{}','{tenant}','{product}','{}','2026-11-01T00:00:00','api','{c}.5')", id(), id());
    let rows: Vec<String> = (0..COMPANIES).map(row).collect();
    let begun = Instant::now();
    for rows in rows.chunks(batch) {
        conn.batch_execute(&format!("BEGIN; INSERT INTO baseline VALUES {}; COMMIT", rows.join(",")))?;
    }
    Ok(COMPANIES as f64 / begun.elapsed().as_secs_f64())
}

/// Additions a second that a plain loop writes, with the calls of a push and as many at the same time: each agreement's
/// additions are read, and each of them gets another quantity.
pub async fn write_rate(sandbox: &Sandbox, agreements: usize, parallel: usize) -> Measured<f64> {
    let (http, identity) = (Client::builder().no_gzip().build()?, sandbox.identity().clone());
    let call = |request: reqwest::RequestBuilder| {
        let user = format!("{}+{}", identity.company_id, identity.public_key);
        let request = request.basic_auth(user, Some(&identity.private_key)).header("clientId", &identity.client_id);
        async move { request.send().await?.error_for_status()?.bytes().await }
    };
    let begun = Instant::now();
    let written: Vec<usize> = stream::iter(1..=agreements)
        .map(|agreement| {
            let url = format!("{}/v2025_1/apis/3.0/finance/agreements/{agreement}/additions", sandbox.site());
            let (http, call) = (&http, &call);
            async move {
                let additions: Vec<Value> = serde_json::from_slice(&call(http.get(&url)).await?)?;
                for addition in &additions {
                    let change = json!([{"op": "replace", "path": "quantity", "value": 3}]);
                    call(http.patch(format!("{url}/{}", addition["id"])).json(&change)).await?;
                }
                Measured::Ok(additions.len())
            }
        })
        .buffer_unordered(parallel)
        .try_collect()
        .await?;
    Ok(written.into_iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64())
}
