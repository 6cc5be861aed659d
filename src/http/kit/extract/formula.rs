//! Texts that a spreadsheet would take for formulas.

/// Prefixes a text with an apostrophe if a spreadsheet would take it for a formula. A text that would then look like
/// such a prefixed one gets one more, so that [`unescape_formula`] restores every text.
pub fn escape_formula(text: &str) -> String {
    if looks_like_formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// Restores the text that was passed to [`escape_formula`]. Only for columns that an import reads and our exports have.
pub(super) fn unescape_formula(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| looks_like_formula(rest)).unwrap_or(text)
}

/// Whether a text begins like a formula, after any number of apostrophes.
fn looks_like_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

#[cfg(test)]
mod tests {
    use super::{escape_formula, unescape_formula};

    #[test]
    fn formulas_come_back_as_they_were() {
        for text in ["", "C-1", "=1+1", "'=1", "''+2", "-", "'quoted'", "@x", "'", "''", "\tx"] {
            let exported = escape_formula(text);
            assert!(!exported.starts_with(['=', '+', '-', '@', '\t', '\r']), "{exported}");
            assert_eq!(unescape_formula(&exported), text, "{exported}");
        }
        assert_eq!(escape_formula("'quoted'"), "'quoted'", "an apostrophe alone is no escape");
    }
}
