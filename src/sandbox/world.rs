//! The practice world at one instant: which records each system holds, in the order their APIs list them, and what stands in each.
//!
//! Nothing is kept but who is there and, for each stream that is asked for, when each record last changed: twelve bytes a record.
//! The records themselves are made when they are read.

use std::{
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, OnceLock},
    thread,
};

use chrono::{DateTime, Utc};

use super::{
    SandboxSettings,
    basket::Basket,
    catalogue::{self, PRODUCTS, product_id},
    consent::Permission,
    dice::Dice,
    exchange,
    fate::{Attempt, Fate, Ticket},
    ids,
    life::{Arrivals, Kind, Life},
    moment::Moment,
    person::{Person, Presence},
    places::Currency,
    rating,
    records::{self, Record, Stream},
    words::Words,
};

/// The practice world as it stands at one instant.
#[derive(Debug)]
pub struct World {
    pub(super) dice: Dice,
    arrivals: Arrivals,
    as_of: Moment,
    people: OnceLock<Vec<u32>>,
    lists: [OnceLock<Arc<[Mark]>>; Stream::ALL.len()],
}

/// A record's place in its list: when it last changed, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Seconds since 1970; the world ends before they overflow in 2106.
    updated: u32,
    /// The person's slot, or the product, or the day of a rate.
    who: u32,
    /// Which of that person's records.
    nth: u16,
}

impl Mark {
    fn new(updated: Moment, who: u32, nth: u16) -> Self {
        Self { updated: u32::try_from(updated.as_seconds().max(0)).unwrap_or(u32::MAX), who, nth }
    }
}

/// A person with all that is needed to write any of that person's records.
struct Known {
    who: u32,
    life: Life,
    presence: Presence,
}

impl World {
    /// The world of these settings at `as_of`. It costs nothing until something is asked. The world lasts from 1998 to 2105; outside
    /// of that it is thinly peopled or stands still.
    #[must_use]
    pub fn new(settings: &SandboxSettings, as_of: DateTime<Utc>) -> Self {
        Self {
            dice: Dice::new(settings.seed),
            arrivals: Arrivals::for_customers(settings.customers),
            as_of: Moment::from(as_of),
            people: OnceLock::new(),
            lists: Default::default(),
        }
    }

    /// The instant it stands at.
    #[must_use]
    pub fn as_of(&self) -> Moment {
        self.as_of
    }

    /// How many records a stream has.
    #[must_use]
    pub fn count(&self, stream: Stream) -> usize {
        self.list(stream).len()
    }

    /// Where in a stream the records begin that changed at `since` or later.
    pub(super) fn position(&self, stream: Stream, since: Moment) -> usize {
        self.list(stream).partition_point(|mark| i64::from(mark.updated) < since.as_seconds())
    }

    /// Some records of a stream, ordered by the time of their last change, then by id.
    #[must_use]
    pub fn page(&self, stream: Stream, range: Range<usize>) -> Vec<Record> {
        let list = self.list(stream);
        let end = range.end.min(list.len());
        list[range.start.min(end)..end].iter().filter_map(|mark| self.record(stream, *mark)).collect()
    }

    /// All records of a stream, person by person, without an order in time and without keeping an index.
    pub fn records(&self, stream: Stream) -> impl Iterator<Item = Record> {
        let sources: Box<dyn Iterator<Item = u32>> = match stream {
            Stream::Products => Box::new(0..PRODUCTS.len() as u32),
            Stream::FxRates => Box::new(exchange::days(self.as_of)),
            _ => Box::new(self.arrivals.slots(self.as_of)),
        };
        sources.flat_map(move |who| {
            let mut marks = Vec::new();
            match stream {
                Stream::Products | Stream::FxRates => self.mark_thing(stream, who, &mut marks),
                _ => self.known(who).into_iter().for_each(|known| self.mark_person(stream, &known, &mut marks)),
            }
            marks.into_iter().filter_map(move |mark| self.record(stream, mark)).collect::<Vec<_>>()
        })
    }

    fn known(&self, who: u32) -> Option<Known> {
        let life = self.arrivals.life(&self.dice, who, self.as_of)?;
        let presence = Presence::of(&self.dice, who, &life);
        Some(Known { who, life, presence })
    }

    fn people(&self) -> &[u32] {
        self.people.get_or_init(|| {
            let slots = self.arrivals.slots(self.as_of);
            spread(slots.len(), |part| {
                let part = slots.start + part.start as u32..slots.start + part.end as u32;
                part.filter(|who| self.arrivals.life(&self.dice, *who, self.as_of).is_some()).collect()
            })
        })
    }

    fn list(&self, stream: Stream) -> &[Mark] {
        self.lists[stream as usize].get_or_init(|| {
            let mut marks = match stream {
                Stream::Products => {
                    let mut marks = Vec::new();
                    (0..PRODUCTS.len() as u32).for_each(|product| self.mark_thing(stream, product, &mut marks));
                    marks
                }
                Stream::FxRates => {
                    let mut marks = Vec::new();
                    exchange::days(self.as_of).for_each(|day| self.mark_thing(stream, day, &mut marks));
                    marks
                }
                _ => {
                    let people = self.people();
                    spread(people.len(), |part| {
                        let mut marks = Vec::new();
                        for who in &people[part] {
                            if let Some(known) = self.known(*who) {
                                self.mark_person(stream, &known, &mut marks);
                            }
                        }
                        marks
                    })
                }
            };
            // The order of ids is the order of these numbers, because every id has a fixed number of digits.
            match stream {
                Stream::Contacts | Stream::Consents => {
                    marks.sort_unstable_by_key(|mark| (mark.updated, ids::contact_number(mark.who), mark.nth))
                }
                Stream::FxRates => marks.sort_unstable_by_key(|mark| (mark.updated, mark.nth, mark.who)),
                _ => marks.sort_unstable_by_key(|mark| (mark.updated, mark.who, mark.nth)),
            }
            marks.into()
        })
    }

    fn mark_thing(&self, stream: Stream, thing: u32, marks: &mut Vec<Mark>) {
        if stream == Stream::Products {
            marks.push(Mark::new(catalogue::stock(&self.dice, thing as usize, self.as_of).1, thing, 0));
        } else {
            let published = exchange::published(thing);
            marks.extend((0..Currency::FOREIGN.len() as u16).map(|currency| Mark::new(published, thing, currency)));
        }
    }

    fn mark_person(&self, stream: Stream, known: &Known, marks: &mut Vec<Mark>) {
        let (who, life, presence) = (known.who, &known.life, &known.presence);
        let has_come = |at: Moment| at <= self.as_of;
        // Who is erased is erased everywhere: the records stay, without an address.
        let stamp = |touched: Moment| life.erased.map_or(touched, |erased| erased.max(touched));
        match stream {
            Stream::Contacts => {
                if let Some(created) = presence.contact.filter(|at| has_come(*at)) {
                    marks.push(Mark::new(stamp(self.touched(created, &[presence.linked, presence.edited])), who, 0));
                }
            }
            Stream::Consents => {
                if let Some(created) = presence.contact.filter(|at| has_come(*at)) {
                    let given = Permission::all(&self.dice, who, created);
                    marks.extend(given.iter().filter(|given| has_come(given.at)).map(|given| Mark::new(given.at, who, given.nth)));
                }
            }
            Stream::Customers => {
                if presence.in_shop {
                    marks.push(Mark::new(stamp(self.touched(life.created, &[presence.edited])), who, 0));
                }
            }
            Stream::Orders | Stream::OpenOrders => {
                let open = stream == Stream::OpenOrders;
                for (nth, placed) in life.orders.iter().enumerate() {
                    let nth = nth as u16;
                    if let Some(attempt) = Attempt::of(&self.dice, who, nth, *placed)
                        && has_come(attempt.placed)
                        && !(open && has_come(attempt.cancelled))
                    {
                        marks.push(Mark::new(stamp(attempt.touched(self.as_of)), who, nth * 2));
                    }
                    if has_come(*placed) {
                        let fate = Fate::of(&self.dice, who, nth, *placed);
                        if !(open && has_come(fate.delivered)) {
                            marks.push(Mark::new(stamp(fate.touched(self.as_of)), who, nth * 2 + 1));
                        }
                    }
                }
            }
            Stream::Tickets => {
                for nth in 0..life.placed(self.as_of).max(1) as u16 {
                    if let Some(ticket) = self.ticket(life, who, nth).filter(|ticket| has_come(ticket.opened)) {
                        marks.push(Mark::new(stamp(ticket.touched(self.as_of)), who, nth));
                    }
                }
            }
            Stream::Ratings => {
                for nth in 0..life.placed(self.as_of) as u16 {
                    let fate = Fate::of(&self.dice, who, nth, life.orders[usize::from(nth)]);
                    if let Some(rated) = fate.rated.filter(|rated| has_come(rated.at)) {
                        marks.push(Mark::new(stamp(rated.at), who, nth * 2));
                    }
                    if let Some((at, _)) = fate.ticket.and_then(|ticket| ticket.judged).filter(|(at, _)| has_come(*at)) {
                        marks.push(Mark::new(stamp(at), who, nth * 2 + 1));
                    }
                }
            }
            Stream::Products | Stream::FxRates => {}
        }
    }

    /// When a record of a person last changed: made, or one of these events.
    fn touched(&self, created: Moment, events: &[Option<Moment>]) -> Moment {
        events.iter().flatten().filter(|at| **at <= self.as_of).fold(created, |latest, at| latest.max(*at))
    }

    fn ticket(&self, life: &Life, who: u32, nth: u16) -> Option<Ticket> {
        match life.orders.get(usize::from(nth)) {
            Some(placed) => Fate::of(&self.dice, who, nth, *placed).ticket,
            None if life.kind == Kind::Lead => Ticket::of_lead(&self.dice, who, life.created),
            None => None,
        }
    }

    fn record(&self, stream: Stream, mark: Mark) -> Option<Record> {
        let updated_at = Moment::seconds(i64::from(mark.updated));
        match stream {
            Stream::Products => return Some(Record::Product(self.product(mark.who as usize, updated_at))),
            Stream::FxRates => return Some(Record::FxRate(exchange::rate(&self.dice, mark.who, mark.nth, updated_at))),
            _ => {}
        }
        let known = self.known(mark.who)?;
        Some(match stream {
            Stream::Contacts => Record::Contact(self.contact(&known, updated_at)?),
            Stream::Customers => Record::Customer(self.customer(&known, updated_at)),
            Stream::Consents => {
                let given = Permission::all(&self.dice, mark.who, known.presence.contact?);
                let given = given.into_iter().find(|given| given.nth == mark.nth)?;
                Record::Consent(records::Consent {
                    id: format!("{}-{}", ids::contact(mark.who), mark.nth),
                    contact_id: ids::contact(mark.who),
                    channel: given.channel,
                    purpose: given.purpose,
                    status: given.status,
                    at: given.at,
                    updated_at,
                })
            }
            Stream::Orders | Stream::OpenOrders => Record::Order(self.order(&known, mark.nth, updated_at)?),
            Stream::Tickets => Record::Ticket(self.help(&known, mark.nth, updated_at)?),
            Stream::Ratings => Record::Rating(self.rating(&known, mark.nth, updated_at)?),
            Stream::Products | Stream::FxRates => return None,
        })
    }

    fn come(&self, at: Moment) -> Option<Moment> {
        (at <= self.as_of).then_some(at)
    }

    /// The address a person buys and writes with, unless erased.
    fn address(&self, known: &Known) -> Option<String> {
        known.life.erased.is_none().then(|| Person::of(&self.dice, known.who, &known.life, &known.presence).shop_email)
    }

    fn product(&self, index: usize, updated_at: Moment) -> records::Product {
        let product = &PRODUCTS[index];
        let slug = product.slug();
        records::Product {
            id: product_id(index),
            name: product.name,
            category: product.category.name(),
            url: format!("https://fernwood.example/p/{slug}"),
            image_url: format!("https://fernwood.example/images/{slug}.jpg"),
            price: catalogue::price(&self.dice, index, Currency::Eur, self.as_of),
            currency: Currency::Eur.code(),
            in_stock: catalogue::stock(&self.dice, index, self.as_of).0,
            durable: product.durable,
            updated_at,
        }
    }

    fn contact(&self, known: &Known, updated_at: Moment) -> Option<records::Contact> {
        let (life, presence) = (&known.life, &known.presence);
        let created_at = presence.contact?;
        let linked = presence.linked.is_some_and(|at| at <= self.as_of);
        let mut contact = records::Contact {
            id: ids::contact(known.who),
            email: None,
            phone: None,
            first_name: None,
            last_name: None,
            honorific: None,
            locale: None,
            timezone: None,
            country: None,
            birthday: None,
            shop_customer_id: linked.then(|| ids::customer(known.who)),
            created_at,
            updated_at,
            deleted_at: life.erased.map(|erased| erased.max(created_at)),
        };
        if life.erased.is_none() {
            let person = Person::of(&self.dice, known.who, life, presence);
            let complete = presence.edited.is_none_or(|at| at <= self.as_of);
            contact.email = person.email;
            contact.phone = complete.then_some(person.phone);
            contact.first_name = person.first_name;
            contact.last_name = person.last_name;
            contact.honorific = person.honorific.filter(|_| complete);
            contact.locale = person.locale;
            contact.timezone = person.timezone;
            contact.country = Some(life.country.code);
            contact.birthday = person.birthday;
        }
        Some(contact)
    }

    fn customer(&self, known: &Known, updated_at: Moment) -> records::Customer {
        let (life, presence) = (&known.life, &known.presence);
        let mut customer = records::Customer {
            id: ids::customer(known.who),
            email: None,
            first_name: None,
            last_name: None,
            phone: None,
            locale: None,
            country: None,
            created_at: life.created,
            updated_at,
            deleted_at: life.erased,
        };
        if life.erased.is_none() {
            let person = Person::of(&self.dice, known.who, life, presence);
            customer.first_name = Person::as_typed(person.first_name.as_deref(), known.who);
            customer.last_name = Person::as_typed(person.last_name.as_deref(), known.who);
            customer.email = Some(person.shop_email);
            customer.phone = presence.edited.is_some_and(|at| at <= self.as_of).then_some(person.phone);
            customer.locale = person.locale;
            customer.country = Some(life.country.code);
        }
        customer
    }

    fn order(&self, known: &Known, number: u16, updated_at: Moment) -> Option<records::Order> {
        let (who, nth, life) = (known.who, number / 2, &known.life);
        let placed = *life.orders.get(usize::from(nth))?;
        let basket = Basket::of(&self.dice, who, nth, placed, life.country.currency);
        let fate = Fate::of(&self.dice, who, nth, placed);
        let attempt = if number.is_multiple_of(2) { Attempt::of(&self.dice, who, nth, placed) } else { None };
        let refund = fate.refund.filter(|refund| attempt.is_none() && refund.at <= self.as_of);
        let refunds = refund.map_or_else(Vec::new, |refund| {
            let lines = if refund.whole {
                0..basket.lines.len()
            } else {
                let sore = basket.sore_point(who, nth);
                sore..sore + 1
            };
            basket.give_back(lines, who, number, refund.at)
        });
        let status = match (attempt, refund) {
            (Some(attempt), _) if attempt.cancelled <= self.as_of => "cancelled",
            (Some(_), _) => "pending",
            (None, _) if fate.paid > self.as_of => "pending",
            (None, Some(_)) if refunds.len() == basket.lines.len() => "refunded",
            (None, Some(_)) => "partially_refunded",
            (None, None) => "paid",
        };
        Some(records::Order {
            id: ids::order(who, number),
            number: format!("FW-{who}-{}", u32::from(number) + 1),
            customer_id: known.presence.in_shop.then(|| ids::customer(who)),
            email: self.address(known),
            ordered_at: attempt.map_or(placed, |attempt| attempt.placed),
            updated_at,
            status,
            delivered_at: self.come(fate.delivered).filter(|_| attempt.is_none()),
            currency: life.country.currency.code(),
            total: basket.total,
            discount: basket.discount,
            coupon_code: basket.coupon.map(|(code, _)| code),
            channel: fate.channel,
            line_items: basket
                .lines
                .iter()
                .enumerate()
                .map(|(index, line)| records::LineItem {
                    line: index as i64 + 1,
                    product_id: product_id(line.product),
                    quantity: line.quantity,
                    unit_price: line.unit_price,
                })
                .collect(),
            refunds,
        })
    }

    fn help(&self, known: &Known, nth: u16, updated_at: Moment) -> Option<records::Ticket> {
        let (who, life) = (known.who, &known.life);
        let ticket = self.ticket(life, who, nth)?;
        let placed = life.orders.get(usize::from(nth)).copied();
        let basket = placed.map(|placed| Basket::of(&self.dice, who, nth, placed, life.country.currency));
        let product = basket.map(|basket| basket.lines[basket.sore_point(who, nth)].product);
        let refunded = placed.and_then(|placed| Fate::of(&self.dice, who, nth, placed).refund).map(|refund| refund.whole);
        let words = Words::of(&self.dice, who, nth, &ticket, product.map(|product| PRODUCTS[product].name), refunded);
        let (replied, resolved, closed) = (self.come(ticket.replied), self.come(ticket.resolved), self.come(ticket.closed));
        let status = match (replied, resolved, closed) {
            (_, _, Some(_)) => "closed",
            (_, Some(_), _) => "solved",
            (Some(_), _, _) => "pending",
            _ => "open",
        };
        // The help desk knows a contact by its number where the CRM had one when the conversation began.
        let is_contact = known.presence.contact.is_some_and(|at| at <= ticket.opened) && (who + u32::from(nth)) % 5 != 0;
        Some(records::Ticket {
            id: ids::ticket(who, nth),
            requester_email: self.address(known),
            requester_id: is_contact.then(|| ids::contact(who)),
            subject: words.subject,
            kind: ticket.matter.kind(),
            status,
            opened_at: ticket.opened,
            first_reply_at: replied,
            resolved_at: resolved,
            updated_at,
            satisfaction: ticket.judged.filter(|(at, _)| *at <= self.as_of).map(|(_, good)| if good { "good" } else { "bad" }),
            order_id: placed.map(|_| ids::order(who, nth * 2 + 1)),
            product_id: product.map(product_id),
            agent_name: replied.map(|_| words.agent),
            summary_fix: resolved.map(|_| words.fix),
        })
    }

    fn rating(&self, known: &Known, number: u16, updated_at: Moment) -> Option<records::Rating> {
        let (who, nth, life) = (known.who, number / 2, &known.life);
        let fate = Fate::of(&self.dice, who, nth, *life.orders.get(usize::from(nth))?);
        let rating = rating::of(&self.dice, who, number, &fate)?;
        let given_at = if number.is_multiple_of(2) { fate.rated?.at } else { fate.ticket?.judged?.0 };
        Some(records::Rating {
            id: ids::rating(who, number),
            requester_email: self.address(known),
            kind: rating.kind,
            score: rating.score,
            comment: rating.comment,
            given_at,
            updated_at,
        })
    }
}

/// Does a long count in as many parts as the machine has cores, and puts the results together in order.
fn spread<T: Send>(length: usize, part: impl Fn(Range<usize>) -> Vec<T> + Sync) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(8);
    let size = length.div_ceil(cores).max(1);
    if length < 2000 {
        return part(0..length);
    }
    thread::scope(|scope| {
        let part = &part;
        let workers: Vec<_> = (0..length).step_by(size).map(|start| scope.spawn(move || part(start..(start + size).min(length)))).collect();
        let mut all = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(some) => all.extend(some),
                Err(cause) => std::panic::resume_unwind(cause),
            }
        }
        all
    })
}
