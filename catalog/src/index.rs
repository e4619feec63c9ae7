//! Secondary indexes on the row store: what they are, and the protocol that keeps them.
//!
//! An **entry** is the arrow-row encoding of a row's indexed columns, in the order the index declares, followed by the
//! row's key (`entry`). All entries of an index lie in a keyspace of its own, so that the rows of one value, of one
//! prefix of values, or of a range of values, are neighbours. Every open row has an entry, rows with NULLs too; closed
//! rows have none.
//!
//! **Kept with the rows.** The transaction that writes a row knows what the row was: its own earlier write, or the
//! row at its snapshot. So it can tell which entry goes and which comes (`delta`), and both travel in its commit
//! request beside the row. That is exact, although the committer reads nothing: if anybody else has changed the row
//! after the snapshot, the commit fails, because the first committer of a key wins. Rollback, savepoints and own reads
//! need nothing of their own, since the entries lie in the write buffer next to the rows. Housekeeping sends the
//! entries of the rows it moves out; the committer leaves those of rows that were written in the meantime, as it does
//! with the rows, and a move counts as a write to the keys moved: whoever saw such a row as open would bring no entry for a
//! value that it leaves as it was. TRUNCATE gives the table and its indexes new storages.
//!
//! **Uniqueness.** A write looks the new value up at its snapshot, own writes included, when all writes of its batch
//! are known: a value that the same batch gives up is free. Two transactions that add one value do not see each other;
//! for them the value itself is a key of the commit, so that the second one fails with a serialization failure, and
//! finds the duplicate when it is run again. NULLs are distinct unless the index says otherwise; then the entry is not
//! *exclusive*, and nothing is looked up.
//!
//! **Building** (`build`) an index over rows that are there, while writers go on:
//!
//! 1. **begin** (`index::begun`): the definition is committed as *building*. Writers rely on the table's definition, so
//!    whoever commits from now on knows the index and keeps its entries. Nobody reads it yet.
//! 2. **fill**: the rows are read in key order, some thousands at a time, each time at a new snapshot, and their entries
//!    are committed. The committer leaves out the entries of rows that were written since that snapshot: their writers have
//!    brought the right ones.
//! 3. **check** (unique indexes): the definition becomes *checking*. Whoever commits from now on has looked for
//!    duplicates in a complete index, so what is not found twice now never will be. All entries are read.
//! 4. **show** (`index::filled`): the definition becomes *ready*; readers use the index.
//!
//! The definition itself is the intent: a start that finds an index that is not ready drops it, as does a build that
//! fails or is cancelled. Each change of the definition makes transactions that have written to the table before
//! it and commit after it fail with a serialization failure, as all DDL does; statements on their own are run again by
//! the session. Nobody waits. Inside a transaction block the index has to be as atomic as the block: the entries of all
//! rows at the snapshot go into the write buffer, and the commit fails if anybody has written to the table since.
//!
//! **Reading.** `choose` finds the index that leaves the fewest rows, if that are few enough, by reading its entries;
//! the scan then fetches rows by their keys. `lookup` serves statements that were compiled for one value. Both use
//! the snapshot that the rows are read from, so an entry and its row are of one moment.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};

use crate::definitions::{Oid, StorageId};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_codec::Bytes;

pub mod build;
pub(crate) mod changes;
pub(crate) mod choose;
pub(crate) mod delta;
pub(crate) mod entry;
pub(crate) mod fills;
pub(crate) mod lookup;
pub(crate) mod range;

use entry::Entry;

/// Most columns an index can have, as in PostgreSQL.
pub const INDEX_COLUMNS_MAX: usize = 32;

/// A column of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    /// Position in the table.
    pub position: usize,
    /// Whether greater values come first.
    pub descending: bool,
    /// Whether NULLs come before all values.
    pub nulls_first: bool,
}

impl IndexColumn {
    /// A column in ascending order, NULLs last.
    pub fn ascending(position: usize) -> Self {
        Self {
            position,
            descending: false,
            nulls_first: false,
        }
    }
}

/// How far the making of an index has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexState {
    /// Writers keep it; the rows that were there before get their entries.
    Building,
    /// It has all entries; whether they are unique is looked at.
    Checking,
    /// Readers use it.
    Ready,
}

/// A secondary index of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDef {
    /// Object identifier.
    pub oid: Oid,
    /// Name, unique among the relations and indexes of the table's schema.
    pub name: String,
    /// Where its entries are; changes with TRUNCATE.
    pub storage: StorageId,
    /// Columns in order.
    pub columns: Vec<IndexColumn>,
    /// Whether a value can be there only once.
    pub unique: bool,
    /// Whether NULLs differ from each other, so that a unique index takes many.
    pub nulls_distinct: bool,
    /// OID of the UNIQUE constraint that it belongs to.
    pub constraint_oid: Option<Oid>,
    /// How far its making has come.
    pub state: IndexState,
}

/// An index as statements use it.
#[derive(Debug)]
pub struct Index {
    /// The definition.
    pub def: IndexDef,
    sort: Vec<SortField>,
    converter: RowConverter,
}

impl Index {
    /// Derives the encoding of an index of a table with the given columns.
    pub(crate) fn new(def: IndexDef, schema: &SchemaRef) -> Result<Self> {
        let mut sort = Vec::with_capacity(def.columns.len());
        for column in &def.columns {
            let field = schema
                .fields()
                .get(column.position)
                .ok_or_else(|| CatalogError::corrupted("index column outside the table"))?;
            let options = SortOptions {
                descending: column.descending,
                nulls_first: column.nulls_first,
            };
            let data_type = field.data_type().clone();
            sort.push(SortField::new_with_options(data_type, options));
        }
        let converter = converter(&sort)?;
        Ok(Self {
            def,
            sort,
            converter,
        })
    }

    /// Whether readers may use it.
    pub fn is_ready(&self) -> bool {
        self.def.state == IndexState::Ready
    }

    /// Positions of its columns in the table.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.def.columns.iter().map(|column| column.position)
    }

    /// Its columns of full rows of the table.
    pub fn project(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(rows.project(&self.positions().collect::<Vec<_>>())?)
    }

    /// The entries of rows, from the index's columns and the rows' keys.
    pub(crate) fn entries(&self, columns: &RecordBatch, keys: &[Bytes]) -> Result<Vec<Entry>> {
        let rows = self.converter.convert_columns(columns.columns())?;
        let mut entries = Vec::with_capacity(keys.len());
        for (at, (value, key)) in rows.iter().zip(keys).enumerate() {
            let has_null = || columns.columns().iter().any(|column| column.is_null(at));
            let exclusive = self.def.unique && !(self.def.nulls_distinct && has_null());
            entries.push(Entry::new(&self.def.name, value.as_ref(), key, exclusive)?);
        }
        Ok(entries)
    }

    /// The encoding of values of the leading `columns.len()` columns, one per row: a prefix of the entries that have
    /// these values.
    pub(crate) fn encode_prefix(&self, columns: &[ArrayRef]) -> Result<Vec<Bytes>> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let rows = if columns.len() == self.sort.len() {
            self.converter.convert_columns(columns)?
        } else {
            let leading = self.sort.get(..columns.len()).unwrap_or_default();
            converter(leading)?.convert_columns(columns)?
        };
        Ok(rows.iter().map(|row| Bytes::from(row.as_ref())).collect())
    }
}

fn converter(sort: &[SortField]) -> Result<RowConverter> {
    RowConverter::new(sort.to_vec()).map_err(|error| {
        CatalogError::new(ErrorKind::Unsupported, format!("index layout: {error}"))
    })
}

/// The indexes of a table as statements use them.
pub(crate) fn derive(defs: &[IndexDef], schema: &SchemaRef) -> Result<Vec<Arc<Index>>> {
    let indexes = defs.iter().cloned();
    indexes
        .map(|def| Ok(Arc::new(Index::new(def, schema)?)))
        .collect()
}
