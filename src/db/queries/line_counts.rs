//! The number of billing lines of each product, by state.

use diesel::prelude::*;

use crate::db::engine::schema::billing_lines;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::ids::ProductId;
use crate::domain::line_need::LineNeed;
use crate::domain::mapping_status::{MappingReason, MappingStatus};
use crate::domain::push::PushLineState;

/// The columns by which lines are grouped, and what is selected beside them.
macro_rules! states {
    ($($beside:expr)?) => {
        (
            billing_lines::product_id,
            billing_lines::push_enabled,
            billing_lines::agreement_status,
            billing_lines::agreement_reason,
            billing_lines::addition_status,
            billing_lines::last_push_state,
            $($beside,)?
        )
    };
}

/// The number of lines of a product with the same states.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct BillingLineCounts {
    pub product_id: ProductId,
    pub push_enabled: bool,
    pub agreement_status: MappingStatus,
    pub agreement_reason: Option<MappingReason>,
    pub addition_status: MappingStatus,
    pub last_push_state: Option<PushLineState>,
    pub lines: i64,
}

impl BillingLineCounts {
    /// The action that these lines need from a person, as [`LineNeed::of`] decides.
    pub fn need(&self) -> Option<LineNeed> {
        LineNeed::of((self.agreement_status, self.agreement_reason), self.addition_status, self.last_push_state)
    }
}

impl Tx<'_> {
    /// The number of lines of each product, for each combination of the states that a summary counts.
    pub fn line_counts(&mut self, product: Option<&ProductId>) -> Result<Vec<BillingLineCounts>> {
        let mut query = self
            .scoped(billing_lines::table)
            .group_by(states!())
            .select(states!(diesel::dsl::count_star()))
            .into_boxed();
        if let Some(id) = product {
            query = query.filter(billing_lines::product_id.eq(id.clone()));
        }
        Ok(query.load(self.conn)?)
    }
}
