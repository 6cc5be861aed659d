//! How mappings and what resolving did look in JSON.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::BillingLineView;
use crate::domain::mapping::{Candidate, Mapping};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};
use crate::services::mapping::resolve::{LineChange, Resolved, StatusCounts};

/// One of several targets that a rule matched.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingCandidate {
    /// ConnectWise's id.
    pub id: String,
    /// What a person would call it.
    pub name: String,
}

impl From<Candidate> for MappingCandidate {
    fn from(candidate: Candidate) -> Self {
        Self { id: candidate.id, name: candidate.name }
    }
}

/// What a line's agreement or addition resolved to, and how.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingBody {
    /// What it came to.
    pub status: MappingStatus,
    /// Who decided; null where nothing is mapped.
    #[schema(required)]
    pub source: Option<MappingSource>,
    /// ConnectWise's id of the target; kept while stale.
    #[schema(required)]
    pub id: Option<String>,
    /// What a person would call the target.
    #[schema(required)]
    pub name: Option<String>,
    /// Why, where the status alone does not say.
    #[schema(required)]
    pub reason: Option<MappingReason>,
    /// The reason in a sentence.
    #[schema(required)]
    pub explanation: Option<String>,
    /// What matched, where it is ambiguous.
    pub candidates: Vec<MappingCandidate>,
    /// When it last changed.
    #[schema(required)]
    pub changed_at: Option<DateTime<Utc>>,
    /// Who changed it: the name of an API key, or `refresh`.
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

    /// A line's agreement.
    pub fn agreement(view: &BillingLineView) -> Self {
        let name = view.agreement.as_ref().map(|agreement| agreement.name.clone());
        let line = &view.line;
        Self::new(line.agreement(), name).changed(line.agreement_changed_at, line.agreement_changed_by.clone())
    }

    /// A line's addition.
    pub fn addition(view: &BillingLineView) -> Self {
        let name = view.addition.as_ref().map(crate::domain::records::Addition::label);
        let line = &view.line;
        Self::new(line.addition(), name).changed(line.addition_changed_at, line.addition_changed_by.clone())
    }
}

/// A mapping before or after a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingState {
    /// What it came to.
    pub status: MappingStatus,
    /// Who decided.
    #[schema(required)]
    pub source: Option<MappingSource>,
    /// ConnectWise's id of the target.
    #[schema(required)]
    pub id: Option<String>,
    /// Why, where the status alone does not say.
    #[schema(required)]
    pub reason: Option<MappingReason>,
    /// What matched, where it is ambiguous.
    pub candidates: Vec<MappingCandidate>,
}

impl<Id: ToString> From<Mapping<Id>> for MappingState {
    fn from(mapping: Mapping<Id>) -> Self {
        Self {
            status: mapping.status,
            source: mapping.source,
            id: mapping.target.map(|id| id.to_string()),
            reason: mapping.reason,
            candidates: mapping.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

/// A mapping's change.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingChange {
    /// What it was.
    pub before: MappingState,
    /// What it is.
    pub after: MappingState,
}

/// What resolving changed of a line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineHistoryEntry {
    /// The line.
    pub billing_line_id: String,
    /// Its company.
    pub company_id: String,
    /// The company's name.
    pub company_name: String,
    /// Its product.
    pub product_id: String,
    /// The agreement.
    pub agreement: MappingChange,
    /// The addition.
    pub addition: MappingChange,
}

impl From<LineChange> for LineHistoryEntry {
    fn from(change: LineChange) -> Self {
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

/// How many lines came to what.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingStatusCounts {
    /// Exactly one live target.
    pub resolved: usize,
    /// None.
    pub unresolved: usize,
    /// Several.
    pub ambiguous: usize,
    /// Resolved once, and since gone.
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

/// At most so many changes are listed; the count tells of all.
const MAX_LISTED_CHANGES: usize = 500;

/// What resolving came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResolveResponse {
    /// How many lines were looked at.
    pub lines: usize,
    /// What their agreements came to.
    pub agreements: MappingStatusCounts,
    /// What their additions came to.
    pub additions: MappingStatusCounts,
    /// How many lines changed.
    pub changed: usize,
    /// The lines that changed, the first 500.
    pub changes: Vec<LineHistoryEntry>,
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
