//! Mail servers that fail in every way there is: the account balances each time, nobody counts as written to whom no server took a letter
//! for, and when the server is sound again everybody who still waits gets theirs, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::support::{
    Folder,
    approved::{Approved, Delivered},
    relay::{KIND, Manner, Relay},
    sink::Sink,
    skip,
};

/// Deliveries at once.
const WORKERS: usize = 3;
/// Connections at once, and the most messages each of them may lose before the relay counts as broken.
const CONNECTIONS: usize = 4;
const LOST: usize = 3;

/// What is expected of everybody.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// All come to this state, and the command ends with that code.
    All(&'static str, i32),
    /// Nothing can leave: all wait, the command fails with these words.
    Closed(&'static str),
    /// The relay breaks: some come to this state, the others wait, and the command fails.
    Breaks(&'static str),
}

/// `smtp-sink`'s switches, and what they mean for a plan.
const CASES: &[(&[&str], Fate)] = &[
    // It answers, in its own way.
    (&["-p"], Fate::All("accepted", 0)),
    (&["-8", "-E"], Fate::All("accepted", 0)),
    (&["-W", "DATA:1:20"], Fate::All("accepted", 0)),
    (&["-w", "1"], Fate::All("accepted", 0)),
    // One conversation at a time, ended only by us.
    (&["-m", "1"], Fate::All("accepted", 0)),
    // It refuses, for good or for now.
    (&["-f", "RCPT"], Fate::All("rejected", 3)),
    (&["-f", "RCPT", "-B", "550 5.1.1 no such mailbox"], Fate::All("rejected", 3)),
    (&["-f", "."], Fate::All("rejected", 3)),
    (&["-A", "0"], Fate::All("rejected", 3)),
    (&["-r", "RCPT"], Fate::All("deferred", 3)),
    (&["-r", "DATA"], Fate::All("deferred", 3)),
    (&["-r", "."], Fate::All("deferred", 3)),
    (&["-Q", "."], Fate::All("deferred", 3)),
    // It takes nothing at all.
    (&["-f", "MAIL"], Fate::Closed("takes no mail from the sender")),
    (&["-e"], Fate::Closed("does not let us in")),
    (&["-f", "CONNECT"], Fate::Closed("does not let us in")),
    (&["-q", "CONNECT"], Fate::Closed("cannot be reached")),
    (&["-q", "EHLO"], Fate::Closed("cannot be reached")),
    // It breaks off: before the first byte of a letter it was not sent, after its last nobody can know.
    (&["-Q", "RCPT"], Fate::Breaks("deferred")),
    (&["-q", "RCPT"], Fate::Breaks("deferred")),
    (&["-q", "DATA"], Fate::Breaks("deferred")),
    (&["-q", "."], Fate::Breaks("unknown")),
];

#[test]
fn whatever_switch_smtp_sink_is_started_with_the_account_balances() {
    let shop = Approved::practice();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((switches, fate)) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(sink) = Sink::start(switches) else { return skip("smtp-sink is not installed (Debian package postfix)") };
                    let mut folder = shop.copy();
                    folder.send_to(&sink);
                    // A campaign stops by itself where too many mailboxes do not exist; that is another promise.
                    folder.set("PERENNIAL__DELIVERY__BREAKER__BOUNCES", "100%");
                    if matches!(switches[0], "-W" | "-w") {
                        folder.set("PERENNIAL__DELIVERY__SMTP__CONNECTIONS", "32");
                    }
                    let delivered = shop.deliver(&folder, &[]);
                    eprintln!("smtp-sink {}: {}", switches.join(" "), tally(&delivered));
                    as_fated(*fate, &delivered, shop.letters.len());
                    // A letter that was refused after its dot lies in the sink as well.
                    let left = ["accepted", "unknown", "rejected", "deferred"];
                    seen_as_told(&delivered, &sink.message_ids(), &left);
                    if switches.contains(&"550 5.1.1 no such mailbox") {
                        let suppressed = folder.json(&["suppress", "list"]);
                        assert_eq!(suppressed.as_array().map(Vec::len), Some(shop.letters.len()), "every dead address, and it alone");
                    }
                    when_sound_again(&shop, folder, &delivered, &sink.message_ids());
                }
            });
        }
    });
}

#[test]
fn a_server_that_ends_in_the_middle_leaves_nobody_behind() {
    let shop = Approved::practice();
    for count in ["1", "17"] {
        let Some(sink) = Sink::start(&["-M", count]) else { return skip("smtp-sink is not installed (Debian package postfix)") };
        let mut folder = shop.copy();
        folder.send_to(&sink);
        let delivered = shop.deliver(&folder, &[]);
        eprintln!("smtp-sink -M {count}: {}", tally(&delivered));
        assert_eq!(delivered.answer.code, 1);
        assert!(delivered.count("accepted") <= count.parse().unwrap());
        assert!(delivered.count("unknown") <= CONNECTIONS * LOST);
        assert!(delivered.count("waiting") > 0);
        seen_as_told(&delivered, &sink.message_ids(), &["accepted", "unknown"]);
        when_sound_again(&shop, folder, &delivered, &sink.message_ids());
    }
}

/// What a server thinks of a person: the command at which it says no, and how.
fn opinion(address: &str) -> Option<(&'static str, &'static str)> {
    match address.bytes().map(u32::from).sum::<u32>() % 8 {
        0 => Some(("RCPT", "450 4.2.1 come back later")),
        1 => Some(("RCPT", "550 5.1.1 no such mailbox")),
        2 => Some(("RCPT", "550 5.7.1 not from you")),
        3 => Some(("DATA", "451 4.3.0 not now")),
        4 => Some((".", "452 4.3.1 the disk is full")),
        5 => Some((".", "554 5.6.0 not like this")),
        _ => None,
    }
}

#[test]
fn refusals_for_good_and_for_now_in_one_conversation_are_told_apart() {
    let answer = |verb: &str, address: &str| opinion(address).filter(|(at, _)| *at == verb).map(|(_, reply)| reply);
    // Of two people in a row one may be refused; a server may still ask for the letter then, and gets none (RFC 2920, 3.1).
    let careless = |verb: &str, address: &str| {
        let refused = opinion(address).filter(|(at, _)| *at == verb).map(|(_, reply)| reply);
        refused.or((verb == "DATA").then_some("354 go on"))
    };
    let shop = Approved::practice();
    for manner in [Manner { answer, ..KIND }, Manner { answer, pipelining: false, ..KIND }, Manner { answer: careless, ..KIND }] {
        let relay = Relay::start(manner);
        let mut folder = shop.copy();
        folder.send_to_port(relay.port);
        folder.set("PERENNIAL__DELIVERY__BREAKER__BOUNCES", "100%");
        let delivered = shop.deliver(&folder, &[]);
        eprintln!("refusals, pipelining {}: {}", manner.pipelining, tally(&delivered));
        assert_eq!(delivered.answer.code, 3, "{delivered:#?}");
        let mut dead = 0;
        for (id, address) in &shop.letters {
            let line = &delivered.lines[id];
            let (state, reason) = match opinion(&address.to_lowercase()) {
                None => ("accepted", None),
                Some((_, reply)) if reply.starts_with('4') => ("deferred", None),
                Some((_, reply)) if reply.contains("5.1.1") => ("rejected", Some("hard_bounce")),
                Some(_) => ("rejected", Some("refused")),
            };
            dead += usize::from(reason == Some("hard_bounce"));
            assert_eq!((line.state.as_str(), line.reason.as_deref()), (state, reason), "{line:?}");
            if let Some((_, reply)) = opinion(&address.to_lowercase()) {
                assert_eq!(line.reply.as_deref(), Some(reply));
            }
        }
        assert!(dead > 0 && delivered.count("deferred") > 0, "{delivered:#?}");
        let log = relay.log();
        let everybody: BTreeSet<String> = shop.letters.values().map(|address| address.to_lowercase()).collect();
        assert_eq!(log.asked, everybody, "nobody else was asked for");
        assert_eq!(log.ids().into_keys().collect::<Vec<_>>(), delivered.ids("accepted"));
        assert_eq!(log.taken.len(), delivered.count("accepted"), "each once, and no empty one");
        let suppressed = folder.json(&["suppress", "list"]);
        assert_eq!(suppressed.as_array().map(Vec::len), Some(dead), "{suppressed}");
    }
}

#[test]
fn a_server_that_takes_its_time_over_every_byte_gets_every_letter_once() {
    let shop = Approved::practice();
    let relay = Relay::start(Manner { pace: Duration::from_millis(50), ..KIND });
    let mut folder = shop.copy();
    folder.send_to_port(relay.port);
    let delivered = shop.deliver(&folder, &["--first", "8"]);
    assert_eq!((delivered.answer.code, delivered.count("accepted")), (0, 8), "{delivered:#?}");
    assert_eq!(delivered.count("waiting") + 8, shop.letters.len(), "the others wait");
    assert_eq!(relay.log().ids().into_keys().collect::<Vec<_>>(), delivered.ids("accepted"));
    assert_eq!(relay.log().taken.len(), 8, "each once");
}

/// The account in a line.
fn tally(delivered: &Delivered) -> String {
    let states = ["accepted", "rejected", "deferred", "waiting", "unknown", "cancelled"].map(|state| (delivered.count(state), state));
    let states = states.into_iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}"));
    format!("{}; ended with {}", states.collect::<Vec<_>>().join(", "), delivered.answer.code)
}

#[track_caller]
fn as_fated(fate: Fate, delivered: &Delivered, letters: usize) {
    let message = delivered.said["error"]["message"].as_str().unwrap_or_default();
    let (code, counted) = match fate {
        Fate::All(state, code) => (code, delivered.count(state)),
        Fate::Closed(words) => {
            assert!(message.contains(words), "{message}");
            (1, delivered.count("waiting"))
        }
        Fate::Breaks(state) => {
            let some = delivered.count(state);
            assert!(some > 0 && some <= CONNECTIONS * LOST, "{some} are {state}");
            assert!(message.contains("cannot be reached"), "{message}");
            (1, some + delivered.count("waiting"))
        }
    };
    assert_eq!((delivered.answer.code, counted), (code, letters), "{fate:?}: {delivered:#?}");
}

/// What is accepted was seen, and what was seen is in one of `states`; nothing was seen twice.
#[track_caller]
fn seen_as_told(delivered: &Delivered, seen: &BTreeMap<String, usize>, states: &[&str]) {
    let unseen: Vec<_> = delivered.ids("accepted").into_iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(unseen.is_empty(), "accepted by nobody: {unseen:?}");
    for (id, count) in seen {
        assert_eq!(*count, 1, "{id} was seen more than once");
        let state = delivered.lines.get(id).map(|line| line.state.as_str());
        assert!(state.is_some_and(|state| states.contains(&state)), "{id} was seen, and the account says {state:?}");
    }
}

/// Everybody who still waits gets their letter from a sound server, and nobody who may have had it gets it again.
#[track_caller]
fn when_sound_again(shop: &Approved, mut folder: Folder, before: &Delivered, seen: &BTreeMap<String, usize>) {
    let relay = Relay::start(KIND);
    folder.send_to_port(relay.port);
    folder.set("PERENNIAL__DELIVERY__SMTP__CONNECTIONS", "4");
    let after = shop.deliver(&folder, &[]);
    assert_eq!(after.answer.code, 0, "{after:#?}");
    assert_eq!(relay.log().ids().into_keys().collect::<Vec<_>>(), before.ids("waiting"), "whoever waited, and nobody else");
    assert_eq!(relay.log().taken.len(), before.count("waiting"), "each once");
    assert!(before.ids("waiting").into_iter().all(|id| !seen.contains_key(id)), "no server has seen them before");
    assert_eq!(after.count("accepted"), before.count("accepted") + before.count("waiting"), "{after:#?}");
    for state in ["unknown", "rejected", "deferred"] {
        assert_eq!(after.ids(state), before.ids(state), "{state}");
    }
}
