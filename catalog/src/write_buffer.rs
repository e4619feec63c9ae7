//! What a transaction has written and not yet committed, ordered by key, so that its own reads can
//! be merged with the row store's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::definitions::StorageId;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::changes::IndexChanges;
use crate::index::delta::IndexDelta;
use crate::row_codec::Bytes;

/// Bytes of keys and values that one transaction can write.
pub const TRANSACTION_BYTES_MAX: usize = 4 << 30;

/// Memory that an entry takes beside its key and value.
const ENTRY_OVERHEAD_BYTES: usize = 48;

/// Uncommitted writes to one table.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableWrites {
    /// New value of a key; `None` where the row is deleted.
    pub rows: BTreeMap<Bytes, Option<Bytes>>,
    /// Keys whose row in the closed table is no longer the truth.
    pub reopened: BTreeSet<Bytes>,
    /// What changes in the table's indexes, by their storage.
    pub indexes: BTreeMap<StorageId, IndexDelta>,
}

/// Uncommitted writes by table. Clones share what neither side has changed since.
#[derive(Debug, Clone, Default)]
pub struct WriteBuffer {
    tables: HashMap<StorageId, Arc<TableWrites>>,
    bytes: usize,
}

impl WriteBuffer {
    /// The writes to one table, if any.
    pub fn table(&self, storage: StorageId) -> Option<&Arc<TableWrites>> {
        self.tables.get(&storage)
    }

    /// All tables written to.
    pub fn tables(&self) -> impl Iterator<Item = (StorageId, &Arc<TableWrites>)> {
        self.tables
            .iter()
            .map(|(storage, writes)| (*storage, writes))
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Writes rows; `None` deletes.
    pub fn write(
        &mut self,
        storage: StorageId,
        rows: impl IntoIterator<Item = (Bytes, Option<Bytes>)>,
    ) -> Result<()> {
        let writes = Arc::make_mut(self.tables.entry(storage).or_default());
        for (key, value) in rows {
            let bytes = key.len() + value.as_ref().map_or(0, |v| v.len());
            take(&mut self.bytes, bytes)?;
            writes.rows.insert(key, value);
        }
        Ok(())
    }

    /// Changes the indexes of a table along with its rows.
    pub fn change_indexes(
        &mut self,
        storage: StorageId,
        changes: impl IntoIterator<Item = IndexChanges>,
    ) -> Result<()> {
        let writes = Arc::make_mut(self.tables.entry(storage).or_default());
        for change in changes {
            let delta = writes.indexes.entry(change.index.def.storage).or_default();
            for entry in change.removed {
                take(&mut self.bytes, entry.bytes().len())?;
                delta.remove(entry);
            }
            for (_, entry) in change.added {
                take(&mut self.bytes, entry.bytes().len())?;
                delta.add(entry);
            }
        }
        Ok(())
    }

    /// Forgets what was to change in an index that is gone.
    pub fn forget_index(&mut self, storage: StorageId, index: StorageId) {
        if let Some(writes) = self.tables.get_mut(&storage)
            && writes.indexes.contains_key(&index)
        {
            Arc::make_mut(writes).indexes.remove(&index);
        }
    }

    /// Marks keys whose closed row is no longer the truth.
    pub fn reopen(&mut self, storage: StorageId, keys: impl IntoIterator<Item = Bytes>) {
        let mut keys = keys.into_iter().peekable();
        if keys.peek().is_some() {
            Arc::make_mut(self.tables.entry(storage).or_default())
                .reopened
                .extend(keys);
        }
    }

    /// Forgets what was written to a table that is gone.
    pub fn forget(&mut self, storage: StorageId) {
        self.tables.remove(&storage);
    }
}

/// Counts an entry of a transaction; an error if it writes too much.
fn take(bytes: &mut usize, entry: usize) -> Result<()> {
    *bytes += entry + ENTRY_OVERHEAD_BYTES;
    if *bytes > TRANSACTION_BYTES_MAX {
        return Err(CatalogError::new(
            ErrorKind::LimitExceeded,
            format!("transaction writes more than {TRANSACTION_BYTES_MAX} bytes"),
        )
        .with_hint("Split the work into several transactions."));
    }
    Ok(())
}
