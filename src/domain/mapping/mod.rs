//! Deciding what a billing line bills to: the agreement, then the addition; and telling why.

mod catalog;
mod explain;
mod facts;
mod resolution;

pub use catalog::{Catalog, Refusal};
pub use explain::{LinePart, MAX_SEEN, Mapped, Seen, Verdict};
pub use resolution::{AdditionMapping, AgreementMapping, Candidate, MAX_CANDIDATES, Mapping};

#[cfg(test)]
mod tests;
