//! Vacuum: removes files of a table that nobody needs any more.
//!
//! Files of the closed table and of the snapshot are needed by
//!
//! - what is visible now, and the newest version in the Delta log,
//! - transactions that began when an older version was visible,
//! - restore points that are younger than the table's retention.
//!
//! Everything else goes: replaced files, and files that a crash left between writing and naming them. Runs under the table's
//! rewriter lock after each offload and housekeeping run, and by `CALL nyala.vacuum('t')`. A crash in it only leaves work for
//! the next run.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::catalog::{Catalog, points_folder};
use crate::closed_table::{ClosedTable, Vacuumed};
use crate::committer::CommitRequest;
use crate::definitions::{DatabaseDef, Oid, StorageId, Table};
use crate::error::Result;
use crate::manifest::{Manifest, SnapshotManifest};
use crate::restore_point::RestorePoint;
use crate::rewriting::current_table;

/// Seconds that restore points are kept where the table does not say.
pub const RETENTION_S: u64 = 7 * 24 * 60 * 60;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Restore points that are older than the retention.
    pub versions_dropped: u64,
    /// Data files removed.
    pub files_removed: u64,
    /// Their size.
    pub bytes_removed: u64,
}

/// Removes what is not needed of a table's files; `now_us` is the time in microseconds since 1970.
pub async fn run(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    oid: Oid,
    now_us: i64,
) -> Result<VacuumReport> {
    let table = current_table(catalog, database, oid)?.1;
    let storage = table.def.storage;
    let lock = catalog.rewriter(storage);
    let _rewriter = lock.lock().await;
    let points = drop_old_points(catalog, &table, now_us).await?;
    let mut report = VacuumReport {
        versions_dropped: points.dropped,
        ..VacuumReport::default()
    };
    // From here on nobody can begin to read a version that is not among these.
    let snapshot = catalog.snapshot();
    let oldest = catalog.oldest_transaction();
    let manifest = Manifest::load(&snapshot, storage)?.map(|manifest| manifest.closed_version);
    let shown = SnapshotManifest::load(&snapshot, storage)?.map(|manifest| manifest.version);
    let mut parts: Vec<(ClosedTable, BTreeSet<u64>)> = Vec::with_capacity(2);
    if let Some(visible) = manifest {
        let kept = points.kept.iter().filter_map(|point| point.closed_version);
        parts.push((
            catalog.closed_table(&table)?,
            kept.chain([visible]).collect(),
        ));
    }
    if let Some(visible) = shown {
        let kept = points.kept.iter().map(|point| point.snapshot_version);
        let snapshot = catalog.snapshot_table(&table).await?;
        parts.push((snapshot, kept.chain([visible]).collect()));
    }
    for (files, mut needed) in parts {
        needed.extend(files.read_since(oldest));
        let Vacuumed { files, bytes } = files.vacuum(&needed, now_us / 1_000).await?;
        report.files_removed += files;
        report.bytes_removed += bytes;
    }
    if oldest >= points.csn {
        remove_point_files(catalog, storage, &points.kept).await?;
    }
    Ok(report)
}

struct Points {
    kept: Vec<RestorePoint>,
    dropped: u64,
    /// From this csn on no transaction sees another point than those kept.
    csn: u64,
}

/// Takes the points that are older than the table's retention out.
async fn drop_old_points(catalog: &Arc<Catalog>, table: &Table, now_us: i64) -> Result<Points> {
    let storage = table.def.storage;
    let retention_s = table.def.retention_s.unwrap_or(RETENTION_S);
    let retention_us = i64::try_from(retention_s)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000);
    let oldest_us = now_us.saturating_sub(retention_us);
    let points = RestorePoint::load_all(&catalog.snapshot(), storage)?;
    let (kept, old): (Vec<_>, Vec<_>) = points
        .into_iter()
        .partition(|point| point.taken_us >= oldest_us);
    let keys = old.iter().map(|point| (point.meta_key(storage), None));
    let request = CommitRequest {
        // Nobody else writes these keys: they are written under the rewriter lock.
        snapshot_csn: u64::MAX,
        meta: keys.collect(),
        ..CommitRequest::default()
    };
    let csn = catalog.commit(request).await?;
    Ok(Points {
        kept,
        dropped: old.len() as u64,
        csn,
    })
}

/// Removes the files of points that are not kept, and of those that were never named.
async fn remove_point_files(
    catalog: &Catalog,
    storage: StorageId,
    kept: &[RestorePoint],
) -> Result<()> {
    let kept: HashSet<&str> = kept.iter().map(|point| point.file.as_str()).collect();
    for file in catalog.columnar().files(&points_folder(storage)).await? {
        let name = file.location.filename().unwrap_or_default();
        if !kept.contains(name) {
            catalog.columnar().remove_file(&file).await?;
        }
    }
    Ok(())
}
