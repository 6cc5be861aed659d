//! `/connectwise`: ConnectWise's records to choose from, and the refresh that rereads them.

use actix_web::{get, post, web};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::db::{Company, CwCompanyFilter, CwCompanySort, Tx};
use crate::domain::Error;
use crate::domain::ids::{CwAgreementId, CwCompanyId};
use crate::domain::mapping_status::MappingReason;
use crate::domain::quantity::Quantity;
use crate::domain::records::{Addition, Agreement, CwCompany};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::json::ValidatedJson;
use crate::http::kit::extract::query::{ListFilter, ListQuery};
use crate::http::kit::list::List;
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{ok, page_of};
use crate::http::views::mappings::ResolveResponse;
use crate::services::AppContext;
use crate::services::remote::additions;
use crate::services::remote::refresh;
use crate::services::remote::refresh::RefreshOptions;
use crate::services::schedule::billing_calendar;

/// A ConnectWise company that can be chosen.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectWiseCompany {
    /// ConnectWise's id of the company.
    pub id: String,
    /// The company's identifier, unique in ConnectWise.
    pub identifier: String,
    /// The company's name in ConnectWise.
    pub name: String,
    /// The name of the company's status in ConnectWise, such as `Active`; null if it has none.
    #[schema(required)]
    pub status: Option<String>,
    /// The company that is matched to it; null if none is. If several are, the first by name.
    #[schema(required)]
    pub matched_company: Option<MatchedCompany>,
}

/// The company that is matched to a ConnectWise company.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchedCompany {
    /// The company's id.
    pub id: String,
    /// The vendor's own id for the company.
    pub external_id: String,
    /// The company's name.
    pub name: String,
}

impl ConnectWiseCompany {
    fn new(company: CwCompany, matched: Option<&Company>) -> Self {
        let matched_company = matched.map(|company| MatchedCompany {
            id: company.id.to_string(),
            external_id: company.external_id.clone(),
            name: company.name.clone(),
        });
        let CwCompany { id, identifier, name, status, .. } = company;
        Self { id: id.into(), identifier, name, status, matched_company }
    }
}

/// An agreement of a ConnectWise company.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectWiseAgreement {
    /// ConnectWise's id of the agreement.
    pub id: String,
    /// The agreement's name.
    pub name: String,
    /// The name of the agreement's type; null if it has none. Rules compare it as `type/name`.
    #[schema(required)]
    pub type_name: Option<String>,
    /// Whether the agreement can be chosen: it is not cancelled, ended, expired, inactive or deleted.
    pub live: bool,
    /// Why the agreement cannot be chosen; null if it can.
    #[schema(required)]
    pub reason: Option<MappingReason>,
}

impl ConnectWiseAgreement {
    fn new(agreement: Agreement, today: NaiveDate) -> Self {
        let reason = agreement.not_live_reason(today);
        Self {
            id: agreement.id.into(),
            name: agreement.name,
            type_name: agreement.type_name,
            live: reason.is_none(),
            reason,
        }
    }
}

/// An addition of an agreement.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectWiseAddition {
    /// ConnectWise's id of the addition.
    pub id: String,
    /// The identifier of the addition's product; null if it has none. Rules compare it as `product/identifier`.
    #[schema(required)]
    pub product_identifier: Option<String>,
    /// The addition's description; null if it has none.
    #[schema(required)]
    pub description: Option<String>,
    /// The addition's quantity when it was last read or written; null if ConnectWise returned none.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// Whether the addition can be chosen: not cancelled or deleted.
    pub live: bool,
    /// Why the addition cannot be chosen; null if it can.
    #[schema(required)]
    pub reason: Option<MappingReason>,
}

impl ConnectWiseAddition {
    fn new(addition: Addition, today: NaiveDate) -> Self {
        let reason = addition.not_live_reason(today);
        Self {
            id: addition.id.into(),
            product_identifier: addition.product_identifier,
            description: addition.description,
            quantity: addition.quantity,
            live: reason.is_none(),
            reason,
        }
    }
}

/// The filter of the list of ConnectWise companies.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CwCompanyQuery {
    /// Only companies whose name or identifier contains this text, ignoring case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// Only the company with this identifier, ignoring case.
    #[param(max_length = 300)]
    pub identifier: Option<String>,
}

impl ListFilter for CwCompanyQuery {
    type Sort = CwCompanySort;
    const DEFAULT_SORT: &'static str = "identifier";
}

/// List ConnectWise companies
///
/// Returns one page of the ConnectWise companies that a company can be matched to, without deleted ones. The list is as
/// of the last refresh; the first request reads it from ConnectWise.
#[utoipa::path(
    tag = "connectwise",
    params(ListQuery<CwCompanyQuery>),
    responses((status = 200, description = "A page of ConnectWise companies", body = List<ConnectWiseCompany>), Errors, ConnectWiseErrors)
)]
#[get("/connectwise/companies")]
pub async fn list_connectwise_companies(
    ctx: web::Data<AppContext>,
    caller: Caller,
    query: ListQuery<CwCompanyQuery>,
) -> ApiResult {
    let (query, page) = query.for_list("connectwise-companies")?;
    refresh::ensure_known(&ctx, &caller.tenant).await?;
    let filter = CwCompanyFilter { search: query.search, identifier: query.identifier };
    let read = move |tx: &mut Tx<'_>| {
        let page = tx.cw_companies(&filter, &page)?;
        let ids: Vec<CwCompanyId> = page.items.iter().map(|company| company.id).collect();
        Ok((page, tx.first_matched_to(&ids)?))
    };
    let (rows, matched) = ctx.db.read(&caller.tenant, read).await?;
    Ok(page_of(&List::from_page(rows, |row| {
        let matched = matched.get(&row.id);
        ConnectWiseCompany::new(row, matched)
    })))
}

/// List a ConnectWise company's agreements
///
/// Returns all agreements of the company as of the last refresh, in one page. Includes agreements that cannot be
/// chosen, with the reason. 404 if the ConnectWise company is unknown.
#[utoipa::path(
    tag = "connectwise",
    params(("id" = String, Path, description = "ConnectWise's id of the company")),
    responses((status = 200, description = "All agreements of the ConnectWise company", body = List<ConnectWiseAgreement>), Errors, ConnectWiseErrors)
)]
#[get("/connectwise/companies/{id}/agreements")]
pub async fn list_connectwise_agreements(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
) -> ApiResult {
    let id: CwCompanyId = id.parse().map_err(|_| Error::not_found("ConnectWise company", &*id))?;
    refresh::ensure_known(&ctx, &caller.tenant).await?;
    let now = ctx.clock.now();
    let read = move |tx: &mut Tx<'_>| {
        if tx.cw_companies_by_id(Some(&[id]))?.is_empty() {
            return Err(Error::not_found("ConnectWise company", id));
        }
        Ok((tx.agreements_of(Some(&[id]))?, billing_calendar::today(tx, now)?))
    };
    let (rows, today) = ctx.db.read(&caller.tenant, read).await?;
    Ok(ok(&List::whole(rows.into_iter().map(|row| ConnectWiseAgreement::new(row.into(), today)).collect())))
}

/// List an agreement's additions
///
/// Returns all additions of the agreement, in one page. They are read from ConnectWise first if they were not read
/// recently. Includes additions that cannot be chosen, with the reason. 404 if the agreement is unknown.
#[utoipa::path(
    tag = "connectwise",
    params(("id" = String, Path, description = "ConnectWise's id of the agreement")),
    responses((status = 200, description = "All additions of the agreement", body = List<ConnectWiseAddition>), Errors, ConnectWiseErrors)
)]
#[get("/connectwise/agreements/{id}/additions")]
pub async fn list_connectwise_additions(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
) -> ApiResult {
    let id: CwAgreementId = id.parse().map_err(|_| Error::not_found("agreement", &*id))?;
    let rows = additions::choices(&ctx, &caller, id).await?;
    let now = ctx.clock.now();
    let today = ctx.db.read(&caller.tenant, move |tx| billing_calendar::today(tx, now)).await?;
    Ok(ok(&List::whole(rows.into_iter().map(|row| ConnectWiseAddition::new(row, today)).collect())))
}

/// The options of a refresh.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"force": false}))]
pub struct RefreshRequest {
    /// Whether to accept a response from ConnectWise with less than half of the known companies or agreements.
    #[serde(default)]
    pub force: bool,
}

/// The result of a refresh.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefreshResponse {
    /// The number of companies that were read.
    pub companies: usize,
    /// The number of agreements that were read.
    pub agreements: usize,
    /// The number of agreements whose additions were read: agreements that billing lines bill to or a product's rule
    /// matches.
    pub agreements_with_additions: usize,
    /// When the refresh ended.
    pub finished_at: DateTime<Utc>,
    /// The mapping changes that the refresh caused.
    pub resolved: ResolveResponse,
}

/// Refresh data from ConnectWise
///
/// Reads all companies and agreements, and the additions of the agreements that billing lines bill to or a product's
/// rule matches. Then resolves every billing line again: a mapping to a record that was cancelled, ended or deleted
/// becomes stale. Returns when everything is done. Fails with 409 while another refresh is running; or, without
/// `force`, if more than half of the known records would disappear.
#[utoipa::path(
    tag = "connectwise", request_body = RefreshRequest,
    responses((status = 200, description = "The numbers of records read, and the resulting changes", body = RefreshResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[post("/connectwise/refresh")]
pub async fn refresh_connectwise(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<RefreshRequest>,
) -> ApiResult {
    let report = refresh::run(&ctx, &caller, RefreshOptions::interactive(body.value.force)).await?;
    Ok(ok(&RefreshResponse {
        companies: report.companies,
        agreements: report.agreements,
        agreements_with_additions: report.agreements_with_additions,
        finished_at: ctx.clock.now(),
        resolved: report.resolved.into(),
    }))
}
