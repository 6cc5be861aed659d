//! Tests a connection step by step, to report what to fix.

use super::client::{ApiRequest, Client, RetryPolicy};
use super::error::{CwError, Fault, Purpose};

/// One step of a connection test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStep {
    /// The step: `reach`, `company`, `keys`, `companies`, `agreements` or `additions`.
    pub name: &'static str,
    /// Whether it passed; `None` if an earlier failure prevented it.
    pub passed: Option<bool>,
    /// What was found, or what to fix.
    pub detail: String,
}

const STEPS: [&str; 6] = ["reach", "company", "keys", "companies", "agreements", "additions"];

impl Client {
    /// Tests whether the site answers, knows the company, accepts the keys and the client id, and lets us read
    /// companies, agreements and additions. Stops at the first failure.
    pub async fn check(&self) -> Vec<CheckStep> {
        let mut steps: Vec<CheckStep> = Vec::new();
        let failure = self.try_steps(&mut steps).await.err();
        if let Some(error) = failure {
            let name = STEPS.get(steps.len()).copied().unwrap_or("additions");
            // One request tests both that the site answers and that it knows the company.
            if let (CwError::Configuration { fault: Fault::Company, .. }, "reach") = (&error, name) {
                steps.push(step("reach", "the site answers"));
            }
            let name = STEPS.get(steps.len()).copied().unwrap_or("additions");
            steps.push(CheckStep { name, passed: Some(false), detail: error.to_string() });
        }
        for name in STEPS.iter().skip(steps.len()) {
            let detail = "not tried because an earlier step failed".to_owned();
            steps.push(CheckStep { name, passed: None, detail });
        }
        steps
    }

    async fn try_steps(&self, steps: &mut Vec<CheckStep>) -> Result<(), CwError> {
        let base = self.discover().await?;
        steps.push(step("reach", "the site answers"));
        steps.push(step("company", format!("the API is at {base}")));
        let info = ApiRequest::get(Purpose::ReadSystem, "system/info");
        let info = self.send_with_retry(&info, RetryPolicy::Interactive).await?.value;
        let version = info.get("version").and_then(|version| version.as_str()).unwrap_or("unknown").to_owned();
        steps.push(step("keys", format!("the keys and the client id are accepted; version {version}")));
        let one = |purpose, path: &str| ApiRequest::get(purpose, path).with("fields", "id").with("pageSize", "1");
        self.send_with_retry(&one(Purpose::ReadCompanies, "company/companies"), RetryPolicy::Interactive).await?;
        steps.push(step("companies", "companies can be read"));
        let agreements = one(Purpose::ReadAgreements, "finance/agreements");
        let agreements = self.send_with_retry(&agreements, RetryPolicy::Interactive).await?.value;
        steps.push(step("agreements", "agreements can be read"));
        let first = agreements.get(0).and_then(|agreement| agreement.get("id")).map(ToString::to_string);
        let Some(id) = first else {
            steps.push(step("additions", "there is no agreement whose additions could be read"));
            return Ok(());
        };
        let path = format!("finance/agreements/{id}/additions");
        self.send_with_retry(&one(Purpose::ReadAdditions, &path), RetryPolicy::Interactive).await?;
        steps.push(step("additions", "additions can be read; the first push shows whether they can be changed"));
        Ok(())
    }
}

fn step(name: &'static str, detail: impl Into<String>) -> CheckStep {
    CheckStep { name, passed: Some(true), detail: detail.into() }
}
