//! What people say when they are asked: would you recommend us, were you helped, how was it.

use super::{
    dice::{About, Dice},
    fate::Fate,
    words,
};

/// One answer.
#[derive(Debug)]
pub(super) struct Rating {
    pub(super) kind: &'static str,
    pub(super) score: i64,
    pub(super) comment: Option<&'static str>,
}

/// The answer of this number: the order's own where it is even, the one about the help desk where it is odd.
pub(super) fn of(dice: &Dice, who: u32, number: u16, fate: &Fate) -> Option<Rating> {
    let mut roll = dice.roll(About::Rating, who, number);
    let unhappy = fate.ticket.is_some_and(|ticket| ticket.matter.kind() == "complaint");
    let (kind, score, out_of) = if number % 2 == 1 {
        let (_, good) = fate.ticket?.judged?;
        ("csat", if good { roll.between(4, 5) } else { roll.between(1, 2) }, 5)
    } else if fate.rated?.survey {
        ("nps", if unhappy { roll.between(0, 8) } else { 10 - roll.weighted([42, 26, 16, 7, 3, 3, 1, 1, 1].into_iter()) as i64 }, 10)
    } else {
        ("review", if unhappy { roll.between(1, 4) } else { 5 - roll.weighted([62, 26, 8, 3, 1].into_iter()) as i64 }, 5)
    };
    Some(Rating { kind, score, comment: words::comment(score, out_of, roll.below(90)) })
}
