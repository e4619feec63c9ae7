//! Restore points: moments of a table that can be read again (`FOR SYSTEM_TIME AS OF`, `VERSION AS OF`).
//!
//! Every offload makes one, of its row-store snapshot S. The row store keeps no old rows, yet what offload and housekeeping
//! leave in files is enough, together with what the files of S do not have:
//!
//! ```text
//! rows(table) at S = closed table at its version at S, minus the keys in shadow_closed at S
//!                  + snapshot that the offload shows, minus the keys fresh at S
//!                  + rows fresh at S
//! ```
//!
//! The keys and rows in the last two lines that did not go into the snapshot's files (few, or the files would have been
//! replaced) and the shadow go into the point's own file (`file`). So a point is exact: it has the rows of S, all of them
//! and no other.
//!
//! - A point is named by the commit that shows the snapshot, or, if nothing had to be replaced, by one of its own.
//!   Its file is on disk before that.
//! - `meta` key `point/<storage>/<number>`; numbers begin with 1 for each storage. TRUNCATE gives a table a new storage, and
//!   the points of the old one go with it.
//! - Files that a point needs stay until the point is older than the table's retention ([`crate::vacuum`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::definitions::{StorageId, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_store::{Space, StoreSnapshot, meta_key};
use crate::transaction::ReadView;

pub(crate) mod file;
mod scan;

pub use scan::PointScan;

/// A moment of a table that can be read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Number of the point, from 1.
    pub version: u64,
    /// Commit sequence number whose rows it has.
    pub csn: u64,
    /// When that was, in microseconds since 1970.
    pub taken_us: i64,
    /// Delta version of the snapshot.
    pub snapshot_version: u64,
    /// Delta version of the closed table, if there is one.
    pub closed_version: Option<u64>,
    /// Name of the point's own file.
    pub(crate) file: String,
}

/// Which moment a statement asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The point of this number.
    Version(u64),
    /// The last point that is not later, in microseconds since 1970.
    Time(i64),
}

impl RestorePoint {
    pub(crate) fn meta_key(&self, storage: StorageId) -> String {
        meta_key::point(storage, self.version)
    }

    /// All points of a storage, oldest first.
    pub(crate) fn load_all(snapshot: &StoreSnapshot, storage: StorageId) -> Result<Vec<Self>> {
        let mut points = Vec::new();
        for entry in snapshot.prefix(Space::Meta, meta_key::points(storage))? {
            points.push(serde_json::from_slice(&entry.value()?)?);
        }
        Ok(points)
    }
}

impl ReadView {
    /// The restore points of a table, oldest first.
    pub fn restore_points(&self, table: &Table) -> Result<Vec<RestorePoint>> {
        RestorePoint::load_all(&self.snapshot, table.def.storage)
    }

    /// The restore point that a statement asks for.
    pub fn restore_point(&self, table: &Table, as_of: AsOf) -> Result<RestorePoint> {
        let mut points = self.restore_points(table)?.into_iter();
        let (found, asked) = match as_of {
            AsOf::Version(version) => (
                points.find(|point| point.version == version),
                format!("no version {version}"),
            ),
            AsOf::Time(time_us) => (
                points.rfind(|point| point.taken_us <= time_us),
                "no version of that time".to_string(),
            ),
        };
        found.ok_or_else(|| {
            let name = &table.def.name;
            CatalogError::new(
                ErrorKind::UndefinedVersion,
                format!("table \"{name}\" has {asked}"),
            )
            .with_hint(format!(
                "Each offload makes a version; \"{name}$history\" lists those that are kept."
            ))
        })
    }
}

/// Makes the point of a view for a snapshot version: writes its file. `unoffloaded` says which fresh keys are not in the
/// snapshot's files.
pub(crate) async fn prepare(
    view: &ReadView,
    table: &Arc<Table>,
    snapshot_version: u64,
    taken_us: i64,
    unoffloaded: impl Fn(&[u8]) -> bool + Send + 'static,
) -> Result<RestorePoint> {
    let storage = table.def.storage;
    let last = view.restore_points(table)?.pop();
    let point = RestorePoint {
        version: last.map_or(1, |point| point.version + 1),
        csn: view.csn,
        taken_us,
        snapshot_version,
        closed_version: view
            .manifest(table)?
            .map(|manifest| manifest.closed_version),
        file: format!("{}.parquet", uuid::Uuid::new_v4()),
    };
    let entries = file::Entries {
        snapshot: view.snapshot.clone(),
        storage,
        unoffloaded,
    };
    file::write(view.catalog.columnar(), &point.file, entries).await?;
    Ok(point)
}
