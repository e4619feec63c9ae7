//! A subquery used as a value is NULL where it has no row.
//!
//! DataFusion takes it to be NULL only where its column may be: `(SELECT id FROM t WHERE false) IS NULL` is false by its rules if `id` is
//! NOT NULL, and a result with such a column cannot hold the NULL. So a subquery that may have no row goes through
//! `nyala_single_value`, which may be NULL, and what was derived of it is derived again.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Union, Values, cast};

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
        LogicalPlan::Values(values) => Ok(LogicalPlan::Values(derived_values(values)?)),
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

/// Rows keep the types that they were made with. Where expressions have come to have others, all of a column get one that fits.
fn derived_values(mut values: Values) -> DfResult<Values> {
    let none = DFSchema::empty();
    let mut fields = Vec::with_capacity(values.schema.fields().len());
    let schema = Arc::clone(&values.schema);
    for (at, (name, field)) in schema.iter().enumerate() {
        let mut types = Vec::with_capacity(values.values.len());
        for row in &values.values {
            match row.get(at) {
                Some(expr) => types.push(expr.get_type(&none)?),
                None => return Ok(values),
            }
        }
        let same = |ty: &DataType| ty.is_null() || ty == field.data_type();
        let common = match types.iter().all(same) {
            true => None,
            false => type_union_resolution(&types),
        };
        let Some(common) = common else {
            fields.push((name.cloned(), Arc::clone(field)));
            continue;
        };
        for (row, ty) in values.values.iter_mut().zip(&types) {
            if let Some(expr) = row.get_mut(at).filter(|_| *ty != common) {
                *expr = cast(std::mem::take(expr), common.clone());
            }
        }
        let field = field.as_ref().clone().with_data_type(common);
        fields.push((name.cloned(), Arc::new(field)));
    }
    let schema = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
    values.schema = Arc::new(schema);
    Ok(values)
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
