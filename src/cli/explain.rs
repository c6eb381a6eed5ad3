//! `perennial explain`

use super::{global::Global, output};
use crate::{
    diagnosis::{Exit, Failure},
    engine::{Origin, Query},
    job::{House, Moment, Step},
    model::{self, Kind},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of sql/models, sql/segments or sql/metrics without .sql, or a SELECT
    what: String,
    /// Carry it out, and tell what each step took
    #[arg(long)]
    run: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let moment = Moment::of(&house.project, None, Step::Build, None)?;
    let brand = house.project.brand_defaults();
    let file = house.library.get(&args.what).filter(|file| file.kind != Kind::Staging);
    let query = match file {
        Some(file) => file.query(&model::bound_params(moment.as_of, &brand)),
        None => Query { sql: &args.what, origin: Origin::NOWHERE, params: model::bound_params(moment.as_of, &brand) },
    };
    let plan = explained(&house, &query, args.run).await?;
    output::print(global, &serde_json::json!({ "what": args.what, "plan": plan }), &plan);
    Ok(Exit::Done)
}

async fn explained(house: &House, query: &Query<'_>, run: bool) -> Result<String, Failure> {
    Ok(house.session(query.sql).await?.explanation(query, run).await?)
}
