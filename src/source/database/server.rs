//! Database servers for tests, started from the distribution's packages and gone with the test.

#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// One server with an empty database, on a port of its own.
pub(super) enum Server {
    Postgres(Running),
    MariaDb(Running),
}

pub(super) struct Running {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
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
    pub(super) fn postgres() -> Option<Self> {
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
        let port = free_port();
        let mut server = command(&bin);
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).args([
            "-p",
            &port.to_string(),
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
        ]);
        let child = quiet(&mut server).spawn().unwrap();
        let running = Self::Postgres(Running { child, port, _folder: folder });
        let ready = bin.with_file_name("pg_isready");
        running.wait(|| quiet(Command::new(&ready).args(["-h", "127.0.0.1", "-p", &port.to_string()])).status().unwrap().success());
        Some(running)
    }

    /// MariaDB, or a word on why there is none.
    pub(super) fn mariadb() -> Option<Self> {
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
        let made = init.stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let socket = folder.path().join("socket");
        let begin = folder.path().join("begin.sql");
        let mut statements = vec!["create database shop character set utf8mb4".to_owned()];
        for user in ["shop@'%'", "shop@localhost"] {
            statements.push(format!("create user {user}"));
            statements.push(format!("grant all on shop.* to {user}"));
            statements.push(format!("grant process, connection admin on *.* to {user}"));
        }
        // The server takes one statement a line.
        std::fs::write(&begin, statements.join(";\n") + ";\n").unwrap();
        let mut command = Command::new(server);
        command
            .args(["--no-defaults", &data, "--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", own_io])
            .args([format!("--port={port}"), format!("--socket={}", socket.display()), format!("--init-file={}", begin.display())])
            .args(&user);
        let child = quiet(&mut command).spawn().unwrap();
        let running = Self::MariaDb(Running { child, port, _folder: folder });
        let port = port.to_string();
        running.wait(|| {
            let ask = ["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-u", "shop", "shop", "-e", "select 1"];
            quiet(Command::new("mariadb").args(ask)).status().unwrap().success()
        });
        Some(running)
    }

    fn wait(&self, ready: impl Fn() -> bool) {
        for _ in 0..600 {
            if ready() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{} did not come up", self.url());
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Postgres(running) | Self::MariaDb(running) => running.port,
        }
    }

    /// The address a source names.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Postgres(running) => format!("postgres://postgres@127.0.0.1:{}/postgres", running.port),
            Self::MariaDb(running) => format!("mysql://shop@127.0.0.1:{}/shop", running.port),
        }
    }
}
