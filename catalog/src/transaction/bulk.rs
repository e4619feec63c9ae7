//! Rows that one statement inserts batch by batch.
//!
//! They are inserted as they come, unless the table is empty: then the first ones are held until it is known whether there are enough
//! of them for a bulk load ([`crate::bulk_load`]). What is wrong with a row by itself is found when it comes, a key that is there
//! twice at the end at the latest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;

use super::Transaction;
use crate::bulk_load::BulkLoad;
use crate::definitions::{StorageId, Table};
use crate::error::{CatalogError, Result};
use crate::row_store::Space;

/// Rows from which on they are loaded: the files of a load take some milliseconds, however few rows there are.
const LOAD_ROWS_MIN: usize = 100_000;

fn load_rows_min() -> usize {
    // Tests load a few.
    fail::fail_point!("bulk_load::rows_min", |rows| rows
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(LOAD_ROWS_MIN));
    LOAD_ROWS_MIN
}

/// An insertion under way. The transaction sees its rows once it is finished, or some of them earlier.
pub struct BulkInsert {
    table: Arc<Table>,
    way: Way,
}

enum Way {
    /// Each batch is inserted as it comes.
    Insert,
    /// Too few rows have come to tell; these.
    Undecided(Vec<RecordBatch>),
    Load(BulkLoad),
}

impl Transaction {
    /// Begins to insert rows into a table.
    pub async fn begin_insert(&self, table: &Arc<Table>) -> Result<BulkInsert> {
        let way = match self.can_load(table).await? {
            true => Way::Undecided(Vec::new()),
            false => Way::Insert,
        };
        Ok(BulkInsert {
            table: Arc::clone(table),
            way,
        })
    }

    /// Adds full rows to an insertion. A key that exists is a unique violation.
    pub async fn add_rows(&mut self, insert: &mut BulkInsert, rows: RecordBatch) -> Result<()> {
        let table = Arc::clone(&insert.table);
        let added = match &mut insert.way {
            Way::Insert => return self.insert(&table, &rows).await,
            Way::Undecided(held) => table.check(&rows).map(|()| held.push(rows)),
            Way::Load(load) => match table.check(&rows) {
                Ok(()) => self.load(&table, load, &rows).await,
                Err(error) => Err(error),
            },
        };
        added.map_err(|error| self.with_schema(&table, error))?;
        if let Way::Undecided(held) = &mut insert.way {
            let rows: usize = held.iter().map(RecordBatch::num_rows).sum();
            if rows >= load_rows_min() {
                let mut load = BulkLoad::begin(&self.view.catalog, &table);
                for rows in std::mem::take(held) {
                    let loaded = self.load(&table, &mut load, &rows).await;
                    loaded.map_err(|error| self.with_schema(&table, error))?;
                }
                insert.way = Way::Load(load);
            }
        }
        Ok(())
    }

    /// Ends an insertion: the transaction sees its rows.
    pub async fn finish_insert(&mut self, insert: BulkInsert) -> Result<()> {
        let table = insert.table;
        match insert.way {
            Way::Insert => Ok(()),
            Way::Undecided(held) => {
                for rows in held {
                    let inserted = self.insert_checked(&table, &rows).await;
                    inserted.map_err(|error| self.with_schema(&table, error))?;
                }
                Ok(())
            }
            Way::Load(load) => {
                let staged = load.finish().await;
                let staged = staged.map_err(|error| self.with_schema(&table, error))?;
                crate::crash_point!("bulk_load::written");
                self.rely_on_relation(table.def.oid);
                self.view.snapshot.load(staged)
            }
        }
    }

    async fn load(&mut self, table: &Table, load: &mut BulkLoad, rows: &RecordBatch) -> Result<()> {
        let first = match table.codec.has_row_numbers() {
            true => Some(self.row_numbers(table, rows.num_rows())?),
            false => None,
        };
        load.add(table.codec.encode(rows, first)?).await?;
        self.note_references(table, rows).await
    }

    /// Whether nothing is in a table, nor keeps track of what is written to it.
    async fn can_load(&self, table: &Table) -> Result<bool> {
        let view = &self.view;
        let storage = table.def.storage;
        let is_temporary = Some(table.def.schema) == view.definitions.temporary_schema();
        Ok(!is_temporary
            && table.indexes.is_empty()
            && view.writes.table(storage).is_none()
            && view.snapshot.approximate_entries(Space::Rows(storage))? == 0
            && view.snapshot_manifest(table)?.is_none()
            && self.closed_version(table).await?.is_none())
    }

    /// Numbers for rows without a key; the first of them.
    pub(super) fn row_numbers(&self, table: &Table, rows: usize) -> Result<i64> {
        let rows = i64::try_from(rows)
            .map_err(|_| CatalogError::internal("too many rows in one batch"))?;
        let counter = self.view.catalog.row_numbers(table.def.storage)?;
        Ok(counter.fetch_add(rows, Ordering::Relaxed))
    }

    /// Whether the transaction has written to a storage's rows.
    pub(super) fn has_written(&self, storage: StorageId) -> bool {
        let mut loaded = self.view.snapshot.loaded();
        self.view.writes.table(storage).is_some() || loaded.any(|rows| rows.storage() == storage)
    }
}
