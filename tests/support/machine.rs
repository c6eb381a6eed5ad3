//! What a test asks of the machine to run a server of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

/// Whether the test may do what only the superuser may.
pub(crate) fn is_superuser() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The ids of a user of this machine and of their group.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// A port nobody listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a server greets; fails the test where it does not.
#[track_caller]
pub(crate) fn wait_for_greeting(port: u16, log: impl Fn() -> String) {
    let begun = Instant::now();
    let greets = || TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut stream| stream.read(&mut [0; 3]).is_ok_and(|count| count > 0));
    while !greets() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the server does not greet: {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says each of `breaths` to a mail server in one write, waiting for a reply before each, and returns all it answered before the end.
pub(crate) fn say(port: u16, breaths: &[&str]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut answers = String::new();
    for breath in breaths {
        // The last line of a reply has a space behind its code.
        let mut begins = answers.len();
        while answers.as_bytes().get(begins + 3) != Some(&b' ') {
            begins = answers.len();
            if lines.read_line(&mut answers).unwrap_or(0) == 0 {
                return answers;
            }
        }
        let _ = stream.write_all(breath.as_bytes());
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = lines.read_to_string(&mut answers);
    answers
}
