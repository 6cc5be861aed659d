//! The syntax tree of an expression, and its canonical text.

use std::fmt;

use super::Target;
use crate::domain::string_enum::string_enum;

string_enum! {
    /// An attribute of an agreement or addition that rules can compare.
    Attribute {
        /// An agreement's name.
        Name = "name",
        /// The name of an agreement's type.
        TypeName = "type/name",
        /// The identifier of an addition's catalog product.
        ProductIdentifier = "product/identifier",
        /// An addition's description.
        Description = "description",
    }
}

impl Attribute {
    /// Returns the target that has this attribute.
    pub fn target(self) -> Target {
        match self {
            Self::Name | Self::TypeName => Target::Agreement,
            Self::ProductIdentifier | Self::Description => Target::Addition,
        }
    }

    /// Returns the attributes of a target.
    pub fn of(target: Target) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |attribute| attribute.target() == target)
    }
}

string_enum! {
    /// How an attribute is compared with text. `not` comes before the operator it negates, as in ConnectWise.
    Comparison {
        /// Equal.
        Equal = "=",
        /// Not equal.
        NotEqual = "!=",
        /// Before, in order of characters.
        Less = "<",
        /// Before or equal.
        LessOrEqual = "<=",
        /// After, in order of characters.
        Greater = ">",
        /// After or equal.
        GreaterOrEqual = ">=",
        /// Contains the text.
        Contains = "contains",
        /// Does not contain the text.
        NotContains = "not contains",
        /// Matches the pattern.
        Like = "like",
        /// Does not match the pattern.
        NotLike = "not like",
        /// Is one of a list.
        In = "in",
        /// Is not one of a list.
        NotIn = "not in",
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The attribute that is compared.
    pub attribute: Attribute,
    /// How the attribute's text is compared; a negation is part of it.
    pub comparison: Comparison,
    /// The texts to compare with: one, or several for `in` and `not in`.
    pub texts: Vec<String>,
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// One comparison.
    Condition(Condition),
    /// All parts must hold.
    And(Vec<Expr>),
    /// At least one part must hold.
    Or(Vec<Expr>),
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(condition) => condition.fmt(f),
            Self::And(parts) => joined(f, parts, " and "),
            Self::Or(parts) => joined(f, parts, " or "),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Expr], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        // `and` binds tighter, so an `and` inside an `or` needs no parentheses; anything else nested does.
        match part {
            Expr::Condition(_) => fmt::Display::fmt(part, f)?,
            Expr::And(_) if word == " or " => fmt::Display::fmt(part, f)?,
            _ => write!(f, "({part})")?,
        }
    }
    Ok(())
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.attribute, self.comparison)?;
        match self.comparison {
            Comparison::In | Comparison::NotIn => {
                let texts: Vec<String> = self.texts.iter().map(|text| quote(text)).collect();
                write!(f, "({})", texts.join(", "))
            }
            _ => self.texts.iter().try_for_each(|text| f.write_str(&quote(text))),
        }
    }
}

/// Quotes a text with the kind of quotes that it does not contain. The grammar allows no text that contains both.
fn quote(text: &str) -> String {
    if text.contains('"') { format!("'{text}'") } else { format!("\"{text}\"") }
}
