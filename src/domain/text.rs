//! Text comparison that ignores letter case and, for names, also accents and spacing.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Prepares a text for comparison: composes (NFC) and folds it, so that texts that differ only in case are equal.
///
/// Folding converts each character to upper case and back to lower case: `ß` becomes `ss`, `ς` becomes `σ`. It does
/// not depend on a language or on neighbouring letters.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Like [`fold`], but also removes accents and collapses white space: `Müller  GmbH` becomes `muller gmbh`.
pub fn fold_name(text: &str) -> String {
    let plain: String = fold(text).nfd().filter(|c| !is_combining_mark(*c)).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folding_ignores_case_in_all_of_unicode() {
        for (left, right) in
            [("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("Æble", "æBLE"), ("e\u{301}", "É"), ("DŽ", "dž"), ("İ", "i̇")]
        {
            assert_eq!(fold(left), fold(right), "{left} {right}");
        }
        assert_ne!(fold("a"), fold("á"));
    }

    #[test]
    fn names_ignore_accents_and_spacing() {
        assert_eq!(fold_name("  Müller \t GmbH "), "muller gmbh");
        assert_eq!(fold_name("Café"), fold_name("CAFE\u{301}"));
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in ".{0,40}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
