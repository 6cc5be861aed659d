//! `/companies/{id}/connectwise-company` and `/companies/auto-match`: matching companies to ConnectWise companies.

use actix_web::{HttpResponse, delete, post, put, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::Company;
use crate::domain::company_match::{MatchOutcome, MatchedBy};
use crate::domain::ids::{CompanyId, CwCompanyId};
use crate::domain::records::CwCompany;
use crate::domain::{Error, Result};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::ValidatedJson;
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::http::views::mapping::ResolveResponse;
use crate::services::AppContext;
use crate::services::companies::{self, Choice, NamedProposal};

/// Which ConnectWise company: by id or by identifier.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"identifier": "HarborDental"}))]
pub struct MatchCompanyRequest {
    /// ConnectWise's id, as the list of choices gives it.
    #[schema(value_type = Option<String>, example = "250")]
    pub id: Option<CwCompanyId>,
    /// ConnectWise's identifier, in any letter case. Also finds a company that is newer than the list of choices.
    #[validate(length(min = 1, max = 100))]
    #[schema(min_length = 1, max_length = 100)]
    pub identifier: Option<String>,
    /// Allow a ConnectWise company that another company is matched to already.
    #[serde(default)]
    pub shared: bool,
}

impl MatchCompanyRequest {
    fn choice(self) -> Result<Choice> {
        match (self.id, self.identifier) {
            (Some(id), None) => Ok(Choice::Id(id)),
            (None, Some(identifier)) => Ok(Choice::Identifier(identifier)),
            _ => Err(Error::invalid("/id", "required", "give either id or identifier, one of the two")),
        }
    }
}

/// A company whose match was changed, and what that did to its billing lines.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchCompanyResponse {
    /// The company.
    pub company: Company,
    /// What was undone and found.
    pub resolved: ResolveResponse,
}

/// Match a company to a ConnectWise company
///
/// What hung on a former match is undone, and the company's billing lines resolve anew.
#[utoipa::path(
    tag = "companies",
    request_body = MatchCompanyRequest,
    params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 200, description = "The company, and what the match changed of its lines", body = MatchCompanyResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[put("/companies/{id}/connectwise-company")]
pub async fn match_company(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
    body: ValidatedJson<MatchCompanyRequest>,
) -> ApiResult {
    let (id, shared) = (CompanyId::from(id.into_inner()), body.value.shared);
    let choice = body.value.choice()?;
    let matched = companies::choose(&ctx, &caller, &id, Some(choice), shared, if_match.0).await?;
    Ok(matched_reply(matched))
}

/// Set a company to Not Set
#[utoipa::path(
    tag = "companies",
    params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 200, description = "The company, and what the match changed of its lines", body = MatchCompanyResponse), Errors, WriteErrors)
)]
#[delete("/companies/{id}/connectwise-company")]
pub async fn unmatch_company(
    ctx: web::Data<AppContext>,
    caller: Caller,
    id: web::Path<String>,
    if_match: IfMatchHeader,
) -> ApiResult {
    let id = CompanyId::from(id.into_inner());
    let matched = companies::choose(&ctx, &caller, &id, None, false, if_match.0).await?;
    Ok(matched_reply(matched))
}

fn matched_reply(matched: companies::Matched) -> HttpResponse {
    let version = matched.company.version;
    with_etag(version, &MatchCompanyResponse { company: matched.company.into(), resolved: matched.resolved.into() })
}

/// How to auto-match.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"dry_run": true}))]
pub struct AutoMatchRequest {
    /// Only propose.
    #[serde(default)]
    pub dry_run: bool,
}

/// A ConnectWise company that fits.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchCandidate {
    /// ConnectWise's id.
    pub id: String,
    /// ConnectWise's identifier.
    pub identifier: String,
    /// Its name there.
    pub name: String,
}

impl From<CwCompany> for MatchCandidate {
    fn from(company: CwCompany) -> Self {
        Self { id: company.id.into(), identifier: company.identifier, name: company.name }
    }
}

/// What auto-match made of one company that was Not Set.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchProposal {
    /// The company.
    pub company_id: String,
    /// Its external id.
    pub external_id: String,
    /// Its name.
    pub name: String,
    /// What was made of it.
    pub outcome: MatchOutcome,
    /// By what it was found.
    #[schema(required)]
    pub matched_by: Option<MatchedBy>,
    /// What fits: one where proposed or claimed, several where ambiguous.
    pub candidates: Vec<MatchCandidate>,
}

impl From<NamedProposal> for MatchProposal {
    fn from(named: NamedProposal) -> Self {
        Self {
            company_id: named.company.id.to_string(),
            external_id: named.company.external_id,
            name: named.company.name,
            outcome: named.proposal.outcome,
            matched_by: named.proposal.by,
            candidates: named.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

/// What auto-match found and did.
#[derive(Debug, Serialize, ToSchema)]
pub struct AutoMatched {
    /// Whether it only proposed.
    pub dry_run: bool,
    /// How many matches were applied.
    pub applied: usize,
    /// One for each company that was Not Set.
    pub proposals: Vec<MatchProposal>,
    /// What the matches did to the billing lines.
    pub resolved: ResolveResponse,
}

/// Match companies by equal identifier, then by equal name
///
/// Only what is unique and unclaimed is applied; the rest is reported.
#[utoipa::path(
    tag = "companies",
    request_body = AutoMatchRequest,
    responses((status = 200, description = "The proposals, and what was applied", body = AutoMatched), Errors, WriteErrors, ConnectWiseErrors)
)]
#[post("/companies/auto-match")]
pub async fn auto_match_companies(
    ctx: web::Data<AppContext>,
    caller: Caller,
    body: ValidatedJson<AutoMatchRequest>,
) -> ApiResult {
    let dry_run = body.value.dry_run;
    let matched = companies::auto_match(&ctx, &caller, dry_run).await?;
    let proposals: Vec<MatchProposal> = matched.proposals.into_iter().map(Into::into).collect();
    let proposed = proposals.iter().filter(|proposal| proposal.outcome == MatchOutcome::Proposed).count();
    let applied = if dry_run { 0 } else { proposed };
    Ok(ok(&AutoMatched { dry_run, applied, proposals, resolved: matched.resolved.into() }))
}
