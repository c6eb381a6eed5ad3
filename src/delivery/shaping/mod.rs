//! At what pace mail leaves: token buckets and warm-up curves for the relay and for mailbox providers, and backing off from whoever says that
//! it was too fast.
//!
//! | what | kept where |
//! |---|---|
//! | how much of a rate is used up | in memory: at worst a restart lets one more second's worth leave |
//! | how many messages left on a day | in the ledger, in the transaction that lets them leave |
//! | who asked for a pause | in the ledger, so that the next run heeds it |
//!
//! Nobody is skipped: whoever must wait for less than [`PATIENCE`] waits in memory while others go on, the others wait in the ledger for a
//! later delivery. A domain is kept by its name only where the settings name it or it is one of the large providers'; of the others, which
//! may be a person's own, by a keyed hash.

mod backoff;
mod bucket;
mod settings;

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

use crate::{
    ledger::{Ledger, LedgerError, Quota},
    secret::Keys,
};
use backoff::{Pause, Word, word};
use bucket::Bucket;
pub use settings::{PaceSettings, ShapingSettings};

use super::transport::Outcome;

/// Whoever may not go within this waits in the ledger.
pub(super) const PATIENCE: TimeDelta = TimeDelta::minutes(1);
/// So many domains that asked for a pause are kept in mind.
const DOMAINS: usize = 10_000;
/// Providers whose domains are nobody's own.
const LARGE: [&str; 24] = [
    "gmail.com",
    "googlemail.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "msn.com",
    "yahoo.com",
    "yahoo.co.uk",
    "yahoo.de",
    "yahoo.fr",
    "ymail.com",
    "aol.com",
    "icloud.com",
    "me.com",
    "mac.com",
    "gmx.de",
    "gmx.net",
    "gmx.at",
    "web.de",
    "t-online.de",
    "comcast.net",
    "orange.fr",
    "libero.it",
    "mail.ru",
];

/// Whether a message may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    /// It may.
    Now,
    /// Not before this.
    At(DateTime<Utc>),
    /// When another on its way there is done with.
    Behind,
}

/// What limits the relay as a whole, or a provider.
#[derive(Debug)]
struct Limit {
    /// Empty for the relay as a whole.
    name: String,
    bucket: Option<Bucket>,
    warm_up: Vec<u64>,
    at_once: Option<usize>,
    under_way: usize,
    /// How many wait in memory for their turn.
    waiting: u32,
    /// How many may leave today, and how many have.
    today: Option<(u64, u64)>,
}

/// Somebody who asked for a pause, and what is on its way to them.
#[derive(Debug)]
struct Slow {
    pause: Pause,
    under_way: usize,
}

/// The pace of one delivery.
#[derive(Debug)]
pub(super) struct Shaper {
    relay: String,
    zone: Tz,
    /// The relay as a whole, then the providers.
    limits: Vec<Limit>,
    /// Which limit a domain has.
    providers: HashMap<String, usize>,
    /// By domain; the relay itself under the empty name.
    slow: HashMap<String, Slow>,
    /// The day `today` is about.
    day: String,
    keys: Keys,
    /// What has changed since the ledger was told.
    changed: Vec<String>,
}

/// The domain of an address.
pub(super) fn domain(address: &str) -> String {
    address.rsplit_once('@').map_or_else(String::new, |(_, domain)| domain.trim().to_ascii_lowercase())
}

impl Shaper {
    /// The pace by which mail leaves by `relay`, as the settings want it and earlier runs left it.
    pub(super) async fn open(
        settings: &ShapingSettings,
        relay: &str,
        zone: Tz,
        keys: &Keys,
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<Self, LedgerError> {
        let limit = |name: &str, rate: Option<crate::config::Cap>, warm_up: &[u64], at_once| Limit {
            name: name.to_owned(),
            bucket: rate.map(|rate| Bucket::full(rate, now)),
            warm_up: warm_up.to_vec(),
            at_once,
            under_way: 0,
            waiting: 0,
            today: None,
        };
        let mut limits = vec![limit("", settings.rate, &settings.warm_up, None)];
        let mut providers = HashMap::new();
        for (name, provider) in &settings.providers {
            for domain in &provider.domains {
                providers.insert(domain.to_ascii_lowercase(), limits.len());
            }
            limits.push(limit(name, provider.rate, &provider.warm_up, provider.at_once));
        }
        let mut shaper = Self {
            relay: relay.to_owned(),
            zone,
            limits,
            providers,
            slow: HashMap::new(),
            day: String::new(),
            keys: keys.clone(),
            changed: Vec::new(),
        };
        for (name, until, steps) in ledger.pauses(relay, now).await? {
            shaper.slow.insert(name, Slow { pause: Pause::kept(until, steps), under_way: 0 });
        }
        shaper.turn_of_the_day(ledger, now).await?;
        Ok(shaper)
    }

    /// Looks up what may leave today, where a new day has begun.
    pub(super) async fn turn_of_the_day(&mut self, ledger: &Ledger, now: DateTime<Utc>) -> Result<(), LedgerError> {
        if self.limits.iter().all(|limit| limit.warm_up.is_empty()) {
            return Ok(());
        }
        let day = now.with_timezone(&self.zone).format("%Y-%m-%d").to_string();
        if day == self.day {
            return Ok(());
        }
        for limit in self.limits.iter_mut().filter(|limit| !limit.warm_up.is_empty()) {
            let (days_before, sent) = ledger.sent_on(&self.relay, &limit.name, &day).await?;
            limit.today = limit.warm_up.get(days_before).map(|most| (*most, sent));
        }
        self.day = day;
        Ok(())
    }

    /// Whether a message to a domain may go now; if it may, it counts as gone.
    pub(super) fn ask(&mut self, domain: &str, now: DateTime<Utc>) -> Go {
        let Self { limits, providers, slow, .. } = self;
        let provider = providers.get(domain).copied();
        let (mut at, mut behind) = (now, false);
        for place in [Some(0), provider].into_iter().flatten() {
            let limit = &limits[place];
            if limit.today.is_some_and(|(most, sent)| sent >= most) {
                at = at.max(tomorrow(self.zone, now));
            }
            if let Some(bucket) = &limit.bucket {
                at = at.max(bucket.next_after(limit.waiting));
            }
            if limit.at_once.is_some_and(|most| limit.under_way >= most) {
                behind = true;
            }
        }
        if !slow.is_empty() {
            let key = kept_as(&self.keys, providers, domain);
            for name in ["", key.as_str()] {
                if let Some(Slow { pause, under_way }) = slow.get(name)
                    && !pause.lets_go(*under_way, now)
                {
                    at = at.max(pause.until);
                    behind |= now >= pause.until;
                }
            }
            if at <= now && !behind {
                for name in ["", key.as_str()] {
                    slow.get_mut(name).into_iter().for_each(|slow| slow.under_way += 1);
                }
            }
        }
        if at > now || behind {
            return if at > now { Go::At(at) } else { Go::Behind };
        }
        for place in [Some(0), provider].into_iter().flatten() {
            let limit = &mut limits[place];
            limit.bucket.iter_mut().for_each(|bucket| bucket.take(now));
            limit.under_way += 1;
            limit.today.iter_mut().for_each(|(_, sent)| *sent += 1);
        }
        Go::Now
    }

    /// A message that had been let go is done with: `None` where it never left.
    pub(super) fn done(&mut self, domain: &str, outcome: Option<&Outcome>, now: DateTime<Utc>) {
        let provider = self.providers.get(domain).copied();
        for place in [Some(0), provider].into_iter().flatten() {
            let limit = &mut self.limits[place];
            limit.under_way = limit.under_way.saturating_sub(1);
            if outcome.is_none() {
                limit.today.iter_mut().for_each(|(_, sent)| *sent = sent.saturating_sub(1));
            }
        }
        let (told, of_relay) = match outcome {
            Some(Outcome::Deferred { reply: Some(reply), of_relay, .. }) => (word(reply), *of_relay),
            _ => (Word::Nothing, false),
        };
        if self.slow.is_empty() && told == Word::Nothing {
            return;
        }
        let key = kept_as(&self.keys, &self.providers, domain);
        for name in ["", key.as_str()] {
            if let Some(slow) = self.slow.get_mut(name) {
                slow.under_way = slow.under_way.saturating_sub(1);
            }
        }
        if told != Word::Nothing {
            let name = if of_relay { String::new() } else { key };
            if self.slow.len() >= DOMAINS {
                self.slow.retain(|_, slow| slow.pause.until > now || slow.under_way > 0);
            }
            let before = self.slow.get(&name).map(|slow| slow.pause);
            let pause = Pause::after(before, told, now);
            if before != Some(pause) {
                let under_way = self.slow.get(&name).map_or(0, |slow| slow.under_way);
                self.slow.insert(name.clone(), Slow { pause, under_way });
                self.changed.push(name);
            }
        } else if matches!(outcome, Some(Outcome::Accepted(_))) {
            for name in ["", key.as_str()] {
                let Some(slow) = self.slow.get_mut(name) else { continue };
                match slow.pause.taken() {
                    Some(pause) => slow.pause = pause,
                    None => {
                        self.slow.remove(name);
                        self.changed.push(name.to_owned());
                    }
                }
            }
        }
    }

    /// Tells the ledger who asked for a pause, and who is well again.
    pub(super) async fn keep(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        for name in std::mem::take(&mut self.changed) {
            let pause = self.slow.get(&name).map(|slow| (slow.pause.until, slow.pause.steps));
            if let Some((until, _)) = pause {
                let whom = if name.is_empty() { "the relay" } else { name.as_str() };
                tracing::warn!(relay = self.relay, whom, %until, "mail was too fast; nothing more goes there for now");
            }
            ledger.keep_pause(&self.relay, &name, pause).await?;
        }
        Ok(())
    }

    /// Somebody of a domain waits in memory, or no longer does.
    pub(super) fn waits(&mut self, domain: &str, one_more: bool) {
        if let Some(place) = self.providers.get(domain) {
            let limit = &mut self.limits[*place];
            limit.waiting = if one_more { limit.waiting + 1 } else { limit.waiting.saturating_sub(1) };
        }
    }

    /// Which of [`Shaper::quotas`] a message to a domain counts against.
    pub(super) fn quota_of(&self, domain: &str) -> [Option<usize>; 2] {
        let provider = self.providers.get(domain).copied();
        [Some(0), provider].map(|place| place.filter(|place| self.limits[*place].today.is_some()))
    }

    /// What may leave today, by limit; none where there is no bound. Empty where there is none at all.
    pub(super) fn quotas(&self, now: DateTime<Utc>) -> Vec<Option<Quota>> {
        if self.limits.iter().all(|limit| limit.today.is_none()) {
            return Vec::new();
        }
        let until = tomorrow(self.zone, now);
        let quota = |limit: &Limit| {
            let (most, _) = limit.today?;
            Some(Quota { relay: self.relay.clone(), name: limit.name.clone(), day: self.day.clone(), most, until })
        };
        self.limits.iter().map(quota).collect()
    }

    /// Other workers let messages leave as well: so many have left today, by limit.
    pub(super) fn have_left(&mut self, sent: &[u64]) {
        for (limit, sent) in self.limits.iter_mut().zip(sent) {
            limit.today.iter_mut().for_each(|(_, known)| *known = (*known).max(*sent));
        }
    }
}

/// The name a domain is kept by.
fn kept_as(keys: &Keys, providers: &HashMap<String, usize>, domain: &str) -> String {
    if providers.contains_key(domain) || LARGE.contains(&domain) {
        domain.to_owned()
    } else {
        format!("#{}", hex::encode(&keys.mac("recipient domain", &[domain.as_bytes()])[..8]))
    }
}

/// The next midnight.
fn tomorrow(zone: Tz, now: DateTime<Utc>) -> DateTime<Utc> {
    let next = now.with_timezone(&zone).date_naive().checked_add_days(Days::new(1)).map(|day| day.and_time(NaiveTime::MIN));
    let midnight = next.and_then(|midnight| zone.from_local_datetime(&midnight).earliest());
    midnight.map_or(now + TimeDelta::hours(24), |midnight| midnight.with_timezone(&Utc))
}

#[cfg(test)]
mod tests;
