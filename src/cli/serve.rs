//! `perennial serve`

use std::sync::Arc;

use super::global::Global;
use crate::{
    delivery::Providers,
    diagnosis::{Diagnosis, Exit, Failure},
    job::{self, House, Job},
    server,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only answer over HTTP; another process runs the jobs
    #[arg(long)]
    no_schedule: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let house = global.house().await?;
    let jobs = if args.no_schedule { Vec::new() } else { Job::load_all(house.project.folder())? };
    let listener = server::bind(house.project.deployment().server.address).await?;
    tracing::info!(address = %house.project.deployment().server.address, jobs = jobs.len(), "serving");
    let stop = house.stop.clone();
    on_signal(&house);
    let pages = server::House {
        ledger: house.ledger.clone(),
        keys: house.project.keys().clone(),
        brand: house.project.deployment().brand.clone(),
        fewer: house.project.deployment().delivery.policy.fewer,
        clock: house.project.clock().clone(),
        providers: Arc::new(Providers::open(house.desk())?),
        practice: house.practice,
    };
    let answering = tokio::spawn(server::serve(listener, pages, stop.clone()));
    let scheduled = if args.no_schedule {
        stop.cancelled().await;
        Ok(())
    } else {
        job::keep_schedule(&house, &jobs).await
    };
    stop.cancel();
    let failed = |error: String| {
        Failure::failed(Diagnosis::new("serve", format!("the server failed: {error}")).hint("start `perennial serve` again"))
    };
    answering.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    scheduled.map(|()| Exit::Done)
}

/// Asks the house to stop when the process is asked to.
pub(super) fn on_signal(house: &House) {
    let stop = house.stop.clone();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping: what is under way is finished first");
        stop.cancel();
    });
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = interrupt.await;
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
}
