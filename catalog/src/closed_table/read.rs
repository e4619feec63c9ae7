//! Reading single files of a version outside a query plan: for key probes and rewrites.
//!
//! Footers with their page index, and bloom filters, are kept in bounded caches of the table:
//! files never change, so what was read once stays true.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::bloom_filter::Sbbf;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use roaring::RoaringBitmap;

use super::version::LiveFile;
use super::{ClosedTableError, Layout, Result};

/// Bytes of footers and of bloom filters kept for one table. Key probes of a table of some thousand files read each
/// of them once, which matters where a read is a request to an object store.
const FOOTER_BYTES_CACHED_MAX: usize = 128 << 20;
const BLOOM_BYTES_CACHED_MAX: usize = 128 << 20;

/// Bytes of a block of a bloom filter, as Parquet has them.
const BLOOM_BLOCK_BYTES: usize = 32;

/// What a cache entry costs beside its value.
const ENTRY_BYTES: usize = 256;

/// Bytes read from a file's end at first: a footer with its page index, mostly.
const FOOTER_BYTES_HINT: usize = 64 << 10;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Which rows of a file to read.
pub(super) struct RowsToRead {
    pub(super) row_groups: Vec<usize>,
    /// Rows within those row groups, taken one after the other.
    pub(super) selection: RowSelection,
}

/// A file's path, a row group and a leaf column of it.
type ColumnChunk = (String, usize, usize);

/// What is kept of a table's files between reads.
#[derive(Default)]
pub(super) struct ReaderCache {
    footers: Mutex<Recent<String, ArrowReaderMetadata>>,
    /// By file, row group and leaf column; `None` where there is no filter.
    blooms: Mutex<Recent<ColumnChunk, Option<Arc<Sbbf>>>>,
    /// Deletion vectors, by their identity. A table that others wrote has a few.
    pub(super) deleted: Mutex<HashMap<String, Arc<RoaringBitmap>>>,
    /// Rows of files whose log entry does not tell.
    pub(super) row_counts: Mutex<HashMap<String, usize>>,
}

/// A map that forgets its oldest entries.
struct Recent<K, V> {
    entries: HashMap<K, V>,
    /// Keys and the sizes of their values, oldest first.
    age: VecDeque<(K, usize)>,
    bytes: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            age: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn insert(&mut self, key: K, value: V, bytes: usize, bytes_max: usize) {
        let bytes = bytes + ENTRY_BYTES;
        // The same file read twice at a time: its footer is the same.
        if self.entries.insert(key.clone(), value).is_none() {
            self.age.push_back((key, bytes));
            self.bytes += bytes;
        }
        while self.bytes > bytes_max {
            let Some((oldest, bytes)) = self.age.pop_front() else {
                break;
            };
            self.entries.remove(&oldest);
            self.bytes -= bytes;
        }
    }
}

/// One file, with its footer.
pub(super) struct FileReader {
    layout: Arc<Layout>,
    file: Arc<LiveFile>,
    footer: ArrowReaderMetadata,
}

impl FileReader {
    pub(super) async fn open(layout: Arc<Layout>, file: Arc<LiveFile>) -> Result<Self> {
        let cached = layout
            .readers
            .footers
            .lock()
            .entries
            .get(file.path())
            .cloned();
        let footer = match cached {
            Some(footer) => footer,
            None => {
                let mut input = Input::new(&layout, &file);
                let footer =
                    ArrowReaderMetadata::load_async(&mut input, ArrowReaderOptions::new()).await?;
                layout.readers.footers.lock().insert(
                    file.path().to_string(),
                    footer.clone(),
                    footer.metadata().memory_size(),
                    FOOTER_BYTES_CACHED_MAX,
                );
                footer
            }
        };
        Ok(Self {
            layout,
            file,
            footer,
        })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn footer(&self) -> &ArrowReaderMetadata {
        &self.footer
    }

    /// The bloom filter of a leaf column in a row group, if the file has one.
    pub(super) async fn bloom_filter(
        &self,
        group: usize,
        leaf: usize,
    ) -> Result<Option<Arc<Sbbf>>> {
        let blooms = &self.layout.readers.blooms;
        let key = (self.file.path().to_string(), group, leaf);
        if let Some(known) = blooms.lock().entries.get(&key) {
            return Ok(known.clone());
        }
        let mut builder = self.builder();
        let filter = builder
            .get_row_group_column_bloom_filter(group, leaf)
            .await?
            .map(Arc::new);
        let bytes = filter
            .as_ref()
            .map_or(0, |filter| filter.num_blocks() * BLOOM_BLOCK_BYTES);
        blooms
            .lock()
            .insert(key, filter.clone(), bytes, BLOOM_BYTES_CACHED_MAX);
        Ok(filter)
    }

    /// Reads columns of the table, as the table has them now.
    pub(super) fn read(
        &self,
        columns: &[usize],
        rows: Option<RowsToRead>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let files = columns
            .iter()
            .filter_map(|at| self.layout.spec.columns.get(*at));
        let wanted: Vec<&str> = files
            .flat_map(|column| column.fields())
            .map(|field| field.name().as_str())
            .collect();
        let parquet_schema = self.footer.parquet_schema();
        let in_file = parquet_schema.root_schema().get_fields().iter().enumerate();
        let roots = in_file
            .filter(|(_, column)| wanted.contains(&column.name()))
            .map(|(index, _)| index);
        let mask = ProjectionMask::roots(parquet_schema, roots);
        let mut builder = self
            .builder()
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        let rows = rows.or_else(|| self.rows_not_deleted());
        if let Some(rows) = rows {
            builder = builder
                .with_row_groups(rows.row_groups)
                .with_row_selection(rows.selection);
        }
        let batches = builder.build()?;
        let layout = Arc::clone(&self.layout);
        let (columns, file) = (columns.to_vec(), Arc::clone(&self.file));
        let in_table = move |batch: Result<RecordBatch>| {
            let constants = file.constants();
            layout.spec.rows_of_table(&columns, constants, &batch?)
        };
        Ok(batches
            .map_err(ClosedTableError::from)
            .map(in_table)
            .boxed())
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &LiveFile {
        &self.file
    }

    /// All rows but deleted ones; `None` if none is deleted.
    fn rows_not_deleted(&self) -> Option<RowsToRead> {
        self.file.deleted()?;
        let groups = self.footer.metadata().row_groups();
        let rows = groups.iter().map(|group| group.num_rows()).sum::<i64>();
        let rows = usize::try_from(rows).unwrap_or_default();
        let all = RowsToRead {
            row_groups: (0..groups.len()).collect(),
            selection: RowSelection::from(vec![RowSelector::select(rows)]),
        };
        Some(self.without_deleted(all))
    }

    /// Takes the deleted rows out of a selection.
    pub(super) fn without_deleted(&self, rows: RowsToRead) -> RowsToRead {
        let Some(deleted) = self.file.deleted() else {
            return rows;
        };
        let mut selectors = Vec::new();
        let mut start = 0_u32;
        for (at, group) in self.footer.metadata().row_groups().iter().enumerate() {
            let end = start.saturating_add(u32::try_from(group.num_rows()).unwrap_or(u32::MAX));
            if rows.row_groups.contains(&at) {
                let mut next = start;
                for row in deleted.range(start..end) {
                    selectors.push(RowSelector::select((row - next) as usize));
                    selectors.push(RowSelector::skip(1));
                    next = row + 1;
                }
                selectors.push(RowSelector::select((end - next) as usize));
            }
            start = end;
        }
        RowsToRead {
            row_groups: rows.row_groups,
            selection: rows.selection.intersection(&RowSelection::from(selectors)),
        }
    }

    fn builder(&self) -> ParquetRecordBatchStreamBuilder<Input> {
        ParquetRecordBatchStreamBuilder::new_with_metadata(
            Input::new(&self.layout, &self.file),
            self.footer.clone(),
        )
    }
}

/// The bytes of one file in the table's store.
pub(super) struct Input {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl Input {
    fn new(layout: &Layout, file: &LiveFile) -> Self {
        Self {
            store: Arc::clone(&layout.store),
            path: file.relative().clone(),
            bytes: file.bytes(),
        }
    }
}

impl Input {
    /// A file by its path below the table's directory, and its size.
    pub(super) fn at(layout: &Layout, path: Path, bytes: u64) -> Self {
        Self {
            store: Arc::clone(&layout.store),
            path,
            bytes,
        }
    }

    /// The footer of the file, without indexes of its pages.
    pub(super) async fn footer(mut self) -> Result<ParquetMetaData> {
        let bytes = self.bytes;
        let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES_HINT));
        Ok(reader.load_and_finish(&mut self, bytes).await?)
    }
}

impl AsyncFileReader for Input {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { Ok(self.store.get_range(&self.path, range).await?) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER_BYTES_HINT));
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}
