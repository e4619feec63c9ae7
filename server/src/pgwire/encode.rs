//! Rows on the wire: Arrow batches become `DataRow` messages.
//!
//! Owns the text and binary output form of every [`SqlType`]. It never runs a query, never frames any
//! other message and never reads input; that is `decode`. One typed column writer is built per column
//! and batch, so the row loop neither downcasts nor allocates.

mod binary;
pub(super) mod calendar;
mod column;
mod datetime;
mod float;
mod interval;
mod nested;
mod numeric;
pub mod settings;
#[cfg(test)]
mod tests;
mod text;

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use crate::pgwire::append::Append;

pub use binary::BinaryColumn;
pub use calendar::{civil_from_days, days_in_month};
pub use settings::{
    ByteaOutput, DateOrder, DateOutput, DateStyle, FormatSettings, IntervalStyle, TimeZone,
};
pub use text::TextColumn;

/// Wire format of one result column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Format code 0.
    Text,
    /// Format code 1.
    Binary,
}

/// A value that PostgreSQL's types or the protocol cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EncodeError {
    /// SQLSTATE to report.
    pub sqlstate: &'static str,
    /// Primary message, worded as PostgreSQL does where it has the same error.
    pub message: String,
}

impl EncodeError {
    fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
        }
    }

    pub(super) fn too_many_columns() -> Self {
        Self::new("54011", "a result can have at most 32767 columns")
    }

    fn too_long() -> Self {
        Self::new(
            "54000",
            "a value or row is too long for the protocol (2 GB)",
        )
    }
}

/// Encodes the batches of one result; built once per result.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<(SqlType, Format)>,
    settings: FormatSettings,
}

/// The writer of one column of one batch.
enum Writer {
    Text(TextColumn),
    Binary(BinaryColumn),
}

impl RowEncoder {
    /// Fixes types and formats of a result.
    ///
    /// `formats` follows Bind's rule: none means text everywhere, one applies to all columns, otherwise
    /// there is one per column.
    ///
    /// # Errors
    /// 08P01 when the number of formats is none of these.
    pub fn new(
        schema: &Schema,
        formats: &[Format],
        settings: FormatSettings,
    ) -> Result<Self, EncodeError> {
        let count = schema.fields().len();
        let of_column = |index: usize| match formats {
            [] => Ok(Format::Text),
            [one] => Ok(*one),
            many if many.len() == count => Ok(many.get(index).copied().unwrap_or(Format::Text)),
            many => Err(EncodeError::new(
                "08P01",
                format!(
                    "bind message has {} result formats but query has {count} columns",
                    many.len()
                ),
            )),
        };
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(index, field)| Ok((SqlType::of_field(field), of_column(index)?)))
            .collect::<Result<Vec<_>, EncodeError>>()?;
        Ok(Self { columns, settings })
    }

    /// Appends one `DataRow` message for each of `rows` of `batch` to `out`.
    ///
    /// # Errors
    /// A value that the column's SQL type cannot hold (22003, 22008), a form the protocol has no room
    /// for (54000) or Nyala does not print (0A000). `out` then ends behind the last whole row.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        rows: Range<usize>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if batch.num_columns() != self.columns.len() || rows.end > batch.num_rows() {
            return Err(EncodeError::new(
                "XX000",
                "a result batch does not have the result's shape",
            ));
        }
        let writers = batch
            .columns()
            .iter()
            .zip(&self.columns)
            .map(|(array, (ty, format))| {
                Ok(match format {
                    Format::Text => Writer::Text(TextColumn::new(array, ty, &self.settings)?),
                    Format::Binary => Writer::Binary(BinaryColumn::new(array, ty, &self.settings)?),
                })
            })
            .collect::<Result<Vec<_>, EncodeError>>()?;
        let count = i16::try_from(writers.len()).map_err(|_| EncodeError::too_many_columns())?;
        for row in rows {
            let start = out.len();
            out.put_u8(b'D');
            out.put_i32(0);
            out.put_i16(count);
            let written = writers
                .iter()
                .try_for_each(|writer| match writer {
                    Writer::Text(column) => write_text(column, row, out),
                    Writer::Binary(column) => column.write(row, out),
                })
                .and_then(|()| patch_length(out, start + 1, 0));
            if let Err(error) = written {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn write_text(column: &TextColumn, row: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    if column.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    column.write_value(row, out)?;
    patch_length(out, start, 4)
}

/// Writes the length of what follows `start` there; `header` bytes of it do not count.
fn patch_length(out: &mut BytesMut, start: usize, header: usize) -> Result<(), EncodeError> {
    let length = out.len() - start - header;
    let length = i32::try_from(length).map_err(|_| EncodeError::too_long())?;
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
