//! What the columns of a table have been: how stored rows and files of any age are read as the table is defined now.
//!
//! ALTER TABLE rewrites nothing. A stored row carries the number of the *layout* that it was written in, a list of columns with
//! their types then; a file carries column names. This file owns what both refer to:
//!
//! - Each column has an *id* that no other column of the table's storage ever has, so that a column which is dropped and added again
//!   does not show its old values.
//! - A column that was added has a *missing* value: what rows have that were written before.
//! - A change of the columns that rows hold starts a new layout; one that goes back to earlier columns takes the earlier layout.
//! - Files call a column by its name in the list of *file columns*, to which names are only added: a column whose type
//!   changes gets a new one, and so does one that takes the name of a column that was dropped or renamed. So any reader of
//!   the Delta table sees columns come, and never change.
//!
//! A table that was never altered stores no history; [`ColumnHistory::first`] makes it. TRUNCATE begins a new one with the new storage.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use serde::{Deserialize, Serialize};

use crate::closed_table::ColumnFiles;
use crate::definitions::{ColumnDef, TableDef};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_codec::{LayoutNumber, ValueLayout};
use crate::types::SqlType;

/// Identifies a column among all that a storage ever had.
pub type ColumnId = u32;

/// The columns of a table, and of its stored rows and files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnHistory {
    next_column: ColumnId,
    /// The table's columns, in its order.
    columns: Vec<Stored>,
    /// Layouts of row values; the first has number 1.
    layouts: Vec<Layout>,
    /// Number of the layout that rows are written in.
    current: LayoutNumber,
    /// Columns that files have or had, a table column's newest last.
    files: Vec<FileColumn>,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    id: ColumnId,
    /// Whether something stored lacks the column or may have NULL in it, though no visible row has: readers must not
    /// rely on NOT NULL.
    nullable: bool,
    /// What rows have that were written before the column was added, as arrow-row encodes it; `None` for NULL.
    missing: Option<Vec<u8>>,
}

/// The columns of a row value, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    columns: Vec<LayoutColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayoutColumn {
    id: ColumnId,
    #[serde(rename = "type")]
    ty: SqlType,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileColumn {
    id: ColumnId,
    name: String,
    #[serde(rename = "type")]
    ty: SqlType,
}

impl ColumnHistory {
    /// The history of a table that was never altered.
    pub fn first(def: &TableDef) -> Self {
        let mut history = Self {
            next_column: 0,
            columns: Vec::with_capacity(def.columns.len()),
            layouts: Vec::new(),
            current: 1,
            files: Vec::with_capacity(def.columns.len()),
        };
        for column in &def.columns {
            let id = history.next_id();
            history.columns.push(Stored {
                id,
                nullable: false,
                missing: None,
            });
            history.files.push(FileColumn {
                id,
                name: column.name.clone(),
                ty: column.ty.clone(),
            });
        }
        history.layouts.push(history.layout_of(def));
        history
    }

    fn next_id(&mut self) -> ColumnId {
        let id = self.next_column;
        self.next_column += 1;
        id
    }

    /// A column was added behind the others; rows that are stored have `missing` in it.
    pub(crate) fn add(&mut self, column: &ColumnDef, missing: &ScalarValue) -> Result<()> {
        let id = self.next_id();
        self.columns.push(Stored {
            id,
            nullable: true,
            missing: encode_missing(missing)?,
        });
        self.add_file_column(id, column);
        Ok(())
    }

    /// The column at a position was dropped.
    pub(crate) fn remove(&mut self, at: usize) {
        if at < self.columns.len() {
            self.columns.remove(at);
        }
    }

    /// The column at a position has got another type, in which `from` can be read without loss.
    pub(crate) fn widen(&mut self, at: usize, from: &SqlType, column: &ColumnDef) -> Result<()> {
        let to = column.ty.arrow_type();
        if from.arrow_type() == to {
            return Ok(());
        }
        let stored = self.columns.get_mut(at).ok_or_else(no_column)?;
        let missing = decode_missing(stored.missing.as_deref(), &from.arrow_type())?;
        stored.missing = encode_missing(&missing.cast_to(&to)?)?;
        stored.nullable = true;
        let id = stored.id;
        self.add_file_column(id, column);
        Ok(())
    }

    /// The column at a position has become NOT NULL. Rows that are deleted may still have NULL in files.
    pub(crate) fn set_not_null(&mut self, at: usize) {
        if let Some(stored) = self.columns.get_mut(at) {
            stored.nullable = true;
        }
    }

    /// Chooses the layout of rows that are written from now on.
    pub(crate) fn settle(&mut self, def: &TableDef) -> Result<()> {
        let wanted = self.layout_of(def);
        let known = self.layouts.iter().position(|layout| *layout == wanted);
        let at = known.unwrap_or(self.layouts.len());
        self.current = LayoutNumber::try_from(at + 1).map_err(|_| {
            CatalogError::new(
                ErrorKind::LimitExceeded,
                format!("table \"{}\" was altered too many times", def.name),
            )
            .with_hint("Copy its rows to a new table.")
        })?;
        if known.is_none() {
            self.layouts.push(wanted);
        }
        Ok(())
    }

    fn layout_of(&self, def: &TableDef) -> Layout {
        let key = def.primary_key.as_ref().map(|key| key.columns.as_slice());
        let columns = def.columns.iter().zip(&self.columns).enumerate();
        Layout {
            columns: columns
                .filter(|(at, _)| !key.is_some_and(|key| key.contains(at)))
                .map(|(_, (column, stored))| LayoutColumn {
                    id: stored.id,
                    ty: stored_type(&column.ty),
                })
                .collect(),
        }
    }

    fn add_file_column(&mut self, id: ColumnId, column: &ColumnDef) {
        // Delta does not tell upper case from lower.
        let free = |name: &str| {
            let name = name.to_lowercase();
            !self
                .files
                .iter()
                .any(|file| file.name.to_lowercase() == name)
        };
        let mut name = column.name.clone();
        let mut number = id;
        while !free(&name) {
            name = format!("{}_{number}", column.name);
            number += 1;
        }
        self.files.push(FileColumn {
            id,
            name,
            ty: column.ty.clone(),
        });
    }

    /// Checks what was read from the row store.
    pub(crate) fn check(&self, def: &TableDef) -> Result<()> {
        let current = usize::from(self.current).checked_sub(1);
        let known = current.is_some_and(|at| at < self.layouts.len());
        if self.columns.len() != def.columns.len() || !known {
            return Err(CatalogError::corrupted(format!(
                "columns of table \"{}\" do not fit their history",
                def.name
            )));
        }
        Ok(())
    }

    /// Whether readers have to expect NULL in the column at a position, which the table declares NOT NULL.
    pub(crate) fn may_lack(&self, at: usize) -> bool {
        self.columns.get(at).is_some_and(|stored| stored.nullable)
    }

    /// Number of the layout that rows are written in.
    pub(crate) fn current_layout(&self) -> LayoutNumber {
        self.current
    }

    /// The layouts that stored rows may have beside the current one, for the value columns at `value_columns`.
    pub(crate) fn other_layouts(&self, value_columns: &[usize]) -> Vec<ValueLayout> {
        let numbered = (1..=LayoutNumber::MAX).zip(&self.layouts);
        numbered
            .filter(|(number, _)| *number != self.current)
            .map(|(number, layout)| {
                let types = layout.columns.iter().map(|column| column.ty.arrow_type());
                let slots = value_columns.iter().map(|at| {
                    let id = self.columns.get(*at)?.id;
                    layout.columns.iter().position(|column| column.id == id)
                });
                ValueLayout::new(number, types.collect(), slots.collect())
            })
            .collect()
    }

    /// What rows have in the column at a position if they were written before it was added.
    pub(crate) fn missing(&self, at: usize, data_type: &DataType) -> Result<ScalarValue> {
        let stored = self.columns.get(at).ok_or_else(no_column)?;
        decode_missing(stored.missing.as_deref(), data_type)
    }

    /// How files hold the column at a position, whose field in the table's schema is `field`.
    pub(crate) fn files(&self, at: usize, field: &FieldRef) -> Result<ColumnFiles> {
        let stored = self.columns.get(at).ok_or_else(no_column)?;
        let mut fields = self
            .files
            .iter()
            .rev()
            .filter(|file| file.id == stored.id)
            .map(|file| Arc::new(file.ty.field(&file.name, field.is_nullable())));
        let newest = fields.next().ok_or_else(no_column)?;
        Ok(ColumnFiles {
            written: Arc::new(field.as_ref().clone().with_name(newest.name())),
            older: fields.collect(),
            missing: self.missing(at, field.data_type())?,
        })
    }
}

/// A type among those that rows store alike: changing one into another is no change of the layout.
fn stored_type(ty: &SqlType) -> SqlType {
    SqlType::of_arrow(&ty.arrow_type())
}

fn no_column() -> CatalogError {
    CatalogError::internal("column outside the table's history")
}

fn encode_missing(value: &ScalarValue) -> Result<Option<Vec<u8>>> {
    if value.is_null() {
        return Ok(None);
    }
    let converter = RowConverter::new(vec![SortField::new(value.data_type())])?;
    let rows = converter.convert_columns(&[value.to_array()?])?;
    Ok(rows.iter().next().map(|row| row.as_ref().to_vec()))
}

fn decode_missing(bytes: Option<&[u8]>, data_type: &DataType) -> Result<ScalarValue> {
    let Some(bytes) = bytes else {
        return Ok(ScalarValue::try_from(data_type)?);
    };
    let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
    let parser = converter.parser();
    let arrays = converter.convert_rows([parser.parse(bytes)])?;
    let array = arrays.first().ok_or_else(no_column)?;
    Ok(ScalarValue::try_from_array(array, 0)?)
}

#[cfg(test)]
mod tests;
