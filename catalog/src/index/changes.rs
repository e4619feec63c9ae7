//! Which entries the writes of a statement change, and whether its values stay unique.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};

use crate::definitions::Table;
use crate::error::{CatalogError, Result};
use crate::index::entry::{Entry, stored_row_key};
use crate::index::range::{EntryRange, after_prefix};
use crate::index::{Index, IndexState};
use crate::row_codec::Bytes;
use crate::row_store::Space;
use crate::transaction::ReadView;

/// What a batch of writes changes in one index.
pub(crate) struct IndexChanges {
    pub index: Arc<Index>,
    /// Entries of the rows that are no more as they were.
    pub removed: Vec<Entry>,
    /// Entries of the new rows, each with its row's place in the batch.
    pub added: Vec<(usize, Entry)>,
}

impl ReadView {
    /// What writes change in the indexes of a table: `gone` are keys that lose their row, `keys` those that get one of
    /// `rows`.
    pub(crate) fn index_changes(
        &self,
        table: &Table,
        gone: &[Bytes],
        keys: &[Bytes],
        rows: &RecordBatch,
    ) -> Result<Vec<IndexChanges>> {
        let mut seen = HashSet::new();
        let written = gone.iter().chain(keys).filter(|key| seen.insert(&***key));
        let old = self.entries_of_keys(table, written)?;
        let mut changes = Vec::with_capacity(table.indexes.len());
        for (index, mut removed) in table.indexes.iter().zip(old) {
            let mut added: Vec<(usize, Entry)> = index
                .entries(&index.project(rows)?, keys)?
                .into_iter()
                .enumerate()
                .collect();
            // While the index is filled its writers bring the entries of all rows they write: the filling leaves
            // those rows out.
            if index.def.state != IndexState::Building {
                let old: HashSet<Entry> = removed.iter().cloned().collect();
                let kept: HashSet<Entry> = added
                    .extract_if(.., |(_, entry)| old.contains(entry))
                    .map(|(_, entry)| entry)
                    .collect();
                removed.retain(|entry| !kept.contains(entry));
            }
            changes.push(IndexChanges {
                index: Arc::clone(index),
                removed,
                added,
            });
        }
        Ok(changes)
    }

    /// The entries of the rows that the row store has under some keys, own writes included, for each index of the
    /// table.
    pub(crate) fn entries_of_keys<'a>(
        &self,
        table: &Table,
        keys: impl IntoIterator<Item = &'a Bytes>,
    ) -> Result<Vec<Vec<Entry>>> {
        if table.indexes.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let mut values = Vec::new();
        for key in keys {
            if let Some(value) = self.open_value(table, key)? {
                found.push(key.clone());
                values.push(value);
            }
        }
        let rows = IndexedColumns::decode(table, &found, &values)?;
        let indexes = table.indexes.iter();
        indexes
            .map(|index| index.entries(&rows.project(index)?, &found))
            .collect()
    }

    /// The row that the row store has under a key, own writes included.
    pub(crate) fn open_value(&self, table: &Table, key: &[u8]) -> Result<Option<fjall::Slice>> {
        let storage = table.def.storage;
        let own = self.writes.table(storage);
        match own.and_then(|writes| writes.rows.get(key)) {
            Some(own) => Ok(own.as_ref().map(|value| fjall::Slice::from(&**value))),
            None => self.snapshot.get(Space::Rows(storage), key),
        }
    }

    /// The first of the new entries whose value another row has, or will have: its row's place in the batch.
    pub(crate) fn first_duplicate(
        &self,
        table: &Table,
        changes: &IndexChanges,
    ) -> Result<Option<usize>> {
        let removed: HashSet<&[u8]> = changes.removed.iter().map(Entry::bytes).collect();
        // Values, and whether a row of the batch has newly got it.
        let mut seen: HashMap<&[u8], bool> = HashMap::new();
        for (at, entry) in changes.added.iter().filter(|(_, e)| e.is_exclusive()) {
            // What an index that is being filled is told of a row that keeps its value.
            let is_new = !removed.contains(entry.bytes());
            let before = seen.insert(entry.value(), is_new);
            let twice = before.is_some_and(|new_before| new_before || is_new);
            if twice || (is_new && self.has_other(table, changes, entry, &removed)?) {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    /// Whether a row beside the entry's own has its value.
    fn has_other(
        &self,
        table: &Table,
        changes: &IndexChanges,
        entry: &Entry,
        removed: &HashSet<&[u8]>,
    ) -> Result<bool> {
        let mut other = false;
        let range = EntryRange::of_prefix(entry.value());
        self.index_entries(table, &changes.index, &range, |bytes, _| {
            other = bytes != entry.bytes() && !removed.contains(bytes);
            Ok(!other)
        })?;
        Ok(other)
    }

    /// The keys of the rows that have a value in the leading columns of an index, at most `max` of them; `None` if there are
    /// more.
    pub(crate) fn index_keys(
        &self,
        table: &Table,
        index: &Index,
        prefix: &[u8],
        max: usize,
    ) -> Result<Option<Vec<Bytes>>> {
        let mut keys = Vec::new();
        let whole = self.index_entries(
            table,
            index,
            &EntryRange::of_prefix(prefix),
            |_, row_key| {
                keys.push(Bytes::from(row_key));
                Ok(keys.len() <= max)
            },
        )?;
        Ok(whole.then_some(keys))
    }

    /// Hands the entries of a range and their row keys to `found`, own writes included, until it returns false; returns
    /// whether it never did. The entries of the snapshot come in order, own ones after them.
    pub(crate) fn index_entries(
        &self,
        table: &Table,
        index: &Index,
        range: &EntryRange,
        mut found: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let own = self.writes.table(table.def.storage);
        let own = own.and_then(|writes| writes.indexes.get(&index.def.storage));
        let space = Space::Index(index.def.storage);
        let bounds = (range.start.clone(), range.end.clone());
        for stored in self.snapshot.range(space, bounds)? {
            let (bytes, value) = stored.into_inner()?;
            if own.is_some_and(|own| own.decides(&bytes)) {
                continue;
            }
            if !found(&bytes, stored_row_key(&bytes, &value)?)? {
                return Ok(false);
            }
        }
        let (start, end) = (borrow(&range.start), borrow(&range.end));
        for entry in own.into_iter().flat_map(|own| own.added_in(start, end)) {
            if !found(entry.bytes(), entry.row_key())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn borrow(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Rows decoded as far as the indexes of their table need them.
struct IndexedColumns {
    positions: Vec<usize>,
    rows: RecordBatch,
}

impl IndexedColumns {
    fn decode<V: AsRef<[u8]>>(table: &Table, keys: &[Bytes], values: &[V]) -> Result<Self> {
        let indexes = table.indexes.iter();
        let mut positions: Vec<usize> = indexes.flat_map(|index| index.positions()).collect();
        positions.sort_unstable();
        positions.dedup();
        let rows = table.codec.decode(&positions, keys, values)?;
        Ok(Self { positions, rows })
    }

    fn project(&self, index: &Index) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(index.def.columns.len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(index.def.columns.len());
        for position in index.positions() {
            let slot = self.positions.iter().position(|known| *known == position);
            let column = slot.and_then(|slot| {
                let field = self.rows.schema_ref().fields().get(slot)?.clone();
                Some((field, self.rows.columns().get(slot)?.clone()))
            });
            let (field, column) =
                column.ok_or_else(|| CatalogError::internal("indexed column was not decoded"))?;
            fields.push(field);
            columns.push(column);
        }
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

/// The range of the entries behind one, for a walk in steps.
pub(crate) fn behind(entry: &[u8]) -> EntryRange {
    EntryRange {
        start: Bound::Excluded(entry.to_vec()),
        end: Bound::Unbounded,
    }
}

impl EntryRange {
    /// The entries whose value starts with `prefix`, which is the encoding of whole columns.
    pub(crate) fn of_prefix(prefix: &[u8]) -> Self {
        Self {
            start: Bound::Included(prefix.to_vec()),
            end: after_prefix(prefix.to_vec(), Bound::Excluded),
        }
    }
}
