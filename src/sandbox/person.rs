//! Who a person is, and how differently the systems know one and the same.

use super::{
    dice::{About, Dice},
    life::{self, Kind, Life},
    moment::{DAY, Date, Moment},
    names::ODD,
    places::Country,
};

/// Which systems know a person, and when they learned what.
#[derive(Debug)]
pub(super) struct Presence {
    /// Has an account with the shop.
    pub(super) in_shop: bool,
    /// When the CRM made a contact of this person, if it did.
    pub(super) contact: Option<Moment>,
    /// When someone noted in the CRM which shop account the contact has, if anyone did.
    pub(super) linked: Option<Moment>,
    /// When the person completed the profile (a telephone number, a title), if ever.
    pub(super) edited: Option<Moment>,
    /// Whether the address in the CRM is the one in the shop.
    pub(super) one_address: bool,
}

impl Presence {
    pub(super) fn of(dice: &Dice, who: u32, life: &Life) -> Self {
        let mut roll = dice.roll(About::Presence, who, 0);
        let edited = roll.chance(0.3).then(|| life.created.plus((roll.exponential(1.0 / 250.0) * DAY as f64) as i64 + DAY));
        let soon = life.created.plus(roll.between(5, 900));
        let later = life.created.plus(roll.between(DAY, 90 * DAY));
        let door = roll.below(1000);
        let (in_shop, contact, linked, one_address) = match life.kind {
            // Most contacts come from the shop by themselves and carry its number.
            Kind::Buyer if door < 700 => (true, Some(soon), Some(soon), door >= 28),
            // Some were linked by hand, later.
            Kind::Buyer if door < 740 => (true, Some(later), Some(later.plus(9 * DAY)), true),
            // Some are only alike: the same address, often written another way.
            Kind::Buyer if door < 890 => (true, Some(later), None, true),
            // Some nobody can match.
            Kind::Buyer if door < 910 => (true, Some(later), None, false),
            Kind::Buyer => (true, None, None, true),
            Kind::Lead | Kind::LeadAndGuest => (false, Some(life.created), None, true),
            Kind::Guest => (false, None, None, true),
        };
        // Nobody makes a contact of someone who has been erased.
        let contact = contact.filter(|at| life.erased.is_none_or(|erased| *at < erased));
        Self { in_shop, contact, linked, edited, one_address }
    }
}

/// What a person would fill into a form.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
    pub(super) honorific: Option<&'static str>,
    /// As the CRM has it; none where nobody asked.
    pub(super) email: Option<String>,
    /// As the shop has it.
    pub(super) shop_email: String,
    pub(super) phone: String,
    pub(super) birthday: Option<Date>,
    pub(super) locale: Option<&'static str>,
    pub(super) timezone: Option<&'static str>,
}

impl Person {
    pub(super) fn of(dice: &Dice, who: u32, life: &Life, presence: &Presence) -> Self {
        let own = Name::of(dice, who, life.country);
        let country = life.country;
        let mut roll = dice.roll(About::Person, who, 1);
        let honorific = match own.gender {
            'f' if roll.chance(0.6) => Some(country.names.honorifics.0),
            'm' if roll.chance(0.6) => Some(country.names.honorifics.1),
            _ if roll.chance(0.03) => Some("Dr"),
            _ => None,
        };
        let mailbox = match head_of_household(dice, who) {
            // Two people, one address: the household's first has it, the second uses it.
            Some(head) => Name::of(dice, head, life::country(dice, head)).mailbox,
            None => own.mailbox,
        };
        let (email, shop_email) = if presence.one_address {
            // Where no link was declared, the shop's spelling of the address often differs in case or has blanks around it.
            let careless = presence.linked.is_none() && presence.contact.is_some();
            let spelled = if careless { carelessly(&mailbox, roll.below(10)) } else { mailbox.clone() };
            (mailbox, spelled)
        } else {
            let other = format!("home.{who}.{mailbox}");
            (mailbox, other)
        };
        let asked = !roll.chance(0.015);
        let phone = format!("{}{:03}{}", country.phone, roll.below(1000), if matches!(country.code, "GB" | "US") { "" } else { "0" });
        let birthday =
            roll.chance(0.55).then(|| Date::new(roll.between(1938, 2004) as i32, roll.between(1, 12) as u8, roll.between(1, 28) as u8));
        let locale = roll.chance(0.95).then_some(country.locale);
        let timezone = roll.chance(0.92).then(|| *roll.pick(country.zones));
        Self {
            first_name: own.first,
            last_name: own.last,
            honorific,
            email: asked.then_some(email),
            shop_email,
            phone,
            birthday,
            locale,
            timezone,
        }
    }

    /// The name as it was typed into the shop's form: now and then in capitals, or with a blank before it.
    pub(super) fn as_typed(name: Option<&str>, who: u32) -> Option<String> {
        let name = name?;
        Some(match who % 61 {
            7 => name.to_uppercase(),
            23 => name.to_lowercase(),
            41 => format!(" {name}"),
            _ => name.to_owned(),
        })
    }
}

/// A person's name and mailbox.
struct Name {
    first: Option<String>,
    last: Option<String>,
    gender: char,
    mailbox: String,
}

impl Name {
    fn of(dice: &Dice, who: u32, country: &Country) -> Self {
        let mut roll = dice.roll(About::Person, who, 0);
        let domain = ["example.com", "example.net", "example.org"][roll.below(3)];
        if roll.chance(0.012) {
            let (first, last, local) = *roll.pick(ODD);
            return Self {
                first: Some(first.to_owned()),
                last: (!last.is_empty()).then(|| last.to_owned()),
                gender: 'n',
                mailbox: format!("{local}.{who}@{domain}"),
            };
        }
        let (first, first_plain, gender) = *roll.pick(country.names.given);
        let (last, last_plain) = *roll.pick(country.names.family);
        let mailbox = match roll.below(4) {
            0 => format!("{}.{last_plain}{who}@{domain}", &first_plain[..1]),
            1 => format!("{last_plain}.{who}@{domain}"),
            _ => format!("{first_plain}.{last_plain}.{who}@{domain}"),
        };
        let (has_first, has_last) = match roll.below(1000) {
            0..=11 => (false, false),
            12..=29 => (false, true),
            30..=44 => (true, false),
            _ => (true, true),
        };
        Self { first: has_first.then(|| first.to_owned()), last: has_last.then(|| last.to_owned()), gender, mailbox }
    }
}

/// The neighbour whose address this person shares, if they are one household.
fn head_of_household(dice: &Dice, who: u32) -> Option<u32> {
    (who % 2 == 1 && dice.roll(About::Family, who - 1, 0).chance(0.012)).then(|| who - 1)
}

/// An address as people type it.
fn carelessly(address: &str, how: usize) -> String {
    match how {
        0..=2 => address.split_inclusive(['.', '@', '-']).map(|part| part[..1].to_uppercase() + &part[1..]).collect(),
        3..=4 => address.to_uppercase(),
        5 => format!(" {address} "),
        _ => address.to_owned(),
    }
}
