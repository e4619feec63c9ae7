//! The row store: ordered keyspaces on disk (fjall), one batch over all of them, one snapshot of all of them.
//!
//! Keyspaces:
//!
//! | name | key | value |
//! | --- | --- | --- |
//! | `meta` | see [`meta_key`] | counters, definitions, manifests, intents (JSON, or big-endian integers) |
//! | `r<storage>` | row key ([`crate::row_codec`]) | row value |
//! | `s<storage>` | row key | empty: the key is in `shadow_closed` |
//! | `f<storage>` | row key | what changed since the snapshot: [`FRESH_ROW`] and the row value, or [`FRESH_TOMBSTONE`] |
//! | `i<storage>` | indexed values and row key | how to tell them apart (`index::entry`) |
//!
//! Writing happens in the committer only, but for files of generations that nobody has yet; everything else reads through a
//! [`StoreSnapshot`].
//! A keyspace is made on first use and outlives its table until [`RowStore::drop_storage`].
//!
//! The keyspaces of a storage's rows and fresh rows can be replaced by others, the next *generation*
//! ([`generation`]). Which one a storage has is part of what a batch writes and a snapshot sees.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};
use parking_lot::{Mutex, RwLock};

use crate::definitions::StorageId;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_codec::Bytes;
use crate::storage_failure;

pub(crate) mod generation;
mod size;

use generation::{Generation, Generations, Loaded, Staged};

/// Bytes of decoded blocks kept in memory.
pub const BLOCK_CACHE_BYTES: u64 = 512 << 20;

/// Bytes of journal after which memtables are flushed.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// How long a compaction waits for memtables to be written, and how often it looks.
const FLUSH_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(60);
const FLUSH_WAIT_STEP: std::time::Duration = std::time::Duration::from_millis(10);

/// Snapshots after whose end fjall moves its watermark.
const SNAPSHOTS_PER_WATERMARK: usize = 10_000;

/// Sequence numbers that are passed over when the store is opened. fjall goes on behind the highest one that it finds in the keyspaces
/// and journals; those it has given to its own list of keyspaces it does not look at. A keyspace can be made and dropped without
/// any other trace, and fjall gives its identifier to the next one: with a lower number than the one it was dropped with,
/// that one would be gone at the next opening. There are never as many without a batch behind them.
const SEQUENCE_NUMBERS_PASSED: u64 = 1 << 24;

/// First byte of a fresh row, in front of its value.
pub(crate) const FRESH_ROW: u8 = 1;

/// All of a fresh tombstone.
pub(crate) const FRESH_TOMBSTONE: u8 = 0;

/// Keys of the `meta` keyspace.
pub mod meta_key {
    use crate::definitions::{Oid, StorageId};

    /// Sequence number of the row store's own when it was opened last.
    pub const OPENED: &str = "opened";
    /// Version of the on-disk format.
    pub const FORMAT: &str = "format";
    /// Last commit sequence number.
    pub const CSN: &str = "csn";
    /// Next object identifier.
    pub const NEXT_OID: &str = "next_oid";
    /// Next storage identifier.
    pub const NEXT_STORAGE: &str = "next_storage";
    /// csn of the last change to databases and roles.
    pub const GLOBALS_VERSION: &str = "globals_version";
    /// Prefix of databases.
    pub const DATABASES: &str = "database/";
    /// Prefix of roles.
    pub const ROLES: &str = "role/";
    /// Prefix of restore points.
    pub const POINTS: &str = "point/";
    /// Prefix of what is visible of closed tables.
    pub const MANIFESTS: &str = "manifest/";
    /// Prefix of intents of housekeeping.
    pub const INTENTS: &str = "intent/";
    /// Prefix of intents of offload.
    pub const OFFLOAD_INTENTS: &str = "offload_intent/";
    /// Where columnar files lie, if not in the data directory.
    pub const COLUMNAR: &str = "columnar";
    /// Prefix of jobs.
    pub const JOBS: &str = "job/";
    /// Prefix of where sequences stand.
    pub const SEQUENCES: &str = "sequence/";
    /// Prefix of what is visible of snapshots.
    pub const SNAPSHOTS: &str = "snapshot/";
    /// Prefix of generations of keyspaces.
    pub const GENERATIONS: &str = "generation/";

    /// A database.
    pub fn database(oid: Oid) -> String {
        format!("{DATABASES}{oid:08x}")
    }
    /// The name of a database, written so that two creators conflict.
    pub fn database_name(name: &str) -> String {
        format!("database_name/{name}")
    }
    /// A role.
    pub fn role(oid: Oid) -> String {
        format!("{ROLES}{oid:08x}")
    }
    /// csn of the last change to a database's definitions.
    pub fn definitions_version(database: Oid) -> String {
        format!("definitions_version/{database:08x}")
    }
    /// Prefix of a database's schemas.
    pub fn schemas(database: Oid) -> String {
        format!("definition/{database:08x}/schema/")
    }
    /// A schema.
    pub fn schema(database: Oid, oid: Oid) -> String {
        format!("{}{oid:08x}", schemas(database))
    }
    /// Prefix of a database's relations.
    pub fn relations(database: Oid) -> String {
        format!("definition/{database:08x}/relation/")
    }
    /// A relation.
    pub fn relation(database: Oid, oid: Oid) -> String {
        format!("{}{oid:08x}", relations(database))
    }
    /// Where a sequence stands.
    pub fn sequence(storage: StorageId) -> String {
        format!("{SEQUENCES}{storage:016x}")
    }
    /// Prefix of a database's comments.
    pub fn comments(database: Oid) -> String {
        format!("definition/{database:08x}/comment/")
    }
    /// What COMMENT ON said of an object.
    pub fn comment(database: Oid, oid: Oid) -> String {
        format!("{}{oid:08x}", comments(database))
    }
    /// The name of a schema or relation, written so that two creators conflict.
    pub fn name(database: Oid, schema: Oid, name: &str) -> String {
        format!("name/{database:08x}/{schema:08x}/{name}")
    }
    /// The manifest of a hybrid table.
    pub fn manifest(storage: StorageId) -> String {
        format!("{MANIFESTS}{storage:016x}")
    }
    /// A location that a table has adopted, written so that two adopters conflict.
    pub fn adopted(location: &str) -> String {
        format!("adopted/{location}")
    }
    /// A job.
    pub fn job(id: u64) -> String {
        format!("{JOBS}{id:016x}")
    }
    /// What is visible of a table's snapshot.
    pub fn snapshot(storage: StorageId) -> String {
        format!("{SNAPSHOTS}{storage:016x}")
    }
    /// The generation of a storage's rows.
    pub fn generation(storage: StorageId) -> String {
        format!("{GENERATIONS}{storage:016x}")
    }
    /// Prefix of a table's restore points.
    pub fn points(storage: StorageId) -> String {
        format!("{POINTS}{storage:016x}/")
    }
    /// A restore point.
    pub fn point(storage: StorageId, version: u64) -> String {
        format!("{}{version:016x}", points(storage))
    }
    /// The intent of an offload.
    pub fn offload_intent(storage: StorageId) -> String {
        format!("{OFFLOAD_INTENTS}{storage:016x}")
    }
    /// The intent of a housekeeping run.
    pub fn intent(storage: StorageId) -> String {
        format!("{INTENTS}{storage:016x}")
    }
}

/// A keyspace of the row store, by what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Counters, definitions, manifests.
    Meta,
    /// Rows of a table.
    Rows(StorageId),
    /// Keys for which the closed table is no longer the truth.
    ShadowClosed(StorageId),
    /// Keys for which the snapshot is no longer the truth, with what is.
    Fresh(StorageId),
    /// Entries of an index.
    Index(StorageId),
}

impl Space {
    fn keyspace_name(self, generation: Generation) -> String {
        let name = match self {
            Self::Meta => "meta".to_string(),
            Self::Rows(storage) => format!("r{storage}"),
            Self::ShadowClosed(storage) => format!("s{storage}"),
            Self::Fresh(storage) => format!("f{storage}"),
            Self::Index(storage) => format!("i{storage}"),
        };
        match generation {
            Generation::FIRST => name,
            later => format!("{name}.{later}"),
        }
    }
}

/// What the last batch left.
struct Latest {
    snapshot: Snapshot,
    generations: Arc<Generations>,
}

/// The open row store of a server.
pub struct RowStore {
    database: Database,
    /// As of the last batch. fjall's own snapshots can see half of a batch: whatever flushes, compacts, makes or drops a
    /// keyspace while a batch is applied moves the visible sequence number beyond the batch's. The one writer takes
    /// this one when no batch is under way, and everybody reads copies of it.
    latest: RwLock<Latest>,
    keyspaces: Mutex<HashMap<(Space, Generation), Keyspace>>,
    /// Rows of small spaces.
    counts: Mutex<size::Counts>,
    /// Why the store takes no more writes.
    broken: OnceLock<CatalogError>,
}

impl RowStore {
    /// Opens or creates the store in `path`. A store that another process has open is an error.
    pub fn open(path: &Path) -> Result<Self> {
        let database = Database::builder(path)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()?;
        pass_over_sequence_numbers(&database)?;
        let generations = generation::load(&database)?;
        let latest = Latest {
            snapshot: database.snapshot(),
            generations: Arc::new(generations),
        };
        Ok(Self {
            latest: RwLock::new(latest),
            database,
            keyspaces: Mutex::new(HashMap::new()),
            counts: Mutex::new(HashMap::new()),
            broken: OnceLock::new(),
        })
    }

    /// The keyspace of `space` as of the last batch, made if it does not exist.
    pub(crate) fn keyspace(&self, space: Space) -> Result<Keyspace> {
        let generation = self.latest.read().generations.of(space);
        self.keyspace_of(space, generation)
    }

    /// The keyspace of `space` of a generation, made if it does not exist.
    pub(crate) fn keyspace_of(&self, space: Space, generation: Generation) -> Result<Keyspace> {
        let mut keyspaces = self.keyspaces.lock();
        if let Some(keyspace) = keyspaces.get(&(space, generation)) {
            return Ok(keyspace.clone());
        }
        self.make_keyspace(&mut keyspaces, space, generation)
    }

    /// The keyspace that a snapshot reads. One that was dropped since is not made again.
    fn keyspace_at(&self, space: Space, generation: Generation) -> Result<Keyspace> {
        let mut keyspaces = self.keyspaces.lock();
        if let Some(keyspace) = keyspaces.get(&(space, generation)) {
            return Ok(keyspace.clone());
        }
        if self.latest.read().generations.of(space) != generation {
            return Err(CatalogError::internal(
                "a snapshot outlived the rows that it reads",
            ));
        }
        self.make_keyspace(&mut keyspaces, space, generation)
    }

    fn make_keyspace(
        &self,
        keyspaces: &mut HashMap<(Space, Generation), Keyspace>,
        space: Space,
        generation: Generation,
    ) -> Result<Keyspace> {
        let name = space.keyspace_name(generation);
        let keyspace = self
            .database
            .keyspace(&name, KeyspaceCreateOptions::default)?;
        keyspaces.insert((space, generation), keyspace.clone());
        Ok(keyspace)
    }

    /// A view of all keyspaces as of the last batch.
    pub fn snapshot(self: &Arc<Self>) -> StoreSnapshot {
        let latest = self.latest.read();
        StoreSnapshot {
            store: Arc::clone(self),
            snapshot: latest.snapshot.clone(),
            generations: Arc::clone(&latest.generations),
            loaded: None,
        }
    }

    /// A batch that [`RowStore::write`] applies atomically.
    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        // fdatasync also flushes the size of a file that grew: what of the metadata is needed to read the data again.
        self.database
            .batch()
            .durability(Some(PersistMode::SyncData))
    }

    /// Applies a batch to all its keyspaces at once; returns when it is on disk, and new snapshots see it. For one writer.
    /// The batch says itself which storages it gives which generation ([`meta_key::generation`]).
    ///
    /// After a write that failed no other succeeds until the store is opened again, which reads all batches that are whole
    /// on disk. All that were acknowledged are.
    pub(crate) fn write(
        &self,
        batch: OwnedWriteBatch,
        renewed: &[(StorageId, Generation)],
    ) -> Result<()> {
        if let Some(error) = self.broken.get() {
            return Err(error.clone());
        }
        if let Err(error) = batch.commit() {
            let error = broken(&error);
            tracing::error!(%error, "the row store takes no more writes");
            if self.broken.set(error.clone()).is_ok() {
                // fjall writes what it has buffered when it is dropped: a batch that has failed could then be whole after
                // all. So this one is not dropped before the process ends.
                std::mem::forget(self.database.clone());
            }
            return Err(error);
        }
        let mut latest = self.latest.write();
        latest.snapshot = self.database.snapshot();
        if !renewed.is_empty() {
            let generations = Arc::make_mut(&mut latest.generations);
            for (storage, generation) in renewed {
                generations.renew(*storage, *generation);
            }
        }
        Ok(())
    }

    /// Removes the keyspaces of a storage that no definition names any more. Snapshots that still
    /// read it keep it alive.
    pub(crate) fn drop_storage(&self, storage: StorageId) -> Result<()> {
        for space in [
            Space::Rows(storage),
            Space::ShadowClosed(storage),
            Space::Fresh(storage),
            Space::Index(storage),
        ] {
            self.drop_space(space)?;
        }
        Ok(())
    }

    /// Removes one keyspace, if it exists.
    pub(crate) fn drop_space(&self, space: Space) -> Result<()> {
        let generation = self.latest.read().generations.of(space);
        self.drop_keyspace(space, generation)
    }

    fn drop_keyspace(&self, space: Space, generation: Generation) -> Result<()> {
        let keyspace = self.keyspaces.lock().remove(&(space, generation));
        self.counts.lock().remove(&(space, generation));
        let name = space.keyspace_name(generation);
        let keyspace = match keyspace {
            Some(keyspace) => keyspace,
            None if self.database.keyspace_exists(&name) => self
                .database
                .keyspace(&name, KeyspaceCreateOptions::default)?,
            None => return Ok(()),
        };
        Ok(self.database.delete_keyspace(keyspace)?)
    }

    /// Merges all files of a keyspace, without the entries that no snapshot reads. Blocks until it is done.
    pub(crate) fn compact(&self, space: Space) -> Result<()> {
        let generation = self.latest.read().generations.of(space);
        let keyspace = self.keyspaces.lock().get(&(space, generation)).cloned();
        let Some(keyspace) = keyspace else {
            // Dropped in the meantime.
            return Ok(());
        };
        // What is still in memory would not be merged. The call returns early where a memtable is being written already.
        keyspace.rotate_memtable_and_wait()?;
        let begun = std::time::Instant::now();
        while keyspace.sealed_memtable_count() > 0 && begun.elapsed() < FLUSH_WAIT_MAX {
            std::thread::sleep(FLUSH_WAIT_STEP);
        }
        // fjall looks for the oldest open snapshot, below which entries may go, only at every so many closed ones.
        for _ in 0..SNAPSHOTS_PER_WATERMARK {
            drop(self.database.snapshot());
        }
        Ok(keyspace.major_compact()?)
    }

    /// Drops the keyspaces that a crash left of generations. Called before anyone reads.
    pub(crate) fn sweep_generations(&self) -> Result<()> {
        generation::sweep(&self.database, &self.latest.read().generations)
    }

    /// Storages of rows or indexes that have a keyspace.
    pub(crate) fn storages(&self) -> Vec<StorageId> {
        let names = self.database.list_keyspace_names();
        names
            .iter()
            .filter_map(|name| {
                let (storage, _) = generation::parse(name.strip_prefix(['r', 'i'])?)?;
                Some(storage)
            })
            .collect()
    }
}

/// Sees to it that no sequence number is given twice ([`SEQUENCE_NUMBERS_PASSED`]).
fn pass_over_sequence_numbers(database: &Database) -> Result<()> {
    let numbers = &database.supervisor.seqno;
    numbers.fetch_max(numbers.get() + SEQUENCE_NUMBERS_PASSED);
    // The next opening finds it in the journal, whatever happens until then.
    let name = Space::Meta.keyspace_name(Generation::FIRST);
    let meta = database.keyspace(&name, KeyspaceCreateOptions::default)?;
    let mut batch = database.batch().durability(Some(PersistMode::SyncData));
    batch.insert(&meta, meta_key::OPENED, numbers.get().to_be_bytes());
    Ok(batch.commit()?)
}

fn broken(error: &fjall::Error) -> CatalogError {
    let kind = match error {
        // By a write of its own, in the background; the log tells which.
        fjall::Error::Poisoned => ErrorKind::Io,
        error => storage_failure::kind(error).unwrap_or(ErrorKind::Io),
    };
    let hint = match kind {
        ErrorKind::DiskFull => {
            "Make room on the disk of the data directory, and restart the server. Tables can be read meanwhile."
        }
        _ => "See the server's log, and restart the server. Tables can be read meanwhile.",
    };
    CatalogError::new(
        kind,
        "the row store takes no more writes, because one has failed",
    )
    .with_detail(format!(
        "{error}; nothing that was committed before is lost."
    ))
    .with_hint(hint)
}

/// All keyspaces as they were at one moment.
#[derive(Clone)]
pub struct StoreSnapshot {
    store: Arc<RowStore>,
    snapshot: Snapshot,
    generations: Arc<Generations>,
    /// Rows that only this snapshot has, of storages that had none at that moment.
    loaded: Option<Arc<BTreeMap<StorageId, Loaded>>>,
}

impl StoreSnapshot {
    /// What is read of a space.
    fn at(&self, space: Space) -> Result<(Keyspace, &Snapshot)> {
        if let Some(loaded) = self.of_loaded(space) {
            return Ok((loaded.rows.clone(), &loaded.snapshot));
        }
        let keyspace = self.store.keyspace_at(space, self.generations.of(space))?;
        Ok((keyspace, &self.snapshot))
    }

    /// The rows of a space that only this snapshot has.
    fn of_loaded(&self, space: Space) -> Option<&Loaded> {
        match (&self.loaded, space) {
            (Some(loaded), Space::Rows(storage)) => loaded.get(&storage),
            _ => None,
        }
    }

    fn loaded_rows(&self, space: Space) -> Option<&Keyspace> {
        self.of_loaded(space).map(|loaded| &loaded.rows)
    }

    /// Has a storage's rows from now on in what was staged for it.
    pub(crate) fn load(&mut self, staged: Staged) -> Result<()> {
        let storage = staged.storage();
        let loaded = self.store.loaded(staged)?;
        let all = Arc::make_mut(self.loaded.get_or_insert_default());
        all.insert(storage, loaded);
        Ok(())
    }

    /// Has a storage's rows as they were again.
    pub(crate) fn unload(&mut self, storage: StorageId) {
        if let Some(loaded) = &mut self.loaded
            && loaded.contains_key(&storage)
        {
            Arc::make_mut(loaded).remove(&storage);
        }
    }

    /// What was loaded.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Arc<Staged>> {
        let loaded = self.loaded.iter().flat_map(|loaded| loaded.values());
        loaded.map(|loaded| &loaded.staged)
    }

    /// The value of a key.
    pub fn get(&self, space: Space, key: impl AsRef<[u8]>) -> Result<Option<fjall::Slice>> {
        let (keyspace, snapshot) = self.at(space)?;
        Ok(snapshot.get(&keyspace, key)?)
    }

    /// Whether a key exists.
    pub fn contains(&self, space: Space, key: impl AsRef<[u8]>) -> Result<bool> {
        let (keyspace, snapshot) = self.at(space)?;
        Ok(snapshot.contains_key(&keyspace, key)?)
    }

    /// Keys and values in a range, in key order.
    pub fn range(
        &self,
        space: Space,
        range: impl std::ops::RangeBounds<Vec<u8>>,
    ) -> Result<fjall::Iter> {
        let (keyspace, snapshot) = self.at(space)?;
        Ok(snapshot.range(&keyspace, range))
    }

    /// Keys and values under a prefix, in key order.
    pub fn prefix(&self, space: Space, prefix: impl AsRef<[u8]>) -> Result<fjall::Iter> {
        let (keyspace, snapshot) = self.at(space)?;
        Ok(snapshot.prefix(&keyspace, prefix))
    }

    /// All keys of a space.
    pub fn keys(&self, space: Space) -> Result<Vec<Bytes>> {
        let mut keys = Vec::new();
        for entry in self.range(space, ..)? {
            keys.push(Bytes::from(&*entry.key()?));
        }
        Ok(keys)
    }

    /// The last key of a space.
    pub fn last_key(&self, space: Space) -> Result<Option<fjall::Slice>> {
        let (keyspace, snapshot) = self.at(space)?;
        match snapshot.last_key_value(&keyspace) {
            Some(entry) => Ok(Some(entry.key()?)),
            None => Ok(None),
        }
    }

    /// Entries of a space, overwritten ones and tombstones included.
    pub fn approximate_entries(&self, space: Space) -> Result<usize> {
        Ok(self.at(space)?.0.approximate_len())
    }

    /// A big-endian integer of the `meta` keyspace; 0 where it was never written.
    pub fn meta_number(&self, key: &str) -> Result<u64> {
        match self.get(Space::Meta, key)? {
            None => Ok(0),
            Some(bytes) => (*bytes)
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| CatalogError::corrupted(format!("{key} is not 8 bytes"))),
        }
    }
}
