//! What the committer is asked for.

use std::sync::Arc;

use crate::definitions::StorageId;
use crate::foreign_key::Marks;
use crate::index::entry::Entry;
use crate::index::fills::Fill;
use crate::row_codec::Bytes;
use crate::row_store::generation::Generation;
use crate::write_buffer::TableWrites;

/// What housekeeping asks of the committer.
#[derive(Debug)]
pub(crate) enum Move {
    /// Rows of the storage are about to be moved: shadow what is written from now on.
    Begin(StorageId),
    /// The rows are in the closed table: make that visible.
    Finish {
        storage: StorageId,
        /// Delta version of the closed table with them.
        version: u64,
        /// Whether the closed table had no files before.
        first: bool,
        /// Keys of the moved rows.
        moved: Vec<Bytes>,
        /// Their entries, by index storage.
        entries: Vec<(StorageId, Vec<Entry>)>,
        /// Keys that were in `shadow_closed` at the move's snapshot, whose old copies are gone.
        unshadowed: Vec<Bytes>,
        /// What takes the place of the storage's rows, without those moved, as they were at the move's snapshot. `moved` is
        /// empty then.
        taken: Option<Generation>,
    },
    /// The move was given up: stop shadowing.
    Abandon(StorageId),
    /// A snapshot of the storage is about to be written: keep fresh rows from now on.
    BeginOffload(StorageId),
    /// The snapshot is written: make that visible.
    FinishOffload {
        storage: StorageId,
        /// Delta version of the new snapshot.
        version: u64,
        /// Whether the table had no snapshot before.
        first: bool,
        /// Keys that were fresh at the offload's snapshot and are in the new files.
        cleared: Vec<Bytes>,
    },
    /// The offload was given up; `keeps` says whether there is an older snapshot.
    AbandonOffload { storage: StorageId, keeps: bool },
}

impl Move {
    /// Whether it is the last step of a run.
    pub(crate) fn is_end(&self) -> bool {
        !matches!(self, Self::Begin(_) | Self::BeginOffload(_))
    }

    fn takes_generation(&self) -> bool {
        matches!(self, Self::Finish { taken: Some(_), .. })
    }
}

/// One transaction's writes.
#[derive(Debug, Default)]
pub(crate) struct CommitRequest {
    /// csn of the snapshot that the transaction read.
    pub snapshot_csn: u64,
    /// Rows that were loaded, by storages that had none ([`crate::bulk_load`]).
    pub loads: Vec<(StorageId, Generation)>,
    /// Row writes by storage, on top of what was loaded.
    pub tables: Vec<(StorageId, Arc<TableWrites>)>,
    /// Writes to the `meta` keyspace; `None` deletes.
    pub meta: Vec<(String, Option<Vec<u8>>)>,
    /// Keys of `meta` that are set to the csn of this commit.
    pub stamps: Vec<String>,
    /// Keys of `meta` that must not have changed since the snapshot.
    pub unchanged: Vec<String>,
    /// Storages that nobody may have written to since the snapshot.
    pub untouched: Vec<StorageId>,
    /// Keys that it references, and such that it takes away.
    pub marks: Marks,
    /// Housekeeping's part.
    pub row_move: Option<Move>,
    /// A step of the filling of an index.
    pub fill: Option<Fill>,
}

impl CommitRequest {
    /// Whether it is a group of its own: the other requests of its group would write to the rows that it replaces.
    pub(super) fn is_alone(&self) -> bool {
        let takes = self.row_move.as_ref().is_some_and(Move::takes_generation);
        takes || !self.loads.is_empty()
    }

    /// What it makes the generation of a storage.
    pub(super) fn loaded(&self, storage: StorageId) -> Option<Generation> {
        let load = self.loads.iter().find(|(loaded, _)| *loaded == storage);
        load.map(|(_, generation)| *generation)
    }
}
