//! Offload: refreshes a table's snapshot, a columnar image of its open rows, from the row store.
//!
//! A table that has a snapshot also has a *fresh* keyspace: since the snapshot every write to an open row puts the key there,
//! with the newest row or a tombstone. So a query reads the snapshot's files minus the fresh keys, plus the fresh
//! rows (`hybrid_table`), and the large keyspace of all open rows is not scanned.
//!
//! Steps of one run, under the table's rewriter lock:
//!
//! 1. **intent** (`offload::begun`): a commit stores the intent, and from it on the committer keeps the fresh keyspace, if it did
//!    not already, and remembers the keys written.
//! 2. **select** (`offload::selected`): row-store snapshot S. The files whose key ranges hold enough fresh keys are to be
//!    replaced; the first run replaces nothing and writes all.
//! 3. **write** (`offload::files_written`): the open rows at S in those key ranges, in key order, to new files.
//! 4. **commit to Delta** (`offload::delta_committed`): one log entry adds and removes the files. Nobody reads this version yet.
//! 5. **show** (`offload::shown`): one row-store batch makes the version the table's snapshot, takes the fresh keys of the
//!    replaced ranges out, except those written since step 1, and names the restore point of S ([`crate::restore_point`]). Columns
//!    must be as they were at S. Indexes need not; that no other definition is committed meanwhile makes sure that it succeeds.
//!
//! **Recovery** only deletes the intent: without step 5 the old snapshot and its fresh keys stand as they were. What was
//! a first run leaves a fresh keyspace that is not kept any more; it is dropped. A log that is ahead of the visible
//! version makes the next run replace all files, since what the unseen entry changed is not known.

use std::ops::Bound;
use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;

use crate::catalog::{Catalog, by_storage};
use crate::closed_table::{ClosedTable, ClosedVersion, Rewrite, WrittenFile};
use crate::committer::{CommitRequest, Move};
use crate::definitions::{DatabaseDef, OFFLOAD_PERCENT, Oid, StorageId, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::key_range::KeyRange;
use crate::manifest::SnapshotManifest;
use crate::open_table::{OpenScanExec, RowSource};
use crate::restore_point;
use crate::rewriting::{Intent, begin, current_table};
use crate::row_codec::Bytes;
use crate::row_store::{Space, meta_key};
use crate::transaction::ReadView;

/// A file is replaced when so many of its rows, in percent, have changed.
const REPLACE_PERCENT: u64 = 5;

/// Fresh rows up to which no snapshot is too old: to read them costs next to nothing.
const FRESH_ROWS_MIN: usize = 10_000;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OffloadReport {
    /// Rows written to new files.
    pub rows_written: u64,
    /// Files written.
    pub files_written: u64,
    /// Files replaced.
    pub files_replaced: u64,
    /// Fresh rows that are now in the snapshot.
    pub rows_refreshed: u64,
    /// Visible version of the snapshot after the run.
    pub snapshot_version: u64,
}

/// Whether so many rows are fresher than the table's snapshot that it should be refreshed. A table that was never
/// offloaded has no snapshot to refresh.
pub async fn is_outgrown(view: &ReadView, table: &Arc<Table>) -> Result<bool> {
    let schedules = &table.def.schedules;
    let percent = usize::from(schedules.offload_percent.unwrap_or(OFFLOAD_PERCENT));
    let Some(manifest) = view.snapshot_manifest(table)? else {
        return Ok(false);
    };
    let space = Space::Fresh(table.def.storage);
    let log = view.catalog.shadow_logs.find(space, manifest.version);
    let fresh = match log {
        Some(log) => log.len(view.csn),
        None => view.fresh_keys(table)?.len(),
    };
    if percent == 0 || fresh < FRESH_ROWS_MIN {
        return Ok(false);
    }
    let snapshot = view.catalog.snapshot_table(table).await?;
    let version = snapshot.at_version(manifest.version).await?;
    let rows = version.rows().unwrap_or(u64::MAX);
    // Each file of which so much has changed is replaced, so a run leaves less than this behind.
    Ok(fresh as u64 * 100 >= rows.saturating_mul(percent as u64))
}

/// Refreshes the snapshot of a table, and makes a restore point of `now_us`, in microseconds since 1970.
pub async fn run(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    oid: Oid,
    now_us: i64,
) -> Result<OffloadReport> {
    let (_, table) = current_table(catalog, database, oid)?;
    if table.codec.has_row_numbers() {
        return Err(CatalogError::new(
            ErrorKind::Unsupported,
            format!("table \"{}\" has no primary key", table.def.name),
        )
        .with_hint("Only tables with a primary key have snapshots."));
    }
    let storage = table.def.storage;
    let lock = catalog.rewriter(storage);
    let _rewriter = lock.lock().await;
    let told = Move::BeginOffload(storage);
    begin(
        catalog,
        database,
        &table,
        meta_key::offload_intent(storage),
        told,
    )
    .await?;
    crate::crash_point!("offload::begun");
    let outcome = refresh(catalog, database, oid, storage, now_us).await;
    if outcome.is_err() {
        abandon(catalog, storage).await?;
    }
    outcome
}

/// Steps 2 to 5.
async fn refresh(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    oid: Oid,
    storage: StorageId,
    now_us: i64,
) -> Result<OffloadReport> {
    let (view, table) = current_table(catalog, database, oid)?;
    if table.def.storage != storage {
        return Err(CatalogError::serialization_failure());
    }
    crate::crash_point!("offload::selected");
    let snapshot = catalog.snapshot_table(&table).await?;
    let base = snapshot.latest().await?;
    let shown = view.snapshot_manifest(&table)?;
    let current = shown.is_some_and(|shown| shown.version == base.version());
    let fresh = view.fresh_keys(&table)?;
    let plan = match current {
        true => replaced(&table, &base, &fresh)?,
        false => Plan::all(&base),
    };
    let mut report = OffloadReport {
        snapshot_version: base.version(),
        ..OffloadReport::default()
    };
    if plan.ranges.is_empty() {
        // Nothing has changed enough; the fresh keys stay.
        if changed_since_last_point(&view, &table, base.version())? {
            let point = restore_point::prepare(&view, &table, base.version(), now_us, |_| true);
            let point = point.await?;
            let json = serde_json::to_vec(&point)?;
            let named = vec![(point.meta_key(storage), Some(json))];
            give_up(catalog, storage, named).await?;
        } else {
            abandon(catalog, storage).await?;
        }
        return Ok(report);
    }
    let mut adds: Vec<WrittenFile> = Vec::new();
    for range in &plan.ranges {
        let rows = open_rows(&view, &table, range)?;
        match snapshot.write_files(rows).await {
            Ok(files) => adds.extend(files),
            Err(error) => {
                snapshot.discard(&adds).await;
                return Err(error.into());
            }
        }
    }
    crate::crash_point!("offload::files_written");
    report.rows_written = adds.iter().map(WrittenFile::rows).sum();
    report.files_written = adds.len() as u64;
    report.files_replaced = plan.removed.len() as u64;
    let txn = i64::try_from(view.csn).map_err(|_| CatalogError::internal("csn overflow"))?;
    let version = match adds.is_empty() && plan.removed.is_empty() {
        true => base.version(),
        false => commit(&snapshot, &base, storage, txn, adds, plan.removed).await?,
    };
    crate::crash_point!("offload::delta_committed");
    let ranges = Arc::new(plan.ranges);
    let in_files = Arc::clone(&ranges);
    let unoffloaded = move |key: &[u8]| !in_files.iter().any(|range| holds(range, key));
    let point = restore_point::prepare(&view, &table, version, now_us, unoffloaded).await?;
    let cleared: Vec<Bytes> = fresh
        .into_iter()
        .filter(|key| ranges.iter().any(|range| holds(range, key)))
        .map(Vec::into_boxed_slice)
        .collect();
    report.rows_refreshed = cleared.len() as u64;
    report.snapshot_version = version;
    let manifest = SnapshotManifest {
        version,
        csn: view.csn,
    };
    // A table dropped, truncated or altered in the meantime must not get this snapshot. One with other indexes may.
    let held = catalog.hold_definitions().await;
    let (now, defined) = current_table(catalog, database, oid)?;
    let (then, def) = (&table.def, &defined.def);
    if def.storage != storage || def.columns != then.columns || def.history != then.history {
        return Err(CatalogError::serialization_failure());
    }
    let request = CommitRequest {
        snapshot_csn: now.csn,
        meta: vec![
            (
                meta_key::snapshot(storage),
                Some(serde_json::to_vec(&manifest)?),
            ),
            (point.meta_key(storage), Some(serde_json::to_vec(&point)?)),
            (meta_key::offload_intent(storage), None),
        ],
        row_move: Some(Move::FinishOffload {
            storage,
            version,
            first: shown.is_none(),
            cleared,
        }),
        unchanged: vec![meta_key::relation(database.oid, oid)],
        ..CommitRequest::default()
    };
    let csn = catalog.commit(request).await?;
    drop((held, now));
    crate::crash_point!("offload::shown");
    if let Some(before) = shown {
        snapshot.superseded(before.version, csn);
    }
    catalog.rows_left(Space::Fresh(storage), report.rows_refreshed, csn)?;
    Ok(report)
}

async fn commit(
    snapshot: &ClosedTable,
    base: &ClosedVersion,
    storage: StorageId,
    txn: i64,
    adds: Vec<WrittenFile>,
    removed: Vec<String>,
) -> Result<u64> {
    let rewrite = Rewrite {
        removed,
        ..Rewrite::default()
    };
    let app_id = format!("nyala-snapshot-{storage}");
    Ok(snapshot
        .commit(base, &app_id, txn, adds, Some(rewrite))
        .await?)
}

/// A range of keys as bytes.
type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What a run replaces.
struct Plan {
    ranges: Vec<Range>,
    /// Paths of the files in these ranges.
    removed: Vec<String>,
}

impl Plan {
    fn all(base: &ClosedVersion) -> Self {
        let removed = base.files().iter().map(|file| file.path().to_string());
        Self {
            ranges: vec![(Bound::Unbounded, Bound::Unbounded)],
            removed: removed.collect(),
        }
    }
}

/// Files that overlap, with the keys from the first of them to the next segment's first.
struct Segment {
    range: Range,
    files: Vec<String>,
    rows: u64,
    changed: u64,
}

/// The segments of which enough has changed. Neighbours are written in one go.
fn replaced(table: &Table, base: &ClosedVersion, fresh: &[Vec<u8>]) -> Result<Plan> {
    let Some(mut segments) = segments(table, base)? else {
        return Ok(Plan::all(base));
    };
    for key in fresh {
        // Segments cover all keys, in order.
        let at = segments.partition_point(|segment| match &segment.range.1 {
            Bound::Excluded(end) => end <= key,
            _ => false,
        });
        if let Some(segment) = segments.get_mut(at) {
            segment.changed += 1;
        }
    }
    let mut plan = Plan {
        ranges: Vec::new(),
        removed: Vec::new(),
    };
    for segment in segments {
        if segment.changed == 0 || segment.changed * 100 < segment.rows * REPLACE_PERCENT {
            continue;
        }
        plan.removed.extend(segment.files);
        match plan.ranges.last_mut() {
            Some((_, end)) if touches(end, &segment.range.0) => *end = segment.range.1,
            _ => plan.ranges.push(segment.range),
        }
    }
    Ok(plan)
}

fn touches(end: &Bound<Vec<u8>>, start: &Bound<Vec<u8>>) -> bool {
    matches!((end, start), (Bound::Excluded(end), Bound::Included(start)) if end == start)
}

fn holds(range: &Range, key: &[u8]) -> bool {
    let above = match &range.0 {
        Bound::Included(start) => start.as_slice() <= key,
        _ => true,
    };
    let below = match &range.1 {
        Bound::Excluded(end) => key < end.as_slice(),
        _ => true,
    };
    above && below
}

/// The files of a version as segments in key order; `None` if a file's bounds are unknown or there are no files.
fn segments(table: &Table, base: &ClosedVersion) -> Result<Option<Vec<Segment>>> {
    let Some(first) = table.key_columns().first().copied() else {
        return Ok(None);
    };
    let mut bounded = Vec::with_capacity(base.file_count());
    for file in base.files() {
        let Some((min, max)) = file.exact_bounds(first) else {
            return Ok(None);
        };
        let encode = |value: &datafusion::common::ScalarValue| -> Result<Vec<u8>> {
            let keys = table.codec.encode_key_prefix(&[value.to_array()?])?;
            let key = keys.unwrap_or_default().into_iter().next();
            Ok(key.unwrap_or_default().into_vec())
        };
        bounded.push((encode(min)?, encode(max)?, file));
    }
    bounded.sort_by(|left, right| left.0.cmp(&right.0));
    let mut segments: Vec<(Vec<u8>, Vec<u8>, Segment)> = Vec::new();
    for (min, max, file) in bounded {
        let rows = file.rows().unwrap_or_default();
        if let Some((_, end, segment)) = segments.last_mut()
            && min <= *end
        {
            segment.files.push(file.path().to_string());
            segment.rows += rows;
            if max > *end {
                *end = max;
            }
            continue;
        }
        let segment = Segment {
            range: (Bound::Unbounded, Bound::Unbounded),
            files: vec![file.path().to_string()],
            rows,
            changed: 0,
        };
        segments.push((min, max, segment));
    }
    // Each segment goes up to the next one's first key, the outer ones on without end.
    let starts: Vec<Vec<u8>> = segments.iter().map(|(min, _, _)| min.clone()).collect();
    let mut finished = Vec::with_capacity(segments.len());
    for (at, (min, _, mut segment)) in segments.into_iter().enumerate() {
        if at > 0 {
            segment.range.0 = Bound::Included(min);
        }
        if let Some(next) = starts.get(at + 1) {
            segment.range.1 = Bound::Excluded(next.clone());
        }
        finished.push(segment);
    }
    Ok((!finished.is_empty()).then_some(finished))
}

/// The open rows of a key range, in key order.
fn open_rows(
    view: &ReadView,
    table: &Arc<Table>,
    range: &Range,
) -> Result<SendableRecordBatchStream> {
    let columns = (0..table.schema.fields().len()).collect();
    let range = KeyRange::Range(range.0.clone(), range.1.clone());
    let (view, table) = (view.clone(), Arc::clone(table));
    let context = view.catalog.session().task_ctx();
    let scan = OpenScanExec::new(view, table, RowSource::Rows, columns, range, None)?;
    Ok(scan.execute(0, context)?)
}

/// Whether rows were written since the table's last restore point.
fn changed_since_last_point(view: &ReadView, table: &Table, version: u64) -> Result<bool> {
    let Some(last) = view.restore_points(table)?.pop() else {
        return Ok(true);
    };
    let logs = &view.catalog.shadow_logs;
    let log = logs.find(Space::Fresh(table.def.storage), version);
    let written = log.and_then(|log| log.written_between(last.csn, view.csn));
    Ok(written.is_none_or(|keys| !keys.is_empty()))
}

/// Gives a run up.
async fn abandon(catalog: &Catalog, storage: StorageId) -> Result<()> {
    give_up(catalog, storage, Vec::new()).await
}

/// Ends a run that replaces nothing. A table without a snapshot keeps no fresh keys.
async fn give_up(
    catalog: &Catalog,
    storage: StorageId,
    mut meta: Vec<(String, Option<Vec<u8>>)>,
) -> Result<()> {
    meta.push((meta_key::offload_intent(storage), None));
    let snapshot = catalog.snapshot();
    let keeps = SnapshotManifest::load(&snapshot, storage)?.is_some();
    let request = CommitRequest {
        snapshot_csn: u64::MAX,
        meta,
        row_move: Some(Move::AbandonOffload { storage, keeps }),
        ..CommitRequest::default()
    };
    catalog.commit(request).await?;
    if !keeps {
        catalog.store().drop_space(Space::Fresh(storage))?;
    }
    Ok(())
}

/// Undoes the runs that a crash cut off. Called before anyone can read or write.
pub(crate) async fn recover(catalog: &Arc<Catalog>) -> Result<()> {
    for (storage, _) in by_storage::<Intent>(&catalog.snapshot(), meta_key::OFFLOAD_INTENTS)? {
        tracing::info!(storage, "an offload was cut off and is undone");
        abandon(catalog, storage).await?;
    }
    Ok(())
}
