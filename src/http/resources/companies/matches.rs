//! `/companies/{id}/connectwise-company` and `/companies/auto-match`: matching companies to ConnectWise companies.

use actix_web::{HttpResponse, delete, post, put, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::Company;
use crate::domain::company_match::{MatchCriterion, MatchOutcome};
use crate::domain::ids::{CompanyId, CwCompanyId};
use crate::domain::records::CwCompany;
use crate::domain::{Error, FieldCode, Result};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::IfMatchHeader;
use crate::http::kit::extract::json::ValidatedJson;
use crate::http::kit::params::IfMatchParam;
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, WriteErrors};
use crate::http::kit::response::{ok, with_etag};
use crate::http::views::mappings::ResolveResponse;
use crate::services::AppContext;
use crate::services::companies::{self, CompanyReference, NamedProposal};

/// The ConnectWise company to match, either by id or by identifier.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"identifier": "HarborDental"}))]
pub struct MatchCompanyRequest {
    /// ConnectWise's id of the company, as in the list of ConnectWise companies.
    #[schema(value_type = Option<String>, example = "250", pattern = "^[1-9][0-9]{0,17}$")]
    pub id: Option<CwCompanyId>,
    /// The company's identifier in ConnectWise, ignoring case. Also finds a company that was created after the last
    /// refresh.
    #[validate(length(min = 1, max = 100))]
    #[schema(min_length = 1, max_length = 100)]
    pub identifier: Option<String>,
    /// Whether to allow a ConnectWise company that another company is already matched to. Pushes skip two enabled
    /// lines that bill to one addition, so choose different additions for the two companies.
    #[serde(default)]
    pub shared: bool,
}

impl MatchCompanyRequest {
    fn choice(self) -> Result<CompanyReference> {
        match (self.id, self.identifier) {
            (Some(id), None) => Ok(CompanyReference::Id(id)),
            (None, Some(identifier)) => Ok(CompanyReference::Identifier(identifier)),
            _ => Err(Error::invalid("/id", FieldCode::Required, "send either id or identifier")),
        }
    }
}

/// A company after its match was set or removed, and the resulting changes in its billing lines.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchCompanyResponse {
    /// The company.
    pub company: Company,
    /// The mappings that were cleared or resolved.
    pub resolved: ResolveResponse,
}

/// Match a company
///
/// Matches the company to a ConnectWise company and resolves its billing lines again. Mappings of an earlier match are
/// cleared, including manual choices. Fails with 404 if the ConnectWise company is unknown, and with 409 if another
/// company is matched to it, unless `shared` is true. Repeating the request changes nothing.
#[utoipa::path(
    tag = "companies", request_body = MatchCompanyRequest,
    params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 200, description = "The company, and the resulting changes in its billing lines", body = MatchCompanyResponse), Errors, WriteErrors, ConnectWiseErrors)
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

/// Unmatch a company
///
/// Sets the company to Not Set and clears its mappings, including manual choices. Its lines are not pushed until the
/// company is matched again. Repeating the request changes nothing.
#[utoipa::path(
    tag = "companies",
    params(("id" = String, Path, description = "The company"), IfMatchParam),
    responses((status = 200, description = "The company, and the resulting changes in its billing lines", body = MatchCompanyResponse), Errors, WriteErrors)
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

/// The options of auto-match.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"dry_run": true}))]
pub struct AutoMatchRequest {
    /// Whether to only return the proposals, without applying them.
    #[serde(default)]
    pub dry_run: bool,
}

/// A ConnectWise company that fits a company.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchCandidate {
    /// ConnectWise's id of the company.
    pub id: String,
    /// The company's identifier in ConnectWise.
    pub identifier: String,
    /// The company's name in ConnectWise.
    pub name: String,
}

impl From<CwCompany> for MatchCandidate {
    fn from(company: CwCompany) -> Self {
        Self { id: company.id.into(), identifier: company.identifier, name: company.name }
    }
}

/// The result of auto-match for one company that was Not Set.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchProposal {
    /// The company's id.
    pub company_id: String,
    /// The vendor's own id for the company.
    pub external_id: String,
    /// The company's name.
    pub name: String,
    /// Whether a match was found, or why not.
    pub outcome: MatchOutcome,
    /// The criterion that matched; null if no ConnectWise company fits.
    #[schema(required)]
    pub match_criterion: Option<MatchCriterion>,
    /// The ConnectWise companies that fit: one if proposed or not unique, several if ambiguous.
    pub candidates: Vec<MatchCandidate>,
}

impl From<NamedProposal> for MatchProposal {
    fn from(named: NamedProposal) -> Self {
        Self {
            company_id: named.company.id.to_string(),
            external_id: named.company.external_id,
            name: named.company.name,
            outcome: named.proposal.outcome,
            match_criterion: named.proposal.by,
            candidates: named.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

/// The result of auto-match.
#[derive(Debug, Serialize, ToSchema)]
pub struct AutoMatched {
    /// Whether matches were only proposed and none applied.
    pub dry_run: bool,
    /// The number of matches that were applied; 0 in a dry run.
    pub applied: usize,
    /// One entry for each company that was Not Set, sorted by name.
    pub proposals: Vec<MatchProposal>,
    /// The mapping changes that the applied matches caused.
    pub resolved: ResolveResponse,
}

/// Match companies automatically
///
/// For each company that is Not Set, looks for a ConnectWise company whose identifier equals the external id, then for
/// one with an equal name. Applies a match only if it is unique, and no other company is, or could be, matched to the
/// same ConnectWise company; otherwise only reports it. Companies are read from ConnectWise first if the last refresh
/// is not recent. Existing matches stay as they are.
#[utoipa::path(
    tag = "companies", request_body = AutoMatchRequest,
    responses((status = 200, description = "One proposal for each company that was Not Set, and the applied matches", body = AutoMatched), Errors, WriteErrors, ConnectWiseErrors)
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
