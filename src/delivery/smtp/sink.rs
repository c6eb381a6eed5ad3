//! A relay for tests: it speaks SMTP over real sockets, does what its script says, and remembers what arrived.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What happens after the final dot of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dot {
    /// It is answered so.
    Say(&'static str),
    /// The connection is cut without a word; the message has arrived.
    Cut,
}

/// What the relay does. Each function is given the recipient's address.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    /// Whether it offers PIPELINING.
    pub(crate) pipelining: bool,
    /// What it says to MAIL.
    pub(crate) mail: &'static str,
    /// What it says to RCPT.
    pub(crate) rcpt: fn(&str) -> &'static str,
    /// What it says to DATA; a careless relay says 354 whatever came before.
    pub(crate) data: fn(&str) -> &'static str,
    /// What it does after the final dot.
    pub(crate) dot: fn(&str) -> Dot,
}

impl Default for Script {
    fn default() -> Self {
        Self { pipelining: true, mail: "250 ok", rcpt: |_| "250 ok", data: |_| "354 go on", dot: |_| Dot::Say("250 2.0.0 taken") }
    }
}

/// What a relay has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every message that arrived whole, as it stood on the wire.
    pub(crate) messages: Mutex<Vec<String>>,
    /// Every command.
    pub(crate) commands: Mutex<Vec<String>>,
    /// How often somebody connected.
    pub(crate) connections: AtomicUsize,
    /// How many messages have arrived.
    pub(crate) arrived: AtomicUsize,
}

/// A running relay; dropping it ends it.
pub(crate) struct Sink {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    /// What it has seen.
    pub(crate) seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    /// Starts a relay.
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                noted.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = session(tcp, script, &noted).await;
                });
            }
        });
        Self { port, seen, task }
    }

    /// The `Message-ID` of everything that arrived.
    pub(crate) fn message_ids(&self) -> Vec<String> {
        let messages = self.seen.messages.lock().unwrap();
        messages
            .iter()
            .map(|message| {
                let line = message.lines().find_map(|line| line.strip_prefix("Message-ID: <")).unwrap();
                line.trim_end_matches('>').to_owned()
            })
            .collect()
    }
}

async fn session(tcp: TcpStream, script: Script, seen: &Seen) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream = BufReader::new(tcp);
    stream.write_all(b"220 sink ready\r\n").await?;
    let (mut to, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        seen.commands.lock().unwrap().push(command.clone());
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let reply = match verb.as_str() {
            "EHLO" if script.pipelining => "250-sink\r\n250-PIPELINING\r\n250 8BITMIME",
            "EHLO" => "250-sink\r\n250 8BITMIME",
            "MAIL" => script.mail,
            "RCPT" => {
                to = command.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                (script.rcpt)(&to)
            }
            "DATA" => (script.data)(&to),
            "RSET" => "250 forgotten",
            "QUIT" => "221 bye",
            _ => "500 what",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        if verb == "QUIT" {
            return Ok(());
        }
        if verb == "DATA" && reply.starts_with("354") {
            let mut message = String::new();
            loop {
                line.clear();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if line == ".\r\n" {
                    break;
                }
                message.push_str(&line);
            }
            // A lone dot is no message.
            if !message.is_empty() {
                seen.messages.lock().unwrap().push(message);
                seen.arrived.fetch_add(1, Ordering::SeqCst);
            }
            match (script.dot)(&to) {
                Dot::Say(reply) => stream.write_all(format!("{reply}\r\n").as_bytes()).await?,
                Dot::Cut => return Ok(()),
            }
        }
    }
}
