//! Email through a relay, over a few connections that stay open, each owned by one task.
//!
//! | file | promise |
//! |---|---|
//! | `connection` | one session, driven command by command, so that it is known how far a message got |
//! | `reply` | what a reply, or its absence, means for the message |
//! | `stream` | the bytes below: counted, undelayed, sealed |
//! | `wire` | a message as it crosses: dot-stuffed, no bare line break |

mod connection;
mod reply;
mod stream;
mod wire;

/// What the fuzz targets reach through [`crate::fuzzing`].
pub(crate) mod fuzzing {
    pub(crate) use super::{
        connection::{Account, Attempt, Connection, Door, Letter, Timeouts},
        reply::Lost,
        wire::encode,
    };
}
#[cfg(test)]
pub(crate) mod sink;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc, time::Duration};

use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        client::{Certificate, TlsParameters},
        extension::ClientId,
    },
};

use tokio::time::timeout;

use self::connection::{Account, Attempt, Connection, Door, Letter, Timeouts};
use super::{
    error::{DeliveryError, TransportError},
    returns::ReturnPath,
    settings::{SmtpSettings, Tls},
    transport::{Outcome, Parcel, Queue},
};
use crate::{diagnosis::Diagnosis, ledger::Named, message::mailable, secret::Keys};

/// How long to wait before each new try to connect.
const CONNECT_AGAIN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];
/// How long a connection is kept open without a message.
const IDLE: Duration = Duration::from_secs(1);
/// How often one message is tried again after connections that broke before its first byte left.
const TRIES: usize = 3;
/// So many messages in a row whose connections broke mean that the relay does not work; going on would only make more unknowns.
const BROKEN_IN_A_ROW: usize = 3;

/// A mail relay.
pub(crate) struct Relay {
    door: Door,
    from: Address,
    /// Where bounces come back to, each message by an address of its own.
    returns: Option<(ReturnPath, Keys)>,
    connections: usize,
    /// How many messages a connection carries.
    messages: u64,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("host", &self.door.host).field("port", &self.door.port).finish_non_exhaustive()
    }
}

impl Relay {
    /// The relay the settings describe. `from` is the brand's sender; `returns` is where bounces come back to, if not there.
    pub(crate) fn new(
        settings: &SmtpSettings,
        root: &Path,
        from: &str,
        returns: Option<(ReturnPath, Keys)>,
    ) -> Result<Self, DeliveryError> {
        let wrong = |message: String, hint: &str| DeliveryError::Settings(Box::new(Diagnosis::new("smtp", message).hint(hint)));
        let sender = settings.return_path.as_deref().unwrap_or(from);
        let from = sender.parse::<Mailbox>().map_err(|_| {
            wrong("the sender is not an email address".to_owned(), "check `from` in `[brand]` and `return_path` in `[delivery.smtp]`")
        })?;
        let ascii = mailable(from.email.as_ref()).and_then(|address| address.parse().ok());
        let from = ascii.unwrap_or(from.email);
        let parameters = match settings.tls {
            Tls::None => None,
            Tls::Starttls | Tls::Tls => {
                let mut builder = TlsParameters::builder(settings.host.clone());
                if let Some(file) = &settings.ca {
                    let unreadable =
                        |reason: String| wrong(format!("{}: {reason}", file.display()), "`ca` names a PEM file with a certificate");
                    let pem = std::fs::read(root.join(file)).map_err(|error| unreadable(error.to_string()))?;
                    let certificate = Certificate::from_pem(&pem).map_err(|error| unreadable(error.to_string()))?;
                    builder = builder.add_root_certificate(certificate);
                }
                Some(
                    builder
                        .build()
                        .map_err(|error| wrong(format!("TLS cannot be set up: {error}"), "check `host` and `ca` in `[delivery.smtp]`"))?,
                )
            }
        };
        let account = match (&settings.username, &settings.password) {
            (Some(username), Some(password)) => {
                // One that cannot be read is said before anything else is done.
                password.resolve(root)?;
                let (username, password, root) = (username.clone(), password.clone(), root.to_owned());
                Some(Account { username, password, root, login: settings.login })
            }
            _ => None,
        };
        let door = Door {
            host: settings.host.clone(),
            port: settings.port(),
            tls: settings.tls,
            parameters,
            account,
            hello: ClientId::default(),
            timeouts: Timeouts::default(),
        };
        Ok(Self { door, from, returns, connections: settings.connections, messages: settings.messages_per_connection })
    }

    /// The relay's host.
    pub(crate) fn host(&self) -> &str {
        &self.door.host
    }

    /// How many connections are open at once.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Sends parcels over one connection, opened again where it breaks, until there are no more.
    pub(crate) async fn work(self: Arc<Self>, queue: Queue) {
        let (mut connection, mut next) = (None, None);
        let mut broken = 0;
        loop {
            let (message, letter) = match next.take() {
                // While the delivery stops only what has been announced already goes on.
                Some((message, _)) if queue.is_stopping() && !connection.as_ref().is_some_and(Connection::announces) => {
                    queue.done(message, Outcome::NotSent);
                    continue;
                }
                Some(letter) => letter,
                None => match self.next(&queue, &mut connection).await.map(|parcel| self.ready(parcel, &queue)) {
                    Some(Some(letter)) => letter,
                    Some(None) => continue,
                    None => break,
                },
            };
            next = queue.waiting().and_then(|parcel| self.ready(parcel, &queue));
            match self.deliver(&mut connection, &letter, next.as_ref().map(|(_, letter)| letter)).await {
                Ok(Delivered { outcome, lost }) => {
                    broken = if lost.is_some() { broken + 1 } else { 0 };
                    queue.done(message, outcome);
                    if let Some(reason) = lost.filter(|_| broken >= BROKEN_IN_A_ROW) {
                        queue.closed(TransportError::Unreachable { host: format!("{}:{}", self.door.host, self.door.port), reason });
                    }
                }
                Err(error) => {
                    queue.done(message, Outcome::NotSent);
                    queue.closed(error);
                }
            }
        }
        if let Some(connection) = connection {
            connection.quit().await;
        }
    }

    /// The next parcel. Meanwhile a connection is not kept open for nothing: a relay that takes fewer at once than we have workers lets the
    /// next one in only when another has gone.
    async fn next(&self, queue: &Queue, held: &mut Option<Connection>) -> Option<Parcel> {
        if held.is_some() {
            if let Ok(parcel) = timeout(IDLE, queue.next()).await {
                return parcel;
            }
            if let Some(connection) = held.take() {
                connection.quit().await;
            }
        }
        queue.next().await
    }

    /// Sends one parcel over a connection of its own.
    pub(crate) async fn send_alone(&self, parcel: &Parcel) -> Result<Outcome, TransportError> {
        let letter = match self.letter(parcel) {
            Ok(letter) => letter,
            Err(reason) => return Ok(Outcome::Rejected { reason, reply: None, dead: false }),
        };
        let mut connection = None;
        let delivered = self.deliver(&mut connection, &letter, None).await?;
        if let Some(connection) = connection {
            connection.quit().await;
        }
        Ok(delivered.outcome)
    }

    /// Sends one letter, and announces the next. A connection that breaks before the first byte of the letter is replaced; one that breaks
    /// after it makes the letter's fate unknown.
    async fn deliver(&self, held: &mut Option<Connection>, letter: &Letter, next: Option<&Letter>) -> Result<Delivered, TransportError> {
        let mut reason = String::new();
        for _ in 0..TRIES {
            let mut connection = match held.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let last = connection.messages + 1 >= self.messages;
            match connection.send(letter, next.filter(|_| !last)).await {
                Ok(Attempt::Answered(outcome)) => {
                    match last {
                        true => connection.quit().await,
                        false => *held = Some(connection),
                    }
                    return Ok(Delivered { outcome, lost: None });
                }
                Ok(Attempt::SenderRefused(reason)) => return Err(TransportError::Sender { host: self.door.host.clone(), reason }),
                Err(lost) if lost.begun => {
                    return Ok(Delivered { outcome: Outcome::Unknown(lost.reason.clone()), lost: Some(lost.reason) });
                }
                Err(lost) => reason = lost.reason,
            }
        }
        Ok(Delivered { outcome: Outcome::Deferred { reply: Some(reason.clone()), after: None, of_relay: false }, lost: Some(reason) })
    }

    /// A parcel as it will cross, or why it cannot.
    fn letter(&self, parcel: &Parcel) -> Result<Letter, &'static str> {
        let wire = wire::encode(&parcel.body)?;
        let to = parcel.to.trim().parse().map_err(|_| "no_address")?;
        let own = |(path, keys): &(ReturnPath, Keys)| path.address_for(keys, parcel.message.message_id.as_str()).parse();
        let from = self.returns.as_ref().map(own).transpose().map_err(|_| "return_path")?;
        Ok(Letter { from: from.unwrap_or_else(|| self.from.clone()), to, wire })
    }

    /// A parcel ready to cross; one that cannot is rejected at once.
    fn ready(&self, parcel: Parcel, queue: &Queue) -> Option<(Named, Letter)> {
        match self.letter(&parcel) {
            Ok(letter) => Some((parcel.message, letter)),
            Err(reason) => {
                queue.done(parcel.message, Outcome::Rejected { reason, reply: None, dead: false });
                None
            }
        }
    }

    async fn connect(&self) -> Result<Connection, TransportError> {
        for pause in CONNECT_AGAIN {
            match Connection::open(&self.door).await {
                Err(TransportError::Unreachable { .. }) => tokio::time::sleep(pause).await,
                answered => return answered,
            }
        }
        Connection::open(&self.door).await
    }
}

/// What became of one letter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// For the ledger.
    pub(crate) outcome: Outcome,
    /// Why the connection broke, where it did and no new one helped.
    pub(crate) lost: Option<String>,
}
