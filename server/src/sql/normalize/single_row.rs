//! Correlated subqueries used as values: bounds them to one row, in a form DataFusion can turn into a join.
//!
//! PostgreSQL lets any subquery stand for a value and raises 21000 when it gives a second row. DataFusion
//! refuses a correlated one unless an aggregate bounds it, and can pull only equalities out from under
//! an aggregate. So, on the logical plan, where it is known what is correlated with what:
//!
//! - the subquery's column goes through `nyala_single_value`, or `first_value` under LIMIT 1;
//! - its conditions on outer columns are made into equalities, see [`super::correlation`];
//! - a string compared with an array, or cast to one, becomes an array;
//! - `IN` in a select list looks into an array, see [`super::membership`];
//! - `EXISTS` in a select list is a count greater than nothing.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult, ScalarValue, plan_err};
use datafusion::functions_aggregate::expr_fn::{array_agg, count, first_value};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, Alias, InSubquery,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Cast, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, SortExpr, Subquery, lit, when,
};

use crate::pg_catalog;
use crate::pg_catalog::single_value::SingleValue;
use crate::sql::normalize::correlation::simplify_correlation;
use crate::sql::normalize::membership;

/// Bounds the correlated scalar subqueries of one node of a plan that is not optimised yet.
pub fn bound(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let outer = match plan.inputs().as_slice() {
        [input] => (*input).clone(),
        // Joins have subqueries in their conditions only; those DataFusion handles or refuses itself.
        _ => return Ok(Transformed::no(plan)),
    };
    let in_filter = matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
    // Nodes above know a computed column by the name it had.
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|part| bound_in_expr(part, &outer, in_filter))?;
        Ok(if rewritten.transformed {
            rewritten.update_data(|expr| name.restore(expr))
        } else {
            rewritten
        })
    })
}

fn bound_in_expr(expr: Expr, outer: &LogicalPlan, in_filter: bool) -> DfResult<Transformed<Expr>> {
    match expr {
        Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => {
            let plan = bounded(&subquery.subquery)?;
            let (plan, condition) = simplify_correlation(plan, outer)?;
            let value = scalar(plan, &subquery);
            match condition {
                Some(condition) => Ok(Transformed::yes(when(condition, value).end()?)),
                None => Ok(Transformed::yes(value)),
            }
        }
        // Under WHERE DataFusion turns EXISTS into a semi join, which stops at the first row.
        Expr::Exists(exists) if !in_filter => {
            let mut rows = LogicalPlanBuilder::from(exists.subquery.subquery.as_ref().clone());
            if exists.subquery.outer_ref_columns.is_empty() {
                rows = rows.limit(0, Some(1))?;
            }
            let rows = rows
                .aggregate(Vec::<Expr>::new(), vec![count(lit(1)).alias("rows")])?
                .build()?;
            let (rows, condition) = simplify_correlation(rows, outer)?;
            let found = Expr::Column(Column::new_unqualified("rows")).gt(lit(0_i64));
            let plan = LogicalPlanBuilder::from(rows)
                .project(vec![found.alias("exists")])?
                .build()?;
            let mut found = scalar(plan, &exists.subquery);
            if let Some(condition) = condition {
                found = when(condition, found).otherwise(lit(false))?;
            }
            if exists.negated {
                found = Expr::Not(Box::new(found));
            }
            Ok(Transformed::yes(found))
        }
        // Under WHERE it is a semi join as well.
        Expr::InSubquery(membership) if !in_filter => is_member(membership, outer),
        Expr::Cast(Cast { expr, field }) if matches!(field.data_type(), DataType::List(_)) => {
            match expr.as_ref() {
                Expr::Literal(
                    ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
                    _,
                ) => {
                    let array = pg_catalog::array_literal(text, field.data_type())?;
                    Ok(Transformed::yes(Expr::Literal(array, None)))
                }
                _ => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            array_comparison(*left, op, *right, outer.schema())
        }
        other => Ok(Transformed::no(other)),
    }
}

/// `x IN (SELECT …)` that is a value looks for x in the array of what the subquery gives.
fn is_member(membership: InSubquery, outer: &LogicalPlan) -> DfResult<Transformed<Expr>> {
    let InSubquery {
        expr,
        subquery,
        negated,
    } = membership;
    let rows = subquery.subquery.as_ref();
    let Some(element) = column(rows) else {
        return plan_err!("subquery must return a column");
    };
    let (left, right) = (
        expr.get_type(outer.schema())?,
        element.get_type(rows.schema())?,
    );
    let Some(common) = comparison_coercion(&left, &right) else {
        return plan_err!(
            "Cannot infer common argument type for comparison operation {left} = {right}"
        );
    };
    let array = LogicalPlanBuilder::from(rows.clone())
        .aggregate(
            Vec::<Expr>::new(),
            vec![array_agg(element.cast_to(&common, rows.schema())?).alias("value")],
        )?
        .build()?;
    let (array, condition) = simplify_correlation(array, outer)?;
    let value = expr.cast_to(&common, outer.schema())?;
    let mut found = membership::call(value, scalar(array, &subquery));
    if let Some(condition) = condition {
        found = when(condition, found).otherwise(lit(false))?;
    }
    if negated {
        found = Expr::Not(Box::new(found));
    }
    Ok(Transformed::yes(found))
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    )
}

/// `array = '{…}'`: PostgreSQL reads a string compared with an array as an array.
fn array_comparison(
    left: Expr,
    op: Operator,
    right: Expr,
    schema: &DFSchema,
) -> DfResult<Transformed<Expr>> {
    let left_array = array_literal(&left, &right, schema)?;
    let right_array = array_literal(&right, &left, schema)?;
    let changed = left_array.is_some() || right_array.is_some();
    let left = Box::new(left_array.unwrap_or(left));
    let right = Box::new(right_array.unwrap_or(right));
    let comparison = Expr::BinaryExpr(BinaryExpr { left, op, right });
    Ok(if changed {
        Transformed::yes(comparison)
    } else {
        Transformed::no(comparison)
    })
}

/// A string constant as an array of the type of what it is compared with, if that is an array.
fn array_literal(literal: &Expr, other: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) =
        literal
    else {
        return Ok(None);
    };
    match other.get_type(schema) {
        Ok(data_type @ DataType::List(_)) => Ok(Some(Expr::Literal(
            pg_catalog::array_literal(text, &data_type)?,
            None,
        ))),
        _ => Ok(None),
    }
}

/// A subquery with another plan.
pub(super) fn scalar(plan: LogicalPlan, original: &Subquery) -> Expr {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans: original.spans.clone(),
    })
}

/// What the column of a subquery is called while it is made a value.
const VALUE: &str = "nyala_value";

/// The plan of a subquery, aggregated so that it gives one row.
fn bounded(plan: &LogicalPlan) -> DfResult<LogicalPlan> {
    // What a correlated column is called must not be what the value is.
    if let LogicalPlan::Projection(Projection { expr, input, .. }) = plan
        && let [value] = expr.as_slice()
        && !is_aggregate(plan)
        && !matches!(value, Expr::Alias(alias) if alias.name == VALUE)
    {
        let value = match value.clone() {
            Expr::Alias(alias) => Expr::Alias(Alias {
                relation: None,
                name: VALUE.to_string(),
                ..alias
            }),
            value => value.alias(VALUE),
        };
        let input = Arc::clone(input);
        return bounded(&LogicalPlan::Projection(Projection::try_new(
            vec![value],
            input,
        )?));
    }
    match plan {
        LogicalPlan::Limit(limit)
            if is_one(limit.fetch.as_deref()) && is_none(limit.skip.as_deref()) =>
        {
            first_row(&limit.input)
        }
        // Order means nothing to at most one row.
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => bounded(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => aggregated(input, true),
        plan if is_aggregate(plan) => Ok(plan.clone()),
        plan => aggregated(plan, false),
    }
}

/// Whether a plan is an aggregate without groups, under what keeps its rows as they are.
pub fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate(&alias.input),
        LogicalPlan::Filter(filter) => is_aggregate(&filter.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

fn is_one(count: Option<&Expr>) -> bool {
    matches!(count, Some(Expr::Literal(ScalarValue::Int64(Some(1)), _)))
}

fn is_none(count: Option<&Expr>) -> bool {
    matches!(
        count,
        None | Some(Expr::Literal(ScalarValue::Int64(Some(0)), _))
    )
}

/// The one output column of a plan.
fn column(plan: &LogicalPlan) -> Option<Expr> {
    plan.schema().columns().into_iter().next().map(Expr::Column)
}

/// The value of a plan's one row.
pub(super) fn aggregated(plan: &LogicalPlan, distinct: bool) -> DfResult<LogicalPlan> {
    let Some(value) = column(plan) else {
        return Ok(plan.clone());
    };
    let function = Arc::new(AggregateUDF::from(SingleValue::new()));
    let params = AggregateFunctionParams {
        args: vec![value],
        distinct,
        filter: None,
        order_by: Vec::new(),
        null_treatment: None,
    };
    let single = Expr::AggregateFunction(AggregateFunction {
        func: function,
        params,
    });
    aggregate_value(plan.clone(), single)
}

fn aggregate_value(plan: LogicalPlan, value: Expr) -> DfResult<LogicalPlan> {
    LogicalPlanBuilder::from(plan)
        .aggregate(Vec::<Expr>::new(), vec![value.alias("value")])?
        .build()
}

/// The first row of a plan that may be ordered.
fn first_row(plan: &LogicalPlan) -> DfResult<LogicalPlan> {
    let first = |input: &LogicalPlan, value: Option<Expr>, order: Vec<SortExpr>| match value {
        Some(value) => aggregate_value(input.clone(), first_value(value, order)),
        None => Ok(plan.clone()),
    };
    match plan {
        LogicalPlan::Sort(sort) => first(&sort.input, column(&sort.input), sort.expr.clone()),
        // Columns that are only ordered by are projected away above the sort.
        LogicalPlan::Projection(Projection { expr, input, .. }) => match input.as_ref() {
            LogicalPlan::Sort(sort) => {
                let value = expr.first().map(|value| value.clone().unalias());
                first(&sort.input, value, sort.expr.clone())
            }
            _ => first(plan, column(plan), Vec::new()),
        },
        _ => first(plan, column(plan), Vec::new()),
    }
}
