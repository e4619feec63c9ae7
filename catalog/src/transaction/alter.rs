//! ALTER TABLE: a new definition for the same storage, or for a new one where rows are stored otherwise.

use std::collections::HashSet;
use std::sync::Arc;

use super::Transaction;
use crate::catalog::FORMAT_ALTERED;
use crate::definitions::{PrimaryKeyDef, Relation, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_store::meta_key;
use crate::table_edit::{TableEdit, check_storable};
use crate::types::SqlType;

/// What is other in a table that is written anew.
#[derive(Debug, Clone, Default)]
pub struct Rewritten {
    /// Its primary key, if that changes: name and positions of the columns, which become NOT NULL, or none.
    pub key: Option<Option<(String, Vec<usize>)>>,
    /// Positions of columns with another type, and that.
    pub types: Vec<(usize, SqlType)>,
}

impl Transaction {
    /// Gives a table the definition that was edited. Its rows, stored and buffered, stay as they are.
    ///
    /// With `untouched` the commit fails if another transaction has written to the table since this one's snapshot: for what
    /// was found by looking at the rows.
    pub fn alter_table(
        &mut self,
        old: &Table,
        edit: TableEdit,
        untouched: bool,
    ) -> Result<Arc<Table>> {
        self.check_referenced_keys(edit.def())?;
        let renamed_columns = edit.renamed_columns().to_vec();
        let table = Arc::new(Table::new(edit.finish()?)?);
        let renamed = table.def.name != old.def.name;
        self.put_relation(Relation::Table(Arc::clone(&table)), renamed)?;
        if renamed {
            self.put_name(old.def.schema, &old.def.name, None);
        }
        for gone in old.def.indexes.iter().filter(|index| {
            let mut kept = table.def.indexes.iter();
            kept.all(|kept| kept.oid != index.oid)
        }) {
            self.retire_index(&old.def, gone);
        }
        self.check_snapshot(&table)?;
        if untouched {
            self.changes.untouched.insert(old.def.storage);
        }
        self.follow_columns(&table, &renamed_columns)?;
        let gone = old.def.checks.iter().map(|check| check.oid);
        let gone = gone.chain(old.def.foreign_keys.iter().map(|key| key.oid));
        let kept = table.def.checks.iter().map(|check| check.oid);
        let kept = kept.chain(table.def.foreign_keys.iter().map(|key| key.oid));
        let kept: HashSet<_> = kept.collect();
        for oid in gone.filter(|oid| !kept.contains(oid)) {
            self.forget_comment(oid);
        }
        self.need_format(FORMAT_ALTERED)?;
        Ok(table)
    }

    /// Gives a table a new storage without rows, which the caller fills with those of the old one. It has no restore points any
    /// more. The commit fails if another transaction has written to the table since this one's snapshot.
    pub fn rewrite_table(&mut self, old: &Table, change: Rewritten) -> Result<Arc<Table>> {
        if old.is_hybrid() {
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                "a table with closed_when cannot be rewritten",
            )
            .with_hint("Create another table and copy the rows."));
        }
        self.check_rewritable(old, &change)?;
        let counters = Arc::clone(&self.view.catalog.counters);
        let mut def = old.def.clone();
        def.storage = counters.storage();
        def.history = None;
        for index in &mut def.indexes {
            index.storage = counters.storage();
        }
        for (at, ty) in change.types {
            if let Some(column) = def.columns.get_mut(at) {
                column.ty = ty;
            }
        }
        let gone = change.key.as_ref().and_then(|_| def.primary_key.take());
        if let Some(gone) = &gone {
            self.put_name(def.schema, &gone.name, None);
            self.forget_comment(gone.index_oid);
            self.forget_comment(gone.constraint_oid);
        }
        if let Some((name, columns)) = change.key.flatten() {
            match gone.is_some_and(|gone| gone.name == name) {
                true => self.put_name(def.schema, &name, Some(def.oid)),
                false => self.claim_index_name(&def, &name)?,
            }
            for at in &columns {
                if let Some(column) = def.columns.get_mut(*at) {
                    column.not_null = true;
                }
            }
            def.primary_key = Some(PrimaryKeyDef {
                constraint_oid: counters.oid(),
                index_oid: counters.oid(),
                name,
                columns,
            });
        }
        let table = Arc::new(Table::new(def)?);
        self.leave_key_spaces(old);
        self.retire(old)?;
        self.changes.untouched.insert(old.def.storage);
        self.put_relation(Relation::Table(Arc::clone(&table)), false)?;
        Ok(table)
    }

    /// A snapshot has to hold the new columns, one that another transaction makes meanwhile as well.
    fn check_snapshot(&mut self, table: &Table) -> Result<()> {
        let mut columns = table.def.columns.iter();
        let storable = columns.try_for_each(|column| check_storable(&column.name, &column.ty));
        let Err(refusal) = storable else {
            return Ok(());
        };
        if self.view.snapshot_manifest(table)?.is_some() {
            return Err(refusal);
        }
        let key = meta_key::snapshot(table.def.storage);
        self.changes.relies_on.insert(key);
        Ok(())
    }
}
