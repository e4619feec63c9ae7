//! What rows that exist have in a column that is added: its default, evaluated once, when the column is added.

use arrow::array::Array;
use datafusion::common::{DFSchema, ScalarValue};
use nyala_catalog::definitions::ColumnDef;
use sqlparser::ast::Expr;

use crate::error::{PgError, Result};
use crate::pgwire::decode::scalar_at;
use crate::sql::planner::Planner;
use crate::sql::{casts, dml, parse, query};

/// The value in rows that exist.
pub(super) enum Missing {
    /// This one.
    Value(ScalarValue),
    /// One for each row, which only a table without rows can be given. The value is NULL.
    Volatile(ScalarValue),
}

/// Evaluates a new column's default, which `column_definition` has checked.
pub(super) async fn missing(planner: &mut Planner, column: &ColumnDef) -> Result<Missing> {
    let null = ScalarValue::try_from(column.ty.arrow_type())?;
    let Some(default) = &column.default else {
        return Ok(Missing::Value(null));
    };
    let expr = planner.expression(default, &DFSchema::empty())?;
    if expr.is_volatile() {
        return Ok(Missing::Volatile(null));
    }
    let value = evaluate(planner, parse::parse_expression(default)?, column).await?;
    Ok(Missing::Value(value))
}

async fn evaluate(planner: &mut Planner, expr: Expr, column: &ColumnDef) -> Result<ScalarValue> {
    let query = dml::select(vec![dml::aliased(expr, &column.name)], Vec::new(), None)?;
    let (schema, rows) = query::collect(planner, &query).await?;
    let one = || PgError::internal("a default is one value");
    let field = schema.fields().first().ok_or_else(one)?;
    let values = rows.iter().find(|batch| batch.num_rows() == 1);
    let values = values
        .and_then(|batch| batch.columns().first())
        .ok_or_else(one)?;
    let (input, format) = (&planner.input, &planner.format);
    let assigned = casts::assign(values, field, &column.ty, input, format)?;
    match assigned.is_null(0) {
        true => Ok(ScalarValue::try_from(column.ty.arrow_type())?),
        false => Ok(scalar_at(&assigned, 0)?),
    }
}

/// 0A000 for a default that is another for each row.
pub(super) fn volatile() -> PgError {
    PgError::unsupported("cannot add a column with a volatile default to a table with rows")
        .with_hint(
            "Add the column without a default, fill it with UPDATE, and set the default then.",
        )
}
