//! Compaction of the row store behind rows that left it in great numbers.
//!
//! A deleted row is a tombstone, and every scan walks over it until the LSM tree merges it away, which its own policy does
//! only as new writes push on it. Housekeeping takes most rows of a table at once and offload clears most of its fresh
//! rows, and then few writes follow. So the catalog counts what left each keyspace, and merges all of a
//! keyspace's files once a good part of it is dead.
//!
//! The merge drops what no snapshot can read. It therefore waits, in the background, until every transaction that began before
//! the rows left has ended, and gives up after a while: the next run that takes rows out tries again. It blocks no
//! reader and no writer, and a crash in it loses nothing.
//!
//! A snapshot reads the files that were there at the last commit before it, so a commit of nothing follows the merge: without it
//! a server that is only read from would go on to walk over the tombstones.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::committer::CommitRequest;
use crate::definitions::StorageId;
use crate::error::Result;
use crate::row_store::Space;
use crate::row_store::generation::Generation;

/// Rows that left from which on a merge is worth its reading and writing.
const DEAD_ROWS_MIN: u64 = 50_000;

/// Part of a keyspace's entries, in percent, that has to be dead.
const DEAD_PERCENT_MIN: u64 = 10;

/// How often the end of older transactions is looked for, and how many times.
const WAIT_STEP: Duration = Duration::from_millis(200);
const WAIT_STEPS_MAX: usize = 5 * 60 * 10;

/// Rows that left each keyspace since it was merged.
#[derive(Default)]
pub(crate) struct DeadRows {
    by_space: Mutex<HashMap<Space, u64>>,
}

impl DeadRows {
    /// Adds rows; returns whether so many are dead now that a merge is due, and then counts anew.
    fn add(&self, space: Space, rows: u64, entries: u64) -> bool {
        let mut by_space = self.by_space.lock();
        let dead = by_space.entry(space).or_default();
        *dead += rows;
        let due = *dead >= DEAD_ROWS_MIN && *dead * 100 >= entries * DEAD_PERCENT_MIN;
        if due {
            by_space.remove(&space);
        }
        due
    }
}

impl Catalog {
    /// Rows left a keyspace with the commit of a csn. Merges it in the background if that is due.
    pub(crate) fn rows_left(self: &Arc<Self>, space: Space, rows: u64, csn: u64) -> Result<()> {
        let entries = self.snapshot().approximate_entries(space)? as u64;
        if self.dead_rows.add(space, rows, entries) {
            let catalog = Arc::downgrade(self);
            tokio::spawn(async move {
                let Some(catalog) = when_unseen(catalog, csn).await else {
                    tracing::info!(?space, "no compaction: an old transaction is still open");
                    return;
                };
                let store = catalog.store();
                let catalog = Arc::downgrade(&catalog);
                let merge = tokio::task::spawn_blocking(move || store.compact(space));
                match merge.await {
                    Ok(Ok(())) => {
                        tracing::debug!(?space, "keyspace was compacted");
                        if let Some(catalog) = catalog.upgrade() {
                            let nothing = CommitRequest {
                                snapshot_csn: u64::MAX,
                                ..CommitRequest::default()
                            };
                            if let Err(error) = catalog.commit(nothing).await {
                                tracing::warn!(?space, %error, "merged files wait for a commit");
                            }
                        }
                    }
                    Ok(Err(error)) => tracing::warn!(?space, %error, "compaction failed"),
                    Err(error) => tracing::warn!(?space, %error, "compaction ended"),
                }
            });
        }
        Ok(())
    }

    /// The commit of a csn has given a storage other rows than those of a generation. Drops these once nobody reads them; the next
    /// start does if an old transaction stays open for long.
    pub(crate) fn rows_replaced(
        self: &Arc<Self>,
        storage: StorageId,
        generation: Generation,
        csn: u64,
    ) {
        let catalog = Arc::downgrade(self);
        tokio::spawn(async move {
            let Some(catalog) = when_unseen(catalog, csn).await else {
                tracing::info!(storage, "an old transaction keeps replaced rows");
                return;
            };
            let store = catalog.store();
            if let Err(error) = store.drop_generation(storage, generation) {
                tracing::warn!(storage, %error, "replaced rows stay until the next start");
            }
        });
    }
}

/// The catalog, once every transaction that began before the commit of a csn has ended; `None` if that takes too long.
async fn when_unseen(catalog: Weak<Catalog>, csn: u64) -> Option<Arc<Catalog>> {
    for _ in 0..WAIT_STEPS_MAX {
        // Lookups of a single statement are no transactions, but they do not last so long.
        tokio::time::sleep(WAIT_STEP).await;
        let catalog = catalog.upgrade()?;
        if catalog.oldest_transaction() >= csn {
            return Some(catalog);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_when_many_and_a_good_part_are_dead() {
        let dead = DeadRows::default();
        let rows = Space::Rows(1);
        assert!(!dead.add(rows, DEAD_ROWS_MIN - 1, 100_000), "few");
        assert!(dead.add(rows, 1, 100_000));
        assert!(!dead.add(rows, 1, 100_000), "counted anew");
        assert!(!dead.add(rows, DEAD_ROWS_MIN, 50_000_000), "a small part");
        assert!(!dead.add(Space::Fresh(1), 1, 1), "each keyspace by itself");
    }
}
