//! What the practice world promises, checked on its records.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    SandboxSettings, World,
    moment::{DAY, HOUR, Moment},
    records::{Contact, Customer, Order, Record, Stream, Ticket},
};

const TONIGHT: &str = "2026-11-22T01:00:00Z";
const DATES: [&str; 5] = ["2024-02-29T01:00:00Z", "2026-03-29T01:00:00Z", TONIGHT, "2027-12-31T23:59:59Z", "2031-07-01T00:00:00Z"];

fn world(as_of: &str) -> World {
    World::new(&SandboxSettings::default(), as_of.parse().unwrap())
}

fn all(world: &World, stream: Stream) -> Vec<Record> {
    world.page(stream, 0..usize::MAX)
}

fn json(world: &World, stream: Stream) -> Vec<serde_json::Value> {
    all(world, stream).iter().map(|record| serde_json::to_value(record).unwrap()).collect()
}

fn contacts(world: &World) -> Vec<Contact> {
    all(world, Stream::Contacts)
        .into_iter()
        .filter_map(|record| if let Record::Contact(contact) = record { Some(contact) } else { None })
        .collect()
}

fn customers(world: &World) -> Vec<Customer> {
    all(world, Stream::Customers)
        .into_iter()
        .filter_map(|record| if let Record::Customer(customer) = record { Some(customer) } else { None })
        .collect()
}

fn orders(world: &World) -> Vec<Order> {
    all(world, Stream::Orders).into_iter().filter_map(|record| if let Record::Order(order) = record { Some(order) } else { None }).collect()
}

fn tickets(world: &World) -> Vec<Ticket> {
    all(world, Stream::Tickets)
        .into_iter()
        .filter_map(|record| if let Record::Ticket(ticket) = record { Some(ticket) } else { None })
        .collect()
}

/// What tells one record of a stream from another.
fn key(record: &serde_json::Value) -> String {
    match record["id"].as_str() {
        Some(id) => id.to_owned(),
        None => format!("{}{}", record["currency"], record["date"]),
    }
}

#[test]
fn the_same_seed_is_the_same_world_and_another_seed_another() {
    let write = |seed: u64| {
        let world = World::new(&SandboxSettings { customers: 300, seed }, TONIGHT.parse().unwrap());
        Stream::ALL.map(|stream| serde_json::to_string(&all(&world, stream)).unwrap()).concat()
    };
    assert_eq!(write(42), write(42));
    assert_ne!(write(42), write(43));
}

#[test]
fn lists_are_ordered_complete_and_know_nothing_of_the_future() {
    let world = World::new(&SandboxSettings { customers: 1500, seed: 1 }, TONIGHT.parse().unwrap());
    for stream in Stream::ALL {
        let listed = json(&world, stream);
        let order: Vec<(String, String)> =
            listed.iter().map(|record| (record["updated_at"].as_str().unwrap().to_owned(), key(record))).collect();
        if stream != Stream::FxRates {
            assert!(order.is_sorted(), "{stream:?} is not ordered");
        }
        assert!(order.iter().all(|(updated, _)| updated.as_str() <= TONIGHT), "{stream:?} knows the future");
        let keys: HashSet<&String> = order.iter().map(|(_, key)| key).collect();
        assert_eq!(keys.len(), listed.len(), "{stream:?} names two records alike");
        assert_eq!(world.count(stream), listed.len());
        let mut unindexed: Vec<String> = world.records(stream).map(|record| serde_json::to_string(&record).unwrap()).collect();
        let mut indexed: Vec<String> = listed.iter().map(ToString::to_string).collect();
        unindexed.sort_unstable();
        indexed.sort_unstable();
        assert!(unindexed == indexed, "{stream:?} differs without an index");
    }
}

#[test]
fn a_later_date_only_adds_and_what_changed_says_when() {
    for days in [1, 45] {
        let tonight = TONIGHT.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let later = (tonight + chrono::TimeDelta::days(days)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let settings = SandboxSettings { customers: 1500, seed: 5 };
        let (before, after) = (World::new(&settings, tonight), World::new(&settings, tonight + chrono::TimeDelta::days(days)));
        for stream in Stream::ALL.into_iter().filter(|stream| *stream != Stream::OpenOrders) {
            let then: HashMap<String, serde_json::Value> = json(&before, stream).into_iter().map(|record| (key(&record), record)).collect();
            let now: HashMap<String, serde_json::Value> = json(&after, stream).into_iter().map(|record| (key(&record), record)).collect();
            let mut changed = 0;
            for (key, record) in &now {
                let updated = record["updated_at"].as_str().unwrap();
                match then.get(key) {
                    Some(same) if same == record => assert!(updated <= TONIGHT),
                    _ => {
                        changed += 1;
                        assert!(updated > TONIGHT && updated <= later.as_str(), "{stream:?} changed without saying so: {record}");
                    }
                }
            }
            let gone: Vec<&serde_json::Value> = then.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, record)| record).collect();
            // No bank works on a Sunday, and all prices are looked over at New Year.
            let (at_least, at_most) = match stream {
                Stream::FxRates => (0, now.len() / 4),
                Stream::Products => (1, now.len()),
                _ => (1, now.len() / 4),
            };
            assert!((at_least..=at_most).contains(&changed), "{stream:?}: {changed} of {} changed in {days} days", now.len());
            // What is gone belonged to people erased long before: nobody's record vanishes without having been empty for months.
            let email = match stream {
                Stream::Contacts | Stream::Customers | Stream::Orders => "email",
                Stream::Tickets | Stream::Ratings => "requester_email",
                // Consents name nobody, and rates are kept for eight years.
                Stream::Consents | Stream::FxRates => continue,
                _ => {
                    assert!(gone.is_empty());
                    continue;
                }
            };
            assert!(gone.iter().all(|record| record[email].is_null()), "{stream:?} lost a record of a living person");
        }
    }
}

/// One customer as the segments see one.
struct Seen {
    orders: usize,
    quiet: i64,
    rhythm: Option<i64>,
    /// When three orders and 150 euro, six and 350, ten and 700 were reached.
    tiers: [Option<Moment>; 3],
    first_delivered: Option<Moment>,
}

fn look(orders: &[&Order], as_of: Moment) -> Option<Seen> {
    let rate = |currency: &str| match currency {
        "EUR" => 1.0,
        "GBP" => 1.165,
        "USD" => 0.918,
        "SEK" => 0.0884,
        "PLN" => 0.232,
        _ => 0.00615,
    };
    let mut paid: Vec<&&Order> = orders.iter().filter(|order| matches!(order.status, "paid" | "partially_refunded")).collect();
    paid.sort_by_key(|order| order.ordered_at);
    let (first, last) = (paid.first()?, paid.last()?);
    let mut gaps: Vec<i64> = paid.windows(2).map(|pair| pair[1].ordered_at.day() - pair[0].ordered_at.day()).collect();
    gaps.sort_unstable();
    let mut tiers = [None; 3];
    let mut worth = 0.0;
    for (nth, order) in paid.iter().enumerate() {
        worth += order.total.hundredths() as f64 / 100.0 * rate(order.currency);
        for (tier, (orders, value)) in [(3, 150.0), (6, 350.0), (10, 700.0)].into_iter().enumerate() {
            if nth + 1 >= orders && worth >= value && tiers[tier].is_none() {
                tiers[tier] = Some(order.ordered_at);
            }
        }
    }
    Some(Seen {
        orders: paid.len(),
        quiet: as_of.day() - last.ordered_at.day(),
        rhythm: gaps.get(gaps.len() / 2).copied(),
        tiers,
        first_delivered: first.delivered_at,
    })
}

/// Who would be in each segment, by simple versions of the shipped ones.
fn segments(world: &World) -> BTreeMap<&'static str, HashSet<String>> {
    let as_of = world.as_of();
    let living: HashSet<String> =
        customers(world).into_iter().filter(|customer| customer.email.is_some()).map(|customer| customer.id).collect();
    let orders = orders(world);
    let mut histories: HashMap<&str, Vec<&Order>> = HashMap::new();
    for order in &orders {
        if let Some(customer) = order.customer_id.as_deref().filter(|customer| living.contains(*customer)) {
            histories.entry(customer).or_default().push(order);
        }
    }
    let mut found: BTreeMap<&str, HashSet<String>> = BTreeMap::new();
    for (customer, history) in histories {
        let Some(seen) = look(&history, as_of) else { continue };
        let recently = |at: Option<Moment>, days: i64| at.is_some_and(|at| at > as_of.plus(-days * DAY));
        let later_than = |percent: i64| seen.rhythm.is_some_and(|rhythm| seen.quiet * 100 > rhythm * percent);
        let lapsed = seen.orders >= 2 && seen.quiet > 60 && seen.quiet < 540 && later_than(300);
        let late = seen.quiet > 21 && seen.quiet < 540 && later_than(150);
        for (segment, is_in) in [
            ("lapsed", lapsed),
            ("at_risk", seen.orders >= 3 && late && !(seen.quiet > 60 && later_than(300))),
            ("first_thanks", recently(seen.first_delivered, 5)),
            ("loyal_thanks", seen.tiers.iter().any(|tier| recently(*tier, 7))),
            ("vip_handoff", seen.tiers[2].is_some() && late),
        ] {
            if is_in {
                found.entry(segment).or_default().insert(customer.to_owned());
            }
        }
    }
    let resolved = tickets(world).into_iter().filter(|ticket| {
        ticket.kind == "complaint" && ticket.requester_email.is_some() && ticket.resolved_at.is_some_and(|at| at > as_of.plus(-3 * DAY))
    });
    found.insert("make_it_right", resolved.map(|ticket| ticket.id).collect());
    found
}

#[test]
fn every_date_finds_people_for_all_six_segments() {
    for date in DATES {
        let found = segments(&world(date));
        let sizes: BTreeMap<&str, usize> = found.iter().map(|(segment, people)| (*segment, people.len())).collect();
        assert_eq!(sizes.len(), 6, "{date}: {sizes:?}");
        assert!(sizes.values().all(|size| *size >= 8), "{date}: {sizes:?}");
    }
}

#[test]
fn two_nights_differ_a_little() {
    let (tonight, tomorrow) = (segments(&world(TONIGHT)), segments(&world("2026-11-23T01:00:00Z")));
    for segment in ["lapsed", "at_risk", "first_thanks", "loyal_thanks", "make_it_right"] {
        let (before, after) = (&tonight[segment], &tomorrow[segment]);
        assert!(after.difference(before).count() > 0, "nobody entered {segment}");
        assert!(before.difference(after).count() > 0, "nobody left {segment}");
        assert!(before.intersection(after).count() > 0, "nobody stayed in {segment}");
    }
}

#[test]
fn names_are_as_various_as_people() {
    let contacts = contacts(&world(TONIGHT));
    let living: Vec<&Contact> = contacts.iter().filter(|contact| contact.deleted_at.is_none()).collect();
    let count = |what: &str, holds: &dyn Fn(&Contact) -> bool| {
        let found = living.iter().filter(|contact| holds(contact)).count();
        assert!(found > 0, "no contact with {what}");
        assert!(found < living.len() / 2, "most contacts have {what}");
    };
    let name = |contact: &Contact| {
        format!("{} {}", contact.first_name.as_deref().unwrap_or_default(), contact.last_name.as_deref().unwrap_or_default())
    };
    count("an apostrophe", &|contact| name(contact).contains(['\'', '’']));
    count("an umlaut", &|contact| name(contact).contains(['ä', 'ö', 'ü', 'Å']));
    count("Chinese characters", &|contact| name(contact).chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter)));
    count("Arabic letters", &|contact| name(contact).chars().any(|letter| ('\u{0600}'..='\u{06ff}').contains(&letter)));
    count("Hebrew letters", &|contact| name(contact).chars().any(|letter| ('\u{0590}'..='\u{05ff}').contains(&letter)));
    count("a very long name", &|contact| name(contact).chars().count() > 60);
    count("a single name", &|contact| contact.first_name.is_some() && contact.last_name.is_none());
    count("no name", &|contact| contact.first_name.is_none() && contact.last_name.is_none());
    count("markup in the name", &|contact| name(contact).contains('<'));
    count("no address", &|contact| contact.email.is_none());
    count("no time zone", &|contact| contact.timezone.is_none());
    let addresses: Vec<&str> = living.iter().filter_map(|contact| contact.email.as_deref()).collect();
    assert!(addresses.iter().all(|address| ["@example.com", "@example.net", "@example.org"].iter().any(|end| address.ends_with(end))));
    let locales: HashSet<&str> = living.iter().filter_map(|contact| contact.locale).collect();
    assert!(locales.len() >= 10, "{locales:?}");
}

#[test]
fn the_systems_know_the_same_people_differently() {
    let world = world(TONIGHT);
    let accounts: HashMap<String, Customer> = customers(&world).into_iter().map(|customer| (customer.id.clone(), customer)).collect();
    let by_address: HashMap<String, &Customer> =
        accounts.values().filter_map(|customer| Some((customer.email.as_ref()?.trim().to_lowercase(), customer))).collect();
    let (mut linked, mut alike, mut otherwise_spelled, mut unknown, mut shared) = (0, 0, 0, 0, 0);
    let mut seen = HashSet::new();
    for contact in contacts(&world).iter().filter(|contact| contact.deleted_at.is_none()) {
        let Some(email) = &contact.email else { continue };
        shared += usize::from(!seen.insert(email.clone()));
        match (&contact.shop_customer_id, by_address.get(email)) {
            (Some(id), _) => {
                assert!(accounts.contains_key(id), "linked to nobody");
                linked += 1;
            }
            (None, Some(customer)) => {
                alike += 1;
                otherwise_spelled += usize::from(customer.email.as_deref() != Some(email));
            }
            (None, None) => unknown += 1,
        }
    }
    assert!(linked > 2500 && alike > 300 && otherwise_spelled > 100 && unknown > 200 && shared > 3);
}

#[test]
fn money_goods_and_help_are_as_various_as_in_a_real_shop() {
    let world = world(TONIGHT);
    let orders = orders(&world);
    let with = |holds: &dyn Fn(&Order) -> bool| orders.iter().filter(|order| holds(order)).count();
    for status in ["paid", "refunded", "partially_refunded", "cancelled", "pending"] {
        assert!(with(&|order| order.status == status) > 0, "no order is {status}");
    }
    for currency in ["EUR", "GBP", "USD", "SEK", "PLN", "JPY"] {
        assert!(with(&|order| order.currency == currency) > 100, "few orders in {currency}");
    }
    assert!(with(&|order| order.customer_id.is_none()) > 100, "no guests");
    assert!(with(&|order| order.coupon_code.is_some()) > 100, "no coupons");
    assert!(with(&|order| order.line_items.len() > 3) > 100, "no large baskets");
    for order in &orders {
        let back: i64 = order.refunds.iter().map(|refund| refund.amount.hundredths()).sum();
        match order.status {
            "refunded" => assert_eq!(back, order.total.hundredths(), "{}", order.id),
            "partially_refunded" => assert!(back > 0 && back < order.total.hundredths(), "{}", order.id),
            _ => assert_eq!(back, 0),
        }
    }
    let tickets = tickets(&world);
    let open = tickets.iter().filter(|ticket| ticket.kind == "complaint" && ticket.resolved_at.is_none()).count();
    assert!((5..100).contains(&open), "{open} open complaints");
    let slow = tickets.iter().filter(|ticket| ticket.first_reply_at.is_some_and(|at| at > ticket.opened_at.plus(48 * HOUR))).count();
    assert!(slow > 100, "{slow} slow answers");
    assert!(tickets.iter().all(|ticket| ticket.resolved_at.is_some() == ticket.summary_fix.is_some()));
}

#[test]
fn a_million_customers_are_there_at_once() {
    let world = World::new(&SandboxSettings { customers: 1_000_000, seed: 42 }, TONIGHT.parse().unwrap());
    assert_eq!(world.records(Stream::Orders).take(1000).count(), 1000);
    let people = world.count(Stream::Customers);
    assert!((850_000..1_050_000).contains(&people), "{people} accounts");
    assert_eq!(world.page(Stream::Customers, people / 2..people / 2 + 250).len(), 250);
}
