//! One statement that updates many rows, each to its own values. Both databases read the new values from a list
//! (`UPDATE … FROM (VALUES …)`), which diesel's query builder does not support.

use diesel::QueryResult;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Text};

use super::conn::{Conn, MultiBackend};
use super::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::TenantId;

/// Maximum number of values in one statement. SQLite allows some 32,000 parameters.
const MAX_VALUES: usize = 30_000;

/// The numbers of rows for which the database prepares the statement only once. Another small number of rows is filled up
/// with the last row.
const PREPARED: [usize; 3] = [1, 4, 20];

/// A row with its new values. The names are SQL, in the order in which [`RowUpdate::bind`] binds the values.
/// [`row_update!`] implements this.
pub(in crate::db) trait RowUpdate {
    const TABLE: &'static str;
    /// The columns that select the row. They are compared with the values that are bound first.
    const WHERE: &'static [&'static str];
    /// The columns that are set to the remaining bound values.
    const SET: &'static [&'static str];
    /// A further condition, empty or beginning with ` AND `. The bound values are `given.column1`, `given.column2`, ….
    const ONLY_IF: &'static str = "";

    /// Binds the values of one row.
    fn bind<'b>(&'b self, values: &mut Values<'_, 'b>) -> QueryResult<()>;
}

/// Implements [`RowUpdate`] for a type whose members have the names of the columns. The columns and their types are
/// those of the schema. For a type that wraps such a row, `in` names the member that holds it.
macro_rules! row_update {
    (
        $row:ty $(, in $place:tt)?; $table:ident
        where $($key:ident),+
        set $($column:ident),+ $(,)?
        $(; only if $condition:expr)?
    ) => {
        impl $crate::db::engine::update_rows::RowUpdate for $row {
            const TABLE: &'static str = stringify!($table);
            const WHERE: &'static [&'static str] =
                &[$(<$crate::db::engine::schema::$table::$key as diesel::Column>::NAME),+];
            const SET: &'static [&'static str] =
                &[$(<$crate::db::engine::schema::$table::$column as diesel::Column>::NAME),+];
            $(const ONLY_IF: &'static str = $condition;)?

            fn bind<'b>(
                &'b self,
                values: &mut $crate::db::engine::update_rows::Values<'_, 'b>,
            ) -> diesel::QueryResult<()> {
                let row = &self$(.$place)?;
                $(values.add::<diesel::dsl::SqlTypeOf<$crate::db::engine::schema::$table::$key>, _>(&row.$key)?;)+
                $(values.add::<diesel::dsl::SqlTypeOf<$crate::db::engine::schema::$table::$column>, _>(&row.$column)?;)+
                Ok(())
            }
        }
    };
}
pub(in crate::db) use row_update;

/// Receives the values of one row.
pub(in crate::db) struct Values<'a, 'b> {
    out: AstPass<'a, 'b, MultiBackend>,
    is_first: bool,
}

impl<'b> Values<'_, 'b> {
    /// Binds the next value.
    pub fn add<ST, T>(&mut self, value: &'b T) -> QueryResult<()>
    where
        MultiBackend: HasSqlType<ST>,
        T: ToSql<ST, MultiBackend> + ?Sized,
    {
        self.out.push_sql(if self.is_first { "(" } else { ", " });
        self.is_first = false;
        self.out.push_bind_param::<ST, T>(value)
    }
}

struct UpdateRows<'r, R> {
    tenant: &'r TenantId,
    rows: &'r [R],
}

impl<R> QueryId for UpdateRows<'_, R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<R: RowUpdate> QueryFragment<MultiBackend> for UpdateRows<'_, R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        let prepared = PREPARED.into_iter().find(|size| *size >= self.rows.len());
        if prepared.is_none() {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(&format!("UPDATE {} SET ", R::TABLE));
        for (index, column) in R::SET.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            out.push_sql(&format!("{comma}{column} = given.column{}", R::WHERE.len() + index + 1));
        }
        out.push_sql(" FROM (VALUES ");
        // A row that is given twice is updated once.
        let repeated =
            std::iter::repeat_n(self.rows.last(), prepared.map_or(0, |size| size - self.rows.len())).flatten();
        for (index, row) in self.rows.iter().chain(repeated).enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            row.bind(&mut Values { out: out.reborrow(), is_first: true })?;
            out.push_sql(")");
        }
        out.push_sql(&format!(") AS given WHERE {}.tenant_id = ", R::TABLE));
        out.push_bind_param::<Text, TenantId>(self.tenant)?;
        for (index, column) in R::WHERE.iter().enumerate() {
            out.push_sql(&format!(" AND {}.{column} = given.column{}", R::TABLE, index + 1));
        }
        out.push_sql(R::ONLY_IF);
        Ok(())
    }
}

impl<R: RowUpdate> diesel::RunQueryDsl<Conn> for UpdateRows<'_, R> {}

impl Tx<'_> {
    /// Updates rows of the tenant, many in one statement. Returns the number of rows that were found.
    pub(in crate::db) fn update_rows<R: RowUpdate>(&mut self, rows: &[R]) -> Result<usize> {
        use diesel::RunQueryDsl;
        let tenant = self.tenant().clone();
        let mut updated = 0;
        for rows in rows.chunks(MAX_VALUES / (R::WHERE.len() + R::SET.len())) {
            updated += UpdateRows { tenant: &tenant, rows }.execute(self.conn)?;
        }
        Ok(updated)
    }
}
