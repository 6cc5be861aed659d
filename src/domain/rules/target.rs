//! What a rule selects.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// What a matching rule selects.
    Target {
        /// One of a company's agreements.
        Agreement = "agreement",
        /// One of an agreement's additions.
        Addition = "addition",
    }
}
