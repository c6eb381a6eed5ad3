//! A folder on a mail server, over TLS. Mails are read without marking them (`BODY.PEEK`), and marked `\Seen` once they were understood.
//!
//! A client of our own, because it takes seven commands: the crate `async-imap` 0.12 brings sixteen more with it, takes 512 MiB for an
//! answer, and leaves STARTTLS to its user.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls_platform_verifier::Verifier;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Cursor, Fetched, Looked, Mail,
    wire::{Answer, Fault, PATIENCE, Wire, quoted},
};
use crate::{
    delivery::{
        returns::{MAX_BYTES, error::ReturnsError},
        settings::Tls,
        transport::plain,
    },
    secret::Secret,
};

/// How many mails one command marks: a line of a command has at most 8,000 bytes (RFC 7162 4).
const MARKED: usize = 500;

/// Where a folder is, and who reads it.
#[derive(Debug, Clone)]
pub(crate) struct ImapDoor {
    /// The server.
    pub(crate) host: String,
    /// Its port; where none is given, 993 for TLS from the first byte, else 143.
    pub(crate) port: Option<u16>,
    /// How the connection is kept secret; [`Tls::None`] is refused.
    pub(crate) tls: Tls,
    /// The account.
    pub(crate) username: String,
    /// Its password.
    pub(crate) password: Secret,
    /// The folder, `INBOX` in most cases.
    pub(crate) folder: String,
}

/// A folder on a mail server.
pub(crate) struct Imap {
    door: ImapDoor,
    config: Arc<ClientConfig>,
    session: Option<Session<TlsStream<TcpStream>>>,
}

impl std::fmt::Debug for Imap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imap").field("host", &self.door.host).field("folder", &self.door.folder).finish_non_exhaustive()
    }
}

impl Imap {
    /// Takes the settings; `ca` is a PEM file with certificates that are trusted beside the system's.
    ///
    /// # Errors
    /// Where they would send the password in the open, or `ca` holds no certificate.
    pub(crate) fn new(door: ImapDoor, ca: Option<&Path>) -> Result<Self, ReturnsError> {
        let wrong = |reason: String| ReturnsError::Settings { host: door.host.clone(), reason };
        if door.tls == Tls::None {
            return Err(wrong("the password would be sent in the open".to_owned()));
        }
        if quoted(&door.folder).is_none() {
            return Err(wrong("the folder's name has other letters than ASCII; write it as IMAP does (RFC 3501 5.1.3)".to_owned()));
        }
        let mut roots = Vec::new();
        if let Some(file) = ca {
            let unreadable = |reason: String| wrong(format!("{}: {reason}", file.display()));
            let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.push(certificate.map_err(|error| unreadable(error.to_string()))?);
            }
            if roots.is_empty() {
                return Err(unreadable("holds no certificate".to_owned()));
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(roots, provider.clone()).map_err(|error| wrong(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            // Not the danger it is called: the verifier is the system's own.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { door, config: Arc::new(config), session: None })
    }

    /// As [`super::Mailbox::fetch`]. Where nothing is new, the connection is closed.
    pub(super) async fn fetch(&mut self, after: &Cursor, limit: usize) -> Result<Fetched, ReturnsError> {
        let mut session = self.session().await?;
        let fetched = session.fetch(after, limit).await.map_err(|fault| self.error(fault))?;
        if fetched.mails.is_empty() {
            // The server may close before it answers.
            let _ = session.wire.command(&["LOGOUT"]).await;
        } else {
            self.session = Some(session);
        }
        Ok(fetched)
    }

    /// As [`super::Mailbox::mark`].
    pub(super) async fn mark(&mut self, looked: &[Looked]) -> Result<(), ReturnsError> {
        let mut session = self.session().await?;
        session.mark(looked).await.map_err(|fault| self.error(fault))?;
        self.session = Some(session);
        Ok(())
    }

    /// The session that is open, where it still works, else a new one.
    async fn session(&mut self) -> Result<Session<TlsStream<TcpStream>>, ReturnsError> {
        if let Some(mut session) = self.session.take()
            && session.wire.command(&["NOOP"]).await.is_ok()
        {
            return Ok(session);
        }
        let opened = timeout(PATIENCE, self.open()).await.unwrap_or_else(|_| Err(Fault::Broken("no answer".to_owned())));
        opened.map_err(|fault| self.error(fault))
    }

    async fn open(&self) -> Result<Session<TlsStream<TcpStream>>, Fault> {
        let ImapDoor { host, port, tls, username, password, folder } = &self.door;
        let from_the_first_byte = *tls == Tls::Tls;
        let port = port.unwrap_or(if from_the_first_byte { 993 } else { 143 });
        let name = ServerName::try_from(host.clone()).map_err(|_| Fault::Garbled("its name is none"))?;
        let tls = TlsConnector::from(self.config.clone());
        let mut tcp = TcpStream::connect((host.as_str(), port)).await?;
        let wire = if from_the_first_byte {
            let mut wire = Wire::new(tls.connect(name, tcp).await?);
            wire.greeting().await?;
            wire
        } else {
            let mut open = Wire::new(tcp);
            open.greeting().await?;
            open.command(&["STARTTLS"]).await?;
            tcp = open.into_inner()?;
            Wire::new(tls.connect(name, tcp).await?)
        };
        Session::open(wire, username, password, folder).await
    }

    fn error(&self, fault: Fault) -> ReturnsError {
        let host = self.door.host.clone();
        match fault {
            Fault::Broken(reason) => ReturnsError::Unreachable { host, reason: plain(&reason) },
            Fault::Refused(reason) => ReturnsError::Refused { host, reason },
            Fault::Garbled(reason) => ReturnsError::Garbled { host, reason },
        }
    }
}

/// A connection with a folder open on it.
struct Session<S> {
    wire: Wire<S>,
    /// As long as it is the same, a UID means the same mail. RFC 3501 2.3.1.1.
    validity: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Logs in and opens the folder.
    async fn open(mut wire: Wire<S>, username: &str, password: &Secret, folder: &str) -> Result<Self, Fault> {
        // Some servers repeat a command they did not understand.
        let spellings = [password.reveal().to_owned(), quoted(password.reveal()).unwrap_or_default()];
        let known = match (quoted(username), quoted(password.reveal())) {
            (Some(username), Some(password)) => wire.command(&[&format!("LOGIN {username} {password}")]).await,
            _ => {
                let password = password.reveal();
                let pieces = [format!("LOGIN {{{}}}", username.len()), format!("{username} {{{}}}", password.len())];
                wire.command(&[&pieces[0], &pieces[1], password]).await
            }
        };
        known.map_err(|fault| fault.without(&spellings))?;
        let folder = quoted(folder).ok_or(Fault::Garbled("the folder's name is none"))?;
        let answers = wire.command(&[&format!("SELECT {folder}")]).await?;
        let validity = answers.iter().find_map(|answer| answer.after("* OK [UIDVALIDITY ")?.split_once(']')?.0.parse().ok());
        Ok(Self { wire, validity: validity.ok_or(Fault::Garbled("it does not say which folder this is"))? })
    }

    async fn fetch(&mut self, after: &Cursor, limit: usize) -> Result<Fetched, Fault> {
        let known = after.0.split_once(':').and_then(|(validity, uid)| Some((validity.parse::<u32>().ok()?, uid.parse::<u32>().ok()?)));
        let mut last = known.filter(|(validity, _)| *validity == self.validity).map_or(0, |(_, uid)| uid);
        let mut mails = Fetched { mails: Vec::new(), cursor: after.clone() };
        for uid in self.after(last).await? {
            if mails.is_full(limit) {
                break;
            }
            // Nothing comes for a mail that was deleted since.
            if let Some(bytes) = self.body(uid).await? {
                mails.mails.push(Mail { id: format!("{}.{uid}", self.validity), bytes });
            }
            last = uid;
        }
        mails.cursor = Cursor(format!("{}:{last}", self.validity));
        Ok(mails)
    }

    /// The UIDs after one, in their order.
    async fn after(&mut self, last: u32) -> Result<Vec<u32>, Fault> {
        let Some(first) = last.checked_add(1) else { return Ok(Vec::new()) };
        let answers = self.wire.command(&[&format!("UID SEARCH UID {first}:*")]).await?;
        let mut uids = Vec::new();
        for list in answers.iter().filter_map(|answer| answer.after("* SEARCH")) {
            for word in list.split_whitespace() {
                uids.push(word.parse().map_err(|_| Fault::Garbled("a UID is no number"))?);
            }
        }
        // `*` is the last mail there is, even where it comes before `first`. RFC 3501 6.4.8.
        uids.retain(|uid| *uid >= first);
        uids.sort_unstable();
        uids.dedup();
        Ok(uids)
    }

    /// The first bytes of a mail; none where there is no such mail any more.
    async fn body(&mut self, uid: u32) -> Result<Option<Vec<u8>>, Fault> {
        let answers = self.wire.command(&[&format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{MAX_BYTES}>)")]).await?;
        Ok(answers.into_iter().find_map(|answer| body(answer, uid)))
    }

    async fn mark(&mut self, looked: &[Looked]) -> Result<(), Fault> {
        let uid = |one: &Looked| one.id.split_once('.').and_then(|(validity, uid)| Some((validity.parse().ok()?, uid.parse().ok()?)));
        let known = looked.iter().filter(|one| one.understood).filter_map(uid);
        // A mail of a folder that was made anew since is not there to be marked.
        let uids: Vec<u32> = known.filter(|(validity, _)| *validity == self.validity).map(|(_, uid): (u32, u32)| uid).collect();
        for some in uids.chunks(MARKED) {
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            self.wire.command(&[&format!("UID STORE {} +FLAGS.SILENT (\\Seen)", some.join(","))]).await?;
        }
        Ok(())
    }
}

/// The mail in an answer, where it is about the one that was asked for. `BODY[]` may come as a literal, or empty as `""` or `NIL`.
fn body(answer: Answer, uid: u32) -> Option<Vec<u8>> {
    let words: Vec<&str> = answer.text.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    let is_it = words.windows(2).any(|pair| pair[0].eq_ignore_ascii_case("UID") && pair[1].parse() == Ok(uid));
    let has_body = words.iter().any(|word| word.eq_ignore_ascii_case("BODY[]") || word.eq_ignore_ascii_case("BODY[]<0>"));
    (is_it && has_body && answer.literals.len() < 2).then(|| answer.literals.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
        path::PathBuf,
        process::{Child, Command, Stdio},
    };

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

    use super::*;

    /// A server that expects these commands, without their tags, and gives these answers.
    async fn serve(theirs: DuplexStream, script: &[(&str, &str)]) {
        let mut stream = BufReader::new(theirs);
        for (expected, answer) in script {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let (tag, command) = line.trim_end().split_once(' ').unwrap();
            assert_eq!(command, *expected);
            let answer = answer.replace('\n', "\r\n").replace("TAG", tag);
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        }
    }

    const LOGIN: (&str, &str) = ("LOGIN \"shop\" \"se\\\"cret\"", "TAG OK in\n");

    /// A session with a server of that script.
    async fn session(script: &'static [(&str, &str)]) -> Result<Session<DuplexStream>, Fault> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(theirs, script));
        Session::open(Wire::new(ours), "shop", &Secret::new("se\"cret"), "INBOX").await
    }

    #[tokio::test]
    async fn a_folder_is_read_from_the_cursor_on_and_what_was_deleted_is_passed_over() {
        let mut session = session(&[
            LOGIN,
            ("SELECT \"INBOX\"", "* 4 EXISTS\n* OK [UIDVALIDITY 42] valid\n* OK [UIDNEXT 10] next\nTAG OK [READ-WRITE] open\n"),
            ("UID SEARCH UID 6:*", "* SEARCH 9 7\n* 5 EXISTS\n* search 8 7\nTAG OK\n"),
            (
                "UID FETCH 7 (UID BODY.PEEK[]<0.1048576>)",
                "* 1 FETCH (FLAGS (\\Seen) UID 3)\n* 2 FETCH (UID 7 BODY[]<0> {6}\nX: 7\n)\nTAG OK\n",
            ),
            ("UID FETCH 8 (UID BODY.PEEK[]<0.1048576>)", "* 3 EXPUNGE\nTAG OK\n"),
            ("UID FETCH 9 (UID BODY.PEEK[]<0.1048576>)", "* 3 fetch (body[] {6}\nX: 9\n uid 9)\nTAG OK\n"),
            ("UID SEARCH UID 10:*", "* SEARCH 9\nTAG OK\n"),
            ("UID STORE 7,9 +FLAGS.SILENT (\\Seen)", "TAG OK\n"),
        ])
        .await
        .unwrap();
        let fetched = session.fetch(&Cursor("42:5".into()), 9).await.unwrap();
        assert_eq!(fetched.cursor, Cursor("42:9".into()));
        assert_eq!(fetched.mails[0], Mail { id: "42.7".into(), bytes: b"X: 7\r\n".to_vec() });
        assert_eq!((fetched.mails.len(), fetched.mails[1].bytes.as_slice()), (2, &b"X: 9\r\n"[..]));
        assert!(session.fetch(&fetched.cursor, 9).await.unwrap().mails.is_empty());
        let looked = ["42.7", "42.8", "41.3", "odd", "42.9"].map(|id| Looked { id: id.into(), understood: id != "42.8" });
        session.mark(&looked).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_was_made_anew_is_read_from_its_beginning() {
        let mut session = session(&[
            LOGIN,
            ("SELECT \"INBOX\"", "* OK [UIDVALIDITY 43] valid\nTAG OK open\n"),
            ("UID SEARCH UID 1:*", "* SEARCH 1\nTAG OK\n"),
            ("UID FETCH 1 (UID BODY.PEEK[]<0.1048576>)", "* 1 FETCH (UID 1 BODY[]<0> \"\")\nTAG OK\n"),
        ])
        .await
        .unwrap();
        let fetched = session.fetch(&Cursor("42:5".into()), 9).await.unwrap();
        assert_eq!((fetched.mails[0].id.as_str(), fetched.mails[0].bytes.len(), fetched.cursor), ("43.1", 0, Cursor("43:1".into())));
    }

    #[tokio::test]
    async fn a_server_that_says_no_or_nonsense_is_told_as_it_is() {
        const NO: (&str, &str) = ("SELECT \"INBOX\"", "TAG NO no such folder\n");
        const NAMELESS: (&str, &str) = ("SELECT \"INBOX\"", "TAG OK open\n");
        const VALID: (&str, &str) = ("SELECT \"INBOX\"", "* OK [UIDVALIDITY 1]\nTAG OK open\n");
        let refused = session(&[("LOGIN \"shop\" \"se\\\"cret\"", "TAG NO [AUTHENTICATIONFAILED] not shop@example.com\n")]).await;
        assert_eq!(refused.err(), Some(Fault::Refused("NO [AUTHENTICATIONFAILED] not (address)".into())));
        let repeated = session(&[("LOGIN \"shop\" \"se\\\"cret\"", "TAG BAD what is: LOGIN \"shop\" \"se\\\"cret\"\n")]).await;
        assert_eq!(repeated.err(), Some(Fault::Refused("BAD what is: LOGIN \"shop\" (secret)".into())));
        assert_eq!(session(&[LOGIN, NO]).await.err(), Some(Fault::Refused("NO no such folder".into())));
        assert_eq!(session(&[LOGIN, NAMELESS]).await.err(), Some(Fault::Garbled("it does not say which folder this is")));
        let mut odd = session(&[LOGIN, VALID, ("UID SEARCH UID 1:*", "* SEARCH 1 x\nTAG OK\n")]).await.unwrap();
        assert_eq!(odd.fetch(&Cursor::default(), 9).await.err(), Some(Fault::Garbled("a UID is no number")));
        let mut gone = session(&[LOGIN, VALID]).await.unwrap();
        assert!(matches!(gone.fetch(&Cursor::default(), 9).await, Err(Fault::Broken(_))));
    }

    #[tokio::test]
    async fn a_password_of_any_letters_crosses_as_a_literal() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(async move {
            let mut stream = BufReader::new(theirs);
            let mut said = String::new();
            for answer in ["+ go\r\n", "+ go\r\n", "a1 OK in\r\n", "* OK [UIDVALIDITY 1]\r\na2 OK open\r\n"] {
                stream.read_line(&mut said).await.unwrap();
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
            said
        });
        Session::open(Wire::new(ours), "shop", &Secret::new("pässword"), "INBOX").await.unwrap();
        assert_eq!(server.await.unwrap(), "a1 LOGIN {4}\r\nshop {9}\r\npässword\r\na2 SELECT \"INBOX\"\r\n");
    }

    fn door(tls: Tls, port: u16, password: &str) -> ImapDoor {
        let (host, username, folder) = ("localhost".to_owned(), "shop".to_owned(), "INBOX".to_owned());
        ImapDoor { host, port: Some(port), tls, username, password: Secret::new(password), folder }
    }

    #[test]
    fn settings_that_would_not_do_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("ca.pem");
        fs::write(&empty, "no certificate").unwrap();
        let said = |door: ImapDoor, ca: Option<&Path>| Imap::new(door, ca).unwrap_err().to_string();
        assert!(said(door(Tls::None, 143, "x"), None).contains("in the open"));
        assert!(said(door(Tls::Tls, 993, "x"), Some(&empty)).contains("holds no certificate"));
        assert!(said(door(Tls::Tls, 993, "x"), Some(&root.path().join("none.pem"))).contains("none.pem"));
        assert!(said(ImapDoor { folder: "Rückläufer".into(), ..door(Tls::Tls, 993, "x") }, None).contains("RFC 3501 5.1.3"));
    }

    /// A Dovecot of our own; ends with the test.
    struct Dovecot {
        child: Child,
        root: tempfile::TempDir,
        ports: [u16; 2],
    }

    impl Drop for Dovecot {
        fn drop(&mut self) {
            // Its children end when it is told to stop, not when it is killed.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }

    const NOBODY: u32 = 65_534;

    impl Dovecot {
        async fn start() -> Result<Self, String> {
            let root = tempfile::tempdir().unwrap();
            let at = |name: &str| root.path().join(name);
            let version = Command::new("dovecot").arg("--version").output().map(|said| said.stdout).unwrap_or_default();
            if !version.starts_with(b"2.3.") {
                return Err("Dovecot 2.3 is not installed (Debian's package dovecot-imapd)".to_owned());
            }
            if fs::metadata(root.path()).unwrap().uid() != 0 {
                return Err("dovecot starts as root only".to_owned());
            }
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
                .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
                .args([PathBuf::from("-keyout"), at("key.pem"), PathBuf::from("-out"), at("cert.pem")])
                .stderr(Stdio::null())
                .status();
            if !made.is_ok_and(|status| status.success()) {
                return Err("openssl is needed".to_owned());
            }
            // The server reads mail as `nobody`.
            fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
            for folder in ["mail", "mail/new", "mail/cur", "mail/tmp"] {
                fs::create_dir(at(folder)).unwrap();
                chown(at(folder), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let free = [(); 2].map(|()| std::net::TcpListener::bind("localhost:0").unwrap());
            let ports = free.map(|listener| listener.local_addr().unwrap().port());
            let [open, sealed] = ports;
            let folder = root.path().display();
            let settings = format!(
                "protocols = imap\nbase_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/log\nlisten = localhost\n\
                 ssl = required\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem\nmail_location = maildir:{folder}/mail\n\
                 first_valid_uid = 1\nauth_failure_delay = 0\nservice anvil {{\n unix_listener anvil-auth-penalty {{\n mode = 0\n }}\n}}\n\
                 passdb {{\n driver = static\n args = password=secret\n}}\n\
                 userdb {{\n driver = static\n args = uid={NOBODY} gid={NOBODY} home={folder}/mail\n}}\n\
                 service imap-login {{\n inet_listener imap {{\n port = {open}\n }}\n\
                 inet_listener imaps {{\n port = {sealed}\n ssl = yes\n }}\n}}\n"
            );
            fs::write(at("dovecot.conf"), settings).unwrap();
            let child = Command::new("dovecot").arg("-F").arg("-c").arg(at("dovecot.conf")).spawn().unwrap();
            let dovecot = Self { child, root, ports };
            for _ in 0..200 {
                if TcpStream::connect(("localhost", sealed)).await.is_ok() {
                    return Ok(dovecot);
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            panic!("dovecot does not start: {}", fs::read_to_string(dovecot.root.path().join("log")).unwrap_or_default());
        }

        fn deliver(&self, name: &str, mail: &str) {
            let file = self.root.path().join("mail/new").join(name);
            fs::write(&file, mail).unwrap();
            chown(file, Some(NOBODY), Some(NOBODY)).unwrap();
        }

        fn flags(&self) -> Vec<String> {
            let files = fs::read_dir(self.root.path().join("mail/cur")).unwrap();
            let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[tokio::test]
    async fn a_real_server_is_read_over_both_kinds_of_tls() {
        let dovecot = match Dovecot::start().await {
            Ok(dovecot) => dovecot,
            Err(reason) => {
                #[allow(clippy::print_stdout)] // A test that did not run says so.
                {
                    println!("skipped: {reason}");
                }
                return;
            }
        };
        let [open, sealed] = dovecot.ports;
        let ca = dovecot.root.path().join("cert.pem");
        let large = format!("X: 3\n\n{}", "x".repeat(2 * MAX_BYTES));
        for (name, mail) in [("1.a.mx", "X: 1\n\n{9}\n"), ("2.b.mx", "X: 2\n\nA1 OK\n"), ("3.c.mx", large.as_str())] {
            dovecot.deliver(name, mail);
        }
        let mut imap = Imap::new(door(Tls::Tls, sealed, "secret"), Some(&ca)).unwrap();
        let first = imap.fetch(&Cursor::default(), 2).await.unwrap();
        assert_eq!(
            first.mails.iter().map(|mail| mail.bytes.as_slice()).collect::<Vec<_>>(),
            [b"X: 1\r\n\r\n{9}\r\n", &b"X: 2\r\n\r\nA1 OK\r\n"[..]]
        );
        assert_eq!(dovecot.flags(), ["1.a.mx:2,", "2.b.mx:2,", "3.c.mx:2,"], "reading marks nothing");
        let looked: Vec<Looked> =
            first.mails.iter().zip([true, false]).map(|(mail, understood)| Looked { id: mail.id.clone(), understood }).collect();
        imap.mark(&looked).await.unwrap();
        assert_eq!(dovecot.flags(), ["1.a.mx:2,S", "2.b.mx:2,", "3.c.mx:2,"]);

        let mut imap = Imap::new(door(Tls::Starttls, open, "secret"), Some(&ca)).unwrap();
        let second = imap.fetch(&first.cursor, 9).await.unwrap();
        assert_eq!((second.mails.len(), second.mails[0].bytes.len()), (1, MAX_BYTES));
        dovecot.deliver("4.d.mx", "X: 4\n\n");
        let third = imap.fetch(&second.cursor, 9).await.unwrap();
        assert_eq!(third.mails[0].bytes, b"X: 4\r\n\r\n");
        assert!(imap.fetch(&third.cursor, 9).await.unwrap().mails.is_empty() && imap.session.is_none());
        dovecot.deliver("5.e.mx", "X: 5\n\n");
        assert_eq!(imap.fetch(&third.cursor, 9).await.unwrap().mails.len(), 1, "it opens anew");

        let refused = Imap::new(door(Tls::Starttls, open, "guessed"), Some(&ca)).unwrap().fetch(&Cursor::default(), 9).await.unwrap_err();
        assert!(matches!(refused, ReturnsError::Refused { .. }), "{refused}");
        for (tls, port) in [(Tls::Tls, sealed), (Tls::Starttls, open)] {
            let stranger = Imap::new(door(tls, port, "secret"), None).unwrap().fetch(&Cursor::default(), 9).await;
            assert!(matches!(stranger, Err(ReturnsError::Unreachable { .. })), "a certificate nobody vouches for is not accepted");
        }
        let mut none = Imap::new(ImapDoor { folder: "None".into(), ..door(Tls::Tls, sealed, "secret") }, Some(&ca)).unwrap();
        assert!(matches!(none.fetch(&Cursor::default(), 9).await, Err(ReturnsError::Refused { .. })));
    }
}
