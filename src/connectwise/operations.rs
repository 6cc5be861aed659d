//! The operations on ConnectWise: reading lists, and the only write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Number, Value, json};

use super::body::JsonText;
use super::client::{ApiRequest, Client, RetryPolicy};
use super::custom_fields::CustomFields;
use super::error::{CwError, Purpose};
use super::list_budget::ListBudget;
use super::{conditions, record_parsing};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::invoice_terms::{Recap, RecapPath};
use crate::domain::quantity::Quantity;
use crate::domain::records::{Addition, Agreement, CwCompany};

/// A failed write, and whether ConnectWise may have carried it out nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteError {
    /// The last failure.
    pub error: CwError,
    /// Whether an attempt was sent whose response was lost.
    pub may_have_written: bool,
}

impl Client {
    /// Sends a request that does not depend on any customer. If it also fails, the connection is at fault.
    pub async fn check_connection(&self) -> Result<(), CwError> {
        let info = ApiRequest::get(Purpose::ReadSystem, "system/info");
        self.send_with_retry(&info, RetryPolicy::Interactive, JsonText::read).await.map(drop)
    }

    /// Reads every company, including deleted ones.
    pub async fn companies(&self, policy: RetryPolicy, budget: &ListBudget) -> Result<Vec<CwCompany>, CwError> {
        let request =
            ApiRequest::get(Purpose::ReadCompanies, "company/companies").with("fields", record_parsing::COMPANY_FIELDS);
        self.read_all(&request, policy, budget, record_parsing::company).await
    }

    /// Reads the companies with an identifier, which ConnectWise compares ignoring case.
    pub async fn companies_identified(&self, identifier: &str) -> Result<Vec<CwCompany>, CwError> {
        let Some(condition) = conditions::equals("identifier", identifier) else { return Ok(Vec::new()) };
        let request =
            ApiRequest::get(Purpose::ReadCompanies, "company/companies").with("fields", record_parsing::COMPANY_FIELDS);
        let request = request.with("conditions", condition);
        self.read_by_page(&request, RetryPolicy::Interactive, &ListBudget::default(), record_parsing::company).await
    }

    /// Reads every agreement.
    pub async fn agreements(&self, policy: RetryPolicy, budget: &ListBudget) -> Result<Vec<Agreement>, CwError> {
        let request = ApiRequest::get(Purpose::ReadAgreements, "finance/agreements")
            .with("fields", record_parsing::AGREEMENT_FIELDS);
        self.read_all(&request, policy, budget, record_parsing::agreement).await
    }

    /// Reads the agreements of some companies.
    pub async fn agreements_of(
        &self,
        companies: &[CwCompanyId],
        policy: RetryPolicy,
    ) -> Result<Vec<Agreement>, CwError> {
        let ids: Vec<i64> = companies.iter().map(|id| id.0).collect();
        let (mut found, budget) = (Vec::new(), ListBudget::default());
        for condition in conditions::one_of("company/id", &ids) {
            let request = ApiRequest::get(Purpose::ReadAgreements, "finance/agreements")
                .with("fields", record_parsing::AGREEMENT_FIELDS);
            let request = request.with("conditions", condition);
            found.extend(self.read_by_page(&request, policy, &budget, record_parsing::agreement).await?);
        }
        Ok(found)
    }

    /// Reads an agreement; `None` if it does not exist.
    pub async fn agreement(&self, id: CwAgreementId, policy: RetryPolicy) -> Result<Option<Agreement>, CwError> {
        let request = ApiRequest::get(Purpose::ReadAgreements, "finance/agreements")
            .with("fields", record_parsing::AGREEMENT_FIELDS);
        let (mut found, budget) = (Vec::new(), ListBudget::default());
        for condition in conditions::one_of("id", &[id.0]) {
            let request = request.clone().with("conditions", condition);
            found.extend(self.read_by_page(&request, policy, &budget, record_parsing::agreement).await?);
        }
        Ok(found.into_iter().find(|agreement| agreement.id == id))
    }

    /// Finds the path of the agreement recap; `None` if the site has none, or does not let us read it.
    pub async fn find_recap_list(&self) -> Result<Option<RecapPath>, CwError> {
        for list in RecapPath::ALL {
            let request = ApiRequest::get(Purpose::ReadAgreements, list.as_str()).with("fields", "id");
            match self.first_record(&request.with("pageSize", "1")).await {
                Ok(_) => return Ok(Some(*list)),
                Err(CwError::Configuration { .. } | CwError::Rejected(_) | CwError::InvalidResponse(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads the agreement recap of each agreement.
    pub async fn recaps(
        &self,
        list: RecapPath,
        policy: RetryPolicy,
        budget: &ListBudget,
    ) -> Result<HashMap<CwAgreementId, Recap>, CwError> {
        let request =
            ApiRequest::get(Purpose::ReadAgreements, list.as_str()).with("fields", record_parsing::RECAP_FIELDS);
        Ok(self.read_by_page(&request, policy, budget, record_parsing::recap).await?.into_iter().collect())
    }

    /// Reads every addition of an agreement. Returns [`CwError::NotFound`] if the agreement does not exist.
    pub async fn additions(
        &self,
        agreement: CwAgreementId,
        policy: RetryPolicy,
        budget: &ListBudget,
    ) -> Result<Vec<Addition>, CwError> {
        let request = ApiRequest::get(Purpose::ReadAdditions, format!("finance/agreements/{agreement}/additions"))
            .with("fields", record_parsing::ADDITION_FIELDS);
        self.read_by_page(&request, policy, budget, |value| record_parsing::addition(value, agreement)).await
    }

    /// Same as [`Self::additions`], with the custom fields of each.
    pub async fn additions_with_custom_fields(
        &self,
        agreement: CwAgreementId,
        policy: RetryPolicy,
        budget: &ListBudget,
    ) -> Result<Vec<(Addition, CustomFields)>, CwError> {
        let fields = format!("{},{}", record_parsing::ADDITION_FIELDS, record_parsing::CUSTOM_FIELDS);
        let path = format!("finance/agreements/{agreement}/additions");
        let request = ApiRequest::get(Purpose::ReadAdditions, path).with("fields", fields);
        let parse = |value: &Value| Ok((record_parsing::addition(value, agreement)?, CustomFields::read(value)));
        self.read_by_page(&request, policy, budget, parse).await
    }

    /// Writes an addition's quantity, with its custom fields if they are given, and compares the quantity in the
    /// response with the request. Setting a quantity is idempotent, so the request is retried if its response was lost,
    /// but only if it must end before the caller's lease expires at `lease_ends_at`. If ConnectWise rejects the custom
    /// fields, the quantity is written without them.
    pub async fn set_quantity(
        &self,
        agreement: CwAgreementId,
        addition: CwAdditionId,
        quantity: Quantity,
        fields: Option<&CustomFields>,
        policy: RetryPolicy,
        lease_ends_at: Timestamp,
    ) -> Result<(), WriteError> {
        let unsent = |error| WriteError { error, may_have_written: false };
        let number: Number = quantity
            .to_string()
            .parse()
            .map_err(|_| unsent(CwError::Rejected(format!("{quantity} cannot be written as a JSON number"))))?;
        let quantity_only = json!([{"op": "replace", "path": "quantity", "value": number}]);
        let request = ApiRequest {
            purpose: Purpose::WriteAddition,
            method: Method::PATCH,
            path: format!("finance/agreements/{agreement}/additions/{addition}"),
            query: Vec::new(),
            forward_only: false,
            body: Some(quantity_only.clone()),
            // The request must have ended, with or without a response, before another worker may write.
            not_after: Some(self.last_moment(lease_ends_at)),
        };
        let Some(fields) = fields else { return self.write(&request, addition, quantity, policy).await };
        let body = json!([quantity_only[0], fields.operation()]);
        let with_fields = ApiRequest { body: Some(body), ..request.clone() };
        match self.write(&with_fields, addition, quantity, policy).await {
            Err(WriteError { error: CwError::Rejected(cause), may_have_written: false }) => {
                tracing::warn!(%agreement, %addition, %cause, "ConnectWise rejected a write with custom fields");
                self.write(&request, addition, quantity, policy).await
            }
            outcome => outcome,
        }
    }

    async fn write(
        &self,
        request: &ApiRequest,
        addition: CwAdditionId,
        quantity: Quantity,
        policy: RetryPolicy,
    ) -> Result<(), WriteError> {
        let lost_answer = AtomicBool::new(false);
        let watch = |error: &CwError| {
            lost_answer.fetch_or(error.may_have_been_carried_out(), Ordering::Relaxed);
        };
        let failed = |error| WriteError { error, may_have_written: lost_answer.load(Ordering::Relaxed) };
        let answer = self.send_watched(request, policy, &JsonText::read, &watch).await.map_err(failed)?;
        // A success response that cannot be parsed does not confirm the write.
        let got = answer
            .record()
            .and_then(|record| record_parsing::written_quantity(&record, addition))
            .map_err(|error| WriteError { error, may_have_written: true })?;
        if got == Some(quantity) {
            return Ok(());
        }
        let got = got.map_or_else(|| "absent".to_owned(), |got| got.to_string());
        Err(failed(CwError::NotApplied { asked: quantity.to_string(), got }))
    }
}
