//! Servers that remember how often they were given each message, and nothing else: one for mail, one for calls.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How often each message was received whole.
type Seen = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server in threads of its own; they end with the test.
pub(crate) struct Oracle {
    pub(crate) port: u16,
    seen: Seen,
}

impl Oracle {
    /// Takes mail, whoever it is for.
    pub(crate) fn mail() -> Self {
        Self::start(|stream, seen| {
            let _ = take_mail(stream, seen);
        })
    }

    /// Takes calls, and answers 200.
    pub(crate) fn calls() -> Self {
        Self::start(|stream, seen| {
            let _ = take_call(stream, seen);
        })
    }

    fn start(serve: fn(TcpStream, &Seen)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { port, seen }
    }

    /// What was received since the last time this was asked.
    pub(crate) fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn note(seen: &Seen, id: &str) {
    *seen.lock().unwrap().entry(id.to_owned()).or_default() += 1;
}

fn take_mail(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    stream.write_all(b"220 oracle\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let word: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        match word.as_slice() {
            b"EHLO" => stream.write_all(b"250-oracle\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")?,
            b"DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut id = String::new();
                loop {
                    line.clear();
                    // A message whose last dot never comes was not received.
                    if lines.read_until(b'\n', &mut line)? == 0 {
                        return Ok(());
                    }
                    if line == b".\r\n" {
                        break;
                    }
                    let text = String::from_utf8_lossy(&line);
                    if let Some(found) = text.trim_end().strip_prefix("Message-ID: <").and_then(|rest| rest.strip_suffix('>')) {
                        id = found.to_owned();
                    }
                }
                note(seen, &id);
                // Several messages are under way at any moment.
                std::thread::sleep(Duration::from_micros(500));
                stream.write_all(b"250 2.0.0 taken\r\n")?;
            }
            b"QUIT" => return stream.write_all(b"221 goodbye\r\n"),
            _ => stream.write_all(b"250 ok\r\n")?,
        }
    }
}

fn take_call(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => id = value.to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
    }
    lines.read_exact(&mut vec![0; length])?;
    note(seen, &id);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
