//! `/connectwise`: choices for drop-down lists, and reading them anew.

use actix_web::{get, post, web};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::connectwise::RetryPolicy;
use crate::db::{ConnectWiseFilter, CwCompanySort};
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
use crate::http::kit::response::ok;
use crate::http::views::mapping::ResolveResponse;
use crate::services::AppContext;
use crate::services::billing_calendar;
use crate::services::refresh;
use crate::services::refresh::RefreshScope;
use crate::services::remote::additions;

/// A ConnectWise company that can be chosen.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectWiseCompany {
    /// ConnectWise's id.
    pub id: String,
    /// ConnectWise's identifier.
    pub identifier: String,
    /// Its name there.
    pub name: String,
    /// The name of its status there.
    #[schema(required)]
    pub status: Option<String>,
}

impl From<CwCompany> for ConnectWiseCompany {
    fn from(company: CwCompany) -> Self {
        Self { id: company.id.into(), identifier: company.identifier, name: company.name, status: company.status }
    }
}

/// An agreement of a ConnectWise company.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectWiseAgreement {
    /// ConnectWise's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of its type.
    #[schema(required)]
    pub type_name: Option<String>,
    /// Whether it can be chosen: not cancelled, ended, expired, inactive or deleted.
    pub live: bool,
    /// Why it cannot.
    #[schema(required)]
    pub reason: Option<MappingReason>,
}

impl ConnectWiseAgreement {
    fn new(agreement: Agreement, today: NaiveDate) -> Self {
        let reason = agreement.inactive_reason(today);
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
    /// ConnectWise's id.
    pub id: String,
    /// The identifier of its catalog product.
    #[schema(required)]
    pub product_identifier: Option<String>,
    /// Its description.
    #[schema(required)]
    pub description: Option<String>,
    /// Its quantity when last read.
    #[schema(required)]
    pub quantity: Option<Quantity>,
    /// Whether it can be chosen: not cancelled or deleted.
    pub live: bool,
    /// Why it cannot.
    #[schema(required)]
    pub reason: Option<MappingReason>,
}

impl ConnectWiseAddition {
    fn new(addition: Addition, today: NaiveDate) -> Self {
        let reason = addition.inactive_reason(today);
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

/// Which ConnectWise companies.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CwCompanyQuery {
    /// Those whose name or identifier holds this text, in any letter case.
    #[param(max_length = 300)]
    pub search: Option<String>,
    /// The one with this identifier, in any letter case.
    #[param(max_length = 300)]
    pub identifier: Option<String>,
}

impl ListFilter for CwCompanyQuery {
    type Sort = CwCompanySort;
    const DEFAULT_SORT: &'static str = "identifier";
}

/// List the ConnectWise companies that can be chosen
///
/// Reads them from ConnectWise where they were never read.
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
    let (query, page) = query.of("connectwise-companies")?;
    refresh::ensure_known(&ctx, &caller.tenant).await?;
    let filter = ConnectWiseFilter { search: query.search, identifier: query.identifier };
    let rows = ctx.db.read(&caller.tenant, move |tx| tx.cw_companies(&filter, &page)).await?;
    Ok(ok(&List::from_page(rows, ConnectWiseCompany::from)))
}

/// List the agreements of a ConnectWise company
///
/// Those that cannot be chosen are there too, with why.
#[utoipa::path(
    tag = "connectwise",
    params(("id" = String, Path, description = "ConnectWise's id of the company")),
    responses((status = 200, description = "A page of agreements", body = List<ConnectWiseAgreement>), Errors, ConnectWiseErrors)
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
    let read = move |tx: &mut crate::db::Tx<'_>| {
        if tx.cw_companies_by_id(Some(&[id]))?.is_empty() {
            return Err(Error::not_found("ConnectWise company", id));
        }
        Ok((tx.agreements_of(Some(&[id]))?, billing_calendar::today(tx, now)?))
    };
    let (rows, today) = ctx.db.read(&caller.tenant, read).await?;
    Ok(ok(&List::whole(rows.into_iter().map(|row| ConnectWiseAgreement::new(row.into(), today)).collect())))
}

/// List the additions of an agreement
///
/// Reads them from ConnectWise where they were not read lately.
#[utoipa::path(
    tag = "connectwise",
    params(("id" = String, Path, description = "ConnectWise's id of the agreement")),
    responses((status = 200, description = "A page of additions", body = List<ConnectWiseAddition>), Errors, ConnectWiseErrors)
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

/// How to refresh.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"force": false}))]
pub struct RefreshRequest {
    /// Go on even where more than half of what was known would vanish.
    #[serde(default)]
    pub force: bool,
}

/// What a refresh found.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefreshResponse {
    /// How many companies ConnectWise has.
    pub companies: usize,
    /// How many agreements it has.
    pub agreements: usize,
    /// Of how many agreements, those in use, the additions were read.
    pub agreements_with_additions: usize,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// What it changed of the billing lines.
    pub resolved: ResolveResponse,
}

/// Read companies, agreements and additions from ConnectWise anew
///
/// Then every billing line resolves again. What vanished in ConnectWise is marked gone, and mappings to it become stale.
#[utoipa::path(
    tag = "connectwise",
    request_body = RefreshRequest,
    responses((status = 200, description = "What was read, and what it changed", body = RefreshResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[post("/connectwise/refresh")]
pub async fn refresh_connectwise(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<RefreshRequest>,
) -> ApiResult {
    let report =
        refresh::run(&ctx, &caller, RetryPolicy::Interactive, RefreshScope::Additions, body.value.force).await?;
    Ok(ok(&RefreshResponse {
        companies: report.companies,
        agreements: report.agreements,
        agreements_with_additions: report.agreements_with_additions,
        finished_at: ctx.clock.now(),
        resolved: report.resolved.into(),
    }))
}
