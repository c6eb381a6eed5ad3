//! The gates a person passes before a message is planned, in the contract's order. Pure: people and facts in, one answer a person out.
//!
//! | gate | marketing | service | internal |
//! |---|---|---|---|
//! | a value the templates need is missing | ✓ | ✓ | ✓ |
//! | no usable address, or the account is gone | ✓ | ✓ | the account only |
//! | no consent | must be granted | must not be denied | – |
//! | suppressed | ✓ | ✓ | – |
//! | already told about this occasion | ✓ | ✓ | ✓ |
//! | an open complaint | ✓ | – | – |
//! | cool-off, where the campaign sets one | ✓ | ✓ | – |
//! | cap | ✓ | ✓ | – |
//! | outranked, duplicate address | ✓ | ✓ | – |
//! | holdout, where the campaign sets one | ✓ | – | ✓ |
//!
//! The last row but one and the last need to see everybody; they stand in `arbitration.rs`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::{
    config::Cap,
    ledger::{CustomerId, Heard, MessageId, Told},
    message::{Channel, Kind},
};

/// Why a person of the segment is not written to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A value the templates need is not known.
    MissingField(String),
    /// There is no usable address, or the account has been deleted.
    NoAddress,
    /// The person has not agreed, or has said no.
    NoConsent,
    /// The person has opted out, or the address is dead.
    Suppressed,
    /// The person has heard about this occasion before.
    AlreadyTold,
    /// A complaint of theirs is open.
    OpenComplaint,
    /// They heard from the shop too recently for this campaign.
    CoolOff,
    /// They have heard from the shop as often as is allowed.
    Capped,
    /// Another campaign of the same slot, named here, writes to them.
    Outranked(String),
    /// Somebody else in this plan has the same address.
    DuplicateAddress,
    /// They are left alone so that the effect can be measured.
    Holdout,
}

impl Reason {
    /// The reason as plans, the ledger and JSON write it.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::MissingField(name) => format!("missing_field:{name}"),
            Self::NoAddress => "no_address".to_owned(),
            Self::NoConsent => "no_consent".to_owned(),
            Self::Suppressed => "suppressed".to_owned(),
            Self::AlreadyTold => "already_told".to_owned(),
            Self::OpenComplaint => "open_complaint".to_owned(),
            Self::CoolOff => "cool_off".to_owned(),
            Self::Capped => "capped".to_owned(),
            Self::Outranked(_) => "outranked".to_owned(),
            Self::DuplicateAddress => "duplicate_address".to_owned(),
            Self::Holdout => "holdout".to_owned(),
        }
    }

    /// What a plan notes beside the reason: the campaign that came first.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Outranked(campaign) => Some(campaign),
            _ => None,
        }
    }

    /// The reason back from what a plan holds.
    #[must_use]
    pub fn read(key: &str, detail: Option<&str>) -> Option<Self> {
        Some(match key {
            "no_address" => Self::NoAddress,
            "no_consent" => Self::NoConsent,
            "suppressed" => Self::Suppressed,
            "already_told" => Self::AlreadyTold,
            "open_complaint" => Self::OpenComplaint,
            "cool_off" => Self::CoolOff,
            "capped" => Self::Capped,
            "outranked" => Self::Outranked(detail.unwrap_or("another campaign").to_owned()),
            "duplicate_address" => Self::DuplicateAddress,
            "holdout" => Self::Holdout,
            other => Self::MissingField(other.strip_prefix("missing_field:")?.to_owned()),
        })
    }

    /// Where the gate stands in the order, from 0.
    #[must_use]
    pub fn order(&self) -> usize {
        match self {
            Self::MissingField(_) => 0,
            Self::NoAddress => 1,
            Self::NoConsent => 2,
            Self::Suppressed => 3,
            Self::AlreadyTold => 4,
            Self::OpenComplaint => 5,
            Self::CoolOff => 6,
            Self::Capped => 7,
            Self::Outranked(_) => 8,
            Self::DuplicateAddress => 9,
            Self::Holdout => 10,
        }
    }

    /// The reason as a page says it of one person.
    #[must_use]
    pub fn in_words(&self, kind: Kind) -> String {
        match self {
            Self::MissingField(name) => format!("we do not know their {}, which the message needs", name.replace('_', " ")),
            Self::NoAddress if kind == Kind::Internal => "the account has been deleted".to_owned(),
            Self::NoAddress => "no usable address".to_owned(),
            Self::NoConsent if kind == Kind::Service => "asked us not to write, even about orders".to_owned(),
            Self::NoConsent => "has not agreed to marketing mail".to_owned(),
            Self::Suppressed => "opted out, or the address does not work".to_owned(),
            Self::AlreadyTold => "already heard about this".to_owned(),
            Self::OpenComplaint => "has a complaint that is still open".to_owned(),
            Self::CoolOff => "heard from us only a short while ago".to_owned(),
            Self::Capped => "has had as many messages as we allow".to_owned(),
            Self::Outranked(campaign) => format!("gets another message first: {campaign}"),
            Self::DuplicateAddress => "shares an address with somebody already in this plan".to_owned(),
            Self::Holdout => "control group: left alone, so that the effect can be measured".to_owned(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// One row of a segment, as the gates see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// Who.
    pub customer: CustomerId,
    /// The address in the segment's row.
    pub address: Option<String>,
    /// The address's keyed hash, where there is a usable address.
    pub address_hash: Option<String>,
    /// What the message is about; none where the column is null.
    pub occasion: Option<String>,
    /// 1, or a later letter about the same occasion.
    pub step: i64,
    /// The message's id, where there is an occasion.
    pub message_id: Option<MessageId>,
    /// The first column that is null though the templates need it.
    pub missing: Option<String>,
    /// Where the person lives.
    pub zone: Tz,
}

/// What is known about everybody at the plan's time, whatever the campaign.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Customers whose account is gone.
    pub deleted: HashSet<CustomerId>,
    /// The last word on marketing mail.
    pub marketing: HashMap<CustomerId, bool>,
    /// The last word on service mail.
    pub service: HashMap<CustomerId, bool>,
    /// Customers with an open complaint.
    pub complaints: HashSet<CustomerId>,
    /// What people were sent lately.
    pub history: History,
}

/// What one campaign knows from the ledger about the people of its segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// People who must not be written to.
    pub suppressed: HashSet<CustomerId>,
    /// People who asked for fewer letters.
    pub wants_fewer: HashSet<CustomerId>,
    /// What people have heard from the campaign, may have heard, or are promised.
    pub told: Told,
}

/// Past messages, found by person or by address: two accounts of one mailbox share its peace.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    times: Vec<DateTime<Utc>>,
    by_customer: HashMap<CustomerId, Vec<usize>>,
    by_address: HashMap<String, Vec<usize>>,
}

impl History {
    /// Takes the messages the ledger reports.
    #[must_use]
    pub(super) fn new(heard: Vec<Heard>) -> Self {
        let mut history = Self::default();
        for (at, message) in heard.into_iter().enumerate() {
            history.times.push(message.at);
            history.by_customer.entry(message.customer_id).or_default().push(at);
            if let Some(address) = message.address_hash {
                history.by_address.entry(address).or_default().push(at);
            }
        }
        history
    }

    /// How many messages the person or the address got after `since`.
    #[must_use]
    pub(super) fn since(&self, person: &Person, since: DateTime<Utc>) -> usize {
        let own = self.by_customer.get(&person.customer).map(Vec::as_slice).unwrap_or_default();
        let shared = person.address_hash.as_ref().and_then(|hash| self.by_address.get(hash)).map(Vec::as_slice).unwrap_or_default();
        let found: HashSet<usize> = own.iter().chain(shared).copied().filter(|at| self.times[*at] > since).collect();
        found.len()
    }
}

/// The rules one campaign's people are examined by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Which gates apply.
    pub kind: Kind,
    /// How the message would travel.
    pub channel: Channel,
    /// How long a person has peace after any message.
    pub cool_off: Option<TimeDelta>,
    /// How many messages are too many.
    pub cap: Option<Cap>,
    /// How long a person has peace who asked for fewer letters; marketing only.
    pub fewer: Option<TimeDelta>,
    /// The plan's time.
    pub as_of: DateTime<Utc>,
}

/// The first of the gates up to the cap that stops a person; none where they all let the person pass.
#[must_use]
pub(super) fn stopped(person: &Person, rules: &Rules, facts: &Facts, record: &Record) -> Option<Reason> {
    let Rules { kind, channel, cool_off, cap, fewer, as_of } = *rules;
    let customer = &person.customer;
    let to_the_person = kind != Kind::Internal;
    if let Some(name) = &person.missing {
        return Some(Reason::MissingField(name.clone()));
    }
    let needs_address = to_the_person && channel == Channel::Email;
    if facts.deleted.contains(customer) || (needs_address && person.address_hash.is_none()) {
        return Some(Reason::NoAddress);
    }
    let consent = match kind {
        Kind::Marketing => facts.marketing.get(customer) == Some(&true),
        Kind::Service => facts.service.get(customer) != Some(&false),
        Kind::Internal => true,
    };
    if !consent {
        return Some(Reason::NoConsent);
    }
    if to_the_person && record.suppressed.contains(customer) {
        return Some(Reason::Suppressed);
    }
    if let (Some(id), Some(occasion)) = (&person.message_id, &person.occasion)
        && record.told.knows(id, customer, occasion, person.step)
    {
        return Some(Reason::AlreadyTold);
    }
    if kind == Kind::Marketing && facts.complaints.contains(customer) {
        return Some(Reason::OpenComplaint);
    }
    let fewer = fewer.filter(|_| kind == Kind::Marketing && record.wants_fewer.contains(customer));
    if to_the_person && cool_off.max(fewer).is_some_and(|peace| facts.history.since(person, as_of - peace) > 0) {
        return Some(Reason::CoolOff);
    }
    if to_the_person && cap.is_some_and(|cap| facts.history.since(person, as_of - cap.within.delta()) >= cap.messages as usize) {
        return Some(Reason::Capped);
    }
    None
}

/// How often each reason occurs; with the people who pass it makes up the segment.
#[must_use]
pub(super) fn tally<'a>(reasons: impl Iterator<Item = &'a Reason>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason.key()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::config::Period;

    pub(in crate::campaign) fn as_of() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap()
    }

    pub(in crate::campaign) fn person(id: &str) -> Person {
        let address = format!("{id}@shop.example");
        Person {
            customer: CustomerId::new(id),
            address_hash: Some(format!("#{address}")),
            address: Some(address),
            occasion: Some("o".into()),
            step: 1,
            message_id: Some(MessageId::new(format!("m-{id}"))),
            missing: None,
            zone: Tz::UTC,
        }
    }

    fn rules(kind: Kind) -> Rules {
        Rules {
            kind,
            channel: if kind == Kind::Internal { Channel::Webhook } else { Channel::Email },
            cool_off: Some(TimeDelta::days(7)),
            cap: Some(Cap { messages: 2, within: Period::days(30) }),
            fewer: Some(TimeDelta::days(90)),
            as_of: as_of(),
        }
    }

    fn heard(customer: &str, days_ago: i64) -> Heard {
        Heard {
            customer_id: CustomerId::new(customer),
            address_hash: Some(format!("#{customer}@shop.example")),
            at: as_of() - TimeDelta::days(days_ago),
        }
    }

    /// A person who would be stopped by every gate, and the facts that say so.
    fn worst() -> (Person, Facts, Record) {
        let one = CustomerId::new("p");
        let person = Person { missing: Some("last_product".into()), address: None, address_hash: None, ..person("p") };
        let facts = Facts {
            deleted: HashSet::from([one.clone()]),
            marketing: HashMap::from([(one.clone(), false)]),
            service: HashMap::from([(one.clone(), false)]),
            complaints: HashSet::from([one.clone()]),
            history: History::new(vec![heard("p", 1), heard("p", 2)]),
        };
        let told = Told { messages: HashSet::from([MessageId::new("m-p")]), ..Told::default() };
        let record = Record { suppressed: HashSet::from([one]), told, ..Record::default() };
        (person, facts, record)
    }

    /// Takes what stopped a person away, as if it had never been.
    fn lift(reason: &Reason, person: &mut Person, facts: &mut Facts, record: &mut Record) {
        let one = person.customer.clone();
        match reason {
            Reason::MissingField(_) => person.missing = None,
            Reason::NoAddress => {
                facts.deleted.clear();
                person.address_hash = Some("#".into());
            }
            Reason::NoConsent => {
                facts.marketing.insert(one.clone(), true);
                facts.service.remove(&one);
            }
            Reason::Suppressed => record.suppressed.clear(),
            Reason::AlreadyTold => record.told = Told::default(),
            Reason::OpenComplaint => facts.complaints.clear(),
            Reason::CoolOff => facts.history = History::new(vec![heard("p", 8), heard("p", 9)]),
            Reason::Capped => facts.history = History::new(vec![heard("p", 8), heard("p", 31)]),
            _ => {}
        }
    }

    fn path(kind: Kind) -> Vec<String> {
        let (mut person, mut facts, mut record) = worst();
        let mut path = Vec::new();
        while let Some(reason) = stopped(&person, &rules(kind), &facts, &record) {
            path.push(reason.key());
            lift(&reason, &mut person, &mut facts, &mut record);
        }
        path
    }

    #[test]
    fn marketing_passes_every_gate_in_the_contract_s_order() {
        assert_eq!(
            path(Kind::Marketing),
            [
                "missing_field:last_product",
                "no_address",
                "no_consent",
                "suppressed",
                "already_told",
                "open_complaint",
                "cool_off",
                "capped"
            ]
        );
    }

    #[test]
    fn whoever_wants_fewer_letters_has_longer_peace_from_marketing() {
        let facts = |days| Facts {
            marketing: HashMap::from([(CustomerId::new("p"), true)]),
            history: History::new(vec![heard("p", days)]),
            ..Facts::default()
        };
        let record = Record { wants_fewer: HashSet::from([CustomerId::new("p")]), ..Record::default() };
        let reason = |kind, days, record: &Record| stopped(&person("p"), &rules(kind), &facts(days), record);
        assert_eq!(reason(Kind::Marketing, 8, &Record::default()), None);
        assert_eq!(reason(Kind::Marketing, 89, &record), Some(Reason::CoolOff));
        assert_eq!(reason(Kind::Marketing, 91, &record), None);
        assert_eq!(reason(Kind::Service, 8, &record), None, "a note about the person's own order still comes");
    }

    #[test]
    fn service_needs_no_marketing_consent_and_goes_out_while_a_complaint_is_open() {
        assert_eq!(
            path(Kind::Service),
            ["missing_field:last_product", "no_address", "no_consent", "suppressed", "already_told", "cool_off", "capped"]
        );
        let never_asked = stopped(&person("p"), &rules(Kind::Service), &Facts::default(), &Record::default());
        assert_eq!(never_asked, None);
        let marketing = stopped(&person("p"), &rules(Kind::Marketing), &Facts::default(), &Record::default());
        assert_eq!(marketing, Some(Reason::NoConsent), "who was never asked has not agreed");
    }

    #[test]
    fn internal_is_not_gated_by_the_person_s_mail() {
        assert_eq!(path(Kind::Internal), ["missing_field:last_product", "no_address", "already_told"]);
    }

    #[test]
    fn two_accounts_of_one_mailbox_share_its_peace() {
        let facts = Facts {
            marketing: HashMap::from([(CustomerId::new("b"), true)]),
            history: History::new(vec![heard("a", 1)]),
            ..Facts::default()
        };
        let other = Person { address_hash: Some("#a@shop.example".into()), ..person("b") };
        assert_eq!(stopped(&other, &rules(Kind::Marketing), &facts, &Record::default()), Some(Reason::CoolOff));
    }

    #[test]
    fn reasons_read_back_what_they_write() {
        for reason in [
            Reason::MissingField("a:b".into()),
            Reason::NoAddress,
            Reason::NoConsent,
            Reason::Suppressed,
            Reason::AlreadyTold,
            Reason::OpenComplaint,
            Reason::CoolOff,
            Reason::Capped,
            Reason::Outranked("win-back".into()),
            Reason::DuplicateAddress,
            Reason::Holdout,
        ] {
            assert_eq!(Reason::read(&reason.key(), reason.detail()), Some(reason));
        }
        assert_eq!(Reason::read("because", None), None);
    }

    proptest! {
        #[test]
        fn lifting_a_reason_only_ever_moves_a_person_further(bits in 0u8..=255, kind in 0usize..3) {
            let kind = [Kind::Marketing, Kind::Service, Kind::Internal][kind];
            let (mut person, mut facts, mut record) = worst();
            let all = [Reason::MissingField("x".into()), Reason::NoAddress, Reason::NoConsent, Reason::Suppressed, Reason::AlreadyTold,
                Reason::OpenComplaint, Reason::CoolOff, Reason::Capped];
            for (bit, reason) in all.iter().enumerate() {
                if bits >> bit & 1 == 1 {
                    lift(reason, &mut person, &mut facts, &mut record);
                }
            }
            let mut before = None;
            while let Some(reason) = stopped(&person, &rules(kind), &facts, &record) {
                prop_assert!(before.is_none_or(|order| reason.order() > order));
                before = Some(reason.order());
                lift(&reason, &mut person, &mut facts, &mut record);
            }
        }
    }
}
