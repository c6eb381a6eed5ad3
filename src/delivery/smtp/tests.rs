//! One connection against relays that do everything relays do.

use std::{sync::Arc, time::Duration};

use lettre::{Address, transport::smtp::extension::ClientId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    connection::{Attempt, Connection, Door, Letter, Timeouts},
    reply::Phase,
    sink::{Dot, Script, Sink},
};
use crate::{
    delivery::{
        error::TransportError,
        settings::{Login, Tls},
        transport::Outcome,
    },
    secret::SecretRef,
};

const MESSAGE: &str = "Message-ID: <m1@x>\r\n\r\nhello\r\n.\r\n";

fn door(port: u16) -> Door {
    Door {
        host: "127.0.0.1".into(),
        port,
        tls: Tls::None,
        parameters: None,
        account: None,
        hello: ClientId::Domain("here".into()),
        timeouts: Timeouts::default(),
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn letter(to: &str) -> Letter {
    Letter { from: address("shop@example.com"), to: address(to), wire: MESSAGE.into() }
}

async fn send(connection: &mut Connection, to: &str) -> Attempt {
    connection.send(&letter(to), None).await.unwrap()
}

#[tokio::test]
async fn refusals_leave_the_connection_open_and_reach_nobody() {
    for pipelining in [true, false] {
        let sink = Sink::start(Script {
            pipelining,
            rcpt: |to| match to {
                "gone@example.com" => "550 5.1.1 <gone@example.com>: no such user",
                "later@example.com" => "451 4.7.1 come back",
                _ => "250 ok",
            },
            // A careless relay: it wants the message whatever it said to RCPT.
            data: |to| if to == "full@example.com" { "452 4.3.1 disk full" } else { "354 go on" },
            dot: |to| if to == "bad@example.com" { Dot::Say("554 5.6.0 I do not like it") } else { Dot::Say("250 taken") },
            ..Script::default()
        })
        .await;
        let mut connection = Connection::open(&door(sink.port)).await.unwrap();
        let gone = send(&mut connection, "gone@example.com").await;
        let reply = Some("550 5.1.1 (address) no such user".to_owned());
        assert_eq!(gone, Attempt::Answered(Outcome::Rejected { reason: "refused", reply, dead: true }));
        for (to, code) in [("later@example.com", "451"), ("full@example.com", "452")] {
            let Attempt::Answered(Outcome::Deferred { reply: Some(reply), .. }) = send(&mut connection, to).await else { panic!("{to}") };
            assert!(reply.starts_with(code), "{reply}");
        }
        let Attempt::Answered(Outcome::Rejected { dead: false, .. }) = send(&mut connection, "bad@example.com").await else { panic!() };
        assert_eq!(send(&mut connection, "ann@example.com").await, Attempt::Answered(Outcome::Accepted(Some("250 taken".into()))));
        connection.quit().await;
        assert_eq!(sink.seen.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
        // The one the relay disliked after its final dot, and Ann's.
        assert_eq!(sink.message_ids().len(), 2, "pipelining: {pipelining}");
        let resets = sink.seen.commands.lock().unwrap().iter().filter(|command| *command == "RSET").count();
        assert_eq!(resets, 3, "pipelining: {pipelining}");
    }
}

#[tokio::test]
async fn a_relay_that_refuses_the_sender_stops_everything() {
    for pipelining in [true, false] {
        let sink = Sink::start(Script { pipelining, mail: "550 5.7.1 not yours", ..Script::default() }).await;
        let mut connection = Connection::open(&door(sink.port)).await.unwrap();
        assert_eq!(send(&mut connection, "ann@example.com").await, Attempt::SenderRefused("550 5.7.1 not yours".into()));
        assert!(sink.message_ids().is_empty());
    }
}

#[tokio::test]
async fn goodbye_in_the_middle_means_not_sent() {
    let sink = Sink::start(Script { rcpt: |_| "421 4.3.2 closing", ..Script::default() }).await;
    let mut connection = Connection::open(&door(sink.port)).await.unwrap();
    let lost = connection.send(&letter("ann@example.com"), None).await.unwrap_err();
    assert_eq!((lost.phase, lost.begun), (Phase::Recipient, false));
}

#[tokio::test]
async fn a_relay_that_says_nothing_after_the_dot_leaves_the_message_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        // Answers everything up to DATA at once, and then nothing any more.
        tcp.write_all(b"220 hi\r\n250 silent\r\n250 silent\r\n250 ok\r\n250 ok\r\n354 go on\r\n").await.unwrap();
        let mut sunk = Vec::new();
        let _ = tcp.read_to_end(&mut sunk).await;
    });
    let timeouts = Timeouts { message: Duration::from_millis(50), ..Timeouts::default() };
    let mut connection = Connection::open(&Door { timeouts, ..door(port) }).await.unwrap();
    let lost = connection.send(&letter("ann@example.com"), None).await.unwrap_err();
    assert_eq!((lost.phase, lost.begun), (Phase::Message, true));
    silent.abort();
}

#[tokio::test]
async fn starttls_is_demanded_and_nothing_may_be_slipped_in_before_it() {
    let tls = || lettre::transport::smtp::client::TlsParameters::new("127.0.0.1".into()).unwrap();
    let sealed = |port| Door { tls: Tls::Starttls, parameters: Some(tls()), ..door(port) };
    let sink = Sink::start(Script::default()).await;
    let Err(TransportError::Refused { reason, .. }) = Connection::open(&sealed(sink.port)).await else { panic!() };
    assert_eq!(reason, "it does not offer STARTTLS");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let attacker = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"220 hi\r\n").await.unwrap();
        let mut asked = [0; 512];
        let _ = tcp.read(&mut asked).await.unwrap();
        tcp.write_all(b"250-x\r\n250 STARTTLS\r\n").await.unwrap();
        let _ = tcp.read(&mut asked).await.unwrap();
        tcp.write_all(b"220 go on\r\n250-x\r\n250 AUTH PLAIN\r\n").await.unwrap();
        let mut sunk = Vec::new();
        let _ = tcp.read_to_end(&mut sunk).await;
        sunk
    });
    assert!(Connection::open(&sealed(port)).await.is_err());
    assert!(attacker.await.unwrap().is_empty(), "no handshake begins after that");
}

/// A relay that has said everything before it was asked, and then reads to the end: its port, and what it read.
async fn hasty(said: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let relay = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(said.as_bytes()).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut heard = Vec::new();
        let _ = tcp.read_to_end(&mut heard).await;
        String::from_utf8(heard).unwrap()
    });
    (port, relay)
}

#[tokio::test]
async fn a_yes_to_another_question_is_no_answer() {
    // One reply too many moves all that follow; each ends the session before a letter counts as taken, or as read at all.
    for (said, phase, begun) in [
        ("354 go on\r\n", Phase::Mail, false),
        ("250 ok\r\n354 go on\r\n", Phase::Recipient, false),
        ("250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n", Phase::Data, false),
        ("250 ok\r\n250 ok\r\n354 go on\r\n354 go on\r\n250 taken\r\n", Phase::Message, true),
    ] {
        for greeting in ["220 x\r\n250 x\r\n250 x\r\n", "220 x\r\n250-x\r\n250 PIPELINING\r\n250-x\r\n250 PIPELINING\r\n"] {
            let (port, relay) = hasty(format!("{greeting}{said}").leak()).await;
            let mut connection = Connection::open(&door(port)).await.unwrap();
            let lost = connection.send(&letter("ann@example.com"), None).await.unwrap_err();
            assert_eq!((lost.phase, lost.begun), (phase, begun), "{said}");
            assert!(lost.reason.starts_with("its replies are out of step: "), "{}", lost.reason);
            drop(connection);
            assert_eq!(relay.await.unwrap().contains("hello"), begun, "{said}");
        }
    }
}

#[tokio::test]
async fn a_relay_that_does_not_forget_a_recipient_gets_no_other() {
    for greeting in ["220 x\r\n250 x\r\n250 x\r\n", "220 x\r\n250-x\r\n250 PIPELINING\r\n250-x\r\n250 PIPELINING\r\n"] {
        let refused = if greeting.contains("PIPELINING") { "250 ok\r\n550 no\r\n503 no\r\n" } else { "250 ok\r\n550 no\r\n" };
        let (port, relay) =
            hasty(format!("{greeting}{refused}502 no RSET here\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n").leak()).await;
        let mut connection = Connection::open(&door(port)).await.unwrap();
        assert!(matches!(send(&mut connection, "gone@example.com").await, Attempt::Answered(Outcome::Rejected { .. })));
        let lost = connection.send(&letter("ann@example.com"), None).await.unwrap_err();
        assert_eq!((lost.begun, lost.reason.as_str()), (false, "502 no RSET here"));
        drop(connection);
        assert!(!relay.await.unwrap().contains("hello"));
    }
}

#[tokio::test]
async fn a_relay_that_repeats_the_login_is_told_of_without_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("password"), "correct horse 4711\n").unwrap();
    // base64 of "\0shop\0correct horse 4711", of the password, and of "user=shop\x01auth=Bearer correct horse 4711\x01\x01".
    for (login, offered, repeated) in [
        (Login::Password, "PLAIN", "AHNob3AAY29ycmVjdCBob3JzZSA0NzEx"),
        (Login::Password, "PLAIN", "\"AUTH PLAIN AHNob3AAY29ycmVj\"..."),
        (Login::Password, "PLAIN", "ahnob3aay29ycmvjdcbob3jzzsa0nzex"),
        (Login::Password, "PLAIN", "Y29ycmVjdCBob3JzZSA0NzEx"),
        (Login::Password, "PLAIN", "<correct horse 4711>"),
        (Login::Xoauth2, "XOAUTH2", "dXNlcj1zaG9wAWF1dGg9QmVhcmVyIGNvcnJlY3QgaG9yc2UgNDcxMQEB"),
    ] {
        let account = || super::connection::Account {
            username: "shop".into(),
            password: SecretRef::File("password".into()),
            root: root.path().to_owned(),
            login,
        };
        for code in [454, 500, 535] {
            let said = format!("220 x\r\n250-x\r\n250 AUTH {offered}\r\n250 x\r\n{code} 5.7.8 what is {repeated} of shop@example.com\r\n");
            let (port, _relay) = hasty(said.leak()).await;
            let Err(error) = Connection::open(&Door { account: Some(account()), ..door(port) }).await else { panic!("{repeated}") };
            // The port may hold four of the digits.
            let [shown, debug] = [error.to_string(), format!("{error:?}")].map(|text| text.replace(&port.to_string(), ""));
            assert!(shown.contains("(secret)") && shown.contains("5.7.8 what is"), "{shown}");
            for piece in ["correct horse", "4711", "AHNob3AA", "ahnob3aa", "Y29ycm", "dXNlcj", "example.com"] {
                assert!(!shown.contains(piece) && !debug.contains(piece), "{shown}");
            }
        }
    }
}

/// What a relay knows when its connection is cut.
#[derive(Debug, Default, Clone, Copy)]
struct Knows {
    /// How many bytes of the session had passed.
    passed: usize,
    /// How many messages it had read anything of.
    begun: usize,
    /// How many it had read to their final dot.
    whole: usize,
    /// How many it had answered.
    answered: usize,
}

/// A relay that cuts its only connection after `budget` bytes of the session, both directions counted.
async fn cut(tcp: &mut TcpStream, budget: usize, pipelining: bool, knows: &mut Knows) -> Option<()> {
    async fn say(tcp: &mut TcpStream, text: &str, budget: usize, knows: &mut Knows) -> Option<()> {
        let allowed = text.len().min(budget - knows.passed);
        tcp.write_all(&text.as_bytes()[..allowed]).await.ok()?;
        knows.passed += allowed;
        (allowed == text.len()).then_some(())
    }
    async fn hear(tcp: &mut TcpStream, budget: usize, knows: &mut Knows, message: bool) -> Option<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            if knows.passed == budget {
                return None;
            }
            line.push(tcp.read_u8().await.ok()?);
            knows.passed += 1;
            knows.begun = knows.whole + usize::from(message);
        }
        String::from_utf8(line).ok()
    }
    say(tcp, "220 hi\r\n", budget, knows).await?;
    loop {
        let command = hear(tcp, budget, knows, false).await?;
        let reply = match (&command[..4], pipelining) {
            ("EHLO", true) => "250-x\r\n250 PIPELINING\r\n",
            ("EHLO", false) => "250 x\r\n",
            ("DATA", _) => "354 go on\r\n",
            _ => "250 ok\r\n",
        };
        say(tcp, reply, budget, knows).await?;
        if command.starts_with("DATA") {
            while hear(tcp, budget, knows, true).await? != ".\r\n" {}
            knows.whole += 1;
            say(tcp, "250 taken\r\n", budget, knows).await?;
            knows.answered += 1;
        }
    }
}

#[tokio::test]
async fn a_connection_cut_after_any_byte_is_classed_right() {
    for pipelining in [true, false] {
        let (mut budget, mut last) = (0, Knows::default());
        let mut classes = [0; 3];
        while last.answered < 2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let relay = tokio::spawn(async move {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut knows = Knows::default();
                let _ = cut(&mut tcp, budget, pipelining, &mut knows).await;
                knows
            });
            // Two letters, the second announced with the first; none is sent once the connection broke.
            let mut outcomes = [None, None];
            if let Ok(mut connection) = Connection::open(&door(port)).await {
                let letters = [letter("ann@example.com"), letter("ben@example.com")];
                for (at, outcome) in outcomes.iter_mut().enumerate() {
                    match connection.send(&letters[at], letters.get(at + 1)).await {
                        Ok(attempt) => *outcome = Some(Ok(attempt)),
                        Err(lost) => {
                            *outcome = lost.begun.then_some(Err(lost));
                            break;
                        }
                    }
                }
            }
            last = relay.await.unwrap();
            for (at, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    None => {
                        assert!(last.begun <= at, "called not sent after {budget} bytes, though the relay had read of it");
                        classes[0] += 1;
                    }
                    Some(Err(_)) => classes[1] += 1,
                    Some(Ok(attempt)) => {
                        assert_eq!(attempt, &Attempt::Answered(Outcome::Accepted(Some("250 taken".into()))));
                        assert!(last.whole > at, "called accepted after {budget} bytes");
                        classes[2] += 1;
                    }
                }
                if last.whole > at && last.answered <= at {
                    assert!(matches!(outcome, Some(Err(_))), "no answer to the final dot is unknown, after {budget} bytes");
                }
            }
            budget += 1;
        }
        assert!(classes.iter().all(|count| *count > 0), "{classes:?}");
    }
}

#[tokio::test]
async fn an_announced_letter_is_judged_by_its_own_replies() {
    let sink = Sink::start(Script {
        rcpt: |to| if to == "gone@example.com" { "550 5.1.1 no such user" } else { "250 ok" },
        dot: |to| if to == "bad@example.com" { Dot::Say("554 5.6.0 I do not like it") } else { Dot::Say("250 taken") },
        ..Script::default()
    })
    .await;
    let mut connection = Connection::open(&door(sink.port)).await.unwrap();
    // Each announces the one after it; a careless relay wants a message also for the one it refused.
    let letters = ["ann", "gone", "ben", "bad", "gone", "gone", "cem"].map(|name| letter(&format!("{name}@example.com")));
    let mut outcomes = Vec::new();
    for (at, letter) in letters.iter().enumerate() {
        let Attempt::Answered(outcome) = connection.send(letter, letters.get(at + 1)).await.unwrap() else { panic!() };
        outcomes.push(match outcome {
            Outcome::Accepted(_) => "accepted",
            Outcome::Rejected { dead: true, .. } => "gone",
            Outcome::Rejected { dead: false, .. } => "rejected",
            _ => "?",
        });
    }
    assert_eq!(outcomes, ["accepted", "gone", "accepted", "rejected", "gone", "gone", "accepted"]);
    assert!(!connection.announces());
    // What was announced can only be followed by itself.
    connection.send(&letter("ann@example.com"), Some(&letter("ben@example.com"))).await.unwrap();
    let lost = connection.send(&letter("cem@example.com"), None).await.unwrap_err();
    assert_eq!((lost.phase, lost.begun), (Phase::Mail, false));
    assert_eq!(sink.seen.arrived.load(std::sync::atomic::Ordering::SeqCst), 5, "the relay's refusal after the dot counts as arrived here");
}

/// A TLS relay in Python, so that both ends are not of one make. Prints its port, then a line a message.
const PYTHON_RELAY: &str = r#"
import socket, ssl, sys
cert, key, mode = sys.argv[1:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
sealed = mode == "tls"
if sealed:
    peer = context.wrap_socket(peer, server_side=True)
lines = peer.makefile("rb")
peer.sendall(b"220 python\r\n")
for line in lines:
    word = line.split()[0].upper()
    if word == b"EHLO":
        peer.sendall(b"250-python\r\n250-PIPELINING\r\n250 " + (b"AUTH PLAIN LOGIN XOAUTH2" if sealed else b"STARTTLS") + b"\r\n")
    elif word == b"STARTTLS":
        peer.sendall(b"220 go on\r\n")
        peer = context.wrap_socket(peer, server_side=True)
        lines, sealed = peer.makefile("rb"), True
        # The loop above iterates over the old file; go on with the new one.
        for line in iter(lines.readline, b""):
            word = line.split()[0].upper()
            if word == b"EHLO":
                peer.sendall(b"250-python\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n")
            elif word == b"AUTH":
                print("auth", line.decode().split()[2], flush=True)
                peer.sendall(b"235 welcome\r\n")
            elif word == b"DATA":
                peer.sendall(b"354 go on\r\n")
                while lines.readline() != b".\r\n":
                    pass
                print("message", flush=True)
                peer.sendall(b"250 taken\r\n")
            else:
                peer.sendall(b"250 ok\r\n")
        break
    elif word == b"AUTH":
        print("auth", line.decode().split()[2], flush=True)
        peer.sendall(b"235 welcome\r\n")
    elif word == b"DATA":
        peer.sendall(b"354 go on\r\n")
        while lines.readline() != b".\r\n":
            pass
        print("message", flush=True)
        peer.sendall(b"250 taken\r\n")
    else:
        peer.sendall(b"250 ok\r\n")
"#;

#[tokio::test]
async fn mail_crosses_both_kinds_of_tls_with_a_login() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    let root = tempfile::tempdir().unwrap();
    let (cert, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) || Command::new("python3").arg("--version").output().is_err() {
        #[allow(clippy::print_stderr)] // A test that did not run says so.
        {
            eprintln!("skipped: openssl and python3 are needed");
        }
        return;
    }
    // base64 of "\0shop\0renewed" and "user=shop\x01auth=Bearer renewed\x01\x01".
    let (password, token) = ("AHNob3AAcmVuZXdlZA==", "dXNlcj1zaG9wAWF1dGg9QmVhcmVyIHJlbmV3ZWQBAQ==");
    let cases =
        [(Tls::Tls, "tls", "password", password), (Tls::Starttls, "starttls", "password", password), (Tls::Tls, "tls", "xoauth2", token)];
    for (tls, mode, login, proof) in cases {
        let mut relay =
            Command::new("python3").args(["-c", PYTHON_RELAY]).arg(&cert).arg(&key).arg(mode).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
        let password = root.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        let settings: crate::delivery::SmtpSettings = toml::from_str(&format!(
            "host = \"localhost\"\nport = {port}\ntls = \"{mode}\"\nusername = \"shop\"\nlogin = \"{login}\"\npassword = {{ file = \"password\" }}\nca = \"cert.pem\"\n"
        ))
        .unwrap();
        assert_eq!(settings.tls, tls);
        let relay_side = Arc::new(super::Relay::new(&settings, root.path(), "Shop <shop@example.com>", None).unwrap());
        // Whoever renews a token writes it into the file; the next connection takes it.
        std::fs::write(root.path().join("password"), "renewed\n").unwrap();
        let mut connection = Connection::open(&relay_side.door).await.unwrap();
        assert_eq!(send(&mut connection, "ann@example.com").await, Attempt::Answered(Outcome::Accepted(Some("250 taken".into()))));
        connection.quit().await;
        assert_eq!(lines.next().unwrap().unwrap(), format!("auth {proof}"));
        assert_eq!(lines.next().unwrap().unwrap(), "message");
        let stranger = toml::from_str(&format!("host = \"localhost\"\nport = {port}\ntls = \"{mode}\"\n")).unwrap();
        let stranger = super::Relay::new(&stranger, root.path(), "shop@example.com", None).unwrap();
        assert!(Connection::open(&stranger.door).await.is_err(), "a certificate nobody vouches for is not accepted");
        let _ = relay.kill();
        let _ = relay.wait();
    }
}
