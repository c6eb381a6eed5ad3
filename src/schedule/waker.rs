//! The waker: `tokio-cron-scheduler` calls every ten seconds, in UTC, so that its own handling of zones and missed ticks never matters.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Wakes whoever waits on it every ten seconds.
pub struct Waker {
    scheduler: JobScheduler,
    tick: Arc<Notify>,
}

impl Waker {
    /// Starts waking.
    ///
    /// # Errors
    /// Where the scheduler cannot start.
    pub async fn start() -> Result<Self, JobSchedulerError> {
        let tick = Arc::new(Notify::new());
        let scheduler = JobScheduler::new().await?;
        let notify = Arc::clone(&tick);
        scheduler
            .add(Job::new_async("*/10 * * * * *", move |_, _| {
                let notify = Arc::clone(&notify);
                Box::pin(async move { notify.notify_one() })
            })?)
            .await?;
        scheduler.start().await?;
        Ok(Self { scheduler, tick })
    }

    /// Waits for the next call; a call that came in the meantime counts.
    pub async fn tick(&self) {
        self.tick.notified().await;
    }

    /// Stops waking.
    ///
    /// # Errors
    /// Where the scheduler cannot be stopped.
    pub async fn stop(mut self) -> Result<(), JobSchedulerError> {
        self.scheduler.shutdown().await
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}
