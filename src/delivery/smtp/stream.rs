//! The bytes below an SMTP connection: Nagle's delay off, every byte that leaves counted, and nothing read in the open after STARTTLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::io::{AsyncRead as _, AsyncWrite as _};
#[allow(deprecated)] // The only way to speak TLS from the first byte over a stream of our own.
use lettre::transport::smtp::client::AsyncNetworkStream;
use lettre::transport::smtp::client::{AsyncTokioStream, TlsParameters};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::faults;

/// What the stream tells the connection above it, through all layers of TLS.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    written: AtomicU64,
    starting_tls: AtomicBool,
    carrying: AtomicBool,
}

impl Gauge {
    /// How many bytes have been handed to the network so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What is written next carries a message with its final dot.
    pub(crate) fn carries_a_message(&self) {
        self.carrying.store(true, Ordering::Release);
    }

    /// From now on one reply may be read; whatever follows it before the handshake begins was slipped in.
    pub(crate) fn starting_tls(&self) {
        self.starting_tls.store(true, Ordering::Release);
    }
}

/// A TCP stream to a relay.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    gauge: Arc<Gauge>,
    line: Vec<u8>,
    replied: bool,
    asked: bool,
    /// Something was slipped in: not another byte is read or written.
    spoilt: bool,
    /// A message was written, and nothing has been read since.
    ended: bool,
}

impl Stream {
    /// Takes a fresh connection.
    pub(crate) fn new(tcp: TcpStream, gauge: Arc<Gauge>) -> io::Result<Self> {
        // Without this the last packet of every message waits about 40 ms for the other side's acknowledgement.
        tcp.set_nodelay(true)?;
        Ok(Self { tcp, gauge, line: Vec::new(), replied: false, asked: false, spoilt: false, ended: false })
    }

    /// Refuses bytes that follow the reply to STARTTLS in the open: they would be taken for replies of the sealed connection.
    fn watch(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            if self.replied {
                self.spoilt = true;
                return Err(spoilt());
            }
            self.line.push(*byte);
            if *byte == b'\n' {
                self.replied = self.line.get(3) == Some(&b' ');
                self.line.clear();
            }
        }
        Ok(())
    }
}

fn spoilt() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "something was slipped in before the handshake")
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.spoilt {
            return Poll::Ready(Err(spoilt()));
        }
        if std::mem::take(&mut self.ended) {
            faults::at("smtp.message.ended")?;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        if self.gauge.starting_tls.load(Ordering::Acquire) {
            let this = &mut *self;
            this.watch(&buf.filled()[before..])?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.spoilt {
            return Poll::Ready(Err(spoilt()));
        }
        let message = self.gauge.carrying.load(Ordering::Acquire);
        let torn = if message { faults::torn("smtp.message.torn", bytes.len()) } else { None };
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, torn.map_or(bytes, |half| &bytes[..half])))?;
        self.gauge.written.fetch_add(written as u64, Ordering::AcqRel);
        if message {
            self.gauge.carrying.store(false, Ordering::Release);
            self.ended = true;
            faults::at("smtp.message.torn")?;
        }
        if self.gauge.starting_tls.load(Ordering::Acquire) {
            // The first write is the command itself; the second begins the handshake, and from there on all is sealed.
            if self.asked && self.replied {
                self.gauge.starting_tls.store(false, Ordering::Release);
            }
            self.asked = true;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Stream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }
}

/// A stream that is secret from the first byte.
#[derive(Debug)]
#[allow(deprecated)]
pub(crate) struct Sealed(AsyncNetworkStream);

impl Sealed {
    /// Shakes hands over `stream`.
    #[allow(deprecated)]
    pub(crate) async fn over(stream: Stream, tls: TlsParameters) -> Result<Self, lettre::transport::smtp::Error> {
        let mut stream = AsyncNetworkStream::use_existing_tokio1(Box::new(stream));
        stream.upgrade_tls(tls).await?;
        Ok(Self(stream))
    }
}

impl AsyncRead for Sealed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl AsyncTokioStream for Sealed {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        #[allow(deprecated)]
        self.0.peer_addr()
    }
}
