//! The results of a reconciliation just before each scheduled push.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use crate::db::engine::conn::MultiBackend;
use crate::db::engine::schema::reconciliation_snapshots;
use crate::db::engine::scope::insert_scoped;
use crate::db::engine::tx::Tx;
use crate::domain::Result;
use crate::domain::calendar::BillingMonth;
use crate::domain::ids::{ProductId, PushJobId, SnapshotId, TenantId};
use crate::domain::quantity::{Money, Quantity};

/// The totals of a product and currency.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(treat_none_as_default_value = false, table_name = reconciliation_snapshots, check_for_backend(MultiBackend))]
pub struct ReconciliationSnapshot {
    pub id: SnapshotId,
    pub tenant_id: TenantId,
    /// The scheduled push.
    pub push_job_id: PushJobId,
    pub product_id: ProductId,
    pub product_code: String,
    pub product_name: String,
    pub billing_month: BillingMonth,
    pub items: i64,
    /// The number of items that a person should review.
    #[diesel(column_name = to_look_at)]
    pub to_review: i64,
    /// The sum of the computed quantities of the product, in all currencies.
    pub quantity: Quantity,
    /// The sum of ConnectWise's quantities, in all currencies.
    pub connectwise_quantity: Quantity,
    /// The sum of the known differences, in units, in all currencies.
    pub difference: Quantity,
    pub currency: Option<String>,
    /// The charge for the computed quantities; `None` if no price is known, or if the sum has too many digits.
    pub amount: Option<Money>,
    /// The charge for ConnectWise's quantities; `None` as above.
    pub connectwise_amount: Option<Money>,
    /// The sum of the known differences in money; `None` as above.
    pub amount_difference: Option<Money>,
    /// The part of `amount` that the next invoices do not include; `None` as above.
    #[diesel(column_name = left_out)]
    pub not_invoiced_amount: Option<Money>,
    pub taken_at: NaiveDateTime,
}

impl Tx<'_> {
    /// Stores the totals of a scheduled push.
    pub fn insert_reconciliation_snapshots(&mut self, rows: &[ReconciliationSnapshot]) -> Result<()> {
        insert_scoped!(self, reconciliation_snapshots, rows)?;
        Ok(())
    }

    /// The snapshots up to a month, of one product or of all, in the order in which they were taken.
    pub fn reconciliation_snapshots(
        &mut self,
        product: Option<&ProductId>,
        until: Option<BillingMonth>,
    ) -> Result<Vec<ReconciliationSnapshot>> {
        use reconciliation_snapshots as s;
        let mut query = self.scoped(s::table).order(s::id).into_boxed();
        if let Some(id) = product {
            query = query.filter(s::product_id.eq(id.clone()));
        }
        if let Some(month) = until {
            query = query.filter(s::billing_month.le(month));
        }
        Ok(query.select(ReconciliationSnapshot::as_select()).load(self.conn)?)
    }
}
