//! Keys and UNIQUE constraints that ALTER TABLE gives to a table that has rows, or takes from it.
//!
//! Rows are stored by their key. A table that gets one, or loses its own, is therefore written anew: into a new storage, as COPY would
//! do it, while others go on reading the old one. A UNIQUE constraint is an index, made with the rows that are there.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use nyala_catalog::definitions::{Relation, Table};
use nyala_catalog::{CatalogError, ErrorKind, Transaction};
use sqlparser::ast::{Expr, SelectItem};

use super::alter::{check_no_nulls, undefined_column};
use super::index::{self, Unique};
use super::key_positions;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::dml::{self, internal_table, quoted};
use crate::sql::planner::Planner;
use crate::sql::{casts, query};

/// Internal name of the table whose rows are written anew.
const REWRITTEN: &str = "rewritten";

/// Constraints that one ALTER TABLE changes.
#[derive(Default)]
pub(super) struct Constraints {
    drops_key: bool,
    /// Name and columns of the new primary key.
    key: Option<(Option<String>, Vec<String>)>,
    uniques: Vec<Unique>,
}

impl Constraints {
    pub(super) fn drop_key(&mut self) {
        self.drops_key = true;
    }

    /// Gives `table`, as it was before, a primary key.
    pub(super) fn add_key(
        &mut self,
        table: &Table,
        name: Option<String>,
        columns: Vec<String>,
    ) -> Result<()> {
        let has_one = table.def.primary_key.is_some() && !self.drops_key;
        if has_one || self.key.is_some() {
            let name = &table.def.name;
            return Err(PgError::new(
                sqlstate::INVALID_TABLE_DEFINITION,
                format!("multiple primary keys for table \"{name}\" are not allowed"),
            ));
        }
        self.key = Some((name, columns));
        Ok(())
    }

    pub(super) fn add_unique(&mut self, unique: Unique) {
        self.uniques.push(unique);
    }

    /// Whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        !self.changes_key() && self.uniques.is_empty()
    }

    fn changes_key(&self) -> bool {
        self.drops_key || self.key.is_some()
    }

    /// Changes them for the table and its rows.
    pub(super) async fn apply(
        self,
        planner: &mut Planner,
        transaction: &mut Transaction,
        table: &Arc<Table>,
    ) -> Result<()> {
        let mut table = Arc::clone(table);
        if self.changes_key() {
            table = rewrite(planner, transaction, &table, self.key).await?;
        }
        let def = &table.def;
        let (oid, schema, name) = (def.oid, def.schema, def.name.clone());
        let made =
            index::unique_indexes(transaction, schema, &name, &def.columns, None, self.uniques)?;
        for index in made {
            transaction.create_index(&table, index).await?;
            if let Some(Relation::Table(indexed)) = transaction.definitions().relation_by_oid(oid) {
                table = Arc::clone(indexed);
            }
        }
        planner.view = transaction.view().clone();
        Ok(())
    }
}

/// Stores all rows by another key, or by none.
async fn rewrite(
    planner: &mut Planner,
    transaction: &mut Transaction,
    old: &Arc<Table>,
    key: Option<(Option<String>, Vec<String>)>,
) -> Result<Arc<Table>> {
    let def = &old.def;
    let key = match key {
        None => None,
        Some((name, columns)) => {
            let own = def.primary_key.as_ref().map(|key| key.name.as_str());
            let taken = |name: &str| {
                own != Some(name) && transaction.definitions().has_name(def.schema, name)
            };
            let default = || index::free_name(taken, &def.name, &[], "pkey");
            let name = name.unwrap_or_else(default);
            for column in &columns {
                if !def.columns.iter().any(|known| known.name == *column) {
                    return Err(undefined_column(column, &def.name));
                }
            }
            let positions = key_positions(&def.columns, &columns)?;
            let nullable = positions.iter().filter_map(|at| def.columns.get(*at));
            for column in nullable.filter(|column| !column.not_null) {
                check_no_nulls(planner, transaction, old, &column.name).await?;
            }
            Some((name, positions))
        }
    };
    planner.add_addressed(REWRITTEN, old)?;
    let columns = def.columns.iter().map(|column| &column.name);
    let columns = columns.map(|name| SelectItem::UnnamedExpr(Expr::Identifier(quoted(name))));
    let from = vec![internal_table(REWRITTEN, &quoted(&def.name))?];
    let all = dml::select(columns.collect(), from, None)?;
    let plan = planner.plan(&all, Vec::new())?;
    // They are read as the transaction sees them now, whatever becomes of the old storage.
    let mut stored = query::run_plan(planner, &plan).await?;
    let table = transaction.set_primary_key(old, key)?;
    let mut insert = transaction.begin_insert(&table).await?;
    while let Some(batch) = stored.try_next().await? {
        let columns = batch
            .columns()
            .iter()
            .zip(batch.schema().fields())
            .zip(&table.def.columns)
            .map(|((values, field), column)| {
                casts::assign(values, field, &column.ty, &planner.input, &planner.format)
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&table.schema), columns)?;
        let added = transaction.add_rows(&mut insert, rows).await;
        added.map_err(not_unique)?;
    }
    let finished = transaction.finish_insert(insert).await;
    finished.map_err(not_unique)?;
    Ok(table)
}

/// What PostgreSQL says of rows that two have the same new key.
fn not_unique(error: CatalogError) -> CatalogError {
    let Some(name) = error.constraint.clone() else {
        return error;
    };
    if error.kind != ErrorKind::UniqueViolation {
        return error;
    }
    let detail = error.detail.clone().unwrap_or_default();
    CatalogError {
        message: format!("could not create unique index \"{name}\""),
        detail: Some(detail.replace("already exists.", "is duplicated.")),
        ..error
    }
}
