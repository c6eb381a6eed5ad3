//! What people allowed and forbade: most said yes, some no, some were never asked, some changed their minds.

use super::{
    dice::{About, Dice},
    moment::{DAY, Moment},
};

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permission {
    pub(super) nth: u16,
    pub(super) channel: &'static str,
    pub(super) purpose: &'static str,
    pub(super) status: &'static str,
    pub(super) at: Moment,
}

impl Permission {
    /// All answers a contact gives, past and to come.
    pub(super) fn all(dice: &Dice, who: u32, created: Moment) -> Vec<Self> {
        let mut roll = dice.roll(About::Consent, who, 0);
        let given =
            |nth, channel, purpose, yes: bool, at| Self { nth, channel, purpose, status: if yes { "granted" } else { "denied" }, at };
        let mut all = Vec::with_capacity(4);
        match roll.below(100) {
            0..=81 => {
                all.push(given(0, "email", "marketing", true, created));
                if roll.chance(0.09) {
                    let regret = created.plus(DAY + (roll.exponential(1.0 / 300.0) * DAY as f64) as i64);
                    all.push(given(1, "email", "marketing", false, regret));
                }
            }
            82..=91 => all.push(given(0, "email", "marketing", false, created)),
            _ => {}
        }
        if roll.chance(0.6) {
            all.push(given(2, "email", "service", !roll.chance(0.01), created));
        }
        if roll.chance(0.2) {
            all.push(given(3, "phone", "marketing", roll.chance(0.5), created));
        }
        all
    }
}
