//! Splits an expression into tokens.

use super::error::{RuleCode, RuleError, Span};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// An attribute name or a keyword.
    Word(String),
    /// A quoted text, without its quotes.
    Text(String),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, or a mistake such as `==` that the parser explains.
    Symbol(String),
    Open,
    Close,
    Comma,
    End,
}

impl Token {
    /// Returns the token as error messages show it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("\"{}\"", shorten(word)),
            Self::Text(text) => format!("the text \"{}\"", shorten(text)),
            Self::Symbol(symbol) => format!("\"{symbol}\""),
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::Comma => "\",\"".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Returns at most 40 characters of a text, without control characters, for a message.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

/// Splits an expression into tokens, ending with [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Span)>, RuleError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = next_token(&chars, at, c)?;
        tokens.push((token, Span { offset: at, length }));
        at += length;
    }
    tokens.push((Token::End, Span { offset: chars.len(), length: 0 }));
    Ok(tokens)
}

fn next_token(chars: &[char], at: usize, c: char) -> Result<(Token, usize), RuleError> {
    match c {
        '(' => Ok((Token::Open, 1)),
        ')' => Ok((Token::Close, 1)),
        ',' => Ok((Token::Comma, 1)),
        '"' | '\'' => quoted(chars, at, c),
        '=' | '!' | '<' | '>' | '&' | '|' => {
            let symbol = run(chars, at, |c| matches!(c, '=' | '!' | '<' | '>' | '&' | '|'));
            let length = symbol.chars().count();
            Ok((Token::Symbol(symbol), length))
        }
        c if is_word(c) => {
            let word = run(chars, at, is_word);
            let length = word.chars().count();
            Ok((Token::Word(word), length))
        }
        other => Err(bad_character(at, other)),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '%' | '*')
}

fn run(chars: &[char], at: usize, belongs: impl Fn(char) -> bool) -> String {
    chars[at..].iter().take_while(|c| belongs(**c)).collect()
}

fn quoted(chars: &[char], at: usize, quote: char) -> Result<(Token, usize), RuleError> {
    match chars[at + 1..].iter().position(|c| *c == quote) {
        Some(length) => {
            let text: String = chars[at + 1..at + 1 + length].iter().collect();
            if let Some(inside) = text.chars().position(|c| c == '\0') {
                return Err(bad_character(at + 1 + inside, '\0'));
            }
            Ok((Token::Text(text), length + 2))
        }
        None => {
            let span = Span { offset: at, length: chars.len() - at };
            Err(RuleError::new(RuleCode::UnterminatedText, span, "the text that begins here has no closing quote")
                .with_hint(format!(
                    "Close it with {quote}. If the text contains {quote}, use the other kind of quotes"
                )))
        }
    }
}

fn bad_character(at: usize, c: char) -> RuleError {
    let span = Span { offset: at, length: 1 };
    match c {
        '“' | '”' | '„' | '‟' | '«' | '»' | '‘' | '’' | '‚' => {
            RuleError::new(RuleCode::BadCharacter, span, format!("found the typographic quote {c}"))
                .with_hint("Write plain quotes: \"text\" or 'text'")
        }
        '\0' => {
            RuleError::new(RuleCode::BadCharacter, span, "found a NUL character, which no text in ConnectWise contains")
        }
        c if c.is_control() => {
            RuleError::new(RuleCode::BadCharacter, span, format!("found the control character U+{:04X}", u32::from(c)))
        }
        c => RuleError::new(RuleCode::BadCharacter, span, format!("found the character {c}")).with_expected(&[
            "an attribute",
            "an operator",
            "a text in quotes",
            "a parenthesis",
        ]),
    }
}
