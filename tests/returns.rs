//! What comes back: a bounce in a mailbox names its message by the address it came to, a provider's call by its signature; either silences
//! whom it must, once.

use std::{collections::BTreeMap, fs, net::TcpListener, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Folder, sink::Sink, skip};

/// A practice shop that has sent its check-in letters, and the address each of them comes back to.
fn sent(sink: &Sink) -> (Folder, BTreeMap<String, (String, String)>) {
    let mut folder = Folder::practice(1_500);
    folder.json(&["run", "nightly"]);
    folder.send_to(sink);
    for inside in ["new", "cur", "tmp"] {
        fs::create_dir_all(folder.path("mail").join(inside)).unwrap();
    }
    let settings = fs::read_to_string(folder.path("config/perennial.toml")).unwrap();
    let returns = "[delivery.returns]\naddress = \"bounces@mail.fernwood.example\"\n\
                   [delivery.returns.mailboxes.bounces]\nmaildir = \"mail\"\n\
                   [delivery.returns.providers.bridge.standard]\nsecret = { env = \"BRIDGE\" }\n";
    fs::write(folder.path("config/perennial.toml"), format!("{settings}\n{returns}")).unwrap();
    folder.set("BRIDGE", format!("whsec_{}", STANDARD.encode([7; 32])));
    let plan = folder.plan_of("win-back")["plan"].as_str().unwrap().to_owned();
    folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
    folder.run(&["deliver", &plan]).ended(0);
    let mut letters = BTreeMap::new();
    for file in sink.files() {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_matches(['<', '>', ' ']).to_owned();
        let path = field("X-Mail-Args: ").split(['<', '>']).find(|part| part.contains('@')).unwrap_or_default().to_owned();
        let from = if path.is_empty() { field("X-Mail-Args: ") } else { path };
        let to = field("X-Rcpt-Args: ").split(['<', '>']).find(|part| part.contains('@')).unwrap().to_owned();
        letters.insert(field("Message-ID: "), (from, to));
    }
    (folder, letters)
}

/// A delivery report as Postfix writes it. `returned` is the message id in the headers it returns, if it returns any.
fn report(to: &str, recipient: &str, status: &str, returned: Option<&str>) -> String {
    let headers = returned.map(|id| format!("--B\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{id}>\n\n")).unwrap_or_default();
    format!(
        "Return-Path: <>\nDelivered-To: {to}\nTo: {to}\nFrom: MAILER-DAEMON@mx.example\nSubject: Undelivered\nAuto-Submitted: auto-replied\n\
         MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"B\"\n\n--B\n\nSorry.\n\n--B\n\
         Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; {recipient}\nAction: failed\n\
         Status: {status}\nDiagnostic-Code: smtp; 550 {status} <{recipient}>: no\n\n{headers}--B--\n"
    )
}

fn suppressed(folder: &Folder) -> Vec<String> {
    let list = folder.json(&["suppress", "list"]);
    let mut reasons: Vec<String> = list.as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort();
    reasons
}

#[test]
fn mail_that_came_back_silences_whom_it_must_and_is_read_once() {
    let Some(sink) = Sink::start(&[]) else { return skip("smtp-sink is not installed (Debian package postfix)") };
    let (folder, letters) = sent(&sink);
    assert!(letters.len() >= 8, "{} letters", letters.len());
    let paths: std::collections::BTreeSet<&String> = letters.values().map(|(path, _)| path).collect();
    assert_eq!(paths.len(), letters.len(), "every letter comes back to an address of its own");
    assert!(paths.iter().all(|path| path.starts_with("bounces+") && path.ends_with("@mail.fernwood.example")), "{paths:?}");

    let letters: Vec<(&String, &(String, String))> = letters.iter().collect();
    let put = |name: &str, mail: &str| fs::write(folder.path("mail/new").join(name), mail).unwrap();
    let (path, to) = letters[0].1;
    put("1.hard.mx", &report(path, to, "5.1.1", None));
    let (path, to) = letters[1].1;
    put("2.full.mx", &report(path, to, "5.2.2", None));
    let (_, to) = letters[2].1;
    put("3.by-header.mx", &report("bounces@mail.fernwood.example", to, "5.1.1", Some(letters[2].0)));
    let (path, _) = letters[3].1;
    let complaint =
        "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"B\"\n\n--B\n\nA complaint.\n\n\
                     --B\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\nUser-Agent: loop/1\n\n--B\n\
                     Content-Type: message/rfc822\n\nReturn-Path: <PATH>\nSubject: x\n\nHi\n\n--B--\n"
            .replace("PATH", path);
    put("4.complaint.mx", &format!("To: loop@mail.fernwood.example\n{complaint}"));
    // Nobody is silenced by what anybody can write.
    let (_, to) = letters[4].1;
    put(
        "5.forged.mx",
        &report("bounces+aaaa@mail.fernwood.example", to, "5.1.1", Some("0123456789abcdef0123456789abcdef@fernwood.example")),
    );
    put("6.away.mx", &format!("To: {}\nAuto-Submitted: auto-replied\nSubject: I am away\n\nBack on Monday.\n", letters[5].1.0));

    let read = folder.json(&["returns"]);
    assert_eq!(
        read,
        json!({ "mails": 6, "noted": { "bounced": 2, "complained": 1, "soft_bounced": 1 }, "known": 0, "ignored": { "auto_reply": 1, "not_ours": 1 } })
    );
    assert_eq!(suppressed(&folder), ["complaint", "hard_bounce", "hard_bounce"]);
    let again = folder.json(&["returns"]);
    assert_eq!((&again["mails"], &again["noted"]), (&json!(0), &json!({})));
    let left: Vec<_> =
        fs::read_dir(folder.path("mail/cur")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left.len(), 6, "no mail is deleted");
    assert!(left.contains(&"6.away.mx:2,".to_owned()) && left.contains(&"1.hard.mx:2,S".to_owned()), "{left:?}");

    // The same report told again, under another name in another place, says nothing new about the address.
    put("7.hard.mx", &report(&letters[0].1.0, &letters[0].1.1, "5.1.1", None));
    folder.json(&["returns"]);
    assert_eq!(suppressed(&folder).len(), 3);

    // Each of them is a row that SQL reads from the next night on.
    assert_eq!(events(&folder), [("bounced", 3), ("complained", 1), ("soft_bounced", 1)].map(|(kind, count)| (kind.to_owned(), count)));
}

/// What stands in the ledger's `events`, by kind.
fn events(folder: &Folder) -> Vec<(String, i64)> {
    let ledger = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("data/ledger.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect_with(ledger).await.unwrap();
        let events = sqlx::query_as("select kind, count(*) from events group by kind order by kind").fetch_all(&pool).await.unwrap();
        pool.close().await;
        events
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_proves_itself_is_believed_and_nobody_else() {
    let Some(sink) = Sink::start(&[]) else { return skip("smtp-sink is not installed (Debian package postfix)") };
    let (mut folder, letters) = sent(&sink);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    folder.set("PERENNIAL__SERVER__ADDRESS", format!("127.0.0.1:{port}"));
    let mut served = folder.command(&["serve", "--no-schedule"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    while reqwest::get(format!("{base}/health")).await.is_err() {
        assert!(served.try_wait().unwrap().is_none(), "the server has gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let client = reqwest::Client::new();
    let call = |name: &'static str, key: u8, body: Value| {
        let (client, base) = (client.clone(), base.clone());
        async move {
            let (body, at) = (body.to_string(), chrono::Utc::now().timestamp().to_string());
            let mut mac = Hmac::<Sha256>::new_from_slice(&[key; 32]).unwrap();
            mac.update(format!("msg_1.{at}.{body}").as_bytes());
            let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
            let request = client.post(format!("{base}/returns/{name}")).header("webhook-id", "msg_1").header("webhook-timestamp", at);
            request.header("webhook-signature", signature).body(body).send().await.unwrap().status().as_u16()
        }
    };
    let ids: Vec<&String> = letters.keys().collect();
    let told = json!([
        { "type": "complained", "message_id": ids[0], "at": "2026-11-27T10:00:00Z" },
        { "type": "bounced", "hard": true, "message_id": ids[1], "at": "2026-11-27T10:00:00Z" },
        { "type": "opened", "message_id": ids[2] },
        { "nonsense": true },
    ]);
    assert_eq!(call("bridge", 8, told.clone()).await, 406, "signed with another key");
    assert_eq!(call("somebody", 7, told.clone()).await, 404);
    assert!(suppressed(&folder).is_empty());
    assert_eq!(call("bridge", 7, told.clone()).await, 200);
    assert_eq!(call("bridge", 7, told).await, 200, "told twice");
    assert_eq!(suppressed(&folder), ["complaint", "hard_bounce"]);
    let measures = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    assert!(measures.contains("perennial_returns_total{kind=\"complained\"} 1"), "{measures}");
    assert!(!measures.contains('@'), "no address stands in a measure");
    let _ = served.kill();
    let _ = served.wait();
}
