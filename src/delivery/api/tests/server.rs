//! An HTTP server in this process, scripted by bytes.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A request as it came in.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Answers = Arc<dyn Fn(&Seen) -> Vec<u8> + Send + Sync>;

/// What the server does with one connection.
#[derive(Clone)]
pub(super) enum Act {
    /// Reads the request, and answers.
    Answer(Vec<u8>),
    /// Reads the request, and answers byte by byte.
    Drip(Vec<u8>),
    /// Reads the request, and hangs up.
    HangUp,
    /// Reads the request, and says nothing until the caller goes.
    Silence,
    /// Says nothing from the start until the caller goes.
    Deaf,
    /// Reads the request, begins to answer, and goes on until the caller goes.
    Flood(Vec<u8>),
}

/// The server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Plays one act a connection; who comes after the last is hung up on.
    pub(super) async fn playing(acts: impl IntoIterator<Item = Act>) -> Self {
        let acts: Arc<Mutex<VecDeque<Act>>> = Arc::new(Mutex::new(acts.into_iter().collect()));
        Self::serving(Arc::new(move || acts.lock().unwrap().pop_front().unwrap_or(Act::HangUp)), None).await
    }

    /// Answers every request.
    pub(super) async fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(Arc::new(|| Act::Answer(Vec::new())), Some(Arc::new(answer))).await
    }

    async fn serving(act: Arc<dyn Fn() -> Act + Send + Sync>, answers: Option<Answers>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let mine = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(mine.clone().play(stream, act(), answers.clone()));
            }
        });
        server
    }

    /// What came in, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn play(self, mut stream: TcpStream, act: Act, answers: Option<Answers>) {
        if !matches!(act, Act::Deaf) {
            let Some(seen) = read(&mut stream).await else { return };
            self.seen.lock().unwrap().push(seen.clone());
            let act = answers.map_or(act, |answers| Act::Answer(answers(&seen)));
            match act {
                Act::Answer(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                }
                Act::Drip(bytes) => {
                    for byte in bytes {
                        let _ = stream.write_all(&[byte]).await;
                        let _ = stream.flush().await;
                        tokio::task::yield_now().await;
                    }
                }
                Act::Flood(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
                }
                Act::Silence => wait(&mut stream).await,
                Act::HangUp | Act::Deaf => {}
            }
        } else {
            wait(&mut stream).await;
        }
    }
}

/// Until the caller goes.
async fn wait(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
}

/// One request, by its `Content-Length`; a body in chunks is against the rules of half of those we call.
async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    let mut seen = Seen { method, path, headers, body: bytes.split_off(head + 4) };
    assert_eq!(seen.header("transfer-encoding"), None);
    let length: usize = seen.header("content-length")?.parse().unwrap();
    while seen.body.len() < length {
        if stream.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(seen)
}

/// An answer as bytes.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}
