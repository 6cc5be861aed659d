//! The sandbox's control paths, under `/_sandbox/`. ConnectWise has nothing like them.

use actix_web::{HttpResponse, delete, get, post, put, web};
use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::sample;
use super::state::{Behavior, Shared};
use super::store::Kind;

/// Registers the control paths.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(ledger)
        .service(clear_ledger)
        .service(add_fault)
        .service(clear_faults)
        .service(tune)
        .service(get_record)
        .service(put_record)
        .service(remove_record)
        .service(fill)
        .service(invoice);
}

#[get("/_sandbox/ledger")]
async fn ledger(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(&shared.lock().ledger)
}

#[delete("/_sandbox/ledger")]
async fn clear_ledger(shared: web::Data<Shared>) -> HttpResponse {
    shared.lock().ledger = super::Ledger::default();
    HttpResponse::NoContent().finish()
}

#[post("/_sandbox/faults")]
async fn add_fault(shared: web::Data<Shared>, fault: web::Json<Fault>) -> HttpResponse {
    shared.lock().faults.add(fault.into_inner());
    HttpResponse::NoContent().finish()
}

#[delete("/_sandbox/faults")]
async fn clear_faults(shared: web::Data<Shared>) -> HttpResponse {
    shared.lock().faults.clear();
    HttpResponse::NoContent().finish()
}

#[put("/_sandbox/behavior")]
async fn tune(shared: web::Data<Shared>, behavior: web::Json<Behavior>) -> HttpResponse {
    shared.lock().behavior = behavior.into_inner();
    HttpResponse::NoContent().finish()
}

#[get("/_sandbox/records/{kind}/{id}")]
async fn get_record(shared: web::Data<Shared>, path: web::Path<(Kind, i64)>) -> HttpResponse {
    let (kind, id) = path.into_inner();
    match shared.lock().store.get(kind, id) {
        Some(record) => HttpResponse::Ok().json(record),
        None => HttpResponse::NotFound().finish(),
    }
}

#[put("/_sandbox/records/{kind}/{id}")]
async fn put_record(
    shared: web::Data<Shared>,
    path: web::Path<(Kind, i64)>,
    members: web::Json<Map<String, Value>>,
) -> HttpResponse {
    let (kind, id) = path.into_inner();
    shared.change(|store| store.merge(kind, id, members.into_inner()));
    HttpResponse::NoContent().finish()
}

#[delete("/_sandbox/records/{kind}/{id}")]
async fn remove_record(shared: web::Data<Shared>, path: web::Path<(Kind, i64)>) -> HttpResponse {
    let (kind, id) = path.into_inner();
    match shared.change(|store| store.remove(kind, id)) {
        true => HttpResponse::NoContent().finish(),
        false => HttpResponse::NotFound().finish(),
    }
}

#[derive(Debug, Deserialize)]
struct Fill {
    companies: i64,
    agreements_each: i64,
    additions_each: i64,
}

#[post("/_sandbox/fill")]
async fn fill(shared: web::Data<Shared>, size: web::Json<Fill>) -> HttpResponse {
    let store = sample::many(size.companies, size.agreements_each, size.additions_each);
    shared.lock().store = store;
    HttpResponse::Ok().json(json!({"companies": size.companies}))
}

#[derive(Debug, Deserialize)]
struct InvoicingRequest {
    date: NaiveDate,
}

#[post("/_sandbox/invoice")]
async fn invoice(shared: web::Data<Shared>, run: web::Json<InvoicingRequest>) -> HttpResponse {
    HttpResponse::Ok().json(shared.change(|store| store.invoice(run.date)))
}
