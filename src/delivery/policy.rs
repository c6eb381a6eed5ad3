//! Whether a planned message may still be sent: a person's present state in, a decision out. Pure; asked inside the transaction that
//! reserves, and nothing in an SQL file or a template can switch it off.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::{
    config::QuietHours,
    ledger::{Consent, Decision, Present},
    message::Kind,
};

/// The rules one delivery goes by.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Which wishes count.
    pub kind: Kind,
    /// The plan's logical time: what happened after it is news.
    pub as_of: DateTime<Utc>,
    /// Whether the plan was made for another time: who is in the segment today says nothing about who was in it then.
    pub replay: bool,
    /// The most messages a person gets within the cap's window.
    pub cap: Option<u32>,
    /// The peace a person has after any message of ours.
    pub cool_off: Option<TimeDelta>,
    /// The peace somebody who wants fewer letters has after any message of ours; marketing only.
    pub fewer: TimeDelta,
    /// When nobody is written to.
    pub quiet_hours: Option<QuietHours>,
    /// The zone of people whose own is not known.
    pub zone: Tz,
}

impl Policy {
    /// Whether a message may be sent to a person at `now`.
    #[must_use]
    pub(crate) fn decide(&self, present: &Present, now: DateTime<Utc>) -> Decision {
        if let Some(reason) = self.obstacle(present, now) {
            return Decision::Drop(reason);
        }
        if let Some(later) = present.next_try_at.filter(|later| *later > now) {
            return Decision::Wait(later);
        }
        let zone = present.timezone.as_deref().and_then(|name| name.parse().ok()).unwrap_or(self.zone);
        match self.quiet_hours.filter(|_| self.kind != Kind::Internal).and_then(|quiet| quiet.end(now, zone)) {
            Some(end) => Decision::Wait(end),
            None => Decision::Send,
        }
    }

    fn obstacle(&self, present: &Present, now: DateTime<Utc>) -> Option<&'static str> {
        let since = |at: Option<DateTime<Utc>>| at.is_some_and(|at| at > self.as_of);
        let marketing = self.kind == Kind::Marketing;
        let personal = self.kind != Kind::Internal;
        let consent = match self.kind {
            Kind::Marketing => present.marketing == Consent::Granted,
            Kind::Service => present.service != Consent::Denied,
            Kind::Internal => true,
        };
        let fewer = (marketing && present.wants_fewer).then_some(self.fewer);
        let peace = self.cool_off.max(fewer);
        let obstacles = [
            (present.deleted, "deleted"),
            (!consent && present.known, "opted_out_since"),
            (personal && present.suppressed.as_deref() == Some("unsubscribed"), "opted_out_since"),
            (personal && present.suppressed.is_some(), "suppressed"),
            (personal && present.left_campaign, "opted_out_since"),
            (present.told, "already_told"),
            (marketing && (present.open_complaint || since(present.last_complaint_at)), "complained_since"),
            (marketing && since(present.last_order_at), "bought_since"),
            (!present.known || !(present.in_segment || self.replay), "no_longer_in_segment"),
            (personal && peace.is_some_and(|peace| present.last_message_at.is_some_and(|last| now - last < peace)), "cool_off"),
            (personal && self.cap.is_some_and(|cap| present.messages >= cap), "capped"),
        ];
        obstacles.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveTime;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn calm() -> Present {
        Present {
            attempt: 0,
            next_try_at: None,
            known: true,
            deleted: false,
            marketing: Consent::Granted,
            service: Consent::Unknown,
            open_complaint: false,
            last_order_at: Some(at("2026-06-01T10:00:00Z")),
            last_complaint_at: None,
            timezone: Some("Europe/Berlin".into()),
            in_segment: true,
            suppressed: None,
            left_campaign: false,
            wants_fewer: false,
            told: false,
            claimed: true,
            messages: 0,
            last_message_at: None,
        }
    }

    fn policy(kind: Kind) -> Policy {
        Policy {
            kind,
            as_of: at("2026-11-22T01:00:00Z"),
            replay: false,
            cap: Some(4),
            cool_off: Some(TimeDelta::days(7)),
            fewer: TimeDelta::days(90),
            quiet_hours: None,
            zone: chrono_tz::UTC,
        }
    }

    #[test]
    fn each_obstacle_stops_whom_it_concerns() {
        let now = at("2026-11-22T09:00:00Z");
        type Case = (&'static str, fn(&mut Present), [Option<&'static str>; 3]);
        let all = |reason| [Some(reason), Some(reason), Some(reason)];
        // The answers for marketing, service and internal.
        let cases: Vec<Case> = vec![
            ("nothing", |_| {}, [None, None, None]),
            ("deleted", |p| p.deleted = true, all("deleted")),
            ("never asked", |p| p.marketing = Consent::Unknown, [Some("opted_out_since"), None, None]),
            ("denied", |p| p.marketing = Consent::Denied, [Some("opted_out_since"), None, None]),
            ("no service mail", |p| p.service = Consent::Denied, [None, Some("opted_out_since"), None]),
            ("unsubscribed", |p| p.suppressed = Some("unsubscribed".into()), [Some("opted_out_since"), Some("opted_out_since"), None]),
            ("bounced", |p| p.suppressed = Some("hard_bounce".into()), [Some("suppressed"), Some("suppressed"), None]),
            ("wants none of it", |p| p.left_campaign = true, [Some("opted_out_since"), Some("opted_out_since"), None]),
            ("wants fewer", |p| p.wants_fewer = true, [None, None, None]),
            (
                "wants fewer, and got one",
                |p| (p.wants_fewer, p.last_message_at) = (true, Some(at("2026-08-24T09:00:01Z"))),
                [Some("cool_off"), None, None],
            ),
            ("told", |p| p.told = true, all("already_told")),
            ("open complaint", |p| p.open_complaint = true, [Some("complained_since"), None, None]),
            ("complained", |p| p.last_complaint_at = Some(at("2026-11-22T01:00:01Z")), [Some("complained_since"), None, None]),
            ("old complaint", |p| p.last_complaint_at = Some(at("2026-11-22T01:00:00Z")), [None, None, None]),
            ("bought", |p| p.last_order_at = Some(at("2026-11-22T01:00:01Z")), [Some("bought_since"), None, None]),
            (
                "bought and left the segment",
                |p| (p.last_order_at, p.in_segment) = (Some(at("2026-11-22T08:00:00Z")), false),
                [Some("bought_since"), Some("no_longer_in_segment"), Some("no_longer_in_segment")],
            ),
            ("left", |p| p.in_segment = false, all("no_longer_in_segment")),
            ("vanished", |p| (p.known, p.marketing, p.in_segment) = (false, Consent::Unknown, false), all("no_longer_in_segment")),
            ("written to", |p| p.last_message_at = Some(at("2026-11-15T09:00:01Z")), [Some("cool_off"), Some("cool_off"), None]),
            ("had peace", |p| p.last_message_at = Some(at("2026-11-15T09:00:00Z")), [None, None, None]),
            ("three messages", |p| p.messages = 3, [None, None, None]),
            ("four messages", |p| p.messages = 4, [Some("capped"), Some("capped"), None]),
        ];
        for (name, change, answers) in cases {
            for (kind, answer) in [Kind::Marketing, Kind::Service, Kind::Internal].into_iter().zip(answers) {
                let mut present = calm();
                change(&mut present);
                let expected = answer.map_or(Decision::Send, Decision::Drop);
                assert_eq!(policy(kind).decide(&present, now), expected, "{name}, {kind:?}");
            }
        }
    }

    #[test]
    fn a_later_try_waits_for_its_time() {
        let later = at("2026-11-22T10:00:00Z");
        let present = Present { next_try_at: Some(later), ..calm() };
        assert_eq!(policy(Kind::Service).decide(&present, at("2026-11-22T09:59:59Z")), Decision::Wait(later));
        assert_eq!(policy(Kind::Service).decide(&present, later), Decision::Send);
    }

    #[test]
    fn quiet_hours_go_by_the_clock_on_the_persons_wall() {
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
        let quiet = QuietHours { from: time("21:00"), to: time("08:00") };
        let policy = Policy { quiet_hours: Some(quiet), ..policy(Kind::Marketing) };
        let berlin = calm();
        let tokyo = Present { timezone: Some("Asia/Tokyo".into()), ..calm() };
        let nowhere = Present { timezone: Some("Nowhere/Else".into()), ..calm() };
        for (now, present, expected) in [
            ("2026-11-22T19:59:59Z", &berlin, None),
            ("2026-11-22T20:00:00Z", &berlin, Some("2026-11-23T07:00:00Z")),
            ("2026-11-23T06:59:59Z", &berlin, Some("2026-11-23T07:00:00Z")),
            ("2026-11-23T07:00:00Z", &berlin, None),
            ("2026-11-22T12:30:00Z", &tokyo, Some("2026-11-22T23:00:00Z")),
            ("2026-11-22T21:30:00Z", &nowhere, Some("2026-11-23T08:00:00Z")),
        ] {
            let expected = expected.map_or(Decision::Send, |end| Decision::Wait(at(end)));
            assert_eq!(policy.decide(present, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn a_replay_asks_for_all_but_today_s_segment() {
        let now = at("2026-11-22T09:00:00Z");
        for kind in [Kind::Marketing, Kind::Service, Kind::Internal] {
            let policy = Policy { replay: true, ..policy(kind) };
            assert_eq!(policy.decide(&Present { in_segment: false, ..calm() }, now), Decision::Send, "{kind}");
            let stranger = Present { known: false, ..calm() };
            assert_eq!(policy.decide(&stranger, now), Decision::Drop("no_longer_in_segment"), "{kind}");
            let gone = Present { in_segment: false, deleted: true, ..calm() };
            assert_eq!(policy.decide(&gone, now), Decision::Drop("deleted"), "{kind}");
        }
        let policy = Policy { replay: true, ..policy(Kind::Service) };
        let silent = Present { in_segment: false, suppressed: Some("unsubscribed".into()), ..calm() };
        assert_eq!(policy.decide(&silent, now), Decision::Drop("opted_out_since"));
    }
}
