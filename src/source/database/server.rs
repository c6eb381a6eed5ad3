//! Database servers for tests, started from the distribution's packages and gone with the test.

#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// One server with an empty database, on a port of its own.
pub(crate) enum Server {
    Postgres(Running),
    MariaDb(Running),
}

pub(crate) struct Running {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts a server and waits until it answers on its socket, which no other server has. Until it listens, its port may go to
    /// another; it ends then and is started on a new one.
    fn start(folder: tempfile::TempDir, server: impl Fn(&Path, &str) -> Command, ask: impl Fn(&Path, &str) -> Command) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let mut child = quiet(&mut server(folder.path(), &port.to_string())).spawn().unwrap();
            for _ in 0..600 {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if quiet(&mut ask(folder.path(), &port.to_string())).status().unwrap().success() {
                    return Self { child, port, _folder: folder };
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("a database server did not come up");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn am_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.starts_with(b"0\n")
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn found(pattern: &str) -> Option<PathBuf> {
    glob::glob(pattern).unwrap().flatten().last()
}

impl Server {
    /// PostgreSQL, or a word on why there is none.
    pub(crate) fn postgres() -> Option<Self> {
        let Some(bin) = found("/usr/lib/postgresql/*/bin/postgres") else {
            println!("skipped: PostgreSQL is not installed (Debian's package postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        // It refuses to run as root.
        let command = |program: &Path| {
            if !am_root() {
                return Command::new(program);
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        };
        if am_root() {
            assert!(Command::new("chown").arg("postgres:postgres").arg(folder.path()).status().unwrap().success());
        }
        let mut init = command(&bin.with_file_name("initdb"));
        init.args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D"]).arg(&data);
        assert!(quiet(&mut init).status().unwrap().success(), "initdb");
        let ready = bin.with_file_name("pg_isready");
        Some(Self::Postgres(Running::start(
            folder,
            |folder, port| {
                let mut server = command(&bin);
                server.arg("-D").arg(&data).arg("-k").arg(folder).args(["-p", port]);
                server.args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]);
                server
            },
            |folder, port| {
                let mut ask = Command::new(&ready);
                ask.arg("-h").arg(folder).args(["-p", port]);
                ask
            },
        )))
    }

    /// MariaDB, or a word on why there is none.
    pub(crate) fn mariadb() -> Option<Self> {
        let (Some(server), Some(install)) = (found("/usr/sbin/mariadbd"), found("/usr/bin/mariadb-install-db")) else {
            println!("skipped: MariaDB is not installed (Debian's package mariadb-server)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let data = format!("--datadir={}", folder.path().join("data").display());
        let user = if am_root() { vec!["--user=root"] } else { vec![] };
        // The machine has only so many places for the kernel's asynchronous reads, and tests run beside each other.
        let own_io = "--innodb-use-native-aio=0";
        let mut init = Command::new(install);
        init.args(["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db", own_io]).args(&user);
        // In a folder they share, servers remove each other's temporary tables.
        let made = init.env("TMPDIR", folder.path()).stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        let begin = folder.path().join("begin.sql");
        let mut statements = vec!["create database shop character set utf8mb4".to_owned()];
        for user in ["shop@'%'", "shop@localhost"] {
            statements.push(format!("create user {user}"));
            statements.push(format!("grant all on shop.* to {user}"));
            statements.push(format!("grant process, connection admin on *.* to {user}"));
        }
        // The server takes one statement a line.
        std::fs::write(&begin, statements.join(";\n") + ";\n").unwrap();
        let socket = |folder: &Path| format!("--socket={}", folder.join("socket").display());
        Some(Self::MariaDb(Running::start(
            folder,
            |folder, port| {
                let mut command = Command::new(&server);
                command
                    .args(["--no-defaults", &data, "--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"])
                    .args([own_io, &format!("--port={port}"), &socket(folder), &format!("--init-file={}", begin.display())])
                    .env("TMPDIR", folder)
                    .args(&user);
                command
            },
            |folder, _| {
                let mut ask = Command::new("mariadb");
                ask.args(["--no-defaults", &socket(folder), "-u", "shop", "shop", "-e", "select 1"]);
                ask
            },
        )))
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Postgres(running) | Self::MariaDb(running) => running.port,
        }
    }

    /// The address a source names.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(running) => format!("postgres://postgres@127.0.0.1:{}/postgres", running.port),
            Self::MariaDb(running) => format!("mysql://shop@127.0.0.1:{}/shop", running.port),
        }
    }
}
