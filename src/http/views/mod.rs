//! Parts of responses that several resources share.

pub mod adjustment;
pub mod mappings;
