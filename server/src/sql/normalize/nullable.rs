//! A subquery used as a value is NULL where it has no row.
//!
//! DataFusion takes it to be NULL only where its column may be: `(SELECT id FROM t WHERE false) IS NULL` is false by its rules if `id` is
//! NOT NULL, and a result with such a column cannot hold the NULL. So a subquery that may have no row goes through
//! `nyala_single_value`, which may be NULL, and what was derived of it is derived again.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Union};

use crate::sql::normalize::single_row;

/// Makes the subqueries of a plan that is not optimised yet so. `changed` says that schemas are to be derived again in any case.
pub fn subqueries(plan: LogicalPlan, changed: bool) -> DfResult<LogicalPlan> {
    let found = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(subquery)?;
            Ok(match rewritten.transformed {
                true => rewritten.update_data(|expr| name.restore(expr)),
                false => rewritten,
            })
        })
    })?;
    if !found.transformed && !changed {
        return Ok(found.data);
    }
    let derived = found
        .data
        .transform_up_with_subqueries(|node| Ok(Transformed::yes(derived(node)?)))?;
    Ok(derived.data)
}

/// A node with the schema that its expressions and inputs give it by now.
pub fn derived(node: LogicalPlan) -> DfResult<LogicalPlan> {
    match node {
        LogicalPlan::Union(union) => Ok(LogicalPlan::Union(derived_union(union)?)),
        node => node.recompute_schema(),
    }
}

fn subquery(expr: Expr) -> DfResult<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let plan = subquery.subquery.as_ref();
    let nullable = plan
        .schema()
        .fields()
        .iter()
        .all(|field| field.is_nullable());
    if nullable || !subquery.outer_ref_columns.is_empty() || has_one_row(plan) {
        return Ok(Transformed::no(expr));
    }
    let value = single_row::aggregated(plan, false)?;
    Ok(Transformed::yes(single_row::scalar(value, subquery)))
}

/// Whether a plan gives one row, whatever the tables hold.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

/// A union keeps the schema that it was made with. A column may be NULL if one of its inputs may, and is more than its Arrow type
/// if all of them are.
fn derived_union(union: Union) -> DfResult<Union> {
    let fields = union.schema.iter().enumerate().map(|(at, (name, field))| {
        let inputs = union.inputs.iter();
        let inputs: Vec<_> = inputs
            .filter_map(|input| input.schema().fields().get(at))
            .collect();
        let nullable = field.is_nullable() || inputs.iter().any(|input| input.is_nullable());
        let mut field = field.as_ref().clone().with_nullable(nullable);
        if let [first, rest @ ..] = inputs.as_slice() {
            let same = rest
                .iter()
                .all(|other| other.metadata() == first.metadata());
            field = match same {
                true => field.with_metadata(first.metadata().clone()),
                false => field,
            };
        }
        (name.cloned(), Arc::new(field))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), union.schema.metadata().clone())?;
    Ok(Union {
        schema: Arc::new(schema),
        ..union
    })
}
