//! Secrets that stand nowhere but where they are used: at `trace`, in either form of log, in what is printed, in measures, in errors and in a
//! panic's words, whether the other side takes a login or a call, refuses it by repeating it, or breaks off.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::support::Folder;

const USERNAME: &str = "canary-account";
const PASSWORD: &str = "pa55/of+the&relay=7f3c";
const TOKEN: &str = "ya29.token-of-the-relay-51d0";
const MASTER: &str = "master-of-all-keys-0b9e44";
const MAILGUN: &str = "mailgun-signs-with-2a6d";
const POSTMARK: &str = "postmark:calls+with/93bb";

/// Secrets of Standard Webhooks: of our calls, and of a bridge's.
fn signing(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

/// Every secret, as itself and as it crosses a wire or a form.
fn canaries() -> Vec<String> {
    let plain = format!("\0{USERNAME}\0{PASSWORD}");
    let bearer = format!("user={USERNAME}\x01auth=Bearer {TOKEN}\x01\x01");
    let postmark = format!("postmark:{POSTMARK}");
    let mut all = vec![plain, bearer, postmark];
    all.extend([PASSWORD, TOKEN, MASTER, MAILGUN, POSTMARK].map(str::to_owned));
    all.extend([signing(7), signing(9)].map(|secret| secret.replace("whsec_", "")));
    let spelled = all.iter().flat_map(|secret| {
        let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        // A third of a text in base64 is enough to know it by, wherever it is cut off.
        let (whole, safe) = (STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret));
        let piece = whole[..whole.len().min(16)].to_owned();
        [secret.clone(), percent, safe, hex::encode(secret), piece, format!("{secret:?}").trim_matches('"').to_owned()]
    });
    spelled.collect()
}

#[track_caller]
fn keeps_quiet(what: &str, texts: &[&str]) {
    for text in texts {
        let lower = text.to_lowercase();
        if let Some(canary) = canaries().into_iter().find(|canary| lower.contains(&canary.to_lowercase())) {
            let line = text.lines().find(|line| line.to_lowercase().contains(&canary.to_lowercase()));
            panic!("{what}: `{canary}` is told: {}", line.unwrap_or(text));
        }
    }
}

/// What the other side does with a login, or with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    /// It repeats what it was sent.
    Repeats,
    Drops,
}

/// A server in threads of its own; what it heard of secrets says that they were sent at all.
struct Peer {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn start(serve: impl Fn(&TcpStream, &mut Vec<String>) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, serve) = (Arc::clone(&heard), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, serve) = (Arc::clone(&kept), Arc::clone(&serve));
                thread::spawn(move || {
                    let mut heard = Vec::new();
                    let _ = serve(&stream, &mut heard);
                    kept.lock().unwrap().append(&mut heard);
                });
            }
        });
        Self { port, heard }
    }

    /// A relay that asks for a login.
    fn relay(manner: Manner) -> Self {
        Self::start(move |stream, heard| {
            let mut out = stream;
            let mut lines = BufReader::new(stream);
            let mut line = String::new();
            out.write_all(b"220 relay\r\n")?;
            loop {
                line.clear();
                if lines.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let command = line.trim_end();
                match (command.get(..4).unwrap_or_default(), manner) {
                    ("EHLO", _) => out.write_all(b"250-relay\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n")?,
                    ("AUTH", manner) => {
                        heard.push(command.to_owned());
                        match manner {
                            Manner::Takes => out.write_all(b"235 2.7.0 welcome\r\n")?,
                            Manner::Repeats => {
                                let proof = command.rsplit(' ').next().unwrap_or_default();
                                let plain = STANDARD.decode(proof).unwrap_or_default();
                                let plain = String::from_utf8_lossy(&plain).replace(['\0', '\x01'], " ");
                                write!(out, "535-5.7.8 what is \"{command}\"?\r\n535 5.7.8 it says {plain}\r\n")?;
                            }
                            Manner::Drops => return Ok(()),
                        }
                    }
                    ("DATA", _) => {
                        out.write_all(b"354 go on\r\n")?;
                        while line != ".\r\n" {
                            line.clear();
                            if lines.read_line(&mut line)? == 0 {
                                return Ok(());
                            }
                        }
                        out.write_all(b"250 taken\r\n")?;
                    }
                    _ => out.write_all(b"250 ok\r\n")?,
                }
            }
        })
    }

    /// A receiver of calls.
    fn receiver(manner: Manner) -> Self {
        Self::start(move |stream, heard| {
            let mut out = stream;
            let mut lines = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap_or_default();
                }
                if line.to_lowercase().starts_with("webhook-signature:") {
                    heard.push(line.trim().to_owned());
                }
                if line == "\r\n" {
                    let mut body = vec![0; length];
                    lines.read_exact(&mut body)?;
                    let answer = head.replace("\r\n", " ");
                    match manner {
                        Manner::Takes => out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
                        Manner::Repeats => {
                            write!(out, "HTTP/1.1 400 Bad Request\r\nx-said: {answer}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())?
                        }
                        Manner::Drops => return Ok(()),
                    }
                    head.clear();
                    continue;
                }
                head.push_str(&line);
            }
        })
    }
}

/// A shop with letters and calls to send, and every kind of secret in its settings.
fn shop() -> (Folder, String, String) {
    let mut folder = Folder::practice(1_000);
    std::fs::write(folder.path("config/practice.key"), MASTER).unwrap();
    folder.json(&["run", "nightly"]);
    let approved = |campaign: &str| {
        let plan = folder.plan_of(campaign);
        assert!(plan["planned"].as_u64().unwrap() > 0, "{plan}");
        let id = plan["plan"].as_str().unwrap().to_owned();
        folder.run(&["approve", &id, "--by", "Mara"]).ended(0);
        id
    };
    let (letters, calls) = (approved("win-back"), approved("vip-handoff"));
    let settings = std::fs::read_to_string(folder.path("config/perennial.toml")).unwrap();
    let more = "[delivery.returns]\naddress = \"bounces@mail.fernwood.example\"\n\
        [delivery.returns.providers.gun.mailgun]\nsigning_key = { env = \"CANARY_MAILGUN\" }\n\
        [delivery.returns.providers.post.postmark]\nusername = \"postmark\"\npassword = { env = \"CANARY_POSTMARK\" }\n\
        [delivery.returns.providers.bridge.standard]\nsecret = { env = \"CANARY_BRIDGE\" }\n";
    std::fs::write(folder.path("config/perennial.toml"), format!("{settings}\n{more}")).unwrap();
    folder.set("PERENNIAL_LOG", "trace");
    (folder, letters, calls)
}

/// A copy of the shop, with the secrets where the settings look for them.
fn copy(shop: &Folder) -> Folder {
    let mut folder = shop.for_delivery();
    for (name, value) in [
        ("CANARY_PASSWORD", PASSWORD.to_owned()),
        ("CANARY_TOKEN", TOKEN.to_owned()),
        ("CANARY_CALLS", signing(7)),
        ("CANARY_BRIDGE", signing(9)),
        ("CANARY_MAILGUN", MAILGUN.to_owned()),
        ("CANARY_POSTMARK", POSTMARK.to_owned()),
        ("PERENNIAL_LOG", "trace".to_owned()),
    ] {
        folder.set(name, value);
    }
    folder
}

#[test]
fn no_secret_is_told_by_anything_that_is_logged_printed_or_counted() {
    let (shop, letters, calls) = shop();
    let mut logged = 0;
    for (login, secret) in [("password", "CANARY_PASSWORD"), ("xoauth2", "CANARY_TOKEN")] {
        for (manner, fault) in [
            (Manner::Takes, ""),
            (Manner::Takes, "smtp.connection.opened:1:panic"),
            (Manner::Takes, "smtp.message.begin:2:panic"),
            (Manner::Takes, "smtp.message.answered:1:io"),
            (Manner::Repeats, ""),
            (Manner::Drops, ""),
        ] {
            let relay = Peer::relay(manner);
            let mut folder = copy(&shop);
            folder.send_to_port(relay.port);
            folder.set("PERENNIAL__DELIVERY__SMTP__USERNAME", USERNAME);
            folder.set("PERENNIAL__DELIVERY__SMTP__LOGIN", login);
            folder.set("PERENNIAL__DELIVERY__SMTP__PASSWORD", format!("{{ env = \"{secret}\" }}"));
            folder.set("PERENNIAL_FAULT", fault);
            let form = if logged % 2 == 0 { "text" } else { "json" };
            let answer = folder.run(&["deliver", &letters, "--format", "json", "--log-format", form]);
            let what = format!("{login}, {manner:?}, {fault}, {form}");
            assert!(answer.stderr.len() > 10_000, "{what}: {answer:#?}");
            assert_eq!(answer.code == 0, manner == Manner::Takes && fault.is_empty(), "{what}: {}", answer.stdout);
            keeps_quiet(&what, &[&answer.stdout, &answer.stderr]);
            let heard = relay.heard.lock().unwrap().clone();
            assert!(heard.iter().any(|line| line.len() > 30), "{what}: nobody logged in: {heard:?}");
            let shown = folder.run(&["unknown", "list", "--format", "json"]);
            keeps_quiet(&what, &[&shown.stdout, &shown.stderr]);
            logged += 1;
        }
    }
    for (manner, fault) in [
        (Manner::Takes, ""),
        (Manner::Takes, "http.call.begin:1:panic"),
        (Manner::Takes, "http.call.answered:1:panic"),
        (Manner::Repeats, ""),
        (Manner::Drops, ""),
    ] {
        let receiver = Peer::receiver(manner);
        let mut folder = copy(&shop);
        folder.set("PERENNIAL__DELIVERY__WEBHOOK__URL", format!("http://127.0.0.1:{}/?key=x", receiver.port));
        folder.set("PERENNIAL__DELIVERY__WEBHOOK__SECRET", "{ env = \"CANARY_CALLS\" }");
        folder.set("PERENNIAL_FAULT", fault);
        let form = if logged % 2 == 0 { "text" } else { "json" };
        let answer = folder.run(&["deliver", &calls, "--format", "json", "--log-format", form]);
        let what = format!("calls, {manner:?}, {fault}, {form}");
        keeps_quiet(&what, &[&answer.stdout, &answer.stderr]);
        assert!(answer.stderr.len() > 10_000, "{what}: {answer:#?}");
        assert!(fault == "http.call.begin:1:panic" || !receiver.heard.lock().unwrap().is_empty(), "{what}: no call was signed");
        logged += 1;
    }
}

#[test]
fn no_secret_is_told_by_the_server_or_by_settings_that_cannot_be_used() {
    let (shop, ..) = shop();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut folder = copy(&shop);
    folder.set("PERENNIAL__SERVER__ADDRESS", format!("127.0.0.1:{port}"));
    for form in ["text", "json"] {
        let served = folder.command(&["serve", "--log-format", form]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = served.id().to_string();
        let ended = thread::spawn(move || served.wait_with_output().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = runtime.block_on(async {
            let client = reqwest::Client::new();
            let base = format!("http://127.0.0.1:{port}");
            for _ in 0..600 {
                if client.get(format!("{base}/health")).send().await.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let mut told = Vec::new();
            let right = format!("Basic {}", STANDARD.encode(format!("postmark:{POSTMARK}")));
            let bounce = "{\"RecordType\":\"Bounce\",\"Type\":\"HardBounce\",\"ID\":1,\"Email\":\"nobody@example.com\"}";
            for (name, authorization, body) in [
                ("post", right.as_str(), bounce),
                ("post", "Basic eDp5", bounce),
                ("gun", "", "{\"signature\":{\"timestamp\":\"1\",\"token\":\"t\",\"signature\":\"00\"},\"event-data\":{}}"),
                ("bridge", "", "[]"),
                ("nobody", right.as_str(), "{"),
            ] {
                let call = client.post(format!("{base}/returns/{name}")).header("authorization", authorization).body(body);
                let answer = call
                    .header("webhook-id", "m")
                    .header("webhook-timestamp", "1")
                    .header("webhook-signature", "v1,AAAA")
                    .send()
                    .await
                    .unwrap();
                told.push((answer.status().as_u16(), answer.text().await.unwrap()));
            }
            told.push((200, client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap()));
            told
        });
        assert!((200..300).contains(&told[0].0) && told[1].0 >= 400, "{told:?}");
        std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
        let output = ended.join().unwrap();
        let texts = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)];
        assert!(texts[1].len() > 1_000, "{}", texts[1]);
        keeps_quiet(form, &[&texts[0], &texts[1]]);
        told.iter().for_each(|(_, told)| keeps_quiet("an answer", &[told]));
    }
    // A secret that is not what it should be is named by where it stands.
    for (name, value) in [
        ("CANARY_BRIDGE", format!("whsec_{PASSWORD}")),
        ("CANARY_MAILGUN", " ".to_owned()),
        ("CANARY_POSTMARK", " ".to_owned()),
        ("PERENNIAL__DELIVERY__SMTP__PASSWORD", format!("\"{PASSWORD}\"")),
        ("PERENNIAL__DELIVERY__WEBHOOK__SECRET", format!("{{ value = \"{PASSWORD}\" }}")),
    ] {
        let mut folder = copy(&shop);
        folder.set("PERENNIAL__DELIVERY__SMTP__HOST", "127.0.0.1");
        folder.set("PERENNIAL__DELIVERY__WEBHOOK__URL", "http://127.0.0.1:1/");
        folder.set(name, value);
        for command in [["check", "--format", "json"], ["returns", "--format", "json"]] {
            let answer = folder.run(&command);
            keeps_quiet(name, &[&answer.stdout, &answer.stderr]);
        }
    }
}
