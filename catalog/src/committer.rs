//! The commit protocol: all commits are ordered, checked, and made durable in groups.
//!
//! Groups are made by a thread of their own, so that nothing else waits for the disk. As long as transactions come one at a time,
//! and the disk is quick, a small one is committed by the thread that asks for it: to wake another and be woken again would take as
//! long as the disk does.
//!
//! Steps, for each group of waiting requests:
//!
//! 1. **check**: in arrival order, a request fails with a serialization failure if a key it writes,
//!    a definition it relies on, or any row of a table whose rows it has checked, was committed by
//!    another transaction after the request's snapshot (first committer wins). A request that passes
//!    gets the next csn. One that the disk has no room for fails too ([`crate::disk_reserve`]).
//! 2. **assemble**: the writes of all requests that passed go into one batch over all keyspaces,
//!    with the new csn.
//! 3. **write**: the batch is applied atomically and fsync'd once (`commit::before_batch`,
//!    `commit::after_batch`).
//! 4. **acknowledge**: each request is told its csn. Nobody is told before step 3 is done.
//!
//! Housekeeping moves rows from the row store to the closed table while writers go on. Between its
//! intent and its end the committer puts every key written to that table into `shadow_closed` as
//! well, so that a row changed after the move's snapshot is never taken from the moved copy. The
//! same is done for a transaction whose snapshot is older than the end of the last move: it may
//! write to a key that it still saw as open. A shadow entry without a closed copy does no harm.
//!
//! References are compared by their keys ([`crate::foreign_key`]): one that a request holds fails if the key has gone since the
//! request's snapshot, and a key cannot go that has been referenced since.
//!
//! Changes of indexes come with the rows they belong to (see [`crate::index`]) and go into the same batch. An exclusive
//! value that a request adds counts as a key it writes.
//!
//! Where a move replaces a storage's rows by a copy ([`crate::row_store::generation`]), the rows written since the copy's snapshot are
//! read and put into it; such a request is a group of its own. So is one that brings rows as a whole ([`crate::bulk_load`]), whose keys
//! are looked up for whoever's snapshot is older. Else the committer never reads a row. It never waits for anything but the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use foldhash::quality;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::definitions::{Oid, StorageId};
use crate::disk_reserve::{DiskReserve, Room};
use crate::error::{CatalogError, Result};
use crate::foreign_key::MarkedKeys;
use crate::index::delta::IndexDelta;
use crate::index::entry::Entry;
use crate::index::fills::{Fill, Fills};
use crate::row_cache::RowCache;
use crate::row_codec::Bytes;
use crate::row_store::generation::Generation;
use crate::row_store::{FRESH_ROW, FRESH_TOMBSTONE, RowStore, Space, meta_key};
use crate::shadow_log::ShadowLogs;

mod groups;
mod loads;
mod request;

use groups::Shared;
pub(crate) use request::{CommitRequest, Move};

/// Commit requests that can wait before senders wait too.
const REQUESTS_WAITING_MAX: usize = 4_096;

/// Keys of commits that there is always room to remember.
const WRITTEN_KEPT: usize = 1 << 16;

/// How the two sides of references are told apart in hashes: a key, any key, and all keys of a space.
struct Side {
    own: u8,
    own_any: u8,
    own_all: u8,
    other: u8,
    other_any: u8,
    other_all: u8,
}

impl Side {
    const HELD: Self = Self {
        own: 0,
        own_any: 1,
        own_all: 2,
        other: 3,
        other_any: 4,
        other_all: 5,
    };
    const GONE: Self = Self {
        own: 3,
        own_any: 4,
        own_all: 5,
        other: 0,
        other_any: 1,
        other_all: 2,
    };
}

/// Counters that are handed out in memory and stored with the next commit that used one.
#[derive(Debug)]
pub struct Counters {
    next_oid: AtomicU32,
    next_storage: AtomicU64,
    /// Changes after definitions do, before their change is acknowledged.
    definitions_epoch: AtomicU64,
    /// Newest csn that is on disk and visible.
    visible_csn: AtomicU64,
}

impl Counters {
    pub(crate) fn new(next_oid: Oid, next_storage: StorageId, csn: u64) -> Self {
        Self {
            next_oid: AtomicU32::new(next_oid),
            next_storage: AtomicU64::new(next_storage),
            definitions_epoch: AtomicU64::new(0),
            visible_csn: AtomicU64::new(csn),
        }
    }

    /// A new object identifier.
    pub fn oid(&self) -> Oid {
        self.next_oid.fetch_add(1, Ordering::Relaxed)
    }

    /// A snapshot of the row store that is taken after this call has all commits up to the csn.
    pub(crate) fn visible_csn(&self) -> u64 {
        self.visible_csn.load(Ordering::Acquire)
    }

    pub(crate) fn definitions_epoch(&self) -> u64 {
        self.definitions_epoch.load(Ordering::Acquire)
    }

    /// Says that definitions have changed which no commit changes.
    pub(crate) fn definitions_changed(&self) {
        self.definitions_epoch.fetch_add(1, Ordering::Release);
    }

    /// A new storage identifier.
    pub fn storage(&self) -> StorageId {
        self.next_storage.fetch_add(1, Ordering::Relaxed)
    }
}

/// Snapshots of the transactions that may still commit.
#[derive(Debug, Default)]
pub struct ActiveTransactions {
    csns: Mutex<std::collections::BTreeMap<u64, usize>>,
}

impl ActiveTransactions {
    /// Registers a transaction. `take_snapshot` runs under the lock and returns its csn, so that the
    /// committer cannot forget a commit that this snapshot does not see.
    pub(crate) fn register<T>(
        self: &Arc<Self>,
        take_snapshot: impl FnOnce() -> Result<(u64, T)>,
    ) -> Result<(ActiveGuard, T)> {
        let mut csns = self.csns.lock();
        let (csn, snapshot) = take_snapshot()?;
        *csns.entry(csn).or_default() += 1;
        Ok((
            ActiveGuard {
                active: Arc::clone(self),
                csn,
            },
            snapshot,
        ))
    }

    /// The oldest registered snapshot, or `latest` if there is none.
    pub(crate) fn oldest(&self, latest: u64) -> u64 {
        self.csns.lock().keys().next().copied().unwrap_or(latest)
    }
}

/// Keeps a transaction registered while it lives.
#[derive(Debug)]
pub struct ActiveGuard {
    active: Arc<ActiveTransactions>,
    csn: u64,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        let mut csns = self.active.csns.lock();
        if let Some(count) = csns.get_mut(&self.csn) {
            *count -= 1;
            if *count == 0 {
                csns.remove(&self.csn);
            }
        }
    }
}

struct Waiting {
    request: CommitRequest,
    reply: oneshot::Sender<Result<u64>>,
}

/// Handle to the committer thread; the thread ends when the last handle is gone.
pub(crate) struct Committer {
    requests: Option<mpsc::Sender<Waiting>>,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread. `fresh` names the storages that have a snapshot.
    pub fn start(
        store: Arc<RowStore>,
        counters: Arc<Counters>,
        active: Arc<ActiveTransactions>,
        cache: Arc<RowCache>,
        reserve: DiskReserve,
        fresh: HashSet<StorageId>,
        shadow_logs: Arc<ShadowLogs>,
    ) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let state = CommitLog {
            store,
            last_csn: counters.visible_csn(),
            counters,
            active,
            cache,
            reserve,
            written: HashMap::default(),
            history: VecDeque::new(),
            hasher: quality::RandomState::default(),
            moving: HashMap::new(),
            last_move: HashMap::new(),
            fresh,
            shadow_logs,
            offloading: HashMap::new(),
            last_write: HashMap::new(),
            loaded: HashMap::new(),
            fills: Fills::default(),
            renewed: Vec::new(),
        };
        let shared = Arc::new(Shared::new(state));
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("committer".to_string())
            .spawn(move || groups::run(&of_thread, receiver))?;
        Ok(Self {
            requests: Some(sender),
            shared,
            thread: Some(thread),
        })
    }

    /// Commits; returns the csn once the writes are on disk.
    pub async fn commit(&self, request: CommitRequest) -> Result<u64> {
        let stopped = || CatalogError::internal("the committer has stopped");
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { request, reply };
        let Some(waiting) = self.shared.commit_here(waiting) else {
            return answer.await.map_err(|_| stopped())?;
        };
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        let room = requests.reserve().await.map_err(|_| stopped())?;
        self.shared.sending();
        room.send(waiting);
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.requests.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committer thread panicked");
        }
    }
}

/// What the fresh keyspace holds for a row, or for a deleted one.
fn fresh_value(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        Some(value) => [&[FRESH_ROW], value].concat(),
        None => vec![FRESH_TOMBSTONE],
    }
}

/// The keyspaces that the end of a move writes to.
struct MoveSpaces {
    /// The rows that stay, or what takes their place.
    rows: fjall::Keyspace,
    /// Rows written since the copy was begun that takes the rows' place.
    written: Vec<(Bytes, Option<fjall::Slice>)>,
    shadow: fjall::Keyspace,
    fresh: Option<fjall::Keyspace>,
    indexes: Vec<fjall::Keyspace>,
}

/// The committer's own state.
struct CommitLog {
    store: Arc<RowStore>,
    counters: Arc<Counters>,
    active: Arc<ActiveTransactions>,
    cache: Arc<RowCache>,
    reserve: DiskReserve,
    last_csn: u64,
    /// csn of the last commit of a key, by hash, as far back as the oldest active snapshot. Two keys
    /// with one hash can only cause a needless serialization failure.
    written: HashMap<u64, u64, RandomState>,
    /// The entries of `written` in commit order.
    history: VecDeque<(u64, Vec<u64>)>,
    hasher: quality::RandomState,
    /// Keys written since the intent, of each storage that is being moved.
    moving: HashMap<StorageId, HashSet<Bytes>>,
    /// csn of the last finished move of each storage.
    last_move: HashMap<StorageId, u64>,
    /// csn of the last write to a row of each storage.
    last_write: HashMap<StorageId, u64>,
    /// csn of the load of each storage, as far back as the oldest active snapshot.
    loaded: HashMap<StorageId, u64>,
    /// Storages whose fresh rows are kept: those that have a snapshot or are about to get one.
    fresh: HashSet<StorageId>,
    shadow_logs: Arc<ShadowLogs>,
    /// Keys written since the intent, of each storage that is being offloaded.
    offloading: HashMap<StorageId, HashSet<Bytes>>,
    fills: Fills,
    /// What the batch that is assembled makes the generation of storages.
    renewed: Vec<(StorageId, Generation)>,
}

/// The keyspace of an index that a request changes, with the changes.
struct IndexSpace<'a> {
    storage: StorageId,
    keyspace: fjall::Keyspace,
    delta: &'a IndexDelta,
}

impl CommitLog {
    fn commit_group(&mut self, group: Vec<Waiting>) {
        let mut batch = self.store.batch();
        let mut passed = Vec::with_capacity(group.len());
        let mut defines = false;
        let mut room = self.reserve.room();
        for Waiting { request, reply } in group {
            defines |= !request.stamps.is_empty();
            match self.check_and_assemble(request, &mut batch, &mut room) {
                Ok(csn) => passed.push((reply, csn)),
                // A caller that is gone does not need its answer.
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        if passed.is_empty() {
            return;
        }
        crate::crash_point!("commit::before_batch");
        let renewed = std::mem::take(&mut self.renewed);
        let written = self.meta_keyspace().and_then(|meta| {
            batch.insert(&meta, meta_key::CSN, self.last_csn.to_be_bytes());
            self.store.write(batch, &renewed)
        });
        if written.is_ok() {
            let visible = &self.counters.visible_csn;
            visible.store(self.last_csn, Ordering::Release);
        } else {
            // They name keys of commits that nobody will see.
            self.shadow_logs.forget_all();
        }
        crate::crash_point!("commit::after_batch");
        if defines {
            // Visible and not acknowledged: whoever sees the new epoch sees the new definitions, and whoever was
            // told of the change sees the new epoch.
            self.counters
                .definitions_epoch
                .fetch_add(1, Ordering::Release);
        }
        for (reply, csn) in passed {
            drop(reply.send(written.clone().map(|()| csn)));
        }
    }

    fn check_and_assemble(
        &mut self,
        request: CommitRequest,
        batch: &mut fjall::OwnedWriteBatch,
        room: &mut Room,
    ) -> Result<u64> {
        let mut hashes = self.check(&request)?;
        room.take(&request)?;
        // Everything that can fail comes before the csn is taken and the batch is touched.
        let meta = self.meta_keyspace()?;
        let mut spaces = Vec::with_capacity(request.tables.len());
        let mut indexes = Vec::new();
        for (storage, writes) in &request.tables {
            let rows = match request.loaded(*storage) {
                Some(generation) => self.store.keyspace_of(Space::Rows(*storage), generation)?,
                None => self.store.keyspace(Space::Rows(*storage))?,
            };
            let late = self
                .last_move
                .get(storage)
                .is_some_and(|move_csn| request.snapshot_csn < *move_csn);
            let shadow_all = late || self.moving.contains_key(storage);
            let shadow = if shadow_all || !writes.reopened.is_empty() {
                Some(self.store.keyspace(Space::ShadowClosed(*storage))?)
            } else {
                None
            };
            let fresh = self.fresh_space(*storage)?;
            spaces.push((*storage, writes, rows, shadow, shadow_all, fresh));
            for (index, delta) in &writes.indexes {
                indexes.push(IndexSpace {
                    storage: *index,
                    keyspace: self.store.keyspace(Space::Index(*index))?,
                    delta,
                });
            }
        }
        let fill_space = match &request.fill {
            Some(Fill::Entries { index, .. }) => Some(self.store.keyspace(Space::Index(*index))?),
            _ => None,
        };
        let move_spaces = match &request.row_move {
            Some(Move::Finish {
                storage,
                entries,
                taken,
                ..
            }) => {
                let indexes = entries.iter();
                let (rows, written) = match taken {
                    Some(taken) => (
                        self.store.keyspace_of(Space::Rows(*storage), *taken)?,
                        self.rows_written(*storage)?,
                    ),
                    None => (self.store.keyspace(Space::Rows(*storage))?, Vec::new()),
                };
                Some(MoveSpaces {
                    rows,
                    written,
                    shadow: self.store.keyspace(Space::ShadowClosed(*storage))?,
                    fresh: self.fresh_space(*storage)?,
                    indexes: indexes
                        .map(|(index, _)| self.store.keyspace(Space::Index(*index)))
                        .collect::<Result<_>>()?,
                })
            }
            _ => None,
        };
        let cleared_space = match &request.row_move {
            Some(Move::FinishOffload { storage, .. }) => {
                Some(self.store.keyspace(Space::Fresh(*storage))?)
            }
            _ => None,
        };

        let csn = self.last_csn + 1;
        self.last_csn = csn;
        self.take_loads(&request.loads, csn);
        for (storage, writes, rows, shadow, shadow_all, fresh) in spaces {
            self.last_write.insert(storage, csn);
            for (key, value) in &writes.rows {
                self.cache.written(storage, key, csn);
                self.fills.written(storage, key);
                if let Some(fresh) = &fresh {
                    batch.insert(fresh, &**key, fresh_value(value.as_deref()));
                    self.shadow_logs.written(Space::Fresh(storage), key, csn);
                }
                if let Some(touched) = self.offloading.get_mut(&storage) {
                    touched.insert(key.clone());
                }
                match value {
                    Some(value) => batch.insert(&rows, &**key, &**value),
                    None => batch.remove(&rows, &**key),
                }
                if shadow_all && let Some(shadow) = &shadow {
                    batch.insert(shadow, &**key, []);
                    self.shadow_logs
                        .written(Space::ShadowClosed(storage), key, csn);
                }
                if let Some(touched) = self.moving.get_mut(&storage) {
                    touched.insert(key.clone());
                }
            }
            if let Some(shadow) = &shadow {
                for key in &writes.reopened {
                    batch.insert(shadow, &**key, []);
                    self.shadow_logs
                        .written(Space::ShadowClosed(storage), key, csn);
                }
            }
        }
        for index in indexes {
            for entry in index.delta.removed() {
                self.cache.written(index.storage, entry.value(), csn);
                batch.remove(&index.keyspace, entry.bytes());
            }
            for entry in index.delta.added() {
                self.cache.written(index.storage, entry.value(), csn);
                batch.insert(&index.keyspace, entry.bytes(), entry.stored_value());
            }
        }
        if let Some((index, entries)) = request.fill.and_then(|fill| self.fills.serve(fill))
            && let Some(space) = fill_space
        {
            for entry in entries {
                self.cache.written(index, entry.value(), csn);
                batch.insert(&space, entry.bytes(), entry.stored_value());
            }
        }
        if !request.meta.is_empty() {
            let next_oid = u64::from(self.counters.next_oid.load(Ordering::Relaxed));
            let next_storage = self.counters.next_storage.load(Ordering::Relaxed);
            batch.insert(&meta, meta_key::NEXT_OID, next_oid.to_be_bytes());
            batch.insert(&meta, meta_key::NEXT_STORAGE, next_storage.to_be_bytes());
        }
        for (key, value) in &request.meta {
            match value {
                Some(value) => batch.insert(&meta, key.as_bytes(), value.as_slice()),
                None => batch.remove(&meta, key.as_bytes()),
            }
        }
        for key in &request.stamps {
            batch.insert(&meta, key.as_bytes(), csn.to_be_bytes());
        }
        match request.row_move {
            Some(Move::BeginOffload(storage)) => {
                self.fresh.insert(storage);
                self.offloading.insert(storage, HashSet::new());
            }
            Some(Move::AbandonOffload { storage, keeps }) => {
                self.offloading.remove(&storage);
                if !keeps {
                    self.fresh.remove(&storage);
                }
            }
            Some(Move::FinishOffload {
                storage,
                version,
                first,
                cleared,
            }) => {
                let touched = self.offloading.remove(&storage).unwrap_or_default();
                if let Some(fresh) = cleared_space {
                    for key in cleared.iter().filter(|key| !touched.contains(*key)) {
                        batch.remove(&fresh, &**key);
                    }
                }
                let space = Space::Fresh(storage);
                self.next_shadow_log(space, version, csn, first, &cleared, touched);
            }
            other => hashes.extend(self.row_move(other, csn, move_spaces, batch)),
        }
        for hash in &hashes {
            self.written.insert(*hash, csn);
        }
        self.history.push_back((csn, hashes));
        Ok(csn)
    }

    /// Housekeeping's part of a commit. Returns hashes of keys that count as written by it.
    ///
    /// A transaction that saw a row as open before it was moved brings no entry for an indexed value that it leaves as it
    /// was; with the row the entry has gone. So in a table with indexes a move is a write to the keys moved, and the first
    /// committer wins.
    fn row_move(
        &mut self,
        row_move: Option<Move>,
        csn: u64,
        move_spaces: Option<MoveSpaces>,
        batch: &mut fjall::OwnedWriteBatch,
    ) -> Vec<u64> {
        let mut written = Vec::new();
        match row_move {
            None => {}
            Some(Move::Begin(storage)) => {
                self.moving.insert(storage, HashSet::new());
            }
            Some(Move::Abandon(storage)) => {
                self.moving.remove(&storage);
            }
            Some(Move::Finish {
                storage,
                version,
                first,
                moved,
                entries,
                unshadowed,
                taken,
            }) => {
                let touched = self.moving.remove(&storage).unwrap_or_default();
                self.last_move.insert(storage, csn);
                self.last_write.insert(storage, csn);
                if let Some(generation) = taken {
                    self.renewed.push((storage, generation));
                    self.fresh.remove(&storage);
                    self.shadow_logs.forget(Space::Fresh(storage));
                }
                if let Some(spaces) = move_spaces {
                    for (key, value) in &spaces.written {
                        match value {
                            Some(value) => batch.insert(&spaces.rows, &**key, &**value),
                            None => batch.remove(&spaces.rows, &**key),
                        }
                    }
                    let goes = |key: &&Bytes| touched.is_empty() || !touched.contains(*key);
                    for key in moved.iter().filter(goes) {
                        batch.remove(&spaces.rows, &**key);
                        self.fills.written(storage, key);
                        if !entries.is_empty() {
                            written.push(self.hash(Some(storage), key));
                        }
                        if let Some(fresh) = &spaces.fresh {
                            batch.insert(fresh, &**key, [FRESH_TOMBSTONE]);
                        }
                    }
                    if spaces.fresh.is_some() {
                        let keys = moved.iter().filter(goes).map(AsRef::as_ref);
                        self.shadow_logs
                            .all_written(Space::Fresh(storage), keys, csn);
                    }
                    for ((index, entries), space) in entries.iter().zip(&spaces.indexes) {
                        let stays = |entry: &&Entry| touched.contains(entry.row_key());
                        for entry in entries.iter().filter(|entry| !stays(entry)) {
                            self.cache.written(*index, entry.value(), csn);
                            batch.remove(space, entry.bytes());
                        }
                    }
                    for key in unshadowed.iter().filter(|key| !touched.contains(*key)) {
                        batch.remove(&spaces.shadow, &**key);
                    }
                }
                let space = Space::ShadowClosed(storage);
                self.next_shadow_log(space, version, csn, first, &unshadowed, touched);
            }
            Some(
                Move::BeginOffload(_) | Move::FinishOffload { .. } | Move::AbandonOffload { .. },
            ) => {}
        }
        written
    }

    /// Starts the log of a version that this commit makes visible. What is in the files now leaves it, except for keys that
    /// were written since the files were made.
    fn next_shadow_log(
        &self,
        space: Space,
        version: u64,
        csn: u64,
        first: bool,
        in_files: &[Bytes],
        touched: HashSet<Bytes>,
    ) {
        // Before the first version nothing was shadowed but what was written since the files were made.
        let known = self.shadow_logs.keys(space);
        match known.or_else(|| first.then(HashSet::new)) {
            Some(mut left) => {
                for key in in_files {
                    left.remove(key);
                }
                left.extend(touched);
                self.shadow_logs.start(space, version, csn, left);
            }
            None => self.shadow_logs.forget(space),
        }
    }

    /// The rows written since the intent of a move, as of the last batch.
    fn rows_written(&self, storage: StorageId) -> Result<Vec<(Bytes, Option<fjall::Slice>)>> {
        let snapshot = self.store.snapshot();
        let keys = self.moving.get(&storage).into_iter().flatten();
        keys.map(|key| Ok((key.clone(), snapshot.get(Space::Rows(storage), key)?)))
            .collect()
    }

    /// The keyspace of a storage's fresh rows, if they are kept.
    fn fresh_space(&self, storage: StorageId) -> Result<Option<fjall::Keyspace>> {
        match self.fresh.contains(&storage) {
            true => Ok(Some(self.store.keyspace(Space::Fresh(storage))?)),
            false => Ok(None),
        }
    }

    /// First committer wins: fails if anything the request writes or relies on is newer than its
    /// snapshot. Returns the hashes of what it writes.
    fn check(&self, request: &CommitRequest) -> Result<Vec<u64>> {
        let newer = |hash: &u64| {
            self.written
                .get(hash)
                .is_some_and(|committed| *committed > request.snapshot_csn)
        };
        if request
            .unchanged
            .iter()
            .any(|key| newer(&self.hash(None, key.as_bytes())))
        {
            return Err(CatalogError::serialization_failure());
        }
        let touched = |storage: &StorageId| {
            let last = self.last_write.get(storage);
            last.is_some_and(|csn| *csn > request.snapshot_csn)
        };
        if request.untouched.iter().any(touched) {
            return Err(CatalogError::serialization_failure());
        }
        self.check_loads(request)?;
        let rows: usize = request
            .tables
            .iter()
            .map(|(_, writes)| writes.rows.len())
            .sum();
        let mut hashes = Vec::with_capacity(rows + request.meta.len());
        for (storage, writes) in &request.tables {
            hashes.extend(writes.rows.keys().map(|key| self.hash(Some(*storage), key)));
            for (index, delta) in &writes.indexes {
                let exclusive = delta.added().filter(|entry| entry.is_exclusive());
                hashes.extend(exclusive.map(|entry| self.hash(Some(*index), entry.value())));
            }
        }
        hashes.extend(
            request
                .meta
                .iter()
                .map(|(key, _)| self.hash(None, key.as_bytes())),
        );
        if hashes.iter().any(newer) {
            return Err(CatalogError::serialization_failure());
        }
        let marks = &request.marks;
        self.check_marks(Side::HELD, &marks.held, newer, &mut hashes)?;
        self.check_marks(Side::GONE, &marks.gone, newer, &mut hashes)?;
        Ok(hashes)
    }

    /// Fails if what is marked on one side was marked on the other since the request's snapshot; else adds its hashes.
    fn check_marks(
        &self,
        side: Side,
        marked: &[(StorageId, Arc<MarkedKeys>)],
        newer: impl Fn(&u64) -> bool,
        hashes: &mut Vec<u64>,
    ) -> Result<()> {
        let hash =
            |mark: u8, space: StorageId, key: &[u8]| self.hasher.hash_one((mark, space, key));
        for (space, keys) in marked {
            let space = *space;
            // Who marks the whole space meets any key of the other side; who marks keys meets these and the whole.
            let met = match keys.all {
                true => newer(&hash(side.other_any, space, &[])),
                false => {
                    newer(&hash(side.other_all, space, &[]))
                        || keys.keys().any(|key| newer(&hash(side.other, space, key)))
                }
            };
            if met {
                return Err(CatalogError::serialization_failure());
            }
            if keys.all {
                hashes.push(hash(side.own_all, space, &[]));
            }
            hashes.push(hash(side.own_any, space, &[]));
            hashes.extend(keys.keys().map(|key| hash(side.own, space, key)));
        }
        Ok(())
    }

    fn hash(&self, storage: Option<StorageId>, key: &[u8]) -> u64 {
        self.hasher.hash_one((storage, key))
    }

    fn meta_keyspace(&self) -> Result<fjall::Keyspace> {
        self.store.keyspace(Space::Meta)
    }

    /// Forgets commits that every active snapshot sees.
    fn forget(&mut self) {
        let oldest = self.active.oldest(self.last_csn);
        while let Some((csn, hashes)) = self.history.front() {
            if *csn > oldest {
                break;
            }
            for hash in hashes {
                if self.written.get(hash) == Some(csn) {
                    self.written.remove(hash);
                }
            }
            self.history.pop_front();
        }
        self.loaded.retain(|_, csn| *csn > oldest);
        // What a large transaction took is given back.
        if self.written.len() < WRITTEN_KEPT && self.written.capacity() > 4 * WRITTEN_KEPT {
            self.written.shrink_to(WRITTEN_KEPT);
        }
    }
}
