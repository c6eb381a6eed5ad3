//! Postfix itself, as an instance of a test's own: its queue, its log and its mailboxes lie in a temporary folder, and nothing of it is
//! the machine's. It works without systemd, and it needs the superuser.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    machine::{free_port, is_superuser, user, wait_for_greeting},
    mailbox::{Letter, letters},
};

/// Why a test is skipped.
pub(crate) const NEEDS: &str = "Postfix cannot be run here (Debian package postfix, and the superuser)";

/// The setting of a server that speaks TLS from the first byte.
pub(crate) const WRAPPED: &str = "smtpd_tls_wrappermode=yes";

/// What Postfix runs beside the servers that listen: a service, its process limit, and its program.
const SERVICES: [(&str, &str, &str); 14] = [
    ("cleanup unix n", "0", "cleanup"),
    ("qmgr unix n", "1", "qmgr"),
    ("rewrite unix -", "-", "trivial-rewrite"),
    ("proxymap unix -", "-", "proxymap"),
    ("tlsmgr unix -", "1", "tlsmgr"),
    ("bounce unix -", "0", "bounce"),
    ("defer unix -", "0", "bounce"),
    ("trace unix -", "0", "bounce"),
    ("smtp unix -", "-", "smtp"),
    ("error unix -", "-", "error"),
    ("retry unix -", "-", "error"),
    ("virtual unix -", "-", "virtual"),
    ("anvil unix -", "1", "anvil"),
    ("postlog unix-dgram n", "1", "postlogd"),
];

/// A running instance; it stops with the value.
pub(crate) struct Postfix {
    folder: tempfile::TempDir,
}

/// An instance about to be started.
pub(crate) struct Setup {
    folder: tempfile::TempDir,
    settings: String,
    servers: Vec<(u16, Vec<String>)>,
}

impl Setup {
    /// An instance that puts every letter, whoever it is for, into the mailbox `everyone`. `None` where Postfix cannot be run.
    pub(crate) fn new() -> Option<Self> {
        let program = ["/usr/sbin/postfix", "/usr/lib/postfix/sbin/master"].into_iter().all(|path| Path::new(path).exists());
        if !program || !is_superuser() {
            return None;
        }
        let ((postfix, _), (nobody, nogroup)) = (user("postfix")?, user("nobody")?);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // Its processes give up their rights and must still find their way here.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        for (inside, owner) in [("config", None), ("queue", None), ("data", Some((postfix, 0))), ("mail", Some((nobody, nogroup)))] {
            fs::create_dir(path.join(inside)).unwrap();
            if let Some((user, group)) = owner {
                chown(path.join(inside), Some(user), Some(group)).unwrap();
            }
        }
        let here = path.display();
        let settings = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {here}/queue\ndata_directory = {here}/data\n\
             maillog_file = {here}/log\nmaillog_file_prefixes = {here}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = relay.test\n\
             mynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
             mydestination =\nrecipient_delimiter = +\nalias_maps =\nalias_database =\n\
             virtual_mailbox_domains = static:all\nvirtual_mailbox_base = {here}/mail\nvirtual_mailbox_maps = static:everyone/\n\
             virtual_uid_maps = static:{nobody}\nvirtual_gid_maps = static:{nogroup}\n\
             # It refuses what is no SMTP, from this machine as well.\n\
             smtpd_forbid_bare_newline = yes\nsmtpd_forbid_bare_newline_exclusions =\n\
             smtpd_forbid_unauth_pipelining = yes\nsmtpd_data_restrictions = reject_unauth_pipelining\n"
        );
        Some(Self { folder, settings, servers: Vec::new() })
    }

    /// With a setting, which takes the place of an earlier one of that name.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.settings, "{name} = {value}");
        self
    }

    /// With a table of two columns; returns its name for use in a setting.
    pub(crate) fn table(&self, name: &str, rows: &[(&str, &str)]) -> String {
        let file = self.folder.path().join("config").join(name);
        let rows = rows.iter().map(|(left, right)| format!("{left} {right}\n"));
        fs::write(&file, rows.collect::<String>()).unwrap();
        format!("texthash:{}", file.display())
    }

    /// With a server that listens at a port of its own, which is returned, and has settings of its own.
    pub(crate) fn server(&mut self, settings: &[&str]) -> u16 {
        let port = free_port();
        self.servers.push((port, settings.iter().map(|&setting| setting.to_owned()).collect()));
        port
    }

    /// Starts it.
    pub(crate) fn start(self) -> Postfix {
        let mut services = String::new();
        for (port, settings) in &self.servers {
            let _ = writeln!(services, "127.0.0.1:{port} inet n - n - - smtpd");
            for setting in settings {
                let _ = writeln!(services, "  -o {{ {setting} }}");
            }
        }
        for (service, limit, program) in SERVICES {
            let wake = if program == "qmgr" { "300" } else { "-" };
            // Mail is put into mailboxes with the rights of their owners.
            let unprivileged = if program == "virtual" { "n" } else { "-" };
            let _ = writeln!(services, "{service} {unprivileged} n {wake} {limit} {program}");
        }
        let config = self.folder.path().join("config");
        fs::write(config.join("main.cf"), &self.settings).unwrap();
        fs::write(config.join("master.cf"), services).unwrap();
        let postfix = Postfix { folder: self.folder };
        assert!(postfix.tell("start"), "Postfix does not start: {}", postfix.log());
        // The server that speaks TLS from the first byte greets nobody who does not.
        let open = self.servers.iter().filter(|(_, settings)| !settings.iter().any(|setting| setting == WRAPPED));
        for (port, _) in open {
            wait_for_greeting(*port, || postfix.log());
        }
        postfix
    }
}

impl Postfix {
    /// A command to the whole of it, such as `reload`; whether that went well.
    pub(crate) fn tell(&self, word: &str) -> bool {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.path().join("config")).arg(word);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// A file among its settings.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.folder.path().join("config").join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The letters in a mailbox that nobody has read, once nothing is under way any more.
    #[track_caller]
    pub(crate) fn letters(&self, mailbox: &str) -> Vec<Letter> {
        let begun = Instant::now();
        let mut quiet = 0;
        // A letter that comes back is a new one, queued before the old one leaves the queue; two looks find one of them.
        while quiet < 2 {
            quiet = if self.queued() == 0 { quiet + 1 } else { 0 };
            assert!(begun.elapsed() < Duration::from_secs(60), "letters stay in the queue: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        letters(&self.maildir(mailbox).join("new"))
    }

    /// The letters in a mailbox, which are taken out of it.
    #[track_caller]
    pub(crate) fn take(&self, mailbox: &str) -> Vec<Letter> {
        let letters = self.letters(mailbox);
        let _ = fs::remove_dir_all(self.maildir(mailbox).join("new"));
        letters
    }

    /// The folder of a mailbox.
    pub(crate) fn maildir(&self, mailbox: &str) -> PathBuf {
        self.folder.path().join("mail").join(mailbox)
    }

    /// How many letters are under way. A letter goes from one of these queues to the next.
    fn queued(&self) -> usize {
        let queue = self.folder.path().join("queue");
        ["incoming", "active", "deferred"].into_iter().map(|stage| files(&queue.join(stage))).sum()
    }
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if !self.tell("stop") {
            // Where it cannot be asked any more, its master is ended; the other processes go when they find it gone.
            let master = fs::read_to_string(self.folder.path().join("queue/pid/master.pid")).unwrap_or_default();
            let _ = Command::new("kill").args(["-9", master.trim()]).stderr(Stdio::null()).status();
        }
    }
}
