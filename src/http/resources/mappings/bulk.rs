//! `PATCH /agreement-mappings` and `/addition-mappings`: manual choices for many billing lines at once.

use actix_web::{HttpResponse, patch, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::domain::ids::{BillingLineId, CwAdditionId, CwAgreementId};
use crate::domain::{Error, Result};
use crate::http::kit::auth::Caller;
use crate::http::kit::extract::headers::RequiredVersions;
use crate::http::kit::extract::json::{ValidatedJson, optional_whole_number};
use crate::http::kit::problem::{ApiResult, ConnectWiseErrors, Errors, ProblemField, WriteErrors};
use crate::http::kit::response::ok;
use crate::http::views::mappings::ResolveResponse;
use crate::services::AppContext;
use crate::services::IfMatch;
use crate::services::mappings::edit;
use crate::services::mappings::line_edit::BulkMode;
use crate::services::mappings::line_edit::{self, Bulk, Edit, LineEdit};

/// The agreement choice of one billing line.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineAgreementChoice {
    /// The billing line's id. A request can have one choice for each line.
    pub billing_line_id: String,
    /// ConnectWise's id of the agreement, such as `1201`. Null clears the choice, so the rule decides.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<String>, required, pattern = "^[1-9][0-9]{0,17}$")]
    pub agreement_id: Option<CwAgreementId>,
    /// The expected version of the billing line. If the line has a different version, the choice is rejected. If left
    /// out, the version is not checked.
    #[serde(default, deserialize_with = "optional_whole_number")]
    #[validate(range(min = 0, max = 2147483647))]
    #[schema(minimum = 0, maximum = 2147483647)]
    pub version: Option<i64>,
}

/// The addition choice of one billing line.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineAdditionChoice {
    /// The billing line's id. A request can have one choice for each line.
    pub billing_line_id: String,
    /// ConnectWise's id of the addition, such as `50310`. Null clears the choice, so the rule decides.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<String>, required, pattern = "^[1-9][0-9]{0,17}$")]
    pub addition_id: Option<CwAdditionId>,
    /// The expected version of the billing line. If the line has a different version, the choice is rejected. If left
    /// out, the version is not checked.
    #[serde(default, deserialize_with = "optional_whole_number")]
    #[validate(range(min = 0, max = 2147483647))]
    #[schema(minimum = 0, maximum = 2147483647)]
    pub version: Option<i64>,
}

/// The agreement choices of many billing lines.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "mode": "each",
    "choices": [{"billing_line_id": "0193f0a0-0000-7000-8000-000000000002", "agreement_id": "1201"}]
}))]
pub struct ChooseAgreementsRequest {
    /// What happens to the other choices if one is rejected. The default is `all_or_nothing`.
    #[serde(default = "BulkMode::all_or_nothing")]
    #[schema(default = "all_or_nothing")]
    pub mode: BulkMode,
    /// The choices, at most 5,000.
    #[validate(length(min = 1, max = 5000), nested)]
    #[schema(min_items = 1, max_items = 5000)]
    pub choices: Vec<LineAgreementChoice>,
}

/// The addition choices of many billing lines.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "choices": [{"billing_line_id": "0193f0a0-0000-7000-8000-000000000002", "addition_id": "50310"}]
}))]
pub struct ChooseAdditionsRequest {
    /// What happens to the other choices if one is rejected. The default is `all_or_nothing`.
    #[serde(default = "BulkMode::all_or_nothing")]
    #[schema(default = "all_or_nothing")]
    pub mode: BulkMode,
    /// The choices, at most 5,000.
    #[validate(length(min = 1, max = 5000), nested)]
    #[schema(min_items = 1, max_items = 5000)]
    pub choices: Vec<LineAdditionChoice>,
}

/// The outcome of one choice.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChoiceOutcome {
    /// The billing line's id.
    pub billing_line_id: String,
    /// Whether the choice changed the line.
    pub changed: bool,
    /// Why the choice was rejected; null if it was accepted.
    #[schema(required)]
    pub error: Option<ProblemField>,
}

/// The result of many choices.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkChoiceResponse {
    /// The number of choices that changed their line.
    pub changed: usize,
    /// The number of choices that were rejected.
    pub rejected: usize,
    /// The outcome of each choice, in the order of the request.
    pub items: Vec<ChoiceOutcome>,
    /// The mapping changes that the choices caused.
    pub resolved: ResolveResponse,
}

/// Choose many agreements manually
///
/// Sets or clears the agreement choices of up to 5,000 billing lines, by the same rules as for one line. In the mode
/// `all_or_nothing`, a rejected choice fails the request with 422, which lists the rejected choices. In the mode
/// `each`, the valid choices are applied, and `items` reports the rejected ones. Repeating the request changes nothing.
#[utoipa::path(
    tag = "mappings", request_body = ChooseAgreementsRequest,
    responses((status = 200, description = "The outcome of each choice", body = BulkChoiceResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[patch("/agreement-mappings")]
pub async fn choose_agreements(
    ctx: web::Data<AppContext>,
    caller: Caller,
    versions: RequiredVersions,
    body: ValidatedJson<ChooseAgreementsRequest>,
) -> ApiResult {
    versions.check(body.value.choices.iter().map(|choice| choice.version.is_some()))?;
    let ChooseAgreementsRequest { mode, choices } = body.value;
    let edit = |one: LineAgreementChoice| {
        let change = LineEdit { agreement: Some(one.agreement_id), ..LineEdit::default() };
        edit(one.billing_line_id, change, one.version)
    };
    choose(&ctx, &caller, choices.into_iter().map(edit).collect(), mode).await
}

/// Choose many additions manually
///
/// Sets or clears the addition choices of up to 5,000 billing lines, by the same rules as for one line. In the mode
/// `all_or_nothing`, a rejected choice fails the request with 422, which lists the rejected choices. In the mode
/// `each`, the valid choices are applied, and `items` reports the rejected ones. Repeating the request changes nothing.
#[utoipa::path(
    tag = "mappings", request_body = ChooseAdditionsRequest,
    responses((status = 200, description = "The outcome of each choice", body = BulkChoiceResponse), Errors, WriteErrors, ConnectWiseErrors)
)]
#[patch("/addition-mappings")]
pub async fn choose_additions(
    ctx: web::Data<AppContext>,
    caller: Caller,
    versions: RequiredVersions,
    body: ValidatedJson<ChooseAdditionsRequest>,
) -> ApiResult {
    versions.check(body.value.choices.iter().map(|choice| choice.version.is_some()))?;
    let ChooseAdditionsRequest { mode, choices } = body.value;
    let edit = |one: LineAdditionChoice| {
        let change = LineEdit { addition: Some(one.addition_id), ..LineEdit::default() };
        edit(one.billing_line_id, change, one.version)
    };
    choose(&ctx, &caller, choices.into_iter().map(edit).collect(), mode).await
}

fn edit(line: String, change: LineEdit, version: Option<i64>) -> Edit {
    Edit {
        line: BillingLineId::from(line),
        change,
        if_match: IfMatch(version.map(|version| vec![version.to_string()])),
    }
}

async fn choose(ctx: &AppContext, caller: &Caller, edits: Vec<Edit>, mode: BulkMode) -> ApiResult {
    let lines: Vec<BillingLineId> = edits.iter().map(|edit| edit.line.clone()).collect();
    let applied = edit::edit(ctx, caller, edits, Bulk { mode, dry_run: false }).await?;
    Ok(rendered(lines, applied, mode)?)
}

fn rendered(lines: Vec<BillingLineId>, applied: line_edit::EditResults, mode: BulkMode) -> Result<HttpResponse> {
    let fields = applied.fields(|index| format!("/choices/{index}"));
    if mode == BulkMode::AllOrNothing && !fields.is_empty() {
        return Err(Error::Invalid(fields));
    }
    let (changed, rejected) = (applied.changed(), fields.len());
    let mut errors = fields.into_iter().map(ProblemField::from);
    let item =
        |(line, outcome): (BillingLineId, std::result::Result<line_edit::EditedLine, line_edit::EditRejection>)| {
            ChoiceOutcome {
                billing_line_id: line.to_string(),
                changed: outcome.as_ref().is_ok_and(line_edit::EditedLine::changes),
                error: if outcome.is_err() { errors.next() } else { None },
            }
        };
    let items = lines.into_iter().zip(applied.outcomes).map(item).collect();
    Ok(ok(&BulkChoiceResponse { changed, rejected, items, resolved: applied.resolved.into() }))
}
