//! `generate_series` in FROM: DataFusion's is of `bigint` and of times in nanoseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, Result as DataFusionResult, ScalarValue};
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::logical_expr::{Cast, Expr, LogicalPlanBuilder};

/// Whether an argument is an `integer`.
pub fn is_integer(arg: &Expr) -> bool {
    matches!(arg, Expr::Literal(value, _)
        if matches!(value.data_type(), DataType::Int16 | DataType::Int32))
}

/// DataFusion's series of times count nanoseconds; here they count microseconds. Tells the type of the series, if it is one of
/// times.
pub fn of_times(mut args: Vec<Expr>) -> DataFusionResult<(Vec<Expr>, Option<DataType>)> {
    let Some(Expr::Literal(first, _)) = args.first() else {
        return Ok((args, None));
    };
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = first.data_type() else {
        return Ok((args, None));
    };
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
    for bound in args.iter_mut().take(2) {
        if let Expr::Literal(value, _) = bound
            && !value.is_null()
        {
            *value = value.cast_to(&nanos)?;
        }
    }
    Ok((args, Some(DataType::Timestamp(TimeUnit::Microsecond, zone))))
}

/// A series from `integer` to `integer` is of `integer`; DataFusion's are of `bigint`, and those of times of nanoseconds.
pub fn of_type(
    name: &str,
    rows: Arc<dyn TableProvider>,
    ty: &DataType,
) -> DataFusionResult<Arc<dyn TableProvider>> {
    let columns = rows.schema();
    let scan = LogicalPlanBuilder::scan(name, provider_as_source(rows), None)?;
    let outputs = columns.fields().iter().map(|field| {
        let value = Expr::Cast(Cast::new(
            Box::new(Expr::Column(Column::from_name(field.name()))),
            ty.clone(),
        ));
        value.alias(field.name())
    });
    let plan = scan.project(outputs.collect::<Vec<_>>())?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// DataFusion's table functions take integers as `bigint` only.
pub fn widened(arg: Expr) -> DataFusionResult<Expr> {
    Ok(match arg {
        Expr::Literal(value, _) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        Expr::Literal(value, metadata) if value.data_type().is_integer() => {
            Expr::Literal(value.cast_to(&DataType::Int64)?, metadata)
        }
        other => other,
    })
}
