//! The deployment's limits on every campaign, handed in by the caller.

use crate::config::{Cap, Period, QuietHours};

/// The deployment's limits on every campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How many messages are too many.
    pub cap: Option<Cap>,
    /// The peace after any message of ours for people who asked for fewer letters; marketing only.
    pub fewer: Option<Period>,
    /// When nobody is written to.
    pub quiet_hours: Option<QuietHours>,
}
