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

impl Target {
    /// What the product's other rule selects.
    pub const fn other(self) -> Self {
        match self {
            Self::Agreement => Self::Addition,
            Self::Addition => Self::Agreement,
        }
    }
}
