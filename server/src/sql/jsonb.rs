//! `jsonb || jsonb`: the keys of two objects, the elements of two arrays. Anything else counts as an array of itself.
//!
//! DataFusion takes it for the concatenation of texts, which is what `jsonb` is in Arrow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Cast, Expr};
use nyala_catalog::types::SqlType;
use sqlparser::ast::BinaryOperator;

use crate::error::{PgError, Result};
use crate::pgwire::encode::TimeZone;
use crate::sql::expressions::field_of;
use crate::sql::kernel::{Argument, Kernel};
use crate::sql::retyped::Retyped;

/// Plans `jsonb || jsonb`.
#[derive(Debug)]
pub struct JsonbPlanner;

impl ExprPlanner for JsonbPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        let is_jsonb = |side: &Expr| {
            field_of(side, schema).is_ok_and(|field| SqlType::of_field(&field) == SqlType::Jsonb)
        };
        let (left, right) = (is_jsonb(&expr.left), is_jsonb(&expr.right));
        // A literal without a type is read as what it is concatenated with.
        if !((left && (right || is_literal(&expr.right))) || (right && is_literal(&expr.left))) {
            return Ok(PlannerResult::Original(expr));
        }
        let document = |side: Expr, known: bool| match known {
            true => side,
            false => Expr::Cast(Cast::new_from_field(
                Box::new(side),
                Arc::new(SqlType::Jsonb.field("", true)),
            )),
        };
        let sides = vec![document(expr.left, left), document(expr.right, right)];
        let kernel = Kernel::new("nyala_jsonb_concat", DataType::Utf8View, concatenate);
        let whole = Retyped::call(SqlType::Jsonb, kernel.call(sides));
        Ok(PlannerResult::Planned(whole))
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, None) if value.is_null() || value.try_as_str().is_some())
}

fn concatenate(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let wrong = || PgError::internal("nyala_jsonb_concat takes two documents");
    let [left, right] = arguments else {
        return Err(wrong());
    };
    let texts = |side: &Argument| arrow::compute::cast(side.values(), &DataType::Utf8View);
    let (left_values, right_values) = (texts(left)?, texts(right)?);
    let (Some(lefts), Some(rights)) = (
        left_values.as_string_view_opt(),
        right_values.as_string_view_opt(),
    ) else {
        return Err(wrong());
    };
    let rows = match left.is_scalar() {
        true => rights.len(),
        false => lefts.len(),
    };
    let mut whole = StringViewBuilder::with_capacity(rows);
    let mut text = String::new();
    let mut canonical = String::new();
    for row in 0..rows {
        let at = if left.is_scalar() { 0 } else { row };
        let by = if right.is_scalar() { 0 } else { row };
        if lefts.is_null(at) || rights.is_null(by) {
            whole.append_null();
            continue;
        }
        text.clear();
        canonical.clear();
        join(lefts.value(at), rights.value(by), &mut text);
        // Of a key that both have, the last value stays.
        nyala_udfs::canonical::canonicalize_jsonb(&text, &mut canonical)?;
        whole.append_value(&canonical);
    }
    Ok(Arc::new(whole.finish()))
}

/// Appends the text of both documents together.
fn join(left: &str, right: &str, out: &mut String) {
    let inner = |text: &str, open: char, close: char| {
        let inner = text.trim().strip_prefix(open)?.strip_suffix(close)?;
        Some(inner.trim().to_string())
    };
    let objects = inner(left, '{', '}').zip(inner(right, '{', '}'));
    let elements = |text: &str| inner(text, '[', ']').unwrap_or_else(|| text.to_string());
    let (open, close, left, right) = match objects {
        Some((left, right)) => ('{', '}', left, right),
        None => ('[', ']', elements(left), elements(right)),
    };
    out.push(open);
    out.push_str(&left);
    if !left.is_empty() && !right.is_empty() {
        out.push(',');
    }
    out.push_str(&right);
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn documents_are_joined_by_their_kinds() {
        let joined = |left, right| {
            let mut out = String::new();
            join(left, right, &mut out);
            out
        };
        assert_eq!(joined("{\"a\": 1}", "{}"), "{\"a\": 1}");
        assert_eq!(joined("[]", "[1]"), "[1]");
        assert_eq!(joined("[1]", "{\"a\": 1}"), "[1,{\"a\": 1}]");
        assert_eq!(joined("1", "\"[\""), "[1,\"[\"]");
    }
}
