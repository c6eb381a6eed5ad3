//! How the threads of a delivery give way to each other, where there are fewer processors than threads with something to do.

use thread_priority::{Error, ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

/// How much nicer than the rest whoever steps back is.
const STEP: i32 = 9;

/// Lets threads with more to do go before this one. Where the system does not let it, it works all the same.
pub(super) fn step_back() {
    told(set_current_thread_priority(as_nice_as(niceness() + STEP)));
}

/// Lets whoever is at work finish before this thread goes on. One that is woken for every reply, and interrupts the relay that is about to write
/// the next, has nothing but switches from it; this way it finds several at once.
#[cfg(target_os = "linux")]
pub(super) fn interrupt_nobody() {
    use thread_priority::{
        NormalThreadSchedulePolicy::Batch, ThreadSchedulePolicy::Normal, set_thread_priority_and_policy, thread_native_id,
    };
    told(set_thread_priority_and_policy(thread_native_id(), as_nice_as(niceness()), Normal(Batch)));
}

/// Other systems know no such thing.
#[cfg(not(target_os = "linux"))]
pub(super) fn interrupt_nobody() {}

/// The nice value of this thread (proc_pid_stat(5), field 19); what a process is born with, where nobody says.
pub(super) fn niceness() -> i32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // The name before may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(16).and_then(|nice| nice.parse().ok()).unwrap_or_default()
}

/// The priority, of 0 to 99, that stands for a nice value from -20 to 19.
fn as_nice_as(nice: i32) -> ThreadPriority {
    let priority = (99 * (37 - 2 * nice)).div_euclid(78).clamp(0, 99);
    let priority = u8::try_from(priority).ok().and_then(|priority| ThreadPriorityValue::try_from(priority).ok());
    priority.map_or(ThreadPriority::Min, ThreadPriority::Crossplatform)
}

fn told(set: Result<(), Error>) {
    if let Err(error) = set {
        tracing::debug!(%error, "a thread keeps the priority of everything else");
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use thread_priority::{NormalThreadSchedulePolicy::Batch, ThreadSchedulePolicy, thread_schedule_policy};

    use super::*;

    /// How nice a thread is that did something first, and by which policy it is scheduled.
    fn after(first: impl Fn() + Send + 'static) -> (i32, ThreadSchedulePolicy) {
        let manners = move || {
            first();
            (niceness(), thread_schedule_policy().unwrap())
        };
        std::thread::spawn(manners).join().unwrap()
    }

    #[test]
    fn whoever_steps_back_is_nicer_and_whoever_interrupts_nobody_is_as_nice_as_before() {
        let (nice, policy) = after(|| {});
        assert_eq!(after(step_back), ((nice + STEP).min(19), policy));
        assert_eq!(after(interrupt_nobody), (nice, ThreadSchedulePolicy::Normal(Batch)));
        // Nobody who is nice already becomes less so.
        let (nicer, _) = after(|| told(set_current_thread_priority(as_nice_as(15))));
        let twice = after(|| {
            told(set_current_thread_priority(as_nice_as(15)));
            interrupt_nobody();
            step_back();
        });
        assert_eq!((nicer, twice.0), (15, 19));
    }

    #[test]
    fn every_nice_value_has_its_priority() {
        for nice in -20..20 {
            assert_eq!(as_nice_as(nice).to_posix(ThreadSchedulePolicy::Normal(Batch)).unwrap(), nice);
        }
        assert_eq!(as_nice_as(40).to_posix(ThreadSchedulePolicy::Normal(Batch)).unwrap(), 19);
    }
}
