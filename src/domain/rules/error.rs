//! Errors in an expression, and their positions.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// Why an expression was rejected.
    RuleCode {
        /// Something else was expected at this position.
        Unexpected = "unexpected",
        /// There is no such attribute.
        UnknownAttribute = "unknown_attribute",
        /// The attribute belongs to the other kind of rule.
        WrongTarget = "wrong_target",
        /// A text has no closing quote.
        UnterminatedText = "unterminated_text",
        /// `like` has no `%`.
        LikeWithoutPercent = "like_without_percent",
        /// The pattern of `like` is not valid.
        BadPattern = "bad_pattern",
        /// The text is empty.
        EmptyText = "empty_text",
        /// The expression is too long.
        TooLong = "too_long",
        /// The parentheses are nested too deeply.
        TooDeep = "too_deep",
        /// The list after `in` is too long.
        ListTooLong = "list_too_long",
        /// The expression has too many conditions.
        TooManyConditions = "too_many_conditions",
        /// A character cannot be part of an expression.
        BadCharacter = "bad_character",
    }
}

/// Why an expression was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// The kind of error.
    pub code: RuleCode,
    /// The whole message: what was found, what was expected, and advice.
    pub message: String,
    /// Where the error begins in the expression, in characters from 0.
    pub offset: usize,
    /// Number of characters that the error spans; 0 at the end of the text.
    pub length: usize,
    /// `offset` in UTF-16 code units, as JavaScript counts.
    pub offset_utf16: usize,
    /// `length` in UTF-16 code units.
    pub length_utf16: usize,
    /// The alternatives that would have been valid at that position.
    pub expected: Vec<String>,
    /// Advice on what to write instead, for common mistakes.
    pub advice: Option<String>,
}

impl RuleError {
    pub(super) fn new(code: RuleCode, span: Span, found: impl Into<String>) -> Self {
        Self {
            code,
            message: found.into(),
            offset: span.offset,
            length: span.length,
            offset_utf16: span.offset,
            length_utf16: span.length,
            expected: Vec::new(),
            advice: None,
        }
    }

    /// Also counts the position in UTF-16 code units. `text` is the expression.
    pub(super) fn located_in(mut self, text: &str) -> Self {
        let units = |from: usize, count: usize| text.chars().skip(from).take(count).map(char::len_utf16).sum();
        self.offset_utf16 = units(0, self.offset);
        self.length_utf16 = units(self.offset, self.length);
        self
    }

    pub(super) fn with_expected(mut self, expected: &[&str]) -> Self {
        self.expected = expected.iter().map(|word| (*word).to_owned()).collect();
        self.message = format!("{}; expected {}", self.message, list(expected));
        self
    }

    pub(super) fn with_hint(mut self, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        self.message = format!("{}. {advice}", self.message);
        self.advice = Some(advice);
        self
    }
}

fn list(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// A range of the expression, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: usize,
    pub(super) length: usize,
}
