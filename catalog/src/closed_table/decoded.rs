//! Rows of files that lookups by key have decoded, kept in memory.
//!
//! One row of a Parquet file costs the decompression of a page of each column, and of the dictionaries. A lookup that comes back to
//! the neighbourhood finds it decoded. Files never change, so what was decoded once stays true. It is kept as one definition of
//! the table sees it, and no other finds it.
//!
//! All tables share one bound on memory. Bulk reads neither look here nor leave anything.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Result;
use super::read::{FileReader, RowsToRead};

/// Bytes of decoded rows kept.
const CACHE_BYTES: u64 = 256 << 20;

/// Stretches that are expected to fit, which sizes the cache's tables.
const CACHE_STRETCHES: usize = 1 << 12;

/// Memory that an entry takes beside its rows.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// Rows of a stretch of whole rows at the most, and bytes of them that are decoded for one row.
const STRETCH_ROWS_MAX: u32 = 1024;
const STRETCH_BYTES: u64 = 256 << 10;

static DECODED: LazyLock<Cache<Stretch, RecordBatch, ByBytes>> =
    LazyLock::new(|| Cache::with_weighter(CACHE_STRETCHES, CACHE_BYTES, ByBytes));

/// Which columns of a table are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Columns {
    /// Those of the key, in its order.
    Key,
    All,
}

/// What a table is seen as, once for each definition of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seen(u64);

impl Seen {
    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Rows of a file that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stretch {
    seen: Seen,
    file: Box<str>,
    columns: Columns,
    rows: Range<u32>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Stretch, RecordBatch> for ByBytes {
    fn weight(&self, _: &Stretch, rows: &RecordBatch) -> u64 {
        ENTRY_OVERHEAD_BYTES + rows.get_array_memory_size() as u64
    }
}

impl FileReader {
    /// The rows around one, and the number of the first of them.
    pub(super) async fn around(&self, row: u32) -> Result<(u32, RecordBatch)> {
        let groups = self.footer().metadata().row_groups();
        let rows: i64 = groups.iter().map(|group| group.num_rows()).sum();
        let bytes: i64 = groups.iter().map(|group| group.total_byte_size()).sum();
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let of_row = u64::try_from(bytes).unwrap_or_default() / u64::from(rows).max(1);
        let fit = u32::try_from(STRETCH_BYTES / of_row.max(1)).unwrap_or(u32::MAX);
        let length = fit.clamp(1, STRETCH_ROWS_MAX);
        let start = row - row % length;
        let end = start.saturating_add(length).min(rows);
        Ok((start, self.decoded(Columns::All, start..end).await?))
    }

    /// Rows that follow each other, deleted ones among them.
    pub(super) async fn decoded(&self, columns: Columns, rows: Range<u32>) -> Result<RecordBatch> {
        let stretch = Stretch {
            seen: self.layout().seen,
            file: self.file().path().into(),
            columns,
            rows: rows.clone(),
        };
        let decoding = DECODED.get_or_insert_async(&stretch, self.decode(columns, rows));
        decoding.await
    }

    async fn decode(&self, columns: Columns, rows: Range<u32>) -> Result<RecordBatch> {
        let spec = &self.layout().spec;
        let columns = match columns {
            Columns::Key => spec.key.clone(),
            Columns::All => (0..spec.schema.fields().len()).collect(),
        };
        let batches = self.read(&columns, Some(self.stretch(&rows)))?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let schema = Arc::new(spec.schema.project(&columns)?);
        Ok(concat_batches(&schema, &batches)?)
    }

    fn stretch(&self, rows: &Range<u32>) -> RowsToRead {
        let mut row_groups = Vec::new();
        let mut selectors = Vec::new();
        let mut start = 0_u32;
        for (position, group) in self.footer().metadata().row_groups().iter().enumerate() {
            let end = start.saturating_add(u32::try_from(group.num_rows()).unwrap_or(u32::MAX));
            let (from, to) = (rows.start.max(start), rows.end.min(end));
            if from < to {
                row_groups.push(position);
                selectors.push(RowSelector::skip((from - start) as usize));
                selectors.push(RowSelector::select((to - from) as usize));
                selectors.push(RowSelector::skip((end - to) as usize));
            }
            start = end;
        }
        RowsToRead {
            row_groups,
            selection: RowSelection::from(selectors),
        }
    }
}
