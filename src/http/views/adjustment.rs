//! An adjustment of a line, in billing lines and in push lines.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::line_quantity::Adjustment;
use crate::domain::quantity::AdjustmentAmount;

/// An agreed exception: units that are billed in addition to the usage, or that are not billed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LineAdjustment {
    /// The units that are added to the usage before it is counted in blocks; negative if they are taken away.
    pub amount: AdjustmentAmount,
    /// It applies from the billing month of this day on.
    pub from: NaiveDate,
    /// It applies until the billing month of this day, inclusive; null if it has no end.
    #[schema(required)]
    pub until: Option<NaiveDate>,
    /// Why it was agreed.
    pub reason: String,
}

impl From<Adjustment> for LineAdjustment {
    fn from(Adjustment { amount, from, until, reason }: Adjustment) -> Self {
        Self { amount, from, until, reason }
    }
}
