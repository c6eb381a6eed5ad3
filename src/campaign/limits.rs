//! The deployment's limits on every campaign, handed in by the caller.

use crate::config::{Cap, QuietHours};

/// The deployment's limits on every campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How many messages are too many.
    pub cap: Option<Cap>,
    /// When nobody is written to.
    pub quiet_hours: Option<QuietHours>,
}
