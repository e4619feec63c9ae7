//! Rows that a transaction inserts, replaces and deletes, on either side of a hybrid table.
//!
//! A write always goes to the row store. Where it is to a row of the closed table, its key also goes
//! to `shadow_closed`, so that the closed copy is no longer read ("reopen"). Rows are addressed by
//! batches of the key columns, or of row numbers for tables without a primary key
//! ([`crate::row_codec::RowCodec::address_schema`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::physical_plan::ExecutionPlanProperties;
use futures::TryStreamExt;

use super::Transaction;
use crate::closed_table::ClosedVersion;
use crate::definitions::Table;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::hybrid_table::key_range_filter;
use crate::row_codec::{Bytes, row_number_key};
use crate::row_store::Space;
use crate::row_text::row_text;

/// Closed rows up to which each is read by its position; more come from a scan.
const FETCH_BY_POSITION_MAX: usize = 1_024;

/// The rows that exist under some addresses.
#[derive(Debug)]
pub struct Existing {
    /// For each address, whether a row exists.
    pub found: BooleanArray,
    /// The rows that exist, in the order of their addresses.
    pub rows: RecordBatch,
}

/// Where the visible row of a key is.
pub(super) enum Place {
    Nowhere,
    /// In the transaction's own writes or the row store; its value.
    Open(Bytes),
    /// Not in the row store, nor deleted there: the closed table decides.
    PerhapsClosed,
}

impl Transaction {
    /// Inserts full rows. A key that exists, in the table or twice in the rows, is a unique
    /// violation, and then nothing is written.
    pub async fn insert(&mut self, table: &Table, rows: &RecordBatch) -> Result<()> {
        let inserted = self.insert_rows(table, rows).await;
        inserted.map_err(|error| self.with_schema(table, error))
    }

    async fn insert_rows(&mut self, table: &Table, rows: &RecordBatch) -> Result<()> {
        table.check(rows)?;
        self.insert_checked(table, rows).await
    }

    /// Inserts rows each of which is right by itself.
    pub(super) async fn insert_checked(&mut self, table: &Table, rows: &RecordBatch) -> Result<()> {
        let values = table.codec.encode_values(rows)?;
        if table.codec.has_row_numbers() {
            let first = self.row_numbers(table, values.len())?;
            let keys = (first..).take(values.len()).map(row_number_key).collect();
            self.write(table, Vec::new(), keys, values, rows)?;
            return self.note_references(table, rows).await;
        }
        let addresses = table.codec.project_key(rows)?;
        let keys = table.codec.encode_keys(&addresses)?;
        self.check_unique(table, &addresses, &keys, &HashSet::new())
            .await?;
        self.write(table, Vec::new(), keys, values, rows)?;
        self.note_references(table, rows).await
    }

    /// The rows that exist under the given addresses.
    pub async fn existing(&self, table: &Table, addresses: &RecordBatch) -> Result<Existing> {
        let keys = table.codec.encode_keys(addresses)?;
        let mut open_keys = Vec::new();
        let mut open_values = Vec::new();
        // For each address: the row's position among the open rows, then among all.
        let mut position = vec![None; keys.len()];
        let mut perhaps_closed = Vec::new();
        for (at, (key, slot)) in keys.iter().zip(&mut position).enumerate() {
            match self.place(table, key)? {
                Place::Nowhere => {}
                Place::Open(value) => {
                    *slot = Some(open_keys.len() as u64);
                    open_keys.push(key);
                    open_values.push(value);
                }
                Place::PerhapsClosed => perhaps_closed.push(at as u64),
            }
        }
        let all: Vec<usize> = (0..table.schema.fields().len()).collect();
        let mut rows = table.codec.decode(&all, &open_keys, &open_values)?;
        if !perhaps_closed.is_empty()
            && let Some(version) = self.closed_version(table).await?
        {
            let wanted = take_record_batch(addresses, &UInt64Array::from(perhaps_closed))?;
            let closed = self.fetch_closed(table, &version, &wanted).await?;
            let closed_keys = table
                .codec
                .encode_keys(&table.codec.project_key(&closed)?)?;
            let at: HashMap<Bytes, u64> = closed_keys
                .into_iter()
                .zip((rows.num_rows() as u64)..)
                .collect();
            for (key, slot) in keys.iter().zip(&mut position) {
                if slot.is_none() {
                    *slot = at.get(key).copied();
                }
            }
            rows = concat_batches(&table.schema, [&rows, &closed])?;
        }
        let found = BooleanArray::from_iter(position.iter().map(|slot| Some(slot.is_some())));
        let order = UInt64Array::from_iter_values(position.into_iter().flatten());
        Ok(Existing {
            found,
            rows: take_record_batch(&rows, &order)?,
        })
    }

    /// Replaces the rows at `addresses`, each of which exists, by `rows`, one for one. A row may get
    /// another key. Addresses must not repeat.
    pub async fn replace(
        &mut self,
        table: &Table,
        addresses: &RecordBatch,
        rows: &RecordBatch,
    ) -> Result<()> {
        let replaced = self.replace_rows(table, addresses, rows).await;
        replaced.map_err(|error| self.with_schema(table, error))
    }

    async fn replace_rows(
        &mut self,
        table: &Table,
        addresses: &RecordBatch,
        rows: &RecordBatch,
    ) -> Result<()> {
        table.check(rows)?;
        let old_keys = table.codec.encode_keys(addresses)?;
        let values = table.codec.encode_values(rows)?;
        self.reopen_closed(table, &old_keys)?;
        self.note_gone(table, addresses, Some(rows))?;
        if table.codec.has_row_numbers() {
            self.write(table, Vec::new(), old_keys, values, rows)?;
            return self.note_references(table, rows).await;
        }
        let new_addresses = table.codec.project_key(rows)?;
        let new_keys = table.codec.encode_keys(&new_addresses)?;
        if new_keys != old_keys {
            let vacated: HashSet<Bytes> = old_keys.iter().cloned().collect();
            self.check_unique(table, &new_addresses, &new_keys, &vacated)
                .await?;
        }
        self.write(table, old_keys, new_keys, values, rows)?;
        self.note_references(table, rows).await
    }

    /// Deletes the rows at `addresses`, each of which exists.
    pub fn delete(&mut self, table: &Table, addresses: &RecordBatch) -> Result<()> {
        let keys = table.codec.encode_keys(addresses)?;
        self.reopen_closed(table, &keys)?;
        self.note_gone(table, addresses, None)?;
        let none = RecordBatch::new_empty(Arc::clone(&table.schema));
        self.write(table, keys, Vec::new(), Vec::new(), &none)
    }

    /// Names the schema of the table that an error names.
    pub(super) fn with_schema(&self, table: &Table, error: CatalogError) -> CatalogError {
        let schema = self.view.definitions.schema_by_oid(table.def.schema);
        match schema {
            Some(schema) if error.table.is_some() => error.with_schema(&schema.name),
            _ => error,
        }
    }

    /// Takes the rows of `gone` away, then gives `keys` their `values`, which are those of `rows`; the indexes change with
    /// them. If a value would not be unique, nothing is written.
    fn write(
        &mut self,
        table: &Table,
        gone: Vec<Bytes>,
        keys: Vec<Bytes>,
        values: Vec<Bytes>,
        rows: &RecordBatch,
    ) -> Result<()> {
        self.rely_on_relation(table.def.oid);
        let storage = table.def.storage;
        if !table.indexes.is_empty() {
            let changes = self.view.index_changes(table, &gone, &keys, rows)?;
            for change in &changes {
                if let Some(at) = self.view.first_duplicate(table, change)? {
                    let name = &change.index.def.name;
                    let columns = change.index.project(rows)?;
                    return Err(unique_violation(table, name, &columns, at));
                }
            }
            self.view.writes.change_indexes(storage, changes)?;
        }
        let gone = gone.into_iter().map(|key| (key, None));
        let new = keys.into_iter().zip(values.into_iter().map(Some));
        self.view.writes.write(storage, gone.chain(new))
    }

    /// Existing rows that are not in the row store are in the closed table: their closed copies are
    /// no longer the truth.
    fn reopen_closed(&mut self, table: &Table, keys: &[Bytes]) -> Result<()> {
        if !table.is_hybrid() {
            return Ok(());
        }
        let mut closed = Vec::new();
        for key in keys {
            if matches!(self.place(table, key)?, Place::PerhapsClosed) {
                closed.push(key.clone());
            }
        }
        self.view.writes.reopen(table.def.storage, closed);
        Ok(())
    }

    pub(super) fn place(&self, table: &Table, key: &[u8]) -> Result<Place> {
        let storage = table.def.storage;
        let own = self.view.writes.table(storage);
        match own.and_then(|writes| writes.rows.get(key)) {
            Some(Some(value)) => return Ok(Place::Open(value.clone())),
            Some(None) => return Ok(Place::Nowhere),
            None => {}
        }
        if let Some(value) = self.view.snapshot.get(Space::Rows(storage), key)? {
            return Ok(Place::Open(Bytes::from(&*value)));
        }
        let shadowed = !table.is_hybrid()
            || self
                .view
                .snapshot
                .contains(Space::ShadowClosed(storage), key)?;
        Ok(if shadowed {
            Place::Nowhere
        } else {
            Place::PerhapsClosed
        })
    }

    async fn check_unique(
        &self,
        table: &Table,
        addresses: &RecordBatch,
        keys: &[Bytes],
        vacated: &HashSet<Bytes>,
    ) -> Result<()> {
        let mut seen = HashSet::with_capacity(keys.len());
        let mut perhaps_closed = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            if !seen.insert(key) {
                return Err(table.key_violation(addresses, at));
            }
            if vacated.contains(key) {
                continue;
            }
            match self.place(table, key)? {
                Place::Nowhere => {}
                Place::Open(_) => return Err(table.key_violation(addresses, at)),
                Place::PerhapsClosed => perhaps_closed.push(at as u64),
            }
        }
        if perhaps_closed.is_empty() {
            return Ok(());
        }
        let Some(version) = self.closed_version(table).await? else {
            return Ok(());
        };
        let candidates = take_record_batch(addresses, &UInt64Array::from(perhaps_closed))?;
        let closed = self.view.catalog.closed_table(table)?;
        let exists = closed.contains_keys(&version, &candidates).await?;
        match exists.iter().position(|exists| exists == Some(true)) {
            Some(at) => Err(table.key_violation(&candidates, at)),
            None => Ok(()),
        }
    }

    /// The visible version of the closed part, unless it has no rows.
    pub(super) async fn closed_version(&self, table: &Table) -> Result<Option<Arc<ClosedVersion>>> {
        let Some(manifest) = self.view.manifest(table)? else {
            return Ok(None);
        };
        let closed = self.view.catalog.closed_table(table)?;
        let version = closed.at_version(manifest.closed_version).await?;
        Ok((version.file_count() > 0).then_some(version))
    }

    /// Full rows of the closed table under the given addresses, in no particular order.
    async fn fetch_closed(
        &self,
        table: &Table,
        version: &ClosedVersion,
        addresses: &RecordBatch,
    ) -> Result<RecordBatch> {
        if addresses.num_rows() <= FETCH_BY_POSITION_MAX {
            let closed = self.view.catalog.closed_table(table)?;
            let found = closed.positions(version, addresses).await?;
            let found: Vec<_> = found.into_iter().flatten().collect();
            let rows = closed.rows_at(version, &found).await?;
            return Ok(concat_batches(&table.schema, &rows)?);
        }
        let wanted: HashSet<Bytes> = table.codec.encode_keys(addresses)?.into_iter().collect();
        let filters = key_range_filter(addresses)?;
        let session = self.view.catalog.session();
        let plan = version.scan(session, None, &filters, None)?;
        let mut found = Vec::new();
        for partition in 0..plan.output_partitioning().partition_count() {
            let mut stream = plan.execute(partition, session.task_ctx())?;
            while let Some(batch) = stream.try_next().await? {
                let keys = table.codec.encode_keys(&table.codec.project_key(&batch)?)?;
                let mask: BooleanArray =
                    keys.iter().map(|key| Some(wanted.contains(key))).collect();
                if mask.true_count() > 0 {
                    found.push(filter_record_batch(&batch, &mask)?);
                }
            }
        }
        Ok(concat_batches(&table.schema, &found)?)
    }
}

impl Table {
    /// 23502 or 23514 if a row is wrong by itself.
    pub(crate) fn check(&self, rows: &RecordBatch) -> Result<()> {
        self.check_not_null(rows)?;
        self.check_rows(rows)
    }

    fn check_not_null(&self, rows: &RecordBatch) -> Result<()> {
        for (definition, column) in self.def.columns.iter().zip(rows.columns()) {
            if definition.not_null && column.logical_null_count() > 0 {
                let at = (0..column.len())
                    .find(|at| column.is_null(*at))
                    .unwrap_or_default();
                return Err(CatalogError::new(
                    ErrorKind::NotNullViolation,
                    format!(
                        "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                        definition.name, self.def.name
                    ),
                )
                .with_detail(format!("Failing row contains ({}).", row_text(rows, at)))
                .with_table(&self.def.name)
                .with_column(&definition.name));
            }
        }
        Ok(())
    }

    /// 23505 for a row whose key another row has.
    pub(crate) fn key_violation(&self, addresses: &RecordBatch, at: usize) -> CatalogError {
        let key = self.def.primary_key.as_ref();
        unique_violation(self, key.map_or("", |key| &key.name), addresses, at)
    }
}

/// 23505 for a row of `columns`, whose values another row has.
fn unique_violation(
    table: &Table,
    constraint: &str,
    columns: &RecordBatch,
    at: usize,
) -> CatalogError {
    let names: Vec<_> = columns
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    CatalogError::new(
        ErrorKind::UniqueViolation,
        format!("duplicate key value violates unique constraint \"{constraint}\""),
    )
    .with_detail(format!(
        "Key ({})=({}) already exists.",
        names.join(", "),
        row_text(columns, at)
    ))
    .with_table(&table.def.name)
    .with_constraint(constraint)
}
