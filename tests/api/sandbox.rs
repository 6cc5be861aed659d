//! Tests the sandbox itself: it behaves as ConnectWise is documented or was observed to, so tests against it are valid.

use connectwise_billing::sandbox::{Fault, FaultKind, Kind, Sandbox, Store, sample};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Reply, http_client, sandbox, schema};

const VERSION: &str = "application/vnd.connectwise.com+json; version=2025.1";

struct Raw {
    sandbox: Sandbox,
    http: reqwest::Client,
}

fn raw() -> Raw {
    let mut store = sample::many(3, 2, 2);
    store.put(Kind::Companies, sample::company(9, "it's", "The \"quoted\""));
    with(store)
}

fn with(store: Store) -> Raw {
    Raw { sandbox: sandbox(store), http: http_client() }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            schema::assert_responses_match(&self.sandbox.ledger());
        }
    }
}

impl Raw {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v2025_1/apis/3.0/{path}", self.sandbox.site());
        let identity = self.sandbox.identity();
        let user = format!("{}+{}", identity.company_id, identity.public_key);
        let request = self.http.request(method, url).basic_auth(user, Some(&identity.private_key));
        request.header("clientId", &identity.client_id).header("accept", VERSION)
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Reply {
        Reply::read(self.request(Method::GET, path).query(query).send().await.unwrap()).await
    }

    async fn change(&self, method: Method, path: &str, body: Value) -> Reply {
        Reply::read(self.request(method, path).json(&body).send().await.unwrap()).await
    }
}

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_need_the_right_credentials() {
    let raw = raw();
    let url = format!("{}/v2025_1/apis/3.0/company/companies", raw.sandbox.site());
    let bare = |request: RequestBuilder| async { Reply::read(request.send().await.unwrap()).await };
    let identity = raw.sandbox.identity().clone();
    let user = format!("{}+{}", identity.company_id, identity.public_key);
    let no_client = raw.http.get(&url).basic_auth(&user, Some(&identity.private_key));
    let reply = bare(no_client).await;
    assert!(reply.status == 400 && reply.text.contains("clientId"), "{}", reply.text);
    let bad_key = raw.http.get(&url).basic_auth(&user, Some("wrong")).header("clientId", &identity.client_id);
    assert_eq!(bare(bad_key).await.expect(401)["message"], "UserNotAuthenticated");
    let elsewhere = raw.http.get(url.replace("v2025_1", "v4_6_release"));
    assert_eq!(bare(elsewhere).await.expect(404)["message"], "Cannot route. Codebase/company is invalid");
    let info = |company: &str| raw.http.get(format!("{}/login/companyinfo/{company}", raw.sandbox.site()));
    assert_eq!(bare(info("sandbox")).await.expect(200)["Codebase"], "v2025_1/");
    assert_eq!(bare(info("unknown")).await.expect(200), Value::Null, "an unknown company is 200 and null");
    assert!(raw.sandbox.ledger().violations.iter().any(|text| text.contains("no version is pinned")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists() {
    let raw = raw();
    let companies = raw.get("company/companies", &[]).await;
    assert!(companies.header("link").contains("rel=\"last\"") && !companies.header("link").contains("rel=\"next\""));
    assert!(companies[0].get("phoneNumber").is_none(), "null members are left out");
    let page = raw.get("company/companies", &[("pageSize", "2"), ("page", "2"), ("orderBy", "id desc")]).await;
    assert_eq!(ids(&page), [2, 1]);
    assert!(page.header("link").contains("rel=\"prev\"") && page.header("link").contains("rel=\"first\""));
    let forward = raw.request(Method::GET, "company/companies?pageSize=3").header("pagination-type", "forward-only");
    let forward = Reply::read(forward.send().await.unwrap()).await;
    assert_eq!(ids(&forward), [1, 2, 3]);
    assert!(forward.header("link").contains("pageId=3"), "{}", forward.header("link"));
    let end = raw.request(Method::GET, "company/companies?pageId=3").header("pagination-type", "forward-only");
    let end = Reply::read(end.send().await.unwrap()).await;
    assert_eq!((ids(&end), end.header("link"), end.headers.contains_key("link")), (vec![9], "", true));
    let some = raw.get("finance/agreements", &[("fields", "id,type/name"), ("pageSize", "1")]).await;
    assert_eq!(some.json, json!([{"id": 2, "type": {"name": "SP Backup"}}]));
    assert_eq!(raw.get("company/companies/count", &[("conditions", "id > 1")]).await.expect(200), json!({"count": 3}));
    assert_eq!(raw.get("company/companies/2", &[]).await.expect(200)["identifier"], "C2");
    raw.get("company/companies/77", &[]).await.expect(404);
    raw.get("company/companies", &[("page", "0")]).await.expect(400);
    raw.get("company/companies", &[("conditon", "id = 1")]).await.expect(200);
    assert!(raw.sandbox.ledger().violations.iter().any(|text| text.contains("the parameter conditon is unknown")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions() {
    let raw = raw();
    for (condition, found) in [
        ("identifier = 'c2'", vec![2]),
        ("id in (1, 3)", vec![1, 3]),
        ("name like 'Customer%3' or id = 9", vec![3, 9]),
        ("name not contains \"Customer\"", vec![9]),
        ("identifier = \"it's\"", vec![9]),
        ("(id = 1 or id = 2) and status/name = \"active\"", vec![1, 2]),
        ("deletedFlag = true", vec![]),
    ] {
        assert_eq!(
            ids(&raw.get("company/companies", &[("conditions", condition)]).await.expect(200)),
            found,
            "{condition}"
        );
    }
    let unknown = raw.get("finance/agreements", &[("conditions", "typeids = 1")]).await.expect(400);
    assert_eq!(
        (&unknown["code"], &unknown["message"]),
        (&json!("ApiFindCondition"), &json!("typeids is not a recognized name."))
    );
    raw.get("company/companies", &[("conditions", "name = unquoted")]).await.expect(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_an_addition() {
    let raw = raw();
    let path = "finance/agreements/2/additions/4";
    let patch = |operations: Value| raw.change(Method::PATCH, path, operations);
    let replace = |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    let patched = patch(replace("quantity", json!(2.5))).await.expect(200);
    assert_eq!((&patched["quantity"], &patched["billedQuantity"]), (&json!(2.5), &json!(2.5)));
    assert_eq!(patch(replace("quantity", json!("7"))).await.expect(200)["quantity"], json!(7.0), "text is coerced");
    let false_success = patch(replace("product/identifier", json!("X"))).await.expect(200);
    assert_eq!(false_success["product"]["identifier"], "BKP-GB", "a path into an object changes nothing");
    assert_eq!(
        patch(replace("extPrice", json!(1))).await.expect(200)["quantity"],
        json!(7.0),
        "derived members are ignored"
    );
    let wrong_case = patch(replace("Quantity", json!(1))).await.expect(400);
    assert_eq!(wrong_case["code"], "InvalidObject");
    patch(replace("quantity", json!("many"))).await.expect(400);
    patch(json!({"quantity": 1})).await.expect(400);
    let late = patch(replace("effectiveDate", json!("2026-01-01T00:00:00.000Z"))).await.expect(400);
    assert!(late["message"].as_str().unwrap().contains("Unsupported format"));
    let put =
        raw.change(Method::PUT, path, json!({"product": {"id": 7}, "billCustomer": "Billable"})).await.expect(200);
    assert!(put.get("quantity").is_none(), "PUT resets what is left out: {put}");
    raw.change(Method::PUT, path, json!({"quantity": 1})).await.expect(400);
    raw.change(Method::PATCH, "finance/agreements/3/additions/4", replace("quantity", json!(1))).await.expect(404);
    let new = json!({"product": {"id": 7, "identifier": "BKP-GB"}, "billCustomer": "Billable", "quantity": 3});
    let made = raw.change(Method::POST, "finance/agreements/2/additions", new).await.expect(201);
    let made = format!("finance/agreements/2/additions/{}", made["id"]);
    assert_eq!(raw.request(Method::DELETE, &made).send().await.unwrap().status(), 204);
    raw.get(&made, &[]).await.expect(404);
    assert_eq!(raw.sandbox.ledger().writes[0].to, Some(2.5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_on_purpose() {
    let raw = raw();
    let get = || raw.get("company/companies", &[]);
    raw.sandbox.fail(Fault::once(FaultKind::Throttle { retry_after: 7, html: false }));
    let throttled = get().await;
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, "7"));
    assert_eq!(
        (&throttled["error"], throttled.get("code")),
        (&json!("ConnectWiseAPI"), None),
        "error in place of code"
    );
    raw.sandbox.fail(Fault::once(FaultKind::Html));
    assert!(get().await.text.starts_with("<html>"));
    raw.sandbox.fail(Fault::once(FaultKind::Truncated));
    assert!(serde_json::from_str::<Value>(&get().await.text).is_err());
    for cut in [FaultKind::Drop, FaultKind::DropAfter, FaultKind::Hang { ms: 10 }] {
        raw.sandbox.fail(Fault::once(cut));
        let answer = raw.request(Method::GET, "company/companies").send().await;
        assert!(answer.is_err() || answer.unwrap().bytes().await.is_err(), "the connection is cut");
    }
    raw.sandbox.tune(|behavior| behavior.parallel = 0);
    get().await.expect(429);
    raw.sandbox.tune(|behavior| (behavior.parallel, behavior.requests_per_minute) = (10, 1));
    get().await.expect(429);
    let over_http = raw.http.post(format!("{}/_sandbox/faults", raw.sandbox.site()));
    let told = over_http.json(&json!({"kind": "status", "status": 503, "times": 2})).send().await.unwrap();
    assert_eq!(told.status(), 204);
    raw.sandbox.tune(|behavior| behavior.requests_per_minute = 1_000);
    get().await.expect(503);
    get().await.expect(503);
    get().await.expect(200);
}
