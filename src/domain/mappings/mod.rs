//! Resolves the agreement and then the addition that a billing line bills to, and explains the result.

mod explain;
mod facts;
mod record_index;
mod resolution;

pub use explain::{CandidateVerdict, LineField, MAX_CANDIDATES_SHOWN, MappingSnapshot, Verdict};
pub use record_index::{MappingChoiceError, RecordIndex};
pub use resolution::{AdditionMapping, AgreementMapping, Candidate, MAX_CANDIDATES, Mapping, NamedMapping};

#[cfg(test)]
mod tests;
