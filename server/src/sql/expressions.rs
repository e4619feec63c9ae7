//! What is known of an expression before it is planned.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable};

/// The field of an expression's values, where its name does not matter.
///
/// To name an operation is to write all that is in it; to do so for each operation of a long one takes time by the cube of its
/// length.
pub fn field_of(expr: &Expr, schema: &DFSchema) -> Result<FieldRef> {
    match expr {
        // What an operator gives has an Arrow type and nothing else.
        Expr::BinaryExpr(_) => {
            let ty = expr.get_type(schema)?;
            Ok(Arc::new(Field::new("", ty, true)))
        }
        // What the value was before says nothing of what it is cast to.
        Expr::Cast(cast) => Ok(Arc::clone(&cast.field)),
        other => Ok(other.to_field(schema)?.1),
    }
}
