//! Removing files that no version that is still needed names.
//!
//! Which versions those are the caller says; the newest one always counts, since that is what other readers of the Delta
//! table see. The caller holds the table's rewriter lock, so no file is just being written, and what no needed version names is
//! either replaced or left by a crash.
//!
//! In a directory that was adopted only own files are removed, and the log is left as it is: others may read older versions.

use std::collections::{BTreeSet, HashSet};

use deltalake::checkpoints::cleanup_expired_logs_for;
use object_store::{ObjectStore, ObjectStoreExt};

use super::write::ADOPTED_PREFIX;
use super::{ClosedTable, Result};

/// Ending of data files.
const DATA_FILE: &str = ".parquet";

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Data files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

impl ClosedTable {
    /// A version stopped being the visible one with the commit of a csn; transactions of an older snapshot still read it.
    pub(crate) fn superseded(&self, version: u64, csn: u64) {
        self.layout.superseded.lock().push((version, csn));
    }

    /// Versions that transactions read whose snapshot is of `oldest` or newer, besides the visible one. Those of before the
    /// server's start have no reader.
    pub(crate) fn read_since(&self, oldest: u64) -> Vec<u64> {
        let mut superseded = self.layout.superseded.lock();
        superseded.retain(|(_, csn)| *csn > oldest);
        superseded.iter().map(|(version, _)| *version).collect()
    }

    /// Removes the data files that none of the `needed` versions names, and log entries before the oldest of them as far as
    /// a checkpoint stands in for these.
    pub(crate) async fn vacuum(&self, needed: &BTreeSet<u64>, now_ms: i64) -> Result<Vacuumed> {
        let newest = self.latest().await?;
        let mut named: HashSet<String> = HashSet::new();
        for version in needed {
            let version = self.at_version(*version).await?;
            named.extend(version.files().iter().map(|file| file.path().to_string()));
        }
        named.extend(newest.files().iter().map(|file| file.path().to_string()));
        let adopted = self.layout.spec.adopted.is_some();
        let store = &self.layout.store;
        // The log has folders of its own, and its checkpoints end alike.
        let found = store.list_with_delimiter(None).await?;
        let mut done = Vacuumed::default();
        for file in found.objects {
            let path = file.location.as_ref();
            let own = !adopted || path.starts_with(ADOPTED_PREFIX);
            if !own || !path.ends_with(DATA_FILE) || named.contains(path) {
                continue;
            }
            store.delete(&file.location).await?;
            done.files += 1;
            done.bytes += file.size;
        }
        if adopted {
            return Ok(done);
        }
        let oldest = needed.first().copied().unwrap_or(newest.version());
        let oldest = oldest.min(newest.version());
        let log_store = self.layout.log_store.as_ref();
        cleanup_expired_logs_for(oldest, log_store, now_ms, None).await?;
        Ok(done)
    }
}
