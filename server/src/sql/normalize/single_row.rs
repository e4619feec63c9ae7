//! Correlated subqueries: bounds those that are values to one row, in a form DataFusion can turn into a join.
//!
//! PostgreSQL lets any subquery stand for a value and raises 21000 when it gives a second row. DataFusion
//! refuses a correlated one unless an aggregate bounds it, and can pull only equalities out from under
//! an aggregate. So, on the logical plan, where it is known what is correlated with what:
//!
//! - the subquery's column goes through `nyala_single_value`, or `first_value` under LIMIT 1;
//! - its conditions on outer columns are made into equalities, see [`super::correlation`];
//! - a string compared with an array, or cast to one, becomes an array;
//! - `IN` in a select list looks into an array, see [`super::membership`];
//! - `EXISTS` in a select list is a count greater than nothing;
//! - what then still looks out where DataFusion cannot follow becomes a join here, see [`super::unnesting`].
//!
//! Under WHERE, IN and EXISTS stay where a semi join says the same: where unknown and false make no difference.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult, ScalarValue, plan_err};
use datafusion::functions_aggregate::expr_fn::{array_agg, count, first_value};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, Alias, InSubquery, ScalarFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Cast, Distinct, Expr, ExprSchemable, Filter, LogicalPlan,
    LogicalPlanBuilder, Operator, Projection, SortExpr, Subquery, lit, when,
};

use crate::pg_catalog;
use crate::pg_catalog::single_value::SingleValue;
use crate::sql::normalize::correlation::{equality, simplify_correlation};
use crate::sql::normalize::unnesting::{Numbers, Unnested, has_subquery, looks_out_in_filters};
use crate::sql::normalize::{membership, unnesting};

/// Makes the correlated subqueries of one node of a plan that is not optimised yet ones that can be run.
pub fn bound(plan: LogicalPlan, numbers: &mut Numbers) -> DfResult<Transformed<LogicalPlan>> {
    if let LogicalPlan::Join(join) = &plan {
        return Ok(match unnesting::lateral(join, numbers)? {
            Some(joined) => Transformed::yes(joined),
            None => Transformed::no(plan),
        });
    }
    let plan = match plan {
        LogicalPlan::Filter(filter) => plain_conditions_first(filter)?,
        plan => plan,
    };
    let outer = match plan.inputs().as_slice() {
        [input] => (*input).clone(),
        // Joins have subqueries in their conditions only; those DataFusion handles or refuses itself.
        _ => return Ok(Transformed::no(plan)),
    };
    // Nodes above know a computed column by the name it had.
    let names = NamePreserver::new(&plan);
    let mut rewriter = Rewriter {
        outer: &outer,
        numbers,
        joins: Vec::new(),
        decorrelates: matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Projection(_)),
        joins_all: false,
    };
    let mut changed = false;
    let mut expressions = Vec::new();
    for expr in plan.expressions() {
        let name = names.save(&expr);
        let rewritten = match &plan {
            LogicalPlan::Filter(_) => rewriter.condition(expr, Place::Conjunct)?,
            _ => rewriter.values(expr)?,
        };
        changed |= rewritten.transformed;
        expressions.push(match rewritten.transformed {
            true => name.restore(rewritten.data),
            false => rewritten.data,
        });
    }
    if !changed {
        return Ok(Transformed::no(plan));
    }
    let joins = rewriter.joins;
    if joins.is_empty() {
        return Ok(Transformed::yes(
            plan.with_new_exprs(expressions, vec![outer])?,
        ));
    }
    // What only passes its input on must not pass the joined columns on.
    let passes_on = matches!(
        plan,
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Window(_)
    );
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let mut input = outer;
    for join in joins {
        input = join.joined_with(input)?;
    }
    let computed = plan.with_new_exprs(expressions, vec![input])?;
    Ok(Transformed::yes(match passes_on {
        true => LogicalPlanBuilder::from(computed)
            .project(columns)?
            .build()?,
        false => computed,
    }))
}

/// Conditions without subqueries in a filter of their own, so that there are fewer rows to join others with.
fn plain_conditions_first(filter: Filter) -> DfResult<LogicalPlan> {
    let conditions = split_conjunction_owned(filter.predicate.clone());
    let (subqueries, plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(has_correlated);
    Ok(LogicalPlan::Filter(
        match (conjunction(subqueries), conjunction(plain)) {
            (Some(subqueries), Some(plain)) => {
                let plain = LogicalPlan::Filter(Filter::try_new(plain, filter.input)?);
                Filter::try_new(subqueries, Arc::new(plain))?
            }
            _ => filter,
        },
    ))
}

/// What the subquery itself says of this leaves out what subqueries in it look at.
fn looks_out(subquery: &Subquery) -> bool {
    !subquery.subquery.all_out_ref_exprs().is_empty()
}

fn has_correlated(expr: &Expr) -> bool {
    let correlated = |part: &Expr| {
        Ok(match part {
            Expr::ScalarSubquery(subquery) => looks_out(subquery),
            Expr::Exists(exists) => looks_out(&exists.subquery),
            Expr::InSubquery(membership) => looks_out(&membership.subquery),
            _ => false,
        })
    };
    expr.exists(correlated).unwrap_or(false)
}

/// Where a condition stands under WHERE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It must be true.
    Conjunct,
    /// Whether it is false or unknown makes no difference.
    Disjunct,
}

struct Rewriter<'a> {
    outer: &'a LogicalPlan,
    numbers: &'a mut Numbers,
    /// What the node's input is to be joined with.
    joins: Vec<Unnested>,
    /// Whether DataFusion makes joins of subqueries that are values in this node.
    decorrelates: bool,
    /// Whether subqueries that are values are joined in any case.
    joins_all: bool,
}

impl Rewriter<'_> {
    /// A condition of WHERE: what DataFusion turns into a semi join or its like stays as it is.
    fn condition(&mut self, expr: Expr, place: Place) -> DfResult<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(op, Operator::And | Operator::Or) =>
            {
                let place = match op {
                    Operator::And => place,
                    _ => Place::Disjunct,
                };
                let left = self.condition(*left, place)?;
                let right = self.condition(*right, place)?;
                let changed = left.transformed || right.transformed;
                let (left, right) = (Box::new(left.data), Box::new(right.data));
                let expr = Expr::BinaryExpr(BinaryExpr { left, op, right });
                Ok(Transformed::new_transformed(expr, changed))
            }
            Expr::Not(negated) => match *negated {
                Expr::InSubquery(mut membership) => {
                    membership.negated = !membership.negated;
                    self.condition(Expr::InSubquery(membership), place)
                }
                Expr::Exists(mut exists) => {
                    exists.negated = !exists.negated;
                    self.condition(Expr::Exists(exists), place)
                }
                other => self.values(Expr::Not(Box::new(other))),
            },
            Expr::Exists(exists) if looks_out_in_filters(&exists.subquery.subquery, self.outer) => {
                Ok(Transformed::no(Expr::Exists(exists)))
            }
            Expr::InSubquery(mut membership) if self.is_semi_join(&membership, place) => {
                if !has_subquery(&membership.expr) {
                    return Ok(Transformed::no(Expr::InSubquery(membership)));
                }
                let value = self.values(*membership.expr)?;
                membership.expr = Box::new(value.data);
                Ok(Transformed::yes(Expr::InSubquery(membership)))
            }
            // Whether it is false or unknown makes no difference here.
            Expr::ScalarFunction(call)
                if call.func.name() == "array_has"
                    && self.fits(&call)
                    && !call.args.iter().any(has_subquery) =>
            {
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            }
            // The optimiser pushes a condition without columns below aggregates that have a row in any case; so it gets one.
            other if !other.any_column_refs() => {
                self.joins_all = true;
                let values = self.values(other);
                self.joins_all = false;
                values
            }
            other => self.values(other),
        }
    }

    /// Whether the types of `array_has(array, value)` are ones that DataFusion compares.
    fn fits(&self, call: &ScalarFunction) -> bool {
        let [array, value] = call.args.as_slice() else {
            return true;
        };
        let schema = self.outer.schema();
        let (Ok(DataType::List(item)), Ok(value)) =
            (array.get_type(schema), value.get_type(schema))
        else {
            return true;
        };
        let item = item.data_type();
        item == &value || !(item.is_decimal() || value.is_decimal())
    }

    fn is_semi_join(&self, membership: &InSubquery, place: Place) -> bool {
        let subquery = &membership.subquery;
        // A join has a key of each side.
        if !looks_out_in_filters(&subquery.subquery, self.outer)
            || !membership.expr.any_column_refs()
        {
            return false;
        }
        match membership.negated {
            false => true,
            // The join that knows NULLs has one key, of the left side.
            true => place == Place::Conjunct && !looks_out(subquery),
        }
    }

    fn values(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        expr.transform_up(|part| self.value(part))
    }

    fn value(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        match expr {
            Expr::ScalarSubquery(subquery) if self.joins_all || looks_out(&subquery) => {
                let plan = bounded(&subquery.subquery)?;
                self.one_row(plan, &subquery).map(Transformed::yes)
            }
            Expr::Exists(exists) => {
                let mut rows = LogicalPlanBuilder::from(exists.subquery.subquery.as_ref().clone());
                if !looks_out(&exists.subquery) {
                    rows = rows.limit(0, Some(1))?;
                }
                let rows = rows
                    .aggregate(Vec::<Expr>::new(), vec![count(lit(1)).alias("rows")])?
                    .build()?;
                let found = Expr::Column(Column::new_unqualified("rows")).gt(lit(0_i64));
                let plan = LogicalPlanBuilder::from(rows)
                    .project(vec![found.alias("exists")])?
                    .build()?;
                let (found, condition) = self.one_row_if(plan, &exists.subquery)?;
                let mut found = match condition {
                    Some(condition) => when(condition, found).otherwise(lit(false))?,
                    None => found,
                };
                if exists.negated {
                    found = Expr::Not(Box::new(found));
                }
                Ok(Transformed::yes(found))
            }
            Expr::InSubquery(membership) => self.is_member(membership),
            Expr::ScalarFunction(call) if call.func.name() == "array_has" => {
                in_array(call, &self.schema())
            }
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
                array_comparison(*left, op, *right, &self.schema())
            }
            other => Ok(Transformed::no(other)),
        }
    }

    /// The value of a plan of at most one row.
    fn one_row(&mut self, plan: LogicalPlan, subquery: &Subquery) -> DfResult<Expr> {
        let (simple, condition) = simplify_correlation(plan.clone(), self.outer)?;
        let pulls_out = self.pulls_out(&simple) && !self.looks_further(&plan);
        if pulls_out && (condition.is_none() || is_null_of_nothing(&simple)) {
            let value = scalar(simple, subquery);
            return match condition {
                Some(condition) => when(condition, value).end(),
                None => Ok(value),
            };
        }
        self.joined(&plan)
    }

    /// The same with a condition that must be true for the plan to read any row.
    fn one_row_if(
        &mut self,
        plan: LogicalPlan,
        subquery: &Subquery,
    ) -> DfResult<(Expr, Option<Expr>)> {
        let (simple, condition) = simplify_correlation(plan.clone(), self.outer)?;
        match self.pulls_out(&simple) && !self.looks_further(&plan) {
            true => Ok((scalar(simple, subquery), condition)),
            false => Ok((self.joined(&plan)?, None)),
        }
    }

    /// Whether a plan looks at columns of a query further out, which has to find them outside of expressions.
    fn looks_further(&self, plan: &LogicalPlan) -> bool {
        let schema = self.outer.schema();
        plan.all_out_ref_exprs().iter().any(
            |expr| matches!(expr, Expr::OuterReferenceColumn(_, column) if !schema.has_column(column)),
        )
    }

    /// The columns that the node's expressions have by now.
    fn schema(&self) -> Cow<'_, DFSchema> {
        let outer = self.outer.schema().as_ref();
        if self.joins.is_empty() {
            return Cow::Borrowed(outer);
        }
        let mut schema = outer.clone();
        for join in &self.joins {
            schema.merge(join.plan.schema());
        }
        Cow::Owned(schema)
    }

    fn pulls_out(&self, plan: &LogicalPlan) -> bool {
        let correlated = !plan.all_out_ref_exprs().is_empty();
        !self.joins_all && (self.decorrelates || !correlated) && pulls_out(plan, self.outer)
    }

    fn joined(&mut self, plan: &LogicalPlan) -> DfResult<Expr> {
        let (value, unnested) = unnesting::value(plan, self.outer, self.numbers)?;
        self.joins.push(unnested);
        Ok(value)
    }

    /// `x IN (SELECT …)` that is a value looks for x in the array of what the subquery gives.
    fn is_member(&mut self, membership: InSubquery) -> DfResult<Transformed<Expr>> {
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
            expr.get_type(self.schema().as_ref())?,
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
        let (array, condition) = self.one_row_if(array, &subquery)?;
        let value = expr.cast_to(&common, &self.schema())?;
        let mut found = membership::call(value, array);
        if let Some(condition) = condition {
            found = when(condition, found).otherwise(lit(false))?;
        }
        if negated {
            found = Expr::Not(Box::new(found));
        }
        Ok(Transformed::yes(found))
    }
}

/// Whether DataFusion pulls what correlates a plan out of it: equalities with columns of `outer` under an aggregate.
fn pulls_out(plan: &LogicalPlan, outer: &LogicalPlan) -> bool {
    let own = plan.expressions().iter().any(Expr::contains_outer);
    match plan {
        LogicalPlan::Projection(projection) => !own && pulls_out(&projection.input, outer),
        LogicalPlan::SubqueryAlias(alias) => pulls_out(&alias.input, outer),
        LogicalPlan::Filter(filter) if is_aggregate(&filter.input) => {
            !own && pulls_out(&filter.input, outer)
        }
        LogicalPlan::Aggregate(aggregate) => {
            !own && aggregate.group_expr.is_empty() && has_equalities(&aggregate.input, outer)
        }
        plan => plan.all_out_ref_exprs().is_empty(),
    }
}

fn has_equalities(plan: &LogicalPlan, outer: &LogicalPlan) -> bool {
    let own = plan.expressions().iter().any(Expr::contains_outer);
    match plan {
        LogicalPlan::Projection(projection) => !own && has_equalities(&projection.input, outer),
        LogicalPlan::SubqueryAlias(alias) => has_equalities(&alias.input, outer),
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate);
            let fits = |condition: &&Expr| match equality(condition) {
                Some((_, column)) => outer.schema().has_column(column),
                None => !condition.contains_outer(),
            };
            conditions.iter().all(fits) && filter.input.all_out_ref_exprs().is_empty()
        }
        plan => plan.all_out_ref_exprs().is_empty(),
    }
}

/// Whether the value of a plan that reads no row is NULL.
fn is_null_of_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => {
            let plain = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(_));
            projection.expr.iter().all(plain) && is_null_of_nothing(&projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => is_null_of_nothing(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.iter().all(|expr| {
            let Expr::AggregateFunction(call) = expr.clone().unalias() else {
                return false;
            };
            let of_nothing = call.func.default_value(&DataType::Int64);
            of_nothing.is_ok_and(|value| value.is_null())
        }),
        _ => false,
    }
}

/// `value = ANY (array)` is unknown where the value is in no place, and a NULL is; `array_has` has false there.
fn in_array(call: ScalarFunction, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    if let [array, value] = call.args.as_slice()
        && let (Ok(DataType::List(item)), Ok(ty)) = (array.get_type(schema), value.get_type(schema))
        && let Some(common) = comparison_coercion(item.data_type(), &ty)
    {
        let list = DataType::List(Arc::new(Field::new_list_field(common.clone(), true)));
        let known = array.clone().is_not_null();
        let value = value.clone().cast_to(&common, schema)?;
        let elements = array.clone().cast_to(&list, schema)?;
        let found = when(known, membership::call(value, elements)).end()?;
        return Ok(Transformed::yes(found));
    }
    Ok(Transformed::no(Expr::ScalarFunction(call)))
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
        Some(value) => {
            // A key that stands before decides; twice, DataFusion loses count of them.
            let mut keys: Vec<SortExpr> = Vec::with_capacity(order.len());
            for key in order {
                if !keys.iter().any(|known| known.expr == key.expr) {
                    keys.push(key);
                }
            }
            aggregate_value(input.clone(), first_value(value, keys))
        }
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
