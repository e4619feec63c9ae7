//! Lookups of a few rows by an index, for statements that were compiled for one value, or for a list of them.
//!
//! Outside a transaction the answer may come from the row cache alone: it keeps the keys that a value of an index has next to
//! rows, and the committer stamps both before a commit becomes visible. What is read there is true at one moment if, after the
//! last read, no stamp has changed. Otherwise a snapshot is read, and what it had is kept.

use arrow::array::{ArrayRef, RecordBatch};

use crate::catalog::Catalog;
use crate::definitions::Table;
use crate::error::{CatalogError, Result};
use crate::index::Index;
use crate::index::entry::stored_row_key;
use crate::row_codec::Bytes;
use crate::row_store::{Space, meta_key};
use crate::transaction::ReadView;

/// Bytes of the length in front of a key in the cache.
const LENGTH_BYTES: usize = 2;

/// Keys and values of rows.
type Rows = (Vec<Bytes>, Vec<fjall::Slice>);

impl Catalog {
    /// Columns of the open rows that have one of the given values in the leading columns of an index; `None` if these are more
    /// than `max`. No two values are the same. For statements that are a transaction of their own.
    pub fn open_rows_by_index(
        &self,
        table: &Table,
        index: &Index,
        values: &[ArrayRef],
        projection: &[usize],
        max: usize,
    ) -> Result<Option<RecordBatch>> {
        let prefixes = index.encode_prefix(values)?;
        let is_whole = values.len() == index.def.columns.len();
        let cached = match is_whole {
            true => self.cached_rows(table, index, &prefixes, max),
            false => None,
        };
        let rows = match cached {
            Some(rows) => rows,
            None => match self.stored_rows(table, index, &prefixes, is_whole, max)? {
                Some(rows) => rows,
                None => return Ok(None),
            },
        };
        Ok(Some(table.codec.decode(projection, &rows.0, &rows.1)?))
    }

    /// The rows of whole values, if all of them are in the cache as of one moment, and no more than `max`.
    fn cached_rows(
        &self,
        table: &Table,
        index: &Index,
        values: &[Bytes],
        max: usize,
    ) -> Option<Rows> {
        let storage = table.def.storage;
        let cache = &self.row_cache;
        let mut listed_at = Vec::with_capacity(values.len());
        let mut keys = Vec::new();
        for value in values {
            let (at, list) = cache.entry(index.def.storage, value)?;
            listed_at.push(at);
            keys.append(&mut unpack(list.as_deref()?)?);
        }
        if keys.len() > max {
            return None;
        }
        let mut rows = Vec::with_capacity(keys.len());
        let mut read_at = Vec::with_capacity(keys.len());
        for key in &keys {
            let (at, row) = cache.entry(storage, key)?;
            rows.push(row?);
            read_at.push(at);
        }
        let mut lists = values.iter().zip(listed_at);
        let one_moment = lists.all(|(value, at)| cache.holds(index.def.storage, value, at))
            && keys
                .iter()
                .zip(read_at)
                .all(|(key, at)| cache.holds(storage, key, at));
        one_moment.then_some((keys, rows))
    }

    fn stored_rows(
        &self,
        table: &Table,
        index: &Index,
        prefixes: &[Bytes],
        is_whole: bool,
        max: usize,
    ) -> Result<Option<Rows>> {
        let storage = table.def.storage;
        let snapshot = self.snapshot();
        let csn = snapshot.meta_number(meta_key::CSN)?;
        let mut keys = Vec::new();
        for prefix in prefixes {
            let first = keys.len();
            for entry in snapshot.prefix(Space::Index(index.def.storage), prefix)? {
                let (bytes, value) = entry.into_inner()?;
                keys.push(Bytes::from(stored_row_key(&bytes, &value)?));
                if keys.len() > max {
                    return Ok(None);
                }
            }
            let of_prefix = keys.get(first..).unwrap_or_default();
            if is_whole && let Some(list) = pack(of_prefix) {
                self.row_cache
                    .put(index.def.storage, prefix, Some(list), csn);
            }
        }
        let mut rows = Vec::with_capacity(keys.len());
        for key in &keys {
            // A row that the cache knows from no later than the snapshot, and that nobody has changed since, is the snapshot's.
            let cached = self.row_cache.entry(storage, key);
            let row = match cached {
                Some((at, row)) if at <= csn => row,
                _ => {
                    let row = snapshot.get(Space::Rows(storage), key)?;
                    self.row_cache.put(storage, key, row.clone(), csn);
                    row
                }
            };
            rows.push(row.ok_or_else(|| without_row(index))?);
        }
        Ok(Some((keys, rows)))
    }
}

impl ReadView {
    /// Columns of the open rows that have one of the given values in the leading columns of an index; `None` if these are more
    /// than `max`. No two values are the same.
    pub fn open_rows_by_index(
        &self,
        table: &Table,
        index: &Index,
        values: &[ArrayRef],
        projection: &[usize],
        max: usize,
    ) -> Result<Option<RecordBatch>> {
        let mut keys = Vec::new();
        for prefix in index.encode_prefix(values)? {
            let left = max - keys.len();
            let Some(mut of_prefix) = self.index_keys(table, index, &prefix, left)? else {
                return Ok(None);
            };
            keys.append(&mut of_prefix);
        }
        let mut rows = Vec::with_capacity(keys.len());
        for key in &keys {
            let row = self.open_value(table, key)?;
            rows.push(row.ok_or_else(|| without_row(index))?);
        }
        Ok(Some(table.codec.decode(projection, &keys, &rows)?))
    }
}

/// Entry and row come and go together.
pub(crate) fn without_row(index: &Index) -> CatalogError {
    let name = &index.def.name;
    CatalogError::corrupted(format!("index \"{name}\" has an entry without a row"))
}

/// Keys as one value of the cache; `None` if one is too long for it.
fn pack(keys: &[Bytes]) -> Option<fjall::Slice> {
    let mut packed = Vec::new();
    for key in keys {
        packed.extend(u16::try_from(key.len()).ok()?.to_le_bytes());
        packed.extend(&**key);
    }
    Some(fjall::Slice::from(packed))
}

fn unpack(mut packed: &[u8]) -> Option<Vec<Bytes>> {
    let mut keys = Vec::new();
    while !packed.is_empty() {
        let (length, rest) = packed.split_at_checked(LENGTH_BYTES)?;
        let length = usize::from(u16::from_le_bytes(length.try_into().ok()?));
        let (key, rest) = rest.split_at_checked(length)?;
        keys.push(Bytes::from(key));
        packed = rest;
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_keys_come_back() {
        let keys: Vec<Bytes> = [&b""[..], b"a", b"bc"].map(Bytes::from).to_vec();
        assert_eq!(unpack(&pack(&keys).unwrap()), Some(keys));
        assert_eq!(unpack(&pack(&[]).unwrap()), Some(Vec::new()));
        assert_eq!(unpack(&[9, 0, 1]), None);
    }
}
