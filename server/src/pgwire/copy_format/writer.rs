//! COPY TO: record batches to lines, or to tuples of the binary format.
//!
//! Owns the order of header, fields and line ends. It never frames messages and never ends the data.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use super::super::encode::{BinaryColumn, EncodeError, FormatSettings, TextColumn};
use super::{CopyFormat, CopyOptions, Dialect, Header, binary, csv, text};
use crate::pgwire::append::Append;

/// Writes the lines of one COPY TO.
#[derive(Debug)]
pub struct CopyWriter {
    dialect: Dialect,
    header: bool,
    columns: Vec<Column>,
    settings: FormatSettings,
}

#[derive(Debug)]
struct Column {
    name: String,
    ty: SqlType,
    force_quote: bool,
}

impl CopyWriter {
    /// A writer of batches of `schema`; `options` must be validated.
    pub fn new(options: &CopyOptions, schema: &Schema, settings: FormatSettings) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                ty: SqlType::of_field(field),
                force_quote: options.force_quote.contains(field.name()),
            })
            .collect();
        let header = options.header != Header::No;
        Self {
            dialect: options.dialect(),
            header,
            columns,
            settings,
        }
    }

    /// Appends the line of column names, if the options ask for one.
    pub fn header(&self, out: &mut BytesMut) {
        if !self.header {
            return;
        }
        let mut scratch = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            self.delimit(index, out);
            let start = out.len();
            out.put_slice(column.name.as_bytes());
            self.protect(start, false, &mut scratch, out);
        }
        out.put_u8(b'\n');
    }

    /// Appends what stands before the first row of the binary format.
    pub fn signature(&self, out: &mut BytesMut) {
        if self.dialect.format == CopyFormat::Binary {
            binary::put_header(out);
        }
    }

    /// Appends what stands behind the last row of the binary format.
    pub fn trailer(&self, out: &mut BytesMut) {
        if self.dialect.format == CopyFormat::Binary {
            binary::put_trailer(out);
        }
    }

    /// The rows of a batch, ready to be written.
    ///
    /// # Errors
    /// As [`RowEncoder::encode`](super::super::encode::RowEncoder::encode).
    pub fn rows<'a>(&'a self, batch: &RecordBatch) -> Result<CopyRows<'a>, EncodeError> {
        let is_binary = self.dialect.format == CopyFormat::Binary;
        let columns = batch.columns().iter().zip(&self.columns);
        let columns = columns.map(|(array, column)| {
            let (ty, settings) = (&column.ty, &self.settings);
            Ok(match is_binary {
                true => Values::Binary(BinaryColumn::new(array, ty, settings)?),
                false => {
                    let quoting = match (column.force_quote, self.dialect.spares(ty)) {
                        (true, _) => Quoting::Always,
                        (false, true) => Quoting::Never,
                        (false, false) => Quoting::Where,
                    };
                    Values::Text(TextColumn::new(array, ty, settings)?, quoting)
                }
            })
        });
        Ok(CopyRows {
            writer: self,
            columns: columns.collect::<Result<_, EncodeError>>()?,
            scratch: Vec::new(),
        })
    }

    fn delimit(&self, index: usize, out: &mut BytesMut) {
        if index > 0 {
            out.put_u8(self.dialect.delimiter);
        }
    }

    /// Quotes or escapes what was appended since `start`.
    fn protect(&self, start: usize, force: bool, scratch: &mut Vec<u8>, out: &mut BytesMut) {
        match self.dialect.format {
            CopyFormat::Text | CopyFormat::Binary => {
                text::escape_from(start, &self.dialect, scratch, out)
            }
            CopyFormat::Csv => {
                let only_column = self.columns.len() == 1;
                csv::quote_from(start, force, only_column, &self.dialect, scratch, out);
            }
        }
    }
}

/// The rows of one batch.
pub struct CopyRows<'a> {
    writer: &'a CopyWriter,
    columns: Vec<Values>,
    scratch: Vec<u8>,
}

enum Values {
    Text(TextColumn, Quoting),
    Binary(BinaryColumn),
}

/// Whether text is quoted or escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Always,
    /// Where it has to be.
    Where,
    /// It never has to be.
    Never,
}

/// Whether a byte can be in the text of numbers, dates and times.
fn is_of_numbers(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" +-./:".contains(&byte)
}

impl Dialect {
    /// Whether the text of a type has nothing in it that would have to be quoted or escaped.
    fn spares(&self, ty: &SqlType) -> bool {
        let of_numbers = matches!(
            ty,
            SqlType::Bool
                | SqlType::Int2
                | SqlType::Int4
                | SqlType::Int8
                | SqlType::Float4
                | SqlType::Float8
                | SqlType::Numeric(_)
                | SqlType::Date
                | SqlType::Time
                | SqlType::Timestamp
                | SqlType::Timestamptz
        );
        let null = self.null.as_bytes();
        let is_null = !null.is_empty() && null.iter().all(|byte| is_of_numbers(*byte));
        of_numbers && !is_null && !is_of_numbers(self.delimiter) && !is_of_numbers(self.quote)
    }
}

impl CopyRows<'_> {
    /// Appends a row: a line, or in the binary format a tuple.
    ///
    /// # Errors
    /// As [`RowEncoder::encode`](super::super::encode::RowEncoder::encode).
    pub fn write(&mut self, row: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let writer = self.writer;
        let is_binary = writer.dialect.format == CopyFormat::Binary;
        if is_binary {
            let count = i16::try_from(self.columns.len());
            out.put_i16(count.map_err(|_| EncodeError::too_many_columns())?);
        }
        for (index, column) in self.columns.iter().enumerate() {
            match column {
                Values::Binary(column) => column.write(row, out)?,
                Values::Text(column, quoting) => {
                    writer.delimit(index, out);
                    let start = out.len();
                    if !column.write(row, out)? {
                        out.put_slice(writer.dialect.null.as_bytes());
                    } else if *quoting != Quoting::Never {
                        let force = *quoting == Quoting::Always;
                        writer.protect(start, force, &mut self.scratch, out);
                    }
                }
            }
        }
        if !is_binary {
            out.put_u8(b'\n');
        }
        Ok(())
    }
}
