//! What ties a subquery to the query around it, brought into a form DataFusion can pull out of an aggregate.
//!
//! Out of an aggregate DataFusion pulls equalities of an inner with an outer column, nothing else. So:
//!
//! - a condition on outer columns alone moves out: `(… WHERE p)` becomes `CASE WHEN p THEN (…) END`;
//! - given `inner = outer`, the outer column is the inner one wherever else it stands in the condition;
//! - any other condition is evaluated by a join with the distinct outer values (the domain, after Neumann
//!   and Kemper, "Unnesting Arbitrary Queries"), which leaves equality with those values.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
};

use crate::sql::normalize::recursion;
use crate::sql::normalize::single_row::is_aggregate;

/// Simplifies the conditions of a subquery on outer columns; returns those that are on them alone.
pub fn simplify_correlation(
    plan: LogicalPlan,
    outer: &LogicalPlan,
) -> DfResult<(LogicalPlan, Option<Expr>)> {
    let mut hoisted = Vec::new();
    let plan = recursion::uncorrelated(plan, outer)?;
    // Below a limit, a window or an outer join a condition means something else.
    let plan = rewrite_filter(plan, &mut |filter| {
        simplify_filter(filter, outer, &mut hoisted)
    })?;
    Ok((plan, conjunction(hoisted)))
}

/// Applies a function to the filter under an aggregate without groups.
fn rewrite_filter(
    plan: LogicalPlan,
    rewrite: &mut impl FnMut(Filter) -> DfResult<LogicalPlan>,
) -> DfResult<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(filter) if !is_aggregate(&filter.input) => rewrite(filter),
        LogicalPlan::Aggregate(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let rewritten =
                plan.map_children(|input| rewrite_filter(input, rewrite).map(Transformed::yes))?;
            rewritten.data.recompute_schema()
        }
        other => Ok(other),
    }
}

fn simplify_filter(
    filter: Filter,
    outer: &LogicalPlan,
    hoisted: &mut Vec<Expr>,
) -> DfResult<LogicalPlan> {
    let conditions = split_conjunction_owned(filter.predicate);
    let equal = equal_columns(&conditions, filter.input.schema());
    let mut kept = Vec::new();
    for condition in conditions {
        if equality(&condition).is_some() || !condition.contains_outer() {
            kept.push(condition);
            continue;
        }
        if let Some(condition) = outer_condition(&condition, outer)? {
            hoisted.push(condition);
            continue;
        }
        let replaced = condition.transform_up(|part| match &part {
            Expr::OuterReferenceColumn(_, column) => match equal.get(column) {
                Some(inner) => Ok(Transformed::yes(Expr::Column(inner.clone()))),
                None => Ok(Transformed::no(part)),
            },
            _ => Ok(Transformed::no(part)),
        })?;
        kept.push(replaced.data);
    }
    let input = Arc::unwrap_or_clone(filter.input);
    if kept
        .iter()
        .any(|condition| condition.contains_outer() && equality(condition).is_none())
        && let Some(domain) = outer_domain(&kept, outer)
    {
        return join_domain(input, kept, &domain, outer);
    }
    match conjunction(kept) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(
            predicate,
            Arc::new(input),
        )?)),
        None => Ok(input),
    }
}

/// The outer columns of conditions that must be true of a row, where a NULL in one makes one of them not true.
fn outer_domain(conditions: &[Expr], outer: &LogicalPlan) -> Option<Vec<Column>> {
    let mut domain = Vec::new();
    for condition in conditions
        .iter()
        .filter(|condition| condition.contains_outer())
    {
        if !is_strict(condition) {
            return None;
        }
        let _ = condition.apply(|part| {
            if let Expr::OuterReferenceColumn(_, column) = part
                && !domain.contains(column)
            {
                domain.push(column.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    domain
        .iter()
        .all(|column| outer.schema().has_column(column))
        .then_some(domain)
}

/// Whether an expression is NULL where one of its columns is.
pub fn is_strict(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::Literal(..) => true,
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let keeps_null = !matches!(
                op,
                Operator::And
                    | Operator::Or
                    | Operator::IsDistinctFrom
                    | Operator::IsNotDistinctFrom
            );
            keeps_null && is_strict(left) && is_strict(right)
        }
        Expr::Not(inner) | Expr::Negative(inner) => is_strict(inner),
        Expr::Cast(cast) => is_strict(&cast.expr),
        Expr::ScalarFunction(call) if call.func.name() == "array_has" => {
            call.args.iter().all(is_strict)
        }
        // Its second argument only tells a type.
        Expr::ScalarFunction(call) if call.func.name() == "nyala_array" => {
            call.args.first().is_some_and(is_strict)
        }
        _ => false,
    }
}

/// Evaluates conditions once for each combination of outer values there is, so that the correlation left
/// is equality with that combination.
fn join_domain(
    input: LogicalPlan,
    conditions: Vec<Expr>,
    domain: &[Column],
    outer: &LogicalPlan,
) -> DfResult<LogicalPlan> {
    let values = outer_values(outer, domain)?;
    let columns = values.schema().columns();
    let mut equalities = Vec::new();
    for (value, column) in columns.iter().zip(domain) {
        let field = Arc::clone(outer.schema().field_from_column(column)?);
        let outer = Expr::OuterReferenceColumn(field, column.clone());
        equalities.push(Expr::Column(value.clone()).eq(outer));
    }
    let conditions = conditions
        .into_iter()
        .map(|condition| outer_value(condition, domain, |at| columns.get(at).cloned()));
    let conditions = conditions.collect::<DfResult<Vec<_>>>()?;
    let joined = LogicalPlanBuilder::from(values).join_on(input, JoinType::Inner, conditions)?;
    match conjunction(equalities) {
        Some(equalities) => joined.filter(equalities)?.build(),
        None => joined.build(),
    }
}

/// The distinct combinations of values that outer columns have.
pub fn outer_values(outer: &LogicalPlan, columns: &[Column]) -> DfResult<LogicalPlan> {
    let values = columns.iter().enumerate();
    let values =
        values.map(|(at, column)| Expr::Column(column.clone()).alias(format!("outer_{at}")));
    LogicalPlanBuilder::from(outer.clone())
        .project(values.collect::<Vec<_>>())?
        .distinct()?
        .alias("nyala_domain")?
        .build()
}

/// An expression with a column of its own plan in the place of each outer one.
pub fn outer_value(
    expr: Expr,
    domain: &[Column],
    value: impl Fn(usize) -> Option<Column>,
) -> DfResult<Expr> {
    let bound = expr.transform_up(|part| {
        let Expr::OuterReferenceColumn(_, column) = &part else {
            return Ok(Transformed::no(part));
        };
        let at = domain.iter().position(|known| known == column);
        Ok(match at.and_then(&value) {
            Some(value) => Transformed::yes(Expr::Column(value)),
            None => Transformed::no(part),
        })
    })?;
    Ok(bound.data)
}

/// The two columns of `inner = outer`.
pub(super) fn equality(condition: &Expr) -> Option<(&Column, &Column)> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(inner), Expr::OuterReferenceColumn(_, outer))
        | (Expr::OuterReferenceColumn(_, outer), Expr::Column(inner)) => Some((inner, outer)),
        _ => None,
    }
}

/// Outer columns with the inner column of the same type that they equal.
fn equal_columns(conditions: &[Expr], schema: &DFSchema) -> HashMap<Column, Column> {
    let mut equal = HashMap::new();
    for condition in conditions {
        if let Expr::BinaryExpr(BinaryExpr { left, right, .. }) = condition
            && let Some((inner, outer)) = equality(condition)
            && let (Ok(left), Ok(right)) = (left.get_type(schema), right.get_type(schema))
            && left == right
        {
            equal.insert(outer.clone(), inner.clone());
        }
    }
    equal
}

/// A condition on columns of the directly enclosing query alone, as that query writes it.
fn outer_condition(condition: &Expr, outer: &LogicalPlan) -> DfResult<Option<Expr>> {
    let mut movable = !condition.any_column_refs() && !condition.is_volatile();
    condition.apply(|part| {
        movable &= match part {
            Expr::OuterReferenceColumn(_, column) => outer.schema().has_column(column),
            Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::SetComparison(_) => false,
            _ => true,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !movable {
        return Ok(None);
    }
    let moved = condition.clone().transform_up(|part| match part {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(Some(moved.data))
}
