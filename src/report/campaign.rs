//! Whether a campaign helped: everyone who was assigned, against the control group of the same campaign, over the window of its goal.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use chrono::{DateTime, Utc};
use datafusion::scalar::ScalarValue;
use serde::Serialize;

use super::lift::{Difference, Interval, difference, lopsided, wilson};
use crate::engine::{EngineError, Origin, Query, Session};

/// Who counts: everyone assigned, whether or not their letter arrived (intent to treat), once their window is over.
pub const ARMS: &str = "
with assigned as (
  select arm, customer_id, at, at + $goal as until
  from assignments
  where campaign = $campaign
), outcome as (
  select a.arm, a.customer_id, a.at, a.until, count(o.order_id) as orders
  from assigned a
  left join orders o
    on o.customer_id = a.customer_id and o.ordered_at > a.at and o.ordered_at <= a.until
    and o.status = 'paid' and o.total_base >= 0     -- money that went back is a row of its own, and no purchase
  group by a.arm, a.customer_id, a.at, a.until
)
select
  arm,
  count(*) filter (where until <= $as_of) as people,
  count(*) filter (where until <= $as_of and orders > 0) as reached,
  count(*) filter (where until > $as_of) as open
from outcome
group by arm
order by arm";

/// What became of one group.
#[derive(Debug, Clone, Serialize)]
pub struct ArmResult {
    /// `holdout`, or the variant's name.
    pub arm: String,
    /// People whose window is over.
    pub people: u64,
    /// Those of them who did what the campaign is for.
    pub reached: u64,
    /// People whose window is still open; they are not counted yet.
    pub open: u64,
    /// The share, as a plausible range (95 %).
    pub share: Interval,
}

/// What is known of a campaign's effect.
#[derive(Debug, Clone, Serialize)]
pub struct CampaignReport {
    /// The campaign.
    pub campaign: String,
    /// The window in days.
    pub goal_days: i64,
    /// Each group.
    pub arms: Vec<ArmResult>,
    /// All letters together against the control group; none where one side is empty or the split is not as planned.
    pub effect: Option<Difference>,
    /// Why there is no effect to show, or how to read it.
    pub reading: String,
}

/// Compares the groups of `campaign` on the tables of `session`, as of `as_of`. `holdout` is the planned share of the control group.
///
/// # Errors
/// Where the tables cannot be read.
pub async fn campaign(
    session: &Session,
    name: &str,
    goal_days: i64,
    holdout: f64,
    as_of: DateTime<Utc>,
) -> Result<CampaignReport, EngineError> {
    let params = BTreeMap::from([
        ("campaign".to_owned(), ScalarValue::from(name)),
        ("goal".to_owned(), ScalarValue::new_interval_dt(i32::try_from(goal_days).unwrap_or(i32::MAX), 0)),
        ("as_of".to_owned(), ScalarValue::TimestampMicrosecond(Some(as_of.timestamp_micros()), Some("UTC".into()))),
    ]);
    let batches = session.collect(&Query { sql: ARMS, origin: Origin::NOWHERE, params }).await?;
    let arms: Vec<ArmResult> = batches.iter().flat_map(arms_of).collect();
    let sum = |holdout: bool| {
        let side = arms.iter().filter(|arm| (arm.arm == "holdout") == holdout);
        side.fold((0, 0), |(reached, people), arm| (reached + arm.reached, people + arm.people))
    };
    let (treated, control) = (sum(false), sum(true));
    let skewed = lopsided(control.1, treated.1, holdout);
    let effect = if skewed { None } else { difference(treated, control) };
    let reading = match (&effect, skewed) {
        (_, true) => format!(
            "The control group has {} people and the letters went to {}, which is not the planned split of {:.0} %. Something removed people from one side, so no comparison is shown.",
            control.1,
            treated.1,
            holdout * 100.0
        ),
        (None, _) => "There is nobody yet on one side whose window is over, so there is nothing to compare.".to_owned(),
        (Some(effect), _) if effect.interval.low > 0.0 => {
            "More people came back than without a letter; chance alone does not explain it.".to_owned()
        }
        (Some(effect), _) if effect.interval.high < 0.0 => {
            "Fewer people came back than without a letter. Look at this campaign before sending it again.".to_owned()
        }
        (Some(_), _) => "The difference may be chance: the range includes zero. More people, or more time, would tell.".to_owned(),
    };
    Ok(CampaignReport { campaign: name.to_owned(), goal_days, arms, effect, reading })
}

fn arms_of(batch: &RecordBatch) -> Vec<ArmResult> {
    let names = batch.column(0).as_string::<i32>();
    let count = |column: usize, row: usize| u64::try_from(batch.column(column).as_primitive::<Int64Type>().value(row)).unwrap_or_default();
    (0..batch.num_rows())
        .map(|row| {
            let (people, reached, open) = (count(1, row), count(2, row), count(3, row));
            ArmResult { arm: names.value(row).to_owned(), people, reached, open, share: wilson(reached, people) }
        })
        .collect()
}
