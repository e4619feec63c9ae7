//! An optimiser rule: a date compared with a timestamp that is known is compared with a date.
//!
//! `date - interval` is a timestamp, so `shipped <= date '1998-12-01' - interval '90 days'` compares timestamps, and the column
//! is cast for every row: no statistics of files prune it, and dates beyond 2262 do not fit a timestamp in nanoseconds. With
//! the timestamp's day d, and `exact` if it is midnight, the same rows have
//!
//! | timestamps | dates |
//! | --- | --- |
//! | `<`, `>=` | `< d`, `>= d` if exact; else `<= d`, `> d` |
//! | `<=`, `>` | `<= d`, `> d` |
//! | `=`, `<>` | `= d`, `<> d` if exact; else left alone |

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// See the module.
#[derive(Debug)]
pub struct DateComparison;

impl OptimizerRule for DateComparison {
    fn name(&self) -> &str {
        "date_comparison"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            // The scan's filters are over all columns of the table.
            schema = DFSchema::try_from_qualified_schema(
                scan.table_name.clone(),
                &scan.source.schema(),
            )?;
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|part| compared_as_date(part, &schema))?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })
    }
}

fn compared_as_date(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(comparison) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let (left, right) = (comparison.left.as_ref(), comparison.right.as_ref());
    let found = match (left, right) {
        (cast, Expr::Literal(value, _)) => date_cast(cast, schema)?
            .zip(day(value))
            .and_then(|(date, day)| by_date(date, comparison.op, day)),
        (Expr::Literal(value, _), cast) => {
            let turned = comparison.op.swap();
            date_cast(cast, schema)?
                .zip(day(value))
                .zip(turned)
                .and_then(|((date, day), op)| by_date(date, op, day))
        }
        _ => None,
    };
    Ok(match found {
        Some(found) => Transformed::yes(found),
        None => Transformed::no(expr),
    })
}

/// The date in `CAST(date AS timestamp)`.
fn date_cast<'a>(expr: &'a Expr, schema: &DFSchema) -> Result<Option<&'a Expr>> {
    let Expr::Cast(Cast { expr: date, field }) = expr else {
        return Ok(None);
    };
    let to_timestamp = matches!(field.data_type(), DataType::Timestamp(_, None));
    let from_date = to_timestamp && date.get_type(schema)? == DataType::Date32;
    Ok(from_date.then_some(date))
}

/// Days since 1970 of a timestamp, and whether it is midnight.
fn day(value: &ScalarValue) -> Option<(i32, bool)> {
    let (value, unit) = match value {
        ScalarValue::TimestampSecond(Some(value), None) => (*value, TimeUnit::Second),
        ScalarValue::TimestampMillisecond(Some(value), None) => (*value, TimeUnit::Millisecond),
        ScalarValue::TimestampMicrosecond(Some(value), None) => (*value, TimeUnit::Microsecond),
        ScalarValue::TimestampNanosecond(Some(value), None) => (*value, TimeUnit::Nanosecond),
        _ => return None,
    };
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let per_day = 86_400 * per_second;
    let day = i32::try_from(value.div_euclid(per_day)).ok()?;
    Some((day, value.rem_euclid(per_day) == 0))
}

fn by_date(date: &Expr, op: Operator, (day, exact): (i32, bool)) -> Option<Expr> {
    let op = match (op, exact) {
        (Operator::Lt, false) => Operator::LtEq,
        (Operator::GtEq, false) => Operator::Gt,
        (Operator::Lt | Operator::GtEq | Operator::LtEq | Operator::Gt, _)
        | (Operator::Eq | Operator::NotEq, true) => op,
        _ => return None,
    };
    let day = lit(ScalarValue::Date32(Some(day)));
    Some(Expr::BinaryExpr(BinaryExpr::new(
        Box::new(date.clone()),
        op,
        Box::new(day),
    )))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col};

    use super::*;

    fn rewritten(op: Operator, micros: i64) -> String {
        let schema = Schema::new(vec![Field::new("d", DataType::Date32, true)]);
        let schema = DFSchema::try_from(schema).unwrap();
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let comparison = Expr::BinaryExpr(BinaryExpr::new(
            Box::new(cast(col("d"), timestamp)),
            op,
            Box::new(lit(ScalarValue::TimestampMicrosecond(Some(micros), None))),
        ));
        compared_as_date(comparison, &schema)
            .unwrap()
            .data
            .to_string()
    }

    #[test]
    fn midnight_keeps_the_operator_and_later_takes_the_whole_day() {
        const DAY: i64 = 86_400_000_000;
        use Operator::{Eq, Gt, GtEq, Lt, LtEq};
        let days = |op| [rewritten(op, 2 * DAY), rewritten(op, 2 * DAY + 1)];
        let shown = |first: &str, second: &str| {
            [first, second].map(|op| format!("d {op} Date32(\"1970-01-03\")"))
        };
        assert_eq!(days(Lt), shown("<", "<="));
        assert_eq!(days(GtEq), shown(">=", ">"));
        assert_eq!(days(LtEq), shown("<=", "<="));
        assert_eq!(days(Gt), shown(">", ">"));
        assert_eq!(rewritten(Eq, 2 * DAY), "d = Date32(\"1970-01-03\")");
        assert!(rewritten(Eq, 1).contains("CAST"), "no date is within a day");
        assert_eq!(rewritten(Gt, -1), "d > Date32(\"1969-12-31\")");
    }
}
