//! `column IN (…)` for lists of any length. The list is one parameter, so a statement has the same text for every list:
//! the database prepares it once, and no limit on parameters applies. diesel's `eq_any` writes a parameter for each
//! value on this connection type, and the statement is prepared anew each time.

use std::fmt::Display;
use std::sync::OnceLock;

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Bool, HasSqlType, Nullable, SqlType, Text};
use diesel::sqlite::Sqlite;
use diesel::{Expression, QueryResult};

use super::conn::MultiBackend;

/// How a database compares a column with a list.
pub(in crate::db) trait ListSyntax: Backend {
    fn syntax(&self) -> Syntax;
}

/// The ways to compare a column with a list.
#[derive(Debug, Clone, Copy)]
pub(in crate::db) enum Syntax {
    /// PostgreSQL's array syntax. PostgreSQL looks up the values in an index, and knows how many there are and how
    /// common each is. For `IN (SELECT …)` it knows neither, and often chooses a poor join. `string_to_array` is
    /// immutable, so a plan computes it once; a cast of an array's text is not, and a filter would parse it again for
    /// each row (<https://www.postgresql.org/docs/current/xfunc-volatility.html>).
    Array,
    /// SQLite's JSON syntax, because SQLite has no arrays.
    JsonEach,
}

/// Separates the values of PostgreSQL's list; `SEPARATOR_SQL` is the same in SQL. A value that contains it matches nothing.
const SEPARATOR: &str = "\u{1f}\u{1e}\u{1f}";
const SEPARATOR_SQL: &str = "chr(31) || chr(30) || chr(31)";

/// The longest list in a statement that PostgreSQL prepares once. After some executions it may plan such a statement
/// without its values, and a filter would then make the list anew for each row.
const LONGEST_IN_CACHED_STATEMENT: usize = 100;

/// The number of values that PostgreSQL assumes in a list when it plans a statement once for all values.
const ASSUMED_LENGTH: usize = 10;

impl Syntax {
    /// The list as text. For PostgreSQL, a short list repeats its last value: a plan for fewer values than it assumes would
    /// seem cheaper than the one for all values, and PostgreSQL would plan the statement again each time.
    fn list(self, values: &[String]) -> String {
        match self {
            Self::JsonEach => serde_json::Value::from(values).to_string(),
            Self::Array => {
                let mut values: Vec<&str> =
                    values.iter().map(String::as_str).filter(|value| !value.contains(SEPARATOR)).collect();
                if let Some(last) = values.last().copied() {
                    values.resize(values.len().max(ASSUMED_LENGTH), last);
                }
                values.join(SEPARATOR)
            }
        }
    }
}

impl ListSyntax for Pg {
    fn syntax(&self) -> Syntax {
        Syntax::Array
    }
}

impl ListSyntax for Sqlite {
    fn syntax(&self) -> Syntax {
        Syntax::JsonEach
    }
}

impl ListSyntax for MultiBackend {
    fn syntax(&self) -> Syntax {
        match self {
            Self::Postgres(_) => Syntax::Array,
            Self::Sqlite(_) => Syntax::JsonEach,
        }
    }
}

/// A column type that can be compared with a list.
pub(in crate::db) trait ListedType {
    /// The type's name in SQL.
    const NAME: &'static str;
}

impl ListedType for Text {
    const NAME: &'static str = "text";
}

impl ListedType for BigInt {
    const NAME: &'static str = "bigint";
}

impl<T: ListedType + SqlType> ListedType for Nullable<T> {
    const NAME: &'static str = T::NAME;
}

/// The condition that a column has one of the given values.
#[derive(Debug, Clone, QueryId)]
pub(in crate::db) struct InList<C> {
    column: C,
    values: Vec<String>,
    /// The values in the form that the database reads.
    list: OnceLock<String>,
}

/// Columns that can be compared with a list.
pub(in crate::db) trait InListMethod: Expression + Sized {
    /// Whether the column has one of these values.
    fn in_list<V: Display>(self, values: impl IntoIterator<Item = V>) -> InList<Self>;
}

impl<C: Expression> InListMethod for C
where
    C::SqlType: ListedType,
{
    fn in_list<V: Display>(self, values: impl IntoIterator<Item = V>) -> InList<Self> {
        let values = values.into_iter().map(|value| value.to_string()).collect();
        InList { column: self, values, list: OnceLock::new() }
    }
}

impl<C: Expression> Expression for InList<C> {
    type SqlType = Nullable<Bool>;
}

impl<C: AppearsOnTable<QS>, QS> AppearsOnTable<QS> for InList<C> {}
impl<C: SelectableExpression<QS>, QS> SelectableExpression<QS> for InList<C> {}

impl<C, G> ValidGrouping<G> for InList<C> {
    type IsAggregate = is_aggregate::No;
}

impl<C, DB> QueryFragment<DB> for InList<C>
where
    DB: ListSyntax + HasSqlType<Text>,
    C: Expression + QueryFragment<DB>,
    C::SqlType: ListedType,
    String: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let syntax = out.backend().syntax();
        let list = self.list.get_or_init(|| syntax.list(&self.values));
        let of_type = C::SqlType::NAME;
        self.column.walk_ast(out.reborrow())?;
        match syntax {
            Syntax::Array => {
                if self.values.len() > LONGEST_IN_CACHED_STATEMENT {
                    out.unsafe_to_cache_prepared();
                }
                out.push_sql(" = ANY (CAST(string_to_array(");
                out.push_bind_param::<Text, String>(list)?;
                out.push_sql(&format!(", {SEPARATOR_SQL}) AS {of_type}[]))"));
            }
            Syntax::JsonEach => {
                out.push_sql(&format!(" IN (SELECT CAST(value AS {of_type}) FROM json_each("));
                out.push_bind_param::<Text, String>(list)?;
                out.push_sql("))");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_each_database_reads_them() {
        let values = ["a,b".to_owned(), r#"{"x\y"}"#.to_owned(), "NULL".to_owned(), String::new()];
        let list = Syntax::Array.list(&values);
        let padded: Vec<&str> = list.split(SEPARATOR).collect();
        assert_eq!((&padded[..4], padded.len()), (&["a,b", r#"{"x\y"}"#, "NULL", ""][..], ASSUMED_LENGTH));
        assert!(padded[4..].iter().all(|value| value.is_empty()), "the last value is repeated");
        assert_eq!(Syntax::JsonEach.list(&values), r#"["a,b","{\"x\\y\"}","NULL",""]"#);
        let with_separator = [format!("a{SEPARATOR}b"), "c".to_owned()];
        assert_eq!(Syntax::Array.list(&with_separator), ["c"; ASSUMED_LENGTH].join(SEPARATOR));
        assert_eq!((Syntax::Array.list(&[]), Syntax::JsonEach.list(&[])), (String::new(), "[]".to_owned()));
    }
}
