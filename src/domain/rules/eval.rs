//! Evaluates rules on records without allocating: search texts are folded when the rule is compiled, records when they
//! are loaded.

use std::cmp::Ordering;

use super::expr::{Attribute, Comparison, Condition, Expr};
use super::like::Pattern;
use crate::domain::text::fold;

/// A text that is folded once for many comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedText(Box<str>);

impl FoldedText {
    /// Folds a text.
    pub fn new(text: &str) -> Self {
        Self(fold(text).into())
    }
}

/// The attributes of one record that rules can compare. An attribute that ConnectWise does not return is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    name: Option<FoldedText>,
    type_name: Option<FoldedText>,
    product_identifier: Option<FoldedText>,
    description: Option<FoldedText>,
}

impl Facts {
    /// Reads the attributes of a record with `read`.
    pub fn new<'r>(read: impl Fn(Attribute) -> Option<&'r str>) -> Self {
        let folded = |attribute| read(attribute).map(FoldedText::new);
        Self {
            name: folded(Attribute::Name),
            type_name: folded(Attribute::TypeName),
            product_identifier: folded(Attribute::ProductIdentifier),
            description: folded(Attribute::Description),
        }
    }

    fn get(&self, attribute: Attribute) -> Option<&str> {
        let folded = match attribute {
            Attribute::Name => &self.name,
            Attribute::TypeName => &self.type_name,
            Attribute::ProductIdentifier => &self.product_identifier,
            Attribute::Description => &self.description,
        };
        folded.as_ref().map(|text| &*text.0)
    }
}

/// One comparison of a rule, and its result for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedComparison {
    /// The comparison, in canonical spelling.
    pub comparison: String,
    /// Whether it holds.
    pub holds: bool,
}

/// Evaluates every comparison separately, including those that `and` or `or` would skip.
pub(super) fn trace(expr: &Expr, facts: &Facts, tested: &mut Vec<TracedComparison>) {
    match expr {
        Expr::Condition(condition) => tested.push(TracedComparison {
            comparison: condition.to_string(),
            holds: Compiled::condition(condition).matches(facts),
        }),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| trace(part, facts, tested)),
    }
}

#[derive(Debug, Clone)]
pub(super) enum Compiled {
    Test { attribute: Attribute, negated: bool, test: Test },
    All(Vec<Compiled>),
    Any(Vec<Compiled>),
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    /// The value compares to the text with one of these orderings.
    Order(&'static [Ordering], String),
    Contains(String),
    /// The value matches the pattern. `None` matches nothing; the parser rejects invalid patterns, so it cannot occur.
    Like(Option<Pattern>),
    /// Sorted, for binary search.
    In(Vec<String>),
}

impl Compiled {
    pub(super) fn new(expr: &Expr) -> Self {
        match expr {
            Expr::Condition(condition) => Self::condition(condition),
            Expr::And(parts) => Self::All(parts.iter().map(Self::new).collect()),
            Expr::Or(parts) => Self::Any(parts.iter().map(Self::new).collect()),
        }
    }

    fn condition(condition: &Condition) -> Self {
        let needle = || condition.texts.first().map(|text| fold(text)).unwrap_or_default();
        let order = |orders| Test::Order(orders, needle());
        let (negated, test) = match condition.comparison {
            Comparison::Equal => (false, order(&[Ordering::Equal])),
            Comparison::NotEqual => (true, order(&[Ordering::Equal])),
            Comparison::Less => (false, order(&[Ordering::Less])),
            Comparison::LessOrEqual => (false, order(&[Ordering::Less, Ordering::Equal])),
            Comparison::Greater => (false, order(&[Ordering::Greater])),
            Comparison::GreaterOrEqual => (false, order(&[Ordering::Greater, Ordering::Equal])),
            Comparison::Contains => (false, Test::Contains(needle())),
            Comparison::NotContains => (true, Test::Contains(needle())),
            Comparison::Like => (false, Self::like(condition)),
            Comparison::NotLike => (true, Self::like(condition)),
            Comparison::In => (false, Self::list(condition)),
            Comparison::NotIn => (true, Self::list(condition)),
        };
        Self::Test { attribute: condition.attribute, negated, test }
    }

    fn like(condition: &Condition) -> Test {
        Test::Like(condition.texts.first().and_then(|text| Pattern::new(text).ok()))
    }

    fn list(condition: &Condition) -> Test {
        let mut texts: Vec<String> = condition.texts.iter().map(|text| fold(text)).collect();
        texts.sort_unstable();
        Test::In(texts)
    }

    pub(super) fn matches(&self, facts: &Facts) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(facts)),
            // An absent value satisfies no test, and therefore every negated test.
            Self::Test { attribute, negated, test } => {
                facts.get(*attribute).is_some_and(|value| test.holds(value)) != *negated
            }
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Order(orders, text) => orders.contains(&value.cmp(text.as_str())),
            Self::Contains(text) => value.contains(text.as_str()),
            Self::Like(pattern) => pattern.as_ref().is_some_and(|pattern| pattern.fits(value)),
            Self::In(texts) => texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
        }
    }
}
