//! How sure one may be that a letter made a difference.
//!
//! Intervals are Wilson's for one share and Newcombe's hybrid score for the difference of two (Newcombe, Statistics in Medicine 17, 1998,
//! method 10), both at 95 %. They stay within 0 and 1 and hold for small groups, where the textbook formula does not.

use serde::Serialize;

/// The two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The chi-square value with one degree of freedom that chance exceeds once in a thousand times.
const CHI_SQUARE_ONE_IN_A_THOUSAND: f64 = 10.827_566_170_662_733;

/// A range of plausible values, as shares between -1 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The difference between two shares, with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The treated group's share less the control group's.
    pub difference: f64,
    /// Where the true difference plausibly lies.
    #[serde(flatten)]
    pub interval: Interval,
}

/// Wilson's interval for `hits` of `n`; the whole range where there is nobody.
pub(super) fn wilson(hits: u64, n: u64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (hits, n) = (hits as f64, n as f64);
    let share = hits / n;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
}

/// Newcombe's interval for the difference of two shares; `None` where one group is empty.
pub(super) fn difference(treated: (u64, u64), control: (u64, u64)) -> Option<Difference> {
    if treated.1 == 0 || control.1 == 0 {
        return None;
    }
    let (p1, p2) = (treated.0 as f64 / treated.1 as f64, control.0 as f64 / control.1 as f64);
    let (w1, w2) = (wilson(treated.0, treated.1), wilson(control.0, control.1));
    let difference = p1 - p2;
    let low = difference - ((p1 - w1.low).powi(2) + (w2.high - p2).powi(2)).sqrt();
    let high = difference + ((w1.high - p1).powi(2) + (p2 - w2.low).powi(2)).sqrt();
    Some(Difference { difference, interval: Interval { low, high } })
}

/// Whether the groups' sizes differ from the planned split more than chance explains (p < 0.001): then something removed people from
/// one side, and no comparison is honest.
pub(super) fn lopsided(control: u64, treated: u64, share: f64) -> bool {
    let n = (control + treated) as f64;
    let (expected_control, expected_treated) = (n * share, n * (1.0 - share));
    if expected_control < 5.0 || expected_treated < 5.0 {
        return false;
    }
    let chi_square =
        (control as f64 - expected_control).powi(2) / expected_control + (treated as f64 - expected_treated).powi(2) / expected_treated;
    chi_square > CHI_SQUARE_ONE_IN_A_THOUSAND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_match_the_published_examples() {
        // Newcombe 1998, table II: 56/70 against 48/80 by method 10 gives 0.0524 to 0.3339; 9/10 against 3/10 gives 0.1705 to 0.8090.
        for (treated, control, low, high) in [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)] {
            let interval = difference(treated, control).unwrap().interval;
            assert!((interval.low - low).abs() < 1e-4 && (interval.high - high).abs() < 1e-4, "{interval:?}");
        }
        let one = wilson(81, 263);
        assert!((one.low - 0.2553).abs() < 1e-4 && (one.high - 0.3662).abs() < 1e-4, "{one:?}");
    }

    #[test]
    fn nobody_on_one_side_is_no_comparison() {
        assert_eq!(difference((1, 10), (0, 0)), None);
    }

    #[test]
    fn a_lopsided_split_is_noticed() {
        assert!(lopsided(60, 940, 0.10));
        assert!(!lopsided(95, 905, 0.10));
        assert!(!lopsided(0, 9, 0.10));
    }
}
