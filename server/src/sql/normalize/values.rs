//! `VALUES` whose rows hold subqueries: DataFusion computes such rows before any subquery has run, so they become queries.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, visit_expressions,
};

use crate::sql::normalize::from;

/// Turns the rows of a query into a union of queries, where one of them holds a subquery.
pub fn with_subqueries(query: &mut Query) {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return;
    };
    let holds = |expr: &Expr| {
        visit_expressions(expr, |part| match part {
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    };
    if !values.rows.iter().flat_map(|row| row.iter()).any(holds) {
        return;
    }
    let rows = std::mem::take(&mut values.rows);
    let rows = rows.into_iter().map(|row| {
        let columns = row.content.into_iter().zip(1..);
        let items = columns.map(|(expr, number)| SelectItem::ExprWithAlias {
            expr,
            alias: Ident::new(format!("column{number}")),
        });
        from::select_one(items.collect())
    });
    let union = rows.reduce(|left, right| SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(left),
        right: Box::new(right),
    });
    if let Some(union) = union {
        *query.body = union;
    }
}
