//! ALTER TABLE: a new definition for the same storage.

use std::sync::Arc;

use super::Transaction;
use crate::catalog::FORMAT_ALTERED;
use crate::definitions::{Relation, Table};
use crate::error::Result;
use crate::row_store::meta_key;
use crate::table_edit::{TableEdit, check_storable};

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
        let mut gone = old.def.checks.iter();
        for check in gone.by_ref() {
            if !table.def.checks.iter().any(|kept| kept.oid == check.oid) {
                self.forget_comment(check.oid);
            }
        }
        self.need_format(FORMAT_ALTERED)?;
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
