//! The plan that reads a version: only the files a filter cannot exclude, as few bytes of each as possible.
//!
//! Files are excluded by one pass of DataFusion's `PruningPredicate` over all files' statistics; the
//! filter then goes into the Parquet reader, which excludes row groups and pages by the same means
//! and, where the session says so, decodes the other columns only for rows that match.
//!
//! Invariant: an ordering is declared only if each group of files read in turn really yields it:
//! every file is known to be sorted by the key, and the files of a group do not overlap in the
//! first key column.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use roaring::RoaringBitmap;

use super::left_out::{LeftOutExec, LeftOutRows, place_fields};
use super::partition::buckets_of;
use super::row_order::key_order;
use super::stats;
use super::version::{ClosedVersion, ColumnArrays, LiveFile};

impl ClosedVersion {
    /// A plan that reads the rows of this version.
    ///
    /// `filters` are conditions on the table's columns, all of which must hold; the plan may still
    /// return rows that fail them, so the caller keeps its own filter. `limit` counts rows before
    /// any filter that the caller applies on top.
    pub fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.scan_without(state, projection, filters, limit, &[])
    }

    /// As [`ClosedVersion::scan`], without some rows: `left_out` has a set of row numbers for each file, in the order of
    /// [`ClosedVersion::files`]; none for all files if it is empty.
    pub(crate) fn scan_without(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
        left_out: &[Arc<RoaringBitmap>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let layout = self.layout();
        let order = &layout.scan_order;
        let schema: SchemaRef = Arc::new(layout.file_schema.project(order)?);
        let options = &state.config_options().execution;
        let filters = filters.iter().filter(|filter| self.may_prune(filter));
        let predicate = conjunction(filters.cloned())
            .map(|filter| {
                let filter = layout.spec.filter_on_files(filter)?;
                let names = DFSchema::try_from(Arc::clone(&schema))?;
                state.create_physical_expr(filter, &names)
            })
            .transpose()?;

        let max_in_list_size = options.parquet.max_in_list_size;
        let mut files = self.matching_files(&schema, predicate.as_ref(), max_in_list_size)?;
        let skipped = self.skipped(left_out);
        if let (Some(limit), None, true) = (limit, &predicate, skipped.is_empty()) {
            files = enough_for(files, limit);
        }
        if files.is_empty() {
            let schema = &layout.spec.schema;
            let projected = match projection {
                Some(indexes) => Arc::new(schema.project(indexes)?),
                None => Arc::clone(schema),
            };
            return Ok(Arc::new(EmptyExec::new(projected)));
        }
        let statistics = if files.len() == self.file_count() {
            self.statistics()
        } else {
            let files = files.iter().map(|file| file.statistics().as_ref());
            stats::total(&layout.file_schema, files)
        };
        // The columns that tell the place of a row come last.
        let places = match skipped.is_empty() {
            true => None,
            false => Some(place_fields(&schema)),
        };
        let with_places: Vec<usize> = match &places {
            None => order.clone(),
            Some(_) => order.iter().copied().chain([usize::MAX; 2]).collect(),
        };
        let statistics = stats::in_order(&statistics, &with_places);

        let runtime = state.runtime_env();
        let store = match runtime.object_store(&layout.root_url) {
            Ok(store) => store,
            Err(_) => {
                let store = Arc::clone(&layout.root_store);
                runtime.register_object_store(layout.root_url.as_ref(), Arc::clone(&store));
                store
            }
        };
        let parquet = TableParquetOptions {
            global: options.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let reader = CachedParquetFileReaderFactory::new(
            store,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut source = ParquetSource::new(self.table_schema(&schema, places)?)
            .with_table_parquet_options(parquet)
            .with_parquet_file_reader_factory(Arc::new(reader));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let source: Arc<dyn FileSource> = Arc::new(source);

        let groups = group(
            files,
            layout.spec.key.first().copied(),
            options.target_partitions,
        );
        let ordering = if groups.ordered {
            self.key_ordering(&schema)
        } else {
            None
        };
        // Files are numbered as they are read.
        let mut left_out = LeftOutRows::new();
        let mut number = |file: &LiveFile| {
            let rows = skipped.get(file.path());
            left_out.push(rows.cloned());
            u32::try_from(left_out.len() - 1).unwrap_or(u32::MAX)
        };
        let mut file_groups = Vec::with_capacity(groups.files.len());
        for files in groups.files {
            let files = files.into_iter().map(|file| {
                let number = (!skipped.is_empty()).then(|| number(file));
                partitioned(file, &with_places, number)
            });
            file_groups.push(FileGroup::new(files.collect()));
        }
        let all: Vec<usize> = (0..order.len()).collect();
        let projection = projection.unwrap_or(&all);
        let in_scan = |at: &usize| order.iter().position(|column| column == at);
        let mut scanned: Vec<usize> = projection.iter().filter_map(in_scan).collect();
        if !skipped.is_empty() {
            scanned.extend([order.len(), order.len() + 1]);
        }
        // Those left out are read as well.
        let limit = limit.map(|limit| {
            let left_out: u64 = skipped.values().map(|rows| rows.len()).sum();
            limit.saturating_add(usize::try_from(left_out).unwrap_or(usize::MAX))
        });
        let scan = FileScanConfigBuilder::new(layout.root_url.clone(), source)
            .with_file_groups(file_groups)
            .with_statistics(statistics)
            .with_limit(limit)
            .with_output_ordering(ordering.into_iter().collect())
            .with_projection_indices(Some(scanned))?
            .with_expr_adapter(layout.spec.adapter())
            .build();
        let mut scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
        if !skipped.is_empty() {
            scan = Arc::new(LeftOutExec::new(scan, Arc::new(left_out))?);
        }
        layout.spec.in_table_names(scan, projection)
    }

    /// The rows to leave out of each file, by its path: `left_out` and those that the log calls deleted.
    fn skipped(&self, left_out: &[Arc<RoaringBitmap>]) -> HashMap<&str, Arc<RoaringBitmap>> {
        let mut skipped = HashMap::new();
        for (at, file) in self.files().iter().enumerate() {
            let left_out = left_out.get(at).filter(|rows| !rows.is_empty());
            let rows = match (left_out, file.deleted()) {
                (None, None) => continue,
                (Some(rows), None) | (None, Some(rows)) => Arc::clone(rows),
                (Some(rows), Some(deleted)) => Arc::new(rows.as_ref() | deleted.as_ref()),
            };
            skipped.insert(file.path(), rows);
        }
        skipped
    }

    /// The columns in the order of a scan, divided into those of files, those that the log tells, the number of the file,
    /// and the number of the row.
    fn table_schema(
        &self,
        schema: &SchemaRef,
        places: Option<[FieldRef; 2]>,
    ) -> Result<TableSchema> {
        let constants = self.layout().spec.delta_partitions().len();
        if constants == 0 && places.is_none() {
            return Ok(TableSchema::from(Arc::clone(schema)));
        }
        let held = schema.fields().len().saturating_sub(constants);
        let in_files: Vec<usize> = (0..held).collect();
        let mut behind: Vec<FieldRef> = schema.fields().iter().skip(held).cloned().collect();
        let mut made = Vec::new();
        if let Some([file, row]) = places {
            behind.push(file);
            made.push(row);
        }
        Ok(TableSchema::builder(Arc::new(schema.project(&in_files)?))
            .with_table_partition_cols(behind)
            .with_virtual_columns(made)
            .build())
    }

    /// Whether a filter may exclude files and parts of them by their statistics. Those that others wrote of floats do not
    /// tell of NaN, which is above all numbers.
    fn may_prune(&self, filter: &Expr) -> bool {
        let spec = &self.layout().spec;
        let is_float = |column: &Column| {
            let field = spec.schema.field_with_name(&column.name);
            field.is_ok_and(|field| field.data_type().is_floating())
        };
        spec.adopted.is_none() || !filter.column_refs().into_iter().any(is_float)
    }

    /// The files that may hold rows for which `predicate` is true.
    fn matching_files(
        &self,
        schema: &SchemaRef,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        max_in_list_size: usize,
    ) -> Result<Vec<&Arc<LiveFile>>> {
        let all = self.files().iter();
        let Some(predicate) = predicate else {
            return Ok(all.collect());
        };
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(schema))
            .with_max_in_list_size(max_in_list_size)
            .try_build(Arc::clone(predicate))?;
        let keep = pruning.prune(self)?;
        Ok(all
            .zip(keep)
            .filter_map(|(file, keep)| keep.then_some(file))
            .collect())
    }

    /// The order of rows sorted by the key.
    fn key_ordering(&self, schema: &SchemaRef) -> Option<LexOrdering> {
        LexOrdering::new(key_order(self.layout(), schema))
    }

    fn arrays_of(&self, column: &Column) -> Option<&ColumnArrays> {
        self.column_arrays(self.layout().file_schema.index_of(&column.name).ok()?)
    }
}

impl PruningStatistics for ClosedVersion {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.arrays_of(column)?.min.clone()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.arrays_of(column)?.max.clone()
    }

    fn num_containers(&self) -> usize {
        self.file_count()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.arrays_of(column)?.nulls.clone()
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.files().iter().map(|file| file.rows());
        Some(Arc::new(rows.collect::<UInt64Array>()))
    }

    /// Files of buckets that none of the values falls into hold none of them. The others may.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let schema = &self.layout().file_schema;
        let field = schema.field_with_name(&column.name).ok()?;
        // By number of buckets, which is mostly one.
        let mut wanted: HashMap<u32, Option<BTreeSet<i64>>> = HashMap::new();
        let mut holds = |file: &LiveFile| -> Option<bool> {
            let (count, own) = file.partition()?.bucket(&column.name)?;
            let wanted = wanted
                .entry(count)
                .or_insert_with(|| buckets_of(values.iter(), field, count));
            let may = own.is_some_and(|own| wanted.as_ref().is_none_or(|w| w.contains(&own)));
            (!may && wanted.is_some()).then_some(false)
        };
        let known: Vec<Option<bool>> = self.files().iter().map(|file| holds(file)).collect();
        let any = known.iter().any(Option::is_some);
        any.then(|| known.into_iter().collect())
    }
}

/// The first files that have `limit` rows between them.
fn enough_for(files: Vec<&Arc<LiveFile>>, limit: usize) -> Vec<&Arc<LiveFile>> {
    let wanted = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut rows = 0_u64;
    files
        .into_iter()
        .take_while(|file| {
            let needed = rows < wanted;
            rows = rows.saturating_add(file.rows().unwrap_or(0));
            needed
        })
        .collect()
}

/// A file to read, with its number if the scan gives it one.
fn partitioned(file: &LiveFile, order: &[usize], number: Option<u32>) -> PartitionedFile {
    let mut partitioned = PartitionedFile::new_from_meta(file.meta().clone());
    let values = file.constants().iter().map(|(_, value)| value.clone());
    let number = number.map(|number| ScalarValue::UInt32(Some(number)));
    partitioned.partition_values = values.chain(number).collect();
    let statistics = match partitioned.partition_values.is_empty() {
        true => Arc::clone(file.statistics()),
        false => Arc::new(stats::in_order(file.statistics(), order)),
    };
    // Not by its own means: those take it that no value of a partition is NULL.
    partitioned.statistics = Some(statistics);
    partitioned
}

/// Files that are read one after the other, for each partition of a plan.
struct Groups<'a> {
    files: Vec<Vec<&'a Arc<LiveFile>>>,
    /// Whether each group yields its rows sorted by the key.
    ordered: bool,
}

/// Shares files out to at most `partitions` groups, in key order if that can be.
fn group<'a>(
    files: Vec<&'a Arc<LiveFile>>,
    first_key: Option<usize>,
    partitions: usize,
) -> Groups<'a> {
    let partitions = partitions.max(1);
    if let Some(mut files) = first_key.and_then(|key| chains(&files, key, partitions)) {
        spread(&mut files, partitions);
        return Groups {
            files,
            ordered: true,
        };
    }
    let mut files = files;
    files.sort_by_key(|file| std::cmp::Reverse(file.bytes()));
    let mut groups: Vec<(u64, Vec<&Arc<LiveFile>>)> = Vec::new();
    for file in files {
        // The largest file left goes to the group with the least to read.
        let least = if groups.len() < partitions {
            groups.push((0, Vec::new()));
            groups.last_mut()
        } else {
            groups.iter_mut().min_by_key(|(bytes, _)| *bytes)
        };
        if let Some((bytes, group)) = least {
            *bytes += file.bytes();
            group.push(file);
        }
    }
    Groups {
        files: groups.into_iter().map(|(_, files)| files).collect(),
        ordered: false,
    }
}

/// Splits sorted files into at most `limit` chains in which each file begins above where the one
/// before ends. `None` if a file is not sorted, its bounds are unknown, or more chains are needed.
fn chains<'a>(
    files: &[&'a Arc<LiveFile>],
    key: usize,
    limit: usize,
) -> Option<Vec<Vec<&'a Arc<LiveFile>>>> {
    let mut bounded = Vec::with_capacity(files.len());
    for file in files {
        if !file.sorted() {
            return None;
        }
        bounded.push((*file, file.bounds(key)?));
    }
    bounded.sort_by(|(_, (left, _)), (_, (right, _))| {
        left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut chains: Vec<(&ScalarValue, Vec<&Arc<LiveFile>>)> = Vec::new();
    for (file, (min, max)) in bounded {
        // The chain that ends closest below keeps the others free for files that begin earlier.
        let fitting =
            chains
                .iter_mut()
                .filter(|(end, _)| *end < min)
                .max_by(|(left, _), (right, _)| {
                    left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal)
                });
        if let Some((end, chain)) = fitting {
            *end = max;
            chain.push(file);
        } else if chains.len() < limit {
            chains.push((max, vec![file]));
        } else {
            return None;
        }
    }
    Some(chains.into_iter().map(|(_, files)| files).collect())
}

/// Cuts the longest chains until there is one for each partition, or nothing left to cut.
fn spread(chains: &mut Vec<Vec<&Arc<LiveFile>>>, partitions: usize) {
    while chains.len() < partitions {
        let longest = chains
            .iter_mut()
            .filter(|chain| chain.len() > 1)
            .max_by_key(|chain| chain.iter().map(|file| file.bytes()).sum::<u64>());
        let Some(longest) = longest else { return };
        let half = longest.iter().map(|file| file.bytes()).sum::<u64>() / 2;
        let mut before = 0;
        let cut = longest
            .iter()
            .position(|file| {
                before += file.bytes();
                before > half
            })
            .unwrap_or(longest.len() / 2)
            .clamp(1, longest.len() - 1);
        let rest = longest.split_off(cut);
        chains.push(rest);
    }
}
