//! Resolves what a billing line bills to, first the agreement and then the addition, and explains the result.

mod catalog;
mod explain;
mod facts;
mod resolution;

pub use catalog::{Catalog, ChoiceError};
pub use explain::{CandidateVerdict, LineField, MAX_CANDIDATES_SHOWN, MappingSnapshot, Verdict};
pub use resolution::{AdditionMapping, AgreementMapping, Candidate, MAX_CANDIDATES, Mapping, Named};

#[cfg(test)]
mod tests;
