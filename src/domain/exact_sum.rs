//! A sum of amounts that is exact regardless of their order, even while it has more digits than an amount may have.

use std::fmt;
use std::str::FromStr;

use super::quantity::Amount;

/// Decimal places of the fraction: as many as an amount can have.
const PLACES: u32 = 28;
/// One, in units of the fraction.
const ONE: u128 = 10_u128.pow(PLACES);

/// A sum of amounts. It has room for more than 4,000,000,000 of the largest amounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExactSum {
    whole: u128,
    /// Below [`ONE`].
    fraction: u128,
}

/// A text that is not a stored sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sum of amounts")]
pub struct NotASum;

impl ExactSum {
    /// Adds an amount.
    pub fn add(&mut self, amount: Amount) {
        let (whole, fraction) = parts(amount);
        let fraction = self.fraction + fraction;
        self.whole = self.whole.saturating_add(whole).saturating_add(fraction / ONE);
        self.fraction = fraction % ONE;
    }

    /// Subtracts an amount that was added before.
    pub fn subtract(&mut self, amount: Amount) {
        let (whole, fraction) = parts(amount);
        let borrow = u128::from(self.fraction < fraction);
        self.whole = self.whole.saturating_sub(whole + borrow);
        self.fraction = self.fraction + borrow * ONE - fraction;
    }

    /// Returns the sum as an amount, or `None` if it has too many digits.
    pub fn amount(&self) -> Option<Amount> {
        self.to_string().parse().ok()
    }
}

/// An amount as a whole number and a fraction.
fn parts(amount: Amount) -> (u128, u128) {
    let decimal = amount.get();
    let (digits, one) = (decimal.mantissa().unsigned_abs(), 10_u128.pow(decimal.scale()));
    (digits / one, digits % one * 10_u128.pow(PLACES - decimal.scale()))
}

impl fmt::Display for ExactSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:028}", self.whole, self.fraction);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for ExactSum {
    type Err = NotASum;
    fn from_str(text: &str) -> Result<Self, NotASum> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > PLACES as usize {
            return Err(NotASum);
        }
        let fraction = format!("{fraction:0<28}").parse().map_err(|_| NotASum)?;
        Ok(Self { whole: whole.parse().map_err(|_| NotASum)?, fraction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(amounts: &[&str]) -> ExactSum {
        let mut sum = ExactSum::default();
        amounts.iter().for_each(|text| sum.add(text.parse().unwrap()));
        sum
    }

    #[test]
    fn sums_are_exact_in_any_order() {
        let largest = "9999999999999999999999999999";
        assert_eq!(sum(&["0.1", "0.2"]).amount().unwrap().to_string(), "0.3");
        assert_eq!(
            sum(&["0.1", "0.9", "9999999999999999999999999998"]),
            sum(&["9999999999999999999999999998", "0.9", "0.1"])
        );
        assert_eq!(sum(&["0.1", "9999999999999999999999999998", "0.9"]).amount().unwrap().to_string(), largest);
        assert_eq!(sum(&[largest, "0.1"]).amount(), None, "29 digits");
        assert_eq!(sum(&[largest; 8]).amount(), None, "29 digits, and too large");
        let mut less = sum(&[largest, "0.75", "1.5"]);
        less.subtract(largest.parse().unwrap());
        assert_eq!(less.amount().unwrap().to_string(), "2.25");
        less.subtract("1.75".parse().unwrap());
        assert_eq!(less.to_string(), "0.5");
    }

    #[test]
    fn a_sum_is_stored_as_text() {
        for text in ["0", "1", "0.0000000000000000000000000001", "99999999999999999999999999990.5"] {
            assert_eq!(text.parse::<ExactSum>().unwrap().to_string(), text);
        }
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "1.00000000000000000000000000001", "x"] {
            assert_eq!(bad.parse::<ExactSum>(), Err(NotASum), "{bad}");
        }
    }
}
