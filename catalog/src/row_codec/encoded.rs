//! Rows of a batch, encoded one behind the other: for whoever has many and needs no allocation for each.

use arrow::array::RecordBatch;
use datafusion::arrow::row::Rows;

use super::{LAYOUT_BYTES, RowCodec};
use crate::error::{CatalogError, Result};

/// Keys and values of the rows of a batch.
pub(crate) struct EncodedRows {
    keys: Keys,
    /// `None`: no column is outside the key.
    values: Option<Rows>,
    layout: [u8; LAYOUT_BYTES],
}

enum Keys {
    Columns(Rows),
    Numbers(Vec<[u8; 8]>),
}

impl EncodedRows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match &self.keys {
            Keys::Columns(rows) => rows.num_rows(),
            Keys::Numbers(numbers) => numbers.len(),
        }
    }

    /// Memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Columns(rows) => rows.size(),
            Keys::Numbers(numbers) => size_of_val(numbers.as_slice()),
        };
        keys + self.values.as_ref().map_or(0, Rows::size)
    }

    /// The key of a row, which is one of them.
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        match &self.keys {
            Keys::Columns(rows) => rows.row(at).data(),
            Keys::Numbers(numbers) => numbers.get(at).map_or(&[], <[u8; 8]>::as_slice),
        }
    }

    /// Adds the value of a row, which is one of them, to `bytes`.
    pub(crate) fn append_value(&self, at: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.layout);
        if let Some(values) = &self.values {
            bytes.extend_from_slice(values.row(at).data());
        }
    }
}

impl RowCodec {
    /// Encodes full rows of a table, which has a primary key if `first` is `None`, and else row numbers from `first` on.
    pub(crate) fn encode(&self, rows: &RecordBatch, first: Option<i64>) -> Result<EncodedRows> {
        let keys = match (&self.key, first) {
            (Some(converter), None) => {
                let addresses = self.project_key(rows)?;
                Keys::Columns(converter.convert_columns(addresses.columns())?)
            }
            (None, Some(first)) => {
                let numbers = (first..).take(rows.num_rows());
                Keys::Numbers(numbers.map(i64::to_be_bytes).collect())
            }
            _ => return Err(CatalogError::internal("rows have a key or a number")),
        };
        let values = match self.value_columns.is_empty() {
            true => None,
            false => {
                let columns = rows.project(&self.value_columns)?;
                Some(self.value.convert_columns(columns.columns())?)
            }
        };
        Ok(EncodedRows {
            keys,
            values,
            layout: self.layout.to_le_bytes(),
        })
    }
}
