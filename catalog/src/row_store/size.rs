//! How much a space holds, told without reading most of it: entries that are there, as an estimate, and bytes.
//!
//! fjall counts entries of files and memory, so that a row counts once more for each time it was overwritten or deleted and not yet
//! merged away. For a small space, where that can be many times the truth, the entries are counted and the count is
//! kept until the space has grown by a quarter.

use std::collections::HashMap;

use fjall::{AbstractTree, Keyspace, KeyspaceCreateOptions, Readable};

use super::generation::Generation;
use super::{RowStore, Space, StoreSnapshot};
use crate::error::Result;

/// Entries, old ones and tombstones included, up to which a space is counted.
const COUNTED_MAX: usize = 1 << 15;

/// Entries that may be added before a small space is counted again, beside a quarter of what it had.
const GROWTH: usize = 64;

/// Tombstones that are passed over to find that nothing is behind them.
const PASSED_MAX: usize = 1 << 12;

/// What was counted, and how many entries fjall told at that time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    told: usize,
    live: usize,
}

/// Counts by keyspace.
pub(super) type Counts = HashMap<(Space, Generation), Counted>;

impl RowStore {
    /// The keyspace of a space; `None` if nothing was ever written to it.
    fn existing(&self, space: Space, generation: Generation) -> Result<Option<Keyspace>> {
        let mut keyspaces = self.keyspaces.lock();
        if let Some(keyspace) = keyspaces.get(&(space, generation)) {
            return Ok(Some(keyspace.clone()));
        }
        let name = space.keyspace_name(generation);
        if !self.database.keyspace_exists(&name) {
            return Ok(None);
        }
        let options = KeyspaceCreateOptions::default;
        let keyspace = self.database.keyspace(&name, options)?;
        keyspaces.insert((space, generation), keyspace.clone());
        Ok(Some(keyspace))
    }
}

impl StoreSnapshot {
    /// Rows in a space that are neither overwritten nor deleted, as an estimate.
    pub fn estimated_rows(&self, space: Space) -> Result<usize> {
        if let Some(loaded) = self.loaded_rows(space) {
            // What was loaded at once was never overwritten.
            return Ok(loaded.approximate_len());
        }
        let generation = self.generations.of(space);
        let Some(keyspace) = self.store.existing(space, generation)? else {
            return Ok(0);
        };
        let told = keyspace.approximate_len();
        if told > COUNTED_MAX {
            // Each tombstone on disk hides one entry at least.
            let deleted = usize::try_from(keyspace.tree.tombstone_count()).unwrap_or(usize::MAX);
            return Ok(told.saturating_sub(deleted.saturating_mul(2)));
        }
        let known = self.store.counts.lock().get(&(space, generation)).copied();
        if let Some(known) = known
            && (known.told..=known.told + known.told / 4 + GROWTH).contains(&told)
        {
            return Ok(known.live + told - known.told);
        }
        // All are told this count: it is not of what an old snapshot sees.
        let live = self.store.snapshot().snapshot.len(&keyspace)?;
        let counted = Counted { told, live };
        self.store
            .counts
            .lock()
            .insert((space, generation), counted);
        Ok(live)
    }

    /// Whether a space has no row; false where that could not be found at once.
    pub(crate) fn is_found_empty(&self, space: Space) -> Result<bool> {
        let (keyspace, snapshot) = self.at(space)?;
        Ok(keyspace.approximate_len() <= PASSED_MAX && snapshot.is_empty(&keyspace)?)
    }

    /// Bytes of a space: its files, and what is in memory and in the journal.
    pub fn bytes(&self, space: Space) -> Result<u64> {
        let generation = self.generations.of(space);
        Ok(match self.store.existing(space, generation)? {
            Some(keyspace) => keyspace.disk_space() + keyspace.tree.version_memtable_size_sum(),
            None => 0,
        })
    }
}
