//! Mails as mail systems write them, in `fixtures/`, and what is read from them. All are about one message of ours.

use proptest::prelude::*;

use super::{Desk, Kind, MAX_BYTES, Notice, Reference, ReturnPath, collect, read, report::Ignored};
use crate::{
    ledger::{address_hash, fixture},
    secret::{Keys, Secret},
};

const ID: &str = "4f1d0c9a7be2485fb6c3d21e0a9f7788@shop.example";

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("fixtures/", $name, ".eml")).as_slice())),*]
    };
}

const FIXTURES: [(&str, &[u8]); 22] = fixtures![
    "postfix_failed",
    "postfix_delayed",
    "postfix_delivered",
    "exim_failed",
    "office365_failed",
    "gmail_failed",
    "ses_failed",
    "several",
    "utf8",
    "base64",
    "cut",
    "footer",
    "of_a_report",
    "yahoo_complaint",
    "aol_complaint",
    "outlook_complaint",
    "qmail",
    "exchange_55",
    "out_of_office",
    "person",
    "read_receipt",
    "forwarded",
];

fn fixture(name: &str) -> &'static str {
    let bytes = FIXTURES.iter().find(|(own, _)| *own == name).unwrap().1;
    std::str::from_utf8(bytes).unwrap()
}

fn base() -> ReturnPath {
    ReturnPath::new("bounces@mail.shop.example").unwrap()
}

/// A notice in one line: what happened, which message by its id and by the return path, when, whose, and why.
fn line(notice: &Notice) -> String {
    let known = |same: bool, what| if same { what } else { "-" };
    let keys = Keys::new(Secret::new("a master key"));
    let path = notice.verp.as_deref().and_then(|local| Reference::read(&keys, local)).is_some_and(|found| ID.starts_with(&found.prefix()));
    let kind = match notice.kind {
        Kind::Failed { hard: true } => "failed hard",
        Kind::Failed { hard: false } => "failed",
        Kind::Delayed => "delayed",
        Kind::Delivered => "delivered",
        Kind::Complaint => "complaint",
        Kind::OptOut => "opt-out",
    };
    let told = [
        Some(kind.to_owned()),
        notice.status.map(|status| status.to_string()),
        Some(known(notice.original_message_id.as_deref() == Some(ID), "id").to_owned()),
        Some(known(path, "path").to_owned()),
        notice.at.map(|at| at.format("%H:%M:%S").to_string()),
        notice.recipient.clone(),
        notice.diagnostic.clone(),
    ];
    told.map(|part| part.unwrap_or_else(|| "-".to_owned())).join(" | ")
}

fn lines(mail: &[u8]) -> Result<Vec<String>, Ignored> {
    read(mail, &base()).map(|notices| notices.iter().map(line).collect())
}

#[test]
fn bounces_of_the_mail_systems_there_are_become_notices() {
    let unknown = "550 5.1.1 (address) Recipient address rejected: User unknown";
    let postfix = format!("failed hard | 5.1.1 | id | path | 10:15:43 | ann@example.com | {unknown} in virtual mailbox table");
    for (name, expected) in [
        ("postfix_failed", postfix.as_str()),
        ("cut", &postfix),
        ("footer", &postfix),
        (
            "postfix_delayed",
            "delayed | 4.4.1 | id | path | 10:15:43 | ann@example.com | connect to mx.example.com[192.0.2.25]:25: Connection timed out",
        ),
        ("exim_failed", "failed hard | 5.1.1 | id | path | 10:15:50 | ann@example.com | 550 5.1.1 No such user"),
        (
            "office365_failed",
            "failed hard | 5.1.10 | id | path | 10:15:46 | ann@contoso.example | \
             550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient (address) not found by SMTP address lookup",
        ),
        (
            "gmail_failed",
            "failed hard | 5.1.1 | id | path | 10:15:43 | ann@example.org | 550-5.1.1 The email account that you tried to reach does not \
             exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary \
             spaces. For more information,",
        ),
        // Amazon gives the message an id of its own: only the return path says which one it was.
        ("ses_failed", &format!("failed hard | 5.1.1 | - | path | 10:15:45 | ann@example.com | {unknown}")),
        ("base64", "failed hard | 5.2.1 | id | path | 10:15:43 | ann@example.com | 550 5.2.1 The mailbox of (address) is disabled"),
        ("utf8", "failed hard | 5.1.1 | id | path | 10:15:44 | jörg@bücher.example | 550 5.1.1 (address) kein Postfach für „jörg“"),
    ] {
        assert_eq!(lines(fixture(name).as_bytes()).unwrap(), [expected], "{name}");
    }
}

#[test]
fn every_recipient_of_a_report_is_told_apart() {
    assert_eq!(
        lines(fixture("postfix_delivered").as_bytes()).unwrap(),
        [
            "delivered | 2.0.0 | id | path | 10:15:43 | ann@example.com | 250 2.0.0 Ok: queued as 4YTB",
            "delivered | 2.0.0 | id | path | 10:15:43 | ben@shop.example | delivered to maildir",
            "delivered | 2.0.0 | id | path | 10:15:43 | staff@shop.example | -",
        ]
    );
    assert_eq!(
        lines(fixture("several").as_bytes()).unwrap(),
        [
            "failed | 5.2.2 | - | - | 10:15:43 | ann+shop@example.com | 552 5.2.2 Over quota",
            "failed | 5.7.1 | - | - | 10:15:43 | ben+2024@example.com | 550 5.7.1 Message from (address) blocked, see \
             https://blocklist.example/192.0.2.7",
            "failed hard | 5.4.4 | - | - | 10:15:43 | - | -",
            "failed | 5.1.8 | - | - | 10:15:43 | cy@example.com | 553 5.1.8 Domain of sender address does not exist",
            "failed hard | 5.1.0 | - | - | 10:15:43 | dee@example.com | 550 #5.1.0 Address rejected.",
            "failed | 5.0.0 | - | - | 10:15:43 | eva@example.com | 550 User unknown",
            "delayed | 4.2.2 | - | - | 10:15:43 | fay@example.com | -",
        ]
    );
}

#[test]
fn a_report_within_a_returned_message_is_not_read() {
    assert_eq!(lines(fixture("of_a_report").as_bytes()).unwrap(), ["failed | 5.2.2 | - | - | 12:00:00 | postmaster@example.org | -"]);
}

#[test]
fn complaints_become_notices_with_what_the_provider_tells() {
    assert_eq!(lines(fixture("yahoo_complaint").as_bytes()).unwrap(), ["complaint | - | id | path | 10:15:44 | ann@yahoo.example | -"]);
    assert_eq!(lines(fixture("aol_complaint").as_bytes()).unwrap(), ["complaint | - | id | path | 10:15:44 | - | -"]);
    assert_eq!(lines(fixture("outlook_complaint").as_bytes()).unwrap(), ["complaint | - | id | - | 12:04:58 | - | -"]);
    let of_type =
        |kind: &str| lines(fixture("yahoo_complaint").replace("Type: abuse", kind).as_bytes()).map(|lines| lines[0][..9].to_owned());
    for complaint in ["Type: fraud", "Type: virus", "Type: other", "type: ABUSE (really)"] {
        assert_eq!(of_type(complaint).unwrap(), "complaint", "{complaint}");
    }
    assert_eq!(of_type("Type: opt-out").unwrap(), "opt-out |");
    assert_eq!(of_type("Type: not-spam"), Err(Ignored::NotSpam));
    for other in ["Type: auth-failure", "Type: abuse-ish", "Type:", "Typo: abuse"] {
        assert_eq!(of_type(other), Err(Ignored::OtherReport), "{other}");
    }
}

#[test]
fn what_is_no_report_for_machines_is_left_with_a_reason() {
    for (name, reason) in [
        ("qmail", Ignored::NoReport),
        ("exchange_55", Ignored::NoReport),
        ("person", Ignored::NoReport),
        ("forwarded", Ignored::NoReport),
        ("out_of_office", Ignored::AutoReply),
        ("read_receipt", Ignored::OtherReport),
    ] {
        assert_eq!(read(fixture(name).as_bytes(), &base()), Err(reason), "{name}");
    }
    let empty = fixture("postfix_failed").replace("Action:", "Axion:");
    assert_eq!(read(empty.as_bytes(), &base()), Err(Ignored::NoRecipient));
    // Google sends such a part where its own server for other addresses fails.
    let bare = "Content-Type: multipart/report; boundary=a\n\n--a\nContent-Type: message/delivery-status\n\n\n--a--\n";
    assert_eq!(read(bare.as_bytes(), &base()), Err(Ignored::NoRecipient));
    let wrong = fixture("postfix_failed").replace("message/delivery-status", "text/plain");
    assert_eq!(read(wrong.as_bytes(), &base()), Err(Ignored::OtherReport));
    for none in ["", "\n", "\r\n\r\nX: y\r\n", "no header\n"] {
        assert_eq!(read(none.as_bytes(), &base()), Err(Ignored::NoMail), "{none:?}");
    }
}

#[test]
fn the_way_it_came_by_is_found_wherever_it_is_written() {
    let mail = fixture("postfix_failed");
    let address = "bounces+j4oqzgt34jef7nwd2ipavh3xrdtlwftpgl7somi@mail.shop.example";
    let bare = mail.replace(address, "bounces@mail.shop.example");
    let path = |mail: &str| read(mail.as_bytes(), &base()).unwrap()[0].verp.clone();
    assert_eq!(path(&bare), None);
    for header in ["Delivered-To", "X-Original-To", "Envelope-To", "to", "X-RCPT-To"] {
        let found = path(&format!("{header}: Shop <{address}>\n{bare}"));
        assert_eq!(found.as_deref(), address.split('@').next(), "{header}");
    }
    assert_eq!(path(&format!("From: {address}\nSubject: {address}\n{bare}")), None);
    let other = ReturnPath::new("returns@mail.shop.example").unwrap();
    assert_eq!(read(mail.as_bytes(), &other).unwrap()[0].verp, None);
}

#[test]
fn either_line_break_is_read_alike() {
    for (name, bytes) in FIXTURES {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!text.contains('\r'), "{name}");
        assert_eq!(read(text.replace('\n', "\r\n").as_bytes(), &base()), read(bytes, &base()), "{name}");
    }
}

#[test]
fn only_the_first_part_of_a_mail_is_looked_at() {
    let mail = fixture("postfix_failed");
    let (before, after) = mail.split_at(mail.rfind("It has been").unwrap());
    let large = format!("{before}{}{after}", "x\n".repeat(MAX_BYTES));
    assert_eq!(lines(large.as_bytes()), lines(mail.as_bytes()));
    let late = mail.replacen("This is the mail", &"x\n".repeat(MAX_BYTES), 1);
    assert_eq!(read(late.as_bytes(), &base()), Err(Ignored::OtherReport));
}

#[test]
fn a_mail_made_to_harm_does_not() {
    let nested = "Content-Type: message/rfc822\n\n".repeat(35_000);
    assert_eq!(read(nested.as_bytes(), &base()), Err(Ignored::NoReport));
    let opened = "Content-Type: multipart/mixed; boundary=a\n\n--a\n".repeat(20_000);
    assert_eq!(read(opened.as_bytes(), &base()), Err(Ignored::NoReport));
    let report = "Content-Type: multipart/report; boundary=a\n\n--a\nContent-Type: message/delivery-status\n\n";
    let many = format!("{report}{}", "Action: failed\n\n".repeat(60_000));
    assert_eq!(read(many.as_bytes(), &base()).unwrap().len(), 101);
    let long = format!("{report}Action: failed\nDiagnostic-Code: smtp; {}\nFinal-Recipient: rfc822; {0}@x\n", "é".repeat(400_000));
    let notice = &read(long.as_bytes(), &base()).unwrap()[0];
    assert_eq!((notice.diagnostic.as_ref().unwrap().chars().count(), &notice.recipient), (200, &None));
}

/// The mails of mail systems and those the fuzz target left, as they are and spoilt in places.
fn hostile() -> Vec<Vec<u8>> {
    let left = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/returned")).unwrap();
    let left = left.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let mut mails: Vec<Vec<u8>> = FIXTURES.iter().map(|(_, bytes)| bytes.to_vec()).chain(left).collect();
    let mut random = 17_u64;
    let mut below = |limit: usize| {
        // A small linear congruential sequence: the same mails every time.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % limit.max(1)
    };
    let pieces: [&[u8]; 8] =
        [b"bob@example.com", b"\n\n", b"+", b"<", b"Message-ID: <x@y>\n", b"5.1.1", b"Action: failed\n", b"Feedback-Type: abuse\n"];
    for number in 0..mails.len() {
        for _ in 0..3 {
            let mut mail = mails[number].clone();
            for _ in 0..=below(4) {
                let (at, piece) = (below(mail.len() + 1), pieces[below(pieces.len())]);
                let end = (at + below(24)).min(mail.len());
                mail.splice(at..end, piece.iter().copied());
            }
            mails.push(mail);
        }
    }
    mails
}

#[tokio::test]
async fn no_mail_silences_anybody_we_did_not_write_to() {
    let root = tempfile::tempdir().unwrap();
    let (keys, now) = (Keys::new(Secret::new("a master key")), "2026-11-22T01:00:00Z".parse().unwrap());
    let ledger = fixture::open(root.path()).await;
    fixture::approved(&ledger, "plan", "marketing", 1, now, now).await;
    let ann = address_hash(&keys, "ann@example.com");
    let sent = format!(
        "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, address_hash, state, at)
         values ('{ID}', 'plan', 'win-back', 'marketing', 'email', 'p0', 'o', 1, '{ann}', 'accepted', 0)"
    );
    fixture::run(&ledger, &sent).await;
    for inside in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(root.path().join("mail").join(inside)).unwrap();
    }
    let mails = hostile();
    for (number, mail) in mails.iter().enumerate() {
        std::fs::write(root.path().join(format!("mail/new/{number}.mx")), mail).unwrap();
    }
    let settings = "address = \"bounces@mail.shop.example\"\n[mailboxes.bounces]\nmaildir = \"mail\"\n";
    let settings = crate::config::parse(settings, std::path::Path::new("perennial.toml")).unwrap();
    let clock = std::sync::Arc::new(crate::clock::ManualClock::at(now));
    let desk = Desk { ledger, settings, keys, clock, root: root.path().to_owned() };
    let collected = collect(&desk).await.unwrap();
    assert_eq!(collected.mails, mails.len() as u64);
    assert!(collected.noted.values().sum::<u64>() > 20, "{collected:?}");

    let suppressions = desk.ledger.suppressions(0, 1_000).await.unwrap();
    assert!(!suppressions.is_empty());
    for one in &suppressions {
        assert_eq!(one.address_hash.as_ref(), Some(&ann), "{one:?}");
        assert!(one.customer_id.as_deref().is_none_or(|person| person == "p0") && one.address.is_none(), "{one:?}");
    }
    let events = desk.ledger.events(None, 10_000).await.unwrap();
    for event in &events {
        assert_eq!((event.message_id.as_deref(), event.customer_id.as_deref()), (Some(ID), Some("p0")), "{event:?}");
        let said = format!("{} {:?}", event.event_id, event.detail);
        assert!(!said.contains('@') && !said.contains("%40") && event.at <= now, "{event:?}");
    }
    // The same mails in the same place, told again, say nothing new.
    fixture::run(&desk.ledger, "delete from mailboxes").await;
    for entry in std::fs::read_dir(root.path().join("mail/cur")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().split(':').next().unwrap().to_owned();
        std::fs::rename(&path, root.path().join("mail/new").join(name)).unwrap();
    }
    let again = collect(&desk).await.unwrap();
    assert_eq!((again.noted.len(), again.mails), (0, collected.mails), "{again:?}");
    assert_eq!(desk.ledger.events(None, 10_000).await.unwrap().len(), events.len());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read(&bytes, &base());
    }

    #[test]
    fn no_spoilt_report_panics(
        which in 0..FIXTURES.len(),
        cut in any::<prop::sample::Index>(),
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
    ) {
        let mut bytes = FIXTURES[which].1.to_vec();
        for (at, byte) in spoilt {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(notices) = read(&bytes, &base()) {
            for notice in notices {
                let said = notice.diagnostic.unwrap_or_default();
                prop_assert!(said.chars().count() <= 200 && !said.contains(['@', '\n', '\r']));
            }
        }
    }
}
