//! Comparisons of rows, `(a, b) < (1, 2)` and `(a, b) IN ((1, 2), (3, 4))`, as comparisons of their fields.
//!
//! PostgreSQL compares field by field from the left, and a NULL makes the result unknown only where it decides; DataFusion compares
//! structs, in which NULLs are equal. Written out, the comparisons of columns also prune files and find keys.
//! `(a, b) IN (SELECT …)` becomes EXISTS, which is false where IN is unknown; so NOT IN is left as it is.

use sqlparser::ast::{BinaryOperator, Expr, Query, SetExpr, TableFactor, UnaryOperator};

use super::build;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse;

/// Rewrites a comparison of rows.
pub fn compare(expr: &mut Expr) -> Result<()> {
    let compared = match expr {
        Expr::BinaryOp { left, op, right } => match (fields(left), fields(right)) {
            (Some(left), Some(right)) => by_field(op, left, right)?,
            _ => None,
        },
        Expr::InList {
            expr: row,
            list,
            negated,
        } => match fields(row) {
            Some(row) => Some(negated_if(*negated, in_list(&row, list)?)),
            None => None,
        },
        Expr::InSubquery {
            expr: row,
            subquery,
            negated: false,
        } => match fields(row) {
            Some(row) => {
                let columns: Vec<_> = (0..row.len()).map(|at| format!("\"$field{at}\"")).collect();
                let text = format!(
                    "EXISTS (SELECT 1 FROM (SELECT NULL) AS \"$rows\" ({}) WHERE NULL)",
                    columns.join(", ")
                );
                let mut exists = parse::parse_expression(&text)?;
                let mut conditions = Vec::with_capacity(row.len());
                for (field, column) in row.into_iter().zip(&columns) {
                    let column = parse::parse_expression(&format!("\"$rows\".{column}"))?;
                    conditions.push(binary(column, BinaryOperator::Eq, field));
                }
                let query = subquery.clone();
                put_in(
                    &mut exists,
                    query,
                    balanced(&BinaryOperator::And, conditions)?,
                )?;
                Some(exists)
            }
            None => None,
        },
        _ => None,
    };
    if let Some(compared) = compared {
        *expr = compared;
    }
    Ok(())
}

/// Fills in the query and the condition of EXISTS (SELECT … FROM (…) … WHERE …).
fn put_in(exists: &mut Expr, query: Box<Query>, condition: Expr) -> Result<()> {
    if let Expr::Exists { subquery, .. } = exists
        && let SetExpr::Select(select) = subquery.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        *subquery = query;
        select.selection = Some(condition);
        return Ok(());
    }
    Err(PgError::internal("parsed EXISTS without its parts"))
}

/// The fields of a row constructor of several.
fn fields(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(fields) if fields.len() > 1 => Some(fields.clone()),
        Expr::Nested(inner) => fields(inner),
        Expr::Function(function) => {
            let named = super::system_name(&function.name)?;
            let arguments = build::plain_arguments(function)?;
            let is_row = named == "row" && arguments.len() > 1;
            is_row.then(|| arguments.into_iter().cloned().collect())
        }
        _ => None,
    }
}

/// `left op right` for rows; `None` for an operator that is not one of order.
fn by_field(op: &BinaryOperator, left: Vec<Expr>, right: Vec<Expr>) -> Result<Option<Expr>> {
    let strict = match op {
        BinaryOperator::Eq | BinaryOperator::NotEq => None,
        BinaryOperator::Lt | BinaryOperator::LtEq => Some(BinaryOperator::Lt),
        BinaryOperator::Gt | BinaryOperator::GtEq => Some(BinaryOperator::Gt),
        _ => return Ok(None),
    };
    same_length(&left, &right)?;
    let pairs = left.into_iter().zip(right);
    let Some(strict) = strict else {
        let each = pairs.map(|(left, right)| binary(left, op.clone(), right));
        let joined = match op {
            BinaryOperator::Eq => BinaryOperator::And,
            _ => BinaryOperator::Or,
        };
        return balanced(&joined, each.collect()).map(Some);
    };
    // From the right: the last field decides with the operator itself, each before it unless it is equal.
    let mut result: Option<Expr> = None;
    for (left, right) in pairs.rev() {
        result = Some(match result {
            None => binary(left, op.clone(), right),
            Some(rest) => {
                let equal = binary(left.clone(), BinaryOperator::Eq, right.clone());
                let decides = binary(left, strict.clone(), right);
                binary(
                    decides,
                    BinaryOperator::Or,
                    binary(equal, BinaryOperator::And, rest),
                )
            }
        });
    }
    Ok(result)
}

/// Whether the row equals one of the list.
fn in_list(row: &[Expr], list: &[Expr]) -> Result<Expr> {
    let mut each = Vec::with_capacity(list.len());
    for item in list {
        let Some(item) = fields(item) else {
            return Err(unequal());
        };
        same_length(row, &item)?;
        let pairs = row.iter().cloned().zip(item);
        let equal = pairs.map(|(left, right)| binary(left, BinaryOperator::Eq, right));
        each.push(balanced(&BinaryOperator::And, equal.collect())?);
    }
    balanced(&BinaryOperator::Or, each)
}

fn same_length(left: &[Expr], right: &[Expr]) -> Result<()> {
    match left.len() == right.len() {
        true => Ok(()),
        false => Err(unequal()),
    }
}

fn unequal() -> PgError {
    PgError::new(
        sqlstate::SYNTAX_ERROR,
        "unequal number of entries in row expressions",
    )
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    match negated {
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(expr),
        },
        false => expr,
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }))
}

/// All of them joined by an operator, as a tree that is no deeper than it has to be.
fn balanced(op: &BinaryOperator, mut all: Vec<Expr>) -> Result<Expr> {
    while all.len() > 1 {
        let mut joined = Vec::with_capacity(all.len().div_ceil(2));
        let mut rest = all.into_iter();
        while let Some(left) = rest.next() {
            joined.push(match rest.next() {
                Some(right) => binary(left, op.clone(), right),
                None => left,
            });
        }
        all = joined;
    }
    all.pop()
        .ok_or_else(|| PgError::internal("a comparison of nothing"))
}
