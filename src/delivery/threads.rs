//! How the threads of a delivery give way to each other, where there are fewer processors than threads with something to do.

use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

/// The priority of whoever steps back, of 0 to 99; a process is born with one in the middle.
const BEHIND: u8 = 25;

/// Lets threads with more to do go before this one. Where the system does not let it, it works all the same.
pub(super) fn step_back() {
    told(set_current_thread_priority(priority(BEHIND)));
}

/// Lets whoever is at work finish before this thread goes on. One that is woken for every reply, and interrupts the relay that is about to write
/// the next, has nothing but switches from it; this way it finds several at once.
#[cfg(target_os = "linux")]
pub(super) fn interrupt_nobody() {
    use thread_priority::{
        NormalThreadSchedulePolicy::Batch, ThreadSchedulePolicy::Normal, set_thread_priority_and_policy, thread_native_id,
    };
    /// What a process is born with.
    const BORN_WITH: u8 = 47;
    told(set_thread_priority_and_policy(thread_native_id(), priority(BORN_WITH), Normal(Batch)));
}

/// Other systems know no such thing.
#[cfg(not(target_os = "linux"))]
pub(super) fn interrupt_nobody() {}

fn priority(value: u8) -> ThreadPriority {
    ThreadPriorityValue::try_from(value).map_or(ThreadPriority::Min, ThreadPriority::Crossplatform)
}

fn told(set: Result<(), thread_priority::Error>) {
    if let Err(error) = set {
        tracing::debug!(%error, "a thread keeps the priority of everything else");
    }
}

/// The nice value and the policy of the thread that asks (proc_pid_stat(5), fields 19 and 41).
#[cfg(target_os = "linux")]
#[cfg(test)]
pub(super) fn manners() -> (i32, i32) {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let mut fields = rest.split_whitespace().map(|field| field.parse().unwrap_or_default());
    (fields.nth(16).unwrap(), fields.nth(21).unwrap())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_interrupts_nobody_is_as_nice_as_before() {
        const SCHED_BATCH: i32 = 3;
        let after = |first: fn()| {
            std::thread::spawn(move || {
                first();
                manners()
            })
        };
        let (nice, _) = after(|| {}).join().unwrap();
        assert_eq!(after(interrupt_nobody).join().unwrap(), (nice, SCHED_BATCH));
    }
}
