//! `perennial sandbox`

use std::net::SocketAddr;

use super::{global::Global, output};
use crate::{
    diagnosis::{Diagnosis, Exit, Failure},
    job::{Moment, Step},
    sandbox::{self, SandboxSettings},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many customers the shop has
    #[arg(long, value_name = "N")]
    customers: Option<u32>,
    /// Which world it is
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stand still at this time
    #[arg(long, value_name = "T")]
    as_of: Option<String>,
    /// Where to listen; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:8099")]
    address: SocketAddr,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let project = global.open()?;
    let moment = Moment::of(&project, None, Step::Pull, args.as_of.as_deref())?;
    let mut settings: SandboxSettings = project.deployment().sandbox.clone();
    settings.customers = args.customers.unwrap_or(settings.customers);
    settings.seed = args.seed.unwrap_or(settings.seed);
    let running = sandbox::serve(&settings, moment.as_of, args.address).await.map_err(|error| {
        Failure::failed(
            Diagnosis::new("listen", format!("cannot listen on {}: {error}", args.address)).hint("choose another with --address"),
        )
    })?;
    let json = serde_json::json!({ "url": running.url, "as_of": moment.as_of, "customers": settings.customers });
    let text = format!(
        "PRACTICE DATA: a shop of {} invented customers as of {}\n  {}  (crm, shop and helpdesk below it; Ctrl-C stops it)",
        settings.customers,
        moment.as_of.format("%F %H:%M UTC"),
        running.url
    );
    output::print(global, &json, text);
    super::serve::stop_signal().await;
    Ok(Exit::Done)
}
