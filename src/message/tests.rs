//! The shipped letters and the room as a whole: what goes in as a row comes out as a letter a person is glad to read.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};

use super::{
    Brand, Channel, Envelope, Field, Message, Row, Templates,
    fixture::{at, brand, envelope, offer, person, text},
};
use crate::diagnosis::Severity;

fn campaigns() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/campaigns")
}

fn shipped(name: &str, practice: bool) -> Templates {
    let channel = if name == "vip-handoff" { Channel::Webhook } else { Channel::Email };
    Templates::load(&campaigns().join(name), channel, &brand(), practice).unwrap()
}

/// A person of each shipped segment, with everything known.
fn row(campaign: &str) -> Row {
    let mut row = person("Anna", "Berg", "Ms", "de-DE", "Europe/Berlin");
    let more: Vec<(&str, Field)> = match campaign {
        "win-back" => vec![
            ("last_order_id", text("o-1")),
            ("last_order_at", at("2026-03-12T10:00:00Z")),
            ("quiet_days", Field::Integer(255)),
            ("orders", Field::Integer(4)),
            ("favourite_category", text("coffee")),
            ("last_product", text("House Espresso, 1 kg")),
            ("last_product_url", text("https://fernwood.example/p/house-espresso-1-kg")),
            ("next_product", text("Kenya Nyeri, 250 g")),
            ("next_product_url", text("https://fernwood.example/p/kenya-nyeri-250-g")),
            ("next_product_reason", text("people who bought House Espresso, 1 kg often choose it")),
            ("next_product_price", Field::Decimal { unscaled: 129_000, scale: 4 }),
            ("tier", text("silver")),
            ("step", Field::Integer(1)),
            ("currency", text("EUR")),
        ],
        "check-in" => vec![
            ("last_order_id", text("o-1")),
            ("last_order_at", at("2026-09-12T10:00:00Z")),
            ("quiet_days", Field::Integer(70)),
            ("rhythm_days", Field::Decimal { unscaled: 3_450, scale: 2 }),
            ("usual_days", Field::Integer(35)),
            ("orders", Field::Integer(6)),
            ("favourite_category", text("plants")),
            ("last_product", text("Boston Fern")),
            ("last_product_url", text("https://fernwood.example/p/boston-fern")),
            ("tip_category", text("plants")),
            ("tier", text("gold")),
        ],
        "first-thanks" => vec![
            ("first_order_id", text("o-1")),
            ("first_order_at", at("2026-11-17T10:00:00Z")),
            ("delivered_at", at("2026-11-20T10:00:00Z")),
            ("product", text("Children's Fruit Tea, 20 bags")),
            ("product_url", text("https://fernwood.example/p/fruit-tea")),
            ("product_category", text("tea")),
            ("items", Field::Integer(3)),
        ],
        "loyal-thanks" => vec![
            ("tier", text("gold")),
            ("tier_reached_at", at("2026-11-20T10:00:00Z")),
            ("orders", Field::Integer(12)),
            ("first_order_at", at("2023-02-20T10:00:00Z")),
            ("customer_since_year", Field::Integer(2023)),
            ("items_total", Field::Integer(1031)),
            ("favourite_category", text("tea")),
        ],
        "make-it-right" => vec![
            ("ticket_id", text("t-1")),
            ("ticket_subject", text("Golden Pothos arrived broken")),
            ("opened_at", at("2026-11-12T10:00:00Z")),
            ("resolved_at", at("2026-11-20T10:00:00Z")),
            ("summary_fix", text("We sent a new Golden Pothos on 20 November, packed with more care than the first.")),
            ("agent_name", text("Tomasz Zieliński")),
            ("last_product", text("Golden Pothos")),
            ("order_id", text("o-1")),
            ("waited_hours", Field::Integer(80)),
        ],
        _ => vec![
            ("phone", text("+49 171 5550123")),
            ("tier", text("platinum")),
            ("orders", Field::Integer(41)),
            ("total_base", Field::Decimal { unscaled: 23_451_200, scale: 4 }),
            ("currency", text("EUR")),
            ("last_order_id", text("o-1")),
            ("last_order_at", at("2026-09-01T10:00:00Z")),
            ("quiet_days", Field::Integer(81)),
            ("usual_days", Field::Integer(20)),
            ("last_product", text("Chef's \"Best\" Knife, 20 cm")),
            ("favourite_category", text("kitchen")),
            ("open_complaint", Field::Boolean(true)),
            ("last_ticket_subject", text("Where is my order?")),
            ("last_ticket_at", at("2026-11-10T10:00:00Z")),
            ("what_changed", text("orders every 20 days or so, but has not ordered for 81 days")),
        ],
    };
    row.extend(more.into_iter().map(|(name, field)| (name.to_owned(), field)));
    row
}

/// The columns of a row, as the segment's table would have them.
fn columns(row: &Row) -> SchemaRef {
    let column = |(name, field): (&String, &Field)| {
        let kind = match field {
            Field::Integer(_) => DataType::Int64,
            Field::Decimal { scale, .. } => DataType::Decimal128(18, *scale),
            Field::Boolean(_) => DataType::Boolean,
            Field::Instant(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        Column::new(name, kind, true)
    };
    Arc::new(Schema::new(row.iter().map(column).collect::<Vec<_>>()))
}

fn sent(campaign: &str) -> Envelope {
    let mut sent = Envelope { campaign: campaign.into(), ..envelope() };
    if campaign == "make-it-right" || campaign == "vip-handoff" {
        sent.unsubscribe_url = None;
    }
    sent
}

/// Every letter there is: campaign, step and variant.
fn letters() -> Vec<(&'static str, Envelope)> {
    let mut letters: Vec<(&str, Envelope)> =
        ["check-in", "first-thanks", "loyal-thanks", "make-it-right"].map(|name| (name, sent(name))).into();
    for step in 1..=3 {
        letters.push(("win-back", Envelope { step, ..sent("win-back") }));
        let offered = Envelope { step, variant: Some("offer".into()), offer: Some(offer()), ..sent("win-back") };
        letters.push(("win-back", offered));
    }
    letters
}

struct Mail {
    subject: String,
    preview: String,
    html: String,
    text: String,
    bytes: Vec<u8>,
}

fn mail(templates: &Templates, row: &Row, envelope: &Envelope) -> Mail {
    match templates.render(row, envelope).unwrap() {
        Message::Email { subject, preview, html, text, bytes } => Mail { subject, preview, html, text, bytes },
        Message::Webhook { .. } => panic!("not a letter"),
    }
}

/// People whose names have tripped programs before.
fn people() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    vec![
        ("Anna", "Berg", "Ms", "de-DE"),
        ("Seán", "O'Connor-D’Arcy", "", "en-IE"),
        ("太郎", "山田", "様", "ja-JP"),
        ("محمد", "عبد الرحمن", "", "ar-EG"),
        ("נעמי", "כהן", "", "he-IL"),
        ("Zażółć", "Gęślą", "", "pl-PL"),
        ("Σωκράτης", "Παπαδόπουλος", "", "el-GR"),
        ("Олександр", "Шевченко", "", "uk-UA"),
        ("เจนจิรา", "สุขใจ", "", "th-TH"),
        ("नेहा", "शर्मा", "", "hi-IN"),
        ("민준", "김", "님", "ko-KR"),
        ("Pablo Diego José Francisco de Paula Juan Nepomuceno María de los Remedios", "Ruiz y Picasso", "", "es-ES"),
        ("O\"Quote\\", "Comma, Inc. <x@y>", "", "en-US"),
        ("🌱 Ivy", "Leaf", "", "en-GB"),
        ("", "", "", "en-GB"),
        ("", "Okafor", "Dr", "en-GB"),
    ]
}

fn with_name(row: Row, (first, last, honorific, locale): (&str, &str, &str, &str)) -> Row {
    let mut row = row;
    row.extend(person(first, last, honorific, locale, "Europe/Berlin"));
    row
}

/// The words of a letter from greeting to signature.
fn words(text: &str) -> usize {
    text.split("\n--\n").next().unwrap_or_default().split_whitespace().filter(|word| !word.starts_with("https://")).count()
}

#[test]
fn shipped_letters_fit_their_segments() {
    for name in ["win-back", "check-in", "first-thanks", "loyal-thanks", "make-it-right", "vip-handoff"] {
        for practice in [true, false] {
            assert_eq!(shipped(name, practice).check(&columns(&row(name))), [], "{name}");
        }
    }
}

#[test]
fn shipped_letters_keep_their_promises() {
    for (name, envelope) in letters() {
        let templates = shipped(name, false);
        let mail = mail(&templates, &row(name), &envelope);
        let (step, variant) = (envelope.step, envelope.variant.as_deref().unwrap_or("-"));
        assert!(mail.subject.chars().count() < 50, "{name} {step} {variant}: {}", mail.subject);
        assert!(!mail.preview.is_empty() && mail.preview != mail.subject, "{name}");
        assert!(words(&mail.text) < 120, "{name} {step} {variant}: {} words\n{}", words(&mail.text), mail.text);
        for part in [&mail.html, &mail.text] {
            assert!(part.contains("Mara, customer care") && part.contains("10115 Berlin"), "{name}: {part}");
            assert!(part.contains("You get this letter because"), "{name}: {part}");
            for bad in ["None", "null", "undefined", "{{", "{%", "prnl", "Dear customer"] {
                assert!(!part.split(|c: char| !c.is_alphanumeric() && !"{%".contains(c)).any(|word| word == bad), "{name}: {bad}\n{part}");
            }
        }
        let marketing = name != "make-it-right";
        assert_eq!(templates.offers_way_out(), marketing, "{name}");
        assert_eq!(mail.text.contains("https://fernwood.example/u/"), marketing, "{name}");
        assert_eq!(mail.text.contains("COMEBACK10"), variant == "offer" && step == 2, "{name} {step} {variant}");
        let links: Vec<&str> = mail.html.split("href=\"").skip(1).filter_map(|link| link.split('"').next()).collect();
        let to_click = links.iter().filter(|link| !link.contains("/u/")).count();
        assert!(to_click <= 1, "{name} {step} {variant}: {links:?}");
        if name == "make-it-right" || name == "loyal-thanks" {
            assert_eq!(to_click, 0, "{name}: {links:?}");
        }
        assert!(mail.html.contains("<h1") && mail.html.contains("lang=\"en\"") && mail.html.contains("prefers-color-scheme"), "{name}");
        for image in mail.html.split("<img").skip(1) {
            assert!(image.split('>').next().is_some_and(|tag| tag.contains("alt=")), "{name}: {image}");
        }
    }
}

#[test]
fn an_apology_apologises_once_and_sells_nothing() {
    let mail = mail(&shipped("make-it-right", false), &row("make-it-right"), &sent("make-it-right"));
    assert_eq!(mail.text.to_lowercase().matches("sorry").count(), 1, "{}", mail.text);
    assert!(
        mail.text.contains("Tomasz Zieliński") && mail.text.contains("+49 30 5550 1234") && mail.text.contains("3 days"),
        "{}",
        mail.text
    );
    for word in ["https://", "order again", "code", "offer", "shop"] {
        assert!(!mail.text.contains(word), "{word}: {}", mail.text);
    }
}

#[test]
fn shipped_letters_do_without_everything_that_may_be_null() {
    let nullable = [
        "first_name",
        "last_name",
        "honorific",
        "locale",
        "timezone",
        "country",
        "email",
        "phone",
        "favourite_category",
        "last_product",
        "last_product_url",
        "next_product",
        "next_product_url",
        "next_product_reason",
        "next_product_price",
        "tier",
        "rhythm_days",
        "tip_category",
        "delivered_at",
        "product",
        "product_url",
        "product_category",
        "items",
        "items_total",
        "ticket_subject",
        "summary_fix",
        "agent_name",
        "order_id",
        "waited_hours",
        "last_ticket_subject",
        "last_ticket_at",
        "open_complaint",
        "usual_days",
        "total_base",
        "what_changed",
        "first_order_at",
        "tier_reached_at",
        "resolved_at",
    ];
    let mut all = letters();
    all.push(("vip-handoff", sent("vip-handoff")));
    for (name, envelope) in all {
        let templates = shipped(name, false);
        let full = row(name);
        let bare: Row = full
            .iter()
            .map(|(column, field)| {
                let needed = name == "check-in" && column == "usual_days";
                (column.clone(), if nullable.contains(&column.as_str()) && !needed { Field::Null } else { field.clone() })
            })
            .collect();
        assert!(templates.render(&bare, &envelope).is_ok(), "{name}: {:?}", templates.render(&bare, &envelope));
        for column in templates.required() {
            assert!(!nullable.contains(&column.as_str()) || (name == "check-in" && column == "usual_days"), "{name} needs {column}");
        }
        for column in nullable.iter().filter(|column| full.contains_key(**column)) {
            let mut row = full.clone();
            row.insert((*column).to_owned(), Field::Null);
            let made = templates.render(&row, &envelope);
            assert!(made.is_ok() || templates.required().contains(&(*column).to_owned()), "{name} without {column}: {made:?}");
        }
    }
}

#[test]
#[ignore = "writes the letters to the folder named by PERENNIAL_LETTERS, to be looked at"]
fn letters_to_look_at() {
    let Ok(folder) = std::env::var("PERENNIAL_LETTERS") else { return };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).unwrap();
    for (name, envelope) in letters() {
        for (number, who) in people().into_iter().enumerate() {
            let mail = mail(&shipped(name, number % 2 == 1), &with_name(row(name), who), &envelope);
            let file = format!("{name}-{}-{}-{number}", envelope.step, envelope.variant.as_deref().unwrap_or("x"));
            fs::write(folder.join(format!("{file}.html")), mail.html).unwrap();
            fs::write(folder.join(format!("{file}.eml")), mail.bytes).unwrap();
        }
    }
    let Message::Webhook { body } = shipped("vip-handoff", true).render(&row("vip-handoff"), &sent("vip-handoff")).unwrap() else { return };
    fs::write(folder.join("vip.json"), body).unwrap();
}
