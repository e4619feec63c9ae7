//! Recursive queries inside a subquery that look at columns of the query around it.
//!
//! DataFusion takes such a condition out of the term that it stands in and adds its column there, which the other term and the
//! working table do not have. So the outer values become columns of both: the first term is joined with the distinct outer
//! values, the recursive one passes on what its working table has, and above them is left an equality with the outer columns.

use std::sync::Arc;

use arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, Result as DfResult};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, RecursiveQuery,
    SubqueryAlias,
};

use crate::sql::normalize::correlation::{is_strict, outer_value, outer_values};

/// Turns the recursive queries of a subquery's plan whose terms look at columns of `outer`.
pub fn uncorrelated(plan: LogicalPlan, outer: &LogicalPlan) -> DfResult<LogicalPlan> {
    let mut found = false;
    let turned = plan.transform_up(|plan| {
        let turned = match &plan {
            LogicalPlan::RecursiveQuery(query) => turn(query, outer)?,
            LogicalPlan::SubqueryAlias(alias) if found => renamed(alias)?,
            _ => None,
        };
        found |= turned.is_some();
        Ok(match turned {
            Some(turned) => Transformed::yes(turned),
            None => Transformed::no(plan),
        })
    })?;
    match turned.transformed {
        true => turned.data.recompute_schema(),
        false => Ok(turned.data),
    }
}

/// An alias as a projection, to which DataFusion can add the columns that it compares with outer ones.
fn renamed(alias: &SubqueryAlias) -> DfResult<Option<LogicalPlan>> {
    if alias.input.all_out_ref_exprs().is_empty() {
        return Ok(None);
    }
    let columns = alias.input.schema().columns().into_iter();
    let columns = columns.map(|column| {
        let name = column.name.clone();
        Expr::Column(column).alias_qualified(Some(alias.alias.clone()), name)
    });
    let columns: Vec<Expr> = columns.collect();
    let plan = LogicalPlanBuilder::from(alias.input.as_ref().clone());
    Ok(Some(plan.project(columns)?.build()?))
}

fn turn(query: &RecursiveQuery, outer: &LogicalPlan) -> DfResult<Option<LogicalPlan>> {
    let (Some(domain), Some(used)) = (
        strict_columns(&query.static_term)?,
        strict_columns(&query.recursive_term)?,
    ) else {
        return Ok(None);
    };
    // Without a NULL in them: a first term that asks for equality with NULL has no rows, one that does not ask has.
    let known = |column: &Column| outer.schema().has_column(column);
    if domain.is_empty()
        || !domain.iter().all(known)
        || !used.iter().all(|column| domain.contains(column))
    {
        return Ok(None);
    }
    let values = outer_values(outer, &domain)?;
    let first = Carrier {
        domain: &domain,
        source: Source::Values(&values),
    };
    let Some((first, _)) = first.carried(&query.static_term)? else {
        return Ok(None);
    };
    let rest = Carrier {
        domain: &domain,
        source: Source::WorkTable(&query.name, values.schema().inner()),
    };
    let Some((rest, _)) = rest.carried(&query.recursive_term)? else {
        return Ok(None);
    };
    let recursive = LogicalPlanBuilder::from(first)
        .to_recursive_query(query.name.clone(), rest, query.is_distinct)?
        .build()?;
    let columns = recursive.schema().columns();
    let own = query.schema.fields().len();
    let Some((kept, passed)) = columns.split_at_checked(own) else {
        return Ok(None);
    };
    let mut equalities = Vec::with_capacity(domain.len());
    for (value, column) in passed.iter().zip(&domain) {
        let field = Arc::clone(outer.schema().field_from_column(column)?);
        let outer = Expr::OuterReferenceColumn(field, column.clone());
        equalities.push(Expr::Column(value.clone()).eq(outer));
    }
    let outputs = query.schema.iter().zip(kept);
    let outputs = outputs.map(|((qualifier, field), column)| {
        Expr::Column(column.clone()).alias_qualified(qualifier.cloned(), field.name())
    });
    let outputs: Vec<Expr> = outputs.collect();
    let mut plan = LogicalPlanBuilder::from(recursive);
    if let Some(equalities) = conjunction(equalities) {
        plan = plan.filter(equalities)?;
    }
    Ok(Some(plan.project(outputs)?.build()?))
}

/// The outer columns of a term; `None` where one stands elsewhere than in a condition that a NULL makes not true.
fn strict_columns(term: &LogicalPlan) -> DfResult<Option<Vec<Column>>> {
    let mut columns = Vec::new();
    let mut strict = true;
    term.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if !expr.contains_outer() {
                return Ok(TreeNodeRecursion::Continue);
            }
            strict &= matches!(node, LogicalPlan::Filter(_))
                && split_conjunction(expr)
                    .into_iter()
                    .all(|condition| !condition.contains_outer() || is_strict(condition));
            expr.apply(|part| {
                if let Expr::OuterReferenceColumn(_, column) = part
                    && !columns.contains(column)
                {
                    columns.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(strict.then_some(columns))
}

/// Where the rows of a term get the outer values from.
enum Source<'a> {
    /// A join with them.
    Values(&'a LogicalPlan),
    /// The working table of that name, which has columns for them behind its own.
    WorkTable(&'a str, &'a SchemaRef),
}

/// Brings outer values up to the top of a term.
struct Carrier<'a> {
    domain: &'a [Column],
    source: Source<'a>,
}

impl Carrier<'_> {
    /// The plan with columns for the outer values, and these columns; `None` for a plan that they cannot be passed through.
    fn carried(&self, plan: &LogicalPlan) -> DfResult<Option<(LogicalPlan, Vec<Column>)>> {
        match (&self.source, plan) {
            (Source::Values(values), plan) if plan.all_out_ref_exprs().is_empty() => {
                let joined =
                    LogicalPlanBuilder::from(plan.clone()).cross_join((*values).clone())?;
                Ok(Some((joined.build()?, values.schema().columns())))
            }
            (Source::WorkTable(name, fields), LogicalPlan::TableScan(scan))
                if scan.table_name.table() == *name =>
            {
                let own = scan.source.schema();
                let all: Fields = own
                    .fields()
                    .iter()
                    .chain(fields.fields())
                    .cloned()
                    .collect();
                let table = CteWorkTable::new(name, Arc::new(Schema::new(all)));
                let table = provider_as_source(Arc::new(table));
                let scan = LogicalPlanBuilder::scan(*name, table, None)?.build()?;
                let columns = scan.schema().columns().split_off(own.fields().len());
                Ok(Some((scan, columns)))
            }
            (_, LogicalPlan::Projection(Projection { expr, input, .. })) => {
                let Some((input, columns)) = self.carried(input)? else {
                    return Ok(None);
                };
                let own = expr.iter().cloned();
                let outputs = own.chain(columns.iter().cloned().map(Expr::Column));
                let outputs: Vec<Expr> = outputs.collect();
                let plan = LogicalPlanBuilder::from(input).project(outputs)?.build()?;
                Ok(Some((plan, columns)))
            }
            (_, LogicalPlan::Filter(filter)) => {
                let Some((input, columns)) = self.carried(&filter.input)? else {
                    return Ok(None);
                };
                let condition = self.bound(filter.predicate.clone(), &columns)?;
                let plan = LogicalPlanBuilder::from(input).filter(condition)?.build()?;
                Ok(Some((plan, columns)))
            }
            (_, LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. })) => {
                let Some((input, columns)) = self.carried(input)? else {
                    return Ok(None);
                };
                let columns = columns.into_iter();
                let columns = columns.map(|column| Column::new(Some(alias.clone()), column.name));
                let plan = LogicalPlanBuilder::from(input)
                    .alias(alias.clone())?
                    .build()?;
                Ok(Some((plan, columns.collect())))
            }
            (_, LogicalPlan::Join(join)) if join.join_type == JoinType::Inner => self.joined(join),
            _ => Ok(None),
        }
    }

    /// The values come from one side; the other must not look at them.
    fn joined(&self, join: &Join) -> DfResult<Option<(LogicalPlan, Vec<Column>)>> {
        let own = |side: &LogicalPlan| {
            match &self.source {
            Source::Values(_) => !side.all_out_ref_exprs().is_empty(),
            Source::WorkTable(name, _) => side.exists(|node| {
                Ok(matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == *name))
            }).unwrap_or(true),
        }
        };
        let (carrying, other) = match (own(&join.left), own(&join.right)) {
            (_, false) => (&join.left, &join.right),
            (false, true) => (&join.right, &join.left),
            (true, true) => return Ok(None),
        };
        if !other.all_out_ref_exprs().is_empty() {
            return Ok(None);
        }
        let Some((carrying, columns)) = self.carried(carrying)? else {
            return Ok(None);
        };
        let mut plan = LogicalPlanBuilder::from(carrying).cross_join(other.as_ref().clone())?;
        let on = join.on.iter();
        let on = on.map(|(left, right)| left.clone().eq(right.clone()));
        if let Some(condition) = conjunction(on.chain(join.filter.clone())) {
            plan = plan.filter(self.bound(condition, &columns)?)?;
        }
        Ok(Some((plan.build()?, columns)))
    }

    fn bound(&self, condition: Expr, columns: &[Column]) -> DfResult<Expr> {
        outer_value(condition, self.domain, |at| columns.get(at).cloned())
    }
}
