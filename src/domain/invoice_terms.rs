//! How agreements and additions are invoiced, as ConnectWise reports it.

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
        /// It is on the invoice, free of charge.
        NoCharge = "NoCharge",
    }
}

/// How an agreement is invoiced. A member is `None` if ConnectWise returned no value, or one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgreementInvoicing {
    /// The name of the billing cycle, such as `Monthly`.
    pub billing_cycle: Option<String>,
    /// The date of the next invoice.
    pub next_invoice: Option<NaiveDate>,
    /// Whether changes within a period are billed in proportion.
    pub prorates: Option<bool>,
    /// The parent agreement with which it is invoiced.
    pub parent: Option<CwAgreementId>,
    /// The currency's code, such as `USD`.
    pub currency: Option<String>,
    /// The date of the last invoice, from the agreement recap.
    pub last_invoice: Option<NaiveDate>,
    /// The number of periods that were not invoiced yet, from the agreement recap.
    pub unbilled_periods: Option<i64>,
}

string_enum! {
    /// The path of the agreement recap, which lists what was invoiced. It differs between versions of ConnectWise, and
    /// some versions have none. Existing integrations call each of these paths.
    RecapPath {
        /// As of 2025.16; the trailing slash is required.
        WithSlash = "finance/agreementrecap/",
        /// With a capital letter.
        WithCapital = "finance/agreementRecap",
        /// In the plural.
        Plural = "finance/agreementrecaps",
    }
}

/// The agreement recap's data about an agreement. A member is `None` if ConnectWise returned no value, or one that
/// cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recap {
    /// The date of the last invoice.
    pub last_invoice: Option<NaiveDate>,
    /// The date of the next invoice.
    pub next_invoice: Option<NaiveDate>,
    /// The number of periods that were not invoiced yet.
    pub unbilled_periods: Option<i64>,
}

impl AgreementInvoicing {
    /// Adds the data of the agreement recap. The agreement's own date of the next invoice takes precedence over the
    /// recap's, because it is read again before a write.
    pub fn add_recap(&mut self, recap: &Recap) {
        self.last_invoice = recap.last_invoice;
        self.unbilled_periods = recap.unbilled_periods;
        self.next_invoice = self.next_invoice.or(recap.next_invoice);
    }

    /// The billing cycle for comparison: in lower case, and empty if it is unknown.
    pub fn cycle(&self) -> String {
        self.billing_cycle.as_deref().unwrap_or_default().to_lowercase()
    }
}

/// How an addition is invoiced. A member is `None` if ConnectWise returned no value, or one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdditionInvoicing {
    /// The units that are included in the agreement, and therefore not billed.
    pub less_included: Option<Quantity>,
    /// Whether it is billed to the customer.
    pub bill_customer: Option<BillCustomer>,
    /// The price of a unit.
    pub unit_price: Option<Money>,
    /// The first day that is billed.
    pub effective: Option<NaiveDate>,
}
