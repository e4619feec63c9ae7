//! Subqueries that look one sequence up.
//!
//! Clients ask for the sequence of each column by a subquery over `pg_sequence` whose condition calls functions of columns outside,
//! and whose result is made of both sides' columns. DataFusion joins no such subquery. There is at most one row, so it is
//! the value itself: `(SELECT f(s.seqstart, a) FROM pg_sequence s WHERE c AND s.seqrelid = x)` is `CASE WHEN c AND x is a
//! sequence THEN f(start of x, a) END`.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr,
    TableFactor, Value, visit_expressions, visit_expressions_mut,
};

use crate::sql::names;
use crate::sql::normalize::{build, functions};

/// The relation that is looked up.
const RELATION: &str = "pg_sequence";

/// Its key.
const KEY: &str = "seqrelid";

/// Its other columns.
const COLUMNS: [&str; 7] = [
    "seqtypid",
    "seqstart",
    "seqincrement",
    "seqmax",
    "seqmin",
    "seqcache",
    "seqcycle",
];

/// Puts the value in the place of such a subquery.
pub fn lookup(expr: &mut Expr) {
    if let Expr::Subquery(query) = expr
        && let Some(value) = value(query)
    {
        *expr = value;
    }
}

fn value(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let ([item], [from]) = (select.projection.as_slice(), select.from.as_slice()) else {
        return None;
    };
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item
    else {
        return None;
    };
    let TableFactor::Table {
        name,
        alias,
        args: None,
        ..
    } = &from.relation
    else {
        return None;
    };
    let ungrouped = matches!(&select.group_by,
        GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && ungrouped
        && from.joins.is_empty()
        && is_relation(name)
        && !functions::calls_aggregate_or_set(value);
    if !plain {
        return None;
    }
    let alias = match alias {
        Some(alias) => names::fold(&alias.name),
        None => RELATION.to_string(),
    };
    let mut conjuncts = Vec::new();
    split(select.selection.as_ref()?, &mut conjuncts);
    let at = conjuncts
        .iter()
        .position(|conjunct| key_of(conjunct, &alias).is_some())?;
    let key = key_of(conjuncts.remove(at), &alias)?.clone();
    let found = Expr::IsNotNull(Box::new(field(&key, "seqstart")));
    let mut condition = found;
    for conjunct in conjuncts.into_iter().rev() {
        condition = Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(conjunct.clone()))),
            op: BinaryOperator::And,
            right: Box::new(condition),
        };
    }
    let mut looked_up = Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![sqlparser::ast::CaseWhen {
            condition,
            result: value.clone(),
        }],
        else_result: None,
    };
    let replaced = visit_expressions_mut(&mut looked_up, |part| {
        if matches!(
            part,
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. }
        ) {
            return ControlFlow::Break(());
        }
        if let Some(column) = column_of(part, &alias) {
            *part = match column.as_str() {
                KEY => key.clone(),
                column => field(&key, column),
            };
        }
        ControlFlow::Continue(())
    });
    if replaced.is_break() {
        return None;
    }
    // A CASE forgets that its text is JSON.
    let is_json = match value {
        Expr::Function(call) => {
            let name = call.name.0.last().and_then(|name| name.as_ident());
            name.is_some_and(|name| names::fold(name).starts_with("json_"))
        }
        _ => false,
    };
    Some(match is_json {
        true => build::call("json_in", vec![looked_up]),
        false => looked_up,
    })
}

fn is_relation(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => names::fold(name) == RELATION,
        _ => functions::system_relation(name).is_some_and(|(table, _)| table == RELATION),
    }
}

fn field(key: &Expr, column: &str) -> Expr {
    let text = Expr::value(Value::SingleQuotedString(column.to_string()));
    match column {
        "seqcycle" => build::call("nyala_sequence_cycles", vec![key.clone()]),
        _ => build::call("nyala_sequence_field", vec![key.clone(), text]),
    }
}

fn split<'a>(condition: &'a Expr, conjuncts: &mut Vec<&'a Expr>) {
    match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(left, conjuncts);
            split(right, conjuncts);
        }
        Expr::Nested(inner) => split(inner, conjuncts),
        other => conjuncts.push(other),
    }
}

/// What the key has to be equal to, if that is what a condition says.
fn key_of<'a>(condition: &'a Expr, alias: &str) -> Option<&'a Expr> {
    let Expr::BinaryOp {
        left,
        op: BinaryOperator::Eq,
        right,
    } = condition
    else {
        return None;
    };
    [(left, right), (right, left)]
        .into_iter()
        .find_map(|(column, value)| {
            let is_key = column_of(column, alias).as_deref() == Some(KEY);
            let outside = visit_expressions(value.as_ref(), |part| {
                match column_of(part, alias).is_some() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            (is_key && outside.is_continue()).then_some(value.as_ref())
        })
}

/// The column of the relation that an expression is.
fn column_of(expr: &Expr, alias: &str) -> Option<String> {
    let column = match expr {
        Expr::Identifier(name) => names::fold(name),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., table, name] if names::fold(table) == alias => names::fold(name),
            _ => return None,
        },
        _ => return None,
    };
    (column == KEY || COLUMNS.contains(&column.as_str())).then_some(column)
}
