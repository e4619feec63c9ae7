//! Manifests: which version of a table's closed part, and which of its snapshot, are visible.
//!
//! It lies in the row store and changes only in the commit that also changes the row store's side of
//! a move, so that one snapshot of the row store fixes both sides of the union.

use serde::{Deserialize, Serialize};

use crate::definitions::StorageId;
use crate::error::Result;
use crate::row_store::{Space, StoreSnapshot, meta_key};

/// What is visible of a hybrid table beside the row store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Delta version of the closed table.
    pub closed_version: u64,
    /// csn at which the rows of the last move were read.
    pub csn: u64,
}

/// What is visible of a table's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    /// Delta version of the snapshot.
    pub version: u64,
    /// csn at which the rows of the last offload were read.
    pub csn: u64,
}

impl SnapshotManifest {
    /// The snapshot of a storage as of a snapshot of the row store.
    pub fn load(snapshot: &StoreSnapshot, storage: StorageId) -> Result<Option<Self>> {
        match snapshot.get(Space::Meta, meta_key::snapshot(storage))? {
            Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            None => Ok(None),
        }
    }
}

impl Manifest {
    /// The manifest of a storage as of a snapshot.
    pub fn load(snapshot: &StoreSnapshot, storage: StorageId) -> Result<Option<Self>> {
        match snapshot.get(Space::Meta, meta_key::manifest(storage))? {
            Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            None => Ok(None),
        }
    }
}
