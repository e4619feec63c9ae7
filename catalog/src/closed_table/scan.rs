//! The plan that reads a version: only the files a filter cannot exclude, as few bytes of each as possible.
//!
//! Files are excluded by one pass of DataFusion's `PruningPredicate` over all files' statistics; the
//! filter then goes into the Parquet reader, which excludes row groups and pages by the same means
//! and, where the session says so, decodes the other columns only for rows that match.
//!
//! Invariant: an ordering is declared only if each group of files read in turn really yields it:
//! every file is known to be sorted by the key, and the files of a group do not overlap in the
//! first key column.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::SortOptions;
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetRowSelection,
};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use roaring::RoaringBitmap;

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
        left_out: &[RoaringBitmap],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let layout = self.layout();
        let schema = &layout.file_schema;
        let options = &state.config_options().execution;
        let predicate = conjunction(filters.iter().cloned())
            .map(|filter| {
                let filter = layout.spec.filter_on_files(filter)?;
                let names = DFSchema::try_from(Arc::clone(schema))?;
                state.create_physical_expr(filter, &names)
            })
            .transpose()?;

        let max_in_list_size = options.parquet.max_in_list_size;
        let mut files = self.matching_files(predicate.as_ref(), max_in_list_size)?;
        let skipped: HashMap<&str, &RoaringBitmap> = self
            .files()
            .iter()
            .zip(left_out)
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(file, rows)| (file.path(), rows))
            .collect();
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
            stats::total(schema, files.iter().map(|file| file.statistics().as_ref()))
        };
        let statistics = match skipped.is_empty() {
            true => statistics,
            false => statistics.to_inexact(),
        };

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
        let mut source = ParquetSource::new(TableSchema::from(Arc::clone(schema)))
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
            self.key_ordering()
        } else {
            None
        };
        let file_groups = groups
            .files
            .into_iter()
            .map(|files| {
                let files = files
                    .iter()
                    .map(|file| partitioned(file, skipped.get(file.path()).copied()));
                Ok(FileGroup::new(files.collect::<Result<_>>()?))
            })
            .collect::<Result<Vec<_>>>()?;
        let scan = FileScanConfigBuilder::new(layout.root_url.clone(), source)
            .with_file_groups(file_groups)
            .with_statistics(statistics)
            .with_limit(limit)
            .with_output_ordering(ordering.into_iter().collect())
            .with_projection_indices(projection.cloned())?
            .with_expr_adapter(layout.spec.adapter())
            .build();
        let scan = DataSourceExec::from_data_source(scan);
        match projection {
            Some(columns) => layout.spec.in_table_names(scan, columns),
            None => {
                let all: Vec<usize> = (0..schema.fields().len()).collect();
                layout.spec.in_table_names(scan, &all)
            }
        }
    }

    /// The files that may hold rows for which `predicate` is true.
    fn matching_files(
        &self,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        max_in_list_size: usize,
    ) -> Result<Vec<&Arc<LiveFile>>> {
        let all = self.files().iter();
        let Some(predicate) = predicate else {
            return Ok(all.collect());
        };
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.layout().file_schema))
            .with_max_in_list_size(max_in_list_size)
            .try_build(Arc::clone(predicate))?;
        let keep = pruning.prune(self)?;
        Ok(all
            .zip(keep)
            .filter_map(|(file, keep)| keep.then_some(file))
            .collect())
    }

    /// The order of rows sorted by the key.
    fn key_ordering(&self) -> Option<LexOrdering> {
        let (spec, schema) = (&self.layout().spec, &self.layout().file_schema);
        let options = SortOptions {
            descending: false,
            nulls_first: true,
        };
        LexOrdering::new(spec.key.iter().filter_map(|index| {
            let name = schema.fields().get(*index)?.name();
            let column: Arc<dyn PhysicalExpr> = Arc::new(PhysicalColumn::new(name, *index));
            Some(PhysicalSortExpr::new(column, options))
        }))
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

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
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

fn partitioned(file: &LiveFile, left_out: Option<&RoaringBitmap>) -> Result<PartitionedFile> {
    let partitioned = PartitionedFile::new_from_meta(file.meta().clone());
    let Some(left_out) = left_out else {
        return Ok(partitioned.with_statistics(Arc::clone(file.statistics())));
    };
    let rows = file.rows().and_then(|rows| usize::try_from(rows).ok());
    let rows = rows.ok_or_else(|| {
        DataFusionError::Internal(format!("file {} does not tell its rows", file.path()))
    })?;
    let statistics = file.statistics().as_ref().clone().to_inexact();
    Ok(partitioned
        .with_statistics(Arc::new(statistics))
        .with_extension(ParquetRowSelection::new(all_but(left_out, rows))))
}

/// All of `rows` rows but those left out.
fn all_but(left_out: &RoaringBitmap, rows: usize) -> RowSelection {
    let mut selectors = Vec::with_capacity(2 * usize::try_from(left_out.len()).unwrap_or_default());
    let mut next = 0;
    for row in left_out {
        let row = row as usize;
        if row >= rows {
            break;
        }
        if row > next {
            selectors.push(RowSelector::select(row - next));
        }
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    if next < rows {
        selectors.push(RowSelector::select(rows - next));
    }
    RowSelection::from(selectors)
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
