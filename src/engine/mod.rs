//! The one DataFusion runtime: functions, memory, lock-down and the diagnosis of SQL.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings`, `memory`, `spill` | `[engine]`: how much memory and disk queries may use, and where |
//! | `cost` | what queries took |
//! | `query`, `select`, `parser`, `weight`, `determinism`, `inexact` | an SQL text: one `SELECT` and nothing else, and what may make two runs differ |
//! | `planner` | what a query can name |
//! | `session`, `rungs` | running queries, and trying again where memory runs out |
//! | `merging`, `yielding` | joins that hold nothing, joins that let others have a turn |
//! | `holding`, `running` | windows and joins that hold all their rows, counted; windows that tell of a row by the one before |
//! | `estimates` | which side of a join is the smaller |
//! | `distinct` | counting different days as fast as different numbers |
//! | `diagnosis`, `foreign`, `places`, `error` | what is wrong, where, and what to do |
//! | `text` | results as everybody expects them |
//! | `functions/` | the functions of our own, one file each |

mod cost;
mod determinism;
mod diagnosis;
mod distinct;
mod error;
mod estimates;
mod foreign;
mod functions;
mod holding;
mod inexact;
mod memory;
mod merging;
mod parser;
mod places;
mod planner;
mod query;
mod rungs;
mod running;
mod select;
mod session;
mod settings;
mod spill;
mod text;
mod weight;
mod yielding;

use std::{collections::BTreeMap, num::NonZeroUsize, path::Path, sync::Arc};

use datafusion::{
    catalog::TableProvider,
    config::SpillCompression,
    execution::{
        SessionState, SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, MemoryConsumer, MemoryReservation, TrackConsumersPool},
        runtime_env::RuntimeEnvBuilder,
    },
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    prelude::SessionConfig,
};

pub use self::{
    cost::Cost,
    determinism::Limited,
    error::EngineError,
    functions::{FunctionDoc, documentation, hash_bucket, lower_email},
    places::complete,
    query::{Origin, Query},
    select::{ParsedSelect, parse_select, part_of},
    session::{Attempts, Session},
    settings::EngineSettings,
};
use self::{
    cost::Meter, distinct::CountingNumbers, holding::HoldingSteps, merging::MergingJoins, rungs::Rung, running::RunningWindows,
    spill::SpillFolder, yielding::YieldingJoins,
};
use crate::{config::Period, diagnosis::Diagnosis};

/// How many of the greediest parts of a query are named when memory runs out.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// The runtime of this process: memory pool, spill folder, functions.
#[derive(Debug, Clone)]
pub struct Engine {
    state: SessionState,
    timeout: Period,
    memory: u64,
    spill: Option<Arc<SpillFolder>>,
    max_spill: u64,
    meter: Arc<Meter>,
}

impl Engine {
    /// A runtime for the project in `root`.
    ///
    /// Memory is shared fairly among the parts of a query that can spill, so that a sort does not starve another. Where the spill folder
    /// cannot be made, queries run in memory only.
    ///
    /// # Errors
    /// Where a setting is no size.
    pub fn new(root: &Path, settings: &EngineSettings) -> Result<Self, EngineError> {
        let limit = memory::limit(&settings.memory_limit, || memory::available(Path::new("/")))
            .ok_or_else(|| no_size("memory_limit", &settings.memory_limit, "`2GiB`, or a share of the machine such as `60%`"))?;
        let max_spill = memory::bytes(&settings.max_spill).ok_or_else(|| no_size("max_spill", &settings.max_spill, "`20GiB`"))?;
        let folder = root.join(&settings.spill_path);
        let spill = match SpillFolder::new(&folder) {
            Ok(spill) => Some(spill),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "nothing can be spilled: queries run in memory only");
                None
            }
        };
        let meter = Arc::new(Meter::default());
        let pool = meter.watch(FairSpillPool::new(usize::try_from(limit).unwrap_or(usize::MAX)));
        let partitions = if settings.partitions == 0 { memory::partitions(limit) } else { settings.partitions };
        let first = Rung::first(limit, partitions);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED_CONSUMERS)))
            .with_disk_manager_builder(disk(spill.as_deref(), max_spill, first))
            .build_arc()
            .map_err(|error| EngineError::failed(Diagnosis::new("engine_runtime", error.to_string())))?;
        let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(MergingJoins)];
        rules.extend(PhysicalOptimizer::new().rules);
        rules.push(Arc::new(YieldingJoins));
        rules.push(Arc::new(HoldingSteps));
        rules.push(Arc::new(RunningWindows));
        let mut state = SessionStateBuilder::new()
            .with_config(first.config(estimates::asked(config())))
            .with_statistics_registry(estimates::registry())
            .with_runtime_env(runtime)
            .with_default_features()
            .with_physical_optimizer_rules(rules)
            .with_optimizer_rule(Arc::new(CountingNumbers))
            .build();
        functions::register(&mut state).map_err(|error| EngineError::failed(Diagnosis::new("engine_runtime", error.to_string())))?;
        Ok(Self { state, timeout: settings.timeout, memory: limit, spill, max_spill, meter })
    }

    /// A session in which exactly these tables can be named.
    ///
    /// # Errors
    /// Where a name is not what SQL finds when it is written bare.
    pub fn session(&self, tables: BTreeMap<String, Arc<dyn TableProvider>>) -> Result<Session, EngineError> {
        if let Some(name) = tables.keys().find(|name| name.chars().any(char::is_uppercase)) {
            let diagnosis = Diagnosis::new("sql_table_name", format!("no query would find a table named `{name}`"));
            return Err(EngineError::wrong(diagnosis.hint("name tables in lower case")));
        }
        Ok(Session {
            state: self.state.clone(),
            tables: Arc::new(tables),
            timeout: self.timeout,
            memory: self.memory,
            spill: self.spill.clone(),
            max_spill: self.max_spill,
            meter: Arc::clone(&self.meter),
        })
    }

    /// Memory that something beside the queries holds, counted within the same limit.
    #[must_use]
    pub fn held(&self, by: &str) -> Held {
        let reservation = MemoryConsumer::new(by).register(&self.state.runtime_env().memory_pool);
        Held { reservation, limit: self.memory }
    }

    /// What all queries took since this was last asked; those whose rows are still being read do not count yet.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.meter.take(self.state.runtime_env().memory_pool.reserved())
    }
}

/// Memory that something beside the queries holds: they have so much less. Dropped, it is theirs again.
#[derive(Debug)]
pub struct Held {
    reservation: MemoryReservation,
    limit: u64,
}

impl Held {
    /// It now comes to so many bytes. What it is for goes before queries: one that runs at the time may be left with too little, and be run
    /// in a thriftier way.
    ///
    /// # Errors
    /// Where it is more than `[engine] memory_limit` alone.
    pub fn resize(&self, bytes: usize) -> Result<(), EngineError> {
        let held = self.reservation.size();
        if bytes <= held {
            self.reservation.shrink(held - bytes);
            return Ok(());
        }
        if bytes as u64 > self.limit {
            return Err(self.refusal(bytes as u64));
        }
        self.reservation.grow(bytes - held);
        Ok(())
    }

    /// The error that so many bytes are too many.
    #[must_use]
    pub fn refusal(&self, bytes: u64) -> EngineError {
        let (by, needed, limit) = (self.reservation.consumer().name(), readable(bytes), readable(self.limit));
        let diagnosis = Diagnosis::new("memory", format!("{by} needs {needed} of memory, more than the {limit} it may use"));
        EngineError::failed(diagnosis.hint("raise `[engine] memory_limit` in config/perennial.toml"))
    }
}

/// Where a way of running a query spills to.
fn disk(spill: Option<&SpillFolder>, max_spill: u64, way: Rung) -> DiskManagerBuilder {
    let mode = spill.map_or(DiskManagerMode::Disabled, |spill| DiskManagerMode::Directories(vec![spill.path().to_owned()]));
    DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(max_spill).with_max_spill_merge_fan_in(way.merge_fan_in)
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(false).with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    // Without a zone of its own, a session would read instants in no zone at all.
    options.execution.time_zone = Some("+00:00".to_owned());
    options.sql_parser.collect_spans = true;
    // Two thirds less to write, for a little of a processor; `max_spill` goes so much further.
    options.execution.spill_compression = SpillCompression::Lz4Frame;
    // Views would reach writers and templates.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    config
}

fn no_size(setting: &str, value: &str, example: &str) -> EngineError {
    let message = format!("`[engine] {setting}` is `{value}`, which is no size");
    EngineError::wrong(Diagnosis::new("bad_value", message).in_file("config/perennial.toml").hint(format!("write {example}")))
}

fn readable(bytes: u64) -> String {
    if bytes >= 1 << 30 { format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests;
