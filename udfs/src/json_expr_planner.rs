//! Owns the meaning of the JSON operators in SQL: which function stands for `->`, `->>`, `#>`, `#>>`, `@>`, `<@`, `?`, `?|`, `?&`,
//! `-` and `#-`.
//!
//! An operator is taken only where its left side can be a JSON document; `@>` and `<@` between arrays stay DataFusion's. A chain
//! `body -> 'a' -> 'b' ->> 'c'` becomes one call, so the document is walked once and no value in between is built.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, not_impl_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF};

use crate::json_contains::JsonContains;
use crate::json_edit::JsonEdit;
use crate::json_exists::JsonExists;
use crate::json_get::JsonGet;
use crate::json_merge_agg::JsonMergeAgg;
use crate::pg_type::{is_json, is_jsonb};

/// Plans JSON operators as calls of this crate's functions.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonExprPlanner;

impl ExprPlanner for JsonExprPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (left, right) = (operand(&expr.left, schema), operand(&expr.right, schema));
        let applies = match expr.op {
            BinaryOperator::AtArrow | BinaryOperator::ArrowAt => {
                left != Operand::Other
                    && right != Operand::Other
                    && (left == Operand::Text || right == Operand::Text)
            }
            _ => left != Operand::Other,
        };
        if !applies {
            return Ok(PlannerResult::Original(expr));
        }
        let function: ScalarUDF = match expr.op {
            BinaryOperator::Arrow => JsonGet::get().into(),
            BinaryOperator::LongArrow => JsonGet::get_text().into(),
            BinaryOperator::HashArrow => JsonGet::get_path().into(),
            BinaryOperator::HashLongArrow => JsonGet::get_path_text().into(),
            BinaryOperator::AtArrow => JsonContains::contains().into(),
            BinaryOperator::ArrowAt => JsonContains::contained().into(),
            BinaryOperator::Question => JsonExists::one().into(),
            BinaryOperator::QuestionPipe => JsonExists::any().into(),
            BinaryOperator::QuestionAnd => JsonExists::all().into(),
            BinaryOperator::HashMinus => JsonEdit::delete_path().into(),
            // Text has no difference; a literal is read as what is on the other side.
            BinaryOperator::Minus if left == Operand::Text && !is_literal(&expr.left) => {
                JsonEdit::delete().into()
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let chainable = matches!(expr.op, BinaryOperator::Arrow | BinaryOperator::LongArrow);
        let mut args = if chainable {
            chain(expr.left)
        } else {
            vec![expr.left]
        };
        args.push(expr.right);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(
            ScalarFunction::new_udf(Arc::new(function), args),
        )))
    }

    /// `document['key']` and `document[0]` are `->`.
    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let jsonb = expr
            .expr
            .to_field(schema)
            .is_ok_and(|(_, field)| is_jsonb(&field));
        let key = match &expr.field_access {
            _ if !jsonb => None,
            GetFieldAccess::NamedStructField { name } => Some(Expr::Literal(name.clone(), None)),
            GetFieldAccess::ListIndex { key } => Some(key.as_ref().clone()),
            GetFieldAccess::ListRange { .. } => {
                return not_impl_err!("jsonb subscript does not support slices");
            }
        };
        let Some(key) = key else {
            return Ok(PlannerResult::Original(expr));
        };
        let mut args = chain(expr.expr);
        args.push(key);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(
            ScalarFunction::new_udf(Arc::new(JsonGet::get().into()), args),
        )))
    }

    /// Refuses `json_merge_agg(DISTINCT ...)` before the optimizer can turn it into a grouping.
    fn plan_aggregate(&self, expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        if expr.distinct && expr.func.inner().is::<JsonMergeAgg>() {
            return not_impl_err!("DISTINCT is not supported for json_merge_agg");
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// What an operand may be, as far as its type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// Text, marked as JSON or not.
    Text,
    /// NULL or a parameter whose type is not known yet.
    Unknown,
    Other,
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn operand(expr: &Expr, schema: &DFSchema) -> Operand {
    let Ok((_, field)) = expr.to_field(schema) else {
        return Operand::Unknown;
    };
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Operand::Text,
        DataType::Dictionary(_, values) if values.is_string() => Operand::Text,
        DataType::Null => Operand::Unknown,
        _ if is_json(&field) => Operand::Text,
        _ => Operand::Other,
    }
}

/// The arguments of a call of `json_get`, to which another key may be added, or the expression as the first argument.
fn chain(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::ScalarFunction(call)
            if call
                .func
                .inner()
                .downcast_ref::<JsonGet>()
                .is_some_and(JsonGet::is_chainable) =>
        {
            call.args
        }
        other => vec![other],
    }
}
