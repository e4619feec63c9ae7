//! Which rows of columnar files are no longer the truth, by position.
//!
//! A query over a closed table must not read the rows whose keys are in `shadow_closed`, one over a snapshot not those whose
//! keys are fresh ([`crate::offload`]). To compare each row's key with theirs costs many times the scan, so the keys are
//! turned into row positions once, and the scan leaves positions out. The files of a version never change, so a
//! position stays right as long as the version is the visible one.
//!
//! - The committer appends each key that it puts into such a keyspace to the *log* of the visible version, with the csn of
//!   the commit and before the commit is visible; a key that is there already is not appended again. So a statement at csn S
//!   finds all keys it must leave out among the entries up to S, which are the first ones, because csns only go up.
//! - The first statement that needs an entry looks its position up; later ones take it from here.
//! - A new version has a new log, which starts with the keys that stay. The one before stays for statements
//!   that see the older version: nothing is appended that they would have to know.
//! - A log is a copy of what the keyspace says, made again from it at start. One that may not be right
//!   (a commit failed half way) is dropped, and statements compare keys until the next version or start.
//!
//! The log also remembers the newest writes, repeated ones too, for those who keep what fresh rows hold
//! ([`crate::fresh_rows`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::closed_table::{ClosedTable, ClosedVersion};
use crate::definitions::Table;
use crate::error::Result;
use crate::row_codec::Bytes;
use crate::row_store::Space;

/// Logs kept for one keyspace: the visible version's and the one before.
const LOGS_PER_SPACE: usize = 2;

/// Newest writes that a log remembers.
const RECENT_WRITES_MAX: usize = 1 << 16;

/// A key that the entries share.
type Key = Arc<[u8]>;

/// The logs of all keyspaces of shadowed keys.
#[derive(Default)]
pub(crate) struct ShadowLogs {
    spaces: Mutex<HashMap<Space, VecDeque<Arc<ShadowLog>>>>,
}

/// The keys shadowed since one version of a table's files.
pub(crate) struct ShadowLog {
    /// Delta version of the files.
    version: u64,
    entries: RwLock<Entries>,
    positions: tokio::sync::Mutex<Positions>,
}

#[derive(Default)]
struct Entries {
    /// Each key with the csn of the first commit that shadowed it.
    keys: Vec<(u64, Key)>,
    known: HashSet<Key, foldhash::fast::RandomState>,
    /// The writes after `recent_since`, repeated ones too.
    recent: Vec<(u64, Key)>,
    recent_since: u64,
}

/// Where the rows of the first entries are.
#[derive(Default)]
struct Positions {
    /// File and row of each entry; `None` for keys that the files do not have.
    found: Vec<Option<(usize, u32)>>,
    /// Rows to leave out of each file for the first `bitmaps_at` entries.
    bitmaps: Arc<Vec<Arc<RoaringBitmap>>>,
    bitmaps_at: usize,
}

/// What a statement leaves out of a version.
pub(crate) struct LeftOut {
    /// Whether any key is shadowed for the statement, in the files or not.
    pub(crate) any: bool,
    /// Rows of each file of the version, in its order.
    pub(crate) rows: Arc<Vec<Arc<RoaringBitmap>>>,
}

impl ShadowLogs {
    /// Starts the log of a version that is about to be visible, with keys that are shadowed already.
    pub(crate) fn start(
        &self,
        space: Space,
        version: u64,
        csn: u64,
        keys: impl IntoIterator<Item = Bytes>,
    ) {
        let keys: Vec<(u64, Key)> = keys.into_iter().map(|key| (0, Key::from(key))).collect();
        let log = ShadowLog {
            version,
            entries: RwLock::new(Entries {
                known: keys.iter().map(|(_, key)| Arc::clone(key)).collect(),
                keys,
                recent: Vec::new(),
                recent_since: csn,
            }),
            positions: tokio::sync::Mutex::default(),
        };
        let mut spaces = self.spaces.lock();
        let logs = spaces.entry(space).or_default();
        logs.push_back(Arc::new(log));
        while logs.len() > LOGS_PER_SPACE {
            logs.pop_front();
        }
    }

    /// A key is about to be put into the keyspace with a csn.
    pub(crate) fn written(&self, space: Space, key: &[u8], csn: u64) {
        self.all_written(space, [key], csn);
    }

    /// Keys are about to be put into the keyspace with a csn.
    pub(crate) fn all_written<'a>(
        &self,
        space: Space,
        keys: impl IntoIterator<Item = &'a [u8]>,
        csn: u64,
    ) {
        if let Some(log) = self.newest(space) {
            let mut entries = log.entries.write();
            let keys = keys.into_iter();
            let (more, _) = keys.size_hint();
            entries.known.reserve(more);
            entries.keys.reserve(more);
            for key in keys {
                entries.add(key, csn);
            }
        }
    }

    /// The keys in the newest log of a keyspace; `None` if it has none.
    pub(crate) fn keys(&self, space: Space) -> Option<HashSet<Bytes>> {
        let log = self.newest(space)?;
        let entries = log.entries.read();
        Some(
            entries
                .known
                .iter()
                .map(|key| Bytes::from(&**key))
                .collect(),
        )
    }

    /// Drops the logs of a keyspace.
    pub(crate) fn forget(&self, space: Space) {
        self.spaces.lock().remove(&space);
    }

    /// Drops all logs.
    pub(crate) fn forget_all(&self) {
        self.spaces.lock().clear();
    }

    /// The log of one version of the files.
    pub(crate) fn find(&self, space: Space, version: u64) -> Option<Arc<ShadowLog>> {
        let spaces = self.spaces.lock();
        let mut logs = spaces
            .get(&space)?
            .iter()
            .filter(|log| log.version == version);
        let log = logs.next()?;
        // A run that wrote no file leaves the version as it was: which log a statement has to take is not known,
        // and it compares keys.
        logs.next().is_none().then(|| Arc::clone(log))
    }

    fn newest(&self, space: Space) -> Option<Arc<ShadowLog>> {
        self.spaces.lock().get(&space)?.back().cloned()
    }
}

impl Entries {
    fn add(&mut self, key: &[u8], csn: u64) {
        let key = match self.known.get(key) {
            Some(known) => Arc::clone(known),
            None => {
                let key = Key::from(key);
                self.known.insert(Arc::clone(&key));
                self.keys.push((csn, Arc::clone(&key)));
                key
            }
        };
        if self.recent.len() >= RECENT_WRITES_MAX {
            self.recent.clear();
            // Of this csn some writes may be among those just forgotten.
            self.recent_since = csn;
        }
        self.recent.push((csn, key));
    }

    /// Entries that a statement at `csn` sees.
    fn seen(&self, csn: u64) -> usize {
        self.keys.partition_point(|(written, _)| *written <= csn)
    }
}

impl ShadowLog {
    /// Keys that a statement at `csn` must leave out, in the files or not.
    pub(crate) fn len(&self, csn: u64) -> usize {
        self.entries.read().seen(csn)
    }

    /// Keys written after one csn, up to another, some of them more than once; `None` if that is not known any more.
    pub(crate) fn written_between(&self, after: u64, up_to: u64) -> Option<Vec<Bytes>> {
        let entries = self.entries.read();
        if after < entries.recent_since {
            return None;
        }
        let first = entries.recent.partition_point(|(csn, _)| *csn <= after);
        let last = entries.recent.partition_point(|(csn, _)| *csn <= up_to);
        let written = entries.recent.get(first..last).unwrap_or_default();
        Some(written.iter().map(|(_, key)| Bytes::from(&**key)).collect())
    }

    /// What a statement at `csn` that has written `own` itself leaves out of the files.
    pub(crate) async fn left_out(
        &self,
        table: &Table,
        files: &ClosedTable,
        version: &ClosedVersion,
        csn: u64,
        own: &[Bytes],
    ) -> Result<LeftOut> {
        let mut positions = self.positions.lock().await;
        let (seen, unknown) = {
            let entries = self.entries.read();
            let seen = entries.seen(csn);
            let unknown = entries.keys.get(positions.found.len()..seen);
            let unknown: Vec<Key> = unknown
                .unwrap_or_default()
                .iter()
                .map(|(_, key)| Arc::clone(key))
                .collect();
            (seen, unknown)
        };
        if !unknown.is_empty() {
            let found = find(table, files, version, &unknown).await?;
            positions.found.extend(found);
        }
        let mut rows = positions.bitmaps(version.file_count(), seen);
        drop(positions);
        if !own.is_empty() {
            let found = find(table, files, version, own).await?;
            let rows = Arc::make_mut(&mut rows);
            for (file, row) in found.into_iter().flatten() {
                insert(rows, file, row);
            }
        }
        Ok(LeftOut {
            any: seen > 0 || !own.is_empty(),
            rows,
        })
    }
}

impl Positions {
    fn bitmaps(&mut self, files: usize, seen: usize) -> Arc<Vec<Arc<RoaringBitmap>>> {
        if self.bitmaps_at > seen {
            // A statement on an older csn than the last one; those that follow will mostly be newer.
            return Arc::new(self.collect(vec![Arc::default(); files], 0, seen));
        }
        if self.bitmaps.len() != files || self.bitmaps_at < seen {
            let mut known = std::mem::take(&mut self.bitmaps);
            let mut bitmaps = std::mem::take(Arc::make_mut(&mut known));
            bitmaps.resize_with(files, Arc::default);
            self.bitmaps = Arc::new(self.collect(bitmaps, self.bitmaps_at, seen));
            self.bitmaps_at = seen;
        }
        Arc::clone(&self.bitmaps)
    }

    fn collect(
        &self,
        mut bitmaps: Vec<Arc<RoaringBitmap>>,
        from: usize,
        to: usize,
    ) -> Vec<Arc<RoaringBitmap>> {
        let found = self.found.get(from..to).unwrap_or_default();
        for (file, row) in found.iter().flatten() {
            insert(&mut bitmaps, *file, *row);
        }
        bitmaps
    }
}

/// Adds a row to those of its file; what running statements hold stays as it is.
fn insert(bitmaps: &mut [Arc<RoaringBitmap>], file: usize, row: u32) {
    if let Some(bitmap) = bitmaps.get_mut(file) {
        Arc::make_mut(bitmap).insert(row);
    }
}

/// Rows of the keys in each file of a version, in its order.
pub(crate) async fn rows_of(
    table: &Table,
    files: &ClosedTable,
    version: &ClosedVersion,
    keys: &[Bytes],
) -> Result<Vec<Arc<RoaringBitmap>>> {
    let mut rows = vec![Arc::default(); version.file_count()];
    let found = find(table, files, version, keys).await?;
    for (file, row) in found.into_iter().flatten() {
        insert(&mut rows, file, row);
    }
    Ok(rows)
}

/// File and row of each key.
async fn find<K: AsRef<[u8]>>(
    table: &Table,
    files: &ClosedTable,
    version: &ClosedVersion,
    keys: &[K],
) -> Result<Vec<Option<(usize, u32)>>> {
    let columns = table.key_columns().to_vec();
    let addresses = table.codec.decode::<_, Bytes>(&columns, keys, &[])?;
    Ok(files.positions(version, &addresses).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space::Fresh(1);

    fn key(text: &str) -> Bytes {
        Bytes::from(text.as_bytes())
    }

    #[test]
    fn bitmaps_follow_the_statement() {
        let mut positions = Positions {
            found: vec![Some((0, 5)), None, Some((1, 7)), Some((0, 6))],
            ..Positions::default()
        };
        let count = |rows: &[Arc<RoaringBitmap>]| rows.iter().map(|rows| rows.len()).sum::<u64>();
        assert_eq!(count(&positions.bitmaps(2, 0)), 0);
        assert_eq!(count(&positions.bitmaps(2, 3)), 2);
        assert_eq!(count(&positions.bitmaps(2, 4)), 3);
        assert_eq!(count(&positions.bitmaps(2, 1)), 1, "an older statement");
        assert_eq!(count(&positions.bitmaps(2, 4)), 3);
    }

    #[test]
    fn a_new_version_has_a_new_log() {
        let logs = ShadowLogs::default();
        logs.written(SPACE, b"before any log", 1);
        assert!(logs.keys(SPACE).is_none());
        logs.start(SPACE, 3, 1, vec![key("a")]);
        logs.written(SPACE, b"b", 7);
        assert_eq!(logs.keys(SPACE).map(|keys| keys.len()), Some(2));
        logs.start(SPACE, 4, 8, Vec::new());
        logs.written(SPACE, b"c", 9);
        assert_eq!(logs.keys(SPACE), Some(HashSet::from([key("c")])));
        assert!(logs.find(SPACE, 3).is_some(), "for statements that see it");
        logs.start(SPACE, 5, 10, Vec::new());
        assert!(logs.find(SPACE, 3).is_none());
        logs.start(SPACE, 5, 11, Vec::new());
        assert!(logs.find(SPACE, 5).is_none(), "two logs of one version");
        assert!(logs.find(Space::ShadowClosed(1), 5).is_none());
        logs.forget(SPACE);
        assert!(logs.find(SPACE, 5).is_none());
    }

    #[test]
    fn a_key_is_an_entry_once_and_a_write_each_time() {
        let logs = ShadowLogs::default();
        logs.start(SPACE, 1, 10, vec![key("a")]);
        for (written, csn) in [("b", 11), ("a", 12), ("b", 13)] {
            logs.written(SPACE, written.as_bytes(), csn);
        }
        let log = logs.find(SPACE, 1).unwrap();
        assert_eq!([10, 11, 13].map(|csn| log.len(csn)), [1, 2, 2]);
        assert_eq!(log.written_between(11, 12), Some(vec![key("a")]));
        assert_eq!(log.written_between(10, 13).map(|keys| keys.len()), Some(3));
        assert_eq!(log.written_between(9, 13), None, "before the log");
        for csn in 14..14 + RECENT_WRITES_MAX as u64 {
            logs.written(SPACE, b"a", csn);
        }
        assert_eq!(log.written_between(11, 12), None, "forgotten");
        assert_eq!(log.len(u64::MAX), 2);
    }
}
