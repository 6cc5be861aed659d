//! Matching rules. Expressions are stored in their canonical form.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::matching_rules;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::ids::{ProductId, RuleId, TenantId};
use crate::domain::rules::Target;
use crate::domain::{Error, Result};

/// A product's default matching condition for one target (agreement or addition).
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(treat_none_as_default_value = false, table_name = matching_rules, primary_key(tenant_id, id), check_for_backend(MultiBackend))]
pub struct MatchingRule {
    pub id: RuleId,
    pub tenant_id: TenantId,
    pub product_id: ProductId,
    pub target: Target,
    pub expression: String,
    pub version: i64,
    pub created_at: NaiveDateTime,
    pub updated_at: NaiveDateTime,
}

/// The filter of rules.
#[derive(Debug, Clone, Default)]
pub struct RuleFilter {
    /// Only rules of this product.
    pub product_id: Option<ProductId>,
    /// Only rules that choose agreements, or only rules that choose additions.
    pub target: Option<Target>,
}

impl Tx<'_> {
    /// Rules, oldest first. A product has at most two.
    pub fn rules(&mut self, filter: &RuleFilter) -> Result<Vec<MatchingRule>> {
        let mut query = self.scoped(matching_rules::table).into_boxed();
        if let Some(id) = &filter.product_id {
            query = query.filter(matching_rules::product_id.eq(id.clone()));
        }
        if let Some(target) = filter.target {
            query = query.filter(matching_rules::target.eq(target));
        }
        Ok(query.order(matching_rules::id).select(MatchingRule::as_select()).load(self.conn)?)
    }

    /// The rule with an id, or a not-found error.
    pub fn rule(&mut self, id: &RuleId) -> Result<MatchingRule> {
        let scoped = self.scoped(matching_rules::table).filter(matching_rules::id.eq(id));
        let row = scoped.select(MatchingRule::as_select()).first(self.conn).optional()?;
        row.ok_or_else(|| Error::not_found("matching rule", id))
    }

    /// Adds a rule.
    pub fn insert_rule(&mut self, row: &MatchingRule) -> Result<()> {
        insert_scoped!(self, matching_rules, std::slice::from_ref(row))?;
        Ok(())
    }

    /// Updates a rule and increments its version.
    pub fn update_rule(&mut self, row: &mut MatchingRule) -> Result<()> {
        row.version += 1;
        let scoped = self.scoped(matching_rules::table);
        diesel::update(scoped.filter(matching_rules::id.eq(row.id.clone()))).set(&*row).execute(self.conn)?;
        Ok(())
    }

    /// Deletes a rule.
    pub fn delete_rule(&mut self, id: &RuleId) -> Result<()> {
        let scoped = self.scoped(matching_rules::table);
        diesel::delete(scoped.filter(matching_rules::id.eq(id))).execute(self.conn)?;
        Ok(())
    }
}
