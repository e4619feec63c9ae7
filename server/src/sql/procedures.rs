//! CALL: the procedures of schema `nyala`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use nyala_catalog::definitions::{DatabaseDef, Relation, Table, arrow_schema};
use nyala_catalog::types::SqlType;
use nyala_catalog::{Catalog, JobRecord, JobStatus, Part, housekeeping, offload, vacuum};
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::jobs;
use crate::pg_catalog::NYALA;
use crate::session::Session;
use crate::sql::planner::Planner;
use crate::sql::restore::Restore;
use crate::sql::{ddl, names, parse};

/// The procedures: names, arguments, result columns.
const PROCEDURES: [(&str, &str, &[&str]); 4] = [
    (
        "housekeeping",
        "table",
        &[
            "rows_moved",
            "rows_folded",
            "files_written",
            "closed_version",
            "files_before",
            "files_after",
        ],
    ),
    (
        "offload",
        "table",
        &[
            "rows_written",
            "rows_refreshed",
            "files_written",
            "files_replaced",
            "snapshot_version",
        ],
    ),
    (
        "restore",
        "table, version",
        &["rows_deleted", "rows_written"],
    ),
    (
        "vacuum",
        "table",
        &["versions_dropped", "files_removed", "bytes_removed"],
    ),
];

/// Result columns of a procedure.
pub fn columns(function: &Function, database: &str) -> Result<SchemaRef> {
    let name = names::relation_name(&function.name, database)?;
    let known = PROCEDURES
        .iter()
        .find(|(procedure, ..)| name.schema.as_deref() == Some(NYALA) && name.name == *procedure);
    let (.., columns) = known.ok_or_else(|| undefined(&name.to_string(), function))?;
    let fields = columns.iter().map(|name| SqlType::Int8.field(name, false));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn undefined(name: &str, function: &Function) -> PgError {
    let count = arguments(function).map_or(0, |arguments| arguments.len());
    let known = PROCEDURES.map(|(name, arguments, _)| format!("nyala.{name}({arguments})"));
    PgError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("procedure {name} with {count} arguments does not exist"),
    )
    .with_hint(format!("There are {}.", known.join(", ")))
}

/// A procedure with its arguments.
enum Job {
    Housekeeping(Arc<dyn PhysicalExpr>),
    Offload,
    Restore(Restore),
    Vacuum,
}

/// Runs a procedure. It commits by itself, so it cannot stand in a transaction block.
pub async fn call(
    session: &Session,
    planner: Planner,
    function: &Function,
    started_by: &str,
) -> Result<RecordBatch> {
    let server = session.server();
    let name = names::relation_name(&function.name, &planner.database)?;
    let arguments = arguments(function)?;
    let unknown = || undefined(&name.to_string(), function);
    if name.schema.as_deref() != Some(NYALA) {
        return Err(unknown());
    }
    let (table, job) = match (name.name.as_str(), arguments.as_slice()) {
        ("housekeeping", [Argument::Text(table)]) => {
            let table = find_table(&planner, table)?;
            let rule = compiled_rule(&planner, &table)?;
            (table, Job::Housekeeping(rule))
        }
        ("offload", [Argument::Text(table)]) => (find_table(&planner, table)?, Job::Offload),
        ("vacuum", [Argument::Text(table)]) => (find_table(&planner, table)?, Job::Vacuum),
        ("restore", [Argument::Text(table), Argument::Number(version)]) => {
            let table = find_table(&planner, table)?;
            let restore = Restore::new(&planner, &table, *version)?;
            (table, Job::Restore(restore))
        }
        _ => return Err(unknown()),
    };
    let schema = columns(function, &planner.database)?;
    let record = JobRecord {
        id: 0,
        database: planner.view.definitions.database.oid,
        schema: schema_name(&planner, &table),
        table: table.def.name.clone(),
        kind: name.name.clone(),
        started_by: started_by.to_string(),
        started_us: 0,
        finished_us: None,
        status: JobStatus::Running,
        result: None,
    };
    let database = planner.view.definitions.database.clone();
    // A job that removes things waits for no transaction of its own caller.
    drop(planner);
    let names = schema.fields().iter().map(|field| field.name().clone());
    let names: Vec<String> = names.collect();
    let work = async {
        let numbers = match job {
            Job::Restore(restore) => restore.run(session).await?,
            job => {
                let (catalog, table) = (Arc::clone(&server.catalog), Arc::clone(&table));
                let run = async move { job.run(&catalog, &database, &table).await };
                server.workload.job(run).await?
            }
        };
        Ok(Numbers(names.into_iter().zip(numbers).collect()))
    };
    let done = jobs::recorded(server, record, work).await?;
    let numbers: Vec<u64> = done.0.iter().map(|(_, number)| *number).collect();
    row(schema, &numbers)
}

impl Job {
    /// Does the work; returns the numbers of the result. What an offload or housekeeping leaves behind is removed at once.
    async fn run(
        self,
        catalog: &Arc<Catalog>,
        database: &DatabaseDef,
        table: &Table,
    ) -> Result<Vec<u64>> {
        let oid = table.def.oid;
        let numbers = match self {
            Self::Housekeeping(rule) => {
                let done =
                    housekeeping::run(catalog, database, table, &rule, clock::now_us()).await?;
                vec![
                    done.rows_moved,
                    done.rows_folded,
                    done.files_written,
                    done.closed_version,
                    done.files_before,
                    done.files_after,
                ]
            }
            Self::Offload => {
                let done = offload::run(catalog, database, oid, clock::now_us()).await?;
                vec![
                    done.rows_written,
                    done.rows_refreshed,
                    done.files_written,
                    done.files_replaced,
                    done.snapshot_version,
                ]
            }
            Self::Vacuum => {
                let done = vacuum::run(catalog, database, oid, clock::now_us()).await?;
                return Ok(vec![
                    done.versions_dropped,
                    done.files_removed,
                    done.bytes_removed,
                ]);
            }
            Self::Restore(_) => {
                return Err(PgError::internal("a restore is no job of the catalog"));
            }
        };
        if let Err(error) = vacuum::run(catalog, database, oid, clock::now_us()).await {
            // The next run removes what this one could not.
            tracing::warn!(oid, %error, "files that are not needed stay for now");
        }
        Ok(numbers)
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

fn row(schema: SchemaRef, numbers: &[u64]) -> Result<RecordBatch> {
    let arrays = numbers.iter().map(|number| -> ArrayRef {
        Arc::new(Int64Array::from(vec![
            i64::try_from(*number).unwrap_or(i64::MAX),
        ]))
    });
    Ok(RecordBatch::try_new(schema, arrays.collect())?)
}

/// An argument of a procedure.
enum Argument {
    Text(String),
    Number(u64),
}

fn arguments(function: &Function) -> Result<Vec<Argument>> {
    let wrong = || PgError::syntax("procedures take string literals and numbers");
    let list = match &function.args {
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::List(list) => &list.args,
        FunctionArguments::Subquery(_) => return Err(wrong()),
    };
    list.iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
                Value::SingleQuotedString(text) => Ok(Argument::Text(text.clone())),
                Value::Number(number, _) => {
                    number.parse().map(Argument::Number).map_err(|_| wrong())
                }
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

/// The table's closing rule over all its columns.
fn compiled_rule(planner: &Planner, table: &Table) -> Result<Arc<dyn PhysicalExpr>> {
    let Some(closing) = &table.def.closing else {
        return Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("table \"{}\" has no closed_when", table.def.name),
        ));
    };
    let columns = &table.def.columns;
    let rule = ddl::closing_rule(planner, &closing.closed_when, columns)?;
    let schema = DFSchema::try_from(arrow_schema(columns))?;
    Ok(planner.state.create_physical_expr(rule, &schema)?)
}
