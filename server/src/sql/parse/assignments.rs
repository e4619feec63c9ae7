//! `SET (a, b) = (x, y)`: an assignment to several columns is one to each.
//!
//! A row on the right gives each column its value. A subquery becomes one for each column, with that column of its result alone.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Ident, MergeAction, ObjectName, OnConflictAction, OnInsert,
    OrderByKind, Query, SelectItem, SetExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
};
use sqlparser::parser::ParserError;

use super::parse_query;
use crate::sql::names;
use crate::sql::normalize::build;

/// Takes assignments to several columns apart. What cannot be taken apart is left as it is.
pub fn take_apart(node: &mut impl VisitMut) -> Result<(), ParserError> {
    match node.visit(&mut TakenApart) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct TakenApart;

impl VisitorMut for TakenApart {
    type Break = ParserError;

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<ParserError> {
        let mut lists: Vec<&mut Vec<Assignment>> = Vec::new();
        match statement {
            Statement::Update(update) => lists.push(&mut update.assignments),
            Statement::Insert(insert) => {
                if let Some(OnInsert::OnConflict(conflict)) = &mut insert.on
                    && let OnConflictAction::DoUpdate(update) = &mut conflict.action
                {
                    lists.push(&mut update.assignments);
                }
            }
            Statement::Merge(merge) => {
                for clause in &mut merge.clauses {
                    if let MergeAction::Update(update) = &mut clause.action {
                        lists.push(&mut update.assignments);
                    }
                }
            }
            _ => {}
        }
        for list in lists {
            let several =
                |assignment: &Assignment| matches!(assignment.target, AssignmentTarget::Tuple(_));
            if list.iter().any(several) {
                let mut apart = Vec::with_capacity(list.len());
                for assignment in std::mem::take(list) {
                    match each(assignment) {
                        Ok(parts) => apart.extend(parts),
                        Err(error) => return ControlFlow::Break(error),
                    }
                }
                *list = apart;
            }
        }
        ControlFlow::Continue(())
    }
}

/// One assignment for each column.
fn each(assignment: Assignment) -> Result<Vec<Assignment>, ParserError> {
    let AssignmentTarget::Tuple(columns) = &assignment.target else {
        return Ok(vec![assignment]);
    };
    let values = match &assignment.value {
        Expr::Tuple(values) => values.clone(),
        // One value in parentheses is no row.
        Expr::Nested(_) => return Ok(vec![assignment]),
        Expr::Function(call) if is_row(&call.name) => match build::plain_arguments(call) {
            Some(values) => values.into_iter().cloned().collect(),
            None => return Ok(vec![assignment]),
        },
        Expr::Subquery(query) => match columns_of(query, columns.len()) {
            Some(values) => values?,
            None => wrapped(query, columns.len())?,
        },
        _ => return Ok(vec![assignment]),
    };
    if values.len() != columns.len() {
        return Err(mismatch());
    }
    let parts = columns.iter().zip(values);
    Ok(parts
        .map(|(column, value)| Assignment {
            target: AssignmentTarget::ColumnName(column.clone()),
            value,
        })
        .collect())
}

fn mismatch() -> ParserError {
    let message = "number of columns does not match number of values";
    ParserError::ParserError(message.to_string())
}

fn is_row(name: &ObjectName) -> bool {
    names::single_name(name).is_ok_and(|name| name == "row")
}

/// A subquery for each column of a query; nothing where its columns are not written one by one.
fn columns_of(query: &Query, count: usize) -> Option<Result<Vec<Expr>, ParserError>> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let mut named: Vec<(Option<&Ident>, &Expr)> = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        named.push(match item {
            SelectItem::UnnamedExpr(expr) => (None, expr),
            SelectItem::ExprWithAlias { expr, alias } => (Some(alias), expr),
            _ => return None,
        });
    }
    if select.distinct.is_some() {
        return None;
    }
    if named.len() != count {
        return Some(Err(mismatch()));
    }
    let mut base = query.clone();
    // The order may name columns of the result, of which only one will be left.
    if let Some(order_by) = &mut base.order_by
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        for key in keys {
            let meant = match &key.expr {
                Expr::Identifier(name) => named
                    .iter()
                    .find(|(alias, _)| {
                        alias.is_some_and(|alias| names::fold(alias) == names::fold(name))
                    })
                    .map(|(_, expr)| *expr),
                Expr::Value(value) => match &value.value {
                    Value::Number(number, _) => {
                        let at: Option<usize> = number.parse().ok();
                        let item = at.and_then(|at| named.get(at.checked_sub(1)?));
                        item.map(|(_, expr)| *expr)
                    }
                    _ => None,
                },
                _ => None,
            };
            if let Some(meant) = meant {
                key.expr = meant.clone();
            }
        }
    }
    let columns = (0..count).map(|at| {
        let mut query = base.clone();
        if let SetExpr::Select(select) = query.body.as_mut() {
            let item = select.projection.get(at).cloned();
            select.projection = item.into_iter().collect();
        }
        Expr::Subquery(Box::new(query))
    });
    Some(Ok(columns.collect()))
}

/// The same around the whole query.
fn wrapped(query: &Query, count: usize) -> Result<Vec<Expr>, ParserError> {
    let names: Vec<String> = (1..=count).map(|at| format!("\"$value{at}\"")).collect();
    let columns = names.iter().map(|name| {
        let text = format!(
            "SELECT {name} FROM (SELECT 1) AS \"$row\" ({})",
            names.join(", ")
        );
        let mut outer =
            parse_query(&text).map_err(|error| ParserError::ParserError(error.message))?;
        if let SetExpr::Select(select) = outer.body.as_mut()
            && let Some(TableFactor::Derived { subquery, .. }) =
                select.from.first_mut().map(|from| &mut from.relation)
        {
            **subquery = query.clone();
        }
        Ok(Expr::Subquery(outer))
    });
    columns.collect()
}
