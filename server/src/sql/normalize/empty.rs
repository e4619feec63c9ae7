//! Subqueries that are never evaluated because a relation they stand beside has no rows.
//!
//! psql asks for row policies, publications and partitions with subqueries that DataFusion cannot turn into
//! joins. Nyala has none of those things: the relations about them are always empty, so a subquery in the
//! select list beside one of them has no value to give.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, JoinOperator, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Value, visit_expressions_mut,
};

use crate::pg_catalog;
use crate::sql::normalize::{build, functions};

/// Puts NULL in the place of subqueries in the select list of a query over an always empty relation.
pub fn drop_subqueries_over_nothing(select: &mut Select) {
    // Without rows a query with groups has no groups, but one with a bare aggregate has a row.
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    if grouped || select.having.is_some() || !select.from.iter().any(has_no_rows) {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _: ControlFlow<()> = visit_expressions_mut(expr, |part| {
                match part {
                    Expr::Subquery(_) => *part = build::null(),
                    // ARRAY(SELECT …): any array will do, since no row will show it.
                    Expr::Function(function)
                        if matches!(function.args, FunctionArguments::Subquery(_)) =>
                    {
                        let element = Expr::value(Value::SingleQuotedString(String::new()));
                        *part = build::call("make_array", vec![element]);
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            });
        }
    }
}

/// Puts NULL in the place of a subquery that reads an always empty relation and aggregates nothing.
pub fn drop_subquery_of_nothing(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return;
    };
    let aggregated = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            functions::calls_aggregate_or_set(expr)
        }
        _ => true,
    });
    if !aggregated && select.having.is_none() && select.from.iter().any(has_no_rows) {
        *expr = build::null();
    }
}

/// Whether an inner join with an always empty relation makes a FROM item empty.
fn has_no_rows(item: &TableWithJoins) -> bool {
    let inner = |operator: &JoinOperator| {
        matches!(
            operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    };
    // A later outer join can bring rows back.
    item.joins.iter().all(|join| inner(&join.join_operator))
        && functions::factors(item).any(|factor| {
            let TableFactor::Table {
                name, args: None, ..
            } = factor
            else {
                return false;
            };
            functions::system_relation(name)
                .is_some_and(|(table, _)| pg_catalog::is_always_empty(&table))
        })
}
