//! Parts of answers that several resources share.

pub mod mapping;
