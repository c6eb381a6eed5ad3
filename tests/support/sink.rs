//! Postfix's `smtp-sink`: a real SMTP server that keeps what it receives.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Folder;

/// A running server; it stops with the value.
pub(crate) struct Sink {
    process: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Sink {
    /// Starts one, where Debian's package `postfix` is installed.
    pub(crate) fn start(extra: &[&str]) -> Option<Self> {
        let program = ["/usr/sbin/smtp-sink", "/usr/bin/smtp-sink"].into_iter().find(|path| Path::new(path).exists())?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        // It refuses to work as the superuser; whoever it becomes must be able to write here.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        command.args(extra).arg("-d").arg("%H%M%S.").arg(format!("127.0.0.1:{port}")).arg("1000");
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let sink = Self { process, port, folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "smtp-sink does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sink)
    }

    /// The files of the messages received so far.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// How often each Message-ID was received whole. A message cut off before its final dot was never accepted; smtp-sink keeps its file
    /// open-ended all the same, so only files of closed transactions count.
    pub(crate) fn message_ids(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for file in self.files() {
            let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
            let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: <")?.strip_suffix('>')).map(str::to_owned);
            if let Some(id) = id {
                *counts.entry(id).or_default() += 1;
            }
        }
        counts
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Folder {
    /// Sends this project's mail to `sink`.
    pub(crate) fn send_to(&mut self, sink: &Sink) {
        self.send_to_port(sink.port);
    }

    /// Sends this project's mail to a server on this machine.
    pub(crate) fn send_to_port(&mut self, port: u16) {
        self.set("PERENNIAL__DELIVERY__EMAIL", "smtp");
        self.set("PERENNIAL__DELIVERY__SMTP__HOST", "127.0.0.1");
        self.set("PERENNIAL__DELIVERY__SMTP__PORT", port.to_string());
        self.set("PERENNIAL__DELIVERY__SMTP__TLS", "none");
    }
}
