//! Bringing rows into the order that files are written in: partition by partition, by key within each.
//!
//! Sorts take a bounded part of memory and go on in temporary files; merges of sorted files hold a batch of each.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::StreamExt;
use parking_lot::Mutex;

use super::partition::Partitioner;
use super::{ClosedTableError, Layout, Result, schema};

/// Memory of one sort.
const SORT_BYTES_MAX: usize = 256 << 20;

/// Merges streams that are sorted by the key into one that is.
pub(super) fn merged(
    layout: &Layout,
    streams: Vec<SendableRecordBatchStream>,
) -> Result<SendableRecordBatchStream> {
    let schema = &layout.file_schema;
    let order = ordering(key_order(layout, schema))?;
    let source = once(schema, streams, Some(order.clone()))?;
    let merge = SortPreservingMergeExec::new(order, source);
    Ok(merge.execute(0, context(layout)?)?)
}

/// Sorts rows by partition and key.
pub(super) fn sorted(
    layout: &Layout,
    streams: Vec<SendableRecordBatchStream>,
) -> Result<SendableRecordBatchStream> {
    let schema = &layout.file_schema;
    let width = schema.fields().len();
    let partitioner = Partitioner::new(&layout.spec)?.map(Arc::new);
    // The partition's values stand behind the columns while rows are sorted.
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let made: Vec<DataType> = match &partitioner {
        Some(partitioner) => {
            let values = partitioner.values(&RecordBatch::new_empty(Arc::clone(schema)))?;
            values
                .iter()
                .map(|values| values.data_type().clone())
                .collect()
        }
        None => Vec::new(),
    };
    let behind = made.into_iter().enumerate();
    fields.extend(behind.map(|(at, ty)| Arc::new(Field::new(format!("partition {at}"), ty, true))));
    let wide: SchemaRef = Arc::new(Schema::new(fields));
    let partition = wide.fields().iter().enumerate().skip(width);
    let partition = partition.map(|(at, field)| sort_by(field.name(), at));
    let order = ordering(partition.chain(key_order(layout, schema)))?;

    let streams = streams.into_iter().map(|stream| {
        let (partitioner, wide) = (partitioner.clone(), Arc::clone(&wide));
        let schema_of_stream = Arc::clone(&wide);
        let widened = stream.map(move |batch| {
            let batch = batch?;
            let mut columns = batch.columns().to_vec();
            if let Some(partitioner) = &partitioner {
                let values = partitioner.values(&batch);
                columns.extend(values.map_err(|error| DataFusionError::External(Box::new(error)))?);
            }
            Ok(RecordBatch::try_new(Arc::clone(&wide), columns)?)
        });
        adapted(&schema_of_stream, widened)
    });
    let source = once(&wide, streams.collect(), None)?;
    let one: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(source));
    let sort = SortExec::new(order, one);
    let rows = sort.execute(0, context(layout)?)?;
    let own = Arc::clone(schema);
    let narrowed = rows.map(move |batch| {
        let columns = batch?.columns().iter().take(width).cloned().collect();
        Ok(RecordBatch::try_new(Arc::clone(&own), columns)?)
    });
    Ok(adapted(schema, narrowed))
}

/// Sorts rows of any columns by all of these.
pub(super) fn sorted_by_all(
    layout: &Layout,
    schema: &SchemaRef,
    rows: SendableRecordBatchStream,
) -> Result<SendableRecordBatchStream> {
    let columns = schema.fields().iter().enumerate();
    let order = ordering(columns.map(|(at, field)| sort_by(field.name(), at)))?;
    let sort = SortExec::new(order, once(schema, vec![rows], None)?);
    Ok(sort.execute(0, context(layout)?)?)
}

/// A stream with its schema.
pub(super) fn adapted(
    schema: &SchemaRef,
    rows: impl futures::Stream<Item = DataFusionResult<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows))
}

fn sort_by(name: &str, at: usize) -> PhysicalSortExpr {
    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, at));
    // As arrow-row compares keys.
    let options = SortOptions {
        descending: false,
        nulls_first: true,
    };
    PhysicalSortExpr::new(column, options)
}

/// The order by the key of rows with the columns of `schema`.
pub(super) fn key_order(
    layout: &Layout,
    schema: &SchemaRef,
) -> impl Iterator<Item = PhysicalSortExpr> {
    let key = schema::key_fields(layout);
    key.filter_map(|field| Some(sort_by(field.name(), schema.index_of(field.name()).ok()?)))
}

fn ordering(by: impl Iterator<Item = PhysicalSortExpr>) -> Result<LexOrdering> {
    LexOrdering::new(by).ok_or_else(|| ClosedTableError::Invalid {
        message: "rows without a key have no order".to_string(),
    })
}

/// Memory and temporary files of one sort.
fn context(layout: &Layout) -> Result<Arc<TaskContext>> {
    let folders = DiskManagerMode::Directories(vec![layout.spec.temporary.clone()]);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(SORT_BYTES_MAX)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(folders))
        .build_arc()?;
    Ok(Arc::new(TaskContext::default().with_runtime(runtime)))
}

/// Streams as a plan that can be run once.
fn once(
    schema: &SchemaRef,
    streams: Vec<SendableRecordBatchStream>,
    order: Option<LexOrdering>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let streams = streams
        .into_iter()
        .map(|stream| -> Arc<dyn PartitionStream> {
            Arc::new(Once {
                schema: Arc::clone(schema),
                stream: Mutex::new(Some(stream)),
            })
        });
    let plan = StreamingTableExec::try_new(
        Arc::clone(schema),
        streams.collect(),
        None,
        order,
        false,
        None,
    )?;
    Ok(Arc::new(plan))
}

/// A stream that is handed out once.
struct Once {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        match self.stream.lock().take() {
            Some(stream) => stream,
            None => {
                let again = DataFusionError::Internal("rows are read a second time".to_string());
                let failed = futures::stream::once(async move { Err(again) });
                adapted(&self.schema, failed)
            }
        }
    }
}
