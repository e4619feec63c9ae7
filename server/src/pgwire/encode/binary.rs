//! Binary form of every type, as the `*send` functions of PostgreSQL write it.
//!
//! Owns the dispatch from a typed column to big-endian bytes with their length in front. Values move from
//! Arrow's epoch (1970) to PostgreSQL's (2000) here.

use std::net::IpAddr;

use arrow::array::ArrayRef;
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use super::calendar::{PG_EPOCH_DAYS, PG_EPOCH_US};
use super::column::{Column, TextKind, Values};
use super::numeric::Digits;
use super::settings::FormatSettings;
use super::{EncodeError, nested, patch_length, text};
use crate::pgwire::append::Append;

/// Version byte in front of a binary `jsonb`.
const JSONB_VERSION: u8 = 1;

/// A column ready to write its values in binary form.
pub struct BinaryColumn {
    column: Column,
    settings: FormatSettings,
}

impl BinaryColumn {
    /// Prepares an array of `ty`; errors as [`TextColumn::new`](super::TextColumn::new).
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

    /// Appends length and bytes of `row`; the length of NULL is -1.
    #[inline]
    pub fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        write_field(&self.column, row, &self.settings, out)
    }
}

fn put_4(value: [u8; 4], out: &mut BytesMut) {
    let [a, b, c, d] = value;
    out.put_slice(&[0, 0, 0, 4, a, b, c, d]);
}

fn put_8(value: [u8; 8], out: &mut BytesMut) {
    let [a, b, c, d, e, f, g, h] = value;
    out.put_slice(&[0, 0, 0, 8, a, b, c, d, e, f, g, h]);
}

/// Appends length and bytes of `row`; the length of NULL is -1.
#[allow(
    clippy::indexing_slicing,
    reason = "rows are below the batch's length, checked by the callers"
)]
pub fn write_field(
    column: &Column,
    row: usize,
    settings: &FormatSettings,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if column.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    match &column.values {
        Values::Null => out.put_i32(-1),
        Values::Bool(values) => out.put_slice(&[0, 0, 0, 1, u8::from(values.value(row))]),
        Values::Int2(values) => {
            let [high, low] = values[row].to_be_bytes();
            out.put_slice(&[0, 0, 0, 2, high, low]);
        }
        Values::Int4(values) | Values::Oid(values) | Values::Regproc(values) => {
            put_4(values[row].to_be_bytes(), out);
        }
        Values::Int8(values) => put_8(values[row].to_be_bytes(), out),
        Values::Float4(values) => put_4(values[row].to_be_bytes(), out),
        Values::Float8(values) => put_8(values[row].to_be_bytes(), out),
        Values::Date(values) => {
            let days = match values[row] {
                infinite @ (i32::MAX | i32::MIN) => infinite,
                days => days
                    .checked_sub(PG_EPOCH_DAYS)
                    .ok_or_else(|| EncodeError::new("22008", "date out of range"))?,
            };
            put_4(days.to_be_bytes(), out);
        }
        Values::Time(values) => put_8(values[row].to_be_bytes(), out),
        Values::Timestamp { values, .. } => {
            let us = match values[row] {
                infinite @ (i64::MAX | i64::MIN) => infinite,
                us => us
                    .checked_sub(PG_EPOCH_US)
                    .ok_or_else(|| EncodeError::new("22008", "timestamp out of range"))?,
            };
            put_8(us.to_be_bytes(), out);
        }
        Values::Interval(values) => {
            let value = values[row];
            out.put_i32(16);
            out.put_i64(value.nanoseconds / 1_000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        Values::Numeric {
            values,
            scale,
            trim,
        } => {
            return framed(out, |out| {
                Digits::of_i128(values[row]).write_binary(*scale, *trim, out);
                Ok(())
            });
        }
        Values::WideNumeric {
            values,
            scale,
            trim,
        } => {
            return framed(out, |out| {
                Digits::of_i256(values[row]).write_binary(*scale, *trim, out);
                Ok(())
            });
        }
        Values::Bytea(bytes) => {
            let bytes = bytes.value(row);
            out.put_i32(i32::try_from(bytes.len()).map_err(|_| EncodeError::too_long())?);
            out.put_slice(bytes);
        }
        Values::Text(strings, kind) => {
            return framed(out, |out| {
                write_string(column, strings.value(row), *kind, row, settings, out)
            });
        }
        Values::List {
            offsets,
            elements,
            element_oid,
        } => {
            let rows = offsets[row] as usize..offsets[row + 1] as usize;
            return framed(out, |out| {
                // A map has a text type, so its binary form is its text.
                if matches!(elements.values, Values::Record(_)) {
                    nested::write_array(elements, rows, settings, out)
                } else {
                    nested::write_binary_array(elements, rows, *element_oid, settings, out)
                }
            });
        }
        // A record's column is described as text.
        Values::Record(columns) => {
            return framed(out, |out| nested::write_record(columns, row, settings, out));
        }
    }
    Ok(())
}

/// Puts the length of what `write` appends in front of it.
fn framed(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_i32(0);
    write(out)?;
    patch_length(out, start, 4)
}

/// `inet_send`: family, bits of the network, whether it is a `cidr`, and the address behind its length.
fn write_address(value: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    const IPV4: u8 = 2;
    const IPV6: u8 = 3;
    match value.parse() {
        Ok(IpAddr::V4(address)) => {
            out.put_slice(&[IPV4, 32, 0, 4]);
            out.put_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            out.put_slice(&[IPV6, 128, 0, 16]);
            out.put_slice(&address.octets());
        }
        Err(_) => {
            let message = format!("invalid input syntax for type inet: \"{value}\"");
            return Err(EncodeError::new("22P02", message));
        }
    }
    Ok(())
}

fn write_string(
    column: &Column,
    value: &str,
    kind: TextKind,
    row: usize,
    settings: &FormatSettings,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match kind {
        TextKind::Plain => out.put_slice(value.as_bytes()),
        TextKind::Padded(_) => return text::write(column, row, settings, out),
        TextKind::Jsonb => {
            out.put_u8(JSONB_VERSION);
            out.put_slice(value.as_bytes());
        }
        TextKind::Uuid => {
            let bits = value
                .bytes()
                .filter(|byte| *byte != b'-')
                .try_fold((0_u128, 0_u32), |(bits, count), byte| {
                    let digit = char::from(byte).to_digit(16)?;
                    Some(((bits << 4) | u128::from(digit), count + 1))
                })
                .filter(|(_, count)| *count == 32);
            let (bits, _) = bits.ok_or_else(|| {
                EncodeError::new(
                    "22P02",
                    format!("invalid input syntax for type uuid: \"{value}\""),
                )
            })?;
            out.put_slice(&bits.to_be_bytes());
        }
        TextKind::Inet => write_address(value, out)?,
        TextKind::Int2vector | TextKind::Oidvector => {
            let items = value.split_ascii_whitespace();
            let oid = if kind == TextKind::Int2vector {
                SqlType::Int2
            } else {
                SqlType::Oid
            }
            .oid();
            // Unlike arrays these vectors count from 0.
            nested::write_binary_header(&[items.clone().count()], 0, false, oid, out)?;
            for item in items {
                let number: i64 = item.parse().map_err(|_| {
                    EncodeError::new(
                        "22P02",
                        format!("invalid input syntax for type oid: \"{item}\""),
                    )
                })?;
                if kind == TextKind::Int2vector {
                    out.put_i32(2);
                    out.put_i16(number as i16);
                } else {
                    put_4((number as u32).to_be_bytes(), out);
                }
            }
        }
    }
    Ok(())
}
