//! Open rows by their keys, for statements that are a transaction of their own: without a transaction, and from the row cache
//! where it knows them.

use arrow::array::{ArrayRef, RecordBatch};

use super::Catalog;
use crate::definitions::{StorageId, Table};
use crate::error::Result;
use crate::row_codec::Bytes;
use crate::row_store::{Space, meta_key};

/// What the row store has under a key.
#[derive(Debug)]
pub enum OpenRow {
    /// A row.
    Found(RecordBatch),
    /// No row.
    None,
    /// A row of a later definition of the table than the caller's.
    Newer,
}

impl Catalog {
    /// Columns of the row that the row store has under a key now, as a batch of one row. For statements that are a
    /// transaction of their own.
    pub fn open_row(
        &self,
        table: &Table,
        key: &[ArrayRef],
        projection: &[usize],
    ) -> Result<OpenRow> {
        let storage = table.def.storage;
        let key = table.codec.encode_key(key)?;
        let value = match self.row_cache.get(storage, &key) {
            Some(known) => known,
            None => {
                // Read first, so that the snapshot has at least the commits up to it.
                let csn = self.counters.visible_csn();
                let value = self.store.snapshot().get(Space::Rows(storage), &key)?;
                self.row_cache.put(storage, &key, value.clone(), csn);
                value
            }
        };
        let Some(value) = value else {
            return Ok(OpenRow::None);
        };
        if !table.codec.knows_layout(&value) {
            return Ok(OpenRow::Newer);
        }
        let row = table.codec.decode(projection, &[key], &[value])?;
        Ok(OpenRow::Found(row))
    }

    /// Columns of the rows that the row store has under some keys, no two of which are the same, all as of one moment; keys without
    /// a row have none. `None` if the row store cannot tell: a row may be closed, or the table was altered meanwhile.
    pub fn open_rows(
        &self,
        table: &Table,
        addresses: &RecordBatch,
        projection: &[usize],
    ) -> Result<Option<RecordBatch>> {
        let storage = table.def.storage;
        let mut keys = table.codec.encode_keys(addresses)?;
        let found = match self.cached_open_rows(storage, &keys) {
            Some(found) => found,
            None => self.stored_open_rows(storage, &keys)?,
        };
        if table.is_hybrid() && found.iter().any(Option::is_none) {
            return Ok(None);
        }
        let mut exists = found.iter().map(Option::is_some);
        keys.retain(|_| exists.next().unwrap_or_default());
        let values: Vec<_> = found.into_iter().flatten().collect();
        if !values.iter().all(|value| table.codec.knows_layout(value)) {
            return Ok(None);
        }
        Ok(Some(table.codec.decode(projection, &keys, &values)?))
    }

    /// What the cache knows of all keys, if it was true at one moment: after the last one was read, none had been written since.
    fn cached_open_rows(
        &self,
        storage: StorageId,
        keys: &[Bytes],
    ) -> Option<Vec<Option<fjall::Slice>>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut read_at = Vec::with_capacity(keys.len());
        for key in keys {
            let (at, value) = self.row_cache.entry(storage, key)?;
            found.push(value);
            read_at.push(at);
        }
        let one_moment = keys
            .iter()
            .zip(read_at)
            .all(|(key, at)| self.row_cache.holds(storage, key, at));
        one_moment.then_some(found)
    }

    fn stored_open_rows(
        &self,
        storage: StorageId,
        keys: &[Bytes],
    ) -> Result<Vec<Option<fjall::Slice>>> {
        let snapshot = self.snapshot();
        let csn = snapshot.meta_number(meta_key::CSN)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            // What the cache has from no later than the snapshot, and that nobody has changed since, is the snapshot's.
            let cached = self.row_cache.entry(storage, key);
            found.push(match cached {
                Some((at, value)) if at <= csn => value,
                _ => {
                    let value = snapshot.get(Space::Rows(storage), key)?;
                    self.row_cache.put(storage, key, value.clone(), csn);
                    value
                }
            });
        }
        Ok(found)
    }
}
