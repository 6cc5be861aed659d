//! A site that is not ConnectWise: its lists have no end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use connectwise_billing::sandbox::sample;
use serde_json::json;

use crate::support::{Backend, TestApp};

/// Serves lists whose pages have thirty long records each. Returns its address and the number of pages that were read.
fn endless_lists() -> (String, Arc<AtomicUsize>) {
    let pages = Arc::new(AtomicUsize::new(0));
    let read = web::Data::from(pages.clone());
    let respond = |req: HttpRequest, read: web::Data<AtomicUsize>| async move {
        if req.path().contains("companyinfo") {
            return HttpResponse::Ok().json(json!({"Codebase": "v2025_1/"}));
        }
        let page = 1 + read.fetch_add(1, Ordering::Relaxed);
        let link = format!("<http://x{}?pageId={page}>; rel=\"next\"", req.path());
        let record = |n| json!({"id": page * 30 + n, "name": "x".repeat(200 * 1024)});
        HttpResponse::Ok().insert_header(("Link", link)).json((0..30).map(record).collect::<Vec<_>>())
    };
    let server = HttpServer::new(move || App::new().app_data(read.clone()).default_service(web::to(respond)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
    (site, pages)
}

/// On one database only: the memory for lists is shared by all tests.
#[tokio::test]
async fn a_list_that_needs_too_much_memory_is_not_read_further() {
    let app = TestApp::start(Backend::Sqlite, sample::many(1, 1, 1)).await;
    let (site, pages) = endless_lists();
    let mut connection = app.connection();
    connection["site"] = json!(site);
    app.put("/connection", &connection).await.expect(200);
    let problem = app.post("/connectwise/refresh", &json!({})).await.problem(502, "connectwise_invalid_response");
    assert!(problem["detail"].as_str().unwrap().contains("MiB of memory"), "{problem}");
    assert!(pages.load(Ordering::Relaxed) <= 10, "{pages:?} pages of 6 MiB were read");
    app.connect().await;
    app.post("/connectwise/refresh", &json!({})).await.expect(200);
}
