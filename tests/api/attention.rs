//! A billing clerk's view: counts by state, the lines that need attention, and what an edit changed.

use std::collections::BTreeSet;

use connectwise_billing::sandbox::Fault;
use serde_json::{Value, json};

use crate::push::ready;
use crate::support::{Backend, TestApp, status};

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["company"]["name"].as_str().unwrap()).collect()
}

/// Six lines: one rejected by ConnectWise, one not enabled, one Not Set, three pushed.
async fn pushed(backend: Backend) -> (TestApp, String) {
    let (app, product) = ready(backend, 5).await;
    app.company("C6", "Company 6").await;
    let lines = app.all("/billing-lines").await;
    let second = lines[1]["id"].as_str().unwrap();
    app.patch(&format!("/billing-lines/{second}"), &json!({"push_enabled": false})).await.expect(200);
    app.sandbox.fail(Fault::once(status(400)).on("PATCH").at("additions/300").times(100));
    app.push(&json!({"product_id": product})).await;
    (app, product)
}

async fn a_summary_counts_what_the_list_shows(backend: Backend) {
    let (app, product) = pushed(backend).await;
    let other = app.product("OTHER").await;
    let summary = app.get("/billing-lines/summary").await;
    let rows = summary["items"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["product_code"].as_str().unwrap()).collect::<Vec<_>>(), ["OTHER", "STORAGE"]);
    let row = &rows[1];
    assert_eq!((&row["lines"], &row["push_enabled"], &row["needs_attention"]), (&json!(6), &json!(4), &json!(2)));
    assert_eq!(row["agreements"], json!({"resolved": 5, "unresolved": 1, "ambiguous": 0, "stale": 0}));
    let needs: Vec<Value> =
        row["needs"].as_array().unwrap().iter().map(|need| json!([need["need"], need["lines"]])).collect();
    assert_eq!(needs, [json!(["company", 1]), json!(["failure", 1])]);
    assert!(row["needs"][0]["explanation"].as_str().unwrap().contains("Match them"), "{row}");
    let counts = json!([{"state": "pushed", "lines": 3}, {"state": "failed", "lines": 1}]);
    assert_eq!(row["last_pushes"], counts, "{row}");
    let one = app.get(&format!("/billing-lines/summary?product_id={other}")).await;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(one["items"][0]["needs_attention"], 6, "nothing is resolved without a rule");
    app.get("/billing-lines/summary?product_id=none").await.problem(422, "validation");
    for (filter, found) in
        [("needs_attention=true", 1), ("search=company%206&status=unresolved", 1), ("push_enabled=false", 2)]
    {
        let path = format!("/agreement-mappings?product_id={product}&{filter}");
        assert!(app.all(&path).await.len() >= found, "{path}");
    }
    assert_eq!(app.all("/push-lines?state=pushed,failed").await.len(), 4);
    assert_eq!(app.all("/push-lines?reason=rejected").await.len(), 1);
    assert!(app.all("/push-lines?reason=rejected,disabled").await.len() > 1);
    // Each count is the length of a list.
    for (filter, count) in [
        ("needs_attention=true", 2),
        ("needs_attention=false", 4),
        ("agreement_status=resolved", 5),
        ("agreement_status=unresolved,ambiguous", 1),
        ("last_push_state=pushed,failed", 4),
        ("last_push_state=pushed&agreement_status=resolved,stale", 3),
        ("needs_attention=true&last_push_state=failed", 1),
        ("need=company", 1),
        ("need=failure", 1),
        ("need=company,failure,addition", 2),
        ("need=agreement,approval", 0),
    ] {
        for sort in ["company_name", "-created_at", "agreement_status"] {
            let path = format!("/billing-lines?product_id={product}&{filter}&sort={sort}&total=true&limit=2");
            assert_eq!(app.get(&path).await["total"], count, "{path}");
            assert_eq!(app.all(&path).await.len(), count, "{path}");
        }
    }
    // Some clients repeat the parameter for each value.
    let repeated = format!("/billing-lines?product_id={product}&last_push_state=pushed&last_push_state=failed");
    assert_eq!(app.get(&repeated).await["items"].as_array().unwrap().len(), 4);
    for bad in ["agreement_status=resolved,odd", "agreement_status=", "matched=true&matched=false"] {
        app.get(&format!("/billing-lines?{bad}")).await.problem(400, "malformed");
    }
}

async fn a_row_says_what_is_wrong_and_what_to_do(backend: Backend) {
    let (app, product) = pushed(backend).await;
    let rows = app.get(&format!("/billing-lines?product_id={product}&needs_attention=true")).await;
    assert_eq!(names(&rows["items"]), ["Company 3", "Company 6"]);
    let failed = &rows["items"][0];
    assert_eq!((&failed["product_code"], &failed["last_push"]["reason"]), (&json!("STORAGE"), &json!("rejected")));
    assert!(failed["last_push"]["explanation"].as_str().unwrap().contains("push again"), "{failed}");
    let company = app.get(&format!("/companies/{}", failed["company"]["id"].as_str().unwrap())).await;
    assert_eq!(failed["company"]["version"], company["version"]);
    let lines = app.get("/push-lines?state=skipped").await;
    for line in lines["items"].as_array().unwrap() {
        assert!(line["explanation"].as_str().unwrap().ends_with('.'), "{line}");
    }
    let pushed = app.get("/push-lines?state=pushed&limit=1").await;
    assert_eq!(pushed["items"][0]["explanation"], json!(null));
}

async fn an_edit_returns_the_rows_that_it_changed(backend: Backend) {
    let (app, product) = pushed(backend).await;
    let lines = app.all(&format!("/billing-lines?product_id={product}")).await;
    let ids: Vec<&Value> = lines.iter().take(2).map(|line| &line["id"]).collect();
    let body = json!({"ids": ids, "push_enabled": true, "block_size": "50"});
    let changed = app.patch("/billing-lines", &body).await.expect(200);
    assert_eq!((&changed["lines"], &changed["changed"]), (&json!(2), &json!(2)));
    assert_eq!(names(&changed["items"]), ["Company 1", "Company 2"]);
    let rows = app.all(&format!("/billing-lines?product_id={product}")).await;
    assert_eq!(changed["items"], json!(rows[..2]), "the rows of the page");
    assert_eq!(changed["items"][0]["usage"]["quantity"], "5");
    let line = lines[0]["id"].as_str().unwrap();
    let chosen = app.put(&format!("/agreement-mappings/{line}"), &json!({"agreement_id": "10"})).await.expect(200);
    let row = app.get(&format!("/billing-lines?product_id={product}&limit=1")).await["items"][0].clone();
    assert_eq!(chosen["line"], row);
    assert_eq!((&row["agreement"]["source"], &row["addition"]["id"]), (&json!("manual"), &json!("100")));
    let cleared = app.delete(&format!("/agreement-mappings/{line}")).await.expect(200);
    assert_eq!(cleared["line"]["agreement"]["source"], "rule");
}

async fn chosen_lines_are_pushed_and_what_followed_is_found(backend: Backend) {
    let (app, product) = ready(backend, 4).await;
    let lines = app.all("/billing-lines").await;
    let (second, third) = (&lines[1]["id"], &lines[2]["id"]);
    let (job, pushed) = app.push(&json!({"billing_line_ids": [second, third], "product_id": product})).await;
    assert_eq!(job["lines"]["total"], 2);
    let mut named: Vec<&Value> = pushed.iter().map(|line| &line["billing_line_id"]).collect();
    named.sort_by_key(|id| id.to_string());
    let mut expected = vec![second, third];
    expected.sort_by_key(|id| id.to_string());
    assert_eq!(named, expected);
    let bad = app.post("/push-jobs", &json!({"billing_line_ids": [second, "none", "a\u{0}b"]})).await;
    let bad = bad.problem(422, "validation");
    assert_eq!(bad["errors"][0]["field"], "/billing_line_ids/1", "{bad}");
    assert_eq!(bad["errors"].as_array().unwrap().len(), 2, "{bad}");
    // A line of another product would be left out silently.
    let other = app.product("OTHER").await;
    let bad = app.post("/push-jobs", &json!({"billing_line_ids": [second], "product_id": other})).await;
    assert_eq!(bad.problem(422, "validation")["errors"][0]["code"], "contradiction");
    let id = job["id"].as_str().unwrap();
    let revert = app.post(&format!("/push-jobs/{id}/revert"), &json!({})).await.expect(202);
    let followed = app.get(&format!("/push-jobs?parent_job_id={id}")).await;
    let found: Vec<_> = followed["items"].as_array().unwrap().iter().map(|job| (&job["id"], &job["trigger"])).collect();
    assert_eq!(found, [(&revert["id"], &json!("revert"))]);
}

/// A clerk finds a customer by any of its names; the list of ConnectWise companies shows existing matches.
async fn a_customer_is_found_by_any_of_its_names(backend: Backend) {
    let (app, _) = ready(backend, 3).await;
    app.company("Ext_77%", "Unmatched").await;
    for (text, found) in [("company 2", 1), ("ext_77%", 1), ("ext_77x", 0), ("c3", 1), ("nothing", 0)] {
        let text = text.replace(' ', "%20").replace('%', "%25").replace("%2520", "%20");
        assert_eq!(app.all(&format!("/companies?search={text}")).await.len(), found, "{text}");
        assert_eq!(app.all(&format!("/billing-lines?search={text}")).await.len(), found, "{text}");
        assert_eq!(app.get(&format!("/billing-lines?total=true&search={text}")).await["total"], json!(found), "{text}");
        let table = app.get(&format!("/export/billing-lines?search={text}")).await.text;
        assert_eq!(table.lines().count(), found + 1, "{table}");
    }
    app.company("ÄB-1", "Umlaut").await;
    assert_eq!(app.all("/companies?search=%C3%84B-").await.len(), 1, "an external id as it is written");
    // Found only by the identifier in ConnectWise: the vendor's id is different.
    let company = app.all("/companies?search=c3").await[0]["id"].as_str().unwrap().to_owned();
    app.patch(&format!("/companies/{company}"), &json!({"external_id": "other", "name": "Other"})).await.expect(200);
    assert_eq!(app.all("/billing-lines?search=c3").await.len(), 1);
    let choices = app.all("/connectwise/companies").await;
    let matched: Vec<&Value> = choices.iter().map(|choice| &choice["matched_company"]["name"]).collect();
    assert_eq!(matched, ["Company 1", "Company 2", "Other"]);
    app.delete(&format!("/companies/{company}/connectwise-company")).await.expect(200);
    assert_eq!(app.all("/connectwise/companies?identifier=c3").await[0]["matched_company"], Value::Null);
}

async fn a_table_has_the_lines_that_are_wanted(backend: Backend) {
    let (app, product) = pushed(backend).await;
    for (filter, lines) in [
        ("", 6),
        ("&needs_attention=true", 2),
        ("&need=company,agreement", 1),
        ("&agreement_status=unresolved,stale", 1),
        ("&push_enabled=true", 4),
        ("&push_enabled=true&out_of_date=false", 4),
        ("&out_of_date=true", 0),
        ("&billing_month=2026-10", 6),
    ] {
        let table = app.get(&format!("/export/billing-lines?product_id={product}{filter}")).await.text;
        assert_eq!(table.lines().count(), lines + 1, "{filter}: {table}");
    }
    let table = app.get("/export/company-matches?bom=true").await.text;
    assert!(table.starts_with("\u{feff}external_id,"), "{table}");
    app.get("/export/company-matches?bom=maybe").await.problem(400, "malformed");
    app.get("/export/company-matches?other=1").await.problem(400, "malformed");
}

/// A row's `need`, the filter and the summary's counts agree in every combination of states.
async fn needs_agree_in_every_state(backend: Backend) {
    let app = TestApp::start(backend, Default::default()).await;
    let product = app.product("P").await;
    let company = |n: usize| json!({"external_id": format!("C{n}"), "name": format!("Company {n}")});
    let companies: Vec<Value> = (0..320).map(company).collect();
    app.post("/companies/batch", &json!({"companies": companies})).await.expect(200);
    let number =
        "(SELECT CAST(substr(external_id, 2) AS INTEGER) FROM companies WHERE companies.id = billing_lines.company_id)";
    let choice = |divided_by: usize, values: &[&str]| {
        let cases = values.iter().enumerate().map(|(n, value)| format!(" WHEN {n} THEN {value}")).collect::<String>();
        format!("CASE ({number} / {divided_by}) % {}{cases} END", values.len())
    };
    let statuses = ["'resolved'", "'unresolved'", "'ambiguous'", "'stale'"];
    let changed = app.execute(&format!(
        "UPDATE billing_lines SET agreement_status = {}, addition_status = {}, agreement_reason = {}, last_push_state = {}",
        choice(1, &statuses),
        choice(4, &statuses),
        choice(16, &["NULL", "'company_not_set'", "'company_gone'", "'none_matched'"]),
        choice(64, &["NULL", "'held'", "'failed'", "'unverified'", "'pushed'"]),
    ));
    assert_eq!(changed, 320);
    let rows = app.all(&format!("/billing-lines?product_id={product}&limit=500")).await;
    let summary = app.get("/billing-lines/summary").await["items"][0].clone();
    let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].to_string()).collect::<BTreeSet<String>>();
    for need in ["company", "agreement", "addition", "approval", "failure"] {
        let expected: Vec<Value> = rows.iter().filter(|row| row["need"] == need).cloned().collect();
        assert!(!expected.is_empty(), "{need}");
        for sort in ["company_name", "created_at"] {
            let path = format!("/billing-lines?product_id={product}&limit=500&need={need}&sort={sort}");
            assert_eq!(ids(&app.all(&path).await), ids(&expected), "{path}");
        }
        let counted = summary["needs"].as_array().unwrap().iter().find(|one| one["need"] == need).unwrap();
        assert_eq!(counted["lines"], expected.len(), "{need}");
    }
    let needed = rows.iter().filter(|row| !row["need"].is_null()).count();
    assert_eq!(summary["needs_attention"], needed);
    assert_eq!(app.all("/billing-lines?needs_attention=true&limit=500").await.len(), needed);
    app.get("/billing-lines?need=odd").await.problem(400, "malformed");
}

on_both!(
    a_customer_is_found_by_any_of_its_names,
    a_table_has_the_lines_that_are_wanted,
    a_summary_counts_what_the_list_shows,
    needs_agree_in_every_state,
    a_row_says_what_is_wrong_and_what_to_do,
    an_edit_returns_the_rows_that_it_changed,
    chosen_lines_are_pushed_and_what_followed_is_found,
);
