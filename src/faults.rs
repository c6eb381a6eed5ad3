//! Faults at named points, so that a test can make a real process fail exactly there. Builds without debug assertions have none.
//!
//! `PERENNIAL_FAULT=<point>:<n>:<fault>` lets the fault happen when the point is passed for the n-th time:
//!
//! | fault | what happens |
//! |---|---|
//! | `kill` | the process is gone, as by `kill -9` |
//! | `panic` | the thread panics |
//! | `stop` | the process stands still until somebody wakes it, as by `kill -STOP` |
//! | `term` | the process is asked to stop, and goes on until it notices |
//! | `io` | the operation fails with an I/O error, once |
//! | `full` | from here on whatever writes to the disk fails as on a full one |
//!
//! A point is named after the operation it stands in, `<room>.<operation>.<moment>`; those of `ledger` and `outbox` write to the disk.

/// Passes a point.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) const fn at(_point: &str) -> std::io::Result<()> {
    Ok(())
}

/// Of `bytes` about to be written at a point, those that leave before its fault happens: half of them where it happens now.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) const fn torn(_point: &str, _bytes: usize) -> Option<usize> {
    None
}

#[cfg(debug_assertions)]
pub(crate) use injected::{at, torn};

#[cfg(debug_assertions)]
mod injected {
    use std::{
        io,
        process::Command,
        sync::{
            LazyLock,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
    };

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        Kill,
        Panic,
        Stop,
        Term,
        Io,
        Full,
    }

    /// The fault this process was given.
    #[derive(Debug)]
    struct Armed {
        point: String,
        when: u64,
        fault: Fault,
        passed: AtomicU64,
        happened: AtomicBool,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| Armed::read(&std::env::var("PERENNIAL_FAULT").ok()?));

    impl Armed {
        fn read(text: &str) -> Option<Self> {
            let mut parts = text.split(':');
            let (point, when, fault) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            let fault = match fault {
                "kill" => Fault::Kill,
                "panic" => Fault::Panic,
                "stop" => Fault::Stop,
                "term" => Fault::Term,
                "io" => Fault::Io,
                "full" => Fault::Full,
                _ => return None,
            };
            Some(Self { point: point.to_owned(), when, fault, passed: AtomicU64::new(0), happened: AtomicBool::new(false) })
        }

        /// Whether the fault happens at this passing of its point.
        fn is_now(&self, point: &str) -> bool {
            point == self.point && self.passed.fetch_add(1, Ordering::AcqRel) + 1 == self.when
        }

        fn happen(&self, point: &str) -> io::Result<()> {
            self.happened.store(true, Ordering::Release);
            tracing::warn!(point, fault = ?self.fault, "a fault happens");
            match self.fault {
                Fault::Kill => {
                    signal("KILL");
                    // It comes from outside, a moment later.
                    loop {
                        std::thread::park();
                    }
                }
                Fault::Stop | Fault::Term => {
                    signal(if self.fault == Fault::Stop { "STOP" } else { "TERM" });
                    Ok(())
                }
                #[allow(clippy::panic, reason = "this is the fault")]
                Fault::Panic => panic!("the fault at {point}"),
                Fault::Io => Err(io::Error::other(format!("the fault at {point}"))),
                Fault::Full => Err(full()),
            }
        }
    }

    /// Passes a point.
    pub(crate) fn at(point: &str) -> io::Result<()> {
        let Some(armed) = &*ARMED else { return Ok(()) };
        if armed.is_now(point) {
            return armed.happen(point);
        }
        let to_disk = point.starts_with("ledger.") || point.starts_with("outbox.");
        match armed.fault == Fault::Full && to_disk && armed.happened.load(Ordering::Acquire) {
            true => Err(full()),
            false => Ok(()),
        }
    }

    /// Of `bytes` about to be written at a point, those that leave before its fault happens: half of them where it happens now.
    pub(crate) fn torn(point: &str, bytes: usize) -> Option<usize> {
        let armed = ARMED.as_ref()?;
        let next = armed.passed.load(Ordering::Acquire) + 1;
        (point == armed.point && next == armed.when).then_some(bytes / 2)
    }

    fn full() -> io::Error {
        io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
    }

    /// Sends this process a signal, by way of a shell: there is no safe call for it in the standard library.
    fn signal(name: &str) {
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} $PPID")]).status();
    }
}
