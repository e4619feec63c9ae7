//! A transaction: one snapshot of everything, the writes made on top of it, and their commit.
//!
//! Isolation is snapshot isolation. Reads go through a [`ReadView`], which sees the snapshot and the
//! transaction's own writes; a view is cheap and stays as it was when more is written. Nothing
//! reaches the row store before [`Transaction::commit`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::committer::ActiveGuard;
use crate::definitions::{Definitions, StorageId, Table};
use crate::error::Result;
use crate::manifest::{Manifest, SnapshotManifest};
use crate::object_stores::ObjectStores;
use crate::row_codec::Bytes;
use crate::row_store::{Space, StoreSnapshot};
use crate::write_buffer::WriteBuffer;

use references::References;

mod adopt;
mod alter;
mod bulk;
mod commit;
mod ddl;
mod dml;
mod foreign_key;
mod index;
mod references;
mod sequence;
mod temporary;

pub use alter::Rewritten;
pub use bulk::BulkInsert;
pub use ddl::{NewMaterialized, NewTable, NewView};
pub use dml::Existing;
pub(crate) use index::duplicated;
pub use index::{Arbiter, Conflicting, NewIndex};
pub use sequence::NewSequence;

/// What one statement sees.
#[derive(Clone)]
pub struct ReadView {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) snapshot: StoreSnapshot,
    /// Commit sequence number of the snapshot.
    pub csn: u64,
    /// What exists.
    pub definitions: Arc<Definitions>,
    pub(crate) writes: WriteBuffer,
    manifests: Arc<HashMap<StorageId, Manifest>>,
    /// Never read: while any view of a snapshot lives, what it can read is not removed.
    _guard: Arc<ActiveGuard>,
}

impl std::fmt::Debug for ReadView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadView")
            .field("csn", &self.csn)
            .finish_non_exhaustive()
    }
}

impl ReadView {
    /// What of the table's closed part is visible; `None` for tables without one.
    pub(crate) fn manifest(&self, table: &Table) -> Result<Option<Manifest>> {
        if !table.is_hybrid() {
            return Ok(None);
        }
        match self.manifests.get(&table.def.storage) {
            Some(own) => Ok(Some(*own)),
            None => Manifest::load(&self.snapshot, table.def.storage),
        }
    }

    /// Keys whose closed rows the transaction itself has replaced.
    pub(crate) fn own_reopened(&self, table: &Table) -> Vec<Bytes> {
        match self.writes.table(table.def.storage) {
            Some(writes) => writes.reopened.iter().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// Keys for which the closed table is not the truth, the transaction's own included.
    pub(crate) fn shadow_closed(&self, table: &Table) -> Result<Vec<Vec<u8>>> {
        let storage = table.def.storage;
        let mut keys = Vec::new();
        for entry in self.snapshot.range(Space::ShadowClosed(storage), ..)? {
            keys.push(entry.key()?.to_vec());
        }
        if let Some(writes) = self.writes.table(storage) {
            keys.extend(writes.reopened.iter().map(|key| key.to_vec()));
        }
        Ok(keys)
    }

    /// What of the table's snapshot is visible; `None` if it has none.
    pub(crate) fn snapshot_manifest(&self, table: &Table) -> Result<Option<SnapshotManifest>> {
        SnapshotManifest::load(&self.snapshot, table.def.storage)
    }

    /// Keys for which the snapshot is not the truth, the transaction's own included.
    pub(crate) fn fresh_keys(&self, table: &Table) -> Result<Vec<Vec<u8>>> {
        let storage = table.def.storage;
        let mut keys = Vec::new();
        for entry in self.snapshot.range(Space::Fresh(storage), ..)? {
            keys.push(entry.key()?.to_vec());
        }
        if let Some(writes) = self.writes.table(storage) {
            keys.extend(writes.rows.keys().map(|key| key.to_vec()));
        }
        Ok(keys)
    }

    /// The same view without what its transaction has written.
    pub(crate) fn without_own_writes(&self) -> Self {
        Self {
            writes: WriteBuffer::default(),
            ..self.clone()
        }
    }

    /// Keys that the transaction itself has written.
    pub(crate) fn own_keys(&self, table: &Table) -> Vec<Bytes> {
        match self.writes.table(table.def.storage) {
            Some(writes) => writes.rows.keys().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// The object stores that external tables can lie in.
    pub fn object_stores(&self) -> &ObjectStores {
        self.catalog.object_stores()
    }
}

/// A point to roll back to.
#[derive(Clone)]
pub struct Savepoint {
    definitions: Arc<Definitions>,
    /// What was loaded is of the snapshot.
    snapshot: StoreSnapshot,
    writes: WriteBuffer,
    manifests: Arc<HashMap<StorageId, Manifest>>,
    changes: Changes,
}

/// What a transaction changes beside rows.
#[derive(Clone, Default)]
struct Changes {
    meta: Vec<(String, Option<Vec<u8>>)>,
    relies_on: BTreeSet<String>,
    /// Storages that nobody else may write to until the commit.
    untouched: BTreeSet<StorageId>,
    retired: Vec<Retired>,
    references: References,
    /// Whether temporary relations changed.
    temporary: bool,
}

/// Stored rows that nothing names once the transaction is committed.
#[derive(Debug, Clone)]
pub(crate) struct Retired {
    pub storage: StorageId,
    /// Folder of its closed table.
    pub closed_folder: Option<String>,
}

/// A transaction in one database.
pub struct Transaction {
    view: ReadView,
    changes: Changes,
}

impl Transaction {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        guard: ActiveGuard,
        snapshot: StoreSnapshot,
        csn: u64,
        definitions: Arc<Definitions>,
    ) -> Self {
        let view = ReadView {
            catalog,
            snapshot,
            csn,
            definitions,
            writes: WriteBuffer::default(),
            manifests: Arc::default(),
            _guard: Arc::new(guard),
        };
        Self {
            view,
            changes: Changes::default(),
        }
    }

    /// What a statement that starts now sees.
    pub fn view(&self) -> &ReadView {
        &self.view
    }

    /// What exists for this transaction.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.view.definitions
    }

    /// Whether it changes definitions.
    pub fn defines(&self) -> bool {
        !self.changes.meta.is_empty() || self.changes.temporary
    }

    /// Whether there is nothing to commit.
    pub fn is_read_only(&self) -> bool {
        self.view.writes.is_empty()
            && self.view.snapshot.loaded().next().is_none()
            && self.changes.meta.is_empty()
    }

    /// A point to roll back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            definitions: Arc::clone(&self.view.definitions),
            snapshot: self.view.snapshot.clone(),
            writes: self.view.writes.clone(),
            manifests: Arc::clone(&self.view.manifests),
            changes: self.changes.clone(),
        }
    }

    /// Forgets everything written since the savepoint.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.view.definitions = Arc::clone(&savepoint.definitions);
        self.view.snapshot = savepoint.snapshot.clone();
        self.view.writes = savepoint.writes.clone();
        self.view.manifests = Arc::clone(&savepoint.manifests);
        self.changes = savepoint.changes.clone();
    }

    /// Lets the commit of writes fail if another transaction writes to the table after this one's snapshot.
    pub fn rely_on_rows(&mut self, table: &Table) {
        self.changes.untouched.insert(table.def.storage);
    }
}
