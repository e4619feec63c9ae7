//! EXPLAIN: a plan as lines of text, or as JSON for tools.
//!
//! What stands in it is DataFusion's plan under its own names. There are no costs, because nothing here computes any.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::TryStreamExt;
use nyala_catalog::types::SqlType;
use serde_json::{Map, Value, json};
use sqlparser::ast::{
    AnalyzeFormat, AnalyzeFormatKind, CreateTable, Query, Statement, UtilityOption,
};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::dml;
use crate::sql::planner::Planner;

/// What EXPLAIN was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Whether the query is run.
    pub analyze: bool,
    /// Whether the columns of each step are shown.
    pub verbose: bool,
    /// Whether the plan is JSON.
    pub json: bool,
}

impl ExplainOptions {
    /// The options of a statement; anything but EXPLAIN has none.
    pub fn of(statement: &Statement) -> Result<Self> {
        let Statement::Explain {
            analyze,
            verbose,
            options,
            format,
            ..
        } = statement
        else {
            return Ok(Self::default());
        };
        let mut found = Self {
            analyze: *analyze,
            verbose: *verbose,
            json: false,
        };
        if let Some(AnalyzeFormatKind::Keyword(format) | AnalyzeFormatKind::Assignment(format)) =
            format
        {
            found.json = match format {
                AnalyzeFormat::JSON => true,
                AnalyzeFormat::TEXT => false,
                other => return Err(unknown_format(&other.to_string())),
            };
        }
        for option in options.as_deref().unwrap_or_default() {
            found.take(option)?;
        }
        Ok(found)
    }

    fn take(&mut self, option: &UtilityOption) -> Result<()> {
        let text = option
            .arg
            .as_ref()
            .map(|arg| arg.to_string().to_lowercase());
        let on = !matches!(text.as_deref(), Some("false" | "off" | "0"));
        match (option.name.value.to_lowercase().as_str(), on) {
            ("analyze", on) => self.analyze = on,
            ("verbose", on) => self.verbose = on,
            ("format", _) => {
                let format = text.unwrap_or_default();
                self.json = match format.trim_matches('\'') {
                    "json" => true,
                    "text" => false,
                    other => return Err(unknown_format(other)),
                };
            }
            // What is shown is always complete.
            ("costs" | "timing" | "summary", _)
            | ("buffers" | "settings" | "wal" | "generic_plan", false) => {}
            (name, _) => {
                return Err(PgError::unsupported(format!(
                    "EXPLAIN option {} is not supported",
                    name.to_uppercase()
                )));
            }
        }
        Ok(())
    }

    /// The columns of the result.
    pub fn schema(self) -> SchemaRef {
        let ty = if self.json {
            SqlType::Json
        } else {
            SqlType::Text
        };
        Arc::new(Schema::new(vec![ty.field("QUERY PLAN", false)]))
    }
}

fn unknown_format(format: &str) -> PgError {
    match format.to_lowercase().as_str() {
        "xml" | "yaml" => PgError::unsupported(format!("EXPLAIN format {format} is not supported")),
        _ => PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("unrecognized value for EXPLAIN option \"format\": \"{format}\""),
        ),
    }
}

/// What becomes of the rows of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modification {
    /// `Insert`, `Update`, `Delete` or `Merge`.
    pub operation: &'static str,
    /// Name of the table that is changed.
    pub relation: String,
    /// What the statement calls it.
    pub alias: String,
}

/// The plan of a statement, which is not run.
pub async fn explain_statement(
    planner: &mut Planner,
    statement: &Statement,
    options: ExplainOptions,
) -> Result<RecordBatch> {
    match statement {
        Statement::Query(query) if dml::changing(query).is_some() => Err(PgError::unsupported(
            "EXPLAIN of statements that change rows behind WITH is not supported",
        )),
        Statement::Query(query) => explain(planner, query, options, None).await,
        Statement::CreateTable(CreateTable {
            query: Some(query), ..
        }) if !options.analyze => explain(planner, query, options, None).await,
        changed if dml::is_dml(changed) => {
            if options.analyze {
                return Err(PgError::unsupported(
                    "EXPLAIN ANALYZE of statements that change rows is not supported",
                )
                .with_hint("EXPLAIN without ANALYZE shows the plan."));
            }
            let (modification, query) = dml::explained(planner, changed).await?;
            explain(planner, &query, options, Some(modification)).await
        }
        _ => Err(PgError::unsupported(
            "EXPLAIN is supported for queries and for statements that change rows",
        )),
    }
}

/// The plan of a query; with `analyze` it is run first, and the plan says what it took.
async fn explain(
    planner: &mut Planner,
    query: &Query,
    options: ExplainOptions,
    modification: Option<Modification>,
) -> Result<RecordBatch> {
    planner.open_relations(query).await?;
    let plan = planner.plan(query, Vec::new())?;
    let physical = planner.physical(&plan).await?;
    if options.analyze {
        let mut rows = planner.run(Arc::clone(&physical));
        while rows.try_next().await?.is_some() {}
    }
    let lines: StringViewArray = if options.json {
        let mut plan = node(physical.as_ref(), options);
        if let Some(modification) = modification {
            plan = json!({
                "Node Type": "ModifyTable",
                "Operation": modification.operation,
                "Relation Name": modification.relation,
                "Alias": modification.alias,
                "Plans": [plan],
            });
        }
        let plan = json!([{ "Plan": plan }]);
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|error| PgError::internal(error.to_string()))?;
        std::iter::once(Some(text)).collect()
    } else {
        let shown = match options.analyze {
            true => DisplayableExecutionPlan::with_metrics(physical.as_ref()),
            false => displayable(physical.as_ref()),
        };
        let text = shown
            .set_show_schema(options.verbose)
            .indent(options.verbose)
            .to_string();
        match modification {
            None => text.lines().map(Some).collect(),
            Some(Modification {
                operation,
                relation,
                alias,
            }) => {
                let alias = match alias == relation {
                    true => String::new(),
                    false => format!(" {alias}"),
                };
                let head = format!("{operation} on {relation}{alias}");
                let below = text.lines().map(|line| format!("  {line}"));
                std::iter::once(head).chain(below).map(Some).collect()
            }
        }
    };
    Ok(RecordBatch::try_new(
        options.schema(),
        vec![Arc::new(lines)],
    )?)
}

/// A step of a plan and the steps below it, with PostgreSQL's names for what they have in common.
fn node(plan: &dyn ExecutionPlan, options: ExplainOptions) -> Value {
    let mut members = Map::new();
    members.insert("Node Type".to_string(), json!(plan.name()));
    let line = displayable(plan).one_line().to_string();
    members.insert("Detail".to_string(), json!(line.trim()));
    if let Ok(statistics) = StatisticsContext::new().compute(plan, &StatisticsArgs::new())
        && let Some(rows) = statistics.num_rows.get_value()
    {
        members.insert("Plan Rows".to_string(), json!(rows));
    }
    if options.verbose {
        let schema = plan.schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
        members.insert("Output".to_string(), json!(columns));
    }
    if options.analyze
        && let Some(metrics) = plan.metrics()
    {
        if let Some(rows) = metrics.output_rows() {
            members.insert("Actual Rows".to_string(), json!(rows));
        }
        if let Some(nanos) = metrics.elapsed_compute() {
            let milliseconds = nanos as f64 / 1e6;
            members.insert("Actual Total Time".to_string(), json!(milliseconds));
        }
    }
    let below: Vec<Value> = plan
        .children()
        .into_iter()
        .map(|child| node(child.as_ref(), options))
        .collect();
    if !below.is_empty() {
        members.insert("Plans".to_string(), Value::Array(below));
    }
    Value::Object(members)
}
