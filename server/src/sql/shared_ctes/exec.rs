//! The plan of rows that several places of a statement read.
//!
//! Each place has a [`SharedRowsExec`] with a plan of its own below it; [`connect`] gives those of one number one cell to keep
//! rows in. The first that is read runs its plan, all partitions of it, into the cell, in a task of its own: it goes on if
//! that reader stops early, and ends with the statement. If the rows do not fit into the statement's memory, nothing is kept and
//! each place runs its own plan.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::Mutex;

/// The rows of all partitions, or why there are none.
#[derive(Clone)]
enum Kept {
    Rows(Arc<KeptRows>),
    /// They do not fit into memory. The plan that was run for them cannot run again; `again` is like it.
    TooMany {
        run: Arc<dyn ExecutionPlan>,
        again: Arc<dyn ExecutionPlan>,
    },
}

struct KeptRows {
    partitions: Vec<Vec<RecordBatch>>,
    _memory: MemoryReservation,
}

type Keeping = Shared<BoxFuture<'static, std::result::Result<Kept, Arc<DataFusionError>>>>;

/// What the places of one number have in common.
#[derive(Default)]
struct Cell(Mutex<Option<Keeping>>);

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cell")
    }
}

/// One place that reads shared rows.
#[derive(Debug, Clone)]
pub(super) struct SharedRowsExec {
    number: usize,
    input: Arc<dyn ExecutionPlan>,
    cell: Arc<Cell>,
    metrics: ExecutionPlanMetricsSet,
}

/// Gives the places of each number in a plan one cell. Called once for each run of a statement.
pub fn connect(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut cells: HashMap<usize, Arc<Cell>> = HashMap::new();
    let connected = plan.transform_up(|node| {
        let Some(place) = node.downcast_ref::<SharedRowsExec>() else {
            return Ok(Transformed::no(node));
        };
        let mut place = place.clone();
        place.cell = Arc::clone(cells.entry(place.number).or_default());
        Ok(Transformed::yes(Arc::new(place) as _))
    })?;
    Ok(connected.data)
}

impl SharedRowsExec {
    pub(super) fn new(number: usize, input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            number,
            input,
            cell: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The rows, computed by whoever asks first.
    fn kept(&self, context: &Arc<TaskContext>) -> Keeping {
        let mut keeping = self.cell.0.lock();
        let keeping = keeping.get_or_insert_with(|| {
            let (plan, context) = (Arc::clone(&self.input), Arc::clone(context));
            let task = SpawnedTask::spawn(keep(plan, context));
            let ended = async move {
                let ended = task
                    .join()
                    .await
                    .map_err(|e| DataFusionError::External(Box::new(e)));
                ended.flatten().map_err(Arc::new)
            };
            ended.boxed().shared()
        });
        keeping.clone()
    }
}

/// Runs a plan and keeps its rows.
async fn keep(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<Kept> {
    let memory = MemoryConsumer::new("shared rows").register(context.memory_pool());
    let memory = Arc::new(Mutex::new(memory));
    let mut tasks = Vec::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let mut rows = plan.execute(partition, Arc::clone(&context))?;
        let memory = Arc::clone(&memory);
        tasks.push(SpawnedTask::spawn(async move {
            let mut batches = Vec::new();
            while let Some(batch) = rows.try_next().await? {
                memory.lock().try_grow(batch.get_array_memory_size())?;
                batches.push(batch);
            }
            Ok::<_, DataFusionError>(batches)
        }));
    }
    let mut partitions = Vec::with_capacity(tasks.len());
    for task in tasks {
        let ended = task.join().await;
        match ended
            .map_err(|e| DataFusionError::External(Box::new(e)))
            .flatten()
        {
            Ok(batches) => partitions.push(batches),
            Err(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) => {
                let again = reset_plan_states(Arc::clone(&plan))?;
                return Ok(Kept::TooMany { run: plan, again });
            }
            Err(error) => return Err(error),
        }
    }
    let memory = memory.lock().take();
    Ok(Kept::Rows(Arc::new(KeptRows {
        partitions,
        _memory: memory,
    })))
}

impl DisplayAs for SharedRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedRowsExec: number={}", self.number)
    }
}

impl ExecutionPlan for SharedRowsExec {
    fn name(&self) -> &str {
        "SharedRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
        let input = children.pop().ok_or_else(|| {
            DataFusionError::Internal("SharedRowsExec needs an input".to_string())
        })?;
        let mut place = self.as_ref().clone();
        place.input = input;
        Ok(Arc::new(place))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (keeping, input) = (self.kept(&context), Arc::clone(&self.input));
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let partitions = input.output_partitioning().partition_count();
        let rows = async move {
            let kept = keeping.await.map_err(DataFusionError::Shared)?;
            Ok::<_, DataFusionError>(match kept {
                Kept::Rows(rows) if rows.partitions.len() == partitions => {
                    let batches = rows.partitions.get(partition).cloned();
                    let batches = batches.unwrap_or_default().into_iter().map(move |batch| {
                        // Held as long as its rows are read.
                        let _rows = &rows;
                        Ok(batch)
                    });
                    futures::stream::iter(batches).boxed()
                }
                Kept::Rows(_) => input.execute(partition, context)?,
                Kept::TooMany { run, again } => {
                    let own = match Arc::ptr_eq(&run, &input) {
                        true => again,
                        false => input,
                    };
                    own.execute(partition, context)?
                }
            })
        };
        let rows = futures::stream::once(rows).try_flatten();
        let rows = rows.inspect_ok(move |batch| {
            metrics.record_output(batch.num_rows());
        });
        let stream = RecordBatchStreamAdapter::new(self.schema(), rows);
        Ok(Box::pin(stream))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let known = inputs.first().cloned();
        Ok(known.unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.schema()))))
    }
}
