//! How agreements and additions are invoiced, as ConnectWise says.

use chrono::NaiveDate;

use super::ids::CwAgreementId;
use super::quantity::{Money, Quantity};
use super::string_enum::string_enum;

string_enum! {
    /// Whether an addition is billed to the customer.
    BillCustomer {
        /// It is billed.
        Billable = "Billable",
        /// It is not on the invoice.
        DoNotBill = "DoNotBill",
        /// It is on the invoice, for nothing.
        NoCharge = "NoCharge",
    }
}

/// How an agreement is invoiced. A member is `None` if ConnectWise returned none, or one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgreementTerms {
    /// The name of the billing cycle, such as `Monthly`.
    pub billing_cycle: Option<String>,
    /// The date of the next invoice.
    pub next_invoice: Option<NaiveDate>,
    /// Whether changes within a period are billed in proportion.
    pub prorates: Option<bool>,
    /// The agreement with which it is invoiced.
    pub parent: Option<CwAgreementId>,
    /// The currency's code, such as `USD`.
    pub currency: Option<String>,
}

impl AgreementTerms {
    /// The billing cycle as it is compared: in small letters, and empty if it is not known.
    pub fn cycle(&self) -> String {
        self.billing_cycle.as_deref().unwrap_or_default().to_lowercase()
    }
}

/// How an addition is invoiced. A member is `None` if ConnectWise returned none, or one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdditionTerms {
    /// The units that are included in the agreement: they are not billed.
    pub less_included: Option<Quantity>,
    /// Whether it is billed to the customer.
    pub bill_customer: Option<BillCustomer>,
    /// The price of a unit.
    pub unit_price: Option<Money>,
    /// The first day that is billed.
    pub effective: Option<NaiveDate>,
}
