//! Amounts of money as APIs send them: text, with as many digits as the currency has.

use std::{fmt, iter::Sum, ops::Sub};

use serde::{Serialize, Serializer};

use super::places::Currency;

/// An amount in hundredths of a currency. It serialises as text: `"12.90"`, or `"1290"` where the currency has no hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    hundredths: i64,
    whole: bool,
}

impl Money {
    pub(super) const fn new(hundredths: i64, currency: Currency) -> Self {
        Self { hundredths, whole: currency.is_whole() }
    }

    /// The amount in hundredths of its currency.
    #[must_use]
    pub const fn hundredths(self) -> i64 {
        self.hundredths
    }

    /// That many of it.
    pub(super) const fn times(self, quantity: i64) -> Self {
        Self { hundredths: self.hundredths * quantity, whole: self.whole }
    }

    /// So many per cent of it, rounded down to what the currency can pay.
    pub(super) const fn percent(self, percent: i64) -> Self {
        let exact = self.hundredths * percent / 100;
        Self { hundredths: if self.whole { exact / 100 * 100 } else { exact }, whole: self.whole }
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { hundredths: self.hundredths - other.hundredths, whole: self.whole }
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self { hundredths: 0, whole: false }, |sum, amount| Self {
            hundredths: sum.hundredths + amount.hundredths,
            whole: amount.whole,
        })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole {
            write!(f, "{}", self.hundredths / 100)
        } else {
            write!(f, "{}.{:02}", self.hundredths / 100, self.hundredths % 100)
        }
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        assert_eq!(Money::new(1290, Currency::Eur).to_string(), "12.90");
        assert_eq!(Money::new(5, Currency::Gbp).to_string(), "0.05");
        assert_eq!(Money::new(206_400, Currency::Jpy).to_string(), "2064");
        assert_eq!(Money::new(206_400, Currency::Jpy).percent(15).to_string(), "309");
    }
}
