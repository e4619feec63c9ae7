//! Takes rows out of a scan of files by their place: the number of the file and the number of the row in it.
//!
//! A tenth of a percent of rows spread over a file would cut a Parquet row selection into so many pieces that the reader
//! spends more on them than on the rows. So whole batches are decoded, with the row's number that the reader tells, and the few
//! rows are taken out of them. What the reader skips by statistics it still skips; the numbers count on.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, UInt32Type};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use parquet::arrow::RowNumber;
use roaring::RoaringBitmap;

/// Rows to leave out of each file of a scan, by the number that the scan gives the file.
pub type LeftOutRows = Vec<Option<Arc<RoaringBitmap>>>;

/// The columns that a scan needs besides: the file's number, the same for all rows of a file, and the row's number in it.
pub(super) fn place_fields(schema: &Schema) -> [FieldRef; 2] {
    let free = |wanted: &str| {
        let mut name = wanted.to_string();
        while schema.field_with_name(&name).is_ok() {
            name.push('$');
        }
        name
    };
    [
        Arc::new(Field::new(free("$file"), DataType::UInt32, false)),
        Arc::new(Field::new(free("$row"), DataType::Int64, false).with_extension_type(RowNumber)),
    ]
}

/// Drops rows by their place, and then the two columns that tell it, which are the last of its input.
#[derive(Debug, Clone)]
pub(super) struct LeftOutExec {
    input: Arc<dyn ExecutionPlan>,
    left_out: Arc<LeftOutRows>,
    rows: u64,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LeftOutExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, left_out: Arc<LeftOutRows>) -> Result<Self> {
        let columns: Vec<usize> = (0..input.schema().fields().len().saturating_sub(2)).collect();
        let schema = Arc::new(input.schema().project(&columns)?);
        let mapping = ProjectionMapping::from_indices(&columns, &input.schema())?;
        let equivalences = input.equivalence_properties().project(&mapping, schema);
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            equivalences,
            datafusion::physical_plan::Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        let rows = left_out.iter().flatten().map(|rows| rows.len()).sum();
        Ok(Self {
            input,
            left_out,
            rows,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input, Arc::clone(&self.left_out))?))
    }
}

impl DisplayAs for LeftOutExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeftOutExec: rows={}", self.rows)
    }
}

impl ExecutionPlan for LeftOutExec {
    fn name(&self) -> &str {
        "LeftOutExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => self.over(input),
            None => Err(DataFusionError::Internal(
                "LeftOutExec needs an input".to_string(),
            )),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let left_out = Arc::clone(&self.left_out);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = input.map(move |batch| {
            let batch = batch?;
            let _timer = metrics.elapsed_compute().timer();
            let batch = without(batch, &left_out)?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// The rows left out are all in the files, so of an exact count an exact one remains. Bounds and nulls are as if they
    /// were still there.
    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        arguments: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let columns = self.schema().fields().len();
        let Some(input) = inputs.first() else {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema())));
        };
        let num_rows = match (input.num_rows, arguments.partition()) {
            (Precision::Exact(rows), None) => usize::try_from(self.rows)
                .ok()
                .and_then(|left_out| rows.checked_sub(left_out))
                .map_or(Precision::Absent, Precision::Exact),
            (rows, _) => rows.to_inexact(),
        };
        let mut statistics = input.as_ref().clone().to_inexact();
        statistics.column_statistics.truncate(columns);
        Ok(Arc::new(statistics.with_num_rows(num_rows)))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let found = self.input.try_pushdown_sort(order)?;
        found.try_map(|input| self.over(input))
    }
}

/// The rows of a batch that are not left out, without the two columns that tell their places.
pub fn without(batch: RecordBatch, left_out: &LeftOutRows) -> Result<RecordBatch> {
    let (columns, places) = match batch.num_columns().checked_sub(2) {
        Some(columns) => (columns, batch.columns().split_at(columns).1),
        None => return Err(no_places()),
    };
    let [files, rows] = places else {
        return Err(no_places());
    };
    let files = files.as_primitive_opt::<UInt32Type>();
    let rows = rows.as_primitive_opt::<Int64Type>();
    let (Some(files), Some(rows)) = (files, rows) else {
        return Err(no_places());
    };
    let keep = kept(files.values(), rows.values(), left_out);
    let projected: Vec<usize> = (0..columns).collect();
    let batch = batch.project(&projected)?;
    Ok(match keep {
        Some(keep) => filter_record_batch(&batch, &keep)?,
        None => batch,
    })
}

/// Which rows remain; `None`: all.
fn kept(files: &[u32], rows: &[i64], left_out: &LeftOutRows) -> Option<BooleanArray> {
    let (first_file, last_file) = (*files.first()?, *files.last()?);
    let (first, last) = (*rows.first()?, *rows.last()?);
    let of = |file: u32| left_out.get(file as usize).and_then(Option::as_ref);
    // As it is read, a batch is of one file, and mostly of one stretch of it. A sort below may have put any rows in between.
    let is_run = first_file == last_file
        && usize::try_from(last.wrapping_sub(first)).is_ok_and(|gap| gap + 1 == rows.len())
        && files.iter().all(|file| *file == first_file)
        && rows.iter().zip(first..).all(|(row, wanted)| *row == wanted);
    if is_run {
        let bounds = (u32::try_from(first), u32::try_from(last));
        let (Some(left_out), (Ok(first), Ok(last))) = (of(first_file), bounds) else {
            return None;
        };
        let mut found = left_out.range(first..=last).peekable();
        found.peek()?;
        let mut keep = BooleanBufferBuilder::new(rows.len());
        keep.append_n(rows.len(), true);
        found.for_each(|row| keep.set_bit((row - first) as usize, false));
        return Some(BooleanArray::new(keep.finish(), None));
    }
    let keep = files.iter().zip(rows).map(|(file, row)| {
        let row = u32::try_from(*row);
        !of(*file).is_some_and(|left_out| row.is_ok_and(|row| left_out.contains(row)))
    });
    let keep = BooleanArray::from(keep.collect::<Vec<bool>>());
    (keep.false_count() > 0).then_some(keep)
}

fn no_places() -> DataFusionError {
    DataFusionError::Internal("a scan does not tell the places of its rows".to_string())
}

#[cfg(test)]
mod tests;
