//! What a line resolved to, and how.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{CwAdditionId, CwAgreementId};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};

/// How many candidates of an ambiguous mapping are kept; a rule that matches more needs mending, not a longer list.
pub const MAX_CANDIDATES: usize = 20;

/// One of several targets that a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// ConnectWise's id.
    pub id: String,
    /// What a person would call it.
    pub name: String,
}

/// What a line resolved to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping<Id> {
    /// The status.
    pub status: MappingStatus,
    /// Who decided; `None` where nothing is mapped.
    pub source: Option<MappingSource>,
    /// The target; also kept while `stale`.
    pub target: Option<Id>,
    /// Why, where the status alone does not say.
    pub reason: Option<MappingReason>,
    /// What matched, where it is ambiguous.
    pub candidates: Vec<Candidate>,
}

/// What a line's agreement resolved to.
pub type AgreementMapping = Mapping<CwAgreementId>;
/// What a line's addition resolved to.
pub type AdditionMapping = Mapping<CwAdditionId>;

impl<Id> Mapping<Id> {
    /// No target, with why.
    pub fn unresolved(reason: MappingReason) -> Self {
        Self {
            status: MappingStatus::Unresolved,
            source: None,
            target: None,
            reason: Some(reason),
            candidates: Vec::new(),
        }
    }

    /// Exactly one live target.
    pub fn resolved(source: MappingSource, target: Id) -> Self {
        Self {
            status: MappingStatus::Resolved,
            source: Some(source),
            target: Some(target),
            reason: None,
            candidates: Vec::new(),
        }
    }

    pub(super) fn stale(source: MappingSource, target: Id, reason: MappingReason) -> Self {
        Self {
            status: MappingStatus::Stale,
            source: Some(source),
            target: Some(target),
            reason: Some(reason),
            candidates: Vec::new(),
        }
    }

    /// The target, where a person chose it.
    pub fn manual_target(&self) -> Option<&Id> {
        self.target.as_ref().filter(|_| self.source == Some(MappingSource::Manual))
    }
}
