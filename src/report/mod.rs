//! Numbers for people, each with what it rests on: sample size, interval, and the group it was compared with.

mod campaign;
mod lift;

pub use campaign::{ARMS, ArmResult, CampaignReport, campaign};
pub use lift::{Difference, Interval};
