//! Exact decimals: measured usage, block sizes, and the quantity that is written to ConnectWise.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, ToPrimitive, Zero};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::string_enum::string_enum;

string_enum! {
    /// How a number of blocks is rounded to a quantity.
    Rounding {
        /// Up to a whole block: a started block is billed. The default.
        Ceil = "ceil",
        /// Down to a whole block.
        Floor = "floor",
        /// To the nearest whole block; halves are rounded away from zero.
        Round = "round",
        /// Not at all. The quotient must be a finite decimal.
        Exact = "exact",
    }
}

/// Maximum number of decimal digits in a quantity. ConnectWise stores doubles, which preserve no more than 15.
pub const MAX_QUANTITY_DIGITS: u32 = 15;

/// Why a decimal was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// It is not a plain decimal number.
    #[error("not a decimal number: write digits with an optional point, such as \"12.5\"")]
    Syntax,
    /// It has more than 28 digits.
    #[error("too many digits: at most 28 in total")]
    TooLong,
    /// It is negative, which is not allowed here.
    #[error("must not be negative")]
    Negative,
    /// It is zero or less.
    #[error("must be greater than 0")]
    NotPositive,
    /// It is zero.
    #[error("must not be 0")]
    Zero,
    /// It is a quantity with too many digits.
    #[error("too many digits: at most 10 before the point, and 5 after it")]
    NotAQuantity,
}

/// Parses a plain decimal exactly: optional minus, digits, optional point and digits. No exponent, no rounding.
pub fn parse_decimal(text: &str) -> Result<Decimal, DecimalError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return Err(DecimalError::Syntax);
    }
    Decimal::from_str_exact(text).map(|d| d.normalize()).map_err(|_| DecimalError::TooLong)
}

/// Defines validated decimal types. They are text in JSON and in the database, and exact everywhere.
macro_rules! decimals {
    ($($(#[$meta:meta])* $name:ident: $check:expr;)+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Decimal);

        impl $name {
            /// Validates a decimal.
            pub fn new(value: Decimal) -> Result<Self, DecimalError> {
                let check: fn(Decimal) -> Result<(), DecimalError> = $check;
                check(value)?;
                Ok(Self(value.normalize()))
            }

            /// Returns the value as a plain decimal.
            pub fn get(self) -> Decimal {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = DecimalError;
            fn from_str(text: &str) -> Result<Self, DecimalError> {
                Self::new(parse_decimal(text)?)
            }
        }

        impl TryFrom<String> for $name {
            type Error = DecimalError;
            fn try_from(text: String) -> Result<Self, DecimalError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+ };
}

decimals! {
    /// A measured amount in its product's unit, 0 or more.
    Amount: |d| if d.is_sign_negative() && !d.is_zero() { Err(DecimalError::Negative) } else { Ok(()) };
    /// The amount of usage in one billed block, greater than 0.
    BlockSize: |d| if d > Decimal::ZERO { Ok(()) } else { Err(DecimalError::NotPositive) };
    /// An addition's quantity, current or to be written. It may be negative, as ConnectWise allows it.
    Quantity: |_| Ok(());
    /// Units that are added to usage, or subtracted if negative. Not 0.
    AdjustmentAmount: |d| if d.is_zero() { Err(DecimalError::Zero) } else { Ok(()) };
    /// The minimum quantity that is billed: 0 or more.
    MinimumQuantity: agreed_quantity;
    /// The included quantity, above which overage begins: 0 or more.
    IncludedQuantity: agreed_quantity;
    /// An amount of money in an agreement's currency. It may be negative, as a discount is.
    Money: |_| Ok(());
}

/// Checks a quantity that was agreed with a customer.
fn agreed_quantity(value: Decimal) -> Result<(), DecimalError> {
    match value.normalize() {
        d if d.is_sign_negative() && !d.is_zero() => Err(DecimalError::Negative),
        d if d.scale() > 5 || d.trunc().mantissa() >= 10_i128.pow(10) => Err(DecimalError::NotAQuantity),
        _ => Ok(()),
    }
}

impl Quantity {
    /// The quantity of a line that bills nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);
}

impl Quantity {
    /// The difference of two quantities. Each has at most 28 digits; a difference with more is rounded.
    pub fn minus(self, other: Self) -> Self {
        Self::from(self.0.saturating_sub(other.0))
    }
}

impl From<Decimal> for Quantity {
    fn from(value: Decimal) -> Self {
        Self(value.normalize())
    }
}

impl Money {
    /// An amount of 0.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The price of a quantity, exactly; `None` if it has more digits than a decimal.
    pub fn of(quantity: Quantity, unit_price: Self) -> Option<Self> {
        let (one, other) = (quantity.0, unit_price.0);
        let product = one.mantissa().checked_mul(other.mantissa())?;
        Decimal::try_from_i128_with_scale(product, one.scale() + other.scale())
            .ok()
            .map(|exact| Self(exact.normalize()))
    }

    /// The sum, exactly; `None` if it has more digits than a decimal.
    pub fn plus(self, other: Self) -> Option<Self> {
        sum(self.0, other.0).map(Self)
    }

    /// The difference, exactly; `None` if it has more digits than a decimal.
    pub fn minus(self, other: Self) -> Option<Self> {
        sum(self.0, -other.0).map(Self)
    }
}

/// The sum, exactly; `None` if it has more digits than a decimal.
pub(super) fn sum(one: Decimal, other: Decimal) -> Option<Decimal> {
    let scale = one.scale().max(other.scale());
    let mantissa = |part: Decimal| part.mantissa().checked_mul(10_i128.checked_pow(scale - part.scale())?);
    let total = mantissa(one)?.checked_add(mantissa(other)?)?;
    Decimal::try_from_i128_with_scale(total, scale).ok().map(|exact| exact.normalize())
}

impl Amount {
    /// 0 of any unit.
    pub const ZERO: Self = Self(Decimal::ZERO);
}

impl BlockSize {
    /// A block of one unit.
    pub const ONE: Self = Self(Decimal::ONE);
}

/// Why usage cannot be turned into a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The quotient is not a finite decimal, as in 10 / 3.
    #[error("{amount} / {block} has no finite decimal value: choose another block size or rounding")]
    NotFinite {
        /// The usage.
        amount: Amount,
        /// The block size.
        block: BlockSize,
    },
    /// The quantity has more digits than ConnectWise can store.
    #[error("the quantity has more than {MAX_QUANTITY_DIGITS} digits, more than ConnectWise can store exactly")]
    TooPrecise,
}

/// Returns the quantity for an amount: `amount / block`, rounded. All arithmetic is on integers, and exact.
///
/// ```
/// use connectwise_billing::domain::quantity::{Rounding, quantity};
/// let blocks = quantity("100.01".parse()?, "100".parse()?, Rounding::Ceil)?;
/// assert_eq!(blocks.to_string(), "2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantity(amount: Amount, block: BlockSize, rounding: Rounding) -> Result<Quantity, QuantityError> {
    // amount / block = (a / 10^s) / (b / 10^t) = (a * 10^t) / (b * 10^s)
    let numerator = BigInt::from(amount.0.mantissa()) * BigInt::from(10).pow(block.0.scale());
    let denominator = BigInt::from(block.0.mantissa()) * BigInt::from(10).pow(amount.0.scale());
    let whole = &numerator / &denominator;
    let rest = &numerator % &denominator;
    let up = match rounding {
        Rounding::Ceil => !rest.is_zero(),
        Rounding::Floor => false,
        Rounding::Round => &rest * 2 >= denominator,
        Rounding::Exact => {
            let finite = is_finite(&numerator, &denominator);
            let exact = exact(numerator, &denominator);
            let inexact = if finite { QuantityError::TooPrecise } else { QuantityError::NotFinite { amount, block } };
            return exact.ok_or(inexact)?;
        }
    };
    checked(whole + i32::from(up), 0)
}

/// Whether `numerator / denominator` is a finite decimal: reduced, the denominator has only the prime factors 2 and 5.
fn is_finite(numerator: &BigInt, denominator: &BigInt) -> bool {
    let mut lowest = denominator / numerator.gcd(denominator);
    for prime in [2_u32, 5] {
        while (&lowest % prime).is_zero() {
            lowest /= prime;
        }
    }
    lowest.is_one()
}

/// Returns `numerator / denominator`, or `None` if it has more than [`MAX_QUANTITY_DIGITS`] decimal places.
fn exact(mut numerator: BigInt, denominator: &BigInt) -> Option<Result<Quantity, QuantityError>> {
    for scale in 0..=MAX_QUANTITY_DIGITS {
        if (&numerator % denominator).is_zero() {
            return Some(checked(numerator / denominator, scale));
        }
        numerator *= 10;
    }
    None
}

fn checked(mantissa: BigInt, scale: u32) -> Result<Quantity, QuantityError> {
    let value = mantissa.to_i128().filter(|m| m.abs() < 10_i128.pow(MAX_QUANTITY_DIGITS));
    let value = value.and_then(|m| Decimal::try_from_i128_with_scale(m, scale).ok());
    value.map(|d| Quantity(d.normalize())).ok_or(QuantityError::TooPrecise)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(amount: &str, block: &str, rounding: Rounding) -> Result<String, QuantityError> {
        quantity(amount.parse().unwrap(), block.parse().unwrap(), rounding).map(|q| q.to_string())
    }

    #[test]
    fn a_started_block_is_billed() {
        for (amount, block, blocks) in [
            ("0", "100", "0"),
            ("0.0000000000000000000000000001", "100", "1"),
            ("100", "100", "1"),
            ("100.0000000000000000000000001", "100", "2"),
            ("1", "0.1", "10"),
            ("0.3", "0.1", "3"),
        ] {
            assert_eq!(of(amount, block, Rounding::Ceil).as_deref(), Ok(blocks), "{amount} / {block}");
        }
    }

    #[test]
    fn floor_round_and_exact() {
        assert_eq!(of("149", "100", Rounding::Floor).as_deref(), Ok("1"));
        assert_eq!(of("150", "100", Rounding::Round).as_deref(), Ok("2"));
        assert_eq!(of("149.9", "100", Rounding::Round).as_deref(), Ok("1"));
        assert_eq!(of("150", "100", Rounding::Exact).as_deref(), Ok("1.5"));
        assert!(matches!(of("10", "3", Rounding::Exact), Err(QuantityError::NotFinite { .. })));
        assert_eq!(of("0", "3", Rounding::Exact).as_deref(), Ok("0"));
    }

    #[test]
    fn an_inexact_quotient_reports_the_reason() {
        let finite = [("302448882706.15058637665346", "100"), ("1.0000001", "1024"), ("0.1", "1125899906842624")];
        for (amount, block) in finite {
            assert_eq!(of(amount, block, Rounding::Exact), Err(QuantityError::TooPrecise), "{amount} / {block}");
        }
        assert_eq!(of("3", "1024", Rounding::Exact).as_deref(), Ok("0.0029296875"));
        for (amount, block) in [("1", "1025"), ("0.1", "0.3"), ("302448882706.15058637665346", "99")] {
            let error = of(amount, block, Rounding::Exact).unwrap_err();
            assert!(matches!(error, QuantityError::NotFinite { .. }), "{amount} / {block}: {error}");
        }
    }

    #[test]
    fn what_connectwise_cannot_keep_is_rejected() {
        assert_eq!(of("9999999999999999999999999999", "1", Rounding::Ceil), Err(QuantityError::TooPrecise));
        assert_eq!(of("999999999999999", "1", Rounding::Ceil).as_deref(), Ok("999999999999999"));
        assert_eq!(of("999999999999999.1", "1", Rounding::Ceil), Err(QuantityError::TooPrecise));
    }

    #[test]
    fn a_sum_is_exact_or_none() {
        let money = |text: &str| text.parse::<Money>().unwrap();
        assert_eq!(money("28.5").plus(money("-0.05")), Some(money("28.45")));
        let least = money("0.0000000000000000000000000001");
        assert_eq!(money("250").plus(least), None, "it would be rounded");
        assert_eq!(money("0.5").plus(least), Some(money("0.5000000000000000000000000001")));
        assert_eq!(money("9999999999999999999999999999").plus(money("0.1")), None);
    }

    #[test]
    fn bad_decimals_are_rejected() {
        for bad in ["", ".", "1.", ".5", "1e3", " 1", "1_000", "1,5", "NaN", "+1", "--1", "٣"] {
            assert_eq!(parse_decimal(bad), Err(DecimalError::Syntax), "{bad}");
        }
        assert_eq!(parse_decimal("0.12345678901234567890123456789"), Err(DecimalError::TooLong));
        assert_eq!("-1".parse::<Amount>(), Err(DecimalError::Negative));
        assert_eq!("0".parse::<BlockSize>(), Err(DecimalError::NotPositive));
        assert_eq!("1.50".parse::<Amount>().unwrap().to_string(), "1.5");
    }

    proptest! {
        #[test]
        fn ceil_is_the_least_number_of_blocks_that_holds_the_usage(
            amount in 0_u64..1_000_000_000_000, amount_scale in 0_u32..10, block in 1_u64..1_000_000, block_scale in 0_u32..6,
        ) {
            let amount = Amount::new(Decimal::from_i128_with_scale(i128::from(amount), amount_scale)).unwrap();
            let block = BlockSize::new(Decimal::from_i128_with_scale(i128::from(block), block_scale)).unwrap();
            if let Ok(blocks) = quantity(amount, block, Rounding::Ceil) {
                let blocks = blocks.get();
                prop_assert!(blocks * block.get() >= amount.get());
                prop_assert!(blocks.is_zero() || (blocks - Decimal::ONE) * block.get() < amount.get());
                let floor = quantity(amount, block, Rounding::Floor).unwrap().get();
                let round = quantity(amount, block, Rounding::Round).unwrap().get();
                prop_assert!(floor <= round && round <= blocks && blocks - floor <= Decimal::ONE);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Amount>();
        }
    }
}
