//! The rule language, which selects the agreement or addition of a company that a product bills to.
//!
//! A rule is `attribute operator "text"`, combined with `and`, `or` and parentheses; docs/RULES.md is its manual.
//! [`Rule::parse`] parses a rule, `Display` prints it in canonical form, and [`Rule::matches`] evaluates it on records
//! read from ConnectWise.

mod error;
mod eval;
mod expr;
mod like;
mod parser;
mod target;
mod token;

pub use error::{RuleCode, RuleError};
pub use eval::{Facts, FoldedText, TracedComparison};
pub use expr::{Attribute, Comparison, Condition, Expr};
pub use parser::{MAX_CONDITIONS, MAX_DEPTH, MAX_LENGTH, MAX_LIST};

pub use target::Target;

/// A parsed rule, ready to be evaluated and printed.
#[derive(Debug, Clone)]
pub struct Rule {
    expr: Expr,
    compiled: eval::Compiled,
}

impl Rule {
    /// Parses an expression for a target. The expression may use only the target's attributes.
    pub fn parse(target: Target, text: &str) -> Result<Self, RuleError> {
        let expr = parser::parse(target, text).map_err(|error| error.located_in(text))?;
        let compiled = eval::Compiled::new(&expr);
        Ok(Self { expr, compiled })
    }

    /// Whether a record's facts satisfy the rule.
    pub fn matches(&self, facts: &Facts) -> bool {
        self.compiled.matches(facts)
    }

    /// Returns each comparison of the rule with its result for a record, to explain [`Rule::matches`].
    pub fn trace(&self, facts: &Facts) -> Vec<TracedComparison> {
        let mut tested = Vec::new();
        eval::trace(&self.expr, facts, &mut tested);
        tested
    }

    /// The parsed expression.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.expr.fmt(f)
    }
}

#[cfg(test)]
mod tests;
