//! The binary format of COPY: a signature, tuples of the types' binary forms, a trailer.
//!
//! ```text
//! "PGCOPY\n" ff 0d 0a 00   flags (u32)   length of an extension (u32), the extension
//! for each row: number of fields (i16), for each field its length (i32, -1 for NULL) and its bytes
//! ff ff
//! ```
//!
//! As PostgreSQL does, the signature comes in one message with the first row.

use arrow::array::RecordBatch;
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use super::super::decode::{InputSettings, ValueError};
use super::RECORD_BYTES_MAX;
use super::reader::{CopyError, Rows};
use crate::pgwire::append::Append;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Number of fields that ends the data.
const TRAILER: i16 = -1;

/// Flag of files with OIDs of rows, which PostgreSQL 12 and later do not read either.
const FLAG_OIDS: u32 = 1 << 16;
/// Flags whose meaning a reader must know.
const FLAGS_CRITICAL: u32 = 0xffff_0000;

/// Appends what stands before the first row.
pub(super) fn put_header(out: &mut BytesMut) {
    out.put_slice(SIGNATURE);
    out.put_u32(0);
    out.put_u32(0);
}

/// Appends what stands behind the last row.
pub(super) fn put_trailer(out: &mut BytesMut) {
    out.put_i16(TRAILER);
}

/// Reads the data of a COPY FROM in binary form.
pub(super) struct BinaryReader {
    pending: Vec<u8>,
    stage: Stage,
    rows: Rows,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Rows,
    Ended,
}

/// Bytes that have come, read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The next bytes, if they are all there.
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

impl BinaryReader {
    pub(super) fn new(
        relation: &str,
        columns: &[(String, SqlType)],
        settings: &InputSettings,
        rows_max: usize,
    ) -> Self {
        Self {
            pending: Vec::new(),
            stage: Stage::Header,
            rows: Rows::new(relation, columns, settings, rows_max, |_| (false, false)),
        }
    }

    #[cfg(test)]
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<RecordBatch>, CopyError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut batches = Vec::new();
        let mut rest = Input(&pending);
        while let Some(after) = self.step(Input(rest.0))? {
            rest = after;
            if self.rows.is_full() {
                batches.push(self.rows.take_batch()?);
            }
        }
        if rest.0.len() > RECORD_BYTES_MAX {
            return Err(self.error("54000", "row of COPY data is too long"));
        }
        let consumed = pending.len() - rest.0.len();
        pending.drain(..consumed);
        self.pending = pending;
        Ok(batches)
    }

    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, CopyError> {
        match self.stage {
            Stage::Header => Err(self.error("22P04", "COPY file signature not recognized")),
            Stage::Rows if !self.pending.is_empty() => {
                Err(self.error("22P04", "unexpected EOF in COPY data"))
            }
            // As in PostgreSQL, the end of the data after a whole row is as good as the trailer; ADBC sends none.
            Stage::Rows | Stage::Ended if self.rows.is_empty() => Ok(None),
            Stage::Rows | Stage::Ended => self.rows.take_batch().map(Some),
        }
    }

    /// Reads the header, a row or the trailer; `None` if it has not come whole.
    fn step<'a>(&mut self, mut input: Input<'a>) -> Result<Option<Input<'a>>, CopyError> {
        let whole = match self.stage {
            Stage::Header => self.header(&mut input)?,
            Stage::Rows => self.row(&mut input)?,
            Stage::Ended if input.0.is_empty() => return Ok(None),
            Stage::Ended => {
                return Err(self.error("22P04", "received copy data after EOF marker"));
            }
        };
        Ok(whole.then_some(input))
    }

    fn header(&mut self, input: &mut Input<'_>) -> Result<bool, CopyError> {
        let seen = input.0.len().min(SIGNATURE.len());
        if input.0.get(..seen) != SIGNATURE.get(..seen) {
            return Err(self.error("22P04", "COPY file signature not recognized"));
        }
        let (Some(_), Some(flags), Some(length)) = (
            input.take(SIGNATURE.len()),
            input.array().map(u32::from_be_bytes),
            input.array().map(i32::from_be_bytes),
        ) else {
            return Ok(false);
        };
        if flags & FLAG_OIDS != 0 {
            return Err(self.error("22P04", "invalid COPY file header (WITH OIDS)"));
        }
        if flags & FLAGS_CRITICAL != 0 {
            let message = "unrecognized critical flags in COPY file header";
            return Err(self.error("22P04", message));
        }
        let Ok(length) = usize::try_from(length) else {
            return Err(self.error("22P04", "invalid COPY file header (missing length)"));
        };
        if input.take(length).is_none() {
            return Ok(false);
        }
        self.stage = Stage::Rows;
        Ok(true)
    }

    fn row(&mut self, input: &mut Input<'_>) -> Result<bool, CopyError> {
        let Some(count) = input.array().map(i16::from_be_bytes) else {
            return Ok(false);
        };
        if count == TRAILER {
            self.stage = Stage::Ended;
            return Ok(true);
        }
        self.rows.next_line();
        let expected = self.rows.width();
        if usize::try_from(count).ok() != Some(expected) {
            let message = format!("row field count is {count}, expected {expected}");
            return Err(self.error("22P04", &message));
        }
        // A row that has not come whole is read again from its beginning, so nothing is kept of it.
        let mut fields = Vec::with_capacity(expected);
        for _ in 0..expected {
            let Some(length) = input.array().map(i32::from_be_bytes) else {
                return Ok(self.incomplete());
            };
            let field = match usize::try_from(length) {
                Ok(length) => match input.take(length) {
                    Some(bytes) => Some(bytes),
                    None => return Ok(self.incomplete()),
                },
                Err(_) if length == -1 => None,
                Err(_) => return Err(self.error("22P04", "invalid field size")),
            };
            fields.push(field);
        }
        self.rows.append_binary(&fields)?;
        Ok(true)
    }

    fn incomplete(&mut self) -> bool {
        self.rows.same_line();
        false
    }

    fn error(&self, code: &'static str, message: &str) -> CopyError {
        self.rows.at_row(ValueError::new(code, message))
    }
}
