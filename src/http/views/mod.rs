//! Parts of responses that several resources share.

pub mod mapping;
