//! COPY TO: record batches to lines.
//!
//! Owns the order of header, fields and line ends. It never frames messages and never ends the data.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::{BufMut, BytesMut};
use nyala_catalog::types::SqlType;

use super::super::encode::{EncodeError, FormatSettings, TextColumn};
use super::{CopyFormat, CopyOptions, Dialect, Header, csv, text};

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

    /// Appends one line for each row of `batch`.
    ///
    /// # Errors
    /// As [`RowEncoder::encode`](super::super::encode::RowEncoder::encode).
    pub fn write_batch(&self, batch: &RecordBatch, out: &mut BytesMut) -> Result<(), EncodeError> {
        let columns = batch
            .columns()
            .iter()
            .zip(&self.columns)
            .map(|(array, column)| {
                let text = TextColumn::new(array, &column.ty, &self.settings)?;
                Ok((text, column.force_quote))
            })
            .collect::<Result<Vec<_>, EncodeError>>()?;
        let mut scratch = Vec::new();
        for row in 0..batch.num_rows() {
            for (index, (column, force)) in columns.iter().enumerate() {
                self.delimit(index, out);
                let start = out.len();
                if column.write(row, out)? {
                    self.protect(start, *force, &mut scratch, out);
                } else {
                    out.put_slice(self.dialect.null.as_bytes());
                }
            }
            out.put_u8(b'\n');
        }
        Ok(())
    }

    fn delimit(&self, index: usize, out: &mut BytesMut) {
        if index > 0 {
            out.put_u8(self.dialect.delimiter);
        }
    }

    /// Quotes or escapes what was appended since `start`.
    fn protect(&self, start: usize, force: bool, scratch: &mut Vec<u8>, out: &mut BytesMut) {
        match self.dialect.format {
            CopyFormat::Text => text::escape_from(start, &self.dialect, scratch, out),
            CopyFormat::Csv => {
                let only_column = self.columns.len() == 1;
                csv::quote_from(start, force, only_column, &self.dialect, scratch, out);
            }
        }
    }
}
