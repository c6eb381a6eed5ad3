//! `perennial report`

use std::fmt::Write;

use arrow::{json::writer::JsonArray, util::pretty::pretty_format_batches};

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    engine::{Origin, Query},
    job::{House, Moment, Step},
    model::{Kind, SqlFile},
    report,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of sql/metrics (retention, service_response), or `campaign`
    name: String,
    /// The campaign
    campaign: Option<String>,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    match (args.name.as_str(), &args.campaign) {
        ("campaign", Some(name)) => campaign(global, &house, name).await,
        ("campaign", None) => Err(Failure::wrong(Diagnosis::new("usage", "which campaign?").hint("perennial report campaign win-back"))),
        (name, _) => metric(global, &house, name).await,
    }
}

async fn metric(global: &Global, house: &House, name: &str) -> Result<Exit, Failure> {
    let metrics: Vec<&SqlFile> = house.library.files().filter(|file| file.kind == Kind::Metric).collect();
    let Some(file) = metrics.iter().find(|file| file.name == name) else {
        let diagnosis = Diagnosis::new("unknown_report", format!("there is no report `{name}`")).in_file("sql/metrics");
        return Err(Failure::wrong(
            diagnosis.hint(format!(
                "there are: {}, campaign NAME",
                metrics.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ")
            )),
        ));
    };
    let description = file.front.description.clone().unwrap_or_default();
    let sql = format!("select * from {name} order by 1");
    let session = house.session(&sql).await?;
    let batches = session.collect(&Query { sql: &sql, origin: Origin::NOWHERE, params: Default::default() }).await?;
    let failed = |error: arrow::error::ArrowError| Failure::failed(Diagnosis::new("output", error.to_string()));
    let rows = output::as_json::<JsonArray>(&batches).map_err(failed)?;
    let json = serde_json::json!({ "report": name, "definition": description, "rows": serde_json::from_slice::<serde_json::Value>(&rows).unwrap_or_default() });
    let table = pretty_format_batches(&batches).map_err(failed)?;
    output::print(global, &json, format!("{}{}\n\n{table}", practice(house), description));
    Ok(Exit::Done)
}

async fn campaign(global: &Global, house: &House, name: &str) -> Result<Exit, Failure> {
    let campaign = house.campaign(name)?;
    let moment = Moment::of(&house.project, None, Step::Build, None)?;
    let goal_days = campaign.settings.goal.map_or(30, |goal| goal.within.delta().num_days());
    let session = house.session(report::ARMS).await?;
    let report = report::campaign(&session, name, goal_days, campaign.settings.policy.holdout.fraction(), moment.as_of).await?;
    let mut text = format!("{}{name}: who ordered within {} days\n\n", practice(house), report.goal_days);
    for arm in &report.arms {
        let arm_name = if arm.arm == "holdout" { "control group" } else { arm.arm.as_str() };
        let _ = writeln!(
            text,
            "  {arm_name:<16} {:>6} of {:>6} people, {:.1} % to {:.1} %   ({} still have time)",
            arm.reached,
            arm.people,
            arm.share.low * 100.0,
            arm.share.high * 100.0,
            arm.open
        );
    }
    if let Some(effect) = &report.effect {
        let _ = writeln!(
            text,
            "\n  difference {:+.1} points, plausibly {:+.1} to {:+.1}",
            effect.difference * 100.0,
            effect.interval.low * 100.0,
            effect.interval.high * 100.0
        );
    }
    let _ = writeln!(text, "\n{}", report.reading);
    output::print(global, &report, text);
    Ok(Exit::Done)
}

fn practice(house: &House) -> &'static str {
    if house.practice { "PRACTICE DATA\n" } else { "" }
}
