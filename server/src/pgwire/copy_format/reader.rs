//! COPY FROM: chunks of bytes to record batches.
//!
//! Owns the search for records over chunk borders, the header, the end marker and the CONTEXT of errors.
//! It never waits for data and never writes a row; how a record splits is in `text` and `csv`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use nyala_catalog::types::SqlType;

use super::super::decode::{ColumnParser, InputSettings, ValueError};
use super::binary::BinaryReader;
use super::text::Field;
use super::{CopyFormat, CopyOptions, Dialect, Header, RECORD_BYTES_MAX, csv, text};

/// Characters of a line or value that a CONTEXT shows.
const CONTEXT_CHARACTERS_MAX: usize = 100;

/// An error with the place in the data where it lies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct CopyError {
    /// What is wrong.
    pub error: ValueError,
    /// CONTEXT line, `COPY t, line 3, column b: "abc"`.
    pub context: Option<String>,
}

/// Reads the data of one COPY FROM; after an error it must be dropped.
pub struct CopyReader(Reader);

enum Reader {
    Lines(LineReader),
    Binary(BinaryReader),
}

/// Reads records of text or CSV.
struct LineReader {
    dialect: Dialect,
    header: Header,
    /// Bytes of a record whose end has not come yet.
    pending: Vec<u8>,
    search: csv::Search,
    /// Whether lines end with CR LF; the first line decides.
    crlf: Option<bool>,
    /// Whether the end marker `\.` was seen.
    ended: bool,
    rows: Rows,
}

/// The rows that are being built.
pub(super) struct Rows {
    relation: String,
    schema: SchemaRef,
    columns: Vec<Column>,
    rows_max: usize,
    count: usize,
    /// Line of the current record, from 1.
    line: u64,
    scratch: Vec<u8>,
}

struct Column {
    name: String,
    parser: ColumnParser,
    force_null: bool,
    force_not_null: bool,
}

impl CopyReader {
    /// A reader of records with `columns`, whose batches have at most `rows_max` rows; `options` must be
    /// validated. `relation` names the table in errors.
    pub fn new(
        options: &CopyOptions,
        relation: &str,
        columns: &[(String, SqlType)],
        settings: &InputSettings,
        rows_max: usize,
    ) -> Self {
        if options.format == CopyFormat::Binary {
            let reader = BinaryReader::new(relation, columns, settings, rows_max);
            return Self(Reader::Binary(reader));
        }
        let force = |name: &str| {
            let (null, not_null) = (&options.force_null, &options.force_not_null);
            (null.contains(name), not_null.contains(name))
        };
        Self(Reader::Lines(LineReader {
            dialect: options.dialect(),
            header: options.header,
            pending: Vec::new(),
            search: csv::Search::default(),
            crlf: None,
            ended: false,
            rows: Rows::new(relation, columns, settings, rows_max, force),
        }))
    }

    /// The schema of the batches: the columns in their order, all nullable.
    #[cfg(test)]
    pub fn schema(&self) -> arrow::datatypes::SchemaRef {
        match &self.0 {
            Reader::Lines(reader) => Arc::clone(&reader.rows.schema),
            Reader::Binary(reader) => Arc::clone(&reader.rows().schema),
        }
    }

    /// Takes the next bytes of the data, cut anywhere; returns the batches they fill.
    ///
    /// # Errors
    /// 22P04 for records that do not fit the columns, and those of values.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<RecordBatch>, CopyError> {
        match &mut self.0 {
            Reader::Lines(reader) => reader.push(bytes),
            Reader::Binary(reader) => reader.push(bytes),
        }
    }

    /// Ends the data; returns the batch of the last rows, if there are any.
    ///
    /// # Errors
    /// As [`CopyReader::push`]; 22P04 also when the data ends inside quotes or, in binary form, inside a row.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, CopyError> {
        match &mut self.0 {
            Reader::Lines(reader) => reader.finish(),
            Reader::Binary(reader) => reader.finish(),
        }
    }
}

impl LineReader {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<RecordBatch>, CopyError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut batches = Vec::new();
        let mut rest = pending.as_slice();
        while !self.ended
            && let Some(end) = self.record_end(rest)
        {
            let Some((record, after)) = rest.split_at_checked(end) else {
                break;
            };
            rest = after.get(1..).unwrap_or_default();
            self.record(record, &mut batches)?;
        }
        if rest.len() > RECORD_BYTES_MAX {
            return Err(self.rows.at_line(
                ValueError::new("54000", "line of COPY data is too long"),
                rest,
            ));
        }
        let consumed = pending.len() - rest.len();
        pending.drain(..consumed);
        self.pending = pending;
        Ok(batches)
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, CopyError> {
        let pending = std::mem::take(&mut self.pending);
        let mut batches = Vec::new();
        if !self.ended && !pending.is_empty() {
            // The last line needs no newline.
            if self.search.in_quotes {
                self.rows.line += 1;
                let error = ValueError::new("22P04", "unterminated CSV quoted field");
                return Err(self.rows.at_line(error, &pending));
            }
            self.record(&pending, &mut batches)?;
        }
        match batches.pop() {
            Some(batch) => Ok(Some(batch)),
            None if self.rows.is_empty() => Ok(None),
            None => self.rows.take_batch().map(Some),
        }
    }

    fn record_end(&mut self, rest: &[u8]) -> Option<usize> {
        match self.dialect.format {
            CopyFormat::Csv => csv::record_end(rest, &self.dialect, &mut self.search),
            CopyFormat::Text | CopyFormat::Binary => {
                let end = text::record_end(rest, self.search.seen);
                // An escaped newline may end the chunk, so the last byte is looked at again.
                self.search.seen = rest.len().saturating_sub(1);
                end
            }
        }
    }

    fn record(&mut self, record: &[u8], batches: &mut Vec<RecordBatch>) -> Result<(), CopyError> {
        let search = std::mem::take(&mut self.search);
        self.rows.line += 1 + search.quoted_newlines;
        let crlf = *self.crlf.get_or_insert(record.ends_with(b"\r"));
        let record = if crlf {
            record.strip_suffix(b"\r").unwrap_or(record)
        } else {
            record
        };
        if record == b"\\." {
            self.ended = true;
            return Ok(());
        }
        if self.dialect.format == CopyFormat::Text && text::has_bare_return(record) {
            let error = ValueError::new("22P04", "literal carriage return found in data")
                .with_detail("Use \"\\r\" to represent carriage return.");
            return Err(self.rows.at_line(error, record));
        }
        if let Err(error) = std::str::from_utf8(record) {
            let bad = record.get(error.valid_up_to()).copied().unwrap_or_default();
            let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}");
            return Err(self.rows.at_line(ValueError::new("22021", message), record));
        }
        match std::mem::take(&mut self.header) {
            Header::No => self.rows.append(record, &self.dialect)?,
            Header::Yes => return Ok(()),
            Header::Match => return self.rows.check_header(record, &self.dialect),
        }
        if self.rows.is_full() {
            batches.push(self.rows.take_batch()?);
        }
        Ok(())
    }
}

fn next_field<'f, 'a: 'f>(
    rest: &mut Option<&'a [u8]>,
    dialect: &Dialect,
    scratch: &'f mut Vec<u8>,
) -> Option<Field<'f>> {
    match dialect.format {
        CopyFormat::Text | CopyFormat::Binary => text::next_field(rest, dialect, scratch),
        CopyFormat::Csv => csv::next_field(rest, dialect, scratch),
    }
}

impl Rows {
    /// No rows yet. `force` says whether FORCE_NULL and FORCE_NOT_NULL name a column.
    pub(super) fn new(
        relation: &str,
        columns: &[(String, SqlType)],
        settings: &InputSettings,
        rows_max: usize,
        force: impl Fn(&str) -> (bool, bool),
    ) -> Self {
        let fields = columns.iter().map(|(name, ty)| ty.field(name, true));
        let fields: Vec<_> = fields.collect();
        let parsers = columns.iter().map(|(name, ty)| {
            let (force_null, force_not_null) = force(name);
            Column {
                name: name.clone(),
                parser: ColumnParser::new(ty, settings),
                force_null,
                force_not_null,
            }
        });
        Self {
            relation: relation.to_string(),
            schema: Arc::new(Schema::new(fields)),
            columns: parsers.collect(),
            rows_max: rows_max.max(1),
            count: 0,
            line: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= self.rows_max
    }

    /// The next record begins.
    pub(super) fn next_line(&mut self) {
        self.line += 1;
    }

    /// The record that has begun will begin again.
    pub(super) fn same_line(&mut self) {
        self.line -= 1;
    }

    /// Appends fields in binary form, one for each column.
    pub(super) fn append_binary(&mut self, fields: &[Option<&[u8]>]) -> Result<(), CopyError> {
        for (column, field) in self.columns.iter_mut().zip(fields) {
            let appended = match field {
                Some(bytes) => column.parser.append_binary(bytes),
                None => {
                    column.parser.append_null();
                    Ok(())
                }
            };
            if let Err(error) = appended {
                let column = &column.name;
                let context = format!(
                    "COPY {}, line {}, column {column}",
                    self.relation, self.line
                );
                return Err(CopyError {
                    error,
                    context: Some(context),
                });
            }
        }
        self.count += 1;
        Ok(())
    }

    /// An error in a record of which nothing can be shown.
    pub(super) fn at_row(&self, error: ValueError) -> CopyError {
        CopyError {
            error,
            context: Some(format!("COPY {}, line {}", self.relation, self.line)),
        }
    }

    /// Appends the fields of a record to the columns.
    fn append(&mut self, record: &[u8], dialect: &Dialect) -> Result<(), CopyError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut rest = Some(record);
        let mut failed = None;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let Some(field) = next_field(&mut rest, dialect, &mut scratch) else {
                let message = format!("missing data for column \"{}\"", column.name);
                return Err(self.at_line(ValueError::new("22P04", message), record));
            };
            if let Err(error) = column.append(field, dialect) {
                let value = (!field.null).then(|| field.value.to_vec());
                failed = Some((index, value, error));
                break;
            }
        }
        if let Some((index, value, error)) = failed {
            return Err(self.at_column(error, index, value.as_deref()));
        }
        if rest.is_some() {
            let error = ValueError::new("22P04", "extra data after last expected column");
            return Err(self.at_line(error, record));
        }
        self.scratch = scratch;
        self.count += 1;
        Ok(())
    }

    fn check_header(&mut self, record: &[u8], dialect: &Dialect) -> Result<(), CopyError> {
        let mut scratch = Vec::new();
        let mut rest = Some(record);
        let mut count = 0;
        let mut mismatch = None;
        while let Some(field) = next_field(&mut rest, dialect, &mut scratch) {
            let got = String::from_utf8_lossy(field.value);
            if let Some(column) = self.columns.get(count)
                && (field.null || got != column.name)
                && mismatch.is_none()
            {
                let shown = if field.null {
                    format!("null value (\"{}\")", dialect.null)
                } else {
                    format!("\"{got}\"")
                };
                mismatch = Some(format!(
                    "column name mismatch in header line field {}: got {shown}, expected \"{}\"",
                    count + 1,
                    column.name
                ));
            }
            count += 1;
        }
        if count != self.columns.len() {
            mismatch = Some(format!(
                "wrong number of fields in header line: got {count}, expected {}",
                self.columns.len()
            ));
        }
        match mismatch {
            Some(message) => Err(self.at_line(ValueError::new("22P04", message), record)),
            None => Ok(()),
        }
    }

    pub(super) fn take_batch(&mut self) -> Result<RecordBatch, CopyError> {
        let arrays = self
            .columns
            .iter_mut()
            .map(|column| column.parser.finish())
            .collect();
        self.count = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| CopyError {
            error: ValueError::new("XX000", error.to_string()),
            context: None,
        })
    }

    fn at_line(&self, error: ValueError, record: &[u8]) -> CopyError {
        let context = format!(
            "COPY {}, line {}: \"{}\"",
            self.relation,
            self.line,
            shown(record)
        );
        CopyError {
            error,
            context: Some(context),
        }
    }

    fn at_column(&self, error: ValueError, index: usize, value: Option<&[u8]>) -> CopyError {
        let name = self
            .columns
            .get(index)
            .map(|column| column.name.as_str())
            .unwrap_or_default();
        let value = match value {
            Some(value) => format!("\"{}\"", shown(value)),
            None => "null input".to_string(),
        };
        let context = format!(
            "COPY {}, line {}, column {name}: {value}",
            self.relation, self.line
        );
        CopyError {
            error,
            context: Some(context),
        }
    }
}

impl Column {
    fn append(&mut self, field: Field<'_>, dialect: &Dialect) -> Result<(), ValueError> {
        let forced_null = self.force_null && field.value == dialect.null.as_bytes();
        if forced_null || (field.null && !self.force_not_null) {
            self.parser.append_null();
            return Ok(());
        }
        // Escapes can build bytes that the record as a whole did not have.
        let text = std::str::from_utf8(field.value).map_err(|error| {
            let bad = field
                .value
                .get(error.valid_up_to())
                .copied()
                .unwrap_or_default();
            let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}");
            ValueError::new("22021", message)
        })?;
        self.parser.append_text(text)
    }
}

/// The beginning of `bytes` for a CONTEXT line.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(CONTEXT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}
