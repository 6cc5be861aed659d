//! Deciding what a billing line bills to: the agreement, then the addition; and telling why.

mod catalog;
mod explain;
mod facts;
mod resolution;

pub use catalog::{Catalog, ChoiceError};
pub use explain::{CandidateVerdict, LineField, MAX_CANDIDATES_SHOWN, MappingSnapshot, Verdict};
pub use resolution::{AdditionMapping, AgreementMapping, Candidate, MAX_CANDIDATES, Mapping};

#[cfg(test)]
mod tests;
