//! Names and chances that never change: the message id of an occasion, and where a person falls in the control group and among variants.
//!
//! All of them are HMACs under keys that never rotate, so that a replay, a retry and next year's run agree.

use crate::{
    ledger::{CustomerId, MessageId},
    secret::Keys,
};

/// The id of the message a person gets about one occasion, unique for ever: sixteen bytes of an HMAC, `@` the brand's domain.
#[must_use]
pub(super) fn message_id(keys: &Keys, campaign: &str, customer: &CustomerId, occasion: &str, step: i64, domain: &str) -> MessageId {
    let step = step.to_string();
    let mac = keys.mac("message", &[campaign.as_bytes(), customer.as_str().as_bytes(), occasion.as_bytes(), step.as_bytes()]);
    MessageId::new(format!("{}@{domain}", hex::encode(&mac[..16])))
}

/// Whether a person belongs to a campaign's control group of this share (0 to 1); the same answer every night.
#[must_use]
pub(super) fn in_holdout(keys: &Keys, campaign: &str, customer: &CustomerId, share: f64) -> bool {
    place(keys, "holdout", campaign, customer) < share
}

/// The variant a person is given, by weight; the same every night as long as the weights stand. None where a campaign has no variants.
#[must_use]
pub(super) fn variant<'a>(
    keys: &Keys,
    campaign: &str,
    customer: &CustomerId,
    weights: impl Iterator<Item = (&'a str, u32)> + Clone,
) -> Option<&'a str> {
    let total: u64 = weights.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut left = place(keys, "variant", campaign, customer) * total as f64;
    let mut last = None;
    for (name, weight) in weights.filter(|(_, weight)| *weight > 0) {
        last = Some(name);
        left -= f64::from(weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// A number from 0 up to 1, evenly spread over people and fixed for each.
fn place(keys: &Keys, label: &'static str, campaign: &str, customer: &CustomerId) -> f64 {
    let mac = keys.mac(label, &[campaign.as_bytes(), customer.as_str().as_bytes()]);
    let first = mac.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // 2^64 is exact as a float; the quotient rounds to 1.0 only for the last 2^10 values of 2^64.
    first as f64 / 18_446_744_073_709_551_616.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn keys() -> Keys {
        Keys::new(Secret::new("practice"))
    }

    fn people(count: usize) -> impl Iterator<Item = CustomerId> {
        (0..count).map(|number| CustomerId::new(format!("crm:{number}")))
    }

    #[test]
    fn a_message_id_is_fixed_by_campaign_person_occasion_and_step() {
        let id = |campaign: &str, customer: &str, occasion: &str, step| {
            message_id(&keys(), campaign, &CustomerId::new(customer), occasion, step, "fernwood.example").to_string()
        };
        let first = id("win-back", "crm:1", "o-1", 1);
        assert_eq!(first, id("win-back", "crm:1", "o-1", 1));
        assert_eq!(first.len(), 32 + "@fernwood.example".len());
        for other in [
            id("check-in", "crm:1", "o-1", 1),
            id("win-back", "crm:2", "o-1", 1),
            id("win-back", "crm:1", "o-2", 1),
            id("win-back", "crm:1", "o-1", 2),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn the_control_group_has_about_its_share_and_only_grows_with_it() {
        let at = |share| people(10_000).filter(|person| in_holdout(&keys(), "win-back", person, share)).collect::<Vec<_>>();
        let (tenth, fifth) = (at(0.1), at(0.2));
        assert!((900..1100).contains(&tenth.len()), "{}", tenth.len());
        assert!(tenth.iter().all(|person| fifth.contains(person)));
        assert!(at(0.0).is_empty());
        assert_eq!(at(1.0).len(), 10_000);
    }

    #[test]
    fn control_groups_of_two_campaigns_are_independent() {
        let both = people(10_000)
            .filter(|person| in_holdout(&keys(), "win-back", person, 0.1) && in_holdout(&keys(), "check-in", person, 0.1))
            .count();
        assert!((60..140).contains(&both), "{both}");
    }

    #[test]
    fn variants_follow_their_weights() {
        let weights = [("offer", 25), ("plain", 75)];
        let offers = people(10_000).filter(|person| variant(&keys(), "win-back", person, weights.into_iter()) == Some("offer")).count();
        assert!((2300..2700).contains(&offers), "{offers}");
        assert_eq!(variant(&keys(), "win-back", &CustomerId::new("x"), std::iter::empty()), None);
        let all = people(1000).all(|person| variant(&keys(), "c", &person, [("never", 0), ("ever", 1)].into_iter()) == Some("ever"));
        assert!(all);
    }
}
