//! `SELECT … FOR UPDATE` and `FOR SHARE`: the rows of a table that a query gives count as written by the transaction.
//!
//! Nothing waits. The transaction buffers each row as it is, so of two that lock or change a row the first to commit wins, and the
//! other fails with 40001 as after any other write. No row is ever seen to be locked, so NOWAIT has nothing to give up for, and SKIP
//! LOCKED is refused: it would give two workers the same row. FOR SHARE is as strict as FOR UPDATE. Outside a transaction block a lock ends with its statement, so
//! there the query is an ordinary one.
//!
//! The result is computed from the rows that were locked, so that both are the same whatever LIMIT chooses.

use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use nyala_catalog::Transaction;
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LockClause, NonBlock, ObjectName, OrderByKind, Query, Select,
    SelectItem, SetExpr, TableFactor, Value, Visit, Visitor,
};

use super::with::main_statement;
use super::{Changed, RETURNED, TARGET, Target, aliased, internal_table, select_of};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::normalize::calls_aggregate_or_set;
use crate::sql::planner::Planner;
use crate::sql::{checks, names, query};

/// The error of a query whose rows cannot be locked.
pub(super) fn check(planner: &Planner, query: &Query) -> Result<()> {
    target(planner, &mut query.clone()).map(|_| ())
}

/// The error of a query, without locks of its own, that locks or changes rows in a subquery or in WITH.
pub fn check_nested(query: &Query) -> Result<()> {
    match query.visit(&mut Nested) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Finds the first query that does more than read.
struct Nested;

impl Visitor for Nested {
    type Break = PgError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<PgError> {
        if let Some(lock) = query.locks.first() {
            let message = format!(
                "FOR {} is not supported in subqueries and in WITH",
                lock.lock_type
            );
            return ControlFlow::Break(PgError::unsupported(message).with_hint(
                "Lock the rows with a query of its own, or leave it out: of two transactions that change a row the second to \
                 commit fails with 40001.",
            ));
        }
        if main_statement(query).is_some() {
            return ControlFlow::Break(PgError::unsupported(
                "WITH clause containing a data-modifying statement must be at the top level",
            ));
        }
        ControlFlow::Continue(())
    }
}

/// Locks the rows of a query, and gives its result.
pub(super) async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    query: &Query,
) -> Result<Changed> {
    let mut query = query.clone();
    let target = target(planner, &mut query)?;
    checks::prepare(planner, &target.table)?;
    planner.add_addressed(TARGET, &target.table)?;
    let rows_query = rows_query(&query, &target)?;
    let (_, batches) = query::collect(planner, &rows_query).await?;
    let address_columns = target.address_items().len();
    let mut rows = Vec::with_capacity(batches.len());
    let mut addresses = Vec::with_capacity(batches.len());
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        addresses.push(target.addresses(batch)?);
        rows.push(target.rows(&planner.input, &planner.format, batch, address_columns)?);
    }
    if let (Some(first), Some(first_addresses)) = (rows.first(), addresses.first()) {
        let all = arrow::compute::concat_batches(&first.schema(), &rows)?;
        let all_addresses = arrow::compute::concat_batches(&first_addresses.schema(), &addresses)?;
        transaction
            .replace(&target.table, &all_addresses, &all)
            .await?;
    }
    let (schema, rows) = result(planner, query, &target, rows).await?;
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    Ok(Changed {
        tag: format!("SELECT {count}"),
        returning: Some((schema, rows)),
    })
}

/// The one table that a query reads, which its locks name or mean.
fn target(planner: &Planner, query: &mut Query) -> Result<Target> {
    let locks = std::mem::take(&mut query.locks);
    let words = locks
        .first()
        .map(|lock| format!("FOR {}", lock.lock_type))
        .unwrap_or_default();
    let skips = |lock: &LockClause| lock.nonblock == Some(NonBlock::SkipLocked);
    if locks.iter().any(skips) {
        return Err(
            PgError::unsupported("SKIP LOCKED is not supported").with_hint(
                "Of two transactions that lock a row the second to commit fails with 40001.",
            ),
        );
    }
    let not_allowed =
        |with: &str| PgError::unsupported(format!("{words} is not allowed with {with}"));
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(not_allowed("UNION/INTERSECT/EXCEPT"));
    };
    check_select(select).map_err(not_allowed)?;
    let [from] = select.from.as_slice() else {
        return Err(several_tables(&words));
    };
    let TableFactor::Table {
        name,
        alias,
        args: None,
        ..
    } = &from.relation
    else {
        return Err(several_tables(&words));
    };
    if !from.joins.is_empty() || query.with.is_some() {
        return Err(several_tables(&words));
    }
    let alias = alias.as_ref().map(|alias| &alias.name);
    let target = Target::find(planner, name, alias).map_err(|error| match error.code {
        sqlstate::UNDEFINED_TABLE | sqlstate::UNDEFINED_SCHEMA => error,
        _ => PgError::unsupported(format!("{words} is supported for tables only")),
    })?;
    for of in locks.iter().filter_map(|lock| lock.of.as_ref()) {
        if !is_named(of, &target) {
            return Err(PgError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{of}\" in {words} clause not found in FROM clause"),
            ));
        }
    }
    Ok(target)
}

fn several_tables(words: &str) -> PgError {
    PgError::unsupported(format!(
        "{words} is supported for queries of one table only"
    ))
    .with_hint("Lock the rows of each table with a query of its own.")
}

fn is_named(of: &ObjectName, target: &Target) -> bool {
    match of.0.as_slice() {
        [name] => name
            .as_ident()
            .is_some_and(|name| names::fold(name) == names::fold(&target.alias)),
        _ => false,
    }
}

/// What a query must not have whose rows are those of a table.
fn check_select(select: &Select) -> Result<(), &'static str> {
    let groups = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let computes = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            // What a subquery aggregates are other rows.
            calls_aggregate_or_set(expr) && !checks::holds_subquery(expr)
        }
        _ => false,
    };
    match select {
        _ if groups => Err("GROUP BY clause"),
        _ if select.having.is_some() => Err("HAVING clause"),
        _ if !matches!(select.distinct, None | Some(Distinct::All)) => Err("DISTINCT clause"),
        _ if select.projection.iter().any(computes) => Err("aggregate functions"),
        _ => Ok(()),
    }
}

/// The query for addresses and columns of the rows, in its order.
fn rows_query(query: &Query, target: &Target) -> Result<Box<Query>> {
    let mut rows = Box::new(query.clone());
    let items = std::mem::take(&mut select_of(&mut rows)?.projection);
    if let Some(order_by) = &mut rows.order_by
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        for key in keys {
            if let Some(expr) = item_of(&key.expr, &items) {
                key.expr = expr;
            }
        }
    }
    let select = select_of(&mut rows)?;
    select.projection = target.address_items();
    for (at, column) in target.table.def.columns.iter().enumerate() {
        let value = target.reference(&column.name);
        select
            .projection
            .push(aliased(value, &format!("$column{at}")));
    }
    select.from = vec![internal_table(TARGET, &target.alias)?];
    Ok(rows)
}

/// The column that a key of ORDER BY means by its position or its alias.
fn item_of(key: &Expr, items: &[SelectItem]) -> Option<Expr> {
    match key {
        Expr::Value(value) => {
            let Value::Number(number, _) = &value.value else {
                return None;
            };
            let position = number.parse::<usize>().ok()?.checked_sub(1)?;
            match items.get(position)? {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    Some(expr.clone())
                }
                _ => None,
            }
        }
        Expr::Identifier(name) => items.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias }
                if names::fold(alias) == names::fold(name) =>
            {
                Some(expr.clone())
            }
            _ => None,
        }),
        _ => None,
    }
}

/// What the query shows of the rows that were locked.
async fn result(
    planner: &mut Planner,
    mut query: Query,
    target: &Target,
    rows: Vec<RecordBatch>,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let schema = rows.first().map(RecordBatch::schema);
    let schema = schema.unwrap_or_else(|| target.table.schema.clone());
    planner.add_transient(RETURNED, rows, schema)?;
    query.limit_clause = None;
    query.fetch = None;
    let select = select_of(&mut query)?;
    select.selection = None;
    select.from = vec![internal_table(RETURNED, &target.alias)?];
    query::collect(planner, &query).await
}
