//! `FROM t, unnest(t.a)`: a function in FROM over a column of a relation before it.
//!
//! DataFusion plans it as a join with a subquery that unnests an outer column, and cannot run that. The
//! same rows come from unnesting the column in the relation itself, its other columns passed along.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{
    Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, Unnest,
};

/// Turns one node, where it is an inner join with the elements of an array on its left.
pub fn flatten(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = &plan else {
        return Ok(Transformed::no(plan));
    };
    match unnested(join)? {
        Some(unnested) => Ok(Transformed::yes(unnested)),
        None => Ok(Transformed::no(plan)),
    }
}

fn unnested(join: &Join) -> DfResult<Option<LogicalPlan>> {
    let LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) = join.right.as_ref() else {
        return Ok(None);
    };
    let LogicalPlan::Subquery(subquery) = input.as_ref() else {
        return Ok(None);
    };
    if join.join_type != JoinType::Inner {
        return Ok(None);
    }
    let Some(rows) = over(&subquery.subquery, &join.left)? else {
        return Ok(None);
    };
    // Columns of the function come after those passed along, under the function's alias.
    let passed = join.left.schema().columns();
    let columns = rows
        .schema()
        .columns()
        .into_iter()
        .enumerate()
        .map(|(position, column)| {
            let name = column.name.clone();
            let column = Expr::Column(column);
            if position < passed.len() {
                column
            } else {
                column.alias_qualified(Some(alias.clone()), name)
            }
        });
    let columns: Vec<_> = columns.collect();
    let mut plan = LogicalPlanBuilder::from(rows).project(columns)?;
    for (left, right) in &join.on {
        plan = plan.filter(left.clone().eq(right.clone()))?;
    }
    if let Some(filter) = &join.filter {
        plan = plan.filter(filter.clone())?;
    }
    Ok(Some(plan.build()?))
}

/// The plan of an unnesting subquery over the rows of its outer relation instead of over one empty row.
fn over(plan: &LogicalPlan, left: &Arc<LogicalPlan>) -> DfResult<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
            Ok(Some(left.as_ref().clone()))
        }
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let Some(rows) = over(input, left)? else {
                return Ok(None);
            };
            let mut columns: Vec<_> = left
                .schema()
                .columns()
                .into_iter()
                .map(Expr::Column)
                .collect();
            for expr in expr {
                columns.push(expr.clone().transform_up(inner_column)?.data);
            }
            // A column the outer relation does not have belongs to a query further out.
            if columns.iter().any(Expr::contains_outer) {
                return Ok(None);
            }
            let known = rows.schema();
            let missing = |column: &&Column| !known.has_column(column);
            if columns
                .iter()
                .any(|column| column.column_refs().iter().any(missing))
            {
                return Ok(None);
            }
            Ok(Some(
                LogicalPlanBuilder::from(rows).project(columns)?.build()?,
            ))
        }
        LogicalPlan::Unnest(Unnest {
            input,
            exec_columns,
            options,
            ..
        }) => {
            let Some(rows) = over(input, left)? else {
                return Ok(None);
            };
            let unnested = LogicalPlanBuilder::from(rows)
                .unnest_columns_with_options(exec_columns.clone(), options.clone())?;
            Ok(Some(unnested.build()?))
        }
        _ => Ok(None),
    }
}

fn inner_column(expr: Expr) -> DfResult<Transformed<Expr>> {
    Ok(match expr {
        Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
        other => Transformed::no(other),
    })
}
