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
//!    the intent. Keys written since step 1 keep their row and their shadow entry. Where most rows are moved, the batch
//!    deletes none of them: those that stay were copied in step 3, and the batch takes the copy for the rows (module `sides`). A
//!    snapshot of the table goes with the old rows, and the run ends with a new one.
//!
//! **Recovery**, for each intent found at start: if the Delta log is not ahead of the manifest, the
//! run never reached step 4, and only the intent is deleted. If it is ahead, step 5 is done from
//! what is stored: a row of the row store whose key is in the new version and not in the shadow is a
//! moved row (it was not in the closed table before, by uniqueness, and not written since, or it
//! would be shadowed). Shadow entries stay; the next run folds them. Merged files have the rows of those they replace, so
//! they make no difference to this. A copy that was not taken is dropped.
//!
//! Step 5 deletes the entries of the indexes that the table had at S. If an index was made or dropped since, the run is finished
//! the way a recovery does; should that happen to it as well, it tries again while changes of definitions wait.
//!
//! Why step 1 is needed: without it a row deleted between S and step 5 would leave no trace, and a
//! recovery could not tell it from a row still to be shown.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use crate::catalog::{Catalog, FORMAT_GENERATIONS, by_storage};
use crate::closed_table::{ClosedTable, ClosedVersion, Rewrite};
use crate::committer::{CommitRequest, Move};
use crate::definitions::{DatabaseDef, Oid, StorageId, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::key_range::KeyRange;
use crate::manifest::{Manifest, SnapshotManifest};
use crate::offload;
use crate::open_table::{OpenScanExec, RowSource};
use crate::rewriting::{self, Intent, begin};
use crate::row_codec::Bytes;
use crate::row_store::generation::Staged;
use crate::row_store::{Space, meta_key};
use crate::transaction::ReadView;

mod sides;

use sides::{Moved, Sides};

/// Keys that a round keeps of the rows it moves; a run does rounds, each from where the one before ended, until none are left.
/// Bounds the keys kept in memory. Smaller rounds hold other commits up for less time each, but take up to twice as long: while fjall writes the
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
/// A table that had a snapshot has one after the run; where most rows were moved it is a new one, with a restore point of
/// `now_us`, in microseconds since 1970.
///
/// `closed_when` is the closing rule of `table`, compiled over all its columns. If these or the rule change before the run is
/// done, it fails with a serialization failure, and what it moved until then is moved.
pub async fn run(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Table,
    closed_when: &Arc<dyn PhysicalExpr>,
    now_us: i64,
) -> Result<HousekeepingReport> {
    let mut left = RowsLeft::default();
    let outcome = rounds(catalog, database, table, closed_when, &mut left).await;
    if left.snapshot
        && let Err(error) = offload::run(catalog, database, table.def.oid, now_us).await
    {
        let table = &table.def.name;
        tracing::warn!(table, %error, "the table has no snapshot until the next offload");
    }
    // Only now: to merge a keyspace of which the next round takes as much again would be work done twice.
    for (space, rows) in left.rows {
        if let Err(error) = catalog.rows_left(space, rows, left.csn) {
            tracing::warn!(?space, %error, "deleted rows stay in the keyspace");
        }
    }
    outcome
}

/// What left the keyspaces in the rounds of a run, the last time with a csn.
#[derive(Default)]
struct RowsLeft {
    rows: HashMap<Space, u64>,
    csn: u64,
    /// The table had a snapshot, and has none now.
    snapshot: bool,
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
        finish_run(catalog, database, &table, left).await?;
    }
    let told = Move::Begin(storage);
    begin(catalog, database, &table, meta_key::intent(storage), told).await?;
    let range = KeyRange::Range(from, Bound::Unbounded);
    match select_and_write(catalog, database, compiled, &table, closed_when, range).await {
        Ok(Some(moved)) => {
            let last = moved.rows.last.clone();
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

/// What steps 2 and 3 prepared.
struct Prepared {
    csn: u64,
    closed: ClosedTable,
    base: Arc<ClosedVersion>,
    adds: Vec<crate::closed_table::WrittenFile>,
    rewrite: Rewrite,
    table: Arc<Table>,
    rows: Moved,
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
) -> Result<Option<Prepared>> {
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

    let whole = range == KeyRange::all();
    let sides = Sides::new(catalog, table, round_rows_max(), whole);
    let sides = Arc::new(Mutex::new(Some(sides)));
    let rows = matching_rows(&view, table, closed_when, range, &sides)?;
    let adds = match non_empty(rows).await? {
        Some(rows) => closed.write_files(rows).await?,
        None => Vec::new(),
    };
    let moved = match sides.lock().await.take() {
        Some(sides) => sides.finish().await,
        None => Err(CatalogError::internal("rows were divided twice")),
    };
    let moved = match moved {
        Ok(moved) => moved,
        Err(error) => {
            closed.discard(&adds).await;
            return Err(error);
        }
    };
    let unshadowed: Vec<Bytes> = view
        .shadow_closed(table)?
        .into_iter()
        .map(Vec::into_boxed_slice)
        .collect();
    let merges = closed.merges(&base)?;
    if moved.is_none() && unshadowed.is_empty() && merges.is_empty() {
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
    Ok(Some(Prepared {
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
    moved: Prepared,
    report: &mut HousekeepingReport,
    left: &mut RowsLeft,
) -> Result<()> {
    let storage = table.def.storage;
    let rewrite = &moved.rewrite;
    let written = (moved.adds.len() + rewrite.written.len()) as u64;
    let removed = (rewrite.removed.len() + rewrite.merged.len()) as u64;
    report.rows_moved += moved.rows.rows;
    report.rows_folded += rewrite.rows_dropped;
    report.files_written += written;
    report.files_before = moved.base.file_count() as u64;
    report.files_after = report.files_before + written - removed;
    let txn = i64::try_from(moved.csn).map_err(|_| CatalogError::internal("csn overflow"))?;
    let committed = moved
        .closed
        .commit(
            &moved.base,
            &app_id(&moved.table),
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
    // None of what is replaced.
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
    let relation = moved.relation_key;
    let shown = show(catalog, storage, version, moved.csn, finish, relation, left);
    let csn = match shown.await {
        Ok(csn) => csn,
        Err(error) if error.kind == ErrorKind::SerializationFailure => {
            return definition_changed(catalog, database, table, error, left).await;
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
    left: &mut RowsLeft,
) -> Result<()> {
    match current_table(catalog, database, table.def.oid) {
        Ok((_, current)) if current.def.storage == table.def.storage => {
            finish_run(catalog, database, &current, left).await
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
    catalog: &Arc<Catalog>,
    storage: StorageId,
    closed_version: u64,
    csn: u64,
    (finish, copy): (Move, Option<Staged>),
    relation_key: String,
    left: &mut RowsLeft,
) -> Result<u64> {
    let manifest = Manifest {
        closed_version,
        csn,
    };
    let mut meta = vec![
        (
            meta_key::manifest(storage),
            Some(serde_json::to_vec(&manifest)?),
        ),
        (meta_key::intent(storage), None),
    ];
    let mut generations = None;
    if let Some(copy) = copy {
        let store = catalog.store();
        generations = Some((store.hold_generation(storage)?, copy.generation()));
        left.snapshot |= SnapshotManifest::load(&catalog.snapshot(), storage)?.is_some();
        let generation = copy.generation().to_bytes();
        meta.push((meta_key::generation(storage), Some(generation)));
        meta.push((meta_key::snapshot(storage), None));
        if catalog.snapshot().meta_number(meta_key::FORMAT)? < FORMAT_GENERATIONS {
            let format = FORMAT_GENERATIONS.to_be_bytes().to_vec();
            meta.push((meta_key::FORMAT.to_string(), Some(format)));
        }
        // Before the commit, which may succeed although nobody waits for it any more.
        copy.keep();
    }
    let request = CommitRequest {
        // Definitions may not have changed since S: a table dropped or truncated in the meantime
        // must not get its manifest back. The other keys are this run's alone.
        snapshot_csn: csn,
        meta,
        row_move: Some(finish),
        unchanged: vec![relation_key],
        ..CommitRequest::default()
    };
    let shown = catalog.commit(request).await;
    if let Some((replaced, taken)) = generations {
        match &shown {
            Ok(csn) => catalog.rows_replaced(storage, replaced, *csn),
            Err(error) if error.kind == ErrorKind::SerializationFailure => {
                catalog.store().drop_generation(storage, taken)?;
            }
            // Whether it was taken the next start sees.
            Err(_) => {}
        }
    }
    shown
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
            Some((database, table)) => {
                match recover_table(catalog, database, &table, &mut RowsLeft::default()).await {
                    // The other tables are not to suffer from it; the next run says so again.
                    Err(error) if error.kind == ErrorKind::ObjectInUse => {
                        tracing::error!(table = table.def.name, %error, "closed part is not as it was left");
                    }
                    recovered => recovered?,
                }
            }
            None => abandon(catalog, storage).await?,
        }
    }
    Ok(())
}

/// Finishes or undoes a run of a server that others use. Their changes of definitions can undo what it prepares each time, so
/// that they wait for a second try.
async fn finish_run(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Arc<Table>,
    left: &mut RowsLeft,
) -> Result<()> {
    match recover_table(catalog, database, table, left).await {
        Err(error) if error.kind == ErrorKind::SerializationFailure => {
            let _held = catalog.hold_definitions().await;
            recover_table(catalog, database, table, left).await?;
        }
        finished => finished?,
    }
    crate::crash_point!("housekeeping::manifest_committed");
    Ok(())
}

async fn recover_table(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    table: &Arc<Table>,
    left: &mut RowsLeft,
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
        true => closed.transaction_version(&latest, &app_id(table)).await?,
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
    let mut sides = Sides::new(catalog, table, round_rows_max(), true).unbounded();
    let mut open = open_rows(&view, table, KeyRange::all())?;
    while let Some(rows) = open.try_next().await? {
        let addresses = table.codec.project_key(&rows)?;
        let in_closed = closed.contains_keys(&latest, &addresses).await?;
        let keys = table.codec.encode_keys(&addresses)?;
        let moved = in_closed.iter().zip(&keys);
        let moved = moved.map(|(is_in, key)| is_in == Some(true) && !shadow.contains(&**key));
        let marks = BooleanArray::from(moved.collect::<Vec<bool>>());
        sides.take(&rows, &marks).await?;
        sides.is_full();
    }
    let moved = sides.finish().await?;
    tracing::info!(
        table = table.def.name,
        rows = moved.rows,
        version = latest.version(),
        "housekeeping was cut off and is finished"
    );
    let first = base.file_count() == 0;
    let finish = moved.finish(table, latest.version(), first, Vec::new());
    let relation = meta_key::relation(database.oid, table.def.oid);
    let version = latest.version();
    let shown = show(catalog, storage, version, view.csn, finish, relation, left);
    shown
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

/// Open rows of a range that match, at most a round's. The sides see all rows that are read.
fn matching_rows(
    view: &ReadView,
    table: &Arc<Table>,
    closed_when: &Arc<dyn PhysicalExpr>,
    range: KeyRange,
    sides: &Arc<Mutex<Option<Sides>>>,
) -> Result<SendableRecordBatchStream> {
    let rows = open_rows(view, table, range)?;
    let state = (rows, Arc::clone(closed_when), Arc::clone(sides));
    let matching = futures::stream::try_unfold(state, |state| async move {
        let (mut rows, closed_when, sides) = state;
        let mut locked = sides.lock().await;
        let Some(table_sides) = locked.as_mut() else {
            return Ok(None);
        };
        while !table_sides.is_full()
            && let Some(batch) = rows.try_next().await?
        {
            let truth = closed_when.evaluate(&batch)?.into_array(batch.num_rows())?;
            let truth = truth.as_boolean_opt().ok_or_else(|| {
                DataFusionError::from(CatalogError::internal("closed_when is not boolean"))
            })?;
            let moved = table_sides.take(&batch, truth).await?;
            if moved.num_rows() > 0 {
                drop(locked);
                return Ok(Some((moved, (rows, closed_when, sides))));
            }
        }
        Ok::<_, DataFusionError>(None)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(
        Arc::clone(&table.schema),
        matching,
    )))
}

/// The open rows of a range, in key order.
fn open_rows(
    view: &ReadView,
    table: &Arc<Table>,
    range: KeyRange,
) -> Result<SendableRecordBatchStream> {
    let columns = (0..table.schema.fields().len()).collect();
    let open = RowSource::Rows;
    let scan = OpenScanExec::new(view.clone(), Arc::clone(table), open, columns, range, None)?;
    Ok(scan.execute(0, view.catalog.session().task_ctx())?)
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

/// What the log of a table's closed part tells its own commits by.
fn app_id(table: &Table) -> String {
    let adopted = table.def.closing.as_ref().and_then(|c| c.adopted.as_ref());
    match adopted.and_then(|adopted| adopted.writer.as_ref()) {
        Some(writer) => format!("nyala-{writer}"),
        // Nobody else writes to a folder of the server's own.
        None => format!("nyala-{}", table.def.storage),
    }
}
