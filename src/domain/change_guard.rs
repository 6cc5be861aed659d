//! The limits within which a change of a quantity needs no approval.

use num_bigint::BigInt;
use num_traits::Signed;
use rust_decimal::Decimal;

use super::quantity::{Amount, Quantity};

/// A product's change limits. A change must be within every limit that is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeGuard {
    /// The limit in percent of the quantity in ConnectWise. If that is 0, every change is over the limit.
    pub percent: Option<Amount>,
    /// The limit in units of the quantity.
    pub units: Option<Amount>,
}

impl ChangeGuard {
    /// Returns why a change is over a limit, or `None` if it is not. A missing quantity counts as 0.
    pub fn violation(&self, from: Option<Quantity>, to: Quantity) -> Option<String> {
        let (from, to) = (from.map_or(Decimal::ZERO, Quantity::get), to.get());
        // Compares integers, scaled by the most decimal places of the three values: exact for any number of digits.
        let scale = |limit: Amount| from.scale().max(to.scale()).max(limit.get().scale());
        if let Some(limit) = self.units {
            let places = scale(limit);
            if change(from, to, places) > whole(limit.get(), places) {
                return Some(format!(
                    "the change from {from} to {to} is larger than {limit} units, the product's limit"
                ));
            }
        }
        if let Some(limit) = self.percent {
            let places = scale(limit);
            // change / from > limit / 100, both sides times 100 * from * 10^places
            let allowed = whole(limit.get(), places) * whole(from, places).abs();
            if change(from, to, places) * 100 * BigInt::from(10).pow(places) > allowed {
                return Some(format!("the change from {from} to {to} is larger than {limit} %, the product's limit"));
            }
        }
        None
    }
}

fn whole(value: Decimal, places: u32) -> BigInt {
    BigInt::from(value.mantissa()) * BigInt::from(10).pow(places - value.scale())
}

fn change(from: Decimal, to: Decimal, places: u32) -> BigInt {
    (whole(to, places) - whole(from, places)).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over_limit(percent: Option<&str>, units: Option<&str>, from: Option<&str>, to: &str) -> bool {
        let amount = |text: &str| text.parse().unwrap();
        let guard = ChangeGuard { percent: percent.map(amount), units: units.map(amount) };
        guard.violation(from.map(|text| text.parse().unwrap()), to.parse().unwrap()).is_some()
    }

    #[test]
    fn the_limit_itself_goes_through() {
        for (percent, units, from, to, expected) in [
            (None, None, Some("1"), "1000", false),
            (None, Some("5"), Some("10"), "15", false),
            (None, Some("5"), Some("10"), "5", false),
            (None, Some("5"), Some("10"), "15.0000000000001", true),
            (None, Some("5"), Some("10"), "4", true),
            (Some("50"), None, Some("10"), "15", false),
            (Some("50"), None, Some("10"), "16", true),
            (Some("50"), None, Some("10"), "4", true),
            (Some("12.5"), None, Some("8"), "9", false),
            (Some("12.4"), None, Some("8"), "9", true),
            (Some("1000"), None, Some("0"), "1", true),
            (Some("1000"), None, None, "1", true),
            (Some("0"), Some("0"), Some("3"), "3", false),
            (Some("100"), Some("2"), Some("10"), "13", true),
            (Some("10"), Some("100"), Some("10"), "13", true),
            (
                Some("9999999999999999999999999999"),
                Some("9999999999999999999999999999"),
                Some("-1"),
                "999999999999999",
                false,
            ),
        ] {
            assert_eq!(is_over_limit(percent, units, from, to), expected, "{percent:?} {units:?} {from:?} {to}");
        }
    }
}
