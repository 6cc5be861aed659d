//! Parses tokens into an expression. Recursion is bounded by [`MAX_DEPTH`].

use super::Target;
use super::error::{RuleCode, RuleError, Span};
use super::expr::{Attribute, Comparison, Condition, Expr};
use super::like::{BadPattern, Pattern};
use super::token::{Token, shorten, tokens};

/// Maximum length of an expression, in characters.
pub const MAX_LENGTH: usize = 4_000;
/// Maximum nesting of parentheses.
pub const MAX_DEPTH: usize = 32;
/// Maximum number of values in an `in` list.
pub const MAX_LIST: usize = 200;
/// Maximum number of comparisons in one expression.
pub const MAX_CONDITIONS: usize = 100;

const OPERATORS: &[&str] = &["=", "!=", "<", "<=", ">", ">=", "contains", "like", "in", "not"];
const QUOTED: &str = "a text in quotes";

/// Parses an expression.
pub(super) fn parse(target: Target, text: &str) -> Result<Expr, RuleError> {
    // Counting stops at the limit, so a megabyte is rejected as fast as a line.
    if text.chars().nth(MAX_LENGTH).is_some() {
        let span = Span { offset: MAX_LENGTH, length: 1 };
        return Err(RuleError::new(
            RuleCode::TooLong,
            span,
            format!("the expression is longer than {MAX_LENGTH} characters"),
        ));
    }
    let mut parser = Parser { target, tokens: tokens(text)?, at: 0, depth: 0, conditions: 0 };
    let expr = parser.any()?;
    match parser.peek() {
        Token::End => Ok(expr),
        Token::Close => Err(parser.unexpected("this \")\" has no matching \"(\"")),
        Token::Symbol(symbol) if symbol.contains(['&', '|']) => Err(parser.and_or_mistake()),
        found => Err(parser.unexpected(format!("found {}", found.describe())).with_expected(&["and", "or", "the end"])),
    }
}

struct Parser {
    target: Target,
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
    conditions: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is End, and `next` never goes past it.
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(Span { offset: 0, length: 0 }, |(_, span)| *span)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word));
        if found {
            self.next();
        }
        found
    }

    fn unexpected(&self, found: impl Into<String>) -> RuleError {
        RuleError::new(RuleCode::Unexpected, self.span(), found)
    }

    /// The error for `&&`, `&`, `||` or `|` instead of `and` or `or`.
    fn and_or_mistake(&self) -> RuleError {
        let word = if matches!(self.peek(), Token::Symbol(symbol) if symbol.contains('|')) { "or" } else { "and" };
        self.unexpected(format!("found {}", self.peek().describe())).with_hint(format!("Write {word}"))
    }

    fn any(&mut self) -> Result<Expr, RuleError> {
        self.joined("or", Self::all, Expr::Or)
    }

    fn all(&mut self) -> Result<Expr, RuleError> {
        self.joined("and", Self::one, Expr::And)
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr, RuleError>,
        build: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, RuleError> {
        let first = part(self)?;
        if !matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word)) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.keyword(word) {
            parts.push(part(self)?);
        }
        // `(a and b) and c` is `a and b and c`: one canonical form for both.
        let flat = parts.into_iter().flat_map(|part| match (part, word) {
            (Expr::And(inner), "and") | (Expr::Or(inner), "or") => inner,
            (other, _) => vec![other],
        });
        Ok(build(flat.collect()))
    }

    fn one(&mut self) -> Result<Expr, RuleError> {
        match self.peek().clone() {
            Token::Open => self.parenthesised(),
            Token::Word(word) if word.eq_ignore_ascii_case("not") => Err(self
                .unexpected("\"not\" cannot stand before a condition")
                .with_hint("Write it before the operator: name not contains \"text\"")),
            Token::Word(word) => {
                let attribute = self.attribute(&word)?;
                self.next();
                self.condition(attribute)
            }
            found => Err(self
                .unexpected(format!("found {}", found.describe()))
                .with_expected(&[self.attributes().as_str(), "\"(\""])),
        }
    }

    fn parenthesised(&mut self) -> Result<Expr, RuleError> {
        if self.depth == MAX_DEPTH {
            let message = format!("parentheses nest deeper than {MAX_DEPTH}");
            return Err(RuleError::new(RuleCode::TooDeep, self.span(), message));
        }
        let open = self.span();
        self.next();
        self.depth += 1;
        let expr = self.any()?;
        self.depth -= 1;
        match self.peek() {
            Token::Close => {
                self.next();
                Ok(expr)
            }
            Token::End => {
                Err(RuleError::new(RuleCode::Unexpected, open, "this \"(\" is never closed").with_expected(&["\")\""]))
            }
            Token::Symbol(symbol) if symbol.contains(['&', '|']) => Err(self.and_or_mistake()),
            found => Err(self.unexpected(format!("found {}", found.describe())).with_expected(&["and", "or", "\")\""])),
        }
    }

    fn attributes(&self) -> String {
        let names: Vec<&str> = Attribute::of(self.target).map(Attribute::as_str).collect();
        format!("an attribute ({})", names.join(", "))
    }

    fn attribute(&self, word: &str) -> Result<Attribute, RuleError> {
        let attribute = Attribute::ALL.iter().copied().find(|a| a.as_str().eq_ignore_ascii_case(word));
        match attribute {
            Some(attribute) if attribute.target() == self.target => Ok(attribute),
            Some(attribute) => {
                let (of, here) = (attribute.target(), self.target);
                let article = "an";
                let message =
                    format!("\"{attribute}\" is an attribute of {article} {of}, but this rule is for {here}s");
                let names: Vec<&str> = Attribute::of(here).map(Attribute::as_str).collect();
                Err(RuleError::new(RuleCode::WrongTarget, self.span(), message).with_expected(&names))
            }
            None => {
                let message = format!("\"{}\" is not an attribute", shorten(word));
                let names: Vec<&str> = Attribute::of(self.target).map(Attribute::as_str).collect();
                Err(RuleError::new(RuleCode::UnknownAttribute, self.span(), message).with_expected(&names))
            }
        }
    }

    fn condition(&mut self, attribute: Attribute) -> Result<Expr, RuleError> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            let message = format!("the expression has more than {MAX_CONDITIONS} comparisons");
            return Err(RuleError::new(RuleCode::TooManyConditions, self.span(), message));
        }
        let comparison = self.comparison()?;
        let texts = match comparison {
            Comparison::In | Comparison::NotIn => self.list()?,
            Comparison::Like | Comparison::NotLike => vec![self.pattern()?],
            Comparison::Contains | Comparison::NotContains => vec![self.needle()?],
            _ => vec![self.text()?],
        };
        Ok(Expr::Condition(Condition { attribute, comparison, texts }))
    }

    fn comparison(&mut self) -> Result<Comparison, RuleError> {
        let not = self.keyword("not");
        let found = self.peek().clone();
        let word = match &found {
            Token::Word(word) => word.to_ascii_lowercase(),
            Token::Symbol(symbol) => symbol.clone(),
            _ => String::new(),
        };
        let wanted = if not { format!("not {word}") } else { word.clone() };
        if let Ok(comparison) = wanted.parse() {
            self.next();
            return Ok(comparison);
        }
        let error = self.unexpected(format!("found {}", found.describe()));
        let error = error.with_expected(if not { &["contains", "like", "in"] } else { OPERATORS });
        Err(match operator_slip(&word, not) {
            Some(advice) => error.with_hint(advice),
            None => error,
        })
    }

    fn text(&mut self) -> Result<String, RuleError> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.next();
                Ok(text)
            }
            Token::Word(word) => Err(self
                .unexpected(format!("found {}", Token::Word(word.clone()).describe()))
                .with_expected(&[QUOTED])
                .with_hint(format!("Put the text in quotes: \"{}\"", shorten(&word)))),
            found => Err(self.unexpected(format!("found {}", found.describe())).with_expected(&[QUOTED])),
        }
    }

    /// Parses a text that must not be empty: every value contains the empty text, so comparing with it is a mistake.
    fn needle(&mut self) -> Result<String, RuleError> {
        let span = self.span();
        let text = self.text()?;
        if text.is_empty() {
            return Err(RuleError::new(RuleCode::EmptyText, span, "the text is empty, and every value contains it"));
        }
        Ok(text)
    }

    fn pattern(&mut self) -> Result<String, RuleError> {
        let span = self.span();
        let text = self.text()?;
        match Pattern::new(&text) {
            Ok(_) => Ok(text),
            Err(BadPattern::NoPercent) => {
                let short = shorten(&text);
                Err(RuleError::new(RuleCode::LikeWithoutPercent, span, "like needs % for any run of characters")
                    .with_hint(format!(
                        "Write \"{short}%\", \"%{short}\" or \"%{short}%\", or use = for the whole text"
                    )))
            }
            Err(BadPattern::OpenSet) => {
                Err(RuleError::new(RuleCode::BadPattern, span, "the [ in this pattern is never closed")
                    .with_hint("In a pattern [abc] is one of a, b, c; write [[] for a plain ["))
            }
        }
    }

    fn list(&mut self) -> Result<Vec<String>, RuleError> {
        if *self.peek() != Token::Open {
            let error = self.unexpected(format!("found {}", self.peek().describe())).with_expected(&["\"(\""]);
            return Err(error.with_hint("in takes a list: in (\"one\", \"two\")"));
        }
        self.next();
        let mut texts = Vec::new();
        loop {
            if texts.len() == MAX_LIST {
                let message = format!("the list has more than {MAX_LIST} texts");
                return Err(RuleError::new(RuleCode::ListTooLong, self.span(), message));
            }
            texts.push(self.text()?);
            match self.peek() {
                Token::Comma => self.next(),
                Token::Close => {
                    self.next();
                    return Ok(texts);
                }
                found => {
                    let error = self.unexpected(format!("found {}", found.describe()));
                    return Err(error.with_expected(&["\",\"", "\")\""]));
                }
            };
        }
    }
}

/// Returns advice on the operator that was probably meant.
fn operator_slip(word: &str, not: bool) -> Option<&'static str> {
    Some(match word {
        "==" | "is" | "equals" | "eq" => "Write = to compare the whole text",
        "<>" | "ne" | "=!" => "Write != for not equal",
        "=" | "!=" | "<" | "<=" | ">" | ">=" if not => "Write != for not equal",
        "=>" => "Write >=",
        "=<" => "Write <=",
        "starts" | "startswith" | "begins" | "beginswith" => "Write like \"text%\" for values that start with a text",
        "ends" | "endswith" => "Write like \"%text\" for values that end with a text",
        "has" | "includes" | "contain" | "include" => "Write contains",
        "matches" | "regex" => "Write like, with % for any run of characters",
        _ => return None,
    })
}
