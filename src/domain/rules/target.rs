//! The kinds of record that a rule selects.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// The kind of record that a matching rule selects.
    Target {
        /// One of a company's agreements.
        Agreement = "agreement",
        /// One of an agreement's additions.
        Addition = "addition",
    }
}

impl Target {
    /// The target of the product's other rule.
    pub const fn other(self) -> Self {
        match self {
            Self::Agreement => Self::Addition,
            Self::Addition => Self::Agreement,
        }
    }
}
