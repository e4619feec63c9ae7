//! CALL: the procedures of schema `nyala`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use nyala_catalog::definitions::{Relation, arrow_schema};
use nyala_catalog::types::SqlType;
use nyala_catalog::{Catalog, Part, housekeeping};
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::NYALA;
use crate::sql::planner::Planner;
use crate::sql::{ddl, names, parse};

/// Result columns of `CALL nyala.housekeeping`.
pub fn columns() -> SchemaRef {
    let names = [
        "rows_moved",
        "rows_folded",
        "files_written",
        "closed_version",
    ];
    Arc::new(Schema::new(
        names.map(|name| SqlType::Int8.field(name, false)).to_vec(),
    ))
}

/// Runs a procedure. It commits by itself, so it cannot stand in a transaction block.
pub async fn call(
    catalog: &Arc<Catalog>,
    planner: &Planner,
    function: &Function,
) -> Result<RecordBatch> {
    let name = names::relation_name(&function.name, &planner.database)?;
    let arguments = text_arguments(function)?;
    match (
        name.schema.as_deref(),
        name.name.as_str(),
        arguments.as_slice(),
    ) {
        (Some(NYALA), "housekeeping", [table]) => run_housekeeping(catalog, planner, table).await,
        _ => Err(PgError::new(
            sqlstate::UNDEFINED_FUNCTION,
            format!(
                "procedure {name} with {} arguments does not exist",
                arguments.len()
            ),
        )
        .with_hint("There is nyala.housekeeping(table).")),
    }
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

async fn run_housekeeping(
    catalog: &Arc<Catalog>,
    planner: &Planner,
    table: &str,
) -> Result<RecordBatch> {
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
    let table = match planner.find_relation(&name)? {
        Some((Relation::Table(table), Part::All)) => Arc::clone(table),
        Some(_) => {
            return Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("\"{name}\" is not a table"),
            ));
        }
        None => return Err(names::undefined_relation(&name)),
    };
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
    let report = housekeeping::run(catalog, database, table.def.oid, &rule).await?;
    let numbers = [
        report.rows_moved,
        report.rows_folded,
        report.files_written,
        report.closed_version,
    ];
    let arrays = numbers.map(|number| -> ArrayRef {
        Arc::new(Int64Array::from(vec![
            i64::try_from(number).unwrap_or(i64::MAX),
        ]))
    });
    Ok(RecordBatch::try_new(self::columns(), arrays.to_vec())?)
}
