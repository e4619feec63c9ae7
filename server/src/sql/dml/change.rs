//! UPDATE and DELETE.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;
use nyala_catalog::Transaction;
use nyala_catalog::definitions::{Identity, Table};
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, ObjectName, Query, SelectItem,
    TableFactor, TableWithJoins, Update, UpdateTableFromKind,
};

use super::insert::{default_of, is_default};
use super::joined::Joined;
use super::{Changed, TARGET, Target, aliased, behind_with, internal_table, returning, select};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::planner::Planner;
use crate::sql::{checks, names, parameters, query};

fn target_of(planner: &Planner, table: &TableWithJoins) -> Result<Target> {
    match &table.relation {
        TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } if table.joins.is_empty() => {
            Target::find(planner, name, alias.as_ref().map(|alias| &alias.name))
        }
        other => Err(PgError::syntax(format!(
            "syntax error at or near \"{other}\""
        ))),
    }
}

pub(in crate::sql) fn update_target(planner: &Planner, update: &Update) -> Result<Target> {
    if !update.order_by.is_empty() || update.limit.is_some() {
        return Err(PgError::syntax("UPDATE takes no ORDER BY and no LIMIT"));
    }
    target_of(planner, &update.table)
}

pub(in crate::sql) fn delete_target(planner: &Planner, delete: &Delete) -> Result<Target> {
    if !delete.order_by.is_empty() || delete.limit.is_some() || !delete.tables.is_empty() {
        return Err(PgError::syntax(
            "DELETE takes one table, no ORDER BY and no LIMIT",
        ));
    }
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    match from.as_slice() {
        [table] => target_of(planner, table),
        _ => {
            Err(PgError::syntax("DELETE takes one table")
                .with_hint("Use USING to join other tables."))
        }
    }
}

/// The table's columns that assignments set, in their order.
pub(in crate::sql) fn assigned_columns(
    assignments: &[Assignment],
    target: &Target,
) -> Result<Vec<usize>> {
    let mut columns = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(PgError::unsupported(
                "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression",
            ));
        };
        let at = target.column(&column_name(name)?)?;
        if columns.contains(&at) {
            return Err(PgError::syntax(format!(
                "multiple assignments to same column \"{name}\""
            )));
        }
        let always = target.table.def.columns.get(at);
        let always = always.filter(|column| column.identity == Some(Identity::Always));
        if let Some(column) = always.filter(|_| !is_default(&assignment.value)) {
            let name = &column.name;
            return Err(PgError::new(
                sqlstate::GENERATED_ALWAYS,
                format!("column \"{name}\" can only be updated to DEFAULT"),
            )
            .with_detail(format!(
                "Column \"{name}\" is an identity column defined as GENERATED ALWAYS."
            )));
        }
        columns.push(at);
    }
    Ok(columns)
}

fn column_name(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(names::fold),
        _ => None,
    }
    .ok_or_else(|| {
        PgError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{name}\" does not exist"),
        )
        .with_hint("SET takes column names without the table's name.")
    })
}

/// Gives parameters that are assigned directly the types of their columns.
pub(super) fn type_parameters(assignments: &mut [Assignment], table: &Arc<Table>) -> Result<()> {
    let target = Target::of(table);
    let columns = assigned_columns(assignments, &target)?;
    for (assignment, at) in assignments.iter_mut().zip(columns) {
        if let Some(column) = table.def.columns.get(at) {
            parameters::cast_parameter(&mut assignment.value, &column.ty)?;
        }
    }
    Ok(())
}

/// Select items for a full row: what is assigned, and the old value of everything else.
pub(in crate::sql) fn new_row_items(
    target: &Target,
    assignments: &[Assignment],
    assigned: &[usize],
) -> Result<Vec<SelectItem>> {
    let columns = target.table.def.columns.iter().enumerate();
    columns
        .map(|(at, column)| {
            let slot = assigned.iter().position(|assigned| *assigned == at);
            let expr = match slot.and_then(|slot| assignments.get(slot)) {
                Some(assignment) if is_default(&assignment.value) => default_of(&target.table, at)?,
                Some(assignment) => assignment.value.clone(),
                None => target.reference(&column.name),
            };
            Ok(aliased(expr, &format!("$column{at}")))
        })
        .collect()
}

/// The tables that UPDATE joins.
fn joined_tables(update: &Update) -> &[TableWithJoins] {
    match &update.from {
        Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => {
            tables
        }
        None => &[],
    }
}

pub(super) fn joined_in_update(update: &Update, target: &Target) -> Result<Joined> {
    Joined::find(target, update.returning.as_ref(), joined_tables(update))
}

pub(super) fn joined_in_delete(delete: &Delete, target: &Target) -> Result<Joined> {
    let tables = delete.using.as_deref().unwrap_or_default();
    Joined::find(target, delete.returning.as_ref(), tables)
}

pub(super) fn update_query(
    planner: &mut Planner,
    update: &Update,
    target: &Target,
    joined: &Joined,
) -> Result<Box<Query>> {
    planner.add_addressed(TARGET, &target.table)?;
    let assigned = assigned_columns(&update.assignments, target)?;
    let mut items = target.address_items();
    items.extend(new_row_items(target, &update.assignments, &assigned)?);
    items.extend(joined.items());
    let mut from = vec![internal_table(TARGET, &target.alias)?];
    from.extend(joined_tables(update).iter().cloned());
    let query = select(items, from, update.selection.clone())?;
    Ok(behind_with(planner, query))
}

pub(super) fn delete_query(
    planner: &mut Planner,
    delete: &Delete,
    target: &Target,
    joined: &Joined,
) -> Result<Box<Query>> {
    planner.add_addressed(TARGET, &target.table)?;
    let mut items = target.address_items();
    if delete.returning.is_some() {
        for (at, column) in target.table.def.columns.iter().enumerate() {
            let old: Expr = target.reference(&column.name);
            items.push(aliased(old, &format!("$column{at}")));
        }
    }
    items.extend(joined.items());
    let mut from = vec![internal_table(TARGET, &target.alias)?];
    from.extend(delete.using.iter().flatten().cloned());
    let query = select(items, from, delete.selection.clone())?;
    Ok(behind_with(planner, query))
}

pub(super) async fn update(
    planner: &mut Planner,
    transaction: &mut Transaction,
    update: &Update,
) -> Result<Changed> {
    let target = update_target(planner, update)?;
    checks::prepare(planner, &target.table)?;
    let joined = joined_in_update(update, &target)?;
    let query = update_query(planner, update, &target, &joined)?;
    let address_columns = target.address_items().len();
    let mut stream = query::run(planner, &query).await?;
    let mut once = Once::default();
    let mut addresses = Vec::new();
    let mut rows = Vec::new();
    let mut returned = Vec::new();
    let query_schema = stream.schema();
    while let Some(batch) = stream.try_next().await? {
        let batch = once.first_of_each(&target, &batch)?;
        if batch.num_rows() > 0 {
            addresses.push(target.addresses(&batch)?);
            let new = target.rows(&planner.input, &planner.format, &batch, address_columns)?;
            if update.returning.is_some() {
                returned.push(joined.rows(&new, &batch)?);
            }
            rows.push(new);
        }
    }
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if let (Some(first), Some(first_addresses)) = (rows.first(), addresses.first()) {
        // All at once: a row may take the key that another one gives up.
        let all = arrow::compute::concat_batches(&first.schema(), &rows)?;
        let all_addresses = arrow::compute::concat_batches(&first_addresses.schema(), &addresses)?;
        transaction
            .replace(&target.table, &all_addresses, &all)
            .await?;
    }
    let schema = joined.schema(&target.table.schema, query_schema.fields());
    let items = update.returning.as_ref();
    let returning = returning(planner, &target, items, &joined, returned, schema).await?;
    Ok(Changed {
        tag: format!("UPDATE {count}"),
        returning,
    })
}

pub(super) async fn delete(
    planner: &mut Planner,
    transaction: &mut Transaction,
    delete: &Delete,
) -> Result<Changed> {
    let target = delete_target(planner, delete)?;
    let joined = joined_in_delete(delete, &target)?;
    let query = delete_query(planner, delete, &target, &joined)?;
    let address_columns = target.address_items().len();
    let mut stream = query::run(planner, &query).await?;
    let mut once = Once::default();
    let mut rows = Vec::new();
    let mut count = 0;
    let query_schema = stream.schema();
    while let Some(batch) = stream.try_next().await? {
        let batch = once.first_of_each(&target, &batch)?;
        count += batch.num_rows();
        transaction.delete(&target.table, &target.addresses(&batch)?)?;
        if delete.returning.is_some() {
            let old = target.rows(&planner.input, &planner.format, &batch, address_columns)?;
            rows.push(joined.rows(&old, &batch)?);
        }
    }
    let schema = joined.schema(&target.table.schema, query_schema.fields());
    let items = delete.returning.as_ref();
    let returning = returning(planner, &target, items, &joined, rows, schema).await?;
    Ok(Changed {
        tag: format!("DELETE {count}"),
        returning,
    })
}

/// A join may meet a row of the target several times; PostgreSQL changes it once.
#[derive(Default)]
struct Once {
    seen: HashSet<Box<[u8]>>,
}

impl Once {
    fn first_of_each(&mut self, target: &Target, batch: &RecordBatch) -> Result<RecordBatch> {
        let keys = target.table.codec.encode_keys(&target.addresses(batch)?)?;
        let first: Vec<bool> = keys.into_iter().map(|key| self.seen.insert(key)).collect();
        if first.iter().all(|first| *first) {
            return Ok(batch.clone());
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(first))?)
    }
}
