//! Generations: the keyspaces of a storage's rows, replaced as a whole.
//!
//! To delete most rows of a keyspace one by one costs a tombstone for each of them, in the journal, in memory and in every
//! scan until they are merged away. To write the few rows that stay to a new keyspace costs only these. Such a keyspace
//! has a number that no other has, its generation:
//!
//! 1. **staged**: rows are written in key order, as files, to a keyspace that nobody reads but the transaction that loads them
//!    ([`crate::bulk_load`]). One that is not taken is dropped.
//! 2. **taken**: a batch stores its number under [`meta_key::generation`](super::meta_key::generation). Snapshots from then on read
//!    it, and later batches write to it; snapshots from before go on to read the one before.
//! 3. **dropped**: the one before, once no transaction that began before the batch is left.
//!
//! The fresh rows of a storage have the same generation: a table whose rows were replaced has no snapshot.
//! Whatever a crash leaves that is not a storage's generation goes when the store is opened.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{RowStore, Space, meta_key};
use crate::definitions::StorageId;
use crate::error::{CatalogError, Result};
use crate::row_codec::Bytes;

/// Chunks of rows that wait to be written.
const CHUNKS_WAITING_MAX: usize = 2;

/// Which of a storage's keyspaces holds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

impl Generation {
    /// The one that a storage begins with.
    pub(crate) const FIRST: Self = Self(0);

    /// One that no storage has had, from a number that was never used.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    /// What is stored of it.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The generations of all storages that have a later one than the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Generations(HashMap<StorageId, Generation>);

impl Generations {
    /// The generation of a keyspace.
    pub(crate) fn of(&self, space: Space) -> Generation {
        match space {
            Space::Rows(storage) | Space::Fresh(storage) => {
                self.0.get(&storage).copied().unwrap_or(Generation::FIRST)
            }
            Space::Meta | Space::ShadowClosed(_) | Space::Index(_) => Generation::FIRST,
        }
    }

    /// Gives a storage another generation.
    pub(super) fn renew(&mut self, storage: StorageId, generation: Generation) {
        self.0.insert(storage, generation);
    }
}

/// A keyspace's storage and generation, from its name without the letter in front.
pub(super) fn parse(name: &str) -> Option<(StorageId, Generation)> {
    match name.split_once('.') {
        None => Some((name.parse().ok()?, Generation::FIRST)),
        Some((storage, generation)) => {
            Some((storage.parse().ok()?, Generation(generation.parse().ok()?)))
        }
    }
}

/// The generations that are stored.
pub(super) fn load(database: &Database) -> Result<Generations> {
    let mut generations = Generations::default();
    let meta = keyspace(database, &Space::Meta.keyspace_name(Generation::FIRST))?;
    for entry in database.snapshot().prefix(&meta, meta_key::GENERATIONS) {
        let (key, value) = entry.into_inner()?;
        let corrupted = || CatalogError::corrupted("a generation cannot be read");
        let storage = std::str::from_utf8(&key)
            .ok()
            .and_then(|key| key.strip_prefix(meta_key::GENERATIONS))
            .and_then(|hex| StorageId::from_str_radix(hex, 16).ok())
            .ok_or_else(corrupted)?;
        let number = (*value).try_into().map_err(|_| corrupted())?;
        generations.renew(storage, Generation(u64::from_be_bytes(number)));
    }
    Ok(generations)
}

/// Drops the keyspaces of rows that are not a storage's generation.
pub(super) fn sweep(database: &Database, generations: &Generations) -> Result<()> {
    for name in database.list_keyspace_names() {
        let (space, of): (fn(StorageId) -> Space, _) = match name.split_at_checked(1) {
            Some(("r", of)) => (Space::Rows, of),
            Some(("f", of)) => (Space::Fresh, of),
            _ => continue,
        };
        if let Some((storage, generation)) = parse(of)
            && generations.of(space(storage)) != generation
        {
            database.delete_keyspace(keyspace(database, &name)?)?;
        }
    }
    Ok(())
}

fn keyspace(database: &Database, name: &str) -> Result<Keyspace> {
    Ok(database.keyspace(name, KeyspaceCreateOptions::default)?)
}

/// Rows on their way to a new generation, written by a thread of its own.
pub(crate) struct Staging {
    rows: mpsc::Sender<Vec<(Bytes, Bytes)>>,
    written: JoinHandle<Result<Staged>>,
}

impl Staging {
    /// Begins a generation without rows.
    pub(crate) fn begin(store: Arc<RowStore>, storage: StorageId, generation: Generation) -> Self {
        let (rows, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
        let write = move || write(store, storage, generation, chunks);
        Self {
            rows,
            written: tokio::task::spawn_blocking(write),
        }
    }

    /// Adds keys and values, in key order and behind those before.
    pub(crate) async fn add(&mut self, rows: Vec<(Bytes, Bytes)>) -> Result<()> {
        if self.rows.send(rows).await.is_ok() {
            return Ok(());
        }
        // The thread ends early only with an error.
        let ended = (&mut self.written).await.map_err(join_failed)?;
        ended.and(Err(CatalogError::internal("no rows are taken any more")))
    }

    /// The generation, once all its rows are on disk.
    pub(crate) async fn finish(self) -> Result<Staged> {
        drop(self.rows);
        self.written.await.map_err(join_failed)?
    }
}

fn join_failed(error: tokio::task::JoinError) -> CatalogError {
    CatalogError::internal(format!("rows were not copied: {error}"))
}

fn write(
    store: Arc<RowStore>,
    storage: StorageId,
    generation: Generation,
    mut chunks: mpsc::Receiver<Vec<(Bytes, Bytes)>>,
) -> Result<Staged> {
    let staged = Staged::new(store, storage, generation);
    let keyspace = staged.rows()?;
    let mut ingestion = keyspace.start_ingestion()?;
    while let Some(rows) = chunks.blocking_recv() {
        for (key, value) in rows {
            ingestion.write(&*key, &*value)?;
        }
    }
    ingestion.finish()?;
    Ok(staged)
}

/// A generation whose rows are on disk. It is dropped with this, unless it is kept.
pub(crate) struct Staged {
    store: Arc<RowStore>,
    storage: StorageId,
    generation: Generation,
    kept: AtomicBool,
}

impl Staged {
    /// For a generation that has no rows yet.
    pub(crate) fn new(store: Arc<RowStore>, storage: StorageId, generation: Generation) -> Self {
        Self {
            store,
            storage,
            generation,
            kept: AtomicBool::new(false),
        }
    }

    pub(crate) fn storage(&self) -> StorageId {
        self.storage
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// The keyspace of its rows.
    pub(crate) fn rows(&self) -> Result<Keyspace> {
        let space = Space::Rows(self.storage);
        self.store.keyspace_of(space, self.generation)
    }

    /// Leaves the generation where it is: a batch takes it, or the next opening of the store drops it.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// No batch has taken it, and none will.
    pub(crate) fn refused(&self) {
        self.kept.store(false, Ordering::Relaxed);
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            let space = Space::Rows(self.storage);
            if let Err(error) = self.store.drop_keyspace(space, self.generation) {
                tracing::warn!(?space, %error, "copied rows stay until the next start");
            }
        }
    }
}

/// Staged rows, as a snapshot reads them that has loaded them.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) staged: Arc<Staged>,
    pub(super) rows: Keyspace,
    /// Of the moment when all were there. Nobody writes to them before they are taken.
    pub(super) snapshot: Snapshot,
}

impl RowStore {
    /// Staged rows as they are now.
    pub(super) fn loaded(&self, staged: Staged) -> Result<Loaded> {
        Ok(Loaded {
            rows: staged.rows()?,
            snapshot: self.database.snapshot(),
            staged: Arc::new(staged),
        })
    }

    /// Makes sure that the keyspaces of a storage's generation can be read until they are dropped.
    pub(crate) fn hold_generation(&self, storage: StorageId) -> Result<Generation> {
        let generation = self.latest.read().generations.of(Space::Rows(storage));
        for space in [Space::Rows(storage), Space::Fresh(storage)] {
            if self
                .database
                .keyspace_exists(&space.keyspace_name(generation))
            {
                self.keyspace_of(space, generation)?;
            }
        }
        Ok(generation)
    }

    /// Drops the keyspaces of a generation that nothing reads any more.
    pub(crate) fn drop_generation(&self, storage: StorageId, generation: Generation) -> Result<()> {
        for space in [Space::Rows(storage), Space::Fresh(storage)] {
            self.drop_keyspace(space, generation)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORAGE: StorageId = 7;
    const ROWS: Space = Space::Rows(STORAGE);

    fn bytes(text: &str) -> Bytes {
        Bytes::from(text.as_bytes())
    }

    /// Stages a generation with some rows.
    async fn staged(store: &Arc<RowStore>, number: u64, keys: &[&str]) -> Staged {
        let generation = Generation::new(number);
        let mut staging = Staging::begin(Arc::clone(store), STORAGE, generation);
        let rows = keys.iter().map(|key| (bytes(key), bytes("copied")));
        staging.add(rows.collect()).await.unwrap();
        staging.finish().await.unwrap()
    }

    /// Writes a row, and takes a generation along with it.
    fn put(store: &RowStore, key: &str, taken: Option<Generation>) {
        let mut batch = store.batch();
        let rows = match taken {
            Some(generation) => store.keyspace_of(ROWS, generation).unwrap(),
            None => store.keyspace(ROWS).unwrap(),
        };
        batch.insert(&rows, key.as_bytes(), b"written".as_slice());
        if let Some(generation) = taken {
            let meta = store.keyspace(Space::Meta).unwrap();
            let name = meta_key::generation(STORAGE);
            batch.insert(&meta, name, generation.to_bytes());
        }
        let renewed: Vec<_> = taken.into_iter().map(|taken| (STORAGE, taken)).collect();
        store.write(batch, &renewed).unwrap();
    }

    fn keys(snapshot: &super::super::StoreSnapshot) -> Vec<Bytes> {
        snapshot.keys(ROWS).unwrap()
    }

    #[tokio::test]
    async fn a_generation_replaces_the_rows_for_those_who_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(RowStore::open(folder.path()).unwrap());
        for key in ["a", "b", "c"] {
            put(&store, key, None);
        }
        let before = store.snapshot();
        let first = store.hold_generation(STORAGE).unwrap();
        let staged = staged(&store, 20, &["b"]).await;
        assert_eq!(keys(&store.snapshot()).len(), 3, "not taken yet");
        put(&store, "d", Some(staged.generation()));
        staged.keep();
        assert_eq!(keys(&store.snapshot()), [bytes("b"), bytes("d")]);
        assert_eq!(keys(&before).len(), 3);
        put(&store, "e", None);
        assert_eq!(keys(&store.snapshot()).len(), 3);
        store.drop_generation(STORAGE, first).unwrap();
        assert!(before.keys(ROWS).is_err(), "not made again");
        drop((before, staged, store));
        let store = Arc::new(RowStore::open(folder.path()).unwrap());
        store.sweep_generations().unwrap();
        assert_eq!(keys(&store.snapshot()).len(), 3);
        assert_eq!(store.storages(), [STORAGE]);
    }

    #[tokio::test]
    async fn a_keyspace_is_not_taken_for_one_that_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Arc::new(RowStore::open(folder.path()).unwrap());
        let store = open();
        put(&store, "a", None);
        // No batch comes behind their end.
        for number in 20..30 {
            drop(staged(&store, number, &["a", "b"]).await);
        }
        drop(store);
        let store = open();
        let staged = staged(&store, 20, &["b", "c"]).await;
        put(&store, "d", Some(staged.generation()));
        staged.keep();
        drop(staged);
        assert_eq!(keys(&store.snapshot()).len(), 3);
        drop(store);
        assert_eq!(keys(&open().snapshot()).len(), 3);
    }

    #[tokio::test]
    async fn what_is_not_taken_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(RowStore::open(folder.path()).unwrap());
        put(&store, "a", None);
        let names = |store: &RowStore| {
            let mut names = store.database.list_keyspace_names();
            names.sort();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        drop(staged(&store, 20, &["a"]).await);
        assert_eq!(names(&store), ["meta", "r7"]);
        drop(Staging::begin(
            Arc::clone(&store),
            STORAGE,
            Generation::new(21),
        ));
        // As a crash would leave it.
        let crashed = staged(&store, 22, &["a", "b"]).await;
        crashed.keep();
        drop(crashed);
        assert!(names(&store).contains(&"r7.22".to_string()));
        drop(store);
        let store = Arc::new(RowStore::open(folder.path()).unwrap());
        store.sweep_generations().unwrap();
        assert_eq!(names(&store), ["meta", "r7"]);
        assert_eq!(keys(&store.snapshot()), [bytes("a")]);
    }
}
