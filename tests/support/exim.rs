//! Exim, as an instance of a test's own. Unlike other servers it checks that nobody speaks before it is their turn.
//!
//! Debian does not let Exim and Postfix be installed together, so it may also lie unpacked in `~/.cache/perennial/exim`, where `.ci/run` puts
//! it. Then the user it wants to become is missing, and a library (`libnss-wrapper`) makes it believe otherwise.

use std::{
    fmt::Write,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    machine::{free_port, is_superuser, user, wait_for_greeting},
    mailbox::{Letter, letters},
};

/// Why a test is skipped.
pub(crate) const NEEDS: &str =
    "Exim cannot be run here (Debian package exim4-daemon-light, installed or unpacked with libnss-wrapper, and the superuser)";

/// The user Debian's Exim works as.
const USER: &str = "Debian-exim";

/// A running instance; it stops with the value.
pub(crate) struct Exim {
    folder: tempfile::TempDir,
    process: Child,
    /// Where it offers PIPELINING.
    pub(crate) pipelining: u16,
    /// Where it does not.
    pub(crate) plain: u16,
}

impl Exim {
    /// Starts one that puts every letter into a mailbox, one for each of its ports. `None` where it cannot be run.
    pub(crate) fn start() -> Option<Self> {
        let unpacked = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/perennial/exim"));
        let mut roots = [Some(PathBuf::from("/")), unpacked].into_iter().flatten();
        let root = roots.find(|root| root.join("usr/sbin/exim4").exists()).filter(|_| is_superuser())?;
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let machine_user = user(USER);
        let (uid, gid) = machine_user.or_else(|| user("nobody"))?;
        let mut environment = Vec::new();
        if machine_user.is_none() {
            let users = format!("{USER}:x:{uid}:{gid}::/:/bin/false\n");
            fs::write(here.join("passwd"), fs::read_to_string("/etc/passwd").unwrap() + &users).unwrap();
            fs::write(here.join("group"), fs::read_to_string("/etc/group").unwrap() + &format!("{USER}:x:{gid}:\n")).unwrap();
            environment =
                vec![("LD_PRELOAD", wrapper()?), ("NSS_WRAPPER_PASSWD", here.join("passwd")), ("NSS_WRAPPER_GROUP", here.join("group"))];
        }
        // Without the right to become the superuser again, which would make it forget that library.
        let program = here.join("exim");
        fs::copy(root.join("usr/sbin/exim4"), &program).unwrap();
        for path in [here, program.as_path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for inside in ["spool", "mail"] {
            fs::create_dir(here.join(inside)).unwrap();
            chown(here.join(inside), Some(uid), Some(gid)).unwrap();
        }
        let (pipelining, plain) = (free_port(), free_port());
        fs::write(here.join("exim.conf"), settings(here, &program, pipelining, plain)).unwrap();
        let mut command = Command::new(&program);
        command.arg("-C").arg(here.join("exim.conf")).arg("-bdf").arg("-oP").arg(here.join("exim.pid"));
        command.envs(environment).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let exim = Self { folder, process, pipelining, plain };
        for port in [pipelining, plain] {
            wait_for_greeting(port, || exim.log());
        }
        Some(exim)
    }

    /// What it logged, the worst last.
    pub(crate) fn log(&self) -> String {
        ["main", "reject", "panic"].into_iter().fold(String::new(), |mut all, name| {
            let log = fs::read_to_string(self.folder.path().join(format!("spool/{name}log"))).unwrap_or_default();
            let _ = write!(all, "{log}");
            all
        })
    }

    /// The letters that came in at a port, once nothing is under way any more.
    #[track_caller]
    pub(crate) fn mailbox(&self, port: u16) -> Vec<Letter> {
        let begun = Instant::now();
        while fs::read_dir(self.folder.path().join("spool/input")).into_iter().flatten().next().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(60), "letters stay in the queue: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        letters(&self.folder.path().join(format!("mail/{port}/new")))
    }
}

/// The library that tells a program of users the machine does not have.
fn wrapper() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("libnss_wrapper.so")).find(|library| library.exists())
}

fn settings(here: &Path, program: &Path, pipelining: u16, plain: u16) -> String {
    let (here, program) = (here.display(), program.display());
    format!(
        "exim_path = {program}\nexim_user = {USER}\nkeep_environment = LD_PRELOAD : ^NSS_WRAPPER_\n\
         primary_hostname = relay.test\nspool_directory = {here}/spool\nlog_file_path = {here}/spool/%slog\n\
         local_interfaces = <; 127.0.0.1.{pipelining} ; 127.0.0.1.{plain}\n\
         tls_advertise_hosts =\nhost_lookup =\nrfc1413_hosts =\nchunking_advertise_hosts =\n\
         deliver_drop_privilege = true\nsmtp_accept_queue_per_connection = 0\n\
         smtp_enforce_sync = true\npipelining_connect_advertise_hosts =\n\
         pipelining_advertise_hosts = ${{if eq{{$received_port}}{{{pipelining}}}{{*}}{{}}}}\n\
         acl_smtp_rcpt = accept\nacl_smtp_data = accept\n\
         begin routers\neverybody:\n  driver = accept\n  transport = mailbox\n\
         begin transports\nmailbox:\n  driver = appendfile\n  directory = {here}/mail/$received_port\n  maildir_format\n  envelope_to_add\n"
    )
}

impl Drop for Exim {
    fn drop(&mut self) {
        // The daemon and whatever it started.
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", self.process.id())]).stderr(Stdio::null()).status();
        let _ = self.process.wait();
    }
}
