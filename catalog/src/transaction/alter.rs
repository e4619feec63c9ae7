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
        let table = Arc::new(Table::new(edit.finish()?)?);
        let renamed = table.def.name != old.def.name;
        self.put_relation(Relation::Table(Arc::clone(&table)), renamed)?;
        if renamed {
            let (database, schema) = (self.database_oid(), old.def.schema);
            self.put_meta(meta_key::name(database, schema, &old.def.name), None);
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
        // Servers that do not know of altered tables must not open the directory any more.
        if self.view.snapshot.meta_number(meta_key::FORMAT)? < FORMAT_ALTERED {
            let format = FORMAT_ALTERED.to_be_bytes().to_vec();
            self.put_meta(meta_key::FORMAT.to_string(), Some(format));
        }
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
