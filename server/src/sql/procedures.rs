//! CALL: the procedures of schema `nyala`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use nyala_catalog::definitions::{Relation, Table, arrow_schema};
use nyala_catalog::types::SqlType;
use nyala_catalog::{Catalog, JobRecord, JobStatus, Part, housekeeping, offload};
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use crate::error::{PgError, Result, sqlstate};
use crate::jobs;
use crate::pg_catalog::NYALA;
use crate::server::Server;
use crate::sql::planner::Planner;
use crate::sql::{ddl, names, parse};

/// The procedures and their result columns.
const PROCEDURES: [(&str, &[&str]); 2] = [
    (
        "housekeeping",
        &[
            "rows_moved",
            "rows_folded",
            "files_written",
            "closed_version",
        ],
    ),
    (
        "offload",
        &[
            "rows_written",
            "rows_refreshed",
            "files_written",
            "files_replaced",
            "snapshot_version",
        ],
    ),
];

/// Result columns of a procedure.
pub fn columns(function: &Function, database: &str) -> Result<SchemaRef> {
    let name = names::relation_name(&function.name, database)?;
    let known = PROCEDURES
        .iter()
        .find(|(procedure, _)| name.schema.as_deref() == Some(NYALA) && name.name == *procedure);
    let (_, columns) = known.ok_or_else(|| undefined(&name.to_string(), function))?;
    let fields = columns.iter().map(|name| SqlType::Int8.field(name, false));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn undefined(name: &str, function: &Function) -> PgError {
    let count = text_arguments(function).map_or(0, |arguments| arguments.len());
    PgError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("procedure {name} with {count} arguments does not exist"),
    )
    .with_hint("There are nyala.housekeeping(table) and nyala.offload(table).")
}

/// Runs a procedure. It commits by itself, so it cannot stand in a transaction block.
pub async fn call(
    server: &Server,
    planner: &Planner,
    function: &Function,
    started_by: &str,
) -> Result<RecordBatch> {
    let catalog = &server.catalog;
    let name = names::relation_name(&function.name, &planner.database)?;
    let arguments = text_arguments(function)?;
    match (
        name.schema.as_deref(),
        name.name.as_str(),
        arguments.as_slice(),
    ) {
        (Some(NYALA), kind @ ("housekeeping" | "offload"), [table]) => {
            let table = find_table(planner, table)?;
            let schema = columns(function, &planner.database)?;
            let database = &planner.view.definitions.database;
            let record = JobRecord {
                id: 0,
                database: database.oid,
                schema: schema_name(planner, &table),
                table: table.def.name.clone(),
                kind: kind.to_string(),
                started_by: started_by.to_string(),
                started_us: 0,
                finished_us: None,
                status: JobStatus::Running,
                result: None,
            };
            let work = async {
                let numbers = match kind {
                    "housekeeping" => run_housekeeping(catalog, planner, &table).await?.to_vec(),
                    _ => run_offload(catalog, planner, &table).await?.to_vec(),
                };
                let names = schema.fields().iter().map(|field| field.name().clone());
                let numbers = names.zip(numbers).collect();
                Ok(Numbers(numbers))
            };
            let done = jobs::recorded(server, record, work).await?;
            let numbers: Vec<u64> = done.0.iter().map(|(_, number)| *number).collect();
            row(schema, &numbers)
        }
        _ => Err(undefined(&name.to_string(), function)),
    }
}

/// What a procedure did: numbers with their names.
struct Numbers(Vec<(String, u64)>);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, number)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {number}")?;
        }
        Ok(())
    }
}

fn schema_name(planner: &Planner, table: &Table) -> String {
    let mut schemas = planner.view.definitions.schemas();
    schemas
        .find(|schema| schema.oid == table.def.schema)
        .map(|schema| schema.name.clone())
        .unwrap_or_default()
}

async fn run_offload(catalog: &Arc<Catalog>, planner: &Planner, table: &Table) -> Result<[u64; 5]> {
    let database = &planner.view.definitions.database;
    let report = offload::run(catalog, database, table.def.oid).await?;
    Ok([
        report.rows_written,
        report.rows_refreshed,
        report.files_written,
        report.files_replaced,
        report.snapshot_version,
    ])
}

fn row(schema: SchemaRef, numbers: &[u64]) -> Result<RecordBatch> {
    let arrays = numbers.iter().map(|number| -> ArrayRef {
        Arc::new(Int64Array::from(vec![
            i64::try_from(*number).unwrap_or(i64::MAX),
        ]))
    });
    Ok(RecordBatch::try_new(schema, arrays.collect())?)
}

fn text_arguments(function: &Function) -> Result<Vec<String>> {
    let wrong = || PgError::syntax("procedures take string literals");
    let list = match &function.args {
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::List(list) => &list.args,
        FunctionArguments::Subquery(_) => return Err(wrong()),
    };
    list.iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
                Value::SingleQuotedString(text) => Ok(text.clone()),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        })
        .collect()
}

/// The table that a procedure's argument names.
fn find_table(planner: &Planner, table: &str) -> Result<Arc<Table>> {
    let name = match parse::parse_expression(table)? {
        Expr::Identifier(ident) => vec![ident].into(),
        Expr::CompoundIdentifier(idents) => idents.into(),
        _ => {
            return Err(PgError::syntax(format!(
                "\"{table}\" is not a table's name"
            )));
        }
    };
    let name = names::relation_name(&name, &planner.database)?;
    match planner.find_relation(&name)? {
        Some((Relation::Table(table), Part::All)) => Ok(Arc::clone(table)),
        Some(_) => Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("\"{name}\" is not a table"),
        )),
        None => Err(names::undefined_relation(&name)),
    }
}

async fn run_housekeeping(
    catalog: &Arc<Catalog>,
    planner: &Planner,
    table: &Table,
) -> Result<[u64; 4]> {
    let Some(closing) = &table.def.closing else {
        return Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("table \"{}\" has no closed_when", table.def.name),
        ));
    };
    let columns = &table.def.columns;
    let rule = ddl::closing_rule(planner, &closing.closed_when, columns)?;
    let schema = DFSchema::try_from(arrow_schema(columns))?;
    let rule = planner.state.create_physical_expr(rule, &schema)?;
    let database = &planner.view.definitions.database;
    let report = housekeeping::run(catalog, database, table, &rule).await?;
    Ok([
        report.rows_moved,
        report.rows_folded,
        report.files_written,
        report.closed_version,
    ])
}
