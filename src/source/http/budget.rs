//! `budget = { requests = 20000, time = "2h" }`: how much of a source one run may use, over all of its streams.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Period;

/// The most that a run takes of a source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// Requests, repeated ones included.
    requests: Option<u64>,
    /// How long after the pull began none is sent any more.
    time: Option<Period>,
}

impl Budget {
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match (self.requests, self.time) {
            (None, None) => Err("nothing is limited; set `requests` or `time`".to_owned()),
            (Some(0), _) => Err("a budget of no requests brings nothing".to_owned()),
            (_, Some(time)) if time.duration().is_zero() => Err("a budget of no time brings nothing".to_owned()),
            _ => Ok(()),
        }
    }
}

/// What is left of it in one run.
#[derive(Debug)]
pub(crate) struct Purse {
    budget: Budget,
    began: Instant,
    spent: AtomicU64,
}

impl Purse {
    /// A full one, from now on.
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, began: Instant::now(), spent: AtomicU64::new(0) }
    }

    /// Pays for one request; `Err` says what is used up.
    pub(crate) fn pay(&self) -> Result<(), String> {
        self.spend(self.began.elapsed())
    }

    fn spend(&self, after: Duration) -> Result<(), String> {
        if let Some(time) = self.budget.time.filter(|time| after >= time.duration()) {
            return Err(time.to_string());
        }
        let before = self.spent.fetch_add(1, Ordering::Relaxed);
        match self.budget.requests.filter(|requests| before >= *requests) {
            Some(requests) => Err(format!("{requests} requests")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_by_requests_or_by_time() {
        let purse = Purse::new(Budget { requests: Some(2), time: Some(Period::seconds(60)) });
        assert_eq!([purse.pay(), purse.pay(), purse.pay()], [Ok(()), Ok(()), Err("2 requests".to_owned())]);
        let purse = Purse::new(Budget { requests: None, time: Some(Period::hours(2)) });
        assert_eq!([7199, 7200].map(|after| purse.spend(Duration::from_secs(after))), [Ok(()), Err("2h".to_owned())]);
    }

    #[test]
    fn a_budget_of_nothing_is_none() {
        let check = |requests, time| Budget { requests, time }.check().is_ok();
        assert_eq!(
            [check(None, None), check(Some(0), None), check(None, Some(Period::seconds(0))), check(Some(1), None)],
            [false, false, false, true]
        );
    }
}
