//! What is wrong with an expression, and where.

/// Why an expression was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// A stable code: `unexpected`, `unknown_attribute`, `wrong_target`, `unterminated_text`, `like_without_percent`,
    /// `empty_text`, `too_long`, `too_deep`, `list_too_long`, `too_many_conditions`, `bad_character`, `bad_pattern`.
    pub code: &'static str,
    /// The whole message: what was found, what was expected, and advice.
    pub message: String,
    /// Where the error begins in the expression, in characters from 0.
    pub offset: usize,
    /// Number of characters that the error spans; 0 at the end of the text.
    pub length: usize,
    /// What would have been valid there.
    pub expected: Vec<String>,
    /// What to write instead, for common mistakes.
    pub advice: Option<String>,
}

impl RuleError {
    pub(super) fn new(code: &'static str, span: Span, found: impl Into<String>) -> Self {
        Self {
            code,
            message: found.into(),
            offset: span.offset,
            length: span.length,
            expected: Vec::new(),
            advice: None,
        }
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
