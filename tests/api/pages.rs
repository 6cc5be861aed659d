//! Pages of billing lines show each line once, in every order and direction, and under every filter.

use connectwise_billing::sandbox::{Kind, Store, sample};
use serde_json::{Value, json};

use crate::support::{Backend, TestApp, job_path};

/// Companies with few different names, so many share one, and three products.
async fn ready(backend: Backend) -> (TestApp, Vec<String>) {
    let mut store = Store::default();
    for c in 1..=30 {
        store.put(Kind::Companies, sample::company(c, &format!("C{c}"), &format!("Unique {c}")));
    }
    let app = TestApp::connected(backend, store).await;
    let companies: Vec<Value> = (0..40)
        .map(|n| json!({"external_id": format!("C{:02}", (n * 7) % 40), "name": format!("name {}", n % 6)}))
        .collect();
    app.post("/companies/batch", &json!({"companies": companies})).await.expect(200);
    let mut products = Vec::new();
    for code in ["A", "B", "C"] {
        products.push(app.product(code).await);
    }
    let enabled: Vec<Value> =
        app.all("/billing-lines").await.iter().step_by(3).map(|line| line["id"].clone()).collect();
    app.patch("/billing-lines", &json!({"ids": enabled, "push_enabled": true})).await.expect(200);
    app.post("/companies/auto-match", &json!({})).await.expect(200);
    (app, products)
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["id"].as_str().unwrap()).collect()
}

async fn pages_show_each_line_once_in_order(backend: Backend) {
    let (app, products) = ready(backend).await;
    let filters = [
        "",
        "&push_enabled=true",
        "&search=name%203",
        "&matched=false",
        "&matched=true",
        "&agreement_status=ambiguous",
    ];
    let scopes = [String::new(), format!("&product_id={}", products[1])];
    for sort in ["company_name", "company_external_id", "agreement_status", "addition_status", "created_at"] {
        for scope in &scopes {
            for filter in filters {
                let whole = app.all(&format!("/billing-lines?limit=500&sort={sort}{scope}{filter}")).await;
                let pages = app.all(&format!("/billing-lines?limit=7&sort={sort}{scope}{filter}")).await;
                assert_eq!(ids(&pages), ids(&whole), "{sort}{scope}{filter}");
                let back = app.all(&format!("/billing-lines?limit=7&sort=-{sort}{scope}{filter}")).await;
                let mut reversed = ids(&whole);
                reversed.reverse();
                assert_eq!(ids(&back), reversed, "-{sort}{scope}{filter}");
            }
        }
    }
}

async fn lines_come_by_company_name_and_those_of_a_company_together(backend: Backend) {
    let (app, _) = ready(backend).await;
    let lines = app.all("/billing-lines?limit=7").await;
    assert_eq!(lines.len(), 120);
    let places: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["company"]["name"].as_str().unwrap(), line["company"]["id"].as_str().unwrap()))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    // Each page begins or ends within a company, or both.
    assert_eq!(app.all("/billing-lines?limit=2").await, lines);
    let enabled = app.all("/billing-lines?limit=7&push_enabled=true").await;
    assert_eq!(enabled.len(), 40, "a third of them");
}

/// A list links to its next page and, on request, has the total number of items.
async fn a_list_tells_its_next_page_and_its_total(backend: Backend) {
    let (app, products) = ready(backend).await;
    app.push(&json!({})).await;
    let product = &products[0];
    for (path, total) in [
        (format!("/billing-lines?product_id={product}&matched=true&limit=4"), 5),
        ("/billing-lines?push_enabled=true&limit=11&sort=-agreement_status".to_owned(), 40),
        ("/companies?search=name%203&limit=2".to_owned(), 7),
        ("/products?limit=2".to_owned(), 3),
        ("/push-jobs?limit=1".to_owned(), 1),
        (format!("/push-lines?product_id={product}&limit=30"), 40),
        ("/connectwise/companies?search=unique%201&limit=3".to_owned(), 11),
        ("/usage?limit=1".to_owned(), 0),
        ("/agreement-mappings?status=ambiguous".to_owned(), 0),
    ] {
        let counted = app.get(&format!("{path}&total=true")).await;
        let rows = app.all(&path).await;
        assert_eq!(counted["total"], rows.len(), "{path}: {}", counted.text);
        if !path.contains("matched=true") {
            assert_eq!(rows.len(), total, "{path}");
        }
        assert!(app.get(&path).await.get("total").is_none(), "{path}");
        let (mut by_link, mut next) = (Vec::new(), Some(path.clone()));
        while let Some(at) = next {
            let page = app.get(&at).await;
            by_link.extend(page["items"].as_array().unwrap().clone());
            let link = page.header("link").to_owned();
            assert_eq!(link.is_empty(), page["next_cursor"].is_null(), "{at}");
            let address = link.strip_prefix("</api/v1").and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
            next = address.map(str::to_owned);
            assert!(link.is_empty() || next.is_some(), "{link}");
        }
        assert_eq!(by_link, rows, "{path}");
    }
    let first = app.get("/billing-lines?limit=5&push_enabled=true").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    for other in ["", "&push_enabled=false", "&push_enabled=true&matched=true"] {
        let path = format!("/billing-lines?limit=5{other}&cursor={cursor}");
        assert_eq!(app.get(&path).await.problem(422, "validation")["errors"][0]["code"], "bad_cursor", "{path}");
    }
    app.get(&format!("/billing-lines?push_enabled=true&limit=9&cursor={cursor}")).await.expect(200);
    // A cursor also belongs to its path: the lines of one push job are not those of another.
    let jobs = app.all("/push-jobs").await;
    app.push(&json!({})).await;
    let other = app.all("/push-jobs?sort=created_at").await.pop().unwrap();
    let first = app.get(&format!("/push-jobs/{}/lines?limit=1", jobs[0]["id"].as_str().unwrap())).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let path = format!("/push-jobs/{}/lines?cursor={cursor}", other["id"].as_str().unwrap());
    app.get(&path).await.problem(422, "validation");
    app.get("/billing-lines?total=true&out_of_date=true").await.problem(422, "validation");
}

/// Lists of push lines go on from one job to the next, with a cursor that has only the line's id.
async fn push_lines_are_listed_over_several_jobs(backend: Backend) {
    let app = TestApp::connected(backend, Default::default()).await;
    app.product("P").await;
    for c in 1..=4 {
        app.company(&format!("C{c}"), &format!("Company {c}")).await;
    }
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(app.push(&json!({})).await.0);
    }
    let oldest = app.all("/push-lines?sort=created_at&limit=3").await;
    let ids: Vec<&str> = oldest.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 12);
    assert!(ids.is_sorted_by(|one, next| one < next), "each once, in the order of creation: {ids:?}");
    let mut newest = app.all("/push-lines?limit=3").await;
    newest.reverse();
    assert_eq!(newest, oldest);
    let mut by_job = Vec::new();
    for job in &jobs {
        by_job.extend(app.all(&format!("{}/lines?limit=3", job_path(job))).await);
    }
    assert_eq!(by_job.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
}

on_both!(
    pages_show_each_line_once_in_order,
    lines_come_by_company_name_and_those_of_a_company_together,
    a_list_tells_its_next_page_and_its_total,
    push_lines_are_listed_over_several_jobs,
);
