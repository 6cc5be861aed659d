//! How fast quantities are pushed: many lines beside a plain loop of the same calls, and a few lines beside another
//! tenant's many.

use std::time::{Duration, Instant};

use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::sample;
use reqwest::Method;
use serde_json::{Value, json};

use crate::baseline::write_rate;
use crate::service::Service;
use crate::{Measured, Results};

/// The products of the sandbox's additions: four lines for each agreement.
const PRODUCTS: [&str; 4] = ["BKP-GB", "OTHER-1", "OTHER-2", "OTHER-3"];
/// Parallel requests to ConnectWise: the service's default.
const PARALLEL: usize = 4;

/// A tenant with an enabled line for each of `companies` companies and [`PRODUCTS`].
async fn set_up(service: &Service, key: &str, companies: usize) -> Measured {
    service.connect(key).await?;
    for code in PRODUCTS {
        let product = service.product(key, code).await?;
        let rules = [("agreement", "name like '%'".to_owned()), ("addition", format!("product/identifier = '{code}'"))];
        for (target, expression) in rules {
            let rule = json!({"product_id": product, "target": target, "expression": expression});
            service.call(key, Method::POST, "/matching-rules", &rule).await?;
        }
    }
    service.companies(key, companies).await?;
    service.call(key, Method::POST, "/companies/auto-match", &json!({})).await?;
    let mut path = "/billing-lines?limit=500".to_owned();
    loop {
        let page = service.get(key, &path).await?;
        let lines = page["items"].as_array().ok_or("a page has items")?;
        let ids: Vec<&Value> = lines.iter().map(|line| &line["id"]).collect();
        service.call(key, Method::PATCH, "/billing-lines", &json!({"ids": ids, "push_enabled": true})).await?;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/billing-lines?limit=500&cursor={cursor}");
    }
    add_usage(service, key, companies, 70).await
}

/// Usage of all lines, so that each is pushed as `amount` / 10.
async fn add_usage(service: &Service, key: &str, companies: usize, amount: u32) -> Measured {
    let at = Clock::system().now();
    let record = |(company, code): (usize, &str)| {
        json!({"company_external_id": format!("C{company}"), "product_code": code, "amount": amount.to_string(),
            "measured_at": at})
    };
    let lines = (1..=companies).flat_map(|company| PRODUCTS.map(|code| (company, code)));
    let body = json!({"records": lines.map(record).collect::<Vec<Value>>()});
    service.call(key, Method::POST, "/usage", &body).await?;
    Ok(())
}

async fn start(service: &Service, key: &str) -> Measured<String> {
    let job = service.call(key, Method::POST, "/push-jobs", &json!({})).await?;
    Ok(format!("/push-jobs/{}", job["id"].as_str().ok_or("a job has an id")?))
}

/// Waits until `done` lines of a job are done.
async fn wait_for(service: &Service, key: &str, job: &str, done: u64, pause: Duration) -> Measured {
    loop {
        let now = service.get(key, job).await?;
        if now["lines"]["done"].as_u64().ok_or("a job counts its lines")? >= done {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
}

/// 10,000 lines of one tenant, four for each agreement.
pub async fn many(results: &mut Results, server: Option<&str>) -> Measured {
    const COMPANIES: usize = 2_500;
    let service = Service::start(server, sample::many(COMPANIES.try_into()?, 1, 4)).await?;
    set_up(&service, &service.key, COMPANIES).await?;
    let lines = COMPANIES * PRODUCTS.len();
    let begun = Instant::now();
    let job = start(&service, &service.key).await?;
    wait_for(&service, &service.key, &job, lines as u64, Duration::from_millis(200)).await?;
    let rate = lines as f64 / begun.elapsed().as_secs_f64();
    let baseline = write_rate(&service.sandbox, COMPANIES, PARALLEL).await?;
    results.add_rate("10,000 lines pushed, 4 an agreement", "lines/s", rate, baseline);
    Ok(())
}

/// 20 lines of a tenant alone, and beside 4,000 lines of another tenant, at 30 ms a call.
pub async fn few_beside_many(results: &mut Results, server: Option<&str>) -> Measured {
    const FEW: usize = 5;
    const MANY: usize = 1_000;
    let service = Service::start(server, sample::many(MANY.try_into()?, 1, 4)).await?;
    let few = service.tenant().await?;
    set_up(&service, &service.key, MANY).await?;
    set_up(&service, &few, FEW).await?;
    service.sandbox.tune(|behavior| behavior.latency_ms = 30);
    let alone = push_few(&service, &few, FEW).await?;
    add_usage(&service, &few, FEW, 90).await?;
    let other = start(&service, &service.key).await?;
    wait_for(&service, &service.key, &other, 100, Duration::from_millis(20)).await?;
    let beside = push_few(&service, &few, FEW).await?;
    let ended = service.get(&service.key, &other).await?;
    if !ended["finished_at"].is_null() {
        return Err("the other tenant's job ended too soon".into());
    }
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    let result = format!("{} ms; alone {} ms, {ratio:.1} times", beside.as_millis(), alone.as_millis());
    results.add("20 lines pushed beside 4,000 of another tenant, 30 ms a call", result);
    Ok(())
}

async fn push_few(service: &Service, key: &str, companies: usize) -> Measured<Duration> {
    let begun = Instant::now();
    let job = start(service, key).await?;
    let lines = companies * PRODUCTS.len();
    wait_for(service, key, &job, lines as u64, Duration::from_millis(10)).await?;
    Ok(begun.elapsed())
}
