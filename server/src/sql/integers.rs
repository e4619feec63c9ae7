//! Types of whole numbers as they are written: `integer` where they fit, else `bigint`, else `numeric`.
//!
//! DataFusion reads every whole number as `bigint`, and what is made of it (rows of VALUES, arrays, recursive queries) has that
//! type from then on. So before planning [`mark`] puts a mark around each number that fits an `integer`, and [`IntegerPlanner`]
//! plans the mark as a literal of that type. The mark is a syntax that PostgreSQL does not have, a dictionary. Numbers that are
//! no values (positions in ORDER BY and GROUP BY, bounds of LIMIT and of window frames) stay as they are.

use std::ops::ControlFlow;

use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Expr as PlanExpr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawDictionaryExpr};
use sqlparser::ast::{
    DictionaryField, Distinct, Expr, Function, GroupByExpr, Ident, LimitClause, NamedWindowExpr,
    OrderByKind, Query, Select, UnaryOperator, Value, VisitMut, VisitorMut, WindowFrameBound,
    WindowSpec, WindowType,
};

use crate::sql::normalize::build;
use crate::sql::planner::INTERNAL;

/// Marks the whole numbers of a tree.
pub fn mark<Node: VisitMut>(node: &mut Node) {
    let _: ControlFlow<()> = node.visit(&mut Marker);
}

struct Marker;

impl VisitorMut for Marker {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Value(value) => {
                if let Value::Number(text, _) = &mut value.value {
                    let digits = text.replace('_', "");
                    if let Ok(number) = digits.parse::<i32>() {
                        *expr = marked(number);
                    } else if is_whole(&digits) && digits.parse::<i64>().is_err() {
                        // The point keeps it from being an unsigned number.
                        *text = format!("{digits}.");
                    }
                }
            }
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: operand,
            } => negate(expr_number(operand), operand).map_or((), |negative| *expr = negative),
            Expr::Interval(interval) => unmark(&mut interval.value),
            // DataFusion takes a tuple that begins with anything but a name or a literal as a row only.
            Expr::Tuple(values)
                if values
                    .first()
                    .is_some_and(|first| marked_text(first).is_some()) =>
            {
                *expr = build::call("row", std::mem::take(values));
            }
            Expr::Function(function) => unmark_frame_of(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
            groups.iter_mut().for_each(unmark);
        }
        if let Some(Distinct::On(keys)) = &mut select.distinct {
            keys.iter_mut().for_each(unmark);
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                unmark_frame(spec);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
        {
            keys.iter_mut().for_each(|key| unmark(&mut key.expr));
        }
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            let bounds = limit.iter_mut();
            bounds
                .chain(offset.iter_mut().map(|offset| &mut offset.value))
                .for_each(unmark);
        }
        ControlFlow::Continue(())
    }
}

fn is_whole(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn marked(number: i32) -> Expr {
    Expr::Dictionary(vec![DictionaryField {
        key: Ident::new(INTERNAL.to_string()),
        // As text, so that the number in it is not one to mark.
        value: Box::new(Expr::value(Value::SingleQuotedString(number.to_string()))),
    }])
}

/// The text of a marked number.
fn marked_text(expr: &Expr) -> Option<&str> {
    let Expr::Dictionary(fields) = expr else {
        return None;
    };
    match fields.as_slice() {
        [DictionaryField { key, value }] if key.value.starts_with(INTERNAL) => {
            match value.as_ref() {
                Expr::Value(value) => match &value.value {
                    Value::SingleQuotedString(text) => Some(text),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

/// The digits of a number that stands alone, marked or not.
fn expr_number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text.trim_end_matches('.').to_string()),
            _ => None,
        },
        other => marked_text(other).map(str::to_string),
    }
}

/// A minus belongs to the number after it, which then may fit a smaller type.
fn negate(digits: Option<String>, operand: &mut Expr) -> Option<Expr> {
    let digits = digits.filter(|digits| is_whole(digits))?;
    let negative = format!("-{digits}");
    if let Ok(number) = negative.parse::<i32>() {
        return Some(marked(number));
    }
    if negative.parse::<i64>().is_ok() {
        *operand = Expr::value(Value::Number(digits, false));
    }
    None
}

fn unmark(expr: &mut Expr) {
    let Some(text) = marked_text(expr) else {
        return;
    };
    let number = |text: &str| Expr::value(Value::Number(text.to_string(), false));
    *expr = match text.strip_prefix('-') {
        None => number(text),
        Some(text) => Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(number(text)),
        },
    };
}

fn unmark_frame_of(function: &mut Function) {
    if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
        unmark_frame(spec);
    }
}

fn unmark_frame(spec: &mut WindowSpec) {
    let Some(frame) = &mut spec.window_frame else {
        return;
    };
    for bound in [Some(&mut frame.start_bound), frame.end_bound.as_mut()]
        .into_iter()
        .flatten()
    {
        if let WindowFrameBound::Preceding(Some(rows)) | WindowFrameBound::Following(Some(rows)) =
            bound
        {
            unmark(rows);
        }
    }
}

/// Plans what [`mark`] has marked.
#[derive(Debug)]
pub struct IntegerPlanner;

impl ExprPlanner for IntegerPlanner {
    fn plan_dictionary_literal(
        &self,
        expr: RawDictionaryExpr,
        _: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawDictionaryExpr>> {
        let number = match expr.values.as_slice() {
            [PlanExpr::Literal(value, _)] => value
                .try_as_str()
                .flatten()
                .and_then(|text| text.parse().ok()),
            _ => None,
        };
        Ok(match number {
            Some(number) => {
                PlannerResult::Planned(PlanExpr::Literal(ScalarValue::Int32(Some(number)), None))
            }
            None => PlannerResult::Original(expr),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    fn marks(sql: &str) -> String {
        let mut query = parse::parse_query(sql).unwrap();
        mark(&mut query);
        query.to_string().replace(INTERNAL, "#")
    }

    #[test]
    fn values_are_marked_and_positions_are_not() {
        assert_eq!(
            marks("SELECT 1, -2147483648"),
            "SELECT {#: '1'}, {#: '-2147483648'}"
        );
        assert_eq!(marks("SELECT 2147483648, 1.0"), "SELECT 2147483648, 1.0");
        assert_eq!(
            marks("SELECT 9223372036854775808, -9223372036854775808"),
            "SELECT 9223372036854775808., -9223372036854775808"
        );
        assert_eq!(
            marks("SELECT a FROM t GROUP BY 1 ORDER BY 1 LIMIT 3 OFFSET 4"),
            "SELECT a FROM t GROUP BY 1 ORDER BY 1 LIMIT 3 OFFSET 4"
        );
        assert_eq!(
            marks("SELECT sum(a) OVER (ROWS BETWEEN 2 PRECEDING AND 3 FOLLOWING) FROM t"),
            "SELECT sum(a) OVER (ROWS BETWEEN 2 PRECEDING AND 3 FOLLOWING) FROM t"
        );
    }
}
