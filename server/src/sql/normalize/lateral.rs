//! `FROM t, unnest(t.a)`: a function in FROM over a column of a relation before it.
//!
//! DataFusion plans it as a join with a subquery that unnests an outer column, and cannot run that. The
//! same rows come from unnesting the column in the relation itself, its other columns passed along.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, Unnest,
};

use crate::sql::strings::one_element_at_least;

/// Turns one node, where it is a join with the elements of an array on its left.
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
    let keep = match join.join_type {
        JoinType::Inner => false,
        // A row without elements stays, with NULL beside it; a condition would have to leave it as well.
        JoinType::Left if join.on.is_empty() && join.filter.as_ref().is_none_or(is_true) => true,
        _ => return Ok(None),
    };
    let Some(rows) = over(&subquery.subquery, &join.left, keep)? else {
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
fn over(plan: &LogicalPlan, left: &Arc<LogicalPlan>, keep: bool) -> DfResult<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
            Ok(Some(left.as_ref().clone()))
        }
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let Some(rows) = over(input, left, keep)? else {
                return Ok(None);
            };
            let mut columns: Vec<_> = left
                .schema()
                .columns()
                .into_iter()
                .map(Expr::Column)
                .collect();
            for expr in expr {
                // What is computed of an element would be computed where there is none.
                if keep && unnests(input) && !is_element(expr) {
                    return Ok(None);
                }
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
            let Some(rows) = over(input, left, keep)? else {
                return Ok(None);
            };
            let rows = match keep {
                true => with_one_element(rows, exec_columns)?,
                false => rows,
            };
            let unnested = LogicalPlanBuilder::from(rows)
                .unnest_columns_with_options(exec_columns.clone(), options.clone())?;
            Ok(Some(unnested.build()?))
        }
        _ => Ok(None),
    }
}

/// The same rows, whose arrays in these columns have one element at least.
fn with_one_element(rows: LogicalPlan, arrays: &[Column]) -> DfResult<LogicalPlan> {
    let schema = Arc::clone(rows.schema());
    let columns = schema.iter().map(|(qualifier, field)| {
        let column = Column::from((qualifier, field));
        match arrays.contains(&column) {
            true => one_element_at_least(Expr::Column(column), field.data_type().clone())
                .alias_qualified(qualifier.cloned(), field.name()),
            false => Expr::Column(column),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(rows).project(columns)?.build()
}

fn unnests(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Unnest(_)) || plan.inputs().into_iter().any(unnests)
}

/// Whether an expression is a column, of whatever name and type.
fn is_element(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_element(&alias.expr),
        Expr::Cast(cast) => is_element(&cast.expr),
        Expr::ScalarFunction(call) => {
            call.func.name() == "nyala_retyped" && call.args.iter().all(is_element)
        }
        _ => false,
    }
}

fn is_true(condition: &Expr) -> bool {
    matches!(
        condition,
        Expr::Literal(ScalarValue::Boolean(Some(true)), _)
    )
}

fn inner_column(expr: Expr) -> DfResult<Transformed<Expr>> {
    Ok(match expr {
        Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
        other => Transformed::no(other),
    })
}
