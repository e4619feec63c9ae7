//! One version of a closed table: the files that are live in it and what is known of them.
//!
//! Loaded once, then immutable and shared. A newer version takes over the facts of every file it
//! shares with the older one it was loaded from, so a commit costs what it changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field};
use chrono::DateTime;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use deltalake::kernel::{LogicalFileView, Remove};
use deltalake::table::state::DeltaTableState;
use object_store::ObjectMeta;
use object_store::path::Path;
use roaring::RoaringBitmap;

use super::partition::{self, FilePartition, PARTITION_TAG};
use super::{ClosedTableError, Layout, Result, deletion_vector, stats};

/// Tag of a file whose rows are known to be sorted by the key.
pub(super) const SORTED_TAG: &str = "nyala.sorted";

/// Tag of a file with the bounds of its timestamps to the microsecond; see [`stats::encode_timestamps`].
pub(super) const TIMESTAMPS_TAG: &str = "nyala.timestamps";

/// A file of a version.
#[derive(Debug, Clone)]
pub struct LiveFile {
    path: String,
    /// Path within the table's directory, as the store takes it.
    relative: Path,
    /// The file as the root store knows it.
    meta: ObjectMeta,
    sorted: bool,
    partition: Option<FilePartition>,
    /// Values of Delta's partition columns, by index of the column.
    constants: Vec<(usize, ScalarValue)>,
    /// Rows that a deletion vector takes out, and what tells it from others.
    deleted: Option<(String, Arc<RoaringBitmap>)>,
    statistics: Arc<Statistics>,
}

impl LiveFile {
    /// Path within the table's directory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Size on disk.
    pub fn bytes(&self) -> u64 {
        self.meta.size
    }

    /// Path within the table's directory, for its store.
    pub(super) fn relative(&self) -> &Path {
        &self.relative
    }

    /// Columns that have one value in all rows, which the log tells.
    pub(super) fn constants(&self) -> &[(usize, ScalarValue)] {
        &self.constants
    }

    /// Rows that are in the file and not in the table.
    pub(super) fn deleted(&self) -> Option<&Arc<RoaringBitmap>> {
        self.deleted.as_ref().map(|(_, rows)| rows)
    }

    /// Rows in the file, where its writer told; those that are deleted count.
    pub fn rows(&self) -> Option<u64> {
        self.statistics
            .num_rows
            .get_value()
            .and_then(|rows| u64::try_from(*rows).ok())
    }

    /// When the file was written, in milliseconds since 1970.
    pub fn modified_ms(&self) -> i64 {
        self.meta.last_modified.timestamp_millis()
    }

    /// Whether the rows are sorted by the key.
    pub fn sorted(&self) -> bool {
        self.sorted
    }

    /// What the rows share, if they are of one partition.
    pub(super) fn partition(&self) -> Option<&FilePartition> {
        self.partition.as_ref()
    }

    /// What is known of the file's columns, in the table's schema.
    pub fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    /// Smallest and largest value of a column, if both are known to be values of the file.
    pub(crate) fn exact_bounds(&self, column: usize) -> Option<(&ScalarValue, &ScalarValue)> {
        let column = self.statistics.column_statistics.get(column)?;
        match (&column.min_value, &column.max_value) {
            (Precision::Exact(min), Precision::Exact(max)) => Some((min, max)),
            _ => None,
        }
    }

    pub(super) fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// Smallest and largest value of a column, if both are known.
    pub(super) fn bounds(&self, column: usize) -> Option<(&ScalarValue, &ScalarValue)> {
        let column = self.statistics.column_statistics.get(column)?;
        Some((column.min_value.get_value()?, column.max_value.get_value()?))
    }
}

/// A pinned version of a closed table.
pub struct ClosedVersion {
    layout: Arc<Layout>,
    state: DeltaTableState,
    files: Vec<Arc<LiveFile>>,
    totals: Statistics,
    columns: Vec<OnceLock<ColumnArrays>>,
}

/// A column's statistics over all files of a version, one element a file, for pruning.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnArrays {
    pub(super) min: Option<ArrayRef>,
    pub(super) max: Option<ArrayRef>,
    pub(super) nulls: Option<ArrayRef>,
}

impl ClosedVersion {
    pub(super) fn load(
        layout: Arc<Layout>,
        state: DeltaTableState,
        older: Option<&Self>,
    ) -> Result<Self> {
        let known: HashMap<&str, &Arc<LiveFile>> = older
            .map(|older| older.files.iter().map(|file| (file.path(), file)).collect())
            .unwrap_or_default();
        let snapshot = state.snapshot();
        let log = snapshot.try_log_data()?;
        let mut files = Vec::with_capacity(log.num_files());
        for view in log.iter() {
            let vector = view.deletion_vector_descriptor();
            let vector = vector.map(|vector| deletion_vector::identity(&vector));
            let same = |file: &&&Arc<LiveFile>| {
                let own = file.deleted.as_ref().map(|(identity, _)| identity);
                own == vector.as_ref()
            };
            match known.get(view.path().as_ref()).filter(same) {
                Some(file) => files.push(Arc::clone(file)),
                None => files.push(Arc::new(live_file(&layout, &view)?)),
            }
        }
        // The log's order depends on how the state was loaded; whoever loads the version again finds each file at its place.
        files.sort_by(|left, right| left.path().cmp(right.path()));
        let schema = &layout.spec.schema;
        let totals = stats::total(schema, files.iter().map(|file| file.statistics.as_ref()));
        let columns = schema.fields().iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            state,
            files,
            totals,
            columns,
            layout,
        })
    }

    /// The Delta version.
    pub fn version(&self) -> u64 {
        self.state.version()
    }

    /// Rows in this version, if every file tells.
    pub fn rows(&self) -> Option<u64> {
        self.totals
            .num_rows
            .get_value()
            .and_then(|rows| u64::try_from(*rows).ok())
    }

    /// Live files.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Size of the live files on disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes()).sum()
    }

    /// The live files.
    pub fn files(&self) -> &[Arc<LiveFile>] {
        &self.files
    }

    /// When this version was committed, in milliseconds since 1970, while its log entry is kept.
    pub fn committed_at_ms(&self) -> Option<i64> {
        self.state.version_timestamp(self.version())
    }

    /// What is known of the rows of this version: exact row and null counts, bounds of the columns.
    pub fn statistics(&self) -> Statistics {
        self.totals.clone()
    }

    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub(super) fn state(&self) -> &DeltaTableState {
        &self.state
    }

    /// The log's remove actions for the files at `paths`.
    ///
    /// `data_change` tells whether their rows leave the table.
    pub(super) fn removes(&self, paths: &[String], data_change: bool) -> Result<Vec<Remove>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let paths: HashSet<&str> = paths.iter().map(String::as_str).collect();
        let log = self.state.snapshot().try_log_data()?;
        let views = log
            .iter()
            .filter(|view| paths.contains(view.path().as_ref()));
        Ok(views.map(|view| view.remove_action(data_change)).collect())
    }

    /// A column's statistics over all files, made when first asked for.
    pub(super) fn column_arrays(&self, index: usize) -> Option<&ColumnArrays> {
        let field = self.layout.spec.schema.fields().get(index)?;
        Some(
            self.columns
                .get(index)?
                .get_or_init(|| self.make_arrays(index, field)),
        )
    }

    fn make_arrays(&self, index: usize, field: &Field) -> ColumnArrays {
        let columns = || {
            self.files
                .iter()
                .map(move |file| file.statistics.column_statistics.get(index))
        };
        let bound = |get: fn(&ColumnStatistics) -> &Precision<ScalarValue>| {
            bounds_array(
                field.data_type(),
                columns().map(|column| get(column?).get_value()),
            )
        };
        let nulls = columns().map(|column| {
            column?
                .null_count
                .get_value()
                .and_then(|nulls| u64::try_from(*nulls).ok())
        });
        ColumnArrays {
            min: bound(|column| &column.min_value),
            max: bound(|column| &column.max_value),
            nulls: Some(Arc::new(nulls.collect::<UInt64Array>())),
        }
    }
}

impl std::fmt::Debug for ClosedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClosedVersion")
            .field("table", &self.layout.spec.name)
            .field("version", &self.version())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// One element a file, null where nothing is known; `None` if nothing is known of any.
fn bounds_array<'a>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<&'a ScalarValue>>,
) -> Option<ArrayRef> {
    let null = ScalarValue::try_from(data_type).ok()?;
    let mut any = false;
    let values: Vec<ScalarValue> = values
        .map(|value| {
            any |= value.is_some();
            value.unwrap_or(&null).clone()
        })
        .collect();
    if any {
        ScalarValue::iter_to_array(values).ok()
    } else {
        None
    }
}

fn live_file(layout: &Layout, view: &LogicalFileView) -> Result<LiveFile> {
    let unsupported = |what: &str| ClosedTableError::Unsupported {
        message: format!(
            "file \"{}\" of closed table \"{}\" {what}",
            view.path(),
            layout.spec.name
        ),
    };
    let path = view.path().into_owned();
    if path.contains("://") || path.starts_with('/') {
        return Err(unsupported("lies outside the table's directory"));
    }
    let bytes = u64::try_from(view.size()).unwrap_or_default();
    let relative = view.object_store_path();
    let location: Path = layout.prefix.parts().chain(relative.parts()).collect();
    #[expect(deprecated, reason = "the only way delta-rs has to read a file's tags")]
    let tags = view.add_action().tags.unwrap_or_default();
    let partition = tags.get(PARTITION_TAG).and_then(|value| value.as_deref());
    let partition = FilePartition::of_tag(partition);
    let sorted = tags.contains_key(SORTED_TAG);
    let deleted = match view.deletion_vector_descriptor() {
        None => None,
        Some(vector) => {
            let identity = deletion_vector::identity(&vector);
            let known = layout.readers.deleted.lock().get(&identity).cloned();
            let rows = known.ok_or_else(|| unsupported("has a deletion vector"))?;
            Some((identity, rows))
        }
    };
    let constants = constants(layout, view, partition.as_ref())?;
    let timestamps = tags.get(TIMESTAMPS_TAG).and_then(|value| value.as_deref());
    let stats = view.stats();
    let mut statistics = stats::decode(&layout.spec, stats.as_deref(), timestamps, bytes);
    if layout.spec.adopted.is_some() {
        if !sorted {
            stats::without_floats(&layout.spec, &mut statistics);
        }
        if let Some(rows) = layout.readers.row_counts.lock().get(&path) {
            statistics.num_rows = Precision::Exact(*rows);
        }
        stats::with_constants(&mut statistics, &constants);
        if deleted.is_some() {
            statistics = statistics.to_inexact();
        }
    }
    Ok(LiveFile {
        relative: relative.clone(),
        meta: ObjectMeta {
            location,
            last_modified: DateTime::from_timestamp_millis(view.modification_time())
                .unwrap_or_default(),
            size: bytes,
            e_tag: None,
            version: None,
        },
        sorted,
        partition,
        constants,
        deleted,
        statistics: Arc::new(statistics),
        path,
    })
}

/// The file's values of Delta's partition columns. Own files say them exactly in their tag; in the log an empty text is NULL.
fn constants(
    layout: &Layout,
    view: &LogicalFileView,
    own: Option<&FilePartition>,
) -> Result<Vec<(usize, ScalarValue)>> {
    let columns = layout.spec.delta_partitions();
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let logged = view.partition_values_map();
    let columns = columns.iter().filter_map(|at| {
        let field = layout.file_schema.fields().get(*at)?;
        Some((*at, field))
    });
    columns
        .map(|(at, field)| {
            let text = match own.and_then(|own| own.identity(field.name())) {
                Some(value) => value,
                None => {
                    let value = logged.get(field.name()).cloned().flatten();
                    value.filter(|text| !text.is_empty())
                }
            };
            Ok((at, partition::parse(text, field)?))
        })
        .collect()
}
