//! INTERSECT ALL and EXCEPT ALL: equal rows count one by one.
//!
//! DataFusion plans them as a semi or an anti join, in which one row on the right stands for any number of equal ones on the left. With
//! the number of each row among its equals as a further column, each stands for one.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, NullEquality, Result as DfResult};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder,
};

/// Turns one node, where it is such a join.
pub fn numbered(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = &plan else {
        return Ok(Transformed::no(plan));
    };
    // The distinct forms are planned over distinct rows.
    let is_multiset = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.on.len() == join.left.schema().fields().len()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)));
    if !is_multiset {
        return Ok(Transformed::no(plan));
    }
    let columns = join.left.schema().columns();
    let (left, left_number) = with_number(&join.left)?;
    let (right, right_number) = with_number(&join.right)?;
    let mut on = join.on.clone();
    on.extend(left_number.zip(right_number));
    let joined = LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        join.filter.clone(),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?);
    let plan = LogicalPlanBuilder::from(joined)
        .project(columns.into_iter().map(Expr::Column))?
        .build()?;
    Ok(Transformed::yes(plan))
}

/// The rows with their number among those that equal them, and that column.
fn with_number(plan: &LogicalPlan) -> DfResult<(LogicalPlan, Option<Expr>)> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let number = row_number().partition_by(columns.collect()).build()?;
    let plan = LogicalPlanBuilder::from(plan.clone())
        .window(vec![number])?
        .build()?;
    let number = plan.schema().columns().pop().map(Expr::Column);
    Ok((plan, number))
}
