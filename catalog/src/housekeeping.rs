//! Housekeeping: moves rows that became closed from the row store to the closed table, folds
//! reopened rows out of its files, and merges small files.
//!
//! Steps of one run, under the table's rewriter lock:
//!
//! 1. **intent**: a commit stores the intent and tells the committer to shadow every key that is
//!    written to the table from now on.
//! 2. **select** (`housekeeping::selected`): a snapshot S is taken; the open rows that match the
//!    closing rule at S are read in key order.
//! 3. **write** (`housekeeping::files_written`): they are written as sorted Parquet files; files with
//!    rows that were shadowed at S are written again without them, and small neighbours as one file.
//! 4. **commit to Delta** (`housekeeping::delta_committed`): one Delta commit adds and removes the
//!    files, with `txn` = (table's app id, csn of S). Nobody reads this version yet.
//! 5. **show** (`housekeeping::manifest_committed`): one batch in the row store sets the manifest to
//!    the new version, deletes the moved rows and their index entries, empties the shadow of the keys folded, and deletes
//!    the intent. Keys written since step 1 keep their row and their shadow entry.
//!
//! **Recovery**, for each intent found at start: if the Delta log is not ahead of the manifest, the
//! run never reached step 4, and only the intent is deleted. If it is ahead, step 5 is done from
//! what is stored: a row of the row store whose key is in the new version and not in the shadow is a
//! moved row (it was not in the closed table before, by uniqueness, and not written since, or it
//! would be shadowed). Shadow entries stay; the next run folds them. Merged files have the rows of those they replace, so
//! they make no difference to this.
//!
//! Why step 1 is needed: without it a row deleted between S and step 5 would leave no trace, and a
//! recovery could not tell it from a row still to be shown.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::Result as DataFusionResult;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::catalog::{Catalog, by_storage};
use crate::closed_table::{ClosedTable, ClosedVersion, Rewrite};
use crate::committer::{CommitRequest, Move};
use crate::definitions::{DatabaseDef, Oid, StorageId, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::entry::Entry;
use crate::key_range::KeyRange;
use crate::manifest::Manifest;
use crate::open_table::{OpenScanExec, RowSource};
use crate::rewriting::{self, Intent, begin};
use crate::row_codec::Bytes;
use crate::row_store::{Space, meta_key};
use crate::transaction::ReadView;

/// Rows moved in one round; a run does rounds, each from where the one before ended, until none are left. Bounds the keys kept in
/// memory. Smaller rounds hold other commits up for less time each, but take up to twice as long: while fjall writes the
/// memtables of one round, its idle workers spin beside the next.
const ROUND_ROWS_MAX: usize = 4_000_000;

fn round_rows_max() -> usize {
    // Tests have rounds of few rows.
    fail::fail_point!("housekeeping::round_rows", |rows| rows
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(ROUND_ROWS_MAX));
    ROUND_ROWS_MAX
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HousekeepingReport {
    /// Rows moved from the row store to the closed table.
    pub rows_moved: u64,
    /// Reopened rows whose old copies were taken out of the closed files.
    pub rows_folded: u64,
    /// Files written.
    pub files_written: u64,
    /// Visible version of the closed table after the run.
    pub closed_version: u64,
    /// Files of the closed table before the run.
    pub files_before: u64,
    /// Files of the closed table after the run.
    pub files_after: u64,
}

/// Moves the rows for which `closed_when` is true.
///
/// `closed_when` is the closing rule of `table`, compiled over all its columns. If these or the rule change before the run is
/// done, it fails with a serialization failure, and what it moved until then is moved.
pub async fn run(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Table,
    closed_when: &Arc<dyn PhysicalExpr>,
) -> Result<HousekeepingReport> {
    let mut left = RowsLeft::default();
    let outcome = rounds(catalog, database, table, closed_when, &mut left).await;
    // Only now: to merge a keyspace of which the next round takes as much again would be work done twice.
    for (space, rows) in left.rows {
        catalog.rows_left(space, rows, left.csn)?;
    }
    outcome
}

/// What left the keyspaces in the rounds of a run, the last time with a csn.
#[derive(Default)]
struct RowsLeft {
    rows: HashMap<Space, u64>,
    csn: u64,
}

async fn rounds(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Table,
    closed_when: &Arc<dyn PhysicalExpr>,
    left: &mut RowsLeft,
) -> Result<HousekeepingReport> {
    let mut report = HousekeepingReport::default();
    let mut from = Bound::Unbounded;
    loop {
        let first = from == Bound::Unbounded;
        let mut of_round = report;
        let rounded = round(
            catalog,
            database,
            table,
            closed_when,
            from,
            &mut of_round,
            left,
        );
        let last = rounded.await?;
        if !first {
            of_round.files_before = report.files_before;
        }
        report = of_round;
        match last {
            Some(last) => from = Bound::Excluded(last.into_vec()),
            None => return Ok(report),
        }
    }
}

/// Moves a round's rows from a key on. Returns the last key moved if the round was full.
async fn round(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    compiled: &Table,
    closed_when: &Arc<dyn PhysicalExpr>,
    from: Bound<Vec<u8>>,
    report: &mut HousekeepingReport,
    left: &mut RowsLeft,
) -> Result<Option<Bytes>> {
    let (_, table) = current_table(catalog, database, compiled.def.oid)?;
    let storage = table.def.storage;
    let lock = catalog.rewriter(storage);
    let _rewriter = lock.lock().await;
    // A run that failed half way has to be finished or undone first.
    if catalog
        .snapshot()
        .contains(Space::Meta, meta_key::intent(storage))?
    {
        recover_table(catalog, database, &table).await?;
    }
    let told = Move::Begin(storage);
    begin(catalog, database, &table, meta_key::intent(storage), told).await?;
    let range = KeyRange::Range(from, Bound::Unbounded);
    match select_and_write(catalog, database, compiled, &table, closed_when, range).await {
        Ok(Some(moved)) => {
            let keys = &moved.rows.keys;
            let last = keys.get(round_rows_max().saturating_sub(1)).cloned();
            let written = commit_and_show(catalog, database, &table, moved, report, left).await;
            written.map(|()| last)
        }
        Ok(None) => {
            abandon(catalog, storage).await?;
            if let Some(manifest) = Manifest::load(&catalog.snapshot(), storage)? {
                let closed = catalog.closed_table(&table)?;
                let files = closed
                    .at_version(manifest.closed_version)
                    .await?
                    .file_count() as u64;
                report.closed_version = manifest.closed_version;
                (report.files_before, report.files_after) = (files, files);
            }
            Ok(None)
        }
        Err(error) => {
            // Nothing reached the Delta log yet.
            abandon(catalog, storage).await?;
            Err(error)
        }
    }
}

/// Keys of rows that are moved, and their entries in each of the table's indexes.
#[derive(Default)]
struct MovedRows {
    keys: Vec<Bytes>,
    entries: Vec<Vec<Entry>>,
}

impl MovedRows {
    fn add(&mut self, keys: Vec<Bytes>, entries: Vec<Vec<Entry>>) {
        self.keys.extend(keys);
        self.entries.resize_with(entries.len(), Vec::new);
        for (all, new) in self.entries.iter_mut().zip(entries) {
            all.extend(new);
        }
    }

    fn finish(self, table: &Table, version: u64, first: bool, unshadowed: Vec<Bytes>) -> Move {
        let indexes = table.indexes.iter().map(|index| index.def.storage);
        Move::Finish {
            storage: table.def.storage,
            version,
            first,
            moved: self.keys,
            entries: indexes.zip(self.entries).collect(),
            unshadowed,
        }
    }
}

/// What steps 2 and 3 prepared.
struct Moved {
    csn: u64,
    closed: ClosedTable,
    base: Arc<ClosedVersion>,
    adds: Vec<crate::closed_table::WrittenFile>,
    rewrite: Rewrite,
    table: Arc<Table>,
    rows: MovedRows,
    unshadowed: Vec<Bytes>,
    relation_key: String,
}

/// Steps 2 and 3. `None` if there is nothing to move, fold or merge.
async fn select_and_write(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    compiled: &Table,
    locked: &Table,
    closed_when: &Arc<dyn PhysicalExpr>,
    range: KeyRange,
) -> Result<Option<Moved>> {
    // As of S: rows may have been written by this definition since the caller looked, and step 5 goes by it, or not at all.
    let (view, current) = current_table(catalog, database, locked.def.oid)?;
    let table = &current;
    let same_rule =
        table.def.columns == compiled.def.columns && table.def.closing == compiled.def.closing;
    if table.def.storage != locked.def.storage || !same_rule {
        return Err(CatalogError::serialization_failure());
    }
    let manifest = view
        .manifest(table)?
        .ok_or_else(|| CatalogError::corrupted("hybrid table has no manifest"))?;
    let closed = catalog.closed_table(table)?;
    let base = closed.at_version(manifest.closed_version).await?;
    crate::crash_point!("housekeeping::selected");

    let moved = Arc::new(Mutex::new(MovedRows::default()));
    let rows = matching_rows(&view, table, closed_when, range, &moved)?;
    let adds = match non_empty(rows).await? {
        Some(rows) => closed.write_files(rows).await?,
        None => Vec::new(),
    };
    let moved = std::mem::take(&mut *moved.lock());
    let unshadowed: Vec<Bytes> = view
        .shadow_closed(table)?
        .into_iter()
        .map(Vec::into_boxed_slice)
        .collect();
    let merges = closed.merges(&base)?;
    if moved.keys.is_empty() && unshadowed.is_empty() && merges.is_empty() {
        return Ok(None);
    }
    let folded = match unshadowed.is_empty() {
        true => None,
        false => {
            let positions: Vec<usize> = table.key_columns().to_vec();
            let codec = &table.codec;
            Some(codec.decode::<_, Bytes>(&positions, &unshadowed, &[])?)
        }
    };
    let rewrite = match closed.rewrite(&base, folded.as_ref(), &merges).await {
        Ok(rewrite) => rewrite,
        Err(error) => {
            closed.discard(&adds).await;
            return Err(error.into());
        }
    };
    crate::crash_point!("housekeeping::files_written");
    let relation_key = meta_key::relation(database.oid, table.def.oid);
    Ok(Some(Moved {
        csn: view.csn,
        closed,
        base,
        adds,
        rewrite,
        table: Arc::clone(table),
        rows: moved,
        unshadowed,
        relation_key,
    }))
}

/// Steps 4 and 5.
async fn commit_and_show(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Table,
    moved: Moved,
    report: &mut HousekeepingReport,
    left: &mut RowsLeft,
) -> Result<()> {
    let storage = table.def.storage;
    let rewrite = &moved.rewrite;
    let written = (moved.adds.len() + rewrite.written.len()) as u64;
    let removed = (rewrite.removed.len() + rewrite.merged.len()) as u64;
    report.rows_moved += moved.rows.keys.len() as u64;
    report.rows_folded += rewrite.rows_dropped;
    report.files_written += written;
    report.files_before = moved.base.file_count() as u64;
    report.files_after = report.files_before + written - removed;
    let txn = i64::try_from(moved.csn).map_err(|_| CatalogError::internal("csn overflow"))?;
    let committed = moved
        .closed
        .commit(
            &moved.base,
            &app_id(storage),
            txn,
            moved.adds,
            Some(moved.rewrite),
        )
        .await;
    let version = match committed {
        Ok(version) => version,
        Err(error) => {
            // Only if the log certainly has no new version may the intent go; else recovery decides.
            if moved.closed.latest().await?.version() == moved.base.version() {
                abandon(catalog, storage).await?;
            }
            return Err(error.into());
        }
    };
    crate::crash_point!("housekeeping::delta_committed");
    let mut leave = vec![
        (Space::Rows(storage), moved.rows.keys.len() as u64),
        (Space::ShadowClosed(storage), moved.unshadowed.len() as u64),
    ];
    for (index, entries) in moved.table.indexes.iter().zip(&moved.rows.entries) {
        leave.push((Space::Index(index.def.storage), entries.len() as u64));
    }
    let first = moved.base.file_count() == 0;
    let finish = moved
        .rows
        .finish(&moved.table, version, first, moved.unshadowed);
    let shown = show(
        catalog,
        storage,
        version,
        moved.csn,
        finish,
        vec![moved.relation_key],
    );
    let csn = match shown.await {
        Ok(csn) => csn,
        Err(error) if error.kind == ErrorKind::SerializationFailure => {
            return definition_changed(catalog, database, table, error).await;
        }
        Err(error) => return Err(error),
    };
    crate::crash_point!("housekeeping::manifest_committed");
    moved.closed.superseded(moved.base.version(), csn);
    for (space, rows) in leave {
        *left.rows.entry(space).or_default() += rows;
    }
    left.csn = csn;
    report.closed_version = version;
    Ok(())
}

/// Step 5 found the table's definition changed since S. If the table still has its storage, the run is finished on the
/// new definition as after a crash; if it was dropped or truncated, there is nothing left to show.
async fn definition_changed(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Table,
    error: CatalogError,
) -> Result<()> {
    match current_table(catalog, database, table.def.oid) {
        Ok((_, current)) if current.def.storage == table.def.storage => {
            recover_table(catalog, database, &current).await
        }
        _ => {
            abandon(catalog, table.def.storage).await?;
            Err(error)
        }
    }
}

/// Gives a run up before step 4.
async fn abandon(catalog: &Catalog, storage: StorageId) -> Result<()> {
    let request = CommitRequest {
        snapshot_csn: u64::MAX,
        meta: vec![(meta_key::intent(storage), None)],
        row_move: Some(Move::Abandon(storage)),
        ..CommitRequest::default()
    };
    catalog.commit(request).await.map(drop)
}

/// Step 5; returns its csn.
async fn show(
    catalog: &Catalog,
    storage: StorageId,
    closed_version: u64,
    csn: u64,
    finish: Move,
    unchanged: Vec<String>,
) -> Result<u64> {
    let manifest = Manifest {
        closed_version,
        csn,
    };
    let request = CommitRequest {
        // Definitions may not have changed since S: a table dropped or truncated in the meantime
        // must not get its manifest back. The other keys are this run's alone.
        snapshot_csn: csn,
        meta: vec![
            (
                meta_key::manifest(storage),
                Some(serde_json::to_vec(&manifest)?),
            ),
            (meta_key::intent(storage), None),
        ],
        row_move: Some(finish),
        unchanged,
        ..CommitRequest::default()
    };
    catalog.commit(request).await
}

/// Finishes or undoes the runs that a crash cut off. Called before anyone can read or write.
pub(crate) async fn recover(catalog: &Arc<Catalog>) -> Result<()> {
    let intents = by_storage::<Intent>(&catalog.snapshot(), meta_key::INTENTS)?;
    for (storage, intent) in intents {
        let globals = catalog.globals()?;
        let database = globals
            .databases()
            .iter()
            .find(|d| d.oid == intent.database);
        let table = match database {
            Some(database) => match current_table(catalog, database, intent.table) {
                Ok((_, table)) if table.def.storage == storage => Some((database, table)),
                // Dropped or truncated since.
                Ok(_) => None,
                Err(error) if error.kind == ErrorKind::UndefinedTable => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        match table {
            Some((database, table)) => match recover_table(catalog, database, &table).await {
                // The other tables are not to suffer from it; the next run says so again.
                Err(error) if error.kind == ErrorKind::ObjectInUse => {
                    tracing::error!(table = table.def.name, %error, "closed part is not as it was left");
                }
                recovered => recovered?,
            },
            None => abandon(catalog, storage).await?,
        }
    }
    Ok(())
}

async fn recover_table(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Arc<Table>,
) -> Result<()> {
    let storage = table.def.storage;
    let (view, current) = current_table(catalog, database, table.def.oid)?;
    if current.def.storage != storage {
        return Err(CatalogError::serialization_failure());
    }
    let table = &current;
    let manifest = view
        .manifest(table)?
        .ok_or_else(|| CatalogError::corrupted("hybrid table has no manifest"))?;
    let closed = catalog.closed_table(table)?;
    let latest = closed.latest().await?;
    if latest.version() <= manifest.closed_version {
        tracing::info!(
            table = table.def.name,
            "housekeeping was cut off and is undone"
        );
        return abandon(catalog, storage).await;
    }
    let base = closed.at_version(manifest.closed_version).await?;
    // An own commit has the csn of its S, which is later than what is visible. Only where others write is it worth a look.
    let own = match closed.is_adopted() {
        true => {
            closed
                .transaction_version(&latest, &app_id(storage))
                .await?
        }
        false => Some(i64::MAX),
    };
    if own.is_none_or(|csn| u64::try_from(csn).is_ok_and(|csn| csn <= manifest.csn)) {
        abandon(catalog, storage).await?;
        return Err(CatalogError::new(
            ErrorKind::ObjectInUse,
            format!(
                "the closed part of table \"{}\" was changed by another writer",
                table.def.name
            ),
        )
        .with_detail("A Delta table that is the closed part of a table has no other writers."));
    }
    let shadow: HashSet<Vec<u8>> = view.shadow_closed(table)?.into_iter().collect();
    let mut moved = MovedRows::default();
    let mut open = open_keys(&view, table)?;
    while let Some(addresses) = open.try_next().await? {
        let in_closed = closed.contains_keys(&latest, &addresses).await?;
        let mut keys = table.codec.encode_keys(&addresses)?;
        let mut is_in = in_closed.iter();
        keys.retain(|key| is_in.next() == Some(Some(true)) && !shadow.contains(&**key));
        let entries = view.entries_of_keys(table, &keys)?;
        moved.add(keys, entries);
    }
    tracing::info!(
        table = table.def.name,
        rows = moved.keys.len(),
        version = latest.version(),
        "housekeeping was cut off and is finished"
    );
    let first = base.file_count() == 0;
    let finish = moved.finish(table, latest.version(), first, Vec::new());
    let relation_key = meta_key::relation(database.oid, table.def.oid);
    show(
        catalog,
        storage,
        latest.version(),
        view.csn,
        finish,
        vec![relation_key],
    )
    .await
    .map(|csn| closed.superseded(base.version(), csn))
}

/// The table as it is now, which has closed rows, and a view of now.
fn current_table(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    oid: Oid,
) -> Result<(ReadView, Arc<Table>)> {
    let (view, table) = rewriting::current_table(catalog, database, oid)?;
    if !table.is_hybrid() {
        return Err(CatalogError::new(
            ErrorKind::WrongObjectType,
            format!("\"{}\" is not a table with closed_when", table.def.name),
        ));
    }
    Ok((view, table))
}

/// Open rows of a range that match, at most a round's; their keys are collected as the stream is read.
fn matching_rows(
    view: &ReadView,
    table: &Arc<Table>,
    closed_when: &Arc<dyn PhysicalExpr>,
    range: KeyRange,
    moved: &Arc<Mutex<MovedRows>>,
) -> Result<SendableRecordBatchStream> {
    let columns = (0..table.schema.fields().len()).collect();
    let open = RowSource::Rows;
    let scan = OpenScanExec::new(view.clone(), Arc::clone(table), open, columns, range, None)?;
    let rows = scan.execute(0, view.catalog.session().task_ctx())?;
    let of_table = Arc::clone(table);
    let (closed_when, moved) = (Arc::clone(closed_when), Arc::clone(moved));
    let rows_max = round_rows_max();
    let selected = Arc::clone(&moved);
    let rows = rows.take_while(move |_| {
        let full = selected.lock().keys.len() >= rows_max;
        futures::future::ready(!full)
    });
    let matching = rows.map(move |batch| -> DataFusionResult<RecordBatch> {
        let batch = batch?;
        let truth = closed_when.evaluate(&batch)?.into_array(batch.num_rows())?;
        let truth = truth.as_boolean_opt().ok_or_else(|| {
            DataFusionError::from(CatalogError::internal("closed_when is not boolean"))
        })?;
        let matching = filter_record_batch(&batch, truth)?;
        let mut moved = moved.lock();
        let room = rows_max.saturating_sub(moved.keys.len());
        let matching = matching.slice(0, matching.num_rows().min(room));
        let addresses = of_table.codec.project_key(&matching)?;
        let keys = of_table.codec.encode_keys(&addresses)?;
        let indexes = of_table.indexes.iter();
        let entries = indexes
            .map(|index| index.entries(&index.project(&matching)?, &keys))
            .collect::<Result<_>>()?;
        moved.add(keys, entries);
        Ok(matching)
    });
    let rows = matching.try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
    Ok(Box::pin(RecordBatchStreamAdapter::new(
        Arc::clone(&table.schema),
        rows,
    )))
}

/// The stream again, unless it has no rows.
async fn non_empty(rows: SendableRecordBatchStream) -> Result<Option<SendableRecordBatchStream>> {
    let schema = rows.schema();
    let mut rows = Box::pin(rows.peekable());
    if rows.as_mut().peek().await.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::pin(RecordBatchStreamAdapter::new(schema, rows))))
}

/// The keys of all open rows.
fn open_keys(view: &ReadView, table: &Arc<Table>) -> Result<SendableRecordBatchStream> {
    let columns = table.key_columns().to_vec();
    let (range, open) = (KeyRange::all(), RowSource::Rows);
    let scan = OpenScanExec::new(view.clone(), Arc::clone(table), open, columns, range, None)?;
    Ok(scan.execute(0, view.catalog.session().task_ctx())?)
}

fn app_id(storage: StorageId) -> String {
    format!("nyala-{storage}")
}
