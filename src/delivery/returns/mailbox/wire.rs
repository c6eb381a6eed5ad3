//! The lines and literals of IMAP (RFC 3501), as far as reading a folder needs them. What is not as the RFC has it ends the connection,
//! and so does more than [`MAX_ANSWER`] bytes in answer to one command.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    time::timeout,
};

use crate::{
    delivery::{returns::MAX_BYTES, transport::plain},
    secret::without,
};

/// The most that is read in answer to one command: a list of some 700,000 mails, or one mail and what is said beside it.
const MAX_ANSWER: usize = 8 << 20;
/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What went wrong on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It broke, or took too long.
    Broken(String),
    /// The server says no.
    Refused(String),
    /// It is not what IMAP allows.
    Garbled(&'static str),
}

impl Fault {
    /// The same, where what the server said does not hold the secret.
    pub(super) fn without(self, spellings: &[String]) -> Self {
        match self {
            Self::Broken(reason) => Self::Broken(without(&reason, spellings)),
            Self::Refused(reason) => Self::Refused(without(&reason, spellings)),
            Self::Garbled(_) => self,
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(plain(&error.to_string()))
    }
}

/// One answer of a server, without its line break; `{n}` stands where a literal was.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) literals: Vec<Vec<u8>>,
}

impl Answer {
    /// What follows a word at the beginning, whatever its letters.
    pub(super) fn after(&self, word: &str) -> Option<&str> {
        let (first, rest) = self.text.split_at_checked(word.len())?;
        first.eq_ignore_ascii_case(word).then_some(rest)
    }

    /// What a server says in words, fit for the log.
    fn said(&self) -> String {
        plain(&self.text)
    }

    /// Whether it is about one mail's data: only there a literal may stand. The words of an `OK` can end in `{3}` as well.
    fn is_fetch(&self) -> bool {
        let mut words = self.text.split(' ');
        words.next() == Some("*")
            && words.next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
            && words.next().is_some_and(|word| word.eq_ignore_ascii_case("FETCH"))
    }

    /// The size of the literal that follows the text read so far.
    fn literal(&self, line: &str) -> Result<Option<usize>, Fault> {
        let Some((_, digits)) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) else { return Ok(None) };
        if !self.is_fetch() {
            return Ok(None);
        }
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let size = digits.parse().ok().filter(|size| plain && *size <= MAX_BYTES);
        size.map(Some).ok_or(Fault::Garbled("a literal is larger than what was asked for"))
    }
}

/// A connection on which one command follows another.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: BufReader<S>,
    tag: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes a connection on which nothing has been said.
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), tag: 0 }
    }

    /// Reads the server's greeting. One that lets us in unasked is refused: in the open, it would keep the connection from turning secret.
    pub(super) async fn greeting(&mut self) -> Result<(), Fault> {
        let mut left = MAX_ANSWER;
        let greeting = within(self.answer(&mut left)).await?;
        match () {
            () if greeting.after("* OK").is_some() => Ok(()),
            () if greeting.after("* BYE").is_some() => Err(Fault::Broken(greeting.said())),
            () => Err(Fault::Garbled("it does not greet as an IMAP server does")),
        }
    }

    /// Gives a command and returns what was answered to it, its own last line left out. Each piece but the last ends in a literal's size;
    /// the next is sent when the server is ready for it.
    pub(super) async fn command(&mut self, pieces: &[&str]) -> Result<Vec<Answer>, Fault> {
        self.tag += 1;
        let tag = format!("a{} ", self.tag);
        let mut line = tag.clone();
        let (mut answers, mut left, mut pieces) = (Vec::new(), MAX_ANSWER, pieces.iter());
        loop {
            if let Some(piece) = pieces.next() {
                line.push_str(piece);
                line.push_str("\r\n");
                within(async { Ok((self.stream.write_all(line.as_bytes()).await?, self.stream.flush().await?)) }).await?;
                line.clear();
            }
            loop {
                let answer = within(self.answer(&mut left)).await?;
                if answer.text.starts_with('+') && !pieces.as_slice().is_empty() {
                    break;
                }
                let Some(done) = answer.after(&tag) else {
                    if answer.after("* BYE").is_some() {
                        return Err(Fault::Broken(answer.said()));
                    }
                    if !answer.text.starts_with("* ") {
                        return Err(Fault::Garbled("it answers what was not asked"));
                    }
                    answers.push(answer);
                    continue;
                };
                let outcome = done.split(' ').next().unwrap_or_default();
                return match () {
                    () if outcome.eq_ignore_ascii_case("OK") && pieces.as_slice().is_empty() => Ok(answers),
                    () if outcome.eq_ignore_ascii_case("NO") || outcome.eq_ignore_ascii_case("BAD") => Err(Fault::Refused(plain(done))),
                    () => Err(Fault::Garbled("it answers neither yes nor no")),
                };
            }
        }
    }

    /// The stream below, for TLS. Bytes that came already would be taken for answers of the secret connection.
    pub(super) fn into_inner(self) -> Result<S, Fault> {
        if self.stream.buffer().is_empty() { Ok(self.stream.into_inner()) } else { Err(Fault::Garbled("something was slipped in")) }
    }

    /// Reads one answer; `left` counts down what may be read.
    async fn answer(&mut self, left: &mut usize) -> Result<Answer, Fault> {
        let mut answer = Answer::default();
        loop {
            let mut line = Vec::new();
            (&mut self.stream).take(*left as u64).read_until(b'\n', &mut line).await?;
            *left -= line.len();
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(match (line.is_empty(), *left) {
                    (_, 0) => Fault::Garbled("it answers more than is read"),
                    (true, _) => Fault::Broken("the server closed the connection".to_owned()),
                    _ => Fault::Garbled("a line has no end"),
                });
            };
            let line = String::from_utf8_lossy(line);
            answer.text.push_str(&line);
            let Some(size) = answer.literal(&line)? else { return Ok(answer) };
            *left = left.checked_sub(size).ok_or(Fault::Garbled("it answers more than is read"))?;
            let mut literal = vec![0; size];
            self.stream.read_exact(&mut literal).await?;
            answer.literals.push(literal);
        }
    }
}

async fn within<T>(doing: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(PATIENCE, doing).await.unwrap_or_else(|_| Err(Fault::Broken("no answer".to_owned())))
}

/// A text as IMAP quotes it; none where it cannot be quoted and must be a literal.
pub(super) fn quoted(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    plain.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    /// A server that says all it has to say at once.
    async fn wire(said: &[u8]) -> (Wire<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(16 << 20);
        theirs.write_all(said).await.unwrap();
        (Wire::new(ours), theirs)
    }

    async fn fault(said: &[u8]) -> Fault {
        let (mut wire, theirs) = wire(said).await;
        drop(theirs);
        wire.stream.get_mut().shutdown().await.unwrap();
        let mut left = MAX_ANSWER;
        loop {
            match wire.answer(&mut left).await {
                Ok(_) => {}
                Err(fault) => return fault,
            }
        }
    }

    #[tokio::test]
    async fn answers_are_read_with_their_literals() {
        let said = b"* OK [ALERT] mind the {3}\r\n* 2 FETCH (UID 7 BODY[] {5}\r\na\r\n)b FLAGS ())\r\na1 OK done\r\n";
        let (mut wire, _theirs) = wire(said).await;
        let answers = wire.command(&["NOOP"]).await.unwrap();
        assert_eq!(answers[0].text, "* OK [ALERT] mind the {3}");
        assert_eq!((answers[1].text.as_str(), &answers[1].literals), ("* 2 FETCH (UID 7 BODY[] {5} FLAGS ())", &vec![b"a\r\n)b".to_vec()]));
    }

    #[tokio::test]
    async fn a_command_with_literals_waits_until_the_server_is_ready() {
        let (mut wire, mut theirs) = wire(b"+ go on\r\n* 3 EXISTS\r\n+ and on\r\nA1 ok in\r\n").await;
        assert_eq!(wire.command(&["LOGIN {2}", "me {3}", "key"]).await.unwrap().len(), 1);
        let expected = b"a1 LOGIN {2}\r\nme {3}\r\nkey\r\n";
        let mut sent = vec![0; expected.len()];
        theirs.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, expected);
    }

    #[tokio::test]
    async fn what_imap_does_not_allow_ends_the_connection() {
        assert_eq!(fault(b"").await, Fault::Broken("the server closed the connection".into()));
        assert_eq!(fault(b"* OK\n").await, Fault::Garbled("a line has no end"));
        assert_eq!(fault(b"* OK").await, Fault::Garbled("a line has no end"));
        for size in ["1048577", "99999999999999999999", "", "-1", "+1", "1+"] {
            let said = format!("* 1 FETCH (BODY[] {{{size}}}\r\n");
            assert_eq!(fault(said.as_bytes()).await, Fault::Garbled("a literal is larger than what was asked for"), "{size}");
        }
        assert!(matches!(fault(b"* 1 FETCH (BODY[] {9}\r\nabc").await, Fault::Broken(_)));
        assert_eq!(fault(&vec![b'x'; MAX_ANSWER + 9]).await, Fault::Garbled("it answers more than is read"));
        let many = [b"* 1 FETCH (BODY[] {1048576}\r\n".to_vec(), vec![b'x'; MAX_BYTES], b")\r\n".to_vec()].concat();
        assert_eq!(fault(&many.repeat(9)).await, Fault::Garbled("it answers more than is read"));
        for (said, expected) in [
            ("a1 NO <ann@example.com> may not\r\n", Fault::Refused("NO (address) may not".into())),
            ("a1 BAD what\r\n", Fault::Refused("BAD what".into())),
            ("a1 PERHAPS\r\n", Fault::Garbled("it answers neither yes nor no")),
            ("a2 OK\r\n", Fault::Garbled("it answers what was not asked")),
            ("+ go on\r\n", Fault::Garbled("it answers what was not asked")),
            ("* bye idle too long\r\n", Fault::Broken("* bye idle too long".into())),
        ] {
            assert_eq!(wire(said.as_bytes()).await.0.command(&["NOOP"]).await.unwrap_err(), expected);
        }
        assert!(wire(b"* PREAUTH come in\r\n").await.0.greeting().await.is_err());
        assert_eq!(wire(b"* BYE full\r\n").await.0.greeting().await, Err(Fault::Broken("* BYE full".into())));
    }

    #[tokio::test]
    async fn nothing_is_slipped_in_before_the_handshake() {
        let (mut wire, _theirs) = wire(b"a1 OK begin\r\n* OK slipped in\r\n").await;
        wire.command(&["STARTTLS"]).await.unwrap();
        assert_eq!(wire.into_inner().err(), Some(Fault::Garbled("something was slipped in")));
    }

    #[test]
    fn a_text_is_quoted_or_a_literal() {
        assert_eq!(quoted(r#"a"b\c d"#).as_deref(), Some(r#""a\"b\\c d""#));
        assert_eq!((quoted("jörg"), quoted("a\r\nb LOGOUT")), (None, None));
    }
}
