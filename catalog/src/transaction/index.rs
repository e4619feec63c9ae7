//! Indexes that a transaction makes and drops, and what writes conflict with in unique ones.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use futures::TryStreamExt;

use super::{Retired, Transaction};
use crate::definitions::{Oid, Relation, Table, TableDef};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::build::rows_with_keys;
use crate::index::changes::IndexChanges;
use crate::index::{Index, IndexColumn, IndexDef, IndexState};
use crate::key_range::KeyRange;
use crate::row_codec::Bytes;
use crate::row_text::row_text;

/// What CREATE INDEX, or a UNIQUE constraint, asks for.
#[derive(Debug, Clone)]
pub struct NewIndex {
    /// Name.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<IndexColumn>,
    /// Whether a value can be there only once.
    pub unique: bool,
    /// Whether NULLs differ from each other.
    pub nulls_distinct: bool,
    /// Whether it belongs to a UNIQUE constraint of its name.
    pub is_constraint: bool,
}

/// What decides that a row to be inserted conflicts with one that exists.
#[derive(Debug, Clone)]
pub enum Arbiter {
    /// The primary key.
    Key,
    /// A unique index.
    Index(Arc<Index>),
}

/// The rows that rows to be inserted conflict with.
#[derive(Debug)]
pub struct Conflicting {
    /// For each row to be inserted, whether it conflicts.
    pub found: BooleanArray,
    /// The rows that exist, in the order of those that conflict with them, with the row number as last column where the
    /// table has no primary key.
    pub rows: RecordBatch,
}

impl Transaction {
    /// Makes an index of a table, with the entries of all its rows. The commit fails if anybody else has
    /// written to the table until then.
    pub async fn create_index(&mut self, table: &Arc<Table>, new: NewIndex) -> Result<()> {
        let (table, index) = self.define_index(table, new, IndexState::Ready)?;
        let storage = table.def.storage;
        let mut rows = rows_with_keys(&self.view, &table, &index, KeyRange::all(), None)?;
        while let Some(batch) = rows.try_next().await? {
            let (columns, keys) = rows.split(&batch)?;
            let entries = index.entries(&columns, &keys)?;
            let changes = IndexChanges {
                index: Arc::clone(&index),
                removed: Vec::new(),
                added: entries.into_iter().enumerate().collect(),
            };
            if let Some(at) = self.view.first_duplicate(&table, &changes)? {
                return Err(self.with_schema(&table, duplicated(&index, &columns, at)));
            }
            self.view.writes.change_indexes(storage, [changes])?;
        }
        self.changes.untouched.insert(storage);
        Ok(())
    }

    /// Adds the definition of an index to a table.
    pub(crate) fn define_index(
        &mut self,
        table: &Table,
        new: NewIndex,
        state: IndexState,
    ) -> Result<(Arc<Table>, Arc<Index>)> {
        let mut def = table.def.clone();
        let oid = self.add_index(&mut def, new, state)?;
        let changed = self.redefine(def)?;
        let index = changed.indexes.iter().find(|index| index.def.oid == oid);
        let index = index
            .cloned()
            .ok_or_else(|| CatalogError::internal("the new index is not there"))?;
        Ok((changed, index))
    }

    /// Adds an index to a definition that is not stored yet; returns its OID.
    pub(super) fn add_index(
        &mut self,
        table: &mut TableDef,
        new: NewIndex,
        state: IndexState,
    ) -> Result<Oid> {
        if new.unique && table.closing.is_some() {
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                "unique indexes on a table with closed_when are not supported",
            )
            .with_detail("Only the open rows have index entries.")
            .with_hint(
                "Only the primary key of such a table is unique over open and closed rows.",
            ));
        }
        self.claim_index_name(table, &new.name)?;
        let counters = Arc::clone(&self.view.catalog.counters);
        let oid = counters.oid();
        table.indexes.push(IndexDef {
            oid,
            name: new.name,
            storage: counters.storage(),
            columns: new.columns,
            unique: new.unique,
            nulls_distinct: new.nulls_distinct,
            constraint_oid: new.is_constraint.then(|| counters.oid()),
            state,
        });
        Ok(oid)
    }

    /// Takes a name for an index of a table; two that take it at the same time conflict.
    pub(super) fn claim_index_name(&mut self, table: &TableDef, name: &str) -> Result<()> {
        let own = table.indexes.iter().map(|index| &index.name);
        let taken = self.definitions().has_name(table.schema, name)
            || table.name == name
            || own
                .chain(table.primary_key.iter().map(|key| &key.name))
                .any(|own| own == name);
        if taken {
            return Err(CatalogError::new(
                ErrorKind::DuplicateTable,
                format!("relation \"{name}\" already exists"),
            ));
        }
        self.put_name(table.schema, name, Some(table.oid));
        Ok(())
    }

    /// Drops an index of a table.
    pub fn drop_index(&mut self, table: &Table, oid: Oid) -> Result<()> {
        let mut def = table.def.clone();
        let Some(at) = def.indexes.iter().position(|index| index.oid == oid) else {
            return Ok(());
        };
        let index = def.indexes.remove(at);
        self.check_referenced_keys(&def)?;
        self.retire_index(&def, &index);
        self.redefine(def).map(drop)
    }

    /// Forgets an index that its table's definition does not name any more.
    pub(super) fn retire_index(&mut self, table: &TableDef, index: &IndexDef) {
        let writes = &mut self.view.writes;
        writes.forget_index(table.storage, index.storage);
        self.put_name(table.schema, &index.name, None);
        self.changes.retired.push(Retired {
            storage: index.storage,
            closed_folder: None,
        });
    }

    /// Says how far the making of an index has come.
    pub(crate) fn set_index_state(
        &mut self,
        table: &Table,
        oid: Oid,
        state: IndexState,
    ) -> Result<()> {
        let mut def = table.def.clone();
        for index in def.indexes.iter_mut().filter(|index| index.oid == oid) {
            index.state = state;
        }
        self.redefine(def).map(drop)
    }

    pub(super) fn redefine(&mut self, def: TableDef) -> Result<Arc<Table>> {
        let table = Arc::new(Table::new(def)?);
        self.put_relation(Relation::Table(Arc::clone(&table)), false)?;
        Ok(table)
    }

    /// The existing rows that new rows, with all columns of the table, conflict with by one arbiter.
    pub async fn conflicting(
        &self,
        table: &Table,
        arbiter: &Arbiter,
        rows: &RecordBatch,
    ) -> Result<Conflicting> {
        let index = match arbiter {
            Arbiter::Key => {
                let addresses = table.codec.project_key(rows)?;
                let existing = self.existing(table, &addresses).await?;
                return Ok(Conflicting {
                    found: existing.found,
                    rows: existing.rows,
                });
            }
            Arbiter::Index(index) => index,
        };
        let mut found = Vec::with_capacity(rows.num_rows());
        // Rows that conflict, each with its place among the rows that exist.
        let mut places = Vec::new();
        let mut known: HashMap<Bytes, u64> = HashMap::new();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for value in self.arbiter_values(table, arbiter, rows)? {
            let existing = match value {
                Some(value) => self.view.index_keys(table, index, &value, 1)?,
                None => Some(Vec::new()),
            };
            let key = existing.unwrap_or_default().into_iter().next();
            found.push(Some(key.is_some()));
            let Some(key) = key else { continue };
            if let Some(place) = known.get(&key) {
                places.push(*place);
                continue;
            }
            let place = keys.len() as u64;
            let row = self.view.open_value(table, &key)?;
            values.push(row.ok_or_else(|| crate::index::lookup::without_row(index))?);
            known.insert(key.clone(), place);
            keys.push(key);
            places.push(place);
        }
        let mut columns: Vec<usize> = (0..table.schema.fields().len()).collect();
        if table.codec.has_row_numbers() {
            columns.push(columns.len());
        }
        let existing = table.codec.decode(&columns, &keys, &values)?;
        Ok(Conflicting {
            found: BooleanArray::from_iter(found),
            rows: take_record_batch(&existing, &UInt64Array::from(places))?,
        })
    }

    /// What an arbiter compares of each row; `None` for a row that conflicts with nothing, for it has a NULL there.
    pub fn arbiter_values(
        &self,
        table: &Table,
        arbiter: &Arbiter,
        rows: &RecordBatch,
    ) -> Result<Vec<Option<Box<[u8]>>>> {
        match arbiter {
            Arbiter::Key => {
                let addresses = table.codec.project_key(rows)?;
                let keys = table.codec.encode_keys(&addresses)?;
                Ok(keys.into_iter().map(Some).collect())
            }
            Arbiter::Index(index) => {
                let no_keys = vec![Bytes::default(); rows.num_rows()];
                let entries = index.entries(&index.project(rows)?, &no_keys)?;
                let value = |entry: crate::index::entry::Entry| {
                    entry.is_exclusive().then(|| Bytes::from(entry.value()))
                };
                Ok(entries.into_iter().map(value).collect())
            }
        }
    }
}

/// 23505 for rows that were there before the index.
pub(crate) fn duplicated(index: &Index, columns: &RecordBatch, at: usize) -> CatalogError {
    let name = &index.def.name;
    let schema = columns.schema();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    CatalogError::new(
        ErrorKind::UniqueViolation,
        format!("could not create unique index \"{name}\""),
    )
    .with_detail(format!(
        "Key ({})=({}) is duplicated.",
        names.join(", "),
        row_text(columns, at)
    ))
    .with_constraint(name)
}
