//! From a syntax tree to a plan: what names mean for one statement.
//!
//! A [`Planner`] holds what the statement sees: the transaction's view, the system relations, the
//! search path and the settings. Names resolve here and nowhere else, in PostgreSQL's order: the
//! schema given, or `pg_catalog` and then the search path.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::{MemTable, TableFunctionArgs};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    WindowUDF, col,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use nyala_catalog::definitions::{Oid, Relation, Table, ViewDef, arrow_schema};
use nyala_catalog::external_table::open_external;
use nyala_catalog::restore_point::{AsOf, PointScan};
use nyala_catalog::sequence::SequenceDef;
use nyala_catalog::types::SqlType;
use nyala_catalog::{
    Catalog, CatalogError, OpenReads, Part, ReadView, TableScan, load_statistics, turns,
};
use parking_lot::Mutex;
use sqlparser::ast::{
    self, ObjectName, Query, SelectItem, Statement, Visit, With, visit_relations,
};

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::{self, INFORMATION_SCHEMA, NYALA, PG_CATALOG, SystemView};
use crate::pgwire::decode::{InputSettings, scalar_at};
use crate::pgwire::encode::FormatSettings;
use crate::sql::dml::check_nested;
use crate::sql::names::{self, RelationName};
use crate::sql::origin::Origin;
use crate::sql::sequences::{self, SequenceContext, SequenceMemory};
use crate::sql::types::PostgresTypes;
use crate::sql::{
    as_of, casts, conditions, dml, function_relations, json_build, library, merged_columns,
    normalize, numeric, pacing, parameters, parse, retyped, series, series_order, shared_ctes,
    strings, table_sizes, templates, unknown_function, whole_rows,
};
use crate::workload::{StatementMemory, Workload};

/// First character of names that only Nyala itself puts into a tree; no client can type a name that
/// is looked up this way, for the tokenizer never gives it out unquoted and the parser's names are
/// checked for it.
pub const INTERNAL: char = '\u{1}';

/// Makes the [`SystemView`] when the first system relation or function is used.
pub type SystemSource = Box<dyn Fn() -> Result<SystemView> + Send + Sync>;

/// Plans the queries of one statement.
pub struct Planner {
    /// What the statement sees.
    pub view: ReadView,
    /// Functions, rules and configuration.
    pub state: SessionState,
    /// Name of the current database.
    pub database: String,
    /// Schemas searched after `pg_catalog`.
    pub search_path: Vec<String>,
    /// How text is read.
    pub input: InputSettings,
    /// How values are printed.
    pub format: FormatSettings,
    /// Where open rows are read from.
    pub open_reads: OpenReads,
    /// Whether the transaction only reads.
    pub read_only: bool,
    /// Name of the schema for the session's temporary relations.
    pub temporary_schema: String,
    /// Who gives out values of sequences.
    pub catalog: Arc<Catalog>,
    /// What the session remembers of sequences.
    pub sequences: Arc<Mutex<SequenceMemory>>,
    /// What stands in WITH in front of the data-changing statement.
    pub ctes: Option<With>,
    /// Bytes that the statement's operators may take, if they are limited.
    pub statement_memory: Option<usize>,
    /// Bytes from which on an operator that can writes to temporary files.
    pub operator_memory: usize,
    workload: Arc<Workload>,
    system_source: SystemSource,
    system: OnceLock<Arc<SystemView>>,
    externals: HashMap<Oid, Arc<dyn TableProvider>>,
    transient: HashMap<String, Arc<dyn TableProvider>>,
}

impl Planner {
    /// A planner for a statement that sees `view`.
    #[allow(clippy::too_many_arguments)] // Each is another part of what one statement sees.
    pub fn new(
        view: ReadView,
        state: SessionState,
        search_path: Vec<String>,
        input: InputSettings,
        format: FormatSettings,
        system_source: SystemSource,
        workload: Arc<Workload>,
        catalog: Arc<Catalog>,
        sequences: Arc<Mutex<SequenceMemory>>,
    ) -> Self {
        Self {
            read_only: false,
            temporary_schema: String::new(),
            catalog,
            sequences,
            database: view.definitions.database.name.clone(),
            view,
            state,
            search_path,
            input,
            format,
            open_reads: OpenReads::default(),
            ctes: None,
            statement_memory: None,
            operator_memory: usize::MAX,
            workload,
            system_source,
            system: OnceLock::new(),
            externals: HashMap::new(),
            transient: HashMap::new(),
        }
    }

    /// Name under which [`Planner::add_transient`] tables are found.
    pub fn transient_name(name: &str) -> String {
        format!("{INTERNAL}{name}")
    }

    /// Adds rows that only this statement knows.
    pub fn add_transient(
        &mut self,
        name: &str,
        rows: Vec<RecordBatch>,
        schema: SchemaRef,
    ) -> Result<()> {
        let table = MemTable::try_new(schema, vec![rows])?;
        self.transient
            .insert(Self::transient_name(name), Arc::new(table));
        Ok(())
    }

    /// Adds all rows of a table, with the hidden row number where it has no key.
    pub fn add_addressed(&mut self, name: &str, table: &Arc<Table>) -> Result<()> {
        let scan = TableScan::with_addresses(self.view.clone(), Arc::clone(table))?;
        self.transient
            .insert(Self::transient_name(name), Arc::new(scan));
        Ok(())
    }

    /// Opens the external tables that a tree names, itself or through views, and loads what is known of the rows of the others.
    pub async fn open_relations(&mut self, node: &impl Visit) -> Result<()> {
        let mut names: Vec<ObjectName> = Vec::new();
        let _: ControlFlow<()> = visit_relations(node, |name| {
            names.push(name.clone());
            ControlFlow::Continue(())
        });
        let mut oids = Vec::new();
        for name in names {
            // A name that is no relation may be a CTE's; planning will tell.
            let Ok(name) = names::relation_name(&name, &self.database) else {
                continue;
            };
            if let Ok(Some(relation)) =
                names::find(&self.view.definitions, &self.search_path, &name)
            {
                oids.push(relation.oid());
            }
        }
        while let Some(oid) = oids.pop() {
            match self.view.definitions.relation_by_oid(oid).cloned() {
                Some(Relation::View(view)) => oids.extend(&view.depends_on),
                Some(Relation::Table(table)) => load_statistics(&self.view, &table).await?,
                Some(Relation::External(def)) if !self.externals.contains_key(&oid) => {
                    let stores = self.view.object_stores();
                    let external = open_external(&self.state, stores, def.format, &def.location)
                        .await
                        .map_err(CatalogError::from)?;
                    let provider = external.provider().await.map_err(CatalogError::from)?;
                    self.externals.insert(oid, provider);
                }
                _ => {}
            }
        }
        if table_sizes::are_asked(node) {
            table_sizes::load(&self.view).await;
        }
        Ok(())
    }

    /// OIDs of the users' relations that a tree names.
    pub fn relations_of(&self, node: &impl Visit) -> Vec<Oid> {
        let mut oids = Vec::new();
        let _: ControlFlow<()> = visit_relations(node, |name| {
            if let Ok(name) = names::relation_name(name, &self.database)
                && let Ok(Some((relation, _))) = self.find_relation(&name)
                && !oids.contains(&relation.oid())
            {
                oids.push(relation.oid());
            }
            ControlFlow::Continue(())
        });
        oids
    }

    /// A query's plan, analysed and not yet optimised. `parameters` are the types of `$1`, … as far
    /// as they are known.
    pub fn plan(&self, query: &Query, parameters: Vec<Option<FieldRef>>) -> Result<LogicalPlan> {
        let plan = self.analysed(query, parameters)?;
        let plan = self
            .state
            .analyzer()
            .execute_and_check(plan, self.options(), |_, _| {})?;
        let plan = casts::rewrite_casts(plan, self.input, self.format)?;
        Ok(shared_ctes::share(plan)?)
    }

    /// A query's plan before type coercion: parameters have the types that their use gives them.
    pub fn analysed(
        &self,
        query: &Query,
        parameters: Vec<Option<FieldRef>>,
    ) -> Result<LogicalPlan> {
        let mut query = query.clone();
        // Who runs the query has seen to them.
        query.locks.clear();
        check_nested(&query)?;
        as_of::pin(self, &mut query)?;
        merged_columns::spell_out(self, &mut query, &parameters)?;
        whole_rows::spell_out(self, &mut query, &parameters);
        self.analysed_names(query, parameters)
    }

    /// The same of a query in which each name means what it says.
    pub(super) fn analysed_names(
        &self,
        mut query: Query,
        parameters: Vec<Option<FieldRef>>,
    ) -> Result<LogicalPlan> {
        function_relations::to_subqueries(self, &mut query)?;
        normalize::normalize(&mut query)?;
        let mut context = PlannerContext::new().with_prepare_param_data_types(parameters);
        let statement = Statement::Query(Box::new(query));
        let plan = SqlToRel::new_with_options(self, Self::parser_options())
            .sql_statement_to_plan_with_context(statement, &mut context)?;
        let plan = normalize::grouping_keys(plan)?;
        let plan = casts::resolve_unknown_literals(plan, &self.input)?;
        let plan = plan.transform_up_with_subqueries(retyped::unnested)?.data;
        let plan = plan.transform_up_with_subqueries(numeric::averages)?.data;
        let plan = plan
            .transform_up_with_subqueries(retyped::resolve_subqueries)?
            .data;
        let plan = plan
            .transform_up_with_subqueries(retyped::work_tables)?
            .data;
        normalize::bound_scalar_subqueries(plan)
    }

    /// A boolean or other expression over the columns of one schema.
    pub fn expression(&self, text: &str, schema: &DFSchema) -> Result<Expr> {
        let mut expr = parse::parse_expression(text)?;
        normalize::normalize(&mut expr)?;
        let planner = SqlToRel::new_with_options(self, Self::parser_options());
        Ok(planner.sql_to_expr(expr, schema, &mut PlannerContext::new())?)
    }

    /// The physical plan of a logical one.
    pub async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let physical = self.state.create_physical_plan(plan).await?;
        // A join can make very many batches of one input batch without ever waiting, and none of very many. Cooperative, it
        // lets go of its thread now and then, so that a cancel is seen.
        let cooperative = physical.transform_up(|node| {
            let joins = node.is::<CrossJoinExec>()
                || node.is::<NestedLoopJoinExec>()
                || node.is::<HashJoinExec>();
            Ok(match joins {
                true => Transformed::yes(Arc::new(CooperativeExec::new(pacing::paced(node)?)) as _),
                false => Transformed::no(node),
            })
        })?;
        let plan = series_order::kept(conditions::cheap(cooperative.data)?)?;
        Ok(turns::offered(shared_ctes::connect(plan)?)?)
    }

    /// Runs a physical plan where queries run.
    pub fn run(&self, plan: Arc<dyn ExecutionPlan>) -> SendableRecordBatchStream {
        let context = TaskContext::from(&self.state);
        let memory = StatementMemory {
            all: self.statement_memory,
            operator: self.operator_memory,
        };
        self.workload.run(plan, context, memory)
    }

    fn parser_options() -> ParserOptions {
        ParserOptions::new().with_parse_float_as_decimal(true)
    }

    fn system(&self) -> Result<&Arc<SystemView>> {
        if let Some(system) = self.system.get() {
            return Ok(system);
        }
        let system = Arc::new((self.system_source)()?);
        Ok(self.system.get_or_init(|| system))
    }

    /// A user's relation, or the part of one (`contracts$open`).
    pub fn find_relation(&self, name: &RelationName) -> Result<Option<(&Relation, Part)>> {
        let definitions = &self.view.definitions;
        let find = |name: &RelationName| match names::find(definitions, &self.search_path, name) {
            // A relation of a schema that does not exist does not exist either.
            Err(error) if error.code == sqlstate::UNDEFINED_SCHEMA => Ok(None),
            other => other,
        };
        if let Some(relation) = find(name)? {
            return Ok(Some((relation, Part::All)));
        }
        let (base, part) = Part::split(&name.name);
        if part == Part::All {
            return Ok(None);
        }
        let base = RelationName {
            schema: name.schema.clone(),
            name: base.to_string(),
        };
        match find(&base)? {
            Some(relation @ Relation::Table(table))
                if table.is_hybrid() || matches!(part, Part::Snapshot | Part::History) =>
            {
                Ok(Some((relation, part)))
            }
            _ => Ok(None),
        }
    }

    fn system_relation(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if pg_catalog::relation_schema(schema, name).is_none() {
            return Ok(None);
        }
        let Some(rows) = pg_catalog::relation(self.system()?, schema, name) else {
            return Ok(None);
        };
        let rows = rows?;
        Ok(Some(Arc::new(MemTable::try_new(
            rows.schema(),
            vec![vec![rows]],
        )?)))
    }

    fn resolve(&self, name: &RelationName) -> Result<Arc<dyn TableProvider>> {
        if name.schema.is_none()
            && let Some(transient) = self.transient.get(&name.name)
        {
            return Ok(Arc::clone(transient));
        }
        let system = match name.schema.as_deref() {
            None => self.system_relation(PG_CATALOG, &name.name)?,
            Some(schema @ (PG_CATALOG | INFORMATION_SCHEMA | NYALA)) => {
                self.system_relation(schema, &name.name)?
            }
            Some(_) => None,
        };
        if let Some(system) = system {
            return Ok(system);
        }
        if let Some((table, as_of)) = as_of::split(&name.name) {
            return self.resolve_as_of(name, table, as_of);
        }
        match self.find_relation(name)? {
            Some((Relation::Table(table), Part::History)) => as_of::history(self, table),
            Some((Relation::Table(table), part)) => Ok(Arc::new(TableScan::new(
                self.view.clone(),
                Arc::clone(table),
                part,
                self.open_reads,
            ))),
            Some((Relation::View(view), _)) => self.view_provider(view),
            Some((Relation::Sequence(def), _)) => self.sequence_provider(def),
            Some((Relation::External(def), _)) => match self.externals.get(&def.oid) {
                Some(provider) => Ok(Arc::clone(provider)),
                None => Err(PgError::internal(format!("\"{}\" is not open", def.name))),
            },
            None => Err(names::undefined_relation(name)),
        }
    }

    /// A table as it was.
    fn resolve_as_of(
        &self,
        name: &RelationName,
        table: &str,
        as_of: AsOf,
    ) -> Result<Arc<dyn TableProvider>> {
        let name = RelationName {
            schema: name.schema.clone(),
            name: table.to_string(),
        };
        match self.find_relation(&name)? {
            Some((Relation::Table(table), Part::All)) => {
                let point = self.view.restore_point(table, as_of)?;
                let (view, table) = (self.view.clone(), Arc::clone(table));
                Ok(Arc::new(PointScan::new(view, table, point)))
            }
            Some(_) => Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("\"{name}\" has no versions"),
            )
            .with_hint("Tables with a primary key have a version for each offload.")),
            None => Err(names::undefined_relation(&name)),
        }
    }

    /// The value of an expression that needs no row, cast to a type; `None` if it is not the same for the whole statement.
    pub fn constant(&self, mut expr: ast::Expr, ty: &SqlType) -> Result<Option<ScalarValue>> {
        parameters::wrap_in_cast(&mut expr, ty)?;
        let query = dml::select(vec![SelectItem::UnnamedExpr(expr)], Vec::new(), None)?;
        let LogicalPlan::Projection(projection) = self.plan(&query, Vec::new())? else {
            return Ok(None);
        };
        let [expr] = projection.expr.as_slice() else {
            return Ok(None);
        };
        // What depends on a row, a parameter or a subquery stays something else than functions of literals.
        let expr = self.simplifier().simplify(expr.clone())?.unalias();
        if expr.is_volatile() {
            return Ok(None);
        }
        let lasting = !expr.exists(|part| {
            Ok(!matches!(
                part,
                Expr::Literal(..) | Expr::ScalarFunction(_) | Expr::Cast(_) | Expr::BinaryExpr(_)
            ))
        })?;
        if !lasting {
            return Ok(None);
        }
        let none = DFSchema::empty();
        let compiled = self.state.create_physical_expr(expr, &none)?;
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let one_row =
            RecordBatch::try_new_with_options(Arc::clone(none.inner()), Vec::new(), &one_row)?;
        let value = compiled.evaluate(&one_row)?.into_array(1)?;
        Ok(Some(scalar_at(&value, 0)?))
    }

    fn sequence_context(&self) -> SequenceContext {
        SequenceContext {
            catalog: Arc::clone(&self.catalog),
            definitions: Arc::clone(&self.view.definitions),
            search_path: self.search_path.clone(),
            memory: Arc::clone(&self.sequences),
            read_only: self.read_only,
        }
    }

    /// A sequence, read as a table.
    fn sequence_provider(&self, def: &SequenceDef) -> Result<Arc<dyn TableProvider>> {
        let position = self.catalog.position(def)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![position.last])),
            Arc::new(Int64Array::from(vec![0])),
            Arc::new(BooleanArray::from(vec![position.is_called])),
        ];
        let rows = RecordBatch::try_new(arrow_schema(SequenceDef::columns()), columns)?;
        Ok(Arc::new(MemTable::try_new(
            rows.schema(),
            vec![vec![rows]],
        )?))
    }

    fn simplifier(&self) -> ExprSimplifier {
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        ExprSimplifier::new(context)
    }

    fn view_provider(&self, view: &ViewDef) -> Result<Arc<dyn TableProvider>> {
        let query = parse::parse_query(&view.query)?;
        let plan = self.analysed(&query, Vec::new())?;
        let outputs: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .zip(&view.columns)
            .enumerate()
            .map(|(index, (output, column))| {
                let origin = Origin::of_view(view.oid, index);
                col(output).alias_with_metadata(&column.name, Some(origin))
            })
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(outputs)?.build()?;
        Ok(Arc::new(ViewTable::new(plan, Some(view.query.clone()))))
    }
}

/// A function's name without `pg_catalog.` or `nyala.`.
pub(super) fn bare_function(name: &str) -> &str {
    name.strip_prefix("pg_catalog.")
        .or_else(|| name.strip_prefix("nyala."))
        .unwrap_or(name)
}

/// A parameter without a value, as at Parse, stands for NULL: the function's columns are the same.
fn unbound_as_null(arg: Expr) -> DataFusionResult<Expr> {
    let arg = arg.transform_up(|expr| {
        Ok(match expr {
            Expr::Placeholder(_) => Transformed::yes(Expr::Literal(ScalarValue::Null, None)),
            other => Transformed::no(other),
        })
    })?;
    Ok(arg.data)
}

impl ContextProvider for Planner {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        if let Some(catalog) = name.catalog()
            && catalog != self.database
        {
            return Err(PgError::unsupported(format!(
                "cross-database references are not implemented: \"{name}\""
            ))
            .into());
        }
        let name = RelationName {
            schema: name.schema().map(str::to_string),
            name: name.table().to_string(),
        };
        Ok(provider_as_source(self.resolve(&name)?))
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> DataFusionResult<Arc<dyn TableSource>> {
        if let Some(rows) = pg_catalog::set(bare_function(name)) {
            let rows = rows?;
            let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
            return Ok(provider_as_source(Arc::new(table)));
        }
        let Some(function) = self.state.table_functions().get(bare_function(name)) else {
            return Err(PgError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("function {name} does not exist"),
            )
            .into());
        };
        let simplifier = self.simplifier();
        let schema = DFSchema::empty();
        let is_series = matches!(bare_function(name), "generate_series" | "range");
        let mut integers = is_series;
        let args = args
            .into_iter()
            .map(|arg| {
                let arg = unbound_as_null(arg)?;
                let arg = simplifier.coerce(arg, &schema)?;
                let arg = casts::rewrite_casts_of(arg, &schema, self.input, self.format)?;
                let arg = simplifier.simplify(arg.data)?;
                integers &= series::is_integer(&arg);
                series::widened(arg)
            })
            .collect::<DataFusionResult<Vec<_>>>()?;
        let (args, times) = match is_series {
            true => series::of_times(args)?,
            false => (args, None),
        };
        let args = TableFunctionArgs::new(&args, &self.state);
        let rows = function.create_table_provider_with_args(args)?;
        let result = times.or_else(|| integers.then_some(DataType::Int32));
        Ok(provider_as_source(match result {
            Some(ty) => series::of_type(name, rows, &ty)?,
            None => rows,
        }))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> DataFusionResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(
            name, schema,
        ))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(PostgresTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let name = bare_function(name);
        if pg_catalog::function_names().any(|known| known == name)
            && let Ok(system) = self.system()
        {
            return pg_catalog::function(system, name);
        }
        if let Some(function) = sequences::function(name, || self.sequence_context()) {
            return Some(function);
        }
        if let Some(function) = templates::function(name, self.input.time_zone) {
            return Some(function);
        }
        if let Some(function) = json_build::function(name, self.input.time_zone) {
            return Some(function);
        }
        if let Some(function) = library::function(name).or_else(|| strings::function(name)) {
            return Some(function);
        }
        let name = if name == normalize::SERIES {
            "generate_series"
        } else {
            name
        };
        if let Some(function) = self.state.scalar_functions().get(name) {
            return Some(Arc::clone(function));
        }
        let is_other = self.state.aggregate_functions().contains_key(name)
            || self.state.window_functions().contains_key(name)
            || self.state.higher_order_functions().contains_key(name)
            || self.state.table_functions().contains_key(name)
            || matches!(name, "unnest" | "unnest_outer");
        (!is_other).then(|| Arc::new(unknown_function::unknown(name)))
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state
            .higher_order_functions()
            .get(bare_function(name))
            .cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state
            .aggregate_functions()
            .get(bare_function(name))
            .cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state
            .window_functions()
            .get(bare_function(name))
            .cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        let system = pg_catalog::function_names().map(str::to_string);
        self.state
            .scalar_functions()
            .keys()
            .cloned()
            .chain(system)
            .collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state
            .higher_order_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
