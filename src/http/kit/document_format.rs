//! The forms in which a document is returned.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// The form in which a document is returned.
    DocumentFormat {
        /// JSON, for programs.
        Json = "json",
        /// A table with a row for each product.
        Csv = "csv",
        /// A page to print.
        Html = "html",
    }
}
