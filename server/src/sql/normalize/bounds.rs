//! LIMIT and OFFSET that DataFusion cannot run: WITH TIES, and numbers of rows that a subquery gives.
//!
//! Both become a filter over window functions: a row stays whose `row_number()` is past the offset and whose number, or with
//! ties its `rank()`, is within the limit.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_window::expr_fn::{rank, row_number};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, Limit, LogicalPlan, LogicalPlanBuilder, SortExpr, cast, lit,
};
use sqlparser::ast::{LimitClause, Query, Value};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse::fetch::WITH_TIES;

/// `LIMIT '2'` and `LIMIT 2.5` are numbers of rows.
pub fn literals(query: &mut Query) -> Result<()> {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause else {
        return Ok(());
    };
    let offset = offset.as_mut().map(|offset| &mut offset.value);
    for bound in limit.iter_mut().chain(offset) {
        let sqlparser::ast::Expr::Value(value) = bound else {
            continue;
        };
        let number = match &value.value {
            Value::SingleQuotedString(text) => {
                let number: Result<i64, _> = text.trim().parse();
                number.map_err(|_| {
                    PgError::new(
                        sqlstate::INVALID_TEXT_REPRESENTATION,
                        format!("invalid input syntax for type bigint: \"{text}\""),
                    )
                })?
            }
            Value::Number(text, _) if !text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number: f64 = text
                    .parse()
                    .map_err(|_| PgError::syntax(format!("syntax error at or near \"{text}\"")))?;
                // `as` saturates; PostgreSQL rounds halves of numeric away from zero.
                number.round() as i64
            }
            _ => continue,
        };
        value.value = Value::Number(number.to_string(), false);
    }
    Ok(())
}

/// Turns one node, where it is such a limit.
pub fn filter_rows(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Limit(Limit { skip, fetch, input }) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let (fetch, with_ties) = match fetch.as_deref() {
        Some(Expr::ScalarFunction(call)) if call.name() == WITH_TIES => (call.args.first(), true),
        fetch => (fetch, false),
    };
    let skip = skip.as_deref();
    if !with_ties && ![skip, fetch].into_iter().flatten().any(has_subquery) {
        return Ok(Transformed::no(plan));
    }
    let bounds = Bounds {
        skip: match skip {
            Some(skip) => coalesce(vec![bigint(skip), lit(0_i64)]),
            None => lit(0_i64),
        },
        fetch: fetch.map(bigint),
        with_ties,
    };
    bounds.over(input).map(Transformed::yes)
}

fn bigint(count: &Expr) -> Expr {
    cast(count.clone(), arrow::datatypes::DataType::Int64)
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |part: &Expr| Ok(matches!(part, Expr::ScalarSubquery(_)));
    expr.exists(is_subquery).unwrap_or(false)
}

struct Bounds {
    skip: Expr,
    fetch: Option<Expr>,
    with_ties: bool,
}

impl Bounds {
    /// The rows of a plan that are within the bounds, in the plan's order.
    fn over(&self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        match plan {
            // Columns that only the order needs are dropped above it.
            LogicalPlan::Projection(projection) if sorts(&projection.input) => {
                let input = self.over(&projection.input)?;
                plan.with_new_exprs(plan.expressions(), vec![input])
            }
            LogicalPlan::Sort(sort) => {
                LogicalPlanBuilder::from(self.filtered(&sort.input, &sort.expr)?)
                    .sort(sort.expr.clone())?
                    .build()
            }
            _ if self.with_ties => {
                Err(PgError::syntax("WITH TIES cannot be specified without ORDER BY clause").into())
            }
            plan => self.filtered(plan, &[]),
        }
    }

    fn filtered(&self, input: &LogicalPlan, keys: &[SortExpr]) -> DfResult<LogicalPlan> {
        let in_order = |function: Expr| match keys {
            [] => Ok(function),
            keys => function.order_by(keys.to_vec()).build(),
        };
        let mut windows = vec![in_order(row_number())?];
        if self.with_ties {
            windows.push(in_order(rank())?);
        }
        let columns = input.schema().columns();
        let rows = LogicalPlanBuilder::from(input.clone())
            .window(windows)?
            .build()?;
        let mut numbers = rows.schema().columns().into_iter().skip(columns.len());
        let number = numbers.next().map_or(lit(ScalarValue::Null), Expr::Column);
        let last = numbers.next().map_or_else(|| number.clone(), Expr::Column);
        let mut within = bigint(&number).gt(self.skip.clone());
        if let Some(fetch) = &self.fetch {
            // LIMIT NULL is no limit.
            let most = coalesce(vec![fetch.clone(), lit(i64::MAX)]);
            within = within.and((bigint(&last) - self.skip.clone()).lt_eq(most));
        }
        LogicalPlanBuilder::from(rows)
            .filter(within)?
            .project(columns.into_iter().map(Expr::Column))?
            .build()
    }
}

fn sorts(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => sorts(&projection.input),
        LogicalPlan::Sort(_) => true,
        _ => false,
    }
}
