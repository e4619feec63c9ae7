//! Loads: rows that become a table's as a whole. Nobody has told the committer their keys.

use super::{CommitLog, CommitRequest};
use crate::definitions::StorageId;
use crate::error::{CatalogError, Result};
use crate::row_store::Space;
use crate::row_store::generation::Generation;

impl CommitLog {
    /// Fails if what a request loads, or what was loaded since its snapshot, stands against it.
    pub(super) fn check_loads(&self, request: &CommitRequest) -> Result<()> {
        let mut loads = request.loads.iter();
        if loads.any(|(storage, _)| self.is_in_use(*storage, request.snapshot_csn)) {
            return Err(CatalogError::serialization_failure());
        }
        for (storage, writes) in &request.tables {
            let loaded = self.loaded.get(storage);
            let Some(loaded) = loaded.filter(|csn| **csn > request.snapshot_csn) else {
                continue;
            };
            let moved = self.last_move.get(storage);
            if moved.is_some_and(|csn| csn > loaded) {
                // A loaded row may be in the closed table by now.
                return Err(CatalogError::serialization_failure());
            }
            let rows = self.store.snapshot();
            for key in writes.rows.keys() {
                if rows.contains(Space::Rows(*storage), key)? {
                    return Err(CatalogError::serialization_failure());
                }
            }
        }
        Ok(())
    }

    /// Whether a storage was written to since a csn, or somebody has to know each key that is written to it.
    fn is_in_use(&self, storage: StorageId, csn: u64) -> bool {
        let written = self.last_write.get(&storage);
        written.is_some_and(|written| *written > csn)
            || self.moving.contains_key(&storage)
            || self.fresh.contains(&storage)
            || self.offloading.contains_key(&storage)
            || self.fills.watch(storage)
    }

    /// What a request loads becomes the rows of its storages with a csn.
    pub(super) fn take_loads(&mut self, loads: &[(StorageId, Generation)], csn: u64) {
        for (storage, generation) in loads {
            self.renewed.push((*storage, *generation));
            self.last_write.insert(*storage, csn);
            self.loaded.insert(*storage, csn);
            // Lookups may have found that there are no rows.
            self.cache.all_written(csn);
        }
    }
}
