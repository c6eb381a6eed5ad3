//! What ships works as its provider documents it.

use std::fs;

use arrow::datatypes::{DataType, Field as Column, Schema, TimeUnit};

use super::{
    super::{
        SHIPPED,
        answer::{Door, Heard},
        auth::Tokens,
    },
    fakes,
    server::{Seen, Server},
    *,
};
use crate::{
    config,
    delivery::transport::Outcome,
    message::{Brand, Channel, Envelope, Field, Message, Row, Templates},
    secret::Secret,
};

/// Texts that have broken bodies before.
const NAME: &str = "O\"Neil <!channel> \\ & 😀";

fn shipped(name: &str) -> String {
    SHIPPED.iter().find(|(other, _)| *other == name).unwrap().1.to_owned()
}

/// What a deployment would fill in.
fn given(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "braze" => &[("instance", "rest.iad-01.braze.com"), ("campaign_id", "c-1")],
        "postmark" => &[("message_stream", "broadcast")],
        "salesforce-task" => &[("domain", "fernwood.my.salesforce.com")],
        "ses" => &[("region", "eu-west-1")],
        "slack" => &[("channel", "C1")],
        "twilio-sms" => &[("account_sid", "AC1"), ("api_key_sid", "SK1"), ("from", "+15017122661")],
        "twilio-whatsapp" => &[("account_sid", "AC1"), ("api_key_sid", "SK1"), ("from", "+15005550006"), ("content_sid", "HX1")],
        _ => &[],
    }
}

/// A shipped description as a server in this process can play it: in the open, and its secrets in files.
fn playable(name: &str) -> String {
    let text = shipped(name).replace("\nurl = \"https://", "\nurl = \"http://").replace("{ env = \"", "{ file = \"");
    let url = text.lines().find_map(|line| line.strip_prefix("url = \"http://")).unwrap().to_owned();
    let host = given(name).iter().fold(url, |url, (name, value)| url.replace(&format!("{{{name}}}"), value));
    let host = host.split(['/', '"']).next().unwrap();
    text.replacen("channel = ", &format!("allow = [\"{host}\"]\nchannel = "), 1)
}

#[derive(Debug)]
struct Fixed;

#[async_trait::async_trait]
impl Tokens for Fixed {
    async fn token(&self) -> Result<Secret, String> {
        Ok(Secret::new("sf-token"))
    }

    async fn refused(&self) {}
}

/// A shipped description's own caller, against a fake.
async fn against(name: &str, more: &[(&str, &str)], fake: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> (Caller, Server) {
    let root = tempfile::tempdir().unwrap();
    for (file, secret) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("BRAZE_KEY", "braze-key"),
        ("HUBSPOT_TOKEN", "pat-1"),
        ("POSTMARK_TOKEN", "pm-token"),
        ("SLACK_HOOK", "T0/B0/xyz"),
        ("SLACK_TOKEN", "xoxb-1"),
        ("TWILIO_SECRET", "twilio-secret"),
    ] {
        fs::write(root.path().join(file), secret).unwrap();
    }
    let server = Server::answering(fake).await;
    let given: Vec<(&str, &str)> = given(name).iter().chain(more).copied().collect();
    // A whole second between two calls is Slack's business, not this test's.
    let text = playable(name).replace("rate = { requests = 1,", "rate = { requests = 1000,");
    let api = api(&text, &given);
    let guard = Guard::with_lookup(&api.description.allow, leading_to(server.address));
    let caller = Caller::new(api, root.path(), guard, Arc::new(ManualClock::at(now())), Some(Arc::new(Fixed))).unwrap();
    (caller, server)
}

fn brand() -> Brand {
    let text = "name = \"Fernwood\"\nurl = \"https://fernwood.example\"\ndomain = \"fernwood.example\"\n\
        from = \"Fernwood <hello@fernwood.example>\"\npostal_address = [\"Fernwood\", \"Lindenallee 12\", \"Berlin\"]\nlocale = \"en-GB\"\n\
        timezone = \"Europe/Berlin\"\ncurrency = \"EUR\"\ncolor = \"#2f5d50\"\nsigned_by = \"Mara\"\n";
    config::parse(text, Path::new("b.toml")).unwrap()
}

fn envelope(to: &str) -> Envelope {
    Envelope {
        message_id: "0123456789abcdef0123456789abcdef@fernwood.example".into(),
        plan: "win-back-20261122T010000Z-0a1b2c3d".into(),
        campaign: "win-back".into(),
        to: to.into(),
        reply_to: "hello@fernwood.example".into(),
        unsubscribe_url: Some("https://hello.fernwood.example/u/azEuYWJjZGVmZw".into()),
        variant: None,
        step: 1,
        offer: None,
        as_of: now(),
        date: now(),
    }
}

fn row(phone: &str) -> Row {
    let text = |text: &str| Field::Text(text.to_owned());
    Row::from(
        [
            ("customer_id", text("crm:17")),
            ("email", text("ann@example.org")),
            ("first_name", text(NAME)),
            ("last_name", text("Berg")),
            ("honorific", Field::Null),
            ("locale", text("en-GB")),
            ("timezone", text("Europe/Berlin")),
            ("phone", text(phone)),
            ("orders", Field::Integer(7)),
            ("last_product", text("the \"Stöv\" \\ kettle")),
            ("last_order_at", Field::Instant(now())),
            ("what_changed", text("Line one.\nLine \"two\" <b>.")),
        ]
        .map(|(name, field)| (name.to_owned(), field)),
    )
}

fn columns() -> arrow::datatypes::SchemaRef {
    let kind = |field: &Field| match field {
        Field::Integer(_) => DataType::Int64,
        Field::Instant(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => DataType::Utf8,
    };
    Arc::new(Schema::new(row("+4915112345678").iter().map(|(name, field)| Column::new(name, kind(field), true)).collect::<Vec<_>>()))
}

/// A real letter.
fn letter(to: &str) -> Message {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("email.html"), "<html><head><title>Hello</title></head><body><p>Dear {{ first_name }},</p><a href=\"{{ unsubscribe_url }}\">stop</a></body></html>").unwrap();
    fs::write(
        folder.path().join("email.txt"),
        "Subject: Hello \"{{ first_name }}\"\n\nDear {{ first_name }},\n\n{{ what_changed }}\n\nStop: {{ unsubscribe_url }}\n",
    )
    .unwrap();
    let templates = Templates::load(folder.path(), Channel::Email, &brand(), false).unwrap();
    templates.render(&row("+4915112345678"), &envelope(to)).unwrap()
}

async fn post(caller: &Caller, to: &str, from: &str) -> Heard {
    let Message::Email { subject, html, text, bytes, .. } = letter(to) else { panic!("no letter") };
    let content = Content::Email { mime: &bytes, from, to, subject: &subject, html: &html, text: &text };
    tell(caller, &Outgoing { content, message_id: &envelope(to).message_id, campaign: "win-back", ..note("") }).await
}

/// A shipped body, filled in by the campaign's own templates.
fn filled(name: &str, phone: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let body = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/delivery/api/apis/bodies/{name}.json"))).unwrap();
    fs::write(folder.path().join("webhook.json"), body).unwrap();
    let templates = Templates::load(folder.path(), Channel::Webhook, &brand(), false).unwrap();
    let found = templates.check(&columns());
    assert!(found.is_empty(), "{name}: {found:#?}");
    let envelope = Envelope { unsubscribe_url: None, ..envelope("ann@example.org") };
    match templates.render(&row(phone), &envelope).unwrap() {
        Message::Webhook { body } => body,
        Message::Email { .. } => panic!("no note"),
    }
}

fn taken(id: &str) -> Heard {
    Heard { outcome: Outcome::Accepted(Some(id.to_owned())), door: Door::Open }
}

fn is_closed(heard: &Heard) -> bool {
    matches!((&heard.outcome, &heard.door), (Outcome::NotSent, Door::Closed(_)))
}

#[test]
fn every_description_is_in_order_once_it_is_filled_in() {
    for (name, text) in SHIPPED {
        let api = api(text, given(name));
        assert_eq!(api.channel(), if ["ses", "postmark"].contains(&name) { Channel::Email } else { Channel::Webhook }, "{name}");
        let found = Api::read(text, Path::new("x.toml"), &BTreeMap::new()).err().unwrap_or_default();
        assert!(found.iter().all(|found| found.code == "api_values" && found.line.is_some()), "{name}: {found:#?}");
        assert_eq!(found.is_empty(), given(name).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn ses_takes_the_letter_as_it_is() {
    let (caller, server) = against("ses", &[("configuration_set", "events")], fakes::ses).await;
    let from = "Fernwood <hello@fernwood.example>";
    assert_eq!(post(&caller, "ann@example.org", from).await, taken("200 0102019abc-1234-000000"));
    let told = server.seen()[0].json();
    assert_eq!(told["EmailTags"], serde_json::json!([{"Name": "perennial_id", "Value": "0123456789abcdef0123456789abcdef"}]));
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mime = STANDARD.decode(told["Content"]["Raw"]["Data"].as_str().unwrap()).unwrap();
    let Message::Email { bytes, .. } = letter("ann@example.org") else { panic!("no letter") };
    assert_eq!(mime, bytes);
    let mime = String::from_utf8(mime).unwrap();
    assert!(mime.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click") && mime.contains("\r\nList-Unsubscribe: <https://"));
    // Without a configuration set there is no such key at all.
    let (plain, server) = against("ses", &[], fakes::ses).await;
    assert_eq!(post(&plain, "ann@example.org", from).await, taken("200 0102019abc-1234-000000"));
    assert!(server.seen()[0].json().get("ConfigurationSetName").is_none());
    assert!(matches!(post(&plain, "virus@example.org", from).await.outcome, Outcome::Rejected { dead: false, .. }));
    assert!(matches!(post(&plain, "fast@example.org", from).await.outcome, Outcome::Deferred { .. }));
    assert!(matches!(post(&plain, "fault@example.org", from).await.outcome, Outcome::Unknown(_)));
    assert!(is_closed(&post(&plain, "stranger@example.org", from).await));
    assert!(is_closed(&post(&plain, "ann@example.org", "paused@fernwood.example").await));
    assert!(is_closed(&post(&plain, "ann@example.org", "other@elsewhere.example").await));
    let (nowhere, _) = against("ses", &[("configuration_set", "unheard-of")], fakes::ses).await;
    assert!(is_closed(&post(&nowhere, "ann@example.org", from).await));
}

#[tokio::test]
async fn postmark_gets_every_header_and_keeps_our_id() {
    let (caller, server) = against("postmark", &[], fakes::postmark).await;
    let from = "Fernwood <hello@fernwood.example>";
    assert_eq!(post(&caller, "ann@example.org", from).await, taken("200 0a129aee-e1cd"));
    let told = server.seen()[0].json();
    let header = |name: &str| {
        let headers = told["Headers"].as_array().unwrap();
        headers.iter().find(|header| header["Name"] == name).map(|header| header["Value"].as_str().unwrap().to_owned())
    };
    assert_eq!(header("X-PM-KeepID").as_deref(), Some("true"));
    assert_eq!(header("Message-ID").as_deref(), Some("<0123456789abcdef0123456789abcdef@fernwood.example>"));
    assert_eq!(header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let stop = "<https://hello.fernwood.example/u/azEuYWJjZGVmZw>, <mailto:hello@fernwood.example?subject=unsubscribe>";
    assert_eq!(header("List-Unsubscribe").as_deref(), Some(stop));
    assert_eq!(header("X-Perennial-Plan").as_deref(), Some("win-back-20261122T010000Z-0a1b2c3d"));
    assert_eq!(told["Metadata"]["perennial_id"], "0123456789abcdef0123456789abcdef");
    assert!(told["Subject"].as_str().unwrap().contains(NAME) && told["TextBody"].as_str().unwrap().contains(NAME));
    let gone = post(&caller, "gone@example.org", from).await;
    match &gone.outcome {
        Outcome::Rejected { dead: true, reply: Some(reply), .. } => {
            assert!(reply.starts_with("422 406 You tried") && !reply.contains("gone@"), "{reply}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(post(&caller, "odd@example.org", from).await.outcome, Outcome::Rejected { dead: false, .. }));
    assert!(matches!(post(&caller, "fast@example.org", from).await.outcome, Outcome::Deferred { .. }));
    assert!(matches!(post(&caller, "fault@example.org", from).await.outcome, Outcome::Unknown(_)));
    assert!(is_closed(&post(&caller, "ann@example.org", "Other <other@elsewhere.example>").await));
    let (stream, _) = against("postmark", &[("message_stream", "nowhere")], fakes::postmark).await;
    assert!(is_closed(&post(&stream, "ann@example.org", from).await));
}

#[tokio::test]
async fn slack_shows_the_note_and_nobody_calls_the_channel() {
    let body = filled("slack", "+4915112345678");
    let (caller, server) = against("slack", &[], fakes::slack).await;
    assert_eq!(tell(&caller, &note(&body)).await, taken("200 1795330800.000100"));
    let told = server.seen()[0].json();
    assert!(told["text"].as_str().unwrap().contains("O\"Neil &lt;!channel&gt; \\ &amp; 😀"));
    assert!(told["blocks"].to_string().contains("plain_text") && !told["blocks"].to_string().contains("mrkdwn"));
    for (channel, expected) in [("C2", "deferred"), ("C3", "unknown"), ("C9", "closed")] {
        let (caller, _) = against("slack", &[("channel", channel)], fakes::slack).await;
        let heard = tell(&caller, &note(&body)).await;
        let kind = match &heard.outcome {
            Outcome::Deferred { .. } => "deferred",
            Outcome::Unknown(_) => "unknown",
            _ if is_closed(&heard) => "closed",
            _ => "other",
        };
        assert_eq!(kind, expected, "{channel}: {heard:?}");
    }
    let wrong = tell(&caller, &note("{\"text\": \"x\", \"blocks\": [{\"type\": \"sparkle\"}]}")).await;
    assert!(matches!(wrong.outcome, Outcome::Rejected { .. }), "{wrong:?}");
}

#[tokio::test]
async fn hubspot_gets_a_task_that_is_due() {
    let body = filled("hubspot-task", "+4915112345678");
    let (caller, server) = against("hubspot-task", &[], fakes::hubspot).await;
    assert_eq!(tell(&caller, &note(&body)).await, taken("201 35781"));
    assert_eq!(server.seen()[0].json()["properties"]["hs_timestamp"], "2026-11-24T08:00:00Z");
    let wrong = tell(&caller, &note("{\"properties\": {\"hs_task_subject\": \"x\"}}")).await;
    let reply = Some("400 VALIDATION_ERROR words".to_owned());
    assert_eq!(wrong, Heard::open(Outcome::Rejected { reason: "refused", reply, dead: false }));
}

#[tokio::test]
async fn salesforce_gets_a_task_by_its_fields() {
    let body = filled("salesforce-task", "+4915112345678");
    let (caller, server) = against("salesforce-task", &[], fakes::salesforce).await;
    assert_eq!(tell(&caller, &note(&body)).await, taken("201 00T5e000008VJqEAM"));
    assert_eq!((server.seen()[0].method.as_str(), server.seen()[0].path.as_str()), ("POST", "/services/data/v62.0/sobjects/Task"));
    let with = |who: &str| body.replace("crm:17", who);
    assert!(matches!(tell(&caller, &note(&with("spent"))).await.outcome, Outcome::Deferred { .. }));
    assert!(matches!(tell(&caller, &note(&with("locked"))).await.outcome, Outcome::Deferred { .. }));
    assert!(matches!(tell(&caller, &note(&with("nobody"))).await.outcome, Outcome::Rejected { .. }));
    assert!(is_closed(&tell(&caller, &note(&body.replace("\"Priority\"", "\"Prioriti\""))).await));
    let client = caller.api().client_credentials().unwrap();
    assert_eq!(client.token_url, "https://fernwood.my.salesforce.com/services/oauth2/token");
}

#[tokio::test]
async fn braze_gets_one_person_and_what_their_words_need() {
    let body = filled("braze", "+4915112345678");
    let (caller, server) = against("braze", &[], fakes::braze).await;
    assert_eq!(tell(&caller, &note(&body)).await, taken("201 d-1"));
    let told = &server.seen()[0].json()["recipients"][0];
    assert_eq!((&told["external_user_id"], &told["trigger_properties"]["first_name"]), (&"crm:17".into(), &NAME.into()));
    let odd = tell(&caller, &Outgoing { customer_id: "crm:odd", ..note(&body) }).await;
    assert!(matches!(odd.outcome, Outcome::Unknown(_)), "{odd:?}");
    let (other, _) = against("braze", &[("campaign_id", "c-9")], fakes::braze).await;
    assert!(is_closed(&tell(&other, &note(&body)).await));
}

#[tokio::test]
async fn twilio_gets_a_form_and_its_mistakes_are_understood() {
    let (caller, server) = against("twilio-sms", &[], fakes::twilio).await;
    let sms = |phone: &str| filled("twilio-sms", phone);
    assert_eq!(tell(&caller, &note(&sms("+4915112345678"))).await, taken("201 SM87105da94bff44b999e4e6eb90d8eb6a"));
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&server.seen()[0].body).into_owned().collect();
    assert_eq!((form["To"].as_str(), form["From"].as_str()), ("+4915112345678", "+15017122661"));
    assert!(form["Body"].contains("the \"Stöv\" \\ kettle") && form["Body"].contains("STOP"), "{}", form["Body"]);
    assert!(!form.contains_key("MessagingServiceSid"));
    let stopped = tell(&caller, &note(&sms("+15005550010"))).await;
    let reply = Some("400 21610 Attempt to send to unsubscribed recipient (number)".to_owned());
    assert_eq!(stopped, Heard::open(Outcome::Rejected { reason: "refused", reply, dead: false }));
    assert!(matches!(tell(&caller, &note(&sms("0151 12345678"))).await.outcome, Outcome::Rejected { .. }));
    assert!(matches!(tell(&caller, &note(&sms("+15005550009"))).await.outcome, Outcome::Rejected { .. }));
    assert!(matches!(tell(&caller, &note(&sms("+15005550029"))).await.outcome, Outcome::Deferred { .. }));
    let (nobody, _) = against("twilio-sms", &[("from", "")], fakes::twilio).await;
    assert!(is_closed(&tell(&nobody, &note(&sms("+4915112345678"))).await));
}

#[tokio::test]
async fn twilio_gets_a_whatsapp_template_and_its_variables() {
    let (caller, server) = against("twilio-whatsapp", &[], fakes::twilio).await;
    let body = filled("twilio-whatsapp", "+4915112345678");
    assert_eq!(tell(&caller, &note(&body)).await, taken("201 SM87105da94bff44b999e4e6eb90d8eb6a"));
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&server.seen()[0].body).into_owned().collect();
    assert_eq!((form["To"].as_str(), form["From"].as_str()), ("whatsapp:+4915112345678", "whatsapp:+15005550006"));
    let variables: serde_json::Value = serde_json::from_str(&form["ContentVariables"]).unwrap();
    assert_eq!(variables, serde_json::json!({"1": NAME, "2": "the \"Stöv\" \\ kettle"}));
}

#[tokio::test]
async fn a_wrong_key_closes_the_way_and_rejects_nobody() {
    type Fake = fn(&Seen) -> Vec<u8>;
    let refusals: [(&str, Fake); 8] = [
        ("ses", fakes::ses),
        ("postmark", fakes::postmark),
        ("slack", fakes::slack),
        ("hubspot-task", fakes::hubspot),
        ("salesforce-task", fakes::salesforce),
        ("braze", fakes::braze),
        ("twilio-sms", fakes::twilio),
        ("twilio-whatsapp", fakes::twilio),
    ];
    for (name, fake) in refusals {
        let (caller, _) = against(name, &[], move |seen| {
            let mut seen = seen.clone();
            seen.headers.retain(|(name, _)| !["authorization", "x-postmark-server-token"].contains(&name.as_str()));
            fake(&seen)
        })
        .await;
        let heard = match caller.api().channel() {
            Channel::Email => post(&caller, "ann@example.org", "Fernwood <hello@fernwood.example>").await,
            Channel::Webhook => tell(&caller, &note(&filled(name, "+4915112345678"))).await,
        };
        assert!(is_closed(&heard), "{name}: {heard:?}");
    }
}

#[tokio::test]
async fn slacks_webhook_answers_in_words() {
    let body = filled("slack", "+4915112345678");
    let (caller, server) = against("slack-hook", &[], fakes::slack_hook).await;
    assert_eq!(tell(&caller, &note(&body)).await, taken("200"));
    assert_eq!(server.seen()[0].path, "/services/T0/B0/xyz");
    assert!(server.seen()[0].json()["text"].as_str().unwrap().contains("&lt;!channel&gt;"));
    let wrong = tell(&caller, &note("{\"text\": \"x\", \"blocks\": [{\"type\": \"sparkle\"}]}")).await;
    assert!(matches!(&wrong.outcome, Outcome::Rejected { reply: Some(reply), .. } if reply == "400 invalid_blocks"), "{wrong:?}");
    for (status, words) in [(403, "action_prohibited"), (404, "no_service"), (410, "channel_is_archived"), (400, "user_not_found")] {
        let (caller, _) = against("slack-hook", &[], move |_| super::server::answer(status, &[], words)).await;
        let heard = tell(&caller, &note(&body)).await;
        assert!(is_closed(&heard) && format!("{heard:?}").contains(words), "{heard:?}");
    }
    let (elsewhere, _) = against("slack-hook", &[], |_| super::server::answer(200, &[], "<html>Welcome</html>")).await;
    assert!(matches!(tell(&elsewhere, &note(&body)).await.outcome, Outcome::Unknown(_)));
}
