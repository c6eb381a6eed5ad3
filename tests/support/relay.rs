//! A mail server whose answers a test chooses, and which keeps every message byte for byte as it crossed the connection.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::mailbox::Letter;

/// How a server behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// What it answers to `MAIL`, `RCPT`, `DATA` and `.` where it does not simply agree; the second word is the recipient's address, as far
    /// as it is known by then.
    pub(crate) answer: fn(&str, &str) -> Option<&'static str>,
    /// Whether it offers PIPELINING.
    pub(crate) pipelining: bool,
    /// How long it takes over each byte it says.
    pub(crate) pace: Duration,
}

/// It takes everything at once.
pub(crate) const KIND: Manner = Manner { answer: |_, _| None, pipelining: true, pace: Duration::ZERO };

/// A server in threads of its own; they end with the test.
pub(crate) struct Relay {
    pub(crate) port: u16,
    log: Arc<Mutex<Log>>,
}

/// What happened at a server.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log {
    /// Everybody it was asked to write to.
    pub(crate) asked: BTreeSet<String>,
    /// The messages it agreed to take, dot-unstuffed.
    pub(crate) taken: Vec<Vec<u8>>,
    /// How often a message and the next envelope came in one breath.
    pub(crate) together: usize,
}

impl Log {
    /// How often each Message-ID was taken.
    pub(crate) fn ids(&self) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        for message in &self.taken {
            *ids.entry(Letter::of(message).id).or_default() += 1;
        }
        ids
    }
}

impl Relay {
    /// A server of that manner.
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Log::default()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let _ = serve(&stream, &manner, &log);
                });
            }
        });
        Self { port, log }
    }

    /// What happened so far.
    pub(crate) fn log(&self) -> Log {
        self.log.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, manner: &Manner, log: &Mutex<Log>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let say = |words: &str| -> std::io::Result<()> {
        let mut out = stream;
        let line = format!("{words}\r\n");
        if manner.pace.is_zero() {
            return out.write_all(line.as_bytes());
        }
        for byte in line.as_bytes() {
            std::thread::sleep(manner.pace);
            out.write_all(&[*byte])?;
        }
        Ok(())
    };
    say("220 relay")?;
    let (mut recipient, mut agreed) = (String::new(), false);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                say("250-relay")?;
                say(if manner.pipelining { "250 PIPELINING" } else { "250 HELP" })?;
            }
            "MAIL" | "RSET" => {
                (recipient, agreed) = (String::new(), false);
                say((manner.answer)(&verb, "").unwrap_or("250 ok"))?;
            }
            "RCPT" => {
                recipient = command.split(['<', '>']).nth(1).unwrap_or_default().to_lowercase();
                log.lock().unwrap().asked.insert(recipient.clone());
                let answer = (manner.answer)("RCPT", &recipient);
                agreed = answer.is_none();
                say(answer.unwrap_or("250 ok"))?;
            }
            "DATA" => match (manner.answer)("DATA", &recipient) {
                Some(refusal) if !refusal.starts_with('3') => say(refusal)?,
                None if !agreed => say("503 5.5.1 nobody to write to")?,
                _ => {
                    say("354 go on")?;
                    let Some(message) = read_message(&mut lines)? else { return Ok(()) };
                    let mut log = log.lock().unwrap();
                    log.together += usize::from(!lines.buffer().is_empty());
                    let refusal = (manner.answer)(".", &recipient).or((!agreed).then_some("554 5.5.1 nobody to write to"));
                    if refusal.is_none() {
                        log.taken.push(message);
                    }
                    drop(log);
                    say(refusal.unwrap_or("250 2.0.0 taken"))?;
                }
            },
            "QUIT" => return say("221 goodbye"),
            _ => say("500 5.5.2 what?")?,
        }
    }
}

/// A message up to the dot that stands alone between two CRLF, and no other; `None` where the connection ends before it.
fn read_message(lines: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let (mut message, mut line, mut whole) = (Vec::new(), Vec::new(), true);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if whole && line == b".\r\n" {
            return Ok(Some(message));
        }
        message.extend_from_slice(if whole && line.starts_with(b".") { &line[1..] } else { &line });
        whole = line.ends_with(b"\r\n");
    }
}
