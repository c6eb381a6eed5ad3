//! What a query can name: the session's tables, the functions, nothing else. There is no catalog behind it to fall back to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    catalog::{TableFunctionArgs, TableProvider},
    common::{DFSchema, ParamValues, TableReference, plan_datafusion_err},
    config::ConfigOptions,
    datasource::provider_as_source,
    error::Result,
    execution::SessionState,
    logical_expr::{
        AggregateUDF, Documentation, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, Signature, TableSource, Volatility, WindowUDF,
        planner::{ContextProvider, ExprPlanner},
        simplify::SimplifyContext,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    prelude::SQLOptions,
    scalar::ScalarValue,
    sql::{
        planner::{ParserOptions, PlannerContext, SqlToRel},
        sqlparser::ast::Statement,
    },
};

use super::select::is_refused;

/// Functions that may stand in the place of a table; others could reach files.
const TABLE_FUNCTIONS: &[&str] = &["generate_series", "range"];

/// Plans a statement with typed parameters.
pub(super) fn plan(
    state: &SessionState,
    tables: &BTreeMap<String, Arc<dyn TableProvider>>,
    statement: Statement,
    params: &BTreeMap<String, ScalarValue>,
) -> Result<LogicalPlan> {
    let parser = &state.config_options().sql_parser;
    let options = ParserOptions {
        parse_float_as_decimal: parser.parse_float_as_decimal,
        enable_ident_normalization: parser.enable_ident_normalization,
        enable_options_value_normalization: parser.enable_options_value_normalization,
        support_varchar_with_length: parser.support_varchar_with_length,
        map_string_types_to_utf8view: parser.map_string_types_to_utf8view,
        collect_spans: parser.collect_spans,
        default_null_ordering: parser.default_null_ordering.as_str().into(),
    };
    // The types stand before the query is planned, so that `$as_of - interval '1 day'` means what it says.
    let mut types: Vec<Option<FieldRef>> =
        params.iter().map(|(name, value)| Some(Arc::new(Field::new(name, value.data_type(), true)))).collect();
    if types.is_empty() {
        // An empty list would let an unknown parameter pass until the query runs.
        types.push(Some(Arc::new(Field::new("", DataType::Null, true))));
    }
    let mut context = PlannerContext::new().with_prepare_param_data_types(types);
    let vocabulary = Vocabulary { state, tables };
    let plan = SqlToRel::new_with_options(&vocabulary, options).sql_statement_to_plan_with_context(statement, &mut context)?;
    let plan = plan.with_param_values(ParamValues::from(params.values().cloned().collect::<Vec<_>>()))?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    Ok(plan)
}

/// All functions a query can call, each with how it is called, as far as that is written down.
pub(super) fn functions(state: &SessionState) -> BTreeMap<String, String> {
    let scalar = state.scalar_functions().iter().map(|(name, function)| (name, function.documentation()));
    let aggregate = state.aggregate_functions().iter().map(|(name, function)| (name, function.documentation()));
    let window = state.window_functions().iter().map(|(name, function)| (name, function.documentation()));
    let fickle = fickle(state);
    let named = scalar.chain(aggregate).chain(window).filter(|(name, _)| !is_refused(name) && !fickle.contains(*name));
    let syntax = |documentation: Option<&Documentation>| documentation.map(|of| of.syntax_example.clone()).unwrap_or_default();
    named.map(|(name, documentation)| (name.clone(), syntax(documentation))).collect()
}

/// Whether a function is neither an aggregate nor a window function.
pub(super) fn looks_at_one_row(state: &SessionState, name: &str) -> bool {
    let scalar = state.scalar_functions().contains_key(name) || state.higher_order_functions().contains_key(name);
    scalar && !state.aggregate_functions().contains_key(name) && !state.window_functions().contains_key(name)
}

/// The names of the functions that may give another answer in another run, and so cannot be called.
pub(super) fn fickle(state: &SessionState) -> BTreeSet<String> {
    let scalar = state.scalar_functions().iter().map(|(name, function)| (name, function.signature()));
    let aggregate = state.aggregate_functions().iter().map(|(name, function)| (name, function.signature()));
    let window = state.window_functions().iter().map(|(name, function)| (name, function.signature()));
    scalar.chain(aggregate).chain(window).filter(|(_, signature)| !repeats(signature)).map(|(name, _)| name.clone()).collect()
}

/// Whether the same arguments give the same answer in every run.
fn repeats(signature: &Signature) -> bool {
    signature.volatility == Volatility::Immutable
}

struct Vocabulary<'a> {
    state: &'a SessionState,
    tables: &'a BTreeMap<String, Arc<dyn TableProvider>>,
}

impl ContextProvider for Vocabulary<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let found = match &name {
            TableReference::Bare { table } => self.tables.get(table.as_ref()),
            _ => None,
        };
        found.map(|table| provider_as_source(Arc::clone(table))).ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let function = TABLE_FUNCTIONS.contains(&name).then(|| self.state.table_functions().get(name)).flatten();
        let function = function.ok_or_else(|| plan_datafusion_err!("table function '{name}' not found"))?;
        let context = SimplifyContext::builder().with_config_options(Arc::clone(self.state.config_options())).build();
        let simplifier = ExprSimplifier::new(context);
        let empty = DFSchema::empty();
        let args = args
            .into_iter()
            .map(|arg| simplifier.coerce(arg, &empty).and_then(|arg| simplifier.simplify(arg)))
            .collect::<Result<Vec<_>>>()?;
        Ok(provider_as_source(function.create_table_provider_with_args(TableFunctionArgs::new(&args, self.state))?))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).filter(|function| !is_refused(name) && repeats(function.signature())).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).filter(|_| !is_refused(name)).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).filter(|function| repeats(function.signature())).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).filter(|function| repeats(function.signature())).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
