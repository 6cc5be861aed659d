//! ConnectWise's companies, agreements and additions, and whether they are live.

use chrono::NaiveDate;

use super::clock::Timestamp;
use super::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use super::mapping_status::MappingReason;
use super::quantity::Quantity;
use crate::domain::invoice_terms::{AdditionInvoicing, AgreementInvoicing};

/// A company in ConnectWise, as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CwCompany {
    /// ConnectWise's id.
    pub id: CwCompanyId,
    /// The key that people use, unique in ConnectWise (30 characters at most).
    pub identifier: String,
    /// The name.
    pub name: String,
    /// The name of its status, such as `Active`.
    pub status: Option<String>,
    /// Whether it is soft-deleted in ConnectWise.
    pub deleted: bool,
}

impl CwCompany {
    /// Whether auto-match may propose it: it is neither deleted nor inactive in ConnectWise.
    pub fn can_be_offered(&self) -> bool {
        !self.deleted && !self.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("inactive"))
    }
}

/// An agreement in ConnectWise, as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// ConnectWise's id.
    pub id: CwAgreementId,
    /// The company billed.
    pub company_id: CwCompanyId,
    /// The name.
    pub name: String,
    /// The name of its type.
    pub type_name: Option<String>,
    /// `Active`, `Cancelled`, `Expired` or `Inactive`; `None` if ConnectWise returned none.
    pub status: Option<String>,
    /// Whether ConnectWise's `cancelledFlag` is set.
    pub cancelled: bool,
    /// The date of cancellation, past or future.
    pub cancelled_at: Option<Timestamp>,
    /// The last day that is billed; ignored if `no_end` is set.
    pub ends_at: Option<Timestamp>,
    /// Whether it runs until it is cancelled.
    pub no_end: bool,
    /// Whether it no longer exists in ConnectWise.
    pub gone: bool,
    /// How it is invoiced.
    pub terms: AgreementInvoicing,
}

impl Agreement {
    /// An agreement without an end and without other data, for tests and benchmarks.
    pub fn endless(id: i64, company: i64, name: impl Into<String>) -> Self {
        Self {
            id: CwAgreementId(id),
            company_id: CwCompanyId(company),
            name: name.into(),
            type_name: None,
            status: None,
            cancelled: false,
            cancelled_at: None,
            ends_at: None,
            no_end: true,
            gone: false,
            terms: AgreementInvoicing::default(),
        }
    }

    /// Returns why the agreement is not live, or `None` if it is.
    ///
    /// ConnectWise's dates are days, written as midnight. They are compared with `today` in the tenant's time zone.
    pub fn not_live_reason(&self, today: NaiveDate) -> Option<MappingReason> {
        if self.gone {
            return Some(MappingReason::Deleted);
        }
        if self.cancelled || self.cancelled_at.is_some_and(|at| at.date_naive() <= today) {
            return Some(MappingReason::Cancelled);
        }
        // The agreement bills through its last day.
        if !self.no_end && self.ends_at.is_some_and(|at| at.date_naive() < today) {
            return Some(MappingReason::Ended);
        }
        status_reason(self.status.as_deref())
    }
}

/// An addition (line item) of an agreement, as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// ConnectWise's id.
    pub id: CwAdditionId,
    /// The agreement it belongs to.
    pub agreement_id: CwAgreementId,
    /// The identifier of its catalog product.
    pub product_identifier: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The quantity, if ConnectWise returned one.
    pub quantity: Option<Quantity>,
    /// The date on which billing ends or ended.
    pub cancelled_at: Option<Timestamp>,
    /// Whether it no longer exists in ConnectWise.
    pub gone: bool,
    /// How it is invoiced.
    pub terms: AdditionInvoicing,
}

impl Addition {
    /// An addition without other data, for tests and benchmarks.
    pub fn plain(id: i64, agreement: i64, product: impl Into<String>) -> Self {
        Self {
            id: CwAdditionId(id),
            agreement_id: CwAgreementId(agreement),
            product_identifier: Some(product.into()),
            description: None,
            quantity: None,
            cancelled_at: None,
            gone: false,
            terms: AdditionInvoicing::default(),
        }
    }

    /// Returns why the addition is not live, or `None` if it is. Ignores its `agreementStatus`: it is not documented
    /// whether that refers to the agreement or to the addition, and the agreement is checked separately.
    pub fn not_live_reason(&self, today: NaiveDate) -> Option<MappingReason> {
        if self.gone {
            return Some(MappingReason::Deleted);
        }
        self.cancelled_at.is_some_and(|at| at.date_naive() <= today).then_some(MappingReason::Cancelled)
    }

    /// Returns a name to show to people, such as `BKP-GB (Backup storage)`.
    pub fn label(&self) -> String {
        match (&self.product_identifier, &self.description) {
            (Some(product), Some(text)) if !text.is_empty() => format!("{product} ({text})"),
            (Some(product), _) => product.clone(),
            (None, Some(text)) if !text.is_empty() => text.clone(),
            _ => format!("addition {}", self.id),
        }
    }
}

fn status_reason(status: Option<&str>) -> Option<MappingReason> {
    let status = status?;
    [
        ("Cancelled", MappingReason::Cancelled),
        ("Expired", MappingReason::Expired),
        ("Inactive", MappingReason::Inactive),
    ]
    .into_iter()
    .find_map(|(word, reason)| status.eq_ignore_ascii_case(word).then_some(reason))
}

#[cfg(test)]
mod tests {
    use chrono::{Days, TimeZone, Utc};

    use super::*;

    fn live() -> Agreement {
        Agreement {
            id: CwAgreementId(1),
            company_id: CwCompanyId(1),
            name: "Backup".into(),
            type_name: None,
            status: Some("Active".into()),
            cancelled: false,
            cancelled_at: None,
            ends_at: None,
            no_end: false,
            gone: false,
            terms: AgreementInvoicing::default(),
        }
    }

    #[test]
    fn an_agreement_bills_through_its_last_day() {
        let end = Utc.with_ymd_and_hms(2026, 11, 30, 0, 0, 0).unwrap();
        let agreement = Agreement { ends_at: Some(end), ..live() };
        assert_eq!(agreement.not_live_reason(end.date_naive()), None);
        assert_eq!(agreement.not_live_reason(end.date_naive() + Days::new(1)), Some(MappingReason::Ended));
        assert_eq!(Agreement { no_end: true, ..agreement }.not_live_reason(end.date_naive() + Days::new(400)), None);
    }

    #[test]
    fn a_cancellation_in_the_future_is_not_one_yet() {
        let day = Utc.with_ymd_and_hms(2026, 12, 1, 0, 0, 0).unwrap();
        let agreement = Agreement { cancelled_at: Some(day), ..live() };
        assert_eq!(agreement.not_live_reason(day.date_naive() - Days::new(1)), None);
        assert_eq!(agreement.not_live_reason(day.date_naive()), Some(MappingReason::Cancelled));
        let expired = Agreement { status: Some("expired".into()), ..live() };
        assert_eq!(expired.not_live_reason(day.date_naive()), Some(MappingReason::Expired));
    }
}
