//! Exchange rates: one for each working day and currency, published in the afternoon, wandering around a fixed value.

use super::{
    dice::{About, Dice},
    moment::{Date, HOUR, Moment, new_year},
    places::Currency,
    records::FxRate,
};

/// How many whole years back rates are kept: as long as any order can be seen, and the year it began in.
const YEARS: i32 = 8;

/// The working days, counted from 1970, whose rates have been published.
pub(super) fn days(as_of: Moment) -> impl Iterator<Item = u32> {
    let start = new_year(Date::of_day(as_of.day()).year() - YEARS).max(0) as u32;
    // 1970-01-01 was a Thursday; Saturdays and Sundays have no rate.
    (start..=as_of.day().max(0) as u32).filter(|day| (day + 3) % 7 < 5).filter(move |day| published(*day) <= as_of)
}

/// When the rates of a day are published.
pub(super) fn published(day: u32) -> Moment {
    Moment::midnight(i64::from(day)).plus(15 * HOUR)
}

/// The rate of a day for one of [`Currency::FOREIGN`].
pub(super) fn rate(dice: &Dice, day: u32, currency: u16, updated_at: Moment) -> FxRate {
    let code = Currency::FOREIGN[usize::from(currency) % Currency::FOREIGN.len()];
    // Two slow swings of 5 % and 2 %, and a little noise every day; whole numbers, so that every machine has the same rates.
    let swing = wave(day, 811, currency) * 5 + wave(day, 97, currency + 7) * 2;
    let noise = dice.roll(About::Exchange, day, currency).between(-300, 300);
    let rate = code.worth() + code.worth() * (swing + noise) / 100_000;
    FxRate {
        currency: code.code(),
        date: Date::of_day(i64::from(day)),
        rate: format!("{}.{:08}", rate / 100_000_000, rate % 100_000_000),
        updated_at,
    }
}

/// A triangular wave between -1000 and 1000.
fn wave(day: u32, period: u32, phase: u16) -> i64 {
    let at = i64::from((day + u32::from(phase) * 131) % period) * 4000 / i64::from(period);
    if at < 2000 { at - 1000 } else { 3000 - at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_working_day_has_a_rate_and_no_weekend_has_one() {
        let as_of = Moment::from("2026-11-23T14:59:59Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap()); // a Monday
        let days: Vec<u32> = days(as_of).collect();
        let last = rate(&Dice::new(42), days[days.len() - 1], 0, as_of);
        assert_eq!(serde_json::to_value(last.date).unwrap(), "2026-11-20");
        assert!((2310..2330).contains(&days.len()), "{}", days.len());
    }

    #[test]
    fn rates_stay_near_their_worth_and_move_slowly() {
        let dice = Dice::new(42);
        for currency in 0..5 {
            let mut before: Option<f64> = None;
            for day in 20_000..21_000 {
                let rate: f64 = rate(&dice, day, currency, published(day)).rate.parse().unwrap();
                let worth = Currency::FOREIGN[usize::from(currency)].worth() as f64 / 1e8;
                assert!((rate / worth - 1.0).abs() < 0.08);
                assert!(before.is_none_or(|before| (rate / before - 1.0).abs() < 0.02));
                before = Some(rate);
            }
        }
    }
}
