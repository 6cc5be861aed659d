//! Agreement invoicing, as a user runs it in ConnectWise: what each customer is charged for its additions.
//!
//! ConnectWise has no API for it. This follows its documentation and users' reports: an agreement is due at its next
//! invoice date, a child with its parent; included units are subtracted; nothing is charged for an addition that is not
//! billed or not in effect. Prices are not prorated and not rounded.

use chrono::{Months, NaiveDate};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::store::{Kind, Store};

/// The charge to a customer for an addition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Charge {
    /// The agreement that the addition belongs to.
    pub agreement_id: i64,
    /// The agreement that is invoiced: the parent of a child.
    pub invoiced_agreement_id: i64,
    /// The addition.
    pub addition_id: i64,
    /// The quantity that is charged.
    pub quantity: Decimal,
    /// The quantity at the unit price.
    pub amount: Decimal,
    /// The code of the currency; empty without one.
    pub currency: String,
}

impl Store {
    /// Invoices all agreements that are due on a day, and moves their next invoice date by a month.
    pub fn invoice(&mut self, on: NaiveDate) -> Vec<Charge> {
        let due: Vec<i64> =
            self.all(Kind::Agreements).filter(|agreement| is_due(agreement, on)).filter_map(id).collect();
        let mut charges = Vec::new();
        for agreement in self.all(Kind::Agreements).filter(|agreement| is_running(agreement, on)) {
            let Some(own) = id(agreement) else { continue };
            let invoiced = at(agreement, "parentAgreement/id").and_then(Value::as_i64).unwrap_or(own);
            if !due.contains(&invoiced) {
                continue;
            }
            let currency = text(agreement, "currency/currencyCode").unwrap_or_default();
            let of_addition = |addition| charge(addition, own, invoiced, currency, on);
            charges.extend(self.additions_of(own).filter_map(of_addition));
        }
        for agreement in due {
            self.merge(Kind::Recaps, agreement, Map::from_iter([("lastInvoiceDate".to_owned(), json!(on))]));
            let next = self.get(Kind::Agreements, agreement).and_then(|known| day(known, "nextInvoiceDate"));
            if let Some(next) = next.and_then(|next| next.checked_add_months(Months::new(1))) {
                let members = Map::from_iter([("nextInvoiceDate".to_owned(), json!(next))]);
                self.merge(Kind::Agreements, agreement, members);
            }
        }
        charges
    }
}

fn charge(addition: &Map<String, Value>, own: i64, invoiced: i64, currency: &str, on: NaiveDate) -> Option<Charge> {
    let begins = day(addition, "effectiveDate").is_none_or(|day| day <= on);
    let goes_on = day(addition, "cancelledDate").is_none_or(|day| day >= on);
    let billed = text(addition, "billCustomer").unwrap_or("Billable");
    if !begins || !goes_on || billed == "DoNotBill" {
        return None;
    }
    let whole = number(addition, "quantity");
    let included = number(addition, "lessIncluded");
    let quantity = if whole > Decimal::ZERO { (whole - included).max(Decimal::ZERO) } else { whole };
    let price = if billed == "NoCharge" { Decimal::ZERO } else { number(addition, "unitPrice") };
    Some(Charge {
        agreement_id: own,
        invoiced_agreement_id: invoiced,
        addition_id: id(addition)?,
        quantity: quantity.normalize(),
        amount: (quantity * price).normalize(),
        currency: currency.to_owned(),
    })
}

fn is_due(agreement: &Map<String, Value>, on: NaiveDate) -> bool {
    let has_cycle = text(agreement, "billingCycle/name").is_none_or(|name| !name.eq_ignore_ascii_case("none"));
    has_cycle && day(agreement, "nextInvoiceDate").is_none_or(|next| next <= on)
}

fn is_running(agreement: &Map<String, Value>, on: NaiveDate) -> bool {
    let flag = |name| agreement.get(name).and_then(Value::as_bool).unwrap_or_default();
    let ended = !flag("noEndingDateFlag") && day(agreement, "endDate").is_some_and(|end| end < on);
    let cancelled = flag("cancelledFlag") || day(agreement, "dateCancelled").is_some_and(|day| day < on);
    !ended && !cancelled
}

fn at<'r>(record: &'r Map<String, Value>, path: &str) -> Option<&'r Value> {
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = record.get(first)?;
    rest.map_or(Some(value), |rest| value.get(rest))
}

fn text<'r>(record: &'r Map<String, Value>, path: &str) -> Option<&'r str> {
    at(record, path)?.as_str()
}

fn id(record: &Map<String, Value>) -> Option<i64> {
    record.get("id")?.as_i64()
}

fn day(record: &Map<String, Value>, name: &str) -> Option<NaiveDate> {
    text(record, name)?.get(..10)?.parse().ok()
}

fn number(record: &Map<String, Value>, name: &str) -> Decimal {
    record.get(name).and_then(|number| number.to_string().parse().ok()).unwrap_or_default()
}
