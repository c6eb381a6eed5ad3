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
    if campaign == "vip-handoff" {
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
        assert_eq!(templates.without_way_out(), None, "{name}");
        assert!(mail.text.contains("https://fernwood.example/u/") && mail.html.contains("https://fernwood.example/u/"), "{name}");
        let wire = String::from_utf8_lossy(&mail.bytes);
        assert!(wire.contains("List-Unsubscribe: <https://fernwood.example/u/") && wire.contains("List-Unsubscribe-Post: "), "{name}");
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
        mail.text.contains("Tomasz Zieliński") && mail.text.contains("+49\u{a0}30\u{a0}5550\u{a0}1234") && mail.text.contains("3 days"),
        "{}",
        mail.text
    );
    let (letter, foot) = mail.text.split_once("\n--\n").unwrap();
    assert_eq!(foot.matches("https://").count(), 1, "the way out, and nothing else to click: {foot}");
    for word in ["https://", "order again", "code", "offer", "shop"] {
        assert!(!letter.contains(word), "{word}: {}", mail.text);
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

/// A campaign folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

const LETTER: &str = "<mjml lang=\"{{ language }}\"><mj-head><mj-title>{{ subject }}</mj-title><mj-preview>{{ preview }}</mj-preview></mj-head>\
                      <mj-body><mj-section><mj-column>\n<mj-text>BODY</mj-text></mj-column></mj-section></mj-body></mjml>";

fn own(html: &str, text: &str) -> Result<Templates, super::MessageError> {
    let folder =
        folder(&[("email.mjml", &LETTER.replace("BODY", html)), ("email.txt", &format!("Subject: A letter\nPreview: P\n\n{text}\n"))]);
    Templates::load(folder.path(), Channel::Email, &brand(), false)
}

fn anna(more: &[(&str, Field)]) -> Row {
    let mut row = person("Anna", "Berg", "", "de-DE", "Europe/Berlin");
    row.extend(more.iter().map(|(name, field)| ((*name).to_owned(), field.clone())));
    row
}

#[test]
fn what_a_customer_wrote_is_never_markup_and_never_a_template() {
    let templates = own("{{ note }} {{ first_name }}", "{{ note }}").unwrap();
    let row = anna(&[("note", text("<script>alert('x') & \"y\"</script> {{ brand.name }} {% raw %} {{ 7*7 }}"))]);
    let mail = mail(&templates, &row, &envelope());
    assert!(
        mail.html.contains("&lt;script&gt;alert(&#39;x&#39;) &amp; &quot;y&quot;&lt;/script&gt; {{ brand.name }} {% raw %} {{ 7*7 }}"),
        "{}",
        mail.html
    );
    assert!(mail.text.contains("<script>alert('x') & \"y\"</script> {{ brand.name }}"), "{}", mail.text);
}

#[test]
fn no_name_and_no_subject_can_add_a_header() {
    let folder =
        folder(&[("email.mjml", LETTER), ("email.txt", "Subject: For {{ first_name }}\nPreview: {{ first_name }}\n\n{{ greeting() }}\n")]);
    let templates = Templates::load(folder.path(), Channel::Email, &brand(), false).unwrap();
    let evil = "Anna\r\nBcc: evil@example.org\r\n\r\n<b>";
    let mail = mail(&templates, &person(evil, "\u{202e}Berg\u{0}", "", "de-DE", ""), &envelope());
    assert_eq!(mail.subject, "For Anna Bcc: evil@example.org <b>");
    let wire = String::from_utf8(mail.bytes).unwrap();
    let headers = wire.split("\r\n\r\n").next().unwrap();
    assert!(headers.contains("To: Berg <anna@example.org>"), "{headers}");
    assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
    for (what, envelope) in [
        ("to", Envelope { to: "a@example.org\r\nBcc: x@example.org".into(), ..envelope() }),
        ("reply_to", Envelope { reply_to: "a@example.org\nX: y".into(), ..envelope() }),
        ("message_id", Envelope { message_id: "a\r\nX: y@example.org".into(), ..envelope() }),
        ("plan", Envelope { plan: "a\r\nX: y".into(), ..envelope() }),
        ("campaign", Envelope { campaign: "a\r\nX: y".into(), ..envelope() }),
        ("unsubscribe_url", Envelope { unsubscribe_url: Some("https://x.example/\r\nX: y".into()), ..envelope() }),
    ] {
        assert!(templates.render(&anna(&[]), &envelope).is_err(), "{what}");
    }
}

/// The one address in a header, with its name, as a parser reads it that did not write it.
fn one(address: Option<&mail_parser::Address<'_>>) -> (Option<String>, String) {
    let Some(mail_parser::Address::List(list)) = address else { panic!("{address:?}") };
    let [one] = list.as_slice() else { panic!("{list:?}") };
    (one.name.as_deref().map(str::to_owned), one.address.as_deref().unwrap().to_owned())
}

#[test]
fn no_name_adds_a_reader_or_takes_one_away() {
    let templates = own("{{ greeting() }}", "{{ greeting() }}").unwrap();
    for (name, expected) in [
        ("Berg, Anna", "Berg, Anna"),
        ("Anna; Bob: Cem", "Anna; Bob: Cem"),
        ("Anna <evil", "Anna <evil"),
        ("Anna> Evil", "Anna> Evil"),
        ("\"Anna", "\"Anna"),
        ("Anna\\", "Anna\\"),
        ("Anna (Bcc: x", "Anna (Bcc: x"),
        ("Ann\u{e4} \"Evil\", Bob", "Ann\u{e4} \"Evil\", Bob"),
        ("=?utf-8?q?Anna=2C_Evil?=", "=?utf-8?q?Anna=2C_Evil?="),
        ("=?utf-8?b?QmNjOiB4?= =?utf-8?b?QmNjOiB4?=", "=?utf-8?b?QmNjOiB4?= =?utf-8?b?QmNjOiB4?="),
        ("Anna\r\n\tBcc: x", "Anna Bcc: x"),
        ("Anna\u{85}\u{2028}Bcc: x", "Anna Bcc: x"),
        ("\u{202e}annA\u{202c} \u{2067}Berg\u{2069}", "annA Berg"),
        ("Anna, <evil@example.org>", ""),
        ("Anna www.evil.example", ""),
    ] {
        let row = Row::from([("first_name".to_owned(), text(name)), ("last_name".to_owned(), Field::Null)]);
        let wire = mail(&templates, &row, &envelope()).bytes;
        let read = mail_parser::MessageParser::default().parse(&wire).unwrap();
        let expected = (Some(expected.to_owned()).filter(|name| !name.is_empty()), "anna@example.org".to_owned());
        assert_eq!(one(read.to()), expected, "{name:?}");
        assert!(read.cc().is_none() && read.bcc().is_none() && read.headers().len() == 14, "{name:?}");
        crate::fuzzing::wire(&wire).unwrap();
    }
}

#[test]
fn no_subject_becomes_a_header_or_another_subject() {
    let folder = folder(&[("email.mjml", LETTER), ("email.txt", "Subject: {{ opening }}\nPreview: P\n\nHello\n")]);
    let templates = Templates::load(folder.path(), Channel::Email, &brand(), false).unwrap();
    for (opening, expected) in [
        ("Hello\r\nBcc: evil@example.org", "Hello Bcc: evil@example.org"),
        ("Hello\r\n\r\n<b>body</b>", "Hello <b>body</b>"),
        ("Hello\n Bcc: x", "Hello Bcc: x"),
        ("Hello\u{0}\u{7}\u{1b}[2J", "Hello [2J"),
        ("=?utf-8?q?=0D=0ABcc:_x?=", "= ?utf-8?q?=0D=0ABcc:_x?="),
        ("=?utf-8?b?QmNjOiB4?= \u{e4}", "= ?utf-8?b?QmNjOiB4?= \u{e4}"),
        ("\u{202e}gpj.exe\u{2066}", "gpj.exe"),
        ("Re: a, b; <c> (d) \"e\"", "Re: a, b; <c> (d) \"e\""),
        (".", "."),
    ] {
        let wire = mail(&templates, &anna(&[("opening", text(opening))]), &envelope()).bytes;
        let read = mail_parser::MessageParser::default().parse(&wire).unwrap();
        assert_eq!((read.subject(), read.headers().len()), (Some(expected), 14), "{opening:?}");
        assert!(read.cc().is_none() && read.bcc().is_none() && read.parts.len() == 3, "{opening:?}");
    }
}

#[test]
fn no_text_ends_its_part_or_the_letter() {
    let templates = own("{{ note }}", "{{ note }}").unwrap();
    let id = envelope().message_id.replace("@fernwood.example", "");
    for note in [
        "\r\n.\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<x@example.org>\r\nDATA\r\n",
        "\n.\n",
        ".",
        "From here on",
        &format!("--=_{id}"),
        &format!("--=_{id}--"),
        &format!("--=_{id}_ --=_{id}__--"),
        &format!("--=_{id}\r\nContent-Type: text/html\r\n\r\n<b>evil</b>\r\n"),
    ] {
        let made = mail(&templates, &anna(&[("note", text(note))]), &envelope());
        let read = mail_parser::MessageParser::default().parse(&made.bytes).unwrap();
        assert_eq!((read.parts.len(), read.text_body.len(), read.html_body.len()), (3, 1, 1), "{note:?}");
        assert_eq!(read.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), made.text.trim_end(), "{note:?}");
        let wire = crate::fuzzing::wire(&made.bytes).unwrap();
        assert_eq!(wire.split("\r\n").filter(|line| *line == ".").count(), 1, "{note:?}");
    }
}

#[test]
fn no_link_breaks_out_of_its_place() {
    let templates = own("<a href=\"{{ link }}\">x</a>", "{{ link }}").unwrap();
    for (link, href) in [
        ("https://x.example/\"onmouseover=\"alert(1)", "https://x.example/%22onmouseover=%22alert(1)"),
        ("https://x.example/'><script>", ""),
        ("https://x.example/\r\nBcc: x", ""),
        ("https://x.example/\u{202e}gpj", "https://x.example/%E2%80%AEgpj"),
        ("https://x.example/&quot;onclick=&quot;", "https://x.example/&amp;quot;onclick=&amp;quot;"),
    ] {
        let made = templates.render(&anna(&[("link", text(link))]), &envelope());
        match (href, made) {
            ("", made) => assert_eq!(made.unwrap_err().missing_field(), Some("link"), "{link:?}"),
            (href, Ok(Message::Email { html, .. })) => assert!(html.contains(&format!("href=\"{href}\"")), "{html}"),
            (_, made) => panic!("{made:?}"),
        }
    }
    // One address to stop at, not two.
    for url in
        ["https://x.example/u/a>, <https://evil.example/", "https://x.example/u/<a", "https://x.example/u/a b", "https://x.example/,"]
    {
        assert!(
            templates
                .render(&anna(&[("link", text("https://x.example"))]), &Envelope { unsubscribe_url: Some(url.into()), ..envelope() })
                .is_err()
        );
    }
}

#[test]
fn a_part_without_the_way_out_is_named_with_what_to_add() {
    let link = "<a href=\"{{ unsubscribe_url }}\">Stop</a>";
    assert!(own(link, "Stop: {{ unsubscribe_url }}").unwrap().without_way_out().is_none());
    for (html, text, file) in [(link, "Hello", "email.txt"), ("<p>Hello</p>", "Stop: {{ unsubscribe_url }}", "email.mjml")] {
        let lacking = own(html, text).unwrap().without_way_out().unwrap();
        assert_eq!(lacking.code, "no_way_out");
        assert!(lacking.file.unwrap().ends_with(file) && lacking.hint.unwrap().contains("{{ unsubscribe_url }}"));
    }
}

#[test]
fn links_made_from_data_go_to_the_web_or_nowhere() {
    let templates = own("<a href=\"{{ link }}\">x</a>", "{{ link|url }}").unwrap();
    for bad in [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "http://shop.example/",
        "https://user:pass@shop.example/",
        "//shop.example",
        "shop.example",
        "https://x.example/<b>",
        "https://x.example\\@evil.example",
        "",
    ] {
        let error = templates.render(&anna(&[("link", Field::Text(bad.into()))]), &envelope()).unwrap_err();
        assert_eq!(error.missing_field(), Some("link"), "{bad}: {error}");
    }
    let branch = own("{% if link %}<a href=\"{{ link }}\">x</a>{% else %}no shop{% endif %}", "{{ link|default('no shop') }}").unwrap();
    let written = mail(&branch, &anna(&[("link", text("http://shop.example/"))]), &envelope());
    assert!(written.html.contains("no shop") && written.text.contains("no shop"), "the letter's own words for somebody without a link");
    let spaced = mail(&templates, &anna(&[("link", text("https://shop.example/a b?q='1'\"`"))]), &envelope());
    assert!(spaced.html.contains("href=\"https://shop.example/a%20b?q=%271%27%22%60\""), "{}", spaced.html);
    assert!(spaced.text.contains("https://shop.example/a%20b?q=%271%27%22%60"), "{}", spaced.text);
    let fixed = own("<a href=\"{{ brand.url ~ link }}\">x</a>", "{{ link|url }}").unwrap();
    let error = fixed.render(&anna(&[("link", text("javascript:alert(1)"))]), &envelope()).unwrap_err().0;
    assert_eq!(error.code, "template_value", "{error}");
    for good in ["https://shop.example/p?a=1&b=2", "mailto:hello@shop.example", "http://127.0.0.1:8080/u/x", "https://shop.example/日本"]
    {
        assert!(templates.render(&anna(&[("link", text(good))]), &envelope()).is_ok(), "{good}");
    }
}

#[test]
fn a_null_never_prints_whichever_way_it_takes() {
    for way in [
        "{{ tip }}",
        "{{ tip|upper }}",
        "{{ tip ~ 'x' }}",
        "{{ tip|date }}",
        "{{ tip|join(',') }}",
        "{% for x in tip %}{{ x }}{% endfor %}",
        "{% set y = tip %}{{ y }}",
        "{{ [tip]|join }}",
        "{{ tip.part }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(tip) }}",
        "{{ tip|string }}",
        "{{ tip|length }}",
        "{{ tip|bdi }}",
        "{{ tip|url }}",
        "{{ 'x'|replace('x', tip) }}",
    ] {
        let templates = own("x", way).unwrap();
        let error = templates.render(&anna(&[("tip", Field::Null)]), &envelope()).unwrap_err();
        assert!(error.missing_field().is_some_and(|name| name.starts_with("tip")), "{way}: {error}");
        assert_eq!(templates.required(), ["tip"], "{way}");
    }
    for (way, expected) in [
        ("{{ tip|default('fine') }}", "fine"),
        ("{{ tip|date|default('fine') }}", "fine"),
        ("{{ tip or 'fine' }}", "fine"),
        ("{% if tip %}{{ tip }}{% else %}fine{% endif %}", "fine"),
        ("{% if tip is none %}fine{% endif %}", "fine"),
        ("{% if tip is not defined %}fine{% endif %}", "fine"),
        ("{% if tip == 'x' %}{{ tip }}{% else %}fine{% endif %}", "fine"),
    ] {
        let templates = own("x", way).unwrap();
        assert_eq!(mail(&templates, &anna(&[("tip", Field::Null)]), &envelope()).text.trim(), expected, "{way}");
        assert_eq!(templates.required(), Vec::<String>::new(), "{way}");
        assert_eq!(templates.mentioned(), ["tip"], "{way}");
    }
}

#[test]
fn a_name_set_on_one_way_only_is_the_rows_own_on_the_other() {
    let templates = own("x", "{% if nick == 'Annie' %}{% set tip = 'hers' %}{% endif %}{{ tip }}").unwrap();
    for (nick, expected) in [("Annie", "hers"), ("Bea", "from the row")] {
        let row = anna(&[("nick", text(nick)), ("tip", text("from the row"))]);
        assert_eq!(mail(&templates, &row, &envelope()).text.trim(), expected);
    }
}

#[test]
fn one_persons_null_names_the_field_and_spares_the_others() {
    let templates = shipped("check-in", false);
    assert_eq!(templates.required(), ["last_order_at", "usual_days"]);
    let mut row = row("check-in");
    row.insert("usual_days".into(), Field::Null);
    let error = templates.render(&row, &sent("check-in")).unwrap_err();
    assert_eq!(error.0.code.split(':').next(), Some("missing_field"));
    assert_eq!(error.missing_field(), Some("usual_days"));
}

#[test]
fn an_unknown_column_is_told_with_its_line_and_the_nearest_name() {
    let templates = own("Hello\n{{ frist_name }}", "ok").unwrap();
    let found = templates.check(&columns(&anna(&[])));
    let diagnosis = &found[0].diagnosis;
    assert_eq!((found.len(), found[0].severity, diagnosis.code.as_str()), (1, Severity::Error, "template_field"));
    assert!(diagnosis.file.as_ref().is_some_and(|file| file.ends_with("email.mjml")));
    assert_eq!((diagnosis.line, diagnosis.column), (Some(3), Some(4)));
    assert_eq!(diagnosis.hint.as_deref(), Some("did you mean `first_name`?"));
}

#[test]
fn mistakes_in_templates_are_told_before_a_run() {
    for (html, text, code, file, line) in [
        ("{% if a %}\nx", "ok", "template_syntax", "email.mjml", 2),
        ("ok", "one\n{{ first_name | }}", "template_syntax", "email.txt", 5),
        ("ok", "one\n\n{{ first_name|uper }}", "template_filter", "email.txt", 6),
        ("{{ greetin() }}", "ok", "template_function", "email.mjml", 2),
        ("ok", "{% include 'x' %}", "template_include", "email.txt", 4),
    ] {
        let error = own(html, text).unwrap_err().0;
        assert_eq!((error.code.as_str(), error.line), (code, Some(line)), "{html} {text}: {error:?}");
        assert!(error.file.as_ref().is_some_and(|found| found.ends_with(file)) && error.hint.is_some(), "{error:?}");
    }
    // What only shows when it is filled in: a yes-or-no printed, a sum of words, a misspelt part of the brand.
    for (text, line) in [("ok\n{{ flag }}", 5), ("{{ first_name|money }}", 4), ("\n\n{{ brand.adress }}", 6), ("{{ first_name / 2 }}", 4)] {
        let found = own("ok", text).unwrap().check(&columns(&anna(&[("flag", Field::Boolean(true))])));
        assert_eq!((found.len(), found[0].severity, found[0].diagnosis.line), (1, Severity::Error, Some(line)), "{text}: {found:?}");
    }
    let endless = own("ok", "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}").unwrap();
    assert_eq!(endless.render(&anna(&[]), &envelope()).unwrap_err().0.code, "template_fuel");
    let long = folder(&[
        ("email.mjml", LETTER),
        ("email.txt", "Subject: A subject that goes on and on, far beyond what any telephone shows\nPreview: P\n\nok\n"),
    ]);
    let found = Templates::load(long.path(), Channel::Email, &brand(), false).unwrap().check(&columns(&anna(&[])));
    assert_eq!((found.len(), found[0].severity, found[0].diagnosis.code.as_str()), (1, Severity::Warning, "subject_long"));
}

#[test]
fn a_folder_without_templates_or_with_two_says_so() {
    let empty = folder(&[]);
    for channel in [Channel::Email, Channel::Webhook] {
        assert_eq!(Templates::load(empty.path(), channel, &brand(), false).unwrap_err().0.code, "no_template");
    }
    let both = folder(&[("email.mjml", LETTER), ("email.html", "x")]);
    assert_eq!(Templates::load(both.path(), Channel::Email, &brand(), false).unwrap_err().0.code, "two_templates");
    let brand = Brand { postal_address: Vec::new(), ..brand() };
    let error = Templates::load(both.path(), Channel::Email, &brand, false).unwrap_err().0;
    assert!(error.message.contains("postal_address") && error.file.is_some(), "{error:?}");
}

#[test]
fn plain_html_alone_makes_a_whole_letter() {
    let folder = folder(&[(
        "email.html",
        "<html><head><title>For {{ first_name }} &amp; all</title><style>p { color: #123456 }</style></head><body><p>Hello {{ first_name }}</p></body></html>",
    )]);
    let templates = Templates::load(folder.path(), Channel::Email, &brand(), false).unwrap();
    let mail = mail(&templates, &anna(&[]), &envelope());
    assert_eq!((mail.subject.as_str(), mail.text.trim()), ("For Anna & all", "Hello Anna"));
    assert!(mail.html.contains("style=\"color: #123456;\"") || mail.html.contains("color: #123456\">"), "{}", mail.html);
    let found = templates.check(&columns(&anna(&[])));
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
}

#[test]
fn values_are_written_as_the_reader_writes_them() {
    let template = "{{ at }}|{{ at|date('short') }}|{{ at|date('day') }}|{{ at|date('month') }}|{{ at|date('weekday') }}|{{ price|money(currency) }}|{{ count|number }}|{{ year }}|{{ count|plural('cup', 'cups') }}|{{ at|days_later(1)|date('iso') }}|{{ price }}";
    let templates = own("ok", template).unwrap();
    for (locale, zone, expected) in [
        (
            "en-GB",
            "Europe/London",
            "31 December 2025|31/12/2025|31 December|December 2025|Wednesday|€12.50|1,234|2026|1,234 cups|2026-01-01|12.5",
        ),
        (
            "en-US",
            "America/New_York",
            "December 31, 2025|12/31/2025|December 31|December 2025|Wednesday|€12.50|1,234|2026|1,234 cups|2026-01-01|12.5",
        ),
        (
            "de-DE",
            "Europe/Berlin",
            "1 January 2026|01.01.2026|1 January|January|Thursday|12,50\u{a0}€|1.234|2026|1.234 cups|2026-01-02|12,5",
        ),
        ("ja-JP", "Asia/Tokyo", "1 January 2026|2026/01/01|1 January|January|Thursday|€12.50|1,234|2026|1,234 cups|2026-01-02|12.5"),
        (
            "ar-EG",
            "Africa/Cairo",
            "1 January 2026|01/01/2026|1 January|January|Thursday|€\u{a0}12.50|1,234|2026|1,234 cups|2026-01-02|12.5",
        ),
        ("", "", "1 January 2026|01/01/2026|1 January|January|Thursday|€12.50|1,234|2026|1,234 cups|2026-01-02|12.5"),
    ] {
        let mut row = person("A", "B", "", locale, zone);
        row.insert("at".into(), at("2025-12-31T23:30:00Z"));
        row.insert("price".into(), Field::Decimal { unscaled: 125_000, scale: 4 });
        row.insert("count".into(), Field::Integer(1234));
        row.insert("year".into(), Field::Integer(2026));
        row.insert("currency".into(), text("EUR"));
        assert_eq!(mail(&templates, &row, &envelope()).text.trim(), expected, "{locale}");
    }
}

#[test]
fn a_letter_in_another_language_speaks_it() {
    let folder = folder(&[
        ("email.mjml", LETTER),
        ("email.txt", "Subject: Ihre Bestellung\nPreview: P\nLanguage: de\n\n{{ greeting(\"Guten Tag\") }} {{ at|date }}\n"),
    ]);
    let templates = Templates::load(folder.path(), Channel::Email, &brand(), false).unwrap();
    let mail = mail(&templates, &anna(&[("at", at("2026-03-02T12:00:00Z"))]), &envelope());
    assert_eq!(mail.text.trim(), "Guten Tag Anna, 2. März 2026");
    assert!(mail.html.contains("<html lang=\"de\""), "{}", mail.html);
}

#[test]
fn people_without_a_name_are_greeted_without_one() {
    let templates = shipped("loyal-thanks", false);
    let mail = mail(&templates, &with_name(row("loyal-thanks"), ("", "", "", "en-GB")), &sent("loyal-thanks"));
    assert!(mail.text.starts_with("Hello,\n") && mail.html.contains("Hello,"), "{}", mail.text);
}

#[test]
fn practice_data_says_so_everywhere() {
    for (name, envelope) in letters() {
        let mail = mail(&shipped(name, true), &row(name), &envelope);
        assert!(mail.text.starts_with("PRACTICE DATA"), "{name}");
        let body = mail.html.split_once("<body").unwrap().1;
        assert!(body.split_once('>').unwrap().1.starts_with("<div role=\"note\"") && body.contains("PRACTICE DATA"), "{name}: {body}");
        assert!(String::from_utf8(mail.bytes).unwrap().contains("\r\nX-Perennial-Practice: yes\r\n"), "{name}");
    }
}

#[test]
fn the_same_row_makes_the_same_bytes_fit_for_the_wire() {
    for (name, envelope) in letters() {
        let templates = shipped(name, true);
        for who in people() {
            let row = with_name(row(name), who);
            let (mail, again) = (mail(&templates, &row, &envelope), mail(&templates, &row, &envelope));
            assert_eq!(mail.bytes, again.bytes);
            let wire = String::from_utf8(mail.bytes).unwrap();
            assert!(wire.is_ascii() && wire.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{name} {who:?}");
        }
    }
}

#[test]
fn a_handoff_is_json_for_every_name() {
    let templates = shipped("vip-handoff", true);
    for who in people() {
        let mut row = with_name(row("vip-handoff"), who);
        row.insert("what_changed".into(), text("said \"never again\"\\ and \n left"));
        let Message::Webhook { body } = templates.render(&row, &sent("vip-handoff")).unwrap() else { panic!("not a webhook") };
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(json["practice"].as_str().unwrap().starts_with("PRACTICE DATA"));
        let name = [who.0, who.1].iter().any(|name| !name.is_empty());
        assert_eq!(json["customer"]["name"].is_string(), name, "{body}");
        assert_eq!(json["call_before"], "2026-11-24");
        assert_eq!(json["what_they_mean_to_us"], "Platinum customer: 41 orders, €2,345.12 in all; mostly kitchen.");
        assert_eq!(json["last_ticket"]["complaint_still_open"], true);
        assert_eq!(json["what_changed"], "said \"never again\"\\ and left");
    }
}

/// Reads letters with Python's own parser and says of each what it found.
const PYTHON: &str = r"
import json, sys
from email import policy, message_from_bytes
found = []
for path in sys.argv[1:]:
    m = message_from_bytes(open(path, 'rb').read(), policy=policy.default)
    to = m['To'].addresses[0]
    found.append({
        'headers': {k: str(v) for k, v in m.items()},
        'name': to.display_name, 'to': to.addr_spec, 'type': m.get_content_type(),
        'parts': [[p.get_content_type(), p.get_content_charset(), p.get_content()] for p in m.iter_parts()],
        'defects': [repr(d) for p in m.walk() for d in p.defects] + [repr(d) for v in m.values() for d in v.defects],
        'date': m['Date'].datetime.isoformat(),
    })
print(json.dumps(found))
";

#[test]
#[allow(clippy::print_stderr)] // Says that it was skipped.
fn a_parser_that_is_not_ours_reads_every_name_back() {
    let Ok(python) = std::process::Command::new("python3").arg("--version").output() else {
        eprintln!("skipped: there is no python3 here");
        return;
    };
    assert!(python.status.success());
    let folder = tempfile::tempdir().unwrap();
    let (name, envelope) = letters().pop().unwrap();
    let templates = shipped(name, true);
    let mails: Vec<Mail> = people().into_iter().map(|who| mail(&templates, &with_name(row(name), who), &envelope)).collect();
    let mut run = std::process::Command::new("python3");
    run.args(["-c", PYTHON]);
    for (number, mail) in mails.iter().enumerate() {
        let file = folder.path().join(format!("{number}.eml"));
        fs::write(&file, &mail.bytes).unwrap();
        run.arg(file);
    }
    let output = run.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.len(), people().len());
    for ((read, mail), (first, last, _, locale)) in found.iter().zip(&mails).zip(people()) {
        let full = match (first, last, &locale[..2]) {
            (_, _, "ja" | "ko") => format!("{last}{first}"),
            _ => format!("{first} {last}").trim().to_owned(),
        };
        // What looks like an address is no name.
        let full = if full.contains('@') { first.to_owned() } else { full };
        assert_eq!(read["name"], full, "{read:#}");
        assert_eq!((&read["to"], &read["type"]), (&"anna@example.org".into(), &"multipart/alternative".into()));
        assert_eq!(read["defects"], serde_json::json!([]), "{read:#}");
        let headers = &read["headers"];
        assert_eq!(headers["Subject"], mail.subject);
        assert_eq!(headers["From"], "Fernwood <hello@fernwood.example>");
        assert_eq!(headers["Reply-To"], "hello@fernwood.example");
        assert_eq!(headers["Message-ID"], format!("<{}>", envelope.message_id));
        assert_eq!(headers["X-Perennial-Plan"], envelope.plan);
        assert_eq!(headers["X-Perennial-Practice"], "yes");
        assert_eq!(headers["MIME-Version"], "1.0");
        assert_eq!(headers["Content-Language"], "en");
        assert_eq!(
            headers["List-Unsubscribe"],
            "<https://fernwood.example/u/azEuYWJjZGVmZw>, <mailto:hello@fernwood.example?subject=unsubscribe>"
        );
        assert_eq!(headers["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
        assert_eq!(headers["List-Id"], "\"Fernwood\" <win-back.fernwood.example>");
        assert_eq!(read["date"], "2026-11-22T07:00:00+00:00");
        let parts = read["parts"].as_array().unwrap();
        let lines = |text: &serde_json::Value| text.as_str().unwrap().replace("\r\n", "\n").trim_end().to_owned();
        for (part, kind, ours) in [(&parts[0], "text/plain", &mail.text), (&parts[1], "text/html", &mail.html)] {
            assert_eq!((&part[0], &part[1]), (&kind.into(), &"utf-8".into()));
            assert_eq!(lines(&part[2]), ours.trim_end(), "{kind}");
        }
    }
}

#[test]
fn a_letter_without_a_link_to_stop_it_does_not_pretend() {
    let mail = mail(&own("Hello", "Hello").unwrap(), &anna(&[]), &Envelope { unsubscribe_url: None, ..envelope() });
    let wire = String::from_utf8(mail.bytes).unwrap();
    assert!(!wire.contains("List-Unsubscribe") && !wire.contains("List-Id") && !wire.contains("X-Perennial-Practice"), "{wire}");
    assert!(wire.contains("\r\nReply-To: hello@fernwood.example\r\n"), "{wire}");
}

proptest::proptest! {
    #[test]
    fn no_template_makes_the_program_fall(parts in proptest::collection::vec(
        proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-", "+", "if", "else", "endif", "for", "x", " ", "\n", "'", "\"", "\\", "|", "(", ")", "[", ".",
            "é", "日", "<p>", "</p>", "<mj-text>", "</mj-text>", "<", ">", "<!--", "-->", "href=\"", "raw", "endraw", "set", "=", "1", ":", ",",
        ]), 0..40)
    ) {
        let source = parts.concat();
        super::scan::names(&source);
        let _ = super::html::html(&source, Path::new("x"));
        let _ = super::html::mjml(&source, Path::new("x"));
        let _ = super::text::letter(&source, Path::new("x"));
        super::webhook::prepare(&source);
        if let Ok(templates) = own(&source, &source) {
            let _ = templates.check(&columns(&anna(&[])));
        }
    }
}
