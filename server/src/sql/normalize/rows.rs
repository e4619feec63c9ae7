//! Comparisons of rows, `(a, b) < (1, 2)` and `(a, b) IN ((1, 2), (3, 4))`, as comparisons of their fields.
//!
//! PostgreSQL compares field by field from the left, and a NULL makes the result unknown only where it decides; DataFusion compares
//! structs, in which NULLs are equal. Written out, the comparisons of columns also prune files and find keys.
//!
//! Two forms are kept or found only where unknown is as good as false. A long list of literals stays a list, which is looked up and
//! not compared with one by one; behind NOT it is written out all the same. And `(a, b) IN (SELECT …)` becomes EXISTS where
//! it is what WHERE asks for, or part of that by AND and OR; elsewhere, and behind NOT, all rows are compared with.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Query, SetExpr, TableFactor, UnaryOperator, Value, visit_expressions_mut,
};

use super::build;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse;

/// Rows in a list up to which each is compared with.
const WRITTEN_OUT_MAX: usize = 32;

/// Rewrites the condition of WHERE, of which unknown is as good as false, before anything else is.
pub fn condition(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Nested(inner) => condition(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            condition(left)?;
            condition(right)
        }
        Expr::InSubquery {
            expr: row,
            subquery,
            negated: false,
        } => {
            if let Some(row) = fields(row) {
                *expr = exists(row, subquery.clone())?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `NOT (a, b) IN (…)` is `(a, b) NOT IN (…)`.
pub fn negated_list(expr: &mut Expr) {
    let Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: inner,
    } = expr
    else {
        return;
    };
    let mut list = inner.as_mut();
    while let Expr::Nested(inner) = list {
        list = inner;
    }
    if let Expr::InList {
        expr: row, negated, ..
    } = list
        && fields(row).is_some()
    {
        *negated = !*negated;
        *expr = build::take(list);
    }
}

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
            Some(_) if !*negated && list.len() > WRITTEN_OUT_MAX && is_plain(row, list) => None,
            Some(row) => Some(negated_if(*negated, in_list(&row, list)?)),
            None => None,
        },
        Expr::InSubquery {
            expr: row,
            subquery,
            negated,
        } => match fields(row) {
            Some(row) => Some(negated_if(*negated, in_rows(row, subquery.clone())?)),
            None => None,
        },
        _ => None,
    };
    if let Some(compared) = compared {
        *expr = compared;
    }
    Ok(())
}

/// Whether a query has the row.
fn exists(row: Vec<Expr>, query: Box<Query>) -> Result<Expr> {
    let columns: Vec<_> = (0..row.len()).map(|at| format!("\"$field{at}\"")).collect();
    let text = format!(
        "EXISTS (SELECT 1 FROM (SELECT NULL) AS \"$rows\" ({}) WHERE NULL)",
        columns.join(", ")
    );
    let mut exists = parse::parse_expression(&text)?;
    let mut equal = Vec::with_capacity(row.len());
    for (field, column) in row.into_iter().zip(&columns) {
        let column = parse::parse_expression(&format!("\"$rows\".{column}"))?;
        equal.push(binary(column, BinaryOperator::Eq, field));
    }
    put_in(&mut exists, query, balanced(&BinaryOperator::And, equal)?)?;
    Ok(exists)
}

/// Whether a query has the row: unknown where it may.
fn in_rows(row: Vec<Expr>, query: Box<Query>) -> Result<Expr> {
    let columns: Vec<_> = (0..row.len()).map(|at| format!("\"$field{at}\"")).collect();
    let text = format!(
        "(SELECT CASE WHEN bool_or(\"$equal\") THEN true WHEN count(*) = count(\"$equal\") THEN false END \
         FROM (SELECT NULL) AS \"$rows\" ({}))",
        columns.join(", ")
    );
    let mut member = parse::parse_expression(&text)?;
    let mut equal = Vec::with_capacity(row.len());
    for (field, column) in row.into_iter().zip(&columns) {
        let column = parse::parse_expression(&format!("\"$rows\".{column}"))?;
        equal.push(binary(column, BinaryOperator::Eq, field));
    }
    let equal = balanced(&BinaryOperator::And, equal)?;
    let _: ControlFlow<()> = visit_expressions_mut(&mut member, |part| {
        if matches!(part, Expr::Identifier(name) if name.value == "$equal") {
            *part = equal.clone();
        }
        ControlFlow::Continue(())
    });
    if let Expr::Subquery(outer) = &mut member
        && let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        *subquery = query;
        return Ok(member);
    }
    Err(PgError::internal("parsed a subquery without its parts"))
}

/// Whether DataFusion looks the row up in the list: columns and literals, none of them NULL.
fn is_plain(row: &Expr, list: &[Expr]) -> bool {
    let is_column =
        |field: &Expr| matches!(field, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    let is_literal =
        |field: &Expr| matches!(field, Expr::Value(value) if value.value != Value::Null);
    let all = |row: &Expr, holds: &dyn Fn(&Expr) -> bool| match row {
        Expr::Tuple(fields) => fields.iter().all(holds),
        _ => false,
    };
    all(row, &is_column) && list.iter().all(|item| all(item, &is_literal))
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
