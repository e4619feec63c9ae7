//! Joins by the values of outer columns, see [`super::unnesting`].

use std::sync::Arc;

use datafusion::common::{
    Column, ExprSchema, JoinConstraint, JoinType, NullEquality, Result as DfResult, ScalarValue,
};
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, lit};

/// Two plans joined where pairs of expressions are equal and a filter is true; NULLs are equal to nothing.
pub fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    pairs: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
) -> DfResult<LogicalPlan> {
    let filter = match (filter, join_type) {
        (None, JoinType::Inner) => None,
        (None, _) if pairs.is_empty() => Some(lit(true)),
        (filter, _) => filter,
    };
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        pairs,
        filter,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// Pairs of expressions that are equal where pairs of columns have the same values, NULLs among them.
///
/// A join could be told that NULLs are equal; but the optimiser takes that over to the joins that it puts together with it.
pub fn same_values(
    left: &LogicalPlan,
    left_columns: &[Column],
    right: &LogicalPlan,
    right_columns: &[Column],
) -> DfResult<Vec<(Expr, Expr)>> {
    let mut pairs = Vec::with_capacity(2 * left_columns.len());
    for (left_column, right_column) in left_columns.iter().zip(right_columns) {
        let (left_schema, right_schema) = (left.schema(), right.schema());
        let (left, right) = (
            Expr::Column(left_column.clone()),
            Expr::Column(right_column.clone()),
        );
        if !left_schema.nullable(left_column)? || !right_schema.nullable(right_column)? {
            pairs.push((left, right));
            continue;
        }
        let some = lit(ScalarValue::new_default(
            left_schema.data_type(left_column)?,
        )?);
        pairs.push((left.clone().is_null(), right.clone().is_null()));
        pairs.push((
            coalesce(vec![left, some.clone()]),
            coalesce(vec![right, some]),
        ));
    }
    Ok(pairs)
}
