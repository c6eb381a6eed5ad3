//! What customers write to the help desk and what its people answer.

use super::{
    dice::{About, Dice},
    fate::{Matter, Ticket},
    moment::Date,
};

/// The people at Fernwood's help desk.
const AGENTS: [&str; 8] =
    ["Maya Lindqvist", "Tomasz Zieliński", "Grace Okoro", "Jonas Albrecht", "Inês Duarte", "Noor van Dijk", "Sam O'Leary", "Keiko Mori"];

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// The words of one ticket.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) subject: String,
    pub(super) agent: &'static str,
    /// What was done, as one sentence a customer can be told.
    pub(super) fix: String,
}

impl Words {
    /// The words about a product, where the matter is about one.
    pub(super) fn of(dice: &Dice, who: u32, nth: u16, ticket: &Ticket, product: Option<&str>, refunded: Option<bool>) -> Self {
        let mut roll = dice.roll(About::Ticket, who, nth);
        let agent = *roll.pick(&AGENTS);
        // "Kenya Nyeri, 250 g" is "Kenya Nyeri" when people talk.
        let thing = product.map_or("order", |name| name.split([',', ':']).next().unwrap_or(name));
        let subject = match ticket.matter {
            Matter::Damaged => roll.pick(&["{} arrived broken", "My {} came damaged", "Parcel crushed: {}"]),
            Matter::Wrong => roll.pick(&["Wrong item instead of {}", "I ordered {} and got something else"]),
            Matter::Stale => roll.pick(&["{}: not as it should be", "Disappointed with {}", "Quality of {}"]),
            Matter::Late => roll.pick(&["Where is my order?", "My parcel is a week late", "Still waiting for {}"]),
            Matter::Missing => roll.pick(&["{} was missing from my parcel", "Incomplete order: no {}"]),
            Matter::Question if product.is_none() => {
                roll.pick(&["Do you ship to my country?", "Do you have gift vouchers?", "Opening hours of the shop"])
            }
            Matter::Question => roll.pick(&["A question about {}", "How do I care for {}?", "Is {} suitable for beginners?"]),
            Matter::Return => roll.pick(&["I would like to return {}", "Return of {}"]),
            Matter::Praise => roll.pick(&["Thank you for {}!", "So happy with {}"]),
        };
        let date = Date::of_day(ticket.resolved.day());
        let day = format!("{} {}", date.day(), MONTHS[usize::from(date.month() - 1)]);
        let fix = match (ticket.matter, refunded) {
            (Matter::Praise, _) => "We thanked you and passed your kind words on to the team.".to_owned(),
            (Matter::Question, _) => "We answered your question.".to_owned(),
            (Matter::Return, _) => format!("Your return arrived on {day} and the money is on its way back to you."),
            (Matter::Late, Some(_)) => format!("The parcel had been held up at the depot; we refunded part of your order on {day}."),
            (Matter::Late, None) => format!("The parcel had been held up at the depot; by {day} we had made sure that it reached you."),
            (_, Some(true)) => format!("We refunded the whole order on {day}; you can keep what you have."),
            (_, Some(false)) => format!("We refunded the item ({thing}) on {day}; there is nothing to send back."),
            (Matter::Damaged, None) => format!("We sent a replacement ({thing}) on {day}, packed with more care than the first one."),
            (Matter::Wrong, None) => format!("We sent what you had ordered ({thing}) on {day}; please keep what came instead."),
            (Matter::Missing, None) => format!("We sent the missing item ({thing}) on {day}."),
            (Matter::Stale, None) => {
                format!("We checked the batch ({thing}), took it off the shelf and sent you one from another on {day}.")
            }
        };
        Self { subject: subject.replace("{}", thing), agent, fix }
    }
}

/// What people write beside a rating; most write nothing.
pub(super) fn comment(score: i64, out_of: i64, choice: usize) -> Option<&'static str> {
    const GOOD: [&str; 5] = [
        "Arrived quickly and beautifully packed.",
        "The coffee is wonderful, I'll be back!",
        "Très bien emballé, merci.",
        "Alles bestens – gerne wieder.",
        "最高でした。また注文します。",
    ];
    const FAIR: [&str; 3] = ["Fine, but shipping took a while.", "Good product, plain packaging.", "Está bien, aunque esperaba algo más."];
    const POOR: [&str; 3] =
        ["Two leaves were broken & nobody answered for days.", "Not worth the price <sigh>", "Leider zu spät geliefert."];
    if !choice.is_multiple_of(3) {
        return None;
    }
    let choice = choice / 3;
    Some(match score * 10 / out_of {
        9.. => GOOD[choice % GOOD.len()],
        6..=8 => FAIR[choice % FAIR.len()],
        _ => POOR[choice % POOR.len()],
    })
}
