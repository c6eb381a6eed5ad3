//! Where the practice shop's customers live: country, currency, language, clock and telephone.

use super::moment::{DAY, HOUR, Moment};
use super::names::{self, Names};

/// A country the shop sends parcels to.
#[derive(Debug)]
pub(super) struct Country {
    /// ISO 3166-1.
    pub(super) code: &'static str,
    /// How many of a thousand customers live there.
    pub(super) weight: u32,
    /// ISO 4217, what its customers pay in.
    pub(super) currency: Currency,
    /// BCP 47.
    pub(super) locale: &'static str,
    /// IANA zones; the first is the usual one.
    pub(super) zones: &'static [&'static str],
    /// Hours its clocks are ahead of UTC, near enough for the hours people shop in.
    offset: i64,
    /// What its telephone numbers begin with; the ranges are ones no telephone answers.
    pub(super) phone: &'static str,
    /// What its people are called.
    pub(super) names: &'static Names,
}

impl Country {
    /// Moves an instant within its local day to when people shop: little at night, most in the evening. Keeps the order.
    pub(super) fn by_day(&self, second: i64) -> Moment {
        // The hour by which this share of a day's orders has come.
        const CURVE: [(f64, f64); 7] = [(0.0, 0.0), (0.03, 6.5), (0.14, 9.0), (0.40, 13.0), (0.62, 17.5), (0.93, 22.0), (1.0, 24.0)];
        let local = second + self.offset * HOUR;
        let share = local.rem_euclid(DAY) as f64 / DAY as f64;
        let mut hour = 0.0;
        for pair in CURVE.windows(2) {
            let ((from, early), (to, late)) = (pair[0], pair[1]);
            if share >= from {
                hour = early + (share - from) / (to - from) * (late - early);
            }
        }
        Moment::seconds(local.div_euclid(DAY) * DAY + (hour * HOUR as f64) as i64 - self.offset * HOUR)
    }
}

/// A currency the shop has a price list in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Currency {
    Eur,
    Gbp,
    Usd,
    Sek,
    Pln,
    Jpy,
}

impl Currency {
    /// Those that need an exchange rate.
    pub(super) const FOREIGN: [Self; 5] = [Self::Gbp, Self::Usd, Self::Sek, Self::Pln, Self::Jpy];

    /// ISO 4217.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Usd => "USD",
            Self::Sek => "SEK",
            Self::Pln => "PLN",
            Self::Jpy => "JPY",
        }
    }

    /// The price list: what a price of 1,000 euro cents is here (in hundredths of the currency), and to what it is rounded.
    pub(super) const fn prices(self) -> (i64, i64) {
        match self {
            Self::Eur => (1000, 5),
            Self::Gbp => (880, 5),
            Self::Usd => (1120, 5),
            Self::Sek => (11_200, 100),
            Self::Pln => (4350, 10),
            Self::Jpy => (160_000, 1000),
        }
    }

    /// What one unit is worth in euro, in hundred-millionths, around which the daily rate moves.
    pub(super) const fn worth(self) -> i64 {
        match self {
            Self::Eur => 100_000_000,
            Self::Gbp => 116_500_000,
            Self::Usd => 91_800_000,
            Self::Sek => 8_840_000,
            Self::Pln => 23_200_000,
            Self::Jpy => 615_000,
        }
    }

    /// Whether it has no hundredths.
    pub(super) const fn is_whole(self) -> bool {
        matches!(self, Self::Jpy)
    }
}

#[allow(clippy::too_many_arguments, reason = "one line a country in the table below")]
const fn country(
    code: &'static str,
    weight: u32,
    currency: Currency,
    locale: &'static str,
    zones: &'static [&'static str],
    offset: i64,
    phone: &'static str,
    names: &'static Names,
) -> Country {
    Country { code, weight, currency, locale, zones, offset, phone, names }
}

/// All of them; the weights add up to 1000.
#[rustfmt::skip]
pub(super) static COUNTRIES: [Country; 14] = [
    country("GB", 215, Currency::Gbp, "en-GB", &["Europe/London"], 0, "+44 7700 900", &names::ENGLISH),
    country("DE", 200, Currency::Eur, "de-DE", &["Europe/Berlin"], 1, "+49 000 44", &names::GERMAN),
    country("US", 130, Currency::Usd, "en-US", &["America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"], -5, "+1 202 555 0", &names::ENGLISH),
    country("FR", 100, Currency::Eur, "fr-FR", &["Europe/Paris"], 1, "+33 000 12", &names::FRENCH),
    country("ES", 70, Currency::Eur, "es-ES", &["Europe/Madrid", "Atlantic/Canary"], 1, "+34 000 98", &names::SPANISH),
    country("SE", 65, Currency::Sek, "sv-SE", &["Europe/Stockholm"], 1, "+46 000 63", &names::SWEDISH),
    country("PL", 60, Currency::Pln, "pl-PL", &["Europe/Warsaw"], 1, "+48 000 35", &names::POLISH),
    country("JP", 55, Currency::Jpy, "ja-JP", &["Asia/Tokyo"], 9, "+81 000 7", &names::JAPANESE),
    country("AT", 30, Currency::Eur, "de-DE", &["Europe/Vienna"], 1, "+43 000 21", &names::GERMAN),
    country("IE", 25, Currency::Eur, "en-GB", &["Europe/Dublin"], 0, "+353 000 8", &names::ENGLISH),
    country("EG", 20, Currency::Eur, "ar-EG", &["Africa/Cairo"], 2, "+20 000 51", &names::ARABIC),
    country("IL", 15, Currency::Usd, "he-IL", &["Asia/Jerusalem"], 2, "+972 000 4", &names::HEBREW),
    country("BE", 10, Currency::Eur, "fr-FR", &["Europe/Brussels"], 1, "+32 000 66", &names::FRENCH),
    country("MX", 5, Currency::Usd, "es-ES", &["America/Mexico_City"], -6, "+52 000 77", &names::SPANISH),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_an_order_to_daytime_keeps_the_order_and_the_local_day() {
        for country in &COUNTRIES {
            let mut before = None;
            for second in (0..3 * DAY).step_by(307) {
                let moved = country.by_day(second);
                assert!(before.is_none_or(|before| before <= moved));
                let day = |second: i64| (second + country.offset * HOUR).div_euclid(DAY);
                assert_eq!(day(moved.as_seconds()), day(second));
                before = Some(moved);
            }
        }
    }

    #[test]
    fn the_countries_make_up_the_world() {
        assert_eq!(COUNTRIES.iter().map(|country| country.weight).sum::<u32>(), 1000);
    }
}
