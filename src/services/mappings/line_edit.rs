//! An edit of a billing line, and its result.

use chrono::NaiveDate;

use super::resolve::Resolved;
use crate::db::MappedLine;
use crate::domain::ids::{BillingLineId, CwAdditionId, CwAgreementId};
use crate::domain::mappings::MappingChoiceError;
use crate::domain::quantity::{AdjustmentAmount, BlockSize, IncludedQuantity, MinimumQuantity};
use crate::domain::string_enum::string_enum;
use crate::domain::{Error, FieldError, Result};
use crate::services::security::actor::IfMatch;

string_enum! {
    /// What happens to the other edits of a request if one is rejected.
    BulkMode {
        /// No edit is made.
        AllOrNothing = "all_or_nothing",
        /// The other edits are made.
        Each = "each",
    }
}

impl BulkMode {
    /// The mode of a request that does not specify one.
    pub const fn all_or_nothing() -> Self {
        Self::AllOrNothing
    }
}

/// Changes to a line; `None` leaves a setting unchanged.
#[derive(Debug, Clone, Default)]
pub struct LineEdit {
    /// Whether pushes write the line's quantity.
    pub push_enabled: Option<bool>,
    /// The line's own block size; `Some(None)` goes back to the product's.
    pub block_size: Option<Option<BlockSize>>,
    /// The line's own minimum; `Some(None)` goes back to the product's.
    pub minimum_quantity: Option<Option<MinimumQuantity>>,
    /// The line's own included quantity; `Some(None)` goes back to the product's.
    pub included_quantity: Option<Option<IncludedQuantity>>,
    /// The line's adjustment; `Some(None)` removes it.
    pub adjustment: Option<Option<NewAdjustment>>,
    /// The manually chosen agreement; `Some(None)` goes back to the rule.
    pub agreement: Option<Option<CwAgreementId>>,
    /// The manually chosen addition; `Some(None)` goes back to the rule.
    pub addition: Option<Option<CwAdditionId>>,
}

impl LineEdit {
    /// Returns whether the edit makes or clears a manual choice.
    pub(super) fn changes_choice(&self) -> bool {
        self.agreement.is_some() || self.addition.is_some()
    }

    /// Returns whether the edit sets an included quantity.
    pub(super) fn sets_included_quantity(&self) -> bool {
        self.included_quantity.is_some_and(|included| included.is_some())
    }

    /// Returns whether the edit sets an adjustment whose first day is not given.
    pub(super) fn sets_adjustment_without_first_day(&self) -> bool {
        self.adjustment.as_ref().is_some_and(|new| new.as_ref().is_some_and(|new| new.from.is_none()))
    }
}

/// An adjustment to set.
#[derive(Debug, Clone)]
pub struct NewAdjustment {
    /// The units to add to the usage, or to take away.
    pub amount: AdjustmentAmount,
    /// The first day; `None` keeps the day of the line's adjustment. Without one, it means the first day of the month
    /// that a push would bill now.
    pub from: Option<NaiveDate>,
    /// The last day; `None` keeps the day of the line's adjustment, and `Some(None)` means no end.
    pub until: Option<Option<NaiveDate>>,
    /// Why it was agreed.
    pub reason: String,
}

/// An edit of one line.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The line.
    pub line: BillingLineId,
    /// The changes.
    pub change: LineEdit,
    /// The versions of the line to which the edit may be applied.
    pub if_match: IfMatch,
}

/// Why an edit was rejected, and which member is invalid.
#[derive(Debug)]
pub struct EditRejection {
    /// The invalid member of the edit.
    pub member: &'static str,
    /// Why it was rejected.
    pub error: Error,
}

impl EditRejection {
    /// Rejects an edit because of one of its members.
    pub fn new(member: &'static str, error: Error) -> Self {
        Self { member, error }
    }

    /// Rejects a manual choice.
    pub(super) fn choice(member: &'static str, rejection: MappingChoiceError) -> Self {
        Self::new(member, Error::conflict(rejection.code(), rejection.to_string()))
    }

    /// Converts the rejection to the error of a request that changes one line. The request's address identifies the
    /// line; its body has the other members.
    pub(super) fn into_body_error(self) -> Error {
        match self.member {
            "agreement_id" => self.error.at("/agreement_id"),
            "addition_id" => self.error.at("/addition_id"),
            "included_quantity" => self.error.at("/included_quantity"),
            _ => self.error,
        }
    }

    /// Converts the rejection to an invalid field of a request, where `place` is the JSON pointer of the edit.
    pub fn field(&self, place: &str) -> FieldError {
        FieldError::new(format!("{place}/{}", self.member), self.error.field_code(), self.error.to_string())
    }
}

/// A line before and after an edit.
#[derive(Debug, Clone)]
pub struct EditedLine {
    /// The line before the edit.
    pub before: MappedLine,
    /// The line after the edit; in a dry run, as it would be.
    pub after: MappedLine,
}

impl EditedLine {
    /// Returns whether the edit changes the line.
    pub fn changes(&self) -> bool {
        self.before != self.after
    }
}

/// The result of many edits.
#[derive(Debug, Default)]
pub struct EditResults {
    /// For each edit, in order: the line before and after, or why it was rejected.
    pub outcomes: Vec<Result<EditedLine, EditRejection>>,
    /// The resulting changes to mappings.
    pub resolved: Resolved,
}

impl EditResults {
    /// Converts the rejections to invalid fields of a request, where `place` returns the JSON pointer of the edit at an
    /// index.
    pub fn fields(&self, place: impl Fn(usize) -> String) -> Vec<FieldError> {
        let rejected = self.outcomes.iter().enumerate().filter_map(|(index, one)| Some((index, one.as_ref().err()?)));
        rejected.map(|(index, rejected)| rejected.field(&place(index))).collect()
    }

    /// Returns the number of edits that change their line.
    pub fn changed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.as_ref().is_ok_and(EditedLine::changes)).count()
    }
}

/// The options of many edits.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// What happens if one of them is rejected.
    pub mode: BulkMode,
    /// Whether the edits are only computed, and nothing is saved.
    pub dry_run: bool,
}

impl Bulk {
    /// All edits, or none.
    pub const ALL_OR_NOTHING: Self = Self { mode: BulkMode::AllOrNothing, dry_run: false };

    /// Returns whether valid edits are saved; `all_valid` is whether every edit is valid.
    pub fn should_save(self, all_valid: bool) -> bool {
        !self.dry_run && (self.mode == BulkMode::Each || all_valid)
    }
}
