//! People's actions: MSPs' clerks through the API, and users of ConnectWise directly there.

use connectwise_billing::sandbox::{Fault, FaultKind, Kind};
use reqwest::Method;
use serde_json::{Value, json};

use super::actions::Simulation;
use super::executor::Role;
use super::world::{Api, COMPANIES, PRODUCTS, additions, agreements};
use crate::support::status;

/// Maximum number of requests of people that are pending.
const REQUESTS: usize = 2;

/// One of the newest rows of a list.
async fn one_of(api: &Api, path: &str, pick: usize) -> Option<Value> {
    let rows = api.items(path).await;
    (!rows.is_empty()).then(|| rows[pick % rows.len()].clone())
}

async fn on_a_job(api: &Api, pick: usize, action: &str) {
    if let Some(job) = one_of(api, "/push-jobs?limit=6", pick).await {
        let path = format!("/push-jobs/{}/{action}", job["id"].as_str().unwrap());
        api.send(Method::POST, &path, json!({})).await;
    }
}

async fn push_a_dry_run(api: &Api, pick: usize) {
    let finished = "/push-jobs?state=succeeded&limit=6";
    if let Some(job) = one_of(api, finished, pick).await.filter(|job| job["kind"] == "dry_run") {
        api.send(Method::POST, "/push-jobs", json!({"from_dry_run": job["id"]})).await;
    }
}

async fn edit_a_line(api: &Api, pick: usize) {
    let Some(line) = one_of(api, "/billing-lines?limit=50", pick).await else { return };
    let path = format!("/billing-lines/{}", line["id"].as_str().unwrap());
    let edit = match pick / 64 % 3 {
        0 => json!({"block_size": "50"}),
        _ => json!({"push_enabled": line["push_enabled"] == false}),
    };
    api.send(Method::PATCH, &path, edit).await;
}

/// Limits how far a push may change a quantity without approval, or lifts the limit.
async fn guard_a_product(api: &Api, pick: usize) {
    let Some(product) = one_of(api, "/products", pick).await else { return };
    let path = format!("/products/{}", product["id"].as_str().unwrap());
    let limit = if (pick / 64).is_multiple_of(2) { json!("3") } else { Value::Null };
    api.send(Method::PATCH, &path, json!({"max_change_units": limit})).await;
}

/// Starts a push with a key that is revoked at once.
async fn push_with_a_revoked_key(api: &Api) {
    let Some(made) = api.send(Method::POST, "/api-keys", json!({"name": "short"})).await else { return };
    let (Some(secret), Some(id)) = (made["key"].as_str(), made["api_key"]["id"].as_str()) else {
        panic!("a key has another shape: {made}")
    };
    let (temporary, path) = (api.with_key(secret), format!("/api-keys/{id}"));
    tokio::join!(temporary.send(Method::POST, "/push-jobs", json!({})), api.send(Method::DELETE, &path, Value::Null));
}

/// A clerk sends one request, or a few that belong together.
pub fn act(simulation: &mut Simulation<'_>) {
    if simulation.tasks.count(Role::is_person) >= REQUESTS {
        return;
    }
    let replica = simulation.awake();
    let tenant = simulation.rng.usize(..simulation.world.template.tenants.len());
    let api = simulation.world.api(tenant, replica);
    let (kind, pick) = (simulation.rng.u32(..100), simulation.rng.usize(..4_096));
    let connection = |key: Option<&str>| simulation.world.template.tenants[tenant].connection(key);
    let (right, wrong) = (connection(None), connection(Some("wrong")));
    let record = json!({
        "company_external_id": format!("C{}", 1 + i64::try_from(pick).unwrap() % COMPANIES),
        "product_code": PRODUCTS[pick / 8 % PRODUCTS.len()].0,
        // Each tenant has quantities of its own.
        "amount": (pick % 37 * 200 + tenant * 100 + 50).to_string(), "measured_at": simulation.world.clock.now(),
    });
    simulation.note(format!("a person of tenant {tenant} does {kind} with {pick}"));
    simulation.tasks.start(Role::Person(replica), async move {
        match kind {
            0..25 => drop(api.send(Method::POST, "/push-jobs", json!({})).await),
            25..32 => drop(api.send(Method::POST, "/push-jobs", json!({"dry_run": true})).await),
            32..37 => push_a_dry_run(&api, pick).await,
            37..52 => drop(api.send(Method::POST, "/usage", json!({"records": [record]})).await),
            52..60 => on_a_job(&api, pick, "cancel").await,
            60..66 => on_a_job(&api, pick, "revert").await,
            66..70 => on_a_job(&api, pick, "retry").await,
            70..76 => on_a_job(&api, pick, "lines/approve").await,
            76..79 => on_a_job(&api, pick, "lines/drop").await,
            79..84 => edit_a_line(&api, pick).await,
            84..88 => guard_a_product(&api, pick).await,
            88..90 => drop(api.send(Method::PUT, "/connection", wrong).await),
            90..94 => drop(api.send(Method::PUT, "/connection", right).await),
            94 => {
                api.send(Method::DELETE, "/connection", Value::Null).await;
                api.send(Method::PUT, "/connection", right).await;
            }
            95..98 => drop(api.send(Method::POST, "/connectwise/refresh", json!({})).await),
            _ => push_with_a_revoked_key(&api).await,
        }
    });
}

/// The next requests to a tenant's ConnectWise fail.
pub fn break_connectwise(simulation: &mut Simulation<'_>) {
    let tenant = simulation.rng.usize(..simulation.world.template.tenants.len());
    let kind = match simulation.rng.u32(..14) {
        0 => FaultKind::Drop,
        1..4 => FaultKind::DropAfter,
        4 => FaultKind::StatusAfter { status: 500 },
        5 => FaultKind::Throttle { retry_after: [0, 0, 0, 1][simulation.rng.usize(..4)], html: false },
        6 => FaultKind::Truncated,
        7 => FaultKind::WrongType,
        8 => FaultKind::FalseSuccess,
        9 => FaultKind::Html,
        10 => FaultKind::Page { status: 502 },
        11 => FaultKind::Slow { ms: 30 },
        _ => status([400, 401, 403, 404, 409, 500, 503][simulation.rng.usize(..7)]),
    };
    let times = if simulation.rng.u32(..5) == 0 { 12 } else { simulation.rng.u32(1..3) };
    let mut fault = Fault::once(kind).times(times);
    if simulation.rng.bool() {
        fault = fault.on(if simulation.rng.u32(..4) == 0 { "GET" } else { "PATCH" });
    }
    simulation.note(format!("ConnectWise of tenant {tenant}: {fault:?}"));
    simulation.world.template.tenants[tenant].sandbox.fail(fault);
}

/// A user of ConnectWise changes an addition's quantity, cancels an agreement, or undoes that.
pub fn change_connectwise(simulation: &mut Simulation<'_>) {
    let tenant = simulation.rng.usize(..simulation.world.template.tenants.len());
    let sandbox = simulation.world.template.tenants[tenant].sandbox.clone();
    if simulation.rng.u32(..4) > 0 {
        let all = additions(tenant);
        let (addition, quantity) = (all[simulation.rng.usize(..all.len())], f64::from(simulation.rng.u32(..20)) + 0.5);
        simulation.note(format!("a user of ConnectWise sets addition {addition} of tenant {tenant} to {quantity}"));
        let members = json!({"quantity": quantity}).as_object().unwrap().clone();
        // Recorded before the change is made, because a write may see it at once.
        let mut set = simulation.checks.set_by_people.lock().unwrap();
        set.entry((tenant, addition)).or_default().push(Some(quantity));
        drop(set);
        sandbox.change(|records| records.merge(Kind::Additions, addition, members));
    } else {
        let all = agreements(tenant);
        let (agreement, cancelled) = (all[simulation.rng.usize(..all.len())], simulation.rng.bool());
        simulation.note(format!("agreement {agreement} of tenant {tenant}: cancelled {cancelled}"));
        let members = json!({"cancelledFlag": cancelled}).as_object().unwrap().clone();
        sandbox.change(|records| records.merge(Kind::Agreements, agreement, members));
    }
}
