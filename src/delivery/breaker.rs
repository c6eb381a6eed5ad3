//! The circuit breaker: a campaign whose letters bounce or are called junk too often stops, before providers stop taking mail of ours at
//! all. Amazon SES looks at senders from 5 % of bounces and 0.1 % of complaints on; Gmail and Yahoo demand fewer than 0.1 %.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{config::Share, ledger::Rates};

/// `[delivery.breaker]`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// A campaign stops when more of its last messages than this went to mailboxes that do not exist.
    pub bounces: Share,
    /// A campaign stops when its readers called more of its last messages than this junk.
    pub complaints: Share,
    /// How many of a campaign's last messages are looked at. While there are fewer, the shares are still those of so many.
    pub over: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { bounces: Share::percent(4.0), complaints: Share::percent(0.08), over: 500 }
    }
}

/// Why a campaign must stop; none while it may go on.
pub(super) fn tripped(settings: BreakerSettings, rates: Rates) -> Option<String> {
    let over = |count: u32, share: Share| f64::from(count) > share.fraction() * f64::from(settings.over.max(1));
    if over(rates.complained, settings.complaints) {
        let (count, of, share) = (rates.complained, rates.messages, settings.complaints);
        return Some(format!("{count} of its last {of} messages were called junk; {share} of {} are allowed", settings.over));
    }
    if over(rates.bounced, settings.bounces) {
        let (count, of, share) = (rates.bounced, rates.messages, settings.bounces);
        return Some(format!(
            "{count} of its last {of} messages went to mailboxes that do not exist; {share} of {} are allowed",
            settings.over
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_stops_above_its_shares_and_not_at_them() {
        let rates = |messages, bounced, complained| Rates { messages, bounced, complained };
        let said = |rates| tripped(BreakerSettings::default(), rates);
        assert_eq!(said(rates(500, 20, 0)), None);
        assert_eq!(
            said(rates(500, 21, 0)).as_deref(),
            Some("21 of its last 500 messages went to mailboxes that do not exist; 4 % of 500 are allowed")
        );
        assert_eq!(said(rates(500, 0, 1)).as_deref(), Some("1 of its last 500 messages were called junk; 0.08 % of 500 are allowed"));
        assert_eq!(said(rates(40, 20, 0)), None, "among few letters a few dead addresses are no share");
        assert!(said(rates(40, 21, 0)).is_some());
        assert_eq!(said(Rates::default()), None);
    }
}
