//! Text form of arrays and records, and the binary form of arrays.
//!
//! Owns PostgreSQL's quoting rules for elements and the header of binary arrays. Elements are printed by
//! `text` and `binary`; nothing here knows their types.

use std::ops::Range;

use bytes::BytesMut;

use super::column::{Column, Values};
use super::settings::FormatSettings;
use super::{EncodeError, binary, text};
use crate::pgwire::append::Append;

/// PostgreSQL's limit of array dimensions (`MAXDIM`).
const DIMENSIONS_MAX: usize = 6;

/// Writes the elements `rows` as `{1,NULL,"a b"}`.
pub fn write_array(
    elements: &Column,
    rows: Range<usize>,
    settings: &FormatSettings,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let nested = matches!(elements.values, Values::List { .. });
    out.put_u8(b'{');
    let first = rows.start;
    for row in rows {
        if row != first {
            out.put_u8(b',');
        }
        if elements.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        let start = out.len();
        text::write(elements, row, settings, out)?;
        if !nested {
            quote_element(start, out);
        }
    }
    out.put_u8(b'}');
    Ok(())
}

fn quote_element(start: usize, out: &mut BytesMut) {
    let element = out.get(start..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(*byte);
    if element.is_empty() || element.eq_ignore_ascii_case(b"NULL") || element.iter().any(special) {
        // Elements escape with a backslash.
        quote(start, |_| b'\\', out);
    }
}

/// Puts what follows `start` in quotes; `escape` tells the byte in front of a quote or backslash.
fn quote(start: usize, escape: impl Fn(u8) -> u8, out: &mut BytesMut) {
    let text = out.get(start..).unwrap_or_default();
    let escapes = text
        .iter()
        .filter(|byte| matches!(byte, b'"' | b'\\'))
        .count();
    let length = text.len();
    out.put_bytes(b'"', escapes + 2);
    let Some(area) = out.get_mut(start..) else {
        return;
    };
    // Shifted in place from the back: the last byte is the closing quote already.
    let mut target = area.len().saturating_sub(1);
    let mut put = |area: &mut [u8], byte: u8| {
        target -= 1;
        if let Some(slot) = area.get_mut(target) {
            *slot = byte;
        }
    };
    for source in (0..length).rev() {
        let byte = area.get(source).copied().unwrap_or_default();
        put(area, byte);
        if matches!(byte, b'"' | b'\\') {
            put(area, escape(byte));
        }
    }
    put(area, b'"');
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Writes a record as `(1,"a b",)`; a NULL field is empty.
pub fn write_record(
    columns: &[Column],
    row: usize,
    settings: &FormatSettings,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    out.put_u8(b'(');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        if column.is_null(row) {
            continue;
        }
        let start = out.len();
        text::write(column, row, settings, out)?;
        let field = out.get(start..).unwrap_or_default();
        let special =
            |byte: &u8| matches!(byte, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*byte);
        if field.is_empty() || field.iter().any(special) {
            // Fields double what they escape.
            quote(start, |byte| byte, out);
        }
    }
    out.put_u8(b')');
    Ok(())
}

/// Writes the elements `rows` in PostgreSQL's binary array form, without a length in front.
///
/// # Errors
/// 2202E for nested lists of differing lengths, 54000 for more than six dimensions.
pub fn write_binary_array(
    elements: &Column,
    rows: Range<usize>,
    element_oid: u32,
    settings: &FormatSettings,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut lengths = Vec::new();
    let leaf = shape(elements, rows.clone(), &mut lengths)?;
    let (leaf_column, leaf_rows) = leaf;
    if leaf_rows.is_empty() {
        lengths.clear();
    }
    if lengths.len() > DIMENSIONS_MAX {
        return Err(EncodeError::new(
            "54000",
            "number of array dimensions exceeds the maximum allowed (6)",
        ));
    }
    let has_null = leaf_rows.clone().any(|row| leaf_column.is_null(row));
    write_binary_header(&lengths, 1, has_null, element_oid, out)?;
    for row in leaf_rows {
        binary::write_field(leaf_column, row, settings, out)?;
    }
    Ok(())
}

/// Writes the header of a binary array: dimensions, whether it has NULLs, element type, and for each
/// dimension its length and lower bound.
pub fn write_binary_header(
    lengths: &[usize],
    lower_bound: i32,
    has_null: bool,
    element_oid: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    out.put_i32(lengths.len() as i32);
    out.put_i32(i32::from(has_null));
    out.put_u32(element_oid);
    for length in lengths {
        out.put_i32(i32::try_from(*length).map_err(|_| EncodeError::too_long())?);
        out.put_i32(lower_bound);
    }
    Ok(())
}

/// Collects the length of each dimension; returns the innermost elements.
fn shape<'a>(
    elements: &'a Column,
    rows: Range<usize>,
    lengths: &mut Vec<usize>,
) -> Result<(&'a Column, Range<usize>), EncodeError> {
    lengths.push(rows.len());
    let Values::List {
        offsets,
        elements: inner,
        ..
    } = &elements.values
    else {
        return Ok((elements, rows));
    };
    let ragged = || {
        EncodeError::new(
            "2202E",
            "multidimensional arrays must have array expressions with matching dimensions",
        )
    };
    // Lists of neighbouring rows lie one behind the other, so all inner elements are one range.
    let mut bounds = offsets.iter().map(|offset| *offset as usize);
    let mut start = bounds.nth(rows.start).unwrap_or(0);
    let first = start;
    let mut length = None;
    for (row, end) in rows.clone().zip(bounds) {
        if elements.is_null(row) || *length.get_or_insert(end - start) != end - start {
            return Err(ragged());
        }
        start = end;
    }
    if rows.is_empty() {
        return Ok((inner, 0..0));
    }
    let mut inner_lengths = Vec::new();
    let leaf = shape(inner, first..start, &mut inner_lengths)?;
    // `shape` counted the inner elements of all rows; each row has its share of them.
    if let Some(count) = inner_lengths.first_mut() {
        *count = length.unwrap_or(0);
    }
    lengths.extend(inner_lengths);
    Ok(leaf)
}
