//! Rows of the row store that point lookups have found, kept in memory so that a hot row costs no search of
//! the LSM tree.
//!
//! An entry is what one key had at one commit sequence number. It is still true as long as nobody has committed a
//! write to the key since, and the committer says so *before* a commit becomes visible: it stamps the key's slot with
//! the csn. Slots are shared by many keys; a stamp by another key only costs a needless search. So:
//!
//! - A reader uses an entry only if the slot's stamp is not newer than the entry. Whoever can see a commit, or was told
//!   that it is done, also sees its stamp, so no reader gets a value older than what it may rely on.
//! - An entry is made from a snapshot and carries the snapshot's csn. A commit that comes between snapshot and
//!   insertion has stamped the slot with a newer csn, so that the entry is never used.
//!
//! An entry may be newer than a snapshot that a transaction holds, so transactions do not read here; only
//! statements that are a transaction of their own do.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::definitions::StorageId;
use crate::row_codec::Bytes;

/// Bytes of keys and rows kept.
const CACHE_BYTES: u64 = 256 << 20;

/// Rows that are expected to fit, which sizes the cache's tables.
const CACHE_ROWS: usize = 1 << 20;

/// Slots for stamps, a power of two.
const SLOTS: usize = 1 << 16;

/// Memory that an entry takes beside its key and value.
const ENTRY_OVERHEAD_BYTES: u64 = 96;

/// What a key had at one commit sequence number.
#[derive(Debug, Clone)]
struct Entry {
    csn: u64,
    /// `None`: the row store had no row.
    value: Option<fjall::Slice>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<(StorageId, Bytes), Entry> for ByBytes {
    fn weight(&self, key: &(StorageId, Bytes), entry: &Entry) -> u64 {
        let value = entry.value.as_ref().map_or(0, |value| value.len());
        ENTRY_OVERHEAD_BYTES + (key.1.len() + value) as u64
    }
}

/// The cache of a server.
pub(crate) struct RowCache {
    entries: Cache<(StorageId, Bytes), Entry, ByBytes>,
    stamps: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// A borrowed key of the cache.
#[derive(Hash, PartialEq, Eq)]
struct Lookup<'a>(StorageId, &'a [u8]);

impl quick_cache::Equivalent<(StorageId, Bytes)> for Lookup<'_> {
    fn equivalent(&self, key: &(StorageId, Bytes)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

impl RowCache {
    pub(crate) fn new() -> Self {
        Self {
            entries: Cache::with_weighter(CACHE_ROWS, CACHE_BYTES, ByBytes),
            stamps: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::default(),
        }
    }

    fn stamp(&self, storage: StorageId, key: &[u8]) -> Option<&AtomicU64> {
        let hash = self.hasher.hash_one((storage, key));
        self.stamps
            .get(usize::try_from(hash).unwrap_or_default() % SLOTS)
    }

    /// A write to a key is about to become visible with a csn.
    pub(crate) fn written(&self, storage: StorageId, key: &[u8], csn: u64) {
        if let Some(stamp) = self.stamp(storage, key) {
            stamp.store(csn, Ordering::Release);
        }
    }

    /// Writes to any number of keys are about to become visible with a csn.
    pub(crate) fn all_written(&self, csn: u64) {
        for stamp in &self.stamps {
            stamp.store(csn, Ordering::Release);
        }
    }

    /// What the row store has for a key, if that is known: `Some(None)` says that it has no row.
    pub(crate) fn get(&self, storage: StorageId, key: &[u8]) -> Option<Option<fjall::Slice>> {
        self.entry(storage, key).map(|(_, value)| value)
    }

    /// What the row store has for a key, with the csn it was read at.
    pub(crate) fn entry(
        &self,
        storage: StorageId,
        key: &[u8],
    ) -> Option<(u64, Option<fjall::Slice>)> {
        let entry = self.entries.get(&Lookup(storage, key))?;
        self.holds(storage, key, entry.csn)
            .then_some((entry.csn, entry.value))
    }

    /// Whether what was read at a csn is still what the row store has for a key.
    pub(crate) fn holds(&self, storage: StorageId, key: &[u8], csn: u64) -> bool {
        self.stamp(storage, key)
            .is_some_and(|stamp| stamp.load(Ordering::Acquire) <= csn)
    }

    /// Keeps what a snapshot of the given csn had for a key.
    pub(crate) fn put(
        &self,
        storage: StorageId,
        key: &[u8],
        value: Option<fjall::Slice>,
        csn: u64,
    ) {
        // A slice can hold on to the whole block that it was cut from.
        let value = value.map(|value| fjall::Slice::from(&*value));
        self.entries
            .insert((storage, Bytes::from(key)), Entry { csn, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_with_the_next_write_to_their_key() {
        let cache = RowCache::new();
        let row = || Some(fjall::Slice::from(b"row".as_slice()));
        assert_eq!(cache.get(1, b"k"), None);
        cache.put(1, b"k", row(), 5);
        assert_eq!(cache.get(1, b"k"), Some(row()));
        assert_eq!(cache.get(2, b"k"), None, "another table's key");
        cache.written(1, b"k", 6);
        assert_eq!(cache.get(1, b"k"), None);
        // Made from a snapshot that did not see the write.
        cache.put(1, b"k", row(), 5);
        assert_eq!(cache.get(1, b"k"), None);
        cache.put(1, b"k", None, 6);
        assert_eq!(cache.get(1, b"k"), Some(None));
    }
}
