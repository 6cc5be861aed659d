//! `column IN (…)` for lists of any length. The list is one parameter, a JSON array, so that a statement has the same text
//! for every list: the database prepares it once, and no limit on parameters applies. diesel's `eq_any` writes a parameter
//! for each value on this connection type, and the statement is prepared anew each time.

use std::fmt::Display;

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
    /// The SQL between the column and the type of its values, between that and the list, and after the list.
    fn around_list(&self) -> [&'static str; 3];
}

impl ListSyntax for Pg {
    /// Compares with an array, whose values PostgreSQL looks up in an index. For `IN (SELECT …)` it often chooses a poor
    /// join.
    fn around_list(&self) -> [&'static str; 3] {
        [
            " = ANY (ARRAY(SELECT CAST(value AS ",
            ") FROM json_array_elements_text(CAST(",
            " AS json)) AS listed (value)))",
        ]
    }
}

impl ListSyntax for Sqlite {
    fn around_list(&self) -> [&'static str; 3] {
        [" IN (SELECT CAST(value AS ", ") FROM json_each(", "))"]
    }
}

impl ListSyntax for MultiBackend {
    fn around_list(&self) -> [&'static str; 3] {
        match self {
            Self::Postgres(database) => database.around_list(),
            Self::Sqlite(database) => database.around_list(),
        }
    }
}

/// A type of columns that are compared with lists.
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

/// Whether a column has one of some values.
#[derive(Debug, Clone, QueryId)]
pub(in crate::db) struct InList<C> {
    column: C,
    /// The values, as a JSON array of strings.
    values: String,
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
        let values: Vec<serde_json::Value> = values.into_iter().map(|value| value.to_string().into()).collect();
        InList { column: self, values: serde_json::Value::from(values).to_string() }
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
        let [before_type, before_list, after_list] = out.backend().around_list();
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(before_type);
        out.push_sql(C::SqlType::NAME);
        out.push_sql(before_list);
        out.push_bind_param::<Text, String>(&self.values)?;
        out.push_sql(after_list);
        Ok(())
    }
}
