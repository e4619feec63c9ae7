//! What the parser binds wrongly: `a IS DISTINCT FROM b AND c` is `(a IS DISTINCT FROM b) AND c`.
//!
//! The parser reads a whole expression behind `FROM`, so that AND and OR and what follows end up in the comparison. What was in
//! parentheses is marked as nested, so an AND or OR that stands in a comparison, an OR right of AND, or either behind NOT
//! without the mark is one that was read too far; it is turned to where it belongs. Runs on trees as they were parsed, before
//! anything else builds into them.

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, VisitMut, VisitorMut};

/// Puts AND and OR back to where they bind.
pub fn restore(node: &mut impl VisitMut) {
    let _: ControlFlow<()> = node.visit(&mut Restorer);
}

struct Restorer;

impl VisitorMut for Restorer {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        turn(expr);
        ControlFlow::Continue(())
    }
}

/// Whether an operator binds weaker than an expression.
type Weaker = fn(&BinaryOperator) -> bool;

/// The part of an expression that may have read too far, and what binds weaker than the expression.
fn read_too_far(expr: &mut Expr) -> Option<(&mut Box<Expr>, Weaker)> {
    fn and_or(op: &BinaryOperator) -> bool {
        matches!(op, BinaryOperator::And | BinaryOperator::Or)
    }
    match expr {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => Some((right, and_or)),
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: operand,
        } => Some((operand, and_or)),
        Expr::BinaryOp {
            op: BinaryOperator::And,
            right,
            ..
        } => Some((right, |op| matches!(op, BinaryOperator::Or))),
        _ => None,
    }
}

/// `outer(b AND c)` becomes `outer(b) AND c`.
fn turn(expr: &mut Expr) {
    let Some((part, weaker)) = read_too_far(expr) else {
        return;
    };
    if !matches!(part.as_ref(), Expr::BinaryOp { op, .. } if weaker(op)) {
        return;
    }
    let mut rest = take(part);
    let Some(operand) = leftmost(&mut rest, weaker) else {
        return;
    };
    **part = take(operand);
    *operand = take(expr);
    // What was turned may have read too far over the operand's place.
    turn(operand);
    *expr = rest;
}

/// The first operand of a chain of weaker operators.
fn leftmost(expr: &mut Expr, weaker: Weaker) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left, op, .. } if weaker(op) => {
            let further = matches!(left.as_ref(), Expr::BinaryOp { op, .. } if weaker(op));
            match further {
                true => leftmost(left, weaker),
                false => Some(left),
            }
        }
        _ => None,
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse::parse_expression;

    #[test]
    fn comparisons_bind_stronger_than_and_and_or() {
        for (written, meant) in [
            ("a IS DISTINCT FROM b AND c", "(a IS DISTINCT FROM b) AND c"),
            (
                "a IS DISTINCT FROM b AND c OR d",
                "((a IS DISTINCT FROM b) AND c) OR d",
            ),
            (
                "a IS NOT DISTINCT FROM b OR c AND d",
                "(a IS NOT DISTINCT FROM b) OR (c AND d)",
            ),
            (
                "x AND a IS DISTINCT FROM b OR c",
                "(x AND (a IS DISTINCT FROM b)) OR c",
            ),
            (
                "NOT a IS DISTINCT FROM b AND c",
                "(NOT (a IS DISTINCT FROM b)) AND c",
            ),
            (
                "a IS DISTINCT FROM b OR c IS DISTINCT FROM d OR e",
                "((a IS DISTINCT FROM b) OR (c IS DISTINCT FROM d)) OR e",
            ),
            (
                "a IS DISTINCT FROM (b AND c)",
                "a IS DISTINCT FROM (b AND c)",
            ),
            ("x AND (y OR z)", "x AND (y OR z)"),
            ("NOT (a AND b)", "NOT (a AND b)"),
        ] {
            let written_tree = shape(&parse_expression(written).unwrap());
            let meant_tree = shape(&parse_expression(meant).unwrap());
            assert_eq!(written_tree, meant_tree, "{written}");
        }
    }

    /// The tree with all operators in parentheses; AND and OR chains as lists, since either way of binding is the same.
    fn shape(expr: &Expr) -> String {
        match expr {
            Expr::Nested(inner) => shape(inner),
            Expr::BinaryOp { left, op, right } => {
                let part = |side: &Expr| {
                    let mut side = side;
                    while let Expr::Nested(inner) = side {
                        side = inner;
                    }
                    match side {
                        Expr::BinaryOp { op: inner, .. } if inner == op => {
                            let chain = shape(side);
                            let bare = chain.strip_prefix('(').and_then(|c| c.strip_suffix(')'));
                            bare.unwrap_or(&chain).to_string()
                        }
                        _ => shape(side),
                    }
                };
                format!("({} {op} {})", part(left), part(right))
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", shape(expr)),
            Expr::IsDistinctFrom(left, right) => format!("[{} <> {}]", shape(left), shape(right)),
            Expr::IsNotDistinctFrom(left, right) => {
                format!("[{} == {}]", shape(left), shape(right))
            }
            other => other.to_string(),
        }
    }
}
