//! `GROUP BY ()`, and the row that ROLLUP, CUBE and GROUPING SETS with an empty set give for no rows at all.
//!
//! The empty set groups all rows into one, as an aggregate without GROUP BY does, so it has a row even where there is nothing to group.
//! DataFusion groups by the null of each key instead, and then no rows are no groups.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinType, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    Aggregate, EmptyRelation, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, Projection, lit,
    when,
};
use sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, Function, FunctionArguments, GroupByExpr, Query, Select,
    Visit, Visitor,
};

use crate::sql::normalize::unnesting::sets_of;
use crate::sql::normalize::{build, functions};

/// Keys of a CUBE up to which its sets are written out.
const CUBE_MAX: usize = 12;

/// Column that tells a group from the row of no rows.
const GROUPED: &str = "nyala_grouped";

/// Takes `()` out of GROUP BY: beside keys it says nothing, and alone it makes one group of all rows.
pub fn without_keys(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else {
        return;
    };
    keys.iter_mut().for_each(without_doubles);
    let given = keys.len();
    keys.retain(|key| !matches!(key, SqlExpr::Tuple(of) if of.is_empty()));
    if keys.len() == given || !keys.is_empty() {
        return;
    }
    let mut aggregates = Aggregates { depth: 0 };
    if select.having.visit(&mut aggregates).is_break()
        || select.projection.visit(&mut aggregates).is_break()
    {
        return;
    }
    let always = SqlExpr::BinaryOp {
        left: Box::new(build::call("count", vec![build::number(1)])),
        op: BinaryOperator::GtEq,
        right: Box::new(build::number(0)),
    };
    select.having = Some(match select.having.take() {
        None => always,
        Some(condition) => SqlExpr::BinaryOp {
            left: Box::new(SqlExpr::Nested(Box::new(condition))),
            op: BinaryOperator::And,
            right: Box::new(always),
        },
    });
}

/// Writes out the sets of ROLLUP and CUBE over keys of which two are the same.
fn without_doubles(key: &mut SqlExpr) {
    let (SqlExpr::Rollup(parts) | SqlExpr::Cube(parts)) = &*key else {
        return;
    };
    let mut seen = HashSet::new();
    let distinct = parts.iter().flatten().all(|part| seen.insert(bare(part)));
    if distinct || parts.len() > CUBE_MAX {
        return;
    }
    let sets: Vec<Vec<usize>> = match &*key {
        SqlExpr::Rollup(_) => (0..=parts.len())
            .rev()
            .map(|length| (0..length).collect())
            .collect(),
        _ => {
            let subsets = 0..1_usize << parts.len();
            let chosen = |set: usize| (0..parts.len()).filter(|at| set & (1 << at) != 0).collect();
            subsets.map(chosen).collect()
        }
    };
    let sets = sets.into_iter().map(|chosen| {
        let mut set: Vec<SqlExpr> = Vec::new();
        for part in chosen.iter().filter_map(|at| parts.get(*at)).flatten() {
            if !set.iter().any(|other| bare(other) == bare(part)) {
                set.push(part.clone());
            }
        }
        set
    });
    *key = SqlExpr::GroupingSets(sets.collect());
}

fn bare(expr: &SqlExpr) -> &SqlExpr {
    match expr {
        SqlExpr::Nested(inner) => bare(inner),
        expr => expr,
    }
}

/// Finds a call of an aggregate that is not one of a subquery.
struct Aggregates {
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::Function(function) if self.depth == 0 && function.over.is_none() => {
                match functions::calls_aggregate_or_set(&SqlExpr::Function(Function {
                    args: FunctionArguments::None,
                    ..function.clone()
                })) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Keys of grouping sets as columns of their input. Optimising changes expressions, and a key in a set cannot be given the name again
/// that it had.
pub fn keys(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let aggregate = match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate,
        plan => return Ok(Transformed::no(plan)),
    };
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let keys = sets.distinct_expr();
    let input = aggregate.input.schema();
    let mut columns: Vec<Expr> = input.columns().into_iter().map(Expr::Column).collect();
    let mut computed: Vec<(Expr, Column)> = Vec::new();
    for key in keys {
        let name = key.schema_name().to_string();
        if matches!(key, Expr::Column(_)) || input.has_column_with_unqualified_name(&name) {
            continue;
        }
        let column = Column::new_unqualified(&name);
        columns.push(key.clone().alias(name));
        computed.push((key.clone(), column));
    }
    let by_name = |expr: &Expr| {
        let found = computed.iter().find(|(key, _)| key == expr);
        found.map_or_else(|| expr.clone(), |(_, column)| Expr::Column(column.clone()))
    };
    let sets = sets_of(sets)?.into_iter().map(|set| {
        let mut once: Vec<Expr> = Vec::with_capacity(set.len());
        for key in &set {
            let key = by_name(key);
            if !once.contains(&key) {
                once.push(key);
            }
        }
        once
    });
    let sets = Expr::GroupingSet(GroupingSet::GroupingSets(sets.collect()));
    // What `grouping` names are keys.
    let calls = aggregate.aggr_expr.iter().map(|expr| {
        let name = expr.schema_name().to_string();
        let mut call = expr.clone();
        if let Expr::AggregateFunction(function) = &mut call
            && function.func.name() == "grouping"
        {
            function.params.args = function.params.args.iter().map(by_name).collect();
            return call.alias(name);
        }
        call
    });
    let calls = calls.collect();
    let rows = Projection::try_new(columns, Arc::clone(&aggregate.input))?;
    let rows = Arc::new(LogicalPlan::Projection(rows));
    let grouped = Aggregate::try_new(rows, vec![sets], calls)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(grouped)))
}

/// One node, where it groups by sets of which one is empty: its rows, or the one of no rows if there are none.
pub fn of_no_rows(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let aggregate = match plan {
        LogicalPlan::Aggregate(aggregate) if has_empty_set(&aggregate.group_expr) => aggregate,
        plan => return Ok(Transformed::no(plan)),
    };
    let schema = Arc::clone(&aggregate.schema);
    let values = of_nothing(&aggregate)?;
    let mut rows: Vec<Expr> = Vec::new();
    for (qualifier, field) in schema.iter() {
        // What DataFusion tells sets apart by is gone where it computes `grouping`.
        if field.name() != Aggregate::INTERNAL_GROUPING_ID {
            rows.push(Expr::Column(Column::new(qualifier.cloned(), field.name())));
        }
    }
    let columns = rows.clone();
    rows.push(lit(true).alias(GROUPED));
    let rows = LogicalPlanBuilder::from(LogicalPlan::Aggregate(aggregate))
        .project(rows)?
        .build()?;
    let one = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: true,
        schema: Arc::new(DFSchema::empty()),
    });
    let joined = LogicalPlanBuilder::from(one).join_on(rows, JoinType::Left, [lit(true)])?;
    let grouped = Expr::Column(Column::from_name(GROUPED));
    let mut results = Vec::with_capacity(columns.len());
    for column in columns {
        let Expr::Column(name) = &column else {
            continue;
        };
        let value = values.iter().find(|(of, _)| of == name);
        results.push(match value {
            Some((_, value)) if !value.is_null() => {
                when(grouped.clone().is_null(), lit(value.clone()))
                    .otherwise(column.clone())?
                    .alias_qualified(name.relation.clone(), &name.name)
            }
            _ => column,
        });
    }
    Ok(Transformed::yes(joined.project(results)?.build()?))
}

/// What each aggregate is for no rows.
fn of_nothing(aggregate: &Aggregate) -> DfResult<Vec<(Column, ScalarValue)>> {
    let first = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let keys = aggregate
        .group_expr
        .iter()
        .flat_map(|key| match key {
            Expr::GroupingSet(set) => set.distinct_expr(),
            key => vec![key],
        })
        .count();
    let mut values = Vec::with_capacity(aggregate.aggr_expr.len());
    for (at, expr) in aggregate.aggr_expr.iter().enumerate() {
        let (qualifier, field) = aggregate.schema.qualified_field(first + at);
        let value = match expr.clone().unalias() {
            // A bit for each argument, set where the grouping leaves it out.
            Expr::AggregateFunction(call) if call.func.name() == "grouping" => {
                let bits = call.params.args.len().min(keys.max(1)).min(31);
                ScalarValue::Int32(Some(i32::try_from((1_i64 << bits) - 1).unwrap_or(i32::MAX)))
            }
            Expr::AggregateFunction(call) => call.func.default_value(field.data_type())?,
            _ => ScalarValue::Null,
        };
        values.push((Column::new(qualifier.cloned(), field.name()), value));
    }
    Ok(values)
}

/// Whether the sets of the keys have an empty one: then each of several has.
fn has_empty_set(keys: &[Expr]) -> bool {
    let empty = |key: &Expr| match key {
        Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_)) => true,
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().any(Vec::is_empty),
        _ => false,
    };
    !keys.is_empty() && keys.iter().all(empty)
}
