//! Building an index over rows that are there, while writers go on: the steps of [`crate::index`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, TryStreamExt};

use crate::catalog::Catalog;
use crate::committer::CommitRequest;
use crate::definitions::{DatabaseDef, Definitions, Oid, Relation, StorageId, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::changes::behind;
use crate::index::entry::Entry;
use crate::index::fills::Fill;
use crate::index::range::EntryRange;
use crate::index::{Index, IndexState};
use crate::key_range::KeyRange;
use crate::open_table::{OpenScanExec, RowSource};
use crate::row_codec::Bytes;
use crate::row_store::{Space, meta_key};
use crate::transaction::{NewIndex, ReadView, Transaction, duplicated};

/// Rows whose entries are read and committed at a time. The committer takes no other commit meanwhile.
const FILL_ROWS: usize = 16_384;

/// Entries that are looked at for duplicates at a time.
const CHECK_ENTRIES: usize = 262_144;

/// How often a change of the definition is tried again after another change came first.
const RETRIES_MAX: usize = 1_000;

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// The index is ready.
    Ready,
    /// The caller gave up; there is no index.
    Stopped,
}

/// Step 1: adds the definition of an index to a table, in a transaction that the caller commits. Returns the index's
/// OID, for [`finish`].
pub fn begin(transaction: &mut Transaction, table: &Table, new: NewIndex) -> Result<Oid> {
    let (_, index) = transaction.define_index(table, new, IndexState::Building)?;
    Ok(index.def.oid)
}

/// Steps 2 to 4, after the transaction of [`begin`] is committed. `go_on` is asked now and then. If the build fails or
/// is stopped, the index is dropped.
pub async fn finish(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    index: Oid,
    go_on: &(dyn Fn() -> bool + Send + Sync),
) -> Result<Built> {
    crate::crash_point!("index::begun");
    let build = Build {
        catalog,
        database,
        index,
        go_on,
    };
    let built = build.run().await;
    match built {
        Ok(Built::Ready) => {}
        Ok(Built::Stopped) | Err(_) => build.abandon().await?,
    }
    built
}

/// Drops the indexes whose making a crash cut off. Called before anyone can read or write.
pub(crate) async fn recover(catalog: &Arc<Catalog>) -> Result<()> {
    for database in catalog.globals()?.databases() {
        let definitions = catalog.definitions_at(&catalog.snapshot(), database)?;
        for relation in definitions.relations() {
            let Relation::Table(table) = relation else {
                continue;
            };
            for index in table.indexes.iter().filter(|index| !index.is_ready()) {
                tracing::info!(
                    index = index.def.name,
                    "the making of an index was cut off and is undone"
                );
                let build = Build {
                    catalog,
                    database,
                    index: index.def.oid,
                    go_on: &|| true,
                };
                build.abandon().await?;
            }
        }
    }
    Ok(())
}

struct Build<'a> {
    catalog: &'a Arc<Catalog>,
    database: &'a DatabaseDef,
    index: Oid,
    go_on: &'a (dyn Fn() -> bool + Send + Sync),
}

impl Build<'_> {
    async fn run(&self) -> Result<Built> {
        let filled = self.fill().await?;
        if filled == Built::Stopped {
            return Ok(Built::Stopped);
        }
        let (_, _, index) = self.current()?;
        if index.def.unique {
            self.set_state(IndexState::Checking).await?;
            if self.check().await? == Built::Stopped {
                return Ok(Built::Stopped);
            }
        }
        crate::crash_point!("index::filled");
        self.set_state(IndexState::Ready).await?;
        Ok(Built::Ready)
    }

    /// A view of now, and the index in it.
    fn current(&self) -> Result<(ReadView, Arc<Table>, Arc<Index>)> {
        let view = self.catalog.begin(self.database)?.view().clone();
        let (table, index) = self.find(&view.definitions)?;
        Ok((view, table, index))
    }

    fn find(&self, definitions: &Definitions) -> Result<(Arc<Table>, Arc<Index>)> {
        let found = definitions.relations().find_map(|relation| {
            let Relation::Table(table) = relation else {
                return None;
            };
            let index = table.indexes.iter().find(|i| i.def.oid == self.index)?;
            Some((Arc::clone(table), Arc::clone(index)))
        });
        // Dropped, by itself or with its table.
        found.ok_or_else(CatalogError::serialization_failure)
    }

    /// Step 2.
    async fn fill(&self) -> Result<Built> {
        let mut watched: Option<(StorageId, StorageId)> = None;
        let filled = self.fill_watched(&mut watched).await;
        if let Some((table, index)) = watched {
            self.request(Fill::End { table, index }).await?;
        }
        filled
    }

    async fn fill_watched(&self, watched: &mut Option<(StorageId, StorageId)>) -> Result<Built> {
        let mut range = KeyRange::all();
        loop {
            if !(self.go_on)() {
                return Ok(Built::Stopped);
            }
            let (view, table, index) = self.current()?;
            let storages = (table.def.storage, index.def.storage);
            if *watched != Some(storages) {
                // The first round, or the table was truncated: its new rows have brought their entries.
                if let Some((table, index)) = watched.take() {
                    self.request(Fill::End { table, index }).await?;
                }
                let (table, index) = storages;
                self.request(Fill::Watch { table, index }).await?;
                *watched = Some(storages);
                range = KeyRange::all();
                continue;
            }
            let mut rows = rows_with_keys(&view, &table, &index, range.clone(), Some(FILL_ROWS))?;
            let mut entries = Vec::with_capacity(FILL_ROWS);
            let mut last = None;
            while let Some(batch) = rows.try_next().await? {
                let (columns, keys) = rows.split(&batch)?;
                entries.extend(index.entries(&columns, &keys)?);
                last = keys.into_iter().next_back();
            }
            let Some(last) = last else {
                return Ok(Built::Ready);
            };
            let request = CommitRequest {
                snapshot_csn: view.csn,
                unchanged: vec![meta_key::relation(self.database.oid, table.def.oid)],
                fill: Some(Fill::Entries {
                    table: storages.0,
                    index: storages.1,
                    entries,
                }),
                ..CommitRequest::default()
            };
            match self.catalog.commit(request).await {
                Ok(_) => {
                    range = KeyRange::Range(
                        std::ops::Bound::Excluded(last.into_vec()),
                        std::ops::Bound::Unbounded,
                    );
                }
                // The table's definition has changed: the same rows once more.
                Err(error) if error.kind == ErrorKind::SerializationFailure => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn request(&self, fill: Fill) -> Result<()> {
        let request = CommitRequest {
            snapshot_csn: u64::MAX,
            fill: Some(fill),
            ..CommitRequest::default()
        };
        self.catalog.commit(request).await.map(drop)
    }

    /// Step 3.
    async fn check(&self) -> Result<Built> {
        let (view, table, index) = self.current()?;
        let mut last: Option<Entry> = None;
        loop {
            if !(self.go_on)() {
                return Ok(Built::Stopped);
            }
            let (view, of_table, of_index) = (view.clone(), Arc::clone(&table), Arc::clone(&index));
            let checked = tokio::task::spawn_blocking(move || {
                check_entries(&view, &of_table, &of_index, last)
            });
            let checked = checked
                .await
                .map_err(|error| CatalogError::internal(format!("check of an index: {error}")))?;
            match checked? {
                Some(entry) => last = Some(entry),
                None => return Ok(Built::Ready),
            }
        }
    }

    async fn set_state(&self, state: IndexState) -> Result<()> {
        self.redefine(|transaction, table| transaction.set_index_state(table, self.index, state))
            .await
    }

    async fn abandon(&self) -> Result<()> {
        let dropped = self
            .redefine(|transaction, table| transaction.drop_index(table, self.index))
            .await;
        match dropped {
            // Somebody else has dropped it.
            Err(error) if error.kind == ErrorKind::SerializationFailure => Ok(()),
            other => other,
        }
    }

    async fn redefine(
        &self,
        change: impl Fn(&mut Transaction, &Table) -> Result<()>,
    ) -> Result<()> {
        let mut retries = 0;
        loop {
            let mut transaction = self.catalog.begin(self.database)?;
            let (table, _) = self.find(&transaction.view().definitions)?;
            change(&mut transaction, &table)?;
            match transaction.commit().await {
                Err(error)
                    if error.kind == ErrorKind::SerializationFailure && retries < RETRIES_MAX =>
                {
                    retries += 1;
                }
                other => return other,
            }
        }
    }
}

/// Looks at the next entries behind `last` for two of one value; returns the last one looked at, or `None` at the end.
fn check_entries(
    view: &ReadView,
    table: &Table,
    index: &Index,
    last: Option<Entry>,
) -> Result<Option<Entry>> {
    let range = match &last {
        Some(entry) => behind(entry.bytes()),
        None => EntryRange::of_prefix(&[]),
    };
    let mut before = last;
    let mut left = CHECK_ENTRIES;
    let space = Space::Index(index.def.storage);
    for stored in view.snapshot.range(space, (range.start, range.end))? {
        let (bytes, value) = stored.into_inner()?;
        let entry = Entry::stored(&bytes, &value)?;
        let same = before.as_ref().is_some_and(|b| b.value() == entry.value());
        if entry.is_exclusive() && same {
            let key = Bytes::from(entry.row_key());
            let row = view.open_value(table, &key)?;
            let row = row.ok_or_else(|| crate::index::lookup::without_row(index))?;
            let positions: Vec<usize> = index.positions().collect();
            let columns = table.codec.decode(&positions, &[key], &[row])?;
            return Err(duplicated(index, &columns, 0));
        }
        before = Some(entry);
        left -= 1;
        if left == 0 {
            return Ok(before);
        }
    }
    Ok(None)
}

/// Open rows as an index needs them: its columns, then the columns that address the row.
pub(crate) struct RowsWithKeys {
    rows: SendableRecordBatchStream,
    table: Arc<Table>,
    indexed: usize,
}

/// Reads the rows of a range of keys, up to `limit`, own writes included.
pub(crate) fn rows_with_keys(
    view: &ReadView,
    table: &Arc<Table>,
    index: &Index,
    range: KeyRange,
    limit: Option<usize>,
) -> Result<RowsWithKeys> {
    let mut columns: Vec<usize> = index.positions().collect();
    let indexed = columns.len();
    match table.codec.has_row_numbers() {
        true => columns.push(table.schema.fields().len()),
        false => columns.extend(table.key_columns()),
    }
    let (source, of_table) = (RowSource::Rows, Arc::clone(table));
    let scan = OpenScanExec::new(view.clone(), of_table, source, columns, range, limit)?;
    Ok(RowsWithKeys {
        rows: scan.execute(0, view.catalog.session().task_ctx())?,
        table: Arc::clone(table),
        indexed,
    })
}

impl RowsWithKeys {
    /// The indexed columns of a batch, and the keys of its rows.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Bytes>)> {
        let indexed: Vec<usize> = (0..self.indexed).collect();
        let addresses: Vec<usize> = (self.indexed..batch.num_columns()).collect();
        let keys = self.table.codec.encode_keys(&batch.project(&addresses)?)?;
        Ok((batch.project(&indexed)?, keys))
    }
}

impl Stream for RowsWithKeys {
    type Item = DataFusionResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.as_mut().poll_next(context)
    }
}
