//! How deep an expression may be nested.
//!
//! The parser counts parentheses and subqueries, but reads `a + b + c …` in a loop: of a long chain comes a tree as deep as the
//! chain is long, and whatever walks over trees later takes stack and time by its depth. So
//!
//! - a stretch of tokens without a comma or parenthesis has a limit, since the tree of a larger one could not even be dropped;
//! - long chains of AND or OR, which programs write by the thousand, become balanced trees, whose depth is nothing;
//! - what is still too deep is refused.

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, Value, VisitMut, VisitorMut};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Tokens between two commas or parentheses.
const STRETCH_MAX: usize = 40_000;

/// Levels of an expression, with all expressions that it lies in.
pub const DEPTH_MAX: usize = 500;

/// Operators in a row from which on AND and OR are balanced.
const CHAIN_MIN: usize = 32;

/// Refuses a query that could be a tree too deep to be walked over at all.
pub fn limit_stretches(tokens: &[TokenWithSpan]) -> Result<(), ParserError> {
    let mut stretch = 0;
    for token in tokens {
        match token.token {
            Token::Whitespace(_) => {}
            Token::Comma | Token::LParen | Token::RParen | Token::SemiColon => stretch = 0,
            _ => stretch += 1,
        }
        if stretch > STRETCH_MAX {
            return Err(ParserError::RecursionLimitExceeded);
        }
    }
    Ok(())
}

/// Balances what can be, and refuses what is too deep.
pub fn limit(node: &mut impl VisitMut) -> Result<(), ParserError> {
    match node.visit(&mut Depth(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ParserError::RecursionLimitExceeded),
    }
}

struct Depth(usize);

impl VisitorMut for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        balance(expr);
        self.0 += 1;
        match self.0 > DEPTH_MAX {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}

/// `a AND b AND c AND d` becomes `(a AND b) AND (c AND d)` if it is long.
fn balance(expr: &mut Expr) {
    let op = match expr {
        Expr::BinaryOp { op, .. } if matches!(op, BinaryOperator::And | BinaryOperator::Or) => {
            op.clone()
        }
        _ => return,
    };
    let mut length = 0;
    let mut rest = &*expr;
    while let Expr::BinaryOp { left, op: next, .. } = rest
        && *next == op
    {
        length += 1;
        rest = left;
    }
    if length < CHAIN_MIN {
        return;
    }
    let mut operands = Vec::with_capacity(length + 1);
    let mut rest = std::mem::replace(expr, Expr::value(Value::Null));
    loop {
        match rest {
            Expr::BinaryOp {
                left,
                op: next,
                right,
            } if next == op => {
                operands.push(*right);
                rest = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    // Neighbours are joined until one is left, so that the order stays.
    while operands.len() > 1 {
        let mut joined = Vec::with_capacity(operands.len().div_ceil(2));
        let mut pairs = operands.into_iter();
        while let Some(left) = pairs.next() {
            joined.push(match pairs.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: op.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        operands = joined;
    }
    if let Some(whole) = operands.pop() {
        *expr = whole;
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::parse::parse_expression;

    fn chain(op: &str, length: usize) -> String {
        let terms: Vec<String> = (0..length).map(|n| format!("a{n}")).collect();
        terms.join(op)
    }

    #[test]
    fn chains_of_conditions_keep_their_order() {
        for op in [" AND ", " OR "] {
            let text = chain(op, 9_000);
            assert_eq!(parse_expression(&text).unwrap().to_string(), text);
        }
        let mixed = chain(" AND ", 100) + " OR " + &chain(" AND ", 3);
        assert_eq!(parse_expression(&mixed).unwrap().to_string(), mixed);
    }

    #[test]
    fn deep_expressions_are_refused() {
        assert!(parse_expression(&chain(" + ", 400)).is_ok());
        for text in [
            chain(" + ", 600),
            chain(" + ", 500_000),
            chain(" OR ", 50_000),
        ] {
            assert_eq!(parse_expression(&text).unwrap_err().code, "54001");
        }
    }
}
