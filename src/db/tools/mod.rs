//! Tools for operators: backup and copy.

pub(super) mod backup;
pub(super) mod copy;
