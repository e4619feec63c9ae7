//! Writing rows to Parquet files that no version names yet.
//!
//! In a table that is divided into partitions each file has rows of one: they come sorted by partition, and a file is open at a
//! time, so the number of partitions costs no memory.
//!
//! Files are cut at [`FILE_ROWS_TARGET`] rows or [`FILE_BYTES_TARGET`] bytes, and only between two
//! values of the first key column as long as that is not far off: then neighbouring files do not
//! overlap, which is what lets a scan declare its order. All files are on disk when the
//! call returns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_plan::SendableRecordBatchStream;
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::ParquetMetaData;
use uuid::Uuid;

use crate::turns;

use super::key_order::KeyOrder;
use super::partition::{FilePartition, PARTITION_TAG, Partitioner};
use super::stats::ColumnBounds;
use super::version::{SORTED_TAG, TIMESTAMPS_TAG};
use super::{
    ClosedTable, ClosedTableError, Layout, Result, file_format, partition, row_order, schema, stats,
};

/// Rows and bytes at which a file is full.
pub(super) const FILE_ROWS_TARGET: u64 = 4 * (1 << 20);
pub(super) const FILE_BYTES_TARGET: u64 = 256 << 20;

/// A file may grow to this multiple of its target while a value of the first key column goes on.
const FILE_OVERSHOOT: u64 = 2;

/// Begins the names of own files in a directory that others write to as well.
pub(super) const ADOPTED_PREFIX: &str = "nyala-";

/// A file on disk that waits for the commit that names it.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    pub(super) add: Add,
    rows: u64,
}

impl WrittenFile {
    /// Path within the table's directory.
    pub fn path(&self) -> &str {
        &self.add.path
    }

    /// Rows in the file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Size on disk.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or_default()
    }
}

impl ClosedTable {
    /// Writes rows, which must be sorted by the key, to new files, each of one partition.
    ///
    /// The files are on disk when this returns, and part of the table once [`ClosedTable::commit`]
    /// has named them. On an error the files written so far are removed.
    pub async fn write_files(&self, rows: SendableRecordBatchStream) -> Result<Vec<WrittenFile>> {
        let layout = &self.layout;
        if layout.spec.partition.is_empty() {
            return write_sorted(layout, rows).await;
        }
        let of_table = Arc::clone(layout);
        let rows = rows.map(move |batch| Ok(in_file_schema(&of_table, &batch?)?));
        let rows = row_order::adapted(&layout.file_schema, rows);
        write_sorted(layout, row_order::sorted(layout, vec![rows])?).await
    }

    /// Removes files that will not be committed. What cannot be removed stays as an orphan.
    pub async fn discard(&self, files: &[WrittenFile]) {
        discard(&self.layout, files).await;
    }
}

/// Writes rows that come in the order of files.
pub(super) async fn write_sorted(
    layout: &Arc<Layout>,
    mut rows: SendableRecordBatchStream,
) -> Result<Vec<WrittenFile>> {
    let mut writer = RowWriter::new(Arc::clone(layout))?;
    let written = async {
        while let Some(batch) = rows.try_next().await? {
            writer.write(&batch).await?;
            if !writer.sorted() {
                return Err(ClosedTableError::Invalid {
                    message: format!(
                        "rows for closed table \"{}\" are not sorted by its key",
                        layout.spec.name
                    ),
                });
            }
        }
        Ok(())
    }
    .await;
    writer.close(written).await
}

/// Rows of the table, in the names of files.
pub(super) fn in_file_schema(layout: &Layout, rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = Arc::clone(&layout.file_schema);
    RecordBatch::try_new(schema, rows.columns().to_vec()).map_err(|error| {
        ClosedTableError::Invalid {
            message: format!("rows for closed table \"{}\": {error}", layout.spec.name),
        }
    })
}

async fn discard(layout: &Layout, files: &[WrittenFile]) {
    for file in files {
        let path = Path::from(file.path());
        if let Err(error) = layout.store.delete(&path).await {
            tracing::warn!(table = %layout.spec.name, %path, %error, "file was not removed");
        }
    }
}

/// Writes batches of rows to as many files as they fill.
pub(super) struct RowWriter {
    layout: Arc<Layout>,
    order: KeyOrder,
    partitioner: Option<Partitioner>,
    /// The partition of the rows that are written now.
    partition: Option<FilePartition>,
    open: Option<OpenFile>,
    done: Vec<WrittenFile>,
}

impl RowWriter {
    pub(super) fn new(layout: Arc<Layout>) -> Result<Self> {
        let order = KeyOrder::new(&layout)?;
        let partitioner = Partitioner::new(&layout.spec)?;
        Ok(Self {
            layout,
            order,
            partitioner,
            partition: None,
            open: None,
            done: Vec::new(),
        })
    }

    /// Whether all rows so far came in key order.
    pub(super) fn sorted(&self) -> bool {
        self.order.sorted()
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = in_file_schema(&self.layout, batch)?;
        let Some(partitioner) = &mut self.partitioner else {
            return self.write_rows(rows).await;
        };
        for stretch in partitioner.stretches(&rows)? {
            if let Some(begins) = stretch.begins {
                self.finish_file().await?;
                self.order.restart();
                self.partition = Some(begins);
            }
            let part = rows.slice(stretch.rows.start, stretch.rows.len());
            self.write_rows(part).await?;
        }
        Ok(())
    }

    /// Writes rows of one partition.
    async fn write_rows(&mut self, mut rest: RecordBatch) -> Result<()> {
        if rest.num_rows() == 0 {
            return Ok(());
        }
        if let Some(cut) = self.cut(&rest)? {
            if cut > 0 {
                self.append(&rest.slice(0, cut)).await?;
            }
            self.finish_file().await?;
            rest = rest.slice(cut, rest.num_rows() - cut);
        }
        self.append(&rest).await
    }

    /// Closes the last file and flushes all, or removes all if `outcome` is an error.
    pub(super) async fn close(mut self, outcome: Result<()>) -> Result<Vec<WrittenFile>> {
        let outcome = match outcome {
            Ok(()) => self.flush_all().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                crate::crash_point!("closed_table::files_written");
                Ok(self.done)
            }
            Err(error) => {
                if let Some(open) = self.open.take() {
                    open.abandon().await;
                }
                discard(&self.layout, &self.done).await;
                Err(error)
            }
        }
    }

    async fn flush_all(&mut self) -> Result<()> {
        self.finish_file().await?;
        if self.done.is_empty() {
            return Ok(());
        }
        let names = self
            .done
            .iter()
            .map(|file| file.path().to_string())
            .collect();
        self.layout.flush_files(names).await
    }

    /// Where in `batch` a full file ends, if it does.
    fn cut(&mut self, batch: &RecordBatch) -> Result<Option<usize>> {
        let Some(open) = self.open.as_ref() else {
            return Ok(None);
        };
        if !open.full(1) {
            return Ok(None);
        }
        let boundary = self.order.first_change(batch)?;
        Ok(boundary.or(open.full(FILE_OVERSHOOT).then_some(0)))
    }

    async fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        self.order.follow(batch)?;
        if self.open.is_none() {
            self.open = Some(OpenFile::create(&self.layout)?);
        }
        match &mut self.open {
            Some(open) => open.write(batch).await,
            None => Ok(()),
        }
    }

    async fn finish_file(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            let mut tags = HashMap::new();
            if self.order.sorted() {
                tags.insert(SORTED_TAG.to_string(), Some("true".to_string()));
            }
            if let Some(partition) = &self.partition {
                tags.insert(PARTITION_TAG.to_string(), Some(partition.to_tag()?));
            }
            let mut file = open.finish(&self.layout, tags).await?;
            for at in self.layout.spec.delta_partitions() {
                if let Some(field) = self.layout.file_schema.fields().get(*at) {
                    let own = self.partition.as_ref();
                    let value = own.and_then(|own| own.identity(field.name())).flatten();
                    let value = value.map(|text| partition::in_log(&text, field));
                    file.add
                        .partition_values
                        .insert(field.name().clone(), value);
                }
            }
            self.done.push(file);
        }
        Ok(())
    }
}

/// A file that is being written.
struct OpenFile {
    writer: AsyncArrowWriter<BufWriter>,
    path: String,
    rows: u64,
    columns: Vec<ColumnWatch>,
}

impl OpenFile {
    fn create(layout: &Layout) -> Result<Self> {
        let prefix = match layout.spec.adopted {
            Some(_) => ADOPTED_PREFIX,
            None => "part-",
        };
        let path = format!("{prefix}{}.parquet", Uuid::new_v4());
        let sink = BufWriter::new(layout.store.clone(), Path::from(path.as_str()));
        // Without the Arrow schema in the footer every reader takes the Parquet types as they are;
        // not all of them know Arrow's view types.
        let options = ArrowWriterOptions::new()
            .with_properties(file_format::properties(layout)?)
            .with_skip_arrow_metadata(true);
        let schema = Arc::clone(&layout.file_schema);
        let columns = schema
            .fields()
            .iter()
            .map(|_| ColumnWatch::default())
            .collect();
        let writer = AsyncArrowWriter::try_new_with_options(sink, schema, options)?;
        Ok(Self {
            writer,
            path,
            rows: 0,
            columns,
        })
    }

    /// Whether the file has `times` its target size.
    fn full(&self, times: u64) -> bool {
        let bytes = self.writer.bytes_written() + self.writer.in_progress_size();
        self.rows >= times * FILE_ROWS_TARGET
            || u64::try_from(bytes).unwrap_or(u64::MAX) >= times * FILE_BYTES_TARGET
    }

    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).await?;
        turns::offer();
        self.rows += batch.num_rows() as u64;
        for (watch, column) in self.columns.iter_mut().zip(batch.columns()) {
            watch.see(column);
        }
        Ok(())
    }

    async fn finish(
        mut self,
        layout: &Layout,
        mut tags: HashMap<String, Option<String>>,
    ) -> Result<WrittenFile> {
        let metadata = self.writer.finish().await?;
        let bytes = self.writer.bytes_written();
        let columns = bounds(&layout.file_schema, &metadata, self.columns)?;
        if let Some(timestamps) = stats::encode_timestamps(&layout.file_schema, &columns) {
            tags.insert(TIMESTAMPS_TAG.to_string(), Some(timestamps));
        }
        // The store's own clock, so that this and what readers list agree.
        let stored = layout.store.head(&Path::from(self.path.as_str())).await?;
        let written_ms = stored.last_modified.timestamp_millis();
        let add = Add {
            path: self.path,
            size: i64::try_from(bytes).unwrap_or(i64::MAX),
            modification_time: written_ms,
            data_change: true,
            stats: Some(stats::encode(&layout.file_schema, self.rows, &columns)),
            tags: (!tags.is_empty()).then_some(tags),
            ..Add::default()
        };
        Ok(WrittenFile {
            add,
            rows: self.rows,
        })
    }

    /// Gives up a file that is not complete; the store drops what it has of it.
    async fn abandon(self) {
        if let Err(error) = self.writer.into_inner().abort().await {
            tracing::debug!(path = %self.path, %error, "incomplete file was not dropped");
        }
    }
}

/// What the footer of a file does not tell of a column: nulls of any type, bounds of floats.
#[derive(Debug, Clone, Default)]
struct ColumnWatch {
    nulls: u64,
    floats: Option<(ScalarValue, ScalarValue)>,
    not_a_number: bool,
}

impl ColumnWatch {
    fn see(&mut self, column: &ArrayRef) {
        self.nulls += column.logical_null_count() as u64;
        let seen = match column.data_type() {
            // `min` and `max` sort NaN above all numbers.
            DataType::Float32 => column.as_any().downcast_ref().and_then(|values| {
                let (low, high) = (min::<Float32Type>(values)?, max::<Float32Type>(values)?);
                self.not_a_number |= low.is_nan() || high.is_nan();
                Some((
                    ScalarValue::Float32(Some(low)),
                    ScalarValue::Float32(Some(high)),
                ))
            }),
            DataType::Float64 => column.as_any().downcast_ref().and_then(|values| {
                let (low, high) = (min::<Float64Type>(values)?, max::<Float64Type>(values)?);
                self.not_a_number |= low.is_nan() || high.is_nan();
                Some((
                    ScalarValue::Float64(Some(low)),
                    ScalarValue::Float64(Some(high)),
                ))
            }),
            _ => None,
        };
        self.floats = match (self.floats.take(), seen) {
            (Some((low, high)), Some((min, max))) => Some((
                if min < low { min } else { low },
                if max > high { max } else { high },
            )),
            (known, seen) => known.or(seen),
        };
    }
}

/// Bounds of every column, from the footer's statistics where it has them.
fn bounds(
    schema: &SchemaRef,
    metadata: &ParquetMetaData,
    watched: Vec<ColumnWatch>,
) -> Result<Vec<ColumnBounds>> {
    let parquet_schema = metadata.file_metadata().schema_descr();
    let mut columns = Vec::with_capacity(watched.len());
    for (field, watch) in schema.fields().iter().zip(watched) {
        let mut column = ColumnBounds {
            nulls: Some(watch.nulls),
            ..ColumnBounds::default()
        };
        if is_float(field) {
            if let (Some((low, high)), false) = (watch.floats, watch.not_a_number) {
                column.min = Some(low);
                column.max = Some(high);
            }
        } else if schema::has_bounds(field) {
            let converter = StatisticsConverter::try_new(field.name(), schema, parquet_schema)?;
            let groups = metadata.row_groups();
            column.min = extreme(&converter.row_group_mins(groups)?, |new, old| new < old);
            column.max = extreme(&converter.row_group_maxes(groups)?, |new, old| new > old);
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The value of an array that beats all others; nulls, which stand for empty row groups, never do.
pub(super) fn extreme(
    values: &ArrayRef,
    beats: impl Fn(&ScalarValue, &ScalarValue) -> bool,
) -> Option<ScalarValue> {
    (0..values.len())
        .filter(|index| values.is_valid(*index))
        .filter_map(|index| ScalarValue::try_from_array(values, index).ok())
        .reduce(|old, new| if beats(&new, &old) { new } else { old })
}

fn is_float(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Float32 | DataType::Float64)
}
