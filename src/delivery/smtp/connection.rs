//! One connection to a relay, driven command by command, so that it is always known how far a message got.
//!
//! The library's own `send` cannot say whether a message broke before DATA or after its final dot; for "never twice" that is the whole
//! question.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters},
        commands::{Ehlo, Quit, Rset},
        extension::ClientId,
        response::Response,
    },
};
use tokio::{net::TcpStream, time::timeout};

use super::{
    reply::{Lost, Phase, Reply},
    stream::{Gauge, Sealed, Stream},
};
use crate::{
    delivery::{
        error::TransportError,
        settings::{Login, Tls},
        transport::{Outcome, plain},
    },
    faults,
    secret::{Secret, SecretRef, without},
};

/// How long each phase may take (RFC 5321, 4.5.3.2; the message's own time and that of its final dot count together).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// TCP, greeting, EHLO, STARTTLS, AUTH: each.
    pub(crate) greeting: Duration,
    /// MAIL, RCPT, RSET.
    pub(crate) command: Duration,
    /// DATA.
    pub(crate) data: Duration,
    /// From the first byte of the message to the reply to its final dot.
    pub(crate) message: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self { greeting: minutes(5), command: minutes(5), data: minutes(2), message: minutes(13) }
    }
}

/// An account on a relay.
pub(crate) struct Account {
    /// Its name.
    pub(crate) username: String,
    /// Its password or token.
    pub(crate) password: SecretRef,
    /// Where a file with it counts from.
    pub(crate) root: PathBuf,
    /// How it proves who it is.
    pub(crate) login: Login,
}

/// How a relay is reached.
pub(crate) struct Door {
    /// Host name or address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// How the connection is kept secret.
    pub(crate) tls: Tls,
    /// For `starttls` and `tls`.
    pub(crate) parameters: Option<TlsParameters>,
    /// Who we are to the relay.
    pub(crate) account: Option<Account>,
    /// The name we greet with.
    pub(crate) hello: ClientId,
    /// How long each phase may take.
    pub(crate) timeouts: Timeouts,
}

/// What a finished attempt says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The relay answered for this message.
    Answered(Outcome),
    /// The relay takes nothing from this sender.
    SenderRefused(String),
}

/// A message ready to cross.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// Where it comes back to.
    pub(crate) from: Address,
    /// Whom it goes to.
    pub(crate) to: Address,
    /// Dot-stuffed, with its final dot.
    pub(crate) wire: String,
}

/// MAIL, RCPT and DATA for a letter, in one text.
struct Envelope {
    text: String,
    /// Where RCPT begins, and where DATA does.
    ends: [usize; 2],
}

impl Envelope {
    /// For a letter with the parameters of its MAIL (RFC 5321, 4.1.2). Put together here, because the library's commands are written piece by
    /// piece; a test holds the two together.
    fn new(letter: &Letter, parameters: &[&str]) -> Self {
        let (from, to): (&str, &str) = (letter.from.as_ref(), letter.to.as_ref());
        let mut text = String::with_capacity(from.len() + to.len() + 80);
        let mut add = |pieces: &[&str]| {
            pieces.iter().for_each(|piece| text.push_str(piece));
            text.len()
        };
        add(&["MAIL FROM:<", from, ">"]);
        parameters.iter().for_each(|parameter| _ = add(&[" ", parameter]));
        let mail = add(&["\r\n"]);
        let rcpt = add(&["RCPT TO:<", to, ">\r\n"]);
        add(&["DATA\r\n"]);
        Self { text, ends: [mail, rcpt] }
    }

    /// Each command by itself.
    fn commands(&self) -> [&str; 3] {
        let [mail, rcpt] = self.ends;
        [&self.text[..mail], &self.text[mail..rcpt], &self.text[rcpt..]]
    }
}

/// An open connection.
pub(crate) struct Connection {
    session: AsyncSmtpConnection,
    gauge: Arc<Gauge>,
    timeouts: Timeouts,
    pipelining: bool,
    eight_bit: bool,
    international: bool,
    /// A transaction was left unfinished; the next begins with RSET.
    unfinished: bool,
    /// An envelope that has left already, and whose replies have not been read.
    announced: Option<String>,
    /// How many messages were begun.
    pub(crate) messages: u64,
}

impl Connection {
    /// Connects, greets, turns secret and proves who we are.
    pub(crate) async fn open(door: &Door) -> Result<Self, TransportError> {
        let limit = door.timeouts.greeting;
        let unreachable = |reason: String| TransportError::Unreachable { host: format!("{}:{}", door.host, door.port), reason };
        let late = || unreachable("no answer in time".to_owned());
        let refused = |error: &Error, spellings: &[String]| {
            let reason = plain(&without(&error.to_string(), spellings));
            match error.status().map(u16::from) {
                _ if reason.contains("invalid peer certificate") => untrusted(&door.host, &reason),
                Some(500..) => TransportError::Refused { host: format!("{}:{}", door.host, door.port), reason },
                _ => unreachable(reason),
            }
        };
        faults::at("smtp.connection.open").map_err(|error| unreachable(error.to_string()))?;
        let tcp = timeout(limit, TcpStream::connect((door.host.as_str(), door.port)))
            .await
            .map_err(|_| late())?
            .map_err(|error| unreachable(error.to_string()))?;
        let gauge = Arc::new(Gauge::default());
        let stream = Stream::new(tcp, Arc::clone(&gauge)).map_err(|error| unreachable(error.to_string()))?;
        let tls = || {
            door.parameters
                .clone()
                .ok_or_else(|| TransportError::Refused { host: door.host.clone(), reason: "no TLS parameters".to_owned() })
        };
        let stream: Box<dyn AsyncTokioStream> = match door.tls {
            Tls::Tls => {
                let sealed = timeout(limit, Sealed::over(stream, tls()?)).await.map_err(|_| late())?;
                Box::new(sealed.map_err(|error| refused(&error, &[]))?)
            }
            Tls::None | Tls::Starttls => Box::new(stream),
        };
        let session = timeout(limit, AsyncSmtpConnection::connect_with_transport(stream, &door.hello)).await.map_err(|_| late())?;
        let mut session = session.map_err(|error| refused(&error, &[]))?;
        if door.tls == Tls::Starttls {
            gauge.starting_tls();
            // Fails where the relay does not offer it: an attacker who hides the offer gets no mail.
            let sealed = timeout(limit, session.starttls(tls()?, &door.hello)).await.map_err(|_| late())?;
            sealed.map_err(|error| match error.is_client() {
                true => TransportError::Refused {
                    host: format!("{}:{}", door.host, door.port),
                    reason: "it does not offer STARTTLS".to_owned(),
                },
                false => refused(&error, &[]),
            })?;
        }
        // The library keeps only the extensions it uses itself, so the relay is asked once more for PIPELINING.
        let offered = timeout(limit, session.command(Ehlo::new(door.hello.clone()))).await.map_err(|_| late())?;
        let offered = offered.map_err(|error| refused(&error, &[]))?;
        let offers = |word: &str| {
            offered.message().skip(1).any(|line| line.split_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(word)))
        };
        let (pipelining, eight_bit, international) = (offers("PIPELINING"), offers("8BITMIME"), offers("SMTPUTF8"));
        if let Some(account) = &door.account {
            let secret = account.password.resolve(&account.root).map_err(|error| TransportError::Refused {
                host: format!("{}:{}", door.host, door.port),
                reason: format!("its password cannot be read: {error}"),
            })?;
            let credentials = Credentials::new(account.username.clone(), secret.reveal().to_owned());
            let ways: &[Mechanism] = match account.login {
                Login::Password => &[Mechanism::Plain, Mechanism::Login],
                Login::Xoauth2 => &[Mechanism::Xoauth2],
            };
            let spellings = spellings(account, &secret);
            let proved = timeout(limit, session.auth(ways, &credentials)).await.map_err(|_| late())?;
            proved.map_err(|error| match error.is_client() {
                true => TransportError::Refused {
                    host: format!("{}:{}", door.host, door.port),
                    reason: match account.login {
                        Login::Password => "it offers no way to log in that we know",
                        Login::Xoauth2 => "it does not offer XOAUTH2, or does not take the token",
                    }
                    .to_owned(),
                },
                false => refused(&error, &spellings),
            })?;
        }
        faults::at("smtp.connection.opened").map_err(|error| unreachable(error.to_string()))?;
        let timeouts = door.timeouts;
        let (unfinished, announced, messages) = (false, None, 0);
        Ok(Self { session, gauge, timeouts, pipelining, eight_bit, international, unfinished, announced, messages })
    }

    /// Sends one letter. Where the relay can, `next` is announced in the same breath, which saves it a round trip; it must be the next one
    /// sent on this connection.
    ///
    /// `Err` means that the connection is of no use any more, and says whether the letter may have arrived.
    pub(crate) async fn send(&mut self, letter: &Letter, next: Option<&Letter>) -> Result<Attempt, Lost> {
        let envelope = match self.envelope(letter) {
            Ok(envelope) => envelope,
            Err(reason) => return Ok(Attempt::Answered(Outcome::Rejected { reason, reply: None, dead: false })),
        };
        passing("smtp.envelope.begin", Phase::Mail)?;
        self.messages += 1;
        let refusal = match self.pipelining {
            true => self.ask_at_once(envelope.text).await?,
            false => self.ask_in_turn(&envelope).await?,
        };
        match refusal {
            Some((Phase::Mail, reply)) if reply.code >= 500 && reply.code != 552 => Ok(Attempt::SenderRefused(reply.said())),
            Some((phase, reply)) => Ok(Attempt::Answered(reply.refusal(phase))),
            None => {
                passing("smtp.message.begin", Phase::Data)?;
                let next = next.filter(|_| self.pipelining).and_then(|next| self.envelope(next).ok());
                let reply = self.hand_over(&letter.wire, next).await?;
                self.unfinished = false;
                Ok(Attempt::Answered(match reply.is_positive() {
                    true => Outcome::Accepted(Some(reply.said())),
                    false => reply.refusal(Phase::Message),
                }))
            }
        }
    }

    /// Whether the relay has been given the envelope of a letter that has not been sent yet.
    pub(crate) fn announces(&self) -> bool {
        self.announced.is_some()
    }

    /// The envelope of a letter, or why this relay cannot carry it.
    fn envelope(&self, letter: &Letter) -> Result<Envelope, &'static str> {
        let mut parameters = Vec::new();
        if !letter.wire.is_ascii() {
            if !self.eight_bit {
                return Err("relay_lacks_8bitmime");
            }
            parameters.push("BODY=8BITMIME");
        }
        if !(letter.from.as_ref() as &str).is_ascii() || !(letter.to.as_ref() as &str).is_ascii() {
            if !self.international {
                return Err("relay_lacks_smtputf8");
            }
            parameters.push("SMTPUTF8");
        }
        Ok(Envelope::new(letter, &parameters))
    }

    /// MAIL, RCPT and DATA in one write (RFC 2920), and every reply looked at. `None`: the relay waits for the message.
    async fn ask_at_once(&mut self, asked: String) -> Result<Option<(Phase, Reply)>, Lost> {
        let limit = self.timeouts.command;
        let before = |answer, phase| Reply::read(answer, phase, || false);
        let forget = |answer| forgotten(&before(answer, Phase::Mail)?);
        let first = match self.announced.take() {
            Some(announced) if announced == asked => within(limit, Phase::Mail, self.session.read_response()).await?,
            Some(_) => {
                return Err(Lost { phase: Phase::Mail, begun: false, reason: "another letter had been announced".to_owned() });
            }
            None if self.unfinished => {
                forget(within(limit, Phase::Mail, self.session.command(format!("{Rset}{asked}"))).await?)?;
                within(limit, Phase::Mail, self.session.read_response()).await?
            }
            None => within(limit, Phase::Mail, self.session.command(asked)).await?,
        };
        let mail = before(first, Phase::Mail)?;
        let rcpt = before(within(limit, Phase::Recipient, self.session.read_response()).await?, Phase::Recipient)?;
        let data = before(within(self.timeouts.data, Phase::Data, self.session.read_response()).await?, Phase::Data)?;
        self.unfinished = true;
        let refused = [(Phase::Mail, mail), (Phase::Recipient, rcpt)].into_iter().find(|(_, reply)| !reply.is_positive());
        match (refused, data.is_positive()) {
            (None, true) => Ok(None),
            (None, false) => Ok(Some((Phase::Data, data))),
            (refused, false) => Ok(refused),
            (refused, true) => {
                // It waits for a message to nobody: it gets an empty one. Nobody is written to, whatever it answers.
                let answer = within(self.timeouts.message, Phase::Data, self.session.command(".\r\n")).await?;
                before(answer, Phase::Message)?;
                Ok(refused)
            }
        }
    }

    /// MAIL, RCPT and DATA one after the other. `None`: the relay waits for the message.
    async fn ask_in_turn(&mut self, envelope: &Envelope) -> Result<Option<(Phase, Reply)>, Lost> {
        let limit = self.timeouts.command;
        if self.unfinished {
            forgotten(&Reply::read(within(limit, Phase::Mail, self.session.command(Rset)).await?, Phase::Mail, || false)?)?;
        }
        self.unfinished = true;
        let [mail, rcpt, data] = envelope.commands();
        let steps = [(Phase::Mail, mail, limit), (Phase::Recipient, rcpt, limit), (Phase::Data, data, self.timeouts.data)];
        for (phase, command, limit) in steps {
            let reply = Reply::read(within(limit, phase, self.session.command(command)).await?, phase, || false)?;
            if !reply.is_positive() {
                return Ok(Some((phase, reply)));
            }
        }
        Ok(None)
    }

    /// The message and its final dot in one write, and the relay's word for it. The envelope of the next may ride along (RFC 2920, 3.1).
    async fn hand_over(&mut self, wire: &str, next: Option<Envelope>) -> Result<Reply, Lost> {
        let before = self.gauge.written();
        let gauge = Arc::clone(&self.gauge);
        let begun = move || gauge.written() > before;
        self.gauge.carries_a_message();
        let answer = match next {
            Some(Envelope { text: asked, .. }) => {
                let group = [wire, &asked].concat();
                self.announced = Some(asked);
                timeout(self.timeouts.message, self.session.command(group)).await
            }
            None => timeout(self.timeouts.message, self.session.command(wire)).await,
        };
        match answer {
            Ok(answer) => {
                let point = faults::at("smtp.message.answered");
                point.map_err(|error| Lost { phase: Phase::Message, begun: true, reason: error.to_string() })?;
                Reply::read(answer, Phase::Message, begun)
            }
            Err(_) => Err(Lost { phase: Phase::Message, begun: begun(), reason: "no answer in time".to_owned() }),
        }
    }

    /// Says goodbye; the relay's answer does not matter.
    pub(crate) async fn quit(mut self) {
        let _ = timeout(Duration::from_secs(5), self.session.command(Quit)).await;
    }
}

/// How a secret crosses the wire: relays repeat a command they did not understand, and what they say is logged.
fn spellings(account: &Account, secret: &Secret) -> Vec<String> {
    let (username, secret) = (&account.username, secret.reveal());
    let sent = [secret.to_owned(), format!("\0{username}\0{secret}"), format!("user={username}\x01auth=Bearer {secret}\x01\x01")];
    let encoded = sent.iter().map(|sent| STANDARD.encode(sent)).collect::<Vec<_>>();
    encoded.into_iter().chain([secret.to_owned()]).collect()
}

/// RSET must be agreed to: a recipient the relay has not forgotten would be written to in the next one's stead.
fn forgotten(reply: &Reply) -> Result<(), Lost> {
    match reply.is_positive() {
        true => Ok(()),
        false => Err(Lost { phase: Phase::Mail, begun: false, reason: reply.said() }),
    }
}

/// A certificate nobody we know vouches for.
fn untrusted(host: &str, reason: &str) -> TransportError {
    let said = reason.rsplit_once("invalid peer certificate:").map_or(reason, |(_, said)| said).trim();
    let reason = match said {
        said if said.contains("CaUsedAsEndEntity") => "it is an authority's own, or signed by itself".to_owned(),
        "UnknownIssuer" => "nobody this machine knows has signed it".to_owned(),
        said => said.to_owned(),
    };
    TransportError::Certificate { host: host.to_owned(), reason }
}

/// A point at which a test may let the connection break, before any byte of the message.
fn passing(point: &str, phase: Phase) -> Result<(), Lost> {
    faults::at(point).map_err(|error| Lost { phase, begun: false, reason: error.to_string() })
}

/// Waits for a reply as long as its phase allows; nothing that could deliver has left yet.
async fn within(
    limit: Duration,
    phase: Phase,
    answer: impl Future<Output = Result<Response, Error>>,
) -> Result<Result<Response, Error>, Lost> {
    timeout(limit, answer).await.map_err(|_| Lost { phase, begun: false, reason: "no answer in time".to_owned() })
}

#[cfg(test)]
mod tests {
    use lettre::transport::smtp::{
        commands::{Data, Mail, Rcpt},
        extension::{MailBodyParameter, MailParameter},
    };

    use super::*;

    #[test]
    fn an_envelope_is_the_commands_the_library_would_send() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let (from, to) = (address("b=1.c@shop.example"), address("jürgen@bücher.example"));
        let letter = Letter { from: from.clone(), to: to.clone(), wire: String::new() };
        let known = [MailParameter::Body(MailBodyParameter::EightBitMime), MailParameter::SmtpUtfEight];
        for (theirs, ours) in [(&known[..0], &[][..]), (&known[..1], &["BODY=8BITMIME"]), (&known[..], &["BODY=8BITMIME", "SMTPUTF8"])] {
            let mail = Mail::new(Some(from.clone()), theirs.to_vec()).to_string();
            let commands = [mail, Rcpt::new(to.clone(), Vec::new()).to_string(), Data.to_string()];
            let envelope = Envelope::new(&letter, ours);
            assert_eq!(envelope.commands(), commands.each_ref().map(String::as_str));
            assert_eq!(envelope.text, commands.concat());
        }
    }
}
