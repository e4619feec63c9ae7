//! Text form of every type: what text-format results, `COPY TO` and casts to text print.
//!
//! Owns the dispatch from a typed column to the writers of its type; the layout of numbers, dates and
//! nested values is in the sibling files. It adds no length, no quotes and no escapes of its own.

use arrow::array::ArrayRef;
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use super::column::{Column, TextKind, Values};
use super::numeric::Digits;
use super::settings::{ByteaOutput, FormatSettings};
use super::{EncodeError, datetime, float, interval, nested};
use crate::pg_catalog::procedures;
use crate::pgwire::append::Append;

/// A column ready to print its values as text.
pub struct TextColumn {
    column: Column,
    settings: FormatSettings,
}

impl TextColumn {
    /// Prepares an array of `ty`; the array may have any Arrow type that stands for `ty`.
    ///
    /// # Errors
    /// 22003 or 22008 for a value that `ty` cannot hold, 0A000 for an array it cannot be made from.
    pub fn new(
        array: &ArrayRef,
        ty: &SqlType,
        settings: &FormatSettings,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            column: Column::new(array, ty)?,
            settings: *settings,
        })
    }

    /// Whether a row is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.column.is_null(row)
    }

    /// Appends the text of `row`; returns false, and appends nothing, where it is NULL.
    ///
    /// # Errors
    /// As [`RowEncoder::encode`](super::RowEncoder::encode).
    pub fn write(&self, row: usize, out: &mut BytesMut) -> Result<bool, EncodeError> {
        if self.column.is_null(row) {
            return Ok(false);
        }
        self.write_value(row, out)?;
        Ok(true)
    }

    /// Appends the text of a row that is not NULL.
    pub(super) fn write_value(&self, row: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        write(&self.column, row, &self.settings, out)
    }
}

/// Appends the text of a row that is not NULL.
#[allow(
    clippy::indexing_slicing,
    reason = "rows are below the batch's length, checked by the callers"
)]
pub fn write(
    column: &Column,
    row: usize,
    settings: &FormatSettings,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match &column.values {
        Values::Null => {}
        Values::Bool(values) => out.put_u8(if values.value(row) { b't' } else { b'f' }),
        Values::Int2(values) => put_integer(values[row], out),
        Values::Int4(values) => put_integer(values[row], out),
        Values::Int8(values) => put_integer(values[row], out),
        Values::Oid(values) => put_integer(values[row] as u32, out),
        Values::Regproc(values) => match values[row] as u32 {
            0 => out.put_u8(b'-'),
            oid => match procedures::by_oid(oid) {
                Some(function) => out.put_slice(function.name.as_bytes()),
                None => put_integer(oid, out),
            },
        },
        Values::Float4(values) => float::write_f32(values[row], settings.extra_float_digits, out),
        Values::Float8(values) => float::write_f64(values[row], settings.extra_float_digits, out),
        Values::Numeric {
            values,
            scale,
            trim,
        } => {
            Digits::of_i128(values[row]).write_text(*scale, *trim, out);
        }
        Values::WideNumeric {
            values,
            scale,
            trim,
        } => {
            Digits::of_i256(values[row]).write_text(*scale, *trim, out);
        }
        Values::Text(strings, kind) => {
            let text = strings.value(row);
            out.put_slice(text.as_bytes());
            if let TextKind::Padded(width) = kind {
                let missing = (*width as usize).saturating_sub(text.chars().count());
                out.put_bytes(b' ', missing);
            }
        }
        Values::Bytea(bytes) => write_bytea(bytes.value(row), settings.bytea_output, out),
        Values::Date(values) => datetime::write_date(values[row], settings.date_style, out),
        Values::Time(values) => datetime::write_time(values[row], out),
        Values::Timestamp { values, zoned } => {
            let zone = zoned.then_some(settings.time_zone);
            datetime::write_timestamp(values[row], settings.date_style, zone, out);
        }
        Values::Interval(values) => {
            interval::write_interval(values[row], settings.interval_style, out);
        }
        Values::List {
            offsets, elements, ..
        } => {
            let rows = offsets[row] as usize..offsets[row + 1] as usize;
            nested::write_array(elements, rows, settings, out)?;
        }
        Values::Record(columns) => nested::write_record(columns, row, settings, out)?,
    }
    Ok(())
}

fn put_integer(value: impl itoa::Integer, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_bytea(bytes: &[u8], output: ByteaOutput, out: &mut BytesMut) {
    match output {
        ByteaOutput::Hex => {
            out.reserve(2 + 2 * bytes.len());
            out.put_slice(b"\\x");
            let digit = |half: u8| {
                if half < 10 {
                    b'0' + half
                } else {
                    b'a' - 10 + half
                }
            };
            for byte in bytes {
                out.put_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
        ByteaOutput::Escape => {
            for byte in bytes {
                match byte {
                    b'\\' => out.put_slice(b"\\\\"),
                    b' '..=b'~' => out.put_u8(*byte),
                    _ => out.put_slice(&[
                        b'\\',
                        b'0' + (byte >> 6),
                        b'0' + (byte >> 3 & 7),
                        b'0' + (byte & 7),
                    ]),
                }
            }
        }
    }
}
