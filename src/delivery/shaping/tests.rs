use proptest::prelude::*;

use super::*;
use crate::{ledger::fixture, secret::Secret};

const RELAY: &str = "relay.example";

fn start() -> DateTime<Utc> {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

async fn shaper(ledger: &Ledger, settings: &str, now: DateTime<Utc>) -> Shaper {
    let keys = Keys::new(Secret::new("0123456789abcdef"));
    Shaper::open(&toml::from_str(settings).unwrap(), RELAY, chrono_tz::Europe::Berlin, &keys, ledger, now).await.unwrap()
}

fn too_fast(of_relay: bool) -> Outcome {
    Outcome::Deferred { reply: Some("421 4.7.0 [TS01] temporarily deferred".into()), after: None, of_relay }
}

#[tokio::test]
async fn who_was_too_fast_waits_and_the_others_do_not() {
    let root = tempfile::tempdir().unwrap();
    let ledger = fixture::open(root.path()).await;
    let now = start();
    let mut pace = shaper(&ledger, "", now).await;
    for domain in ["yahoo.com", "own.example", "gmail.com"] {
        assert_eq!(pace.ask(domain, now), Go::Now);
    }
    pace.done("yahoo.com", Some(&too_fast(false)), now);
    pace.done("own.example", Some(&too_fast(false)), now);
    let minute = Go::At(now + TimeDelta::minutes(1));
    assert_eq!([pace.ask("yahoo.com", now), pace.ask("own.example", now), pace.ask("gmail.com", now)], [minute, minute, Go::Now]);
    pace.keep(&ledger).await.unwrap();
    let kept = ledger.slowed_down(now).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().any(|one| one.name == "yahoo.com") && kept.iter().all(|one| !one.name.contains("own")), "{kept:?}");

    // The next run heeds it, and lets one go first.
    let mut pace = shaper(&ledger, "", now).await;
    assert_eq!([pace.ask("yahoo.com", now), pace.ask("own.example", now)], [minute, minute]);
    let later = now + TimeDelta::minutes(1);
    assert_eq!(pace.ask("yahoo.com", later), Go::Now);
    assert_eq!(pace.ask("yahoo.com", later), Go::Behind, "one at a time");
    pace.done("yahoo.com", Some(&Outcome::Accepted(None)), later);
    let both = [pace.ask("yahoo.com", later), pace.ask("yahoo.com", later)];
    assert_eq!(both, [Go::Now; 2]);
    for _ in 0..2 {
        pace.done("yahoo.com", Some(&Outcome::Accepted(None)), later);
    }
    for _ in 0..5 {
        assert_eq!(pace.ask("yahoo.com", later), Go::Now);
        pace.done("yahoo.com", Some(&Outcome::Accepted(None)), later);
    }
    pace.keep(&ledger).await.unwrap();
    let left = ledger.pauses(RELAY, later).await.unwrap();
    assert!(left.iter().all(|(name, ..)| name != "yahoo.com"), "all is as before: {left:?}");

    pace.ask("gmail.com", later);
    pace.done("gmail.com", Some(&too_fast(true)), later);
    assert!(matches!(pace.ask("elsewhere.example", later), Go::At(at) if at == later + TimeDelta::minutes(1)), "the relay itself was told");
}

#[tokio::test]
async fn a_provider_has_its_own_rate_and_nobody_is_told_to_wait_for_less_than_it_takes() {
    let root = tempfile::tempdir().unwrap();
    let ledger = fixture::open(root.path()).await;
    let settings =
        "[providers.google]\ndomains = [\"gmail.com\", \"GoogleMail.com\"]\nrate = { messages = 1, within = \"10s\" }\nat_once = 2";
    let now = start();
    let mut pace = shaper(&ledger, settings, now).await;
    assert_eq!(pace.ask("gmail.com", now), Go::Now);
    let seconds = |go: Go| if let Go::At(at) = go { (at - now).num_seconds() } else { 0 };
    assert_eq!(seconds(pace.ask("googlemail.com", now)), 10);
    pace.waits("googlemail.com", true);
    assert_eq!(seconds(pace.ask("gmail.com", now)), 20, "behind whoever waits already");
    assert_eq!(pace.ask("web.de", now), Go::Now);
    pace.waits("googlemail.com", false);
    let now = now + TimeDelta::seconds(10);
    assert_eq!(pace.ask("gmail.com", now), Go::Now);
    let now = now + TimeDelta::seconds(10);
    assert_eq!(pace.ask("gmail.com", now), Go::Behind, "two are on their way");
}

#[test]
fn what_cannot_be_meant_is_told() {
    let found = |settings: &str| -> Vec<String> {
        let settings: ShapingSettings = toml::from_str(settings).unwrap();
        settings.mistakes().into_iter().map(|diagnosis| format!("{}: {}", diagnosis.message, diagnosis.hint.unwrap())).collect()
    };
    assert_eq!(found("rate = { messages = 5, within = \"1s\" }\nwarm_up = [50, 50, 100]"), [""; 0]);
    for (settings, said) in [
        ("rate = { messages = 0, within = \"1s\" }", "lets no message go"),
        ("rate = { messages = 5, within = \"0s\" }", "lets no message go"),
        ("warm_up = [100, 50]", "does not grow"),
        ("warm_up = [0, 50]", "does not grow"),
        ("[providers.g]\ndomains = []", "names no domain"),
        ("[providers.g]\ndomains = [\"@gmail.com\"]", "which is no domain"),
        ("[providers.a]\ndomains = [\"gmail.com\"]\n[providers.b]\ndomains = [\"Gmail.com\"]", "as `a` does"),
        ("[providers.g]\ndomains = [\"gmail.com\"]\nat_once = 0", "lets no message go"),
    ] {
        let found = found(settings);
        assert!(found.len() == 1 && found[0].contains(said), "{settings}: {found:?}");
    }
}

#[test]
fn a_day_ends_at_midnight_where_the_brand_is() {
    let zone = chrono_tz::Europe::Berlin;
    let of = |text: &str| tomorrow(zone, text.parse().unwrap()).to_rfc3339();
    assert_eq!(of("2026-11-22T22:59:59Z"), "2026-11-22T23:00:00+00:00");
    assert_eq!(of("2026-11-22T23:00:00Z"), "2026-11-23T23:00:00+00:00");
    assert_eq!(of("2026-03-28T23:30:00Z"), "2026-03-29T22:00:00+00:00", "a day of 23 hours");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is asked for and answered in whatever order, a provider is never sent more than its rate, and nobody is told to wait for ever.
    #[test]
    fn no_order_of_events_breaks_the_pace(
        asks in prop::collection::vec((0_usize..4, 0_i64..2_000, 0_u8..4), 1..300), messages in 1_u32..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let mut pace = runtime.block_on(async {
            let ledger = fixture::open(root.path()).await;
            shaper(&ledger, &format!("[providers.p]\ndomains = [\"p.example\"]\nrate = {{ messages = {messages}, within = \"1s\" }}\nat_once = 3"), start()).await
        });
        let domains = ["p.example", "gmail.com", "a.example", "b.example"];
        let (mut now, mut under_way, mut to_provider): (_, Vec<&str>, Vec<DateTime<Utc>>) = (start(), Vec::new(), Vec::new());
        for (whom, pause, answer) in asks {
            now += TimeDelta::milliseconds(pause);
            let domain = domains[whom];
            match pace.ask(domain, now) {
                Go::Now => {
                    under_way.push(domain);
                    if whom == 0 { to_provider.push(now); }
                }
                Go::Behind => prop_assert!(under_way.contains(&domain) || domain != "p.example"),
                Go::At(at) => prop_assert!(at > now && at - now <= TimeDelta::hours(2), "{at}"),
            }
            prop_assert!(under_way.iter().filter(|domain| **domain == "p.example").count() <= 3);
            if answer > 0 && !under_way.is_empty() {
                let domain = under_way.remove(0);
                let outcome = match answer { 1 => Some(Outcome::Accepted(None)), 2 => Some(too_fast(false)), _ => None };
                pace.done(domain, outcome.as_ref(), now);
            }
        }
        for (first, begin) in to_provider.iter().enumerate() {
            let within = to_provider[first..].iter().filter(|at| **at - *begin <= TimeDelta::seconds(1)).count();
            prop_assert!(within as u32 <= 2 * messages + 1, "{within} within a second at {messages}/s");
        }
        // Everybody may go at last.
        for domain in under_way.drain(..) { pace.done(domain, Some(&Outcome::Accepted(None)), now); }
        let mut tries = 0;
        for domain in domains {
            while let Go::At(at) = pace.ask(domain, now) { now = at; tries += 1; prop_assert!(tries < 50); }
            pace.done(domain, Some(&Outcome::Accepted(None)), now);
        }
    }
}
