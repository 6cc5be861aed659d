//! The grammar of the `conditions` parameter: `type/name like "%SP%" and (id > 5 or name not in ("a", 'b'))`.

use serde_json::{Map, Value};
use winnow::ascii::{Caseless, multispace0};
use winnow::combinator::{alt, delimited, opt, preceded, repeat, separated, terminated};
use winnow::error::{ContextError, ErrMode};
use winnow::prelude::*;
use winnow::token::{none_of, take_while};

/// A parsed condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Test { path: String, not: bool, operator: Operator, operand: Vec<Literal> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    Like,
    In,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(f64),
    Flag(bool),
    Moment(String),
    Null,
}

type Parsed<T> = Result<T, ErrMode<ContextError>>;

/// Parses a whole condition.
pub(super) fn parse(text: &str) -> Result<Condition, String> {
    if text.len() > 20_000 {
        return Err("the condition is too long".to_owned());
    }
    terminated(any, multispace0)
        .parse(text)
        .map_err(|error| format!("String or expression expected near position {}", error.offset()))
}

fn any(input: &mut &str) -> Parsed<Condition> {
    let parts: Vec<Condition> = separated(1.., all, keyword("or")).parse_next(input)?;
    Ok(one_or(parts, Condition::Any))
}

fn all(input: &mut &str) -> Parsed<Condition> {
    let parts: Vec<Condition> = separated(1.., one, keyword("and")).parse_next(input)?;
    Ok(one_or(parts, Condition::All))
}

fn one_or(mut parts: Vec<Condition>, build: fn(Vec<Condition>) -> Condition) -> Condition {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            build(parts)
        }
        (None, _) => build(parts),
    }
}

fn one(input: &mut &str) -> Parsed<Condition> {
    alt((delimited(symbol("("), any, symbol(")")), test)).parse_next(input)
}

fn test(input: &mut &str) -> Parsed<Condition> {
    let path =
        spaced(take_while(1.., |c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_')).parse_next(input)?;
    let not = opt(keyword("not")).parse_next(input)?.is_some();
    let operator = operator(input)?;
    let operand = match operator {
        Operator::In => delimited(symbol("("), separated(1.., literal, symbol(",")), symbol(")")).parse_next(input)?,
        _ => vec![literal(input)?],
    };
    Ok(Condition::Test { path: path.to_owned(), not, operator, operand })
}

fn operator(input: &mut &str) -> Parsed<Operator> {
    alt((
        symbol("!=").value(Operator::NotEqual),
        symbol("<=").value(Operator::LessOrEqual),
        symbol(">=").value(Operator::GreaterOrEqual),
        symbol("<").value(Operator::Less),
        symbol(">").value(Operator::Greater),
        symbol("=").value(Operator::Equal),
        keyword("contains").value(Operator::Contains),
        keyword("like").value(Operator::Like),
        keyword("in").value(Operator::In),
    ))
    .parse_next(input)
}

fn literal(input: &mut &str) -> Parsed<Literal> {
    let quoted = |quote: char| {
        delimited(
            quote,
            repeat(0.., none_of(quote)).fold(String::new, |mut text, c| {
                text.push(c);
                text
            }),
            quote,
        )
    };
    spaced(alt((
        quoted('"').map(Literal::Text),
        quoted('\'').map(Literal::Text),
        delimited('[', take_while(1.., |c| c != ']'), ']').map(|text: &str| Literal::Moment(text.to_owned())),
        Caseless("true").value(Literal::Flag(true)),
        Caseless("false").value(Literal::Flag(false)),
        Caseless("null").value(Literal::Null),
        take_while(1.., |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))
            .try_map(str::parse)
            .map(Literal::Number),
    )))
    .parse_next(input)
}

fn spaced<'i, T>(
    parser: impl Parser<&'i str, T, ErrMode<ContextError>>,
) -> impl Parser<&'i str, T, ErrMode<ContextError>> {
    preceded(multispace0, parser)
}

fn symbol<'i>(text: &'static str) -> impl Parser<&'i str, &'i str, ErrMode<ContextError>> {
    spaced(text)
}

fn keyword<'i>(word: &'static str) -> impl Parser<&'i str, &'i str, ErrMode<ContextError>> {
    spaced(terminated(Caseless(word), winnow::combinator::not(winnow::token::one_of(|c: char| c.is_alphanumeric()))))
}

impl Condition {
    /// The first path for which `known` returns false, if there is one.
    pub(super) fn unknown_name(&self, known: &impl Fn(&str) -> bool) -> Option<String> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().find_map(|part| part.unknown_name(known)),
            Self::Test { path, .. } => (!known(path)).then(|| path.clone()),
        }
    }

    /// Whether a record satisfies the condition.
    pub(super) fn holds(&self, record: &Map<String, Value>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(record)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(record)),
            Self::Test { path, not, operator, operand } => {
                let value = member(record, path);
                operand_holds(value, *operator, operand) != *not
            }
        }
    }
}

/// The member at a path such as `type/name`, ignoring case; `None` if it is missing or null.
pub(super) fn member<'r>(record: &'r Map<String, Value>, path: &str) -> Option<&'r Value> {
    let mut names = path.split('/');
    let first = names.next()?;
    let find = |members: &'r Map<String, Value>, name: &str| {
        members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    names.try_fold(find(record, first)?, |value, name| find(value.as_object()?, name)).filter(|value| !value.is_null())
}

fn operand_holds(value: Option<&Value>, operator: Operator, operand: &[Literal]) -> bool {
    let text = |literal: &Literal| if let Literal::Text(text) = literal { Some(folded(text)) } else { None };
    match operator {
        Operator::In => operand.iter().any(|literal| compare(value, literal) == Some(std::cmp::Ordering::Equal)),
        Operator::Contains => {
            let needle = operand.first().and_then(text);
            value.and_then(Value::as_str).zip(needle).is_some_and(|(value, needle)| folded(value).contains(&needle))
        }
        Operator::Like => {
            let pattern = operand.first().and_then(text);
            value.and_then(Value::as_str).zip(pattern).is_some_and(|(value, pattern)| {
                let (value, pattern): (Vec<char>, Vec<char>) =
                    (folded(value).chars().collect(), pattern.chars().collect());
                like(&value, &pattern)
            })
        }
        _ => operand.first().is_some_and(|literal| ordered(value, operator, literal)),
    }
}

fn ordered(value: Option<&Value>, operator: Operator, literal: &Literal) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    if *literal == Literal::Null {
        return value.is_none() == (operator == Operator::Equal);
    }
    let order = compare(value, literal);
    match operator {
        Operator::Equal => order == Some(Equal),
        Operator::NotEqual => order != Some(Equal),
        Operator::Less => order == Some(Less),
        Operator::LessOrEqual => matches!(order, Some(Less | Equal)),
        Operator::Greater => order == Some(Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
        _ => false,
    }
}

fn compare(value: Option<&Value>, literal: &Literal) -> Option<std::cmp::Ordering> {
    match (value?, literal) {
        (Value::String(value), Literal::Text(text)) => Some(folded(value).cmp(&folded(text))),
        (Value::String(value), Literal::Moment(text)) => Some(value.as_str().cmp(text.as_str())),
        (Value::Number(value), Literal::Number(number)) => value.as_f64()?.partial_cmp(number),
        (Value::Bool(value), Literal::Flag(flag)) => Some(value.cmp(flag)),
        _ => None,
    }
}

/// SQL LIKE, by recursion on the pattern.
fn like(value: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => value.is_empty(),
        Some(('%', rest)) => (0..=value.len()).any(|skip| like(&value[skip..], rest)),
        Some(('_', rest)) => value.split_first().is_some_and(|(_, value)| like(value, rest)),
        Some(('[', rest)) => {
            let Some(end) = (1..rest.len()).find(|at| rest[*at] == ']') else { return false };
            let (set, rest) = (&rest[..end], &rest[end + 1..]);
            value.split_first().is_some_and(|(c, value)| in_set(*c, set) && like(value, rest))
        }
        Some((wanted, rest)) => value.split_first().is_some_and(|(c, value)| c == wanted && like(value, rest)),
    }
}

fn in_set(c: char, set: &[char]) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('^', rest)) if !rest.is_empty() => (true, rest),
        _ => (false, set),
    };
    let mut at = 0;
    let mut found = false;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            found |= (set[at]..=set[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= set[at] == c;
            at += 1;
        }
    }
    found != negated
}

/// Folds case and normalises to NFC, as a case-insensitive collation compares: a letter followed by a combining accent
/// equals the precomposed letter.
fn folded(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization;
    text.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_grammar_as_documented() {
        let record = json!({
            "id": 7, "name": "SP Backup", "type": {"name": "Backup"}, "cancelledFlag": false, "endDate": "2026-01-31T00:00:00Z"
        });
        let record = record.as_object().unwrap();
        for (condition, expected) in [
            (r#"name = "sp backup""#, true),
            (r#"Type/Name like '%UP'"#, true),
            (r#"name NOT CONTAINS "x" and id in (3, 7)"#, true),
            (r#"id > 7 or cancelledFlag = false"#, true),
            (r#"(id > 7 or id < 3) and name = "SP Backup""#, false),
            (r#"endDate < [2026-02-01T00:00:00Z]"#, true),
            (r#"parentAgreement = null"#, true),
            (r#"type/name != null"#, true),
            (r#"name like "[s-t]P%""#, true),
        ] {
            assert_eq!(parse(condition).unwrap().holds(record), expected, "{condition}");
        }
        for bad in ["", "name", "name =", "name = x", "not name = 'x'", "name = 'x' 'y'", "name in 'x'"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
