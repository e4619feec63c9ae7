//! `SELECT now() UNION SELECT '2020-01-01'`: a string without a type takes the type of the others in its column.
//!
//! DataFusion turns a string into some types and refuses others, as boolean, interval and arrays. So strings are read as what the
//! first query says that tells a type.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use nyala_catalog::types::SqlType;

use crate::pgwire::decode::InputSettings;
use crate::sql::casts::{literal_text, value};

/// Reads the strings of one union. Unions below it are read already.
pub fn resolve(
    plan: LogicalPlan,
    input: &InputSettings,
) -> DataFusionResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(union) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let types: Vec<Option<SqlType>> = (0..union.schema.fields().len())
        .map(|at| {
            let field = union.inputs.iter().find_map(|input| field_of(input, at))?;
            let ty = SqlType::of_field(&field);
            union
                .inputs
                .iter()
                .any(|input| is_literal(input, at))
                .then_some(ty)
        })
        .collect();
    if types.iter().all(Option::is_none) {
        return Ok(Transformed::no(plan));
    }
    Ok(Transformed::yes(typed_union(union, &types, input)?))
}

fn typed_union(
    union: &Union,
    types: &[Option<SqlType>],
    input: &InputSettings,
) -> DataFusionResult<LogicalPlan> {
    let inputs = union.inputs.iter().map(|query| match query.as_ref() {
        LogicalPlan::Union(union) => typed_union(union, types, input).map(Arc::new),
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr.iter().zip(types);
            let columns = columns.map(|(column, ty)| match ty {
                Some(ty) => typed(column, ty, input),
                None => Ok(column.clone()),
            });
            let columns = columns.collect::<DataFusionResult<_>>()?;
            let below = Arc::clone(&projection.input);
            let projection = Projection::try_new(columns, below)?;
            Ok(Arc::new(LogicalPlan::Projection(projection)))
        }
        _ => Ok(Arc::clone(query)),
    });
    let inputs = inputs.collect::<DataFusionResult<_>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// A select item, a string of its own read as of a type, under the name it had.
fn typed(column: &Expr, ty: &SqlType, input: &InputSettings) -> DataFusionResult<Expr> {
    let text = match column {
        Expr::Alias(alias) => {
            let value = typed(&alias.expr, ty, input)?;
            let mut alias = alias.clone();
            *alias.expr = value;
            return Ok(Expr::Alias(alias));
        }
        column => literal_text(column),
    };
    match text {
        Some(text) => {
            let (qualifier, name) = column.qualified_name();
            Ok(value(text, ty, input)?.alias_qualified(qualifier, name))
        }
        None => Ok(column.clone()),
    }
}

/// A column's field, where its type is known and no kind of text.
fn field_of(query: &LogicalPlan, at: usize) -> Option<FieldRef> {
    let field = query.schema().fields().get(at)?;
    let ty = field.data_type();
    (!ty.is_null() && !ty.is_string()).then(|| Arc::clone(field))
}

/// Whether a query gives a column a string without a type.
fn is_literal(query: &LogicalPlan, at: usize) -> bool {
    match query {
        LogicalPlan::Union(union) => union.inputs.iter().any(|input| is_literal(input, at)),
        LogicalPlan::Projection(projection) => projection
            .expr
            .get(at)
            .is_some_and(|column| literal_text(&column.clone().unalias()).is_some()),
        _ => false,
    }
}
