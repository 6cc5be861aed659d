//! What one replica does to the others through the database they share.

use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl};
use serde_json::json;

use crate::support::{Backend, TestApp};

#[derive(QueryableByName)]
struct Tenant {
    #[diesel(sql_type = Text)]
    id: String,
}

/// A replica that is stopped in the middle of a transaction holds its tenant's lock: writes wait for it, and reads must
/// not wait behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_while_writes_wait_for_another_replica() {
    let app = TestApp::start(Backend::Postgres, connectwise_billing::sandbox::Store::default()).await;
    let mut other = PgConnection::establish(app.database_url()).unwrap();
    let tenant: Tenant = diesel::sql_query("SELECT id FROM tenants").get_result(&mut other).unwrap();
    let run = |conn: &mut PgConnection, sql: &str| diesel::sql_query(sql).execute(conn).unwrap();
    run(&mut other, "BEGIN");
    run(&mut other, &format!("SELECT pg_advisory_xact_lock(hashtextextended('{}', 0))", tenant.id));
    let bodies: Vec<_> = (1..=8).map(|n| json!({"external_id": format!("C{n}"), "name": "Waiting"})).collect();
    let writes = futures_util::future::join_all(bodies.iter().map(|body| app.post("/companies", body)));
    let reads = async {
        // Once all of the writes have begun to wait, however many connections they take.
        for _ in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            app.get("/companies").await.expect(200);
        }
        run(&mut other, "ROLLBACK");
    };
    let (written, ()) = tokio::join!(writes, reads);
    for reply in written {
        reply.expect(201);
    }
}
