//! What an operator does with a whole database.

pub(super) mod backup;
pub(super) mod copy;
