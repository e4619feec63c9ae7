//! Which of some keys a version holds: one key of an INSERT or millions of a load.
//!
//! A key is looked for in fewer and fewer bytes: files whose bounds exclude it are out, then row
//! groups, then (for few keys) row groups whose bloom filters exclude it, then pages; of
//! what is left only the key columns are decoded, and each row is probed in a hash set of the keys, or, where the keys are few,
//! each key is compared with all rows. What was decoded for a few keys is kept ([`super::decoded`]).
//! Every step may only rule out what cannot match, so the answer is exact.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, Scalar, UInt32Array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{and, prep_null_mask_filter};
use arrow::datatypes::{
    DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::HashMap;
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::bloom_filter::Sbbf;

use super::bucket_hash::buckets;
use super::decoded::Columns;
use super::read::{FileReader, RowsToRead};
use super::version::LiveFile;
use super::{ClosedTable, ClosedTableError, ClosedVersion, Layout, Result, schema};
use crate::types::SqlType;

/// Up to so many keys a row group's bloom filters are asked; for more its pages are read anyway.
const BLOOM_KEYS_MAX: usize = 1_024;

/// Up to so many keys each is compared with all rows of a page, and what was decoded is kept. For more the rows are looked up among
/// the keys.
const FEW_KEYS_MAX: usize = 8;

/// Rows of key columns that are kept of one file for one lookup at the most. A page has fewer, unless others wrote the file.
const KEY_ROWS_KEPT_MAX: usize = 1 << 16;

/// Files that one call reads at the same time.
const FILES_PROBED_MAX: usize = 4;

impl ClosedTable {
    /// Which of `keys` (the key columns, in key order) are in version `at`: one answer for each row.
    pub async fn contains_keys(
        &self,
        at: &ClosedVersion,
        keys: &RecordBatch,
    ) -> Result<BooleanArray> {
        let keys = Arc::new(KeySet::new(&self.layout, keys)?);
        let mut found = vec![false; keys.len()];
        let probes = keys.files(at)?.into_iter().map(|(file, candidates)| {
            let probe = probe_file(self.layout.clone(), file, Arc::clone(&keys), candidates);
            async move { SpawnedTask::spawn(probe).join().await.map_err(stopped)? }
        });
        let mut probes = stream::iter(probes).buffer_unordered(FILES_PROBED_MAX);
        while let Some(ids) = probes.try_next().await? {
            for id in ids {
                if let Some(found) = found.get_mut(id as usize) {
                    *found = true;
                }
            }
        }
        let of_row = |id: &u32| found.get(*id as usize).copied().unwrap_or(false);
        Ok(keys.id_of_row.iter().map(of_row).map(Some).collect())
    }
}

impl ClosedTable {
    /// Where each of `keys` (the key columns, in key order) is in version `at`: the index of the file and the row in it.
    pub(crate) async fn positions(
        &self,
        at: &ClosedVersion,
        keys: &RecordBatch,
    ) -> Result<Vec<Option<(usize, u32)>>> {
        let keys = Arc::new(KeySet::new(&self.layout, keys)?);
        let index: HashMap<&str, usize> = at
            .files()
            .iter()
            .enumerate()
            .map(|(index, file)| (file.path(), index))
            .collect();
        let mut found = vec![None; keys.len()];
        for (file, candidates) in keys.files(at)? {
            let position = index.get(file.path()).copied();
            let probe = locate_in_file(self.layout.clone(), file, Arc::clone(&keys), candidates);
            for (id, row) in probe.await? {
                if let (Some(slot), Some(file)) = (found.get_mut(id as usize), position) {
                    *slot = Some((file, row));
                }
            }
        }
        let of_row = |id: &u32| found.get(*id as usize).copied().flatten();
        Ok(keys.id_of_row.iter().map(of_row).collect())
    }
}

impl ClosedTable {
    /// Whole rows of version `at` by file and row, file by file; only the pages that hold them are read.
    pub(crate) async fn rows_at(
        &self,
        at: &ClosedVersion,
        positions: &[(usize, u32)],
    ) -> Result<Vec<RecordBatch>> {
        let mut by_file: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (file, row) in positions {
            by_file.entry(*file).or_default().push(*row);
        }
        let columns: Vec<usize> = (0..self.layout.spec.schema.fields().len()).collect();
        let mut found = Vec::new();
        for (file, mut rows) in by_file {
            let Some(file) = at.files().get(file) else {
                return Err(stopped("a position outside the version"));
            };
            rows.sort_unstable();
            rows.dedup();
            let reader = FileReader::open(self.layout.clone(), Arc::clone(file)).await?;
            if rows.len() <= FEW_KEYS_MAX {
                for row in rows {
                    let (first, around) = reader.around(row).await?;
                    let at = row.saturating_sub(first) as usize;
                    found.push(around.slice(
                        at.min(around.num_rows()),
                        usize::from(at < around.num_rows()),
                    ));
                }
                continue;
            }
            let wanted = single_rows(&reader, &rows);
            let mut batches = reader.read(&columns, Some(wanted))?;
            while let Some(batch) = batches.try_next().await? {
                found.push(batch);
            }
        }
        Ok(found)
    }
}

/// Selects rows of a file, which are sorted.
fn single_rows(reader: &FileReader, rows: &[u32]) -> RowsToRead {
    let mut row_groups = Vec::new();
    let mut selectors = Vec::new();
    let mut start = 0_u32;
    for (position, group) in reader.footer().metadata().row_groups().iter().enumerate() {
        let end = start.saturating_add(u32::try_from(group.num_rows()).unwrap_or(u32::MAX));
        let first = rows.partition_point(|row| *row < start);
        let last = rows.partition_point(|row| *row < end);
        if first < last {
            row_groups.push(position);
            let mut next = start;
            for row in rows.get(first..last).unwrap_or_default() {
                selectors.push(RowSelector::skip((row - next) as usize));
                selectors.push(RowSelector::select(1));
                next = row + 1;
            }
            selectors.push(RowSelector::skip((end - next) as usize));
        }
        start = end;
    }
    RowsToRead {
        row_groups,
        selection: RowSelection::from(selectors),
    }
}

fn stopped(error: impl std::fmt::Display) -> ClosedTableError {
    ClosedTableError::Invalid {
        message: format!("key probe stopped: {error}"),
    }
}

/// Keys to look for. Equal keys share an id, the index of the first of them.
pub(super) struct KeySet {
    converter: RowConverter,
    columns: Vec<KeyColumn>,
    /// Index of each key column in the table.
    indexes: Vec<usize>,
    ids: HashMap<Box<[u8]>, u32>,
    id_of_row: Vec<u32>,
    /// The ids, sorted by the first key column.
    sorted: Vec<u32>,
}

/// One key column of the keys, comparable with the bounds that files tell.
struct KeyColumn {
    name: String,
    sql_type: SqlType,
    values: ArrayRef,
    converter: RowConverter,
    rows: Rows,
}

/// Bounds of a key column in some containers: files, row groups or pages.
struct Bounds {
    min: ArrayRef,
    max: ArrayRef,
    min_rows: Rows,
    max_rows: Rows,
}

impl KeySet {
    pub(super) fn new(layout: &Layout, keys: &RecordBatch) -> Result<Self> {
        let spec = &layout.spec;
        let fields: Vec<_> = schema::key_fields(layout).collect();
        let fits = fields.len() == keys.num_columns()
            && fields
                .iter()
                .zip(keys.columns())
                .all(|(f, c)| f.data_type() == c.data_type());
        if !fits {
            return Err(ClosedTableError::Invalid {
                message: format!("keys do not have the key columns of \"{}\"", spec.name),
            });
        }
        let sort_field = |data_type: &DataType| SortField::new(data_type.clone());
        let converter =
            RowConverter::new(fields.iter().map(|f| sort_field(f.data_type())).collect())?;
        let rows = converter.convert_columns(keys.columns())?;
        let mut ids = HashMap::with_capacity(rows.num_rows());
        let mut id_of_row = Vec::with_capacity(rows.num_rows());
        for (row, index) in rows.iter().zip(0_u32..) {
            id_of_row.push(*ids.entry(Box::from(row.as_ref())).or_insert(index));
        }
        let mut columns = Vec::with_capacity(fields.len());
        for (field, values) in fields.iter().zip(keys.columns()) {
            let converter = RowConverter::new(vec![sort_field(field.data_type())])?;
            let rows = converter.convert_columns(std::slice::from_ref(values))?;
            let name = field.name().clone();
            columns.push(KeyColumn {
                name,
                sql_type: SqlType::of_field(field),
                values: Arc::clone(values),
                converter,
                rows,
            });
        }
        let mut sorted: Vec<u32> = ids.values().copied().collect();
        if let Some(first) = columns.first() {
            sorted.sort_unstable_by(|left, right| {
                first
                    .rows
                    .row(*left as usize)
                    .cmp(&first.rows.row(*right as usize))
            });
        }
        Ok(Self {
            converter,
            columns,
            indexes: spec.key.clone(),
            ids,
            id_of_row,
            sorted,
        })
    }

    /// Rows that were given, equal ones included.
    fn len(&self) -> usize {
        self.id_of_row.len()
    }

    /// The files of a version that may hold a key, each with the ids it may hold.
    pub(super) fn files(&self, at: &ClosedVersion) -> Result<Vec<(Arc<LiveFile>, Vec<u32>)>> {
        let mut bounds = Vec::with_capacity(self.columns.len());
        for (column, index) in self.columns.iter().zip(&self.indexes) {
            let arrays = at.column_arrays(*index);
            let known = arrays.and_then(|arrays| arrays.min.as_ref().zip(arrays.max.as_ref()));
            bounds.push(match known {
                Some((min, max)) => Some(column.bounds(Arc::clone(min), Arc::clone(max))?),
                None => None,
            });
        }
        let mut files = Vec::new();
        for (position, file) in at.files().iter().enumerate() {
            let first = bounds.first().and_then(Option::as_ref);
            let candidates = self.candidates(&self.sorted, first, position);
            // The other columns' bounds are worth a look at each key only if they are few.
            let candidates: Vec<u32> = if candidates.len() > BLOOM_KEYS_MAX {
                candidates.to_vec()
            } else {
                let others = || self.columns.iter().zip(&bounds).skip(1);
                let within = |id: &&u32| {
                    others().all(|(column, bounds)| {
                        bounds
                            .as_ref()
                            .is_none_or(|b| b.admit(column, **id, position))
                    })
                };
                candidates.iter().filter(within).copied().collect()
            };
            let candidates = self.of_bucket(candidates, file)?;
            if !candidates.is_empty() {
                files.push((Arc::clone(file), candidates));
            }
        }
        Ok(files)
    }

    /// The ids among some that are of the file's buckets, if it has ones of key columns. To hash many keys for each file
    /// costs more than it saves.
    fn of_bucket(&self, mut ids: Vec<u32>, file: &LiveFile) -> Result<Vec<u32>> {
        let Some(partition) = file.partition() else {
            return Ok(ids);
        };
        for column in &self.columns {
            if ids.len() > BLOOM_KEYS_MAX {
                break;
            }
            let Some((count, own)) = partition.bucket(&column.name) else {
                continue;
            };
            let at = UInt32Array::from(ids.clone());
            let values = arrow::compute::take(&column.values, &at, None)?;
            let buckets = buckets(&values, &column.sql_type, count)?;
            let mut buckets = buckets.iter();
            ids.retain(|_| buckets.next().flatten() == own);
        }
        Ok(ids)
    }

    /// The ids among `sorted` whose first key column is within a container's bounds.
    fn candidates<'a>(
        &self,
        sorted: &'a [u32],
        bounds: Option<&Bounds>,
        position: usize,
    ) -> &'a [u32] {
        let (Some(bounds), Some(first)) = (bounds, self.columns.first()) else {
            return sorted;
        };
        let Range { start, end } = bounds.range(first, sorted, position);
        sorted.get(start..end).unwrap_or_default()
    }

    /// The rows of key columns that are one of `candidates`, each with its id; other keys are found or not.
    fn matches(&self, batch: &RecordBatch, candidates: &[u32]) -> Result<Vec<(usize, u32)>> {
        let nested = batch.columns().iter().any(|c| c.data_type().is_nested());
        if nested || candidates.len() > FEW_KEYS_MAX {
            let ids = self.lookup(batch)?.into_iter().enumerate();
            return Ok(ids.filter_map(|(row, id)| Some((row, id?))).collect());
        }
        let mut found = Vec::new();
        for id in candidates {
            let mut equal: Option<BooleanArray> = None;
            for (column, values) in self.columns.iter().zip(batch.columns()) {
                let key = Scalar::new(column.values.slice(*id as usize, 1));
                let of_column = eq(values, &key)?;
                equal = Some(match equal {
                    Some(equal) => and(&equal, &of_column)?,
                    None => of_column,
                });
            }
            let Some(equal) = equal else {
                continue;
            };
            let equal = match equal.null_count() {
                0 => equal,
                _ => prep_null_mask_filter(&equal),
            };
            let rows = equal.values().set_indices();
            found.extend(rows.map(|row| (row, *id)));
        }
        Ok(found)
    }

    /// The id of each row of key columns that is one of the keys.
    pub(super) fn lookup(&self, batch: &RecordBatch) -> Result<Vec<Option<u32>>> {
        let rows = self.converter.convert_columns(batch.columns())?;
        Ok(rows
            .iter()
            .map(|row| self.ids.get(row.as_ref()).copied())
            .collect())
    }
}

impl KeyColumn {
    fn bounds(&self, min: ArrayRef, max: ArrayRef) -> Result<Bounds> {
        let min_rows = self.converter.convert_columns(std::slice::from_ref(&min))?;
        let max_rows = self.converter.convert_columns(std::slice::from_ref(&max))?;
        Ok(Bounds {
            min,
            max,
            min_rows,
            max_rows,
        })
    }

    /// Whether a bloom filter admits the value of a key.
    fn in_bloom_filter(&self, filter: &Sbbf, id: u32) -> bool {
        let index = id as usize;
        if self.values.is_null(index) {
            return true;
        }
        match self.values.data_type() {
            DataType::Int16 => filter.check(&i32::from(
                self.values.as_primitive::<Int16Type>().value(index),
            )),
            DataType::Int32 => filter.check(&self.values.as_primitive::<Int32Type>().value(index)),
            DataType::Int64 => filter.check(&self.values.as_primitive::<Int64Type>().value(index)),
            DataType::Date32 => {
                filter.check(&self.values.as_primitive::<Date32Type>().value(index))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let values = self.values.as_primitive::<TimestampMicrosecondType>();
                filter.check(&values.value(index))
            }
            DataType::Utf8View => filter.check(self.values.as_string_view().value(index)),
            DataType::BinaryView => filter.check(self.values.as_binary_view().value(index)),
            // How decimals and booleans are hashed depends on how the writer stored them.
            _ => true,
        }
    }
}

impl Bounds {
    fn known(&self, position: usize) -> bool {
        position < self.min.len()
            && position < self.max.len()
            && self.min.is_valid(position)
            && self.max.is_valid(position)
    }

    fn range(&self, column: &KeyColumn, sorted: &[u32], position: usize) -> Range<usize> {
        if !self.known(position) {
            return 0..sorted.len();
        }
        let (min, max) = (self.min_rows.row(position), self.max_rows.row(position));
        let start = sorted.partition_point(|id| column.rows.row(*id as usize) < min);
        let end = sorted.partition_point(|id| column.rows.row(*id as usize) <= max);
        start..end.max(start)
    }

    fn admit(&self, column: &KeyColumn, id: u32, position: usize) -> bool {
        let value = column.rows.row(id as usize);
        !self.known(position)
            || (self.min_rows.row(position) <= value && value <= self.max_rows.row(position))
    }
}

/// The ids among `candidates` (sorted by the first key column) that the file holds.
pub(super) async fn probe_file(
    layout: Arc<Layout>,
    file: Arc<LiveFile>,
    keys: Arc<KeySet>,
    candidates: Vec<u32>,
) -> Result<Vec<u32>> {
    if candidates.len() <= FEW_KEYS_MAX {
        let located = locate_in_file(layout, file, keys, candidates).await?;
        return Ok(located.into_iter().map(|(id, _)| id).collect());
    }
    let reader = FileReader::open(layout, file).await?;
    let rows = rows_to_read(&reader, &keys, &candidates).await?;
    let mut found = Vec::new();
    if rows.row_groups.is_empty() {
        return Ok(found);
    }
    let mut batches = reader.read(&keys.indexes, Some(rows))?;
    while let Some(batch) = batches.try_next().await? {
        let matches = keys.matches(&batch, &candidates)?;
        found.extend(matches.into_iter().map(|(_, id)| id));
    }
    Ok(found)
}

/// The ids among `candidates` that the file holds, each with its row.
async fn locate_in_file(
    layout: Arc<Layout>,
    file: Arc<LiveFile>,
    keys: Arc<KeySet>,
    candidates: Vec<u32>,
) -> Result<Vec<(u32, u32)>> {
    let reader = FileReader::open(layout, file).await?;
    let rows = rows_to_read(&reader, &keys, &candidates).await?;
    let mut found = Vec::new();
    if rows.row_groups.is_empty() {
        return Ok(found);
    }
    let mut numbers = RowNumbers::new(&reader, &rows);
    let few = candidates.len() <= FEW_KEYS_MAX && numbers.len() <= KEY_ROWS_KEPT_MAX;
    if few && reader.file().deleted().is_none() {
        for range in numbers.ranges {
            let batch = reader.decoded(Columns::Key, range.clone()).await?;
            for (row, id) in keys.matches(&batch, &candidates)? {
                found.extend(range.clone().nth(row).map(|number| (id, number)));
            }
        }
        return Ok(found);
    }
    let mut batches = reader.read(&keys.indexes, Some(rows))?;
    while let Some(batch) = batches.try_next().await? {
        for (row, id) in keys.matches(&batch, &candidates)? {
            if let Some(row) = numbers.of(row) {
                found.push((id, row));
            }
        }
        numbers.advance(batch.num_rows());
    }
    Ok(found)
}

/// The numbers in the file of the rows that are read, in the order of reading.
struct RowNumbers {
    /// Numbers of rows that follow each other.
    ranges: VecDeque<Range<u32>>,
}

impl RowNumbers {
    fn new(reader: &FileReader, rows: &RowsToRead) -> Self {
        // Where each row group that is read begins, and how long it is.
        let mut groups = VecDeque::with_capacity(rows.row_groups.len());
        let mut start = 0_u32;
        for (position, group) in reader.footer().metadata().row_groups().iter().enumerate() {
            let end = start.saturating_add(u32::try_from(group.num_rows()).unwrap_or(u32::MAX));
            if rows.row_groups.contains(&position) {
                groups.push_back(start..end);
            }
            start = end;
        }
        let mut ranges = VecDeque::new();
        for selector in rows.selection.iter() {
            let mut left = u32::try_from(selector.row_count).unwrap_or(u32::MAX);
            while left > 0
                && let Some(group) = groups.front_mut()
            {
                let end = group.end.min(group.start.saturating_add(left));
                left -= end - group.start;
                if !selector.skip && group.start < end {
                    ranges.push_back(group.start..end);
                }
                group.start = end;
                if group.start == group.end {
                    groups.pop_front();
                }
            }
        }
        Self { ranges }
    }

    /// Rows that are read.
    fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    /// The number of a row of the batch that comes next.
    fn of(&self, mut row: usize) -> Option<u32> {
        for range in &self.ranges {
            if row < range.len() {
                return Some(range.start + u32::try_from(row).ok()?);
            }
            row -= range.len();
        }
        None
    }

    /// Goes on to the batch after one with so many rows.
    fn advance(&mut self, mut rows: usize) {
        while let Some(range) = self.ranges.front_mut() {
            let taken = rows.min(range.len());
            range.start += u32::try_from(taken).unwrap_or(u32::MAX);
            rows -= taken;
            if range.start < range.end {
                return;
            }
            self.ranges.pop_front();
        }
    }
}

/// The pages of a file that may hold one of the candidates.
async fn rows_to_read(
    reader: &FileReader,
    keys: &KeySet,
    candidates: &[u32],
) -> Result<RowsToRead> {
    let footer = reader.footer();
    let metadata = footer.metadata();
    let groups = metadata.row_groups();
    let in_file = |column: &&KeyColumn| footer.schema().field_with_name(&column.name).is_ok();
    let first = keys.columns.first().filter(in_file);
    let converter = first
        .map(|first| {
            StatisticsConverter::try_new(&first.name, footer.schema(), footer.parquet_schema())
        })
        .transpose()?;
    let group_bounds = match (first, &converter) {
        (Some(first), Some(converter)) => {
            let (min, max) = (
                converter.row_group_mins(groups)?,
                converter.row_group_maxes(groups)?,
            );
            Some(first.bounds_as_key(&min, &max)?)
        }
        _ => None,
    };
    let page_index = metadata.column_index().zip(metadata.offset_index());

    let mut row_groups = Vec::new();
    let mut selectors = Vec::new();
    for (position, group) in groups.iter().enumerate() {
        let mut within = keys
            .candidates(candidates, group_bounds.as_ref(), position)
            .to_vec();
        if within.len() <= BLOOM_KEYS_MAX {
            retain_by_bloom_filters(reader, keys, position, &mut within).await?;
        }
        if within.is_empty() {
            continue;
        }
        row_groups.push(position);
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let (Some(first), Some(converter), Some((columns, offsets))) =
            (first, &converter, page_index)
        else {
            selectors.push(RowSelector::select(rows));
            continue;
        };
        let only = [position];
        let counts = converter.data_page_row_counts(offsets, groups, &only)?;
        let min = converter.data_page_mins(columns, offsets, &only)?;
        let max = converter.data_page_maxes(columns, offsets, &only)?;
        let Some(counts) = counts.filter(|counts| counts.len() == min.len()) else {
            selectors.push(RowSelector::select(rows));
            continue;
        };
        let pages = first.bounds_as_key(&min, &max)?;
        for (page, count) in counts.values().iter().enumerate() {
            let skip = pages.range(first, &within, page).is_empty();
            let row_count = usize::try_from(*count).unwrap_or_default();
            selectors.push(RowSelector { row_count, skip });
        }
    }
    Ok(reader.without_deleted(RowsToRead {
        row_groups,
        selection: RowSelection::from(selectors),
    }))
}

impl KeyColumn {
    /// Bounds in a file's own type, as ones in the key's.
    fn bounds_as_key(&self, min: &ArrayRef, max: &ArrayRef) -> Result<Bounds> {
        let as_key = |array: &ArrayRef| arrow::compute::cast(array, self.values.data_type());
        self.bounds(as_key(min)?, as_key(max)?)
    }
}

/// Drops the keys that a row group's bloom filters exclude.
async fn retain_by_bloom_filters(
    reader: &FileReader,
    keys: &KeySet,
    group: usize,
    ids: &mut Vec<u32>,
) -> Result<()> {
    // Others may hash what they store of a column in another type.
    if !reader.file().sorted() {
        return Ok(());
    }
    let footer = reader.footer();
    for column in &keys.columns {
        if ids.is_empty() {
            return Ok(());
        }
        let leaves = footer.parquet_schema().columns();
        let is_column = |leaf: &parquet::schema::types::ColumnDescPtr| {
            leaf.path().parts() == std::slice::from_ref(&column.name)
        };
        let Some(leaf) = leaves.iter().position(is_column) else {
            continue;
        };
        if let Some(filter) = reader.bloom_filter(group, leaf).await? {
            ids.retain(|id| column.in_bloom_filter(&filter, *id));
        }
    }
    Ok(())
}
