//! FOREIGN KEY constraints: what they are, and the protocol that keeps them.
//!
//! A **referencing** row has in the constraint's columns the values of a key of a **referenced** row, or a NULL in one of them.
//! The key is the primary key of the referenced table, closed rows included, or one of its unique indexes. The definition lies
//! with the referencing table; the referenced one does not know of it, [`crate::definitions::Definitions::referencing`] does.
//!
//! **Who checks.** Every write goes through [`crate::transaction::Transaction`], and so do the checks: no statement, COPY or
//! rewrite of a table can pass them by.
//!
//! - *Rows that come* (`note_references`): each new value is looked up at once. What is not there yet may come with the same
//!   statement, so it is looked for again at the statement's end, and is an error then; of a deferred constraint at the commit.
//! - *Keys that go* (`note_gone`): the keys that rows give up are kept until the statement's end. Then the actions run (CASCADE, SET
//!   NULL), which may make more keys go, until there are none; only then what must not be referenced any more is looked for.
//!   PostgreSQL runs the checks in between, and so refuses some deletions that leave nothing behind.
//!
//! **Against others.** A transaction sees its snapshot: one that adds a reference and one that takes the key away do not see each
//! other. So both tell the committer, which compares (`Marks`): a reference that is *held* fails if its key has *gone* since
//! the transaction's snapshot, and the other way round. Two that hold one key do not conflict, nor does a change of the referenced
//! row that leaves its key. Beyond 65,536 keys a transaction marks the whole key space instead of each key. A
//! definition that comes conflicts with whoever has written to one of the two tables meanwhile, and TRUNCATE and DROP of the
//! referenced table with whoever has added references: writers rely on the definitions of both tables. A table that is written anew
//! has new key spaces, and gives up those that it had.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::definitions::{Oid, StorageId, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::Index;
use crate::row_codec::Bytes;
use crate::types::SqlType;

/// Keys of one key space that a transaction marks one by one.
const KEYS_MARKED_MAX: usize = 1 << 16;

/// What happens to referencing rows when their key goes or changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferentialAction {
    /// There must be none at the statement's end.
    #[default]
    NoAction,
    /// There must be none, even if another row gets the key.
    Restrict,
    /// They go or change as well.
    Cascade,
    /// Their columns become NULL.
    SetNull,
}

/// A FOREIGN KEY constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKeyDef {
    /// Object identifier.
    pub oid: Oid,
    /// Name, unique among the table's constraints.
    pub name: String,
    /// Positions of the referencing columns, as declared.
    pub columns: Vec<usize>,
    /// OID of the referenced table.
    pub referenced: Oid,
    /// OID of the referenced key's index.
    pub index: Oid,
    /// For each of `columns` the place of its counterpart among the columns of the key.
    pub places: Vec<usize>,
    /// What a deletion does.
    pub on_delete: ReferentialAction,
    /// What a change of the key does.
    pub on_update: ReferentialAction,
    /// Whether NULLs among values are refused (MATCH FULL), instead of making the row reference nothing.
    pub match_full: bool,
    /// Whether it can be checked at the commit.
    pub deferrable: bool,
    /// Whether it is, unless the transaction says otherwise.
    pub initially_deferred: bool,
}

impl ForeignKeyDef {
    /// The referencing columns of full rows.
    pub(crate) fn values(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(rows.project(&self.columns)?)
    }

    /// The keys that values reference: columns of the key in its order and its types, NULL where it cannot have the value.
    pub(crate) fn keys(&self, key: &KeyOf<'_>, values: &RecordBatch) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(self.places.len());
        let mut columns = Vec::with_capacity(self.places.len());
        for (place, position) in key.positions().iter().enumerate() {
            let at = self.places.iter().position(|of| *of == place);
            let column = at.and_then(|at| values.columns().get(at));
            let field = key.table().schema.fields().get(*position);
            let (Some(column), Some(field)) = (column, field) else {
                return Err(beyond_key());
            };
            columns.push(converted(column, field.data_type())?);
            fields.push(nullable(field));
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    /// 22003 or 22001 if a key has no value in the referencing columns, which are to change with it.
    pub(crate) fn check_fits(
        &self,
        table: &Table,
        keys: &RecordBatch,
        values: &RecordBatch,
    ) -> Result<()> {
        for ((position, place), value) in
            self.columns.iter().zip(&self.places).zip(values.columns())
        {
            let key = keys.columns().get(*place);
            let column = table.def.columns.get(*position);
            let (Some(key), Some(column)) = (key, column) else {
                return Err(beyond_key());
            };
            if value.logical_null_count() > key.logical_null_count() {
                return Err(CatalogError::new(
                    ErrorKind::OutOfRange,
                    format!("{} out of range", column.ty),
                ));
            }
            if let SqlType::Varchar(Some(length)) | SqlType::Bpchar(Some(length)) = &column.ty {
                let length = *length as usize;
                let texts = value.as_string_view_opt();
                let mut texts = texts.into_iter().flatten().flatten();
                if texts.any(|text| text.chars().count() > length) {
                    return Err(CatalogError::new(
                        ErrorKind::ValueTooLong,
                        format!("value too long for type {}", column.ty),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The values that reference keys: the other way round.
    pub(crate) fn referencing_values(
        &self,
        table: &Table,
        keys: &RecordBatch,
    ) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut columns = Vec::with_capacity(self.columns.len());
        for (position, place) in self.columns.iter().zip(&self.places) {
            let field = table.schema.fields().get(*position);
            let (Some(field), Some(column)) = (field, keys.columns().get(*place)) else {
                return Err(beyond_key());
            };
            columns.push(converted(column, field.data_type())?);
            fields.push(nullable(field));
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    /// Rows of the table with other values in the referencing columns, or with NULL there.
    pub(crate) fn with_values(
        &self,
        table: &Table,
        rows: &RecordBatch,
        values: Option<&RecordBatch>,
    ) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for (at, position) in self.columns.iter().enumerate() {
            let Some(column) = columns.get_mut(*position) else {
                return Err(beyond_key());
            };
            *column = match values.and_then(|values| values.columns().get(at)) {
                Some(value) => Arc::clone(value),
                None => new_null_array(column.data_type(), column.len()),
            };
        }
        // Nullability is the constraint's business, whose error names the row.
        let fields: Vec<_> = table.schema.fields().iter().map(nullable).collect();
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

fn beyond_key() -> CatalogError {
    CatalogError::corrupted("foreign key column outside of its table or key")
}

fn nullable(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

/// Whether values of a type can reference those of another: they have to be the same in both, or not be there at all.
pub fn can_reference(from: &SqlType, to: &SqlType) -> bool {
    let is_integer = |ty: &SqlType| matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8);
    let is_text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_));
    match (from, to) {
        (from, to) if from == to => true,
        (SqlType::Bpchar(_), SqlType::Bpchar(_)) => true,
        (from, to) => is_integer(from) && is_integer(to) || is_text(from) && is_text(to),
    }
}

/// A column's values in another type, NULL for those that it does not have.
fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    Ok(cast_with_options(column, to, &options)?)
}

/// A key that can be referenced.
pub(crate) enum KeyOf<'a> {
    Primary(&'a Table),
    Index(&'a Table, &'a Arc<Index>),
}

impl<'a> KeyOf<'a> {
    /// The key with the given index OID.
    pub(crate) fn of(table: &'a Table, index: Oid) -> Option<Self> {
        let primary = table.def.primary_key.as_ref();
        if primary.is_some_and(|key| key.index_oid == index) {
            return Some(Self::Primary(table));
        }
        let mut indexes = table.indexes.iter();
        let found = indexes.find(|known| known.def.oid == index && known.def.unique)?;
        Some(Self::Index(table, found))
    }

    pub(crate) fn table(&self) -> &'a Table {
        match self {
            Self::Primary(table) | Self::Index(table, _) => table,
        }
    }

    /// Positions of its columns in the table, in its order.
    pub(crate) fn positions(&self) -> Vec<usize> {
        match self {
            Self::Primary(table) => table.key_columns().to_vec(),
            Self::Index(_, index) => index.positions().collect(),
        }
    }

    /// The key space: two keys with the same bytes in it are the same.
    pub(crate) fn space(&self) -> StorageId {
        match self {
            Self::Primary(table) => table.def.storage,
            Self::Index(_, index) => index.def.storage,
        }
    }

    /// Keys, without NULLs, as bytes.
    pub(crate) fn encode(&self, keys: &RecordBatch) -> Result<Vec<Bytes>> {
        match self {
            Self::Primary(table) => {
                let schema = table.codec.address_schema();
                let keys = RecordBatch::try_new(schema, keys.columns().to_vec())?;
                table.codec.encode_keys(&keys)
            }
            Self::Index(_, index) => index.encode_prefix(keys.columns()),
        }
    }
}

/// Keys of one key space that a transaction holds, or that it takes away.
#[derive(Debug, Clone, Default)]
pub(crate) struct MarkedKeys {
    keys: HashSet<Bytes>,
    /// There were too many.
    pub all: bool,
}

impl MarkedKeys {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }

    pub(crate) fn add(&mut self, key: Bytes) {
        if !self.all {
            self.keys.insert(key);
            if self.keys.len() > KEYS_MARKED_MAX {
                self.keys = HashSet::new();
                self.all = true;
            }
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter()
    }
}

/// What a transaction tells the committer of keys that it references and of such that it takes away, by key space.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    pub held: Vec<(StorageId, Arc<MarkedKeys>)>,
    pub gone: Vec<(StorageId, Arc<MarkedKeys>)>,
}

impl Marks {
    pub(crate) fn hold(&mut self, space: StorageId, key: Bytes) {
        add(&mut self.held, space, key);
    }

    pub(crate) fn take_away(&mut self, space: StorageId, key: Bytes) {
        add(&mut self.gone, space, key);
    }

    /// All keys of a space go, whatever they are.
    pub(crate) fn take_all_away(&mut self, space: StorageId) {
        let all = MarkedKeys {
            keys: HashSet::new(),
            all: true,
        };
        self.gone.push((space, Arc::new(all)));
    }

    /// Whether the transaction is known to hold a key, which it has not taken away since.
    pub(crate) fn holds(&self, space: StorageId, key: &[u8]) -> bool {
        let mut held = self.held.iter().filter(|(of, _)| *of == space);
        let mut gone = self.gone.iter().filter(|(of, _)| *of == space);
        held.any(|(_, keys)| keys.contains(key))
            && !gone.any(|(_, keys)| keys.all || keys.contains(key))
    }
}

fn add(marked: &mut Vec<(StorageId, Arc<MarkedKeys>)>, space: StorageId, key: Bytes) {
    let at = match marked.iter().position(|(of, _)| *of == space) {
        Some(at) => at,
        None => {
            marked.push((space, Arc::default()));
            marked.len() - 1
        }
    };
    if let Some((_, keys)) = marked.get_mut(at) {
        Arc::make_mut(keys).add(key);
    }
}
