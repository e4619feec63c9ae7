//! Which rows of a snapshot are no longer the truth, by position.
//!
//! A query over a snapshot must not read the rows whose keys were written since ([`crate::offload`]). To compare each row's
//! key with theirs costs many times the scan, so the keys are turned into row positions once, and the scan leaves
//! positions out. A snapshot's files never change, so a position stays right as long as the snapshot.
//!
//! - The committer appends each key it writes to the *log* of the table's visible snapshot, with the csn of the commit and
//!   before the commit is visible. So a statement at csn S finds all keys it must leave out among the entries up to S,
//!   which are the first ones, because csns only go up.
//! - The first statement that needs an entry looks its position up; later ones take it from here.
//! - A new snapshot has a new log, which starts with the keys that were still fresh. The one before stays for statements
//!   that see the older snapshot: nothing is appended that they would have to know.
//! - A log is a copy of what the fresh keyspace says, made again from it at start. One that may not be right
//!   (a commit failed half way) is dropped, and statements compare keys until the next offload or start.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::closed_table::{ClosedTable, ClosedVersion};
use crate::definitions::{StorageId, Table};
use crate::error::Result;
use crate::row_codec::Bytes;

/// Logs kept for one table: the visible snapshot's and the one before.
const LOGS_PER_TABLE: usize = 2;

/// The logs of all tables.
#[derive(Default)]
pub(crate) struct FreshLogs {
    tables: Mutex<HashMap<StorageId, VecDeque<Arc<FreshLog>>>>,
}

/// The keys written since one snapshot.
pub(crate) struct FreshLog {
    /// Delta version of the snapshot.
    version: u64,
    entries: RwLock<Vec<(u64, Bytes)>>,
    positions: tokio::sync::Mutex<Positions>,
}

/// Where the rows of the first entries are.
#[derive(Default)]
struct Positions {
    /// File and row of each entry; `None` for keys that the snapshot does not have.
    found: Vec<Option<(usize, u32)>>,
    /// Rows to leave out of each file for the first `bitmaps_at` entries.
    bitmaps: Arc<Vec<RoaringBitmap>>,
    bitmaps_at: usize,
}

/// What a statement leaves out of a snapshot.
pub(crate) struct LeftOut {
    /// Whether any key is fresh for the statement, in the snapshot or not.
    pub(crate) any: bool,
    /// Rows of each file of the version, in its order.
    pub(crate) rows: Arc<Vec<RoaringBitmap>>,
}

impl FreshLogs {
    /// Starts the log of a snapshot that is about to be visible, with keys that are fresh already.
    pub(crate) fn start(&self, storage: StorageId, version: u64, keys: Vec<Bytes>) {
        let log = FreshLog {
            version,
            entries: RwLock::new(keys.into_iter().map(|key| (0, key)).collect()),
            positions: tokio::sync::Mutex::default(),
        };
        let mut tables = self.tables.lock();
        let logs = tables.entry(storage).or_default();
        logs.push_back(Arc::new(log));
        while logs.len() > LOGS_PER_TABLE {
            logs.pop_front();
        }
    }

    /// A key of the table is about to be written with a csn.
    pub(crate) fn written(&self, storage: StorageId, key: &Bytes, csn: u64) {
        if let Some(log) = self.newest(storage) {
            log.entries.write().push((csn, key.clone()));
        }
    }

    /// The keys in the newest log of a table; `None` if it has none.
    pub(crate) fn keys(&self, storage: StorageId) -> Option<HashSet<Bytes>> {
        let log = self.newest(storage)?;
        let entries = log.entries.read();
        Some(entries.iter().map(|(_, key)| key.clone()).collect())
    }

    /// Drops the logs of a table.
    pub(crate) fn forget(&self, storage: StorageId) {
        self.tables.lock().remove(&storage);
    }

    /// The log of one version of a table's snapshot.
    pub(crate) fn find(&self, storage: StorageId, version: u64) -> Option<Arc<FreshLog>> {
        let tables = self.tables.lock();
        let mut logs = tables
            .get(&storage)?
            .iter()
            .filter(|log| log.version == version);
        let log = logs.next()?;
        // An offload that wrote no file leaves the version as it was: which log a statement has to take is not known,
        // and it compares keys.
        logs.next().is_none().then(|| Arc::clone(log))
    }

    fn newest(&self, storage: StorageId) -> Option<Arc<FreshLog>> {
        self.tables.lock().get(&storage)?.back().cloned()
    }
}

impl FreshLog {
    /// What a statement at `csn` that has written `own` itself leaves out of the snapshot.
    pub(crate) async fn left_out(
        &self,
        table: &Table,
        snapshot: &ClosedTable,
        version: &ClosedVersion,
        csn: u64,
        own: &[Bytes],
    ) -> Result<LeftOut> {
        let mut positions = self.positions.lock().await;
        let (seen, unknown) = {
            let entries = self.entries.read();
            let seen = entries.partition_point(|(written, _)| *written <= csn);
            let unknown = entries.get(positions.found.len()..seen).unwrap_or_default();
            let unknown: Vec<Bytes> = unknown.iter().map(|(_, key)| key.clone()).collect();
            (seen, unknown)
        };
        if !unknown.is_empty() {
            let found = find(table, snapshot, version, &unknown).await?;
            positions.found.extend(found);
        }
        let mut rows = positions.bitmaps(version.file_count(), seen);
        drop(positions);
        if !own.is_empty() {
            let found = find(table, snapshot, version, own).await?;
            let rows = Arc::make_mut(&mut rows);
            for (file, row) in found.into_iter().flatten() {
                if let Some(bitmap) = rows.get_mut(file) {
                    bitmap.insert(row);
                }
            }
        }
        Ok(LeftOut {
            any: seen > 0 || !own.is_empty(),
            rows,
        })
    }
}

impl Positions {
    fn bitmaps(&mut self, files: usize, seen: usize) -> Arc<Vec<RoaringBitmap>> {
        if self.bitmaps_at > seen {
            // A statement on an older csn than the last one; those that follow will mostly be newer.
            return Arc::new(self.collect(vec![RoaringBitmap::new(); files], 0, seen));
        }
        if self.bitmaps.len() != files || self.bitmaps_at < seen {
            let mut known = std::mem::take(&mut self.bitmaps);
            let mut bitmaps = std::mem::take(Arc::make_mut(&mut known));
            bitmaps.resize(files, RoaringBitmap::new());
            self.bitmaps = Arc::new(self.collect(bitmaps, self.bitmaps_at, seen));
            self.bitmaps_at = seen;
        }
        Arc::clone(&self.bitmaps)
    }

    fn collect(
        &self,
        mut bitmaps: Vec<RoaringBitmap>,
        from: usize,
        to: usize,
    ) -> Vec<RoaringBitmap> {
        let found = self.found.get(from..to).unwrap_or_default();
        for (file, row) in found.iter().flatten() {
            if let Some(bitmap) = bitmaps.get_mut(*file) {
                bitmap.insert(*row);
            }
        }
        bitmaps
    }
}

/// File and row of each key.
async fn find(
    table: &Table,
    snapshot: &ClosedTable,
    version: &ClosedVersion,
    keys: &[Bytes],
) -> Result<Vec<Option<(usize, u32)>>> {
    let columns = table.key_columns().to_vec();
    let addresses = table.codec.decode::<_, Bytes>(&columns, keys, &[])?;
    Ok(snapshot.positions(version, &addresses).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_follow_the_statement() {
        let mut positions = Positions {
            found: vec![Some((0, 5)), None, Some((1, 7)), Some((0, 6))],
            ..Positions::default()
        };
        let count = |bitmaps: &[RoaringBitmap]| bitmaps.iter().map(RoaringBitmap::len).sum::<u64>();
        assert_eq!(count(&positions.bitmaps(2, 0)), 0);
        assert_eq!(count(&positions.bitmaps(2, 3)), 2);
        assert_eq!(count(&positions.bitmaps(2, 4)), 3);
        assert_eq!(count(&positions.bitmaps(2, 1)), 1, "an older statement");
        assert_eq!(count(&positions.bitmaps(2, 4)), 3);
    }

    #[test]
    fn a_new_snapshot_has_a_new_log() {
        let logs = FreshLogs::default();
        let key = |text: &str| Bytes::from(text.as_bytes());
        logs.written(1, &key("before any log"), 1);
        assert!(logs.keys(1).is_none());
        logs.start(1, 3, vec![key("a")]);
        logs.written(1, &key("b"), 7);
        assert_eq!(logs.keys(1).map(|keys| keys.len()), Some(2));
        logs.start(1, 4, Vec::new());
        logs.written(1, &key("c"), 9);
        assert_eq!(logs.keys(1), Some(HashSet::from([key("c")])));
        assert!(logs.find(1, 3).is_some(), "for statements that see it");
        logs.start(1, 5, Vec::new());
        assert!(logs.find(1, 3).is_none());
        logs.start(1, 5, Vec::new());
        assert!(logs.find(1, 5).is_none(), "two logs of one version");
        logs.forget(1);
        assert!(logs.find(1, 5).is_none());
    }
}
