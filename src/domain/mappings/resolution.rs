//! The result of resolving a line's agreement or addition.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{CwAdditionId, CwAgreementId};
use crate::domain::mapping_status::{MappingReason, MappingSource, MappingStatus};

/// Maximum number of candidates of an ambiguous mapping. A rule that matches more needs fixing, not a longer list.
pub const MAX_CANDIDATES: usize = 20;

/// One of several targets that a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The id in ConnectWise.
    pub id: String,
    /// The name to show to people.
    pub name: String,
}

/// The result of resolving a line's agreement or addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping<Id> {
    /// Whether it is resolved.
    pub status: MappingStatus,
    /// Whether a rule or a person decided; `None` if nothing is mapped.
    pub source: Option<MappingSource>,
    /// The target; also kept while `stale`.
    pub target: Option<Id>,
    /// The reason for the status; `None` if resolved.
    pub reason: Option<MappingReason>,
    /// The targets that the rule matched, if ambiguous.
    pub candidates: Vec<Candidate>,
}

/// The result of resolving a line's agreement.
pub type AgreementMapping = Mapping<CwAgreementId>;
/// The result of resolving a line's addition.
pub type AdditionMapping = Mapping<CwAdditionId>;

impl<Id: PartialEq> Mapping<Id> {
    /// Whether the status, the source or the target differ. A different reason for having no target is not a change
    /// that anybody needs to know about.
    pub fn differs_from(&self, other: &Self) -> bool {
        (self.status, self.source, &self.target) != (other.status, other.source, &other.target)
    }
}

/// A mapping with the name of its target, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedMapping<Id> {
    /// The mapping, with only the target's id.
    pub mapping: Mapping<Id>,
    /// The agreement's name, or the addition's label; `None` if nothing is mapped or the record is unknown.
    pub name: Option<String>,
}

impl<Id> Mapping<Id> {
    /// A mapping without a target, and the reason.
    pub fn unresolved(reason: MappingReason) -> Self {
        Self {
            status: MappingStatus::Unresolved,
            source: None,
            target: None,
            reason: Some(reason),
            candidates: Vec::new(),
        }
    }

    /// A mapping to exactly one live target.
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

    /// Returns the target if a person chose it.
    pub fn manual_target(&self) -> Option<&Id> {
        self.target.as_ref().filter(|_| self.source == Some(MappingSource::Manual))
    }
}
