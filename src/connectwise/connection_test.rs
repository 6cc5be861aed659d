//! Tests a connection step by step, to report what to fix.

use super::body::JsonText;
use super::client::{ApiRequest, Client, RetryPolicy};
use super::custom_fields::CustomFields;
use super::error::{ConnectionFault, CwError, Purpose};
use crate::domain::invoice_terms::RecapPath;

/// One step of a connection test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStep {
    /// The step: `reach`, `company`, `keys`, `companies`, `agreements`, `additions` or `invoices`.
    pub name: &'static str,
    /// Whether it passed; `None` if an earlier failure prevented it.
    pub passed: Option<bool>,
    /// What was found, or what to fix.
    pub detail: String,
}

const STEPS: [&str; 7] = ["reach", "company", "keys", "companies", "agreements", "additions", "invoices"];

/// The result of a connection test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The steps, in order.
    pub steps: Vec<CheckStep>,
    /// Where the site has the agreement recap, if every step passed and it has one.
    pub recap_list: Option<RecapPath>,
}

impl Check {
    /// Whether every step passed.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.passed == Some(true))
    }
}

impl Client {
    /// Tests whether the site answers, knows the company, accepts the keys and the client id, and lets us read
    /// companies, agreements and additions. Also finds out where it reports what was invoiced. Stops at the first
    /// failure. `provenance_field` is the custom field that pushes write to.
    pub async fn check(&self, provenance_field: Option<&str>) -> Check {
        let mut steps: Vec<CheckStep> = Vec::new();
        let found = self.try_steps(&mut steps, provenance_field).await;
        if let Err(error) = &found {
            let name = STEPS.get(steps.len()).copied().unwrap_or("invoices");
            // One request tests both that the site answers and that it knows the company.
            if let (CwError::Configuration { fault: ConnectionFault::Company, .. }, "reach") = (error, name) {
                steps.push(step("reach", "the site answers"));
            }
            let name = STEPS.get(steps.len()).copied().unwrap_or("invoices");
            steps.push(CheckStep { name, passed: Some(false), detail: error.to_string() });
        }
        for name in STEPS.iter().skip(steps.len()) {
            let detail = "not tried because an earlier step failed".to_owned();
            steps.push(CheckStep { name, passed: None, detail });
        }
        Check { steps, recap_list: found.ok().flatten() }
    }

    async fn try_steps(
        &self,
        steps: &mut Vec<CheckStep>,
        provenance_field: Option<&str>,
    ) -> Result<Option<RecapPath>, CwError> {
        let base = self.discover().await?;
        steps.push(step("reach", "the site answers"));
        steps.push(step("company", format!("the API is at {base}")));
        let info = ApiRequest::get(Purpose::ReadSystem, "system/info");
        let info = self.send_with_retry(&info, RetryPolicy::Interactive, JsonText::read).await?.record()?;
        let version = info.get("version").and_then(|version| version.as_str()).unwrap_or("unknown").to_owned();
        steps.push(step("keys", format!("the keys and the client id are accepted; version {version}")));
        let one = |purpose, path: &str| ApiRequest::get(purpose, path).with("fields", "id").with("pageSize", "1");
        self.first_record(&one(Purpose::ReadCompanies, "company/companies")).await?;
        steps.push(step("companies", "companies can be read"));
        let agreements = one(Purpose::ReadAgreements, "finance/agreements");
        let agreement = self.first_record(&agreements).await?;
        steps.push(step("agreements", "agreements can be read"));
        match agreement.as_ref().and_then(|agreement| agreement.get("id")) {
            None => steps.push(step("additions", "no agreement exists whose additions could be read")),
            Some(id) => {
                let path = format!("finance/agreements/{id}/additions");
                let fields = if provenance_field.is_some() { "id,customFields" } else { "id" };
                let additions = ApiRequest::get(Purpose::ReadAdditions, path).with("fields", fields);
                let additions = additions.with("pageSize", "1");
                let addition = self.first_record(&additions).await?;
                let fields = addition.as_ref().map(CustomFields::read);
                let lacks = |caption: &&str| fields.as_ref().is_some_and(|fields| !fields.has_text(caption));
                let detail = "additions can be read; the first push shows whether they can be changed";
                steps.push(match provenance_field.filter(lacks) {
                    None => step("additions", detail),
                    Some(caption) => step("additions", format!("{detail}; they have no text field \"{caption}\"")),
                });
            }
        }
        let recap_list = self.find_recap_list().await?;
        steps.push(match recap_list {
            Some(list) => step("invoices", format!("the last invoices are read from {list}")),
            None => {
                step("invoices", "this site does not report past invoices; only the next invoice dates are available")
            }
        });
        Ok(recap_list)
    }
}

fn step(name: &'static str, detail: impl Into<String>) -> CheckStep {
    CheckStep { name, passed: Some(true), detail: detail.into() }
}
