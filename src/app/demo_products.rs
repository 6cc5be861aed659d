//! The vendor's sample data for the demo: its products, and each customer's usage.

use crate::domain::change_guard::ChangeGuard;
use crate::domain::invoices::WhenInvoiced;
use crate::domain::quantity::Rounding;
use crate::domain::quantity::{Amount, BlockSize};
use crate::domain::usage::Aggregation;
use crate::domain::usage::DEFAULT_MAX_USAGE_AGE_DAYS;
use crate::services::products::NewProduct;

/// A product with its rules and its usage.
pub(super) struct SampleProduct {
    pub(super) code: &'static str,
    name: &'static str,
    unit: &'static str,
    block_size: u32,
    aggregation: Aggregation,
    pub(super) agreement_rule: &'static str,
    pub(super) addition_rule: &'static str,
    /// Returns a customer's usage in tenths of a unit, by the customer's index.
    usage: fn(usize) -> usize,
}

/// The sample products: storage, accounts and seats.
pub(super) const PRODUCTS: [SampleProduct; 3] = [
    SampleProduct {
        code: "STORAGE",
        name: "Backup storage",
        unit: "GB",
        block_size: 100,
        aggregation: Aggregation::Last,
        agreement_rule: r#"type/name like "SP Backup%""#,
        addition_rule: r#"product/identifier = "BKP-GB""#,
        usage: storage_tenths,
    },
    SampleProduct {
        code: "ACCOUNTS",
        name: "Protected accounts",
        unit: "accounts",
        block_size: 1,
        aggregation: Aggregation::Max,
        agreement_rule: r#"type/name like "SP Backup%""#,
        addition_rule: r#"product/identifier in ("BKP-ACCT", "BKP-ACCOUNT")"#,
        usage: |index| (index * 13 % 30 + 1) * 10,
    },
    SampleProduct {
        code: "SEATS",
        name: "Workspace seats",
        unit: "seats",
        block_size: 5,
        aggregation: Aggregation::Last,
        agreement_rule: r#"name contains "Workspace" and type/name != "Break Fix""#,
        addition_rule: r#"product/identifier contains "SEAT" or description contains "seat""#,
        usage: |index| (index * 7 % 50 + 1) * 10,
    },
];

/// Index of the customer without usage.
pub(super) const NO_USAGE: usize = 16;
/// Indexes of the customers for which push stays disabled.
pub(super) const PUSH_DISABLED: [usize; 2] = [13, 14];

impl SampleProduct {
    pub(super) fn to_new(&self) -> Result<NewProduct, Box<dyn std::error::Error + Send + Sync>> {
        Ok(NewProduct {
            code: self.code.to_owned(),
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            block_size: BlockSize::new(self.block_size.into())?,
            rounding: Rounding::Ceil,
            aggregation: self.aggregation,
            guard: ChangeGuard::default(),
            billing_period: None,
            max_usage_age_days: DEFAULT_MAX_USAGE_AGE_DAYS,
            minimum_quantity: None,
            included_quantity: None,
            overage_of: None,
            when_invoiced: WhenInvoiced::Warn,
        })
    }

    /// A customer's usage in the product's unit, with one decimal place.
    pub(super) fn amount(&self, customer: usize) -> Result<Amount, Box<dyn std::error::Error + Send + Sync>> {
        let tenths = (self.usage)(customer);
        Ok(format!("{}.{}", tenths / 10, tenths % 10).parse()?)
    }
}

fn storage_tenths(customer: usize) -> usize {
    (customer * 37 % 41 + 1) * 731
}

/// A customer's storage in started blocks of 100 GB.
pub(super) fn storage_blocks(customer: usize) -> f64 {
    u32::try_from(storage_tenths(customer).div_ceil(1_000)).map_or(0.0, f64::from)
}
