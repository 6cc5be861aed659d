//! Parses ConnectWise's records: leniently where nothing depends on it, and strictly where money does.
//!
//! Members may be absent, null or unknown, and ids may be floats. But a flag, a date or a quantity that is present and
//! cannot be parsed is an error: treating it as absent could push to a cancelled record.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SubsecRound};
use rust_decimal::Decimal;
use serde_json::Value;

use super::error::CwError;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CwAdditionId, CwAgreementId, CwCompanyId};
use crate::domain::invoice_terms::{AdditionInvoicing, AgreementInvoicing, Recap};
use crate::domain::quantity::{Money, Quantity};
use crate::domain::records::{Addition, Agreement, CwCompany};

pub(super) const COMPANY_FIELDS: &str = "id,identifier,name,status/name,deletedFlag";
pub(super) const AGREEMENT_FIELDS: &str = "id,name,type/name,company/id,agreementStatus,cancelledFlag,dateCancelled,endDate,noEndingDateFlag,\
     billingCycle/name,nextInvoiceDate,prorateFlag,parentAgreement/id,currency/currencyCode";
pub(super) const RECAP_FIELDS: &str = "id,lastInvoiceDate,nextInvoiceDate,unbilledPeriods";
/// The member with all custom fields.
pub(super) const CUSTOM_FIELDS: &str = "customFields";
pub(super) const ADDITION_FIELDS: &str = "id,agreementId,product/identifier,description,quantity,cancelledDate,\
     lessIncluded,billCustomer,unitPrice,effectiveDate";

type Read<T> = Result<T, CwError>;

pub(super) fn company(value: &Value) -> Read<CwCompany> {
    let id = id(value, "company")?;
    let name = text(value, "name").unwrap_or_default();
    Ok(CwCompany {
        id: CwCompanyId(id),
        identifier: text(value, "identifier").unwrap_or_default(),
        name,
        status: text(value, "status/name"),
        deleted: flag(value, "deletedFlag", "company", id)?,
    })
}

pub(super) fn agreement(value: &Value) -> Read<Agreement> {
    let id = id(value, "agreement")?;
    let company = at(value, "company/id").and_then(integer);
    Ok(Agreement {
        id: CwAgreementId(id),
        // An agreement without a company is kept under company 0, so that no record is lost.
        company_id: CwCompanyId(company.unwrap_or_default()),
        name: text(value, "name").unwrap_or_default(),
        type_name: text(value, "type/name"),
        status: text(value, "agreementStatus"),
        cancelled: flag(value, "cancelledFlag", "agreement", id)?,
        cancelled_at: date(value, "dateCancelled", "agreement", id)?,
        ends_at: date(value, "endDate", "agreement", id)?,
        no_end: flag(value, "noEndingDateFlag", "agreement", id)?,
        gone: false,
        terms: agreement_invoicing(value, id),
    })
}

pub(super) fn addition(value: &Value, parent: CwAgreementId) -> Read<Addition> {
    let id = id(value, "addition")?;
    let agreement = at(value, "agreementId").and_then(integer).map_or(parent, CwAgreementId);
    Ok(Addition {
        id: CwAdditionId(id),
        agreement_id: agreement,
        product_identifier: text(value, "product/identifier"),
        description: text(value, "description"),
        quantity: quantity(value, id)?,
        cancelled_at: date(value, "cancelledDate", "addition", id)?,
        gone: false,
        terms: addition_invoicing(value, id),
    })
}

/// How an agreement is invoiced. Values that cannot be parsed count as absent: they serve to warn, or to hold or skip
/// what was invoiced, and never change a quantity.
fn agreement_invoicing(value: &Value, id: i64) -> AgreementInvoicing {
    let day = |path| date(value, path, "agreement", id).ok().flatten().map(|at| at.date_naive());
    AgreementInvoicing {
        billing_cycle: text(value, "billingCycle/name"),
        next_invoice: day("nextInvoiceDate"),
        prorates: at(value, "prorateFlag").and_then(|_| flag(value, "prorateFlag", "agreement", id).ok()),
        parent: at(value, "parentAgreement/id").and_then(integer).filter(|id| *id > 0).map(CwAgreementId),
        currency: text(value, "currency/currencyCode"),
        ..AgreementInvoicing::default()
    }
}

/// An agreement's id, and what the agreement recap reports about it.
pub(super) fn recap(value: &Value) -> Read<(CwAgreementId, Recap)> {
    let id = id(value, "agreement recap")?;
    let day = |path| date(value, path, "agreement recap", id).ok().flatten().map(|at| at.date_naive());
    let recap = Recap {
        last_invoice: day("lastInvoiceDate"),
        next_invoice: day("nextInvoiceDate"),
        unbilled_periods: at(value, "unbilledPeriods").and_then(integer).filter(|periods| *periods >= 0),
    };
    Ok((CwAgreementId(id), recap))
}

/// How an addition is invoiced.
fn addition_invoicing(value: &Value, id: i64) -> AdditionInvoicing {
    let number = |path| at(value, path).and_then(decimal);
    AdditionInvoicing {
        less_included: number("lessIncluded").map(Quantity::from),
        bill_customer: text(value, "billCustomer").and_then(|text| text.parse().ok()),
        unit_price: number("unitPrice").and_then(|price| Money::new(price).ok()),
        effective: date(value, "effectiveDate", "addition", id).ok().flatten().map(|at| at.date_naive()),
    }
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('/').try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

fn text(value: &Value, path: &str) -> Option<String> {
    match at(value, path)? {
        // PostgreSQL cannot store NUL, and no text needs one.
        Value::String(text) => Some(text.replace('\0', "")),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn flag(value: &Value, path: &str, what: &str, id: i64) -> Read<bool> {
    let Some(found) = at(value, path) else { return Ok(false) };
    let number = decimal(found);
    match found {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") || text.is_empty() => Ok(false),
        _ if number == Some(Decimal::ONE) => Ok(true),
        _ if number == Some(Decimal::ZERO) => Ok(false),
        _ => Err(CwError::InvalidResponse(format!("{path} of {what} {id} is neither true nor false"))),
    }
}

fn integer(value: &Value) -> Option<i64> {
    let number = decimal(value)?;
    if number.fract().is_zero() { i64::try_from(number).ok() } else { None }
}

fn id(value: &Value, what: &str) -> Read<i64> {
    let id = at(value, "id").and_then(integer).filter(|id| *id > 0);
    id.ok_or_else(|| CwError::InvalidResponse(format!("a record of type {what} has no id")))
}

/// Parses a number from its text. Exact if the text has at most 28 digits.
fn decimal(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).or_else(|_| text.parse()).ok()
}

fn quantity(value: &Value, id: i64) -> Read<Option<Quantity>> {
    let Some(found) = at(value, "quantity") else { return Ok(None) };
    let number = decimal(found).and_then(|number| Quantity::new(number).ok());
    let unreadable = || CwError::InvalidResponse(format!("the quantity of addition {id} is not a number"));
    number.map(Some).ok_or_else(unreadable)
}

/// Returns the quantity in the response to a write of an addition. A response that is not that addition confirms
/// nothing.
pub(super) fn written_quantity(value: &Value, addition: CwAdditionId) -> Read<Option<Quantity>> {
    if id(value, "addition")? != addition.0 {
        return Err(CwError::InvalidResponse(format!("the response is not addition {addition}")));
    }
    quantity(value, addition.0)
}

fn date(value: &Value, path: &str, what: &str, id: i64) -> Read<Option<Timestamp>> {
    let Some(found) = at(value, path) else { return Ok(None) };
    let read = found.as_str().map(str::trim).and_then(|text| {
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        let naive = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().or_else(day);
        DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok().or_else(|| naive().map(|at| at.and_utc()))
    });
    match read {
        Some(at) => Ok(Some(at.trunc_subsecs(6))),
        None if found.as_str().is_some_and(str::is_empty) => Ok(None),
        None => Err(CwError::InvalidResponse(format!("{path} of {what} {id} is not a date"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_str;

    use super::*;

    fn read(json: &str) -> Read<Addition> {
        addition(&from_str(json).unwrap(), CwAgreementId(9))
    }

    #[test]
    fn quantities_are_read_exactly_from_their_text() {
        for (json, expected) in [
            ("0.1", "0.1"),
            ("12.0", "12"),
            ("1e2", "100"),
            ("123456789012345.6789", "123456789012345.6789"),
            ("\"2.5\"", "2.5"),
            ("-3", "-3"),
        ] {
            let addition = read(&format!(r#"{{"id": 1, "quantity": {json}}}"#)).unwrap();
            assert_eq!(addition.quantity.unwrap().to_string(), expected, "{json}");
        }
        assert_eq!(read(r#"{"id": 1, "quantity": null}"#).unwrap().quantity, None);
        assert!(read(r#"{"id": 1, "quantity": "many"}"#).is_err());
    }

    #[test]
    fn a_recap_is_read_as_far_as_it_can_be() {
        let read = |json: &str| recap(&from_str(json).unwrap());
        let (id, found) =
            read(r#"{"id": 7, "lastInvoiceDate": "2026-11-01T00:00:00Z", "unbilledPeriods": 2}"#).unwrap();
        assert_eq!((id, found.unbilled_periods, found.next_invoice), (CwAgreementId(7), Some(2), None));
        assert_eq!(found.last_invoice, NaiveDate::from_ymd_opt(2026, 11, 1));
        let odd = read(r#"{"id": 7, "lastInvoiceDate": "never", "unbilledPeriods": -1}"#).unwrap().1;
        assert_eq!(odd, Recap::default());
        assert!(read(r#"{"lastInvoiceDate": "2026-11-01"}"#).is_err());
    }

    #[test]
    fn a_flag_that_cannot_be_read_is_an_error() {
        let read = |flag: &str| agreement(&from_str(&format!(r#"{{"id": 1, "cancelledFlag": {flag}}}"#)).unwrap());
        for flag in ["true", "\"True\"", "1", "\"1\"", "1.0"] {
            assert!(read(flag).unwrap().cancelled, "{flag}");
        }
        for flag in ["false", "\"false\"", "0", "null", "\"\""] {
            assert!(!read(flag).unwrap().cancelled, "{flag}");
        }
        for flag in ["\"yes\"", "2", "[]", "{}"] {
            assert!(matches!(read(flag), Err(CwError::InvalidResponse(_))), "{flag}");
        }
    }

    #[test]
    fn only_the_written_addition_confirms_a_write() {
        let read = |json: &str| written_quantity(&from_str(json).unwrap(), CwAdditionId(7));
        assert_eq!(read(r#"{"id": 7, "quantity": 3}"#).unwrap().unwrap().to_string(), "3");
        assert_eq!(read(r#"{"id": 7}"#).unwrap(), None);
        for other in [r#"{"id": 8, "quantity": 3}"#, r#"{"quantity": 3}"#, "\"text\"", "[]", "{}"] {
            assert!(matches!(read(other), Err(CwError::InvalidResponse(_))), "{other}");
        }
    }

    #[test]
    fn odd_records_are_read_and_dangerous_ones_rejected() {
        let odd = read(r#"{"id": 7.0, "unknown": [], "description": null, "cancelledDate": "2026-01-31"}"#).unwrap();
        assert_eq!((odd.id, odd.agreement_id), (CwAdditionId(7), CwAgreementId(9)));
        assert_eq!(odd.cancelled_at.unwrap().to_rfc3339(), "2026-01-31T00:00:00+00:00");
        for bad in [r#"{"id": 1, "cancelledDate": "soon"}"#, r#"{"quantity": 1}"#, r#"{"id": "x"}"#, "[]", "null"] {
            assert!(matches!(read(bad), Err(CwError::InvalidResponse(_))), "{bad}");
        }
    }
}
