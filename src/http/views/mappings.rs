//! The JSON form of mappings, and of the changes that resolving made.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::BillingLineView;
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::domain::mappings::{Candidate, Mapping, NamedMapping};
use crate::services::mappings::resolve::{ChangedLine, Resolved, StatusCounts};

/// One of several agreements or additions that a rule matches.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingCandidate {
    /// ConnectWise's id of the agreement or addition.
    pub id: String,
    /// The name, for people: the agreement's name, or the addition's product identifier and description.
    pub name: String,
}

impl From<Candidate> for MappingCandidate {
    fn from(candidate: Candidate) -> Self {
        Self { id: candidate.id, name: candidate.name }
    }
}

/// The agreement or addition that a billing line bills to, and how it was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingBody {
    /// The mapping's status.
    pub status: MappingStatus,
    /// Whether a rule or a manual choice decided; null if nothing is mapped.
    #[schema(required)]
    pub source: Option<MappingSource>,
    /// ConnectWise's id of the agreement or addition; null if nothing is mapped. It is kept while the mapping is stale.
    #[schema(required)]
    pub id: Option<String>,
    /// The name of the agreement or addition, for people; null if nothing is mapped.
    #[schema(required)]
    pub name: Option<String>,
    /// The reason for the status; null if the status needs none.
    #[schema(required)]
    pub reason: Option<MappingReason>,
    /// The reason as a sentence, with what to do; null if there is no reason.
    #[schema(required)]
    pub explanation: Option<String>,
    /// The agreements or additions that the rule matches, if the mapping is ambiguous; otherwise empty.
    pub candidates: Vec<MappingCandidate>,
    /// When the mapping last changed; null if it never did.
    #[schema(required)]
    pub changed_at: Option<DateTime<Utc>>,
    /// Who last changed the mapping: the name of an API key, or `refresh` for an automatic refresh. Null if it never
    /// changed.
    #[schema(required)]
    pub changed_by: Option<String>,
}

impl MappingBody {
    fn new<Id: ToString>(mapping: Mapping<Id>, name: Option<String>) -> Self {
        Self {
            status: mapping.status,
            source: mapping.source,
            id: mapping.target.map(|id| id.to_string()),
            name,
            reason: mapping.reason,
            explanation: mapping.reason.map(|reason| reason.explain().to_owned()),
            candidates: mapping.candidates.into_iter().map(Into::into).collect(),
            changed_at: None,
            changed_by: None,
        }
    }

    fn changed(self, at: Option<NaiveDateTime>, by: Option<String>) -> Self {
        Self { changed_at: at.map(|at| at.and_utc()), changed_by: by, ..self }
    }

    /// The mapping of a line's agreement.
    pub fn agreement(view: &BillingLineView) -> Self {
        let name = view.agreement.as_ref().map(|agreement| agreement.name.clone());
        let line = &view.line;
        Self::new(line.agreement(), name).changed(line.agreement_changed_at, line.agreement_changed_by.clone())
    }

    /// The mapping of a line's addition.
    pub fn addition(view: &BillingLineView) -> Self {
        let name = view.addition.as_ref().map(crate::domain::records::Addition::label);
        let line = &view.line;
        Self::new(line.addition(), name).changed(line.addition_changed_at, line.addition_changed_by.clone())
    }
}

/// A mapping before or after a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingState {
    /// The mapping's status.
    pub status: MappingStatus,
    /// Whether a rule or a manual choice decided; null if nothing is mapped.
    #[schema(required)]
    pub source: Option<MappingSource>,
    /// ConnectWise's id of the agreement or addition; null if nothing is mapped.
    #[schema(required)]
    pub id: Option<String>,
    /// The name of the agreement or addition, for people; null if nothing is mapped.
    #[schema(required)]
    pub name: Option<String>,
    /// The reason for the status; null if the status needs none.
    #[schema(required)]
    pub reason: Option<MappingReason>,
    /// The reason as a sentence, with what to do; null if there is no reason.
    #[schema(required)]
    pub explanation: Option<String>,
    /// The agreements or additions that the rule matches, if the mapping is ambiguous; otherwise empty.
    pub candidates: Vec<MappingCandidate>,
}

impl<Id: ToString> From<NamedMapping<Id>> for MappingState {
    fn from(NamedMapping { mapping, name }: NamedMapping<Id>) -> Self {
        Self {
            status: mapping.status,
            source: mapping.source,
            id: mapping.target.map(|id| id.to_string()),
            name,
            reason: mapping.reason,
            explanation: mapping.reason.map(|reason| reason.explain().to_owned()),
            candidates: mapping.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

/// A mapping before and after a change. Both are equal if this mapping did not change.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingChange {
    /// The mapping before the change.
    pub before: MappingState,
    /// The mapping after the change.
    pub after: MappingState,
}

/// A billing line whose agreement or addition mapping changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedMapping {
    /// The billing line's id.
    pub billing_line_id: String,
    /// The company's id.
    pub company_id: String,
    /// The company's name.
    pub company_name: String,
    /// The product's id.
    pub product_id: String,
    /// The agreement mapping, before and after.
    pub agreement: MappingChange,
    /// The addition mapping, before and after.
    pub addition: MappingChange,
}

impl From<ChangedLine> for ChangedMapping {
    fn from(change: ChangedLine) -> Self {
        Self {
            billing_line_id: change.billing_line_id.to_string(),
            company_id: change.company_id.to_string(),
            company_name: change.company_name,
            product_id: change.product_id.to_string(),
            agreement: MappingChange { before: change.agreement.0.into(), after: change.agreement.1.into() },
            addition: MappingChange { before: change.addition.0.into(), after: change.addition.1.into() },
        }
    }
}

/// The number of billing lines with each mapping status.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingStatusCounts {
    /// The number of lines with exactly one live agreement or addition.
    pub resolved: usize,
    /// The number of lines without one.
    pub unresolved: usize,
    /// The number of lines whose rule matches several.
    pub ambiguous: usize,
    /// The number of lines whose agreement or addition was cancelled, ended or deleted.
    pub stale: usize,
}

impl From<StatusCounts> for MappingStatusCounts {
    fn from(counts: StatusCounts) -> Self {
        Self {
            resolved: counts.resolved,
            unresolved: counts.unresolved,
            ambiguous: counts.ambiguous,
            stale: counts.stale,
        }
    }
}

/// Maximum number of changes that a response lists; `changed` counts all.
const MAX_LISTED_CHANGES: usize = 500;

/// The result of resolving billing lines.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResolveResponse {
    /// The number of lines that were resolved.
    pub lines: usize,
    /// The number of these lines by the status of their agreement mapping.
    pub agreements: MappingStatusCounts,
    /// The number of these lines by the status of their addition mapping.
    pub additions: MappingStatusCounts,
    /// The number of lines with a changed mapping.
    pub changed: usize,
    /// The lines with a changed mapping, at most 500.
    pub changes: Vec<ChangedMapping>,
}

impl From<Resolved> for ResolveResponse {
    fn from(resolved: Resolved) -> Self {
        Self {
            lines: resolved.lines,
            agreements: resolved.agreements.into(),
            additions: resolved.additions.into(),
            changed: resolved.changes.len(),
            changes: resolved.changes.into_iter().take(MAX_LISTED_CHANGES).map(Into::into).collect(),
        }
    }
}
