//! The functions of our own, one file each. All are stateless and go by name, so that another process that registers them can run them.

mod bucket;
mod calendar;
mod days_between;
mod hash_bucket;
mod local_date;
mod lower_email;
mod months_between;
mod quantile_cuts;
mod rhythm;

use std::sync::Arc;

use datafusion::{
    error::Result,
    execution::{FunctionRegistry, SessionState},
    logical_expr::{AggregateUDF, DocSection, Documentation, ScalarUDF},
};

pub use self::{hash_bucket::hash_bucket, lower_email::lower_email};

/// The section the functions stand in, in DataFusion's own function lists.
const SECTION: DocSection = DocSection { include: true, label: "Retention Functions", description: None };

/// A function of our own, as `perennial docs` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionDoc {
    /// How it is called.
    pub syntax: String,
    /// What it gives.
    pub description: String,
    /// A query that uses it, and its answer.
    pub example: Option<String>,
    /// Its arguments, each with what it means.
    pub arguments: Vec<(String, String)>,
}

/// What the functions of our own do.
#[must_use]
pub fn documentation() -> Vec<FunctionDoc> {
    let scalar = scalar_functions();
    let scalar = scalar.iter().filter_map(|function| function.documentation());
    let aggregate = aggregate_functions();
    let aggregate = aggregate.iter().filter_map(|function| function.documentation());
    scalar.chain(aggregate).map(FunctionDoc::from).collect()
}

impl From<&Documentation> for FunctionDoc {
    fn from(documentation: &Documentation) -> Self {
        Self {
            syntax: documentation.syntax_example.clone(),
            description: documentation.description.clone(),
            example: documentation.sql_example.clone(),
            arguments: documentation.arguments.clone().unwrap_or_default(),
        }
    }
}

/// Makes the functions known to a session.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for function in scalar_functions() {
        state.register_udf(function)?;
    }
    for function in aggregate_functions() {
        state.register_udaf(function)?;
    }
    Ok(())
}

fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(bucket::Bucket::default())),
        Arc::new(ScalarUDF::from(days_between::DaysBetween::default())),
        Arc::new(ScalarUDF::from(hash_bucket::HashBucket::default())),
        Arc::new(ScalarUDF::from(local_date::LocalDate::default())),
        Arc::new(ScalarUDF::from(lower_email::LowerEmail::default())),
        Arc::new(ScalarUDF::from(months_between::MonthsBetween::default())),
    ]
}

fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    vec![Arc::new(AggregateUDF::from(quantile_cuts::QuantileCuts::default())), Arc::new(AggregateUDF::from(rhythm::Rhythm::default()))]
}
