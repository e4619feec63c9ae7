//! Rows that a join above would drop, dropped where they are read.
//!
//! A hash join that has read its one side knows which keys can match, and DataFusion hands that down to the scans of the other side
//! as a *dynamic filter*. The Parquet reader leaves out row groups and pages by it. Rows of a page that has matches
//! go on, through aggregates and exchanges, up to the join. A [`SieveExec`] over each scan evaluates the filter on rows as well.
//!
//! That pays where a filter drops many rows for little time, and neither is known before: a range of keys costs a
//! nanosecond a row, a search in the join's table many. So the sieve tries each filter on some batches, and one that takes too
//! long for each row that it drops is left out for a while, and then tried again. A filter that drops nothing costs next to nothing.
//!
//! Where the join is divided by a hash of the keys, its filter asks each row for the partition first, and then that partition's table.
//! To ask the tables of a few partitions in turn finds the same rows for less.
//!
//! [`AddSieves`] puts a sieve over each scan of files before DataFusion hands the filters down. One that gets none takes itself
//! out again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{BatchCoalescer, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, DynamicFilterPhysicalExpr, DynamicFilterTracking,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// Rows after which it is told whether a filter pays.
const TRY_ROWS: usize = 32_768;

/// Rows that a filter is left out for before it is tried again.
const REST_ROWS: usize = 1 << 20;

/// Nanoseconds that a filter may take for each row that it drops: less than what an exchange and a join need for it.
const DROP_NS_MAX: u64 = 50;

/// How the names of delta-rs' scans begin. They count the rows that they read, to know which are deleted, and are left as they are.
pub(crate) const DELTA_SCAN: &str = "DeltaScan";

/// Partitions of a join up to which a row is looked for in each of them.
const PARTITIONS_MAX: usize = 4;

/// Puts a [`SieveExec`] over each scan of files.
#[derive(Debug)]
pub(crate) struct AddSieves;

impl PhysicalOptimizerRule for AddSieves {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sieved = plan.transform_down(|node| {
            if node.name().starts_with(DELTA_SCAN) {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            let scan = node.downcast_ref::<DataSourceExec>();
            let of_files = scan.is_some_and(|scan| scan.data_source().is::<FileScanConfig>());
            Ok(match of_files {
                true => {
                    let sieve = Arc::new(SieveExec::new(node));
                    Transformed::new(sieve as _, true, TreeNodeRecursion::Jump)
                }
                false => Transformed::no(node),
            })
        });
        sieved.data()
    }

    fn name(&self) -> &str {
        "add_sieves"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of its input for which a dynamic filter holds, or more.
#[derive(Debug, Clone)]
pub(crate) struct SieveExec {
    input: Arc<dyn ExecutionPlan>,
    /// All must hold.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    metrics: ExecutionPlanMetricsSet,
}

impl SieveExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            input,
            filters: Vec::new(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for SieveExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters: Vec<String> = self.filters.iter().map(ToString::to_string).collect();
        write!(f, "SieveExec: {}", filters.join(" AND "))
    }
}

impl ExecutionPlan for SieveExec {
    fn name(&self) -> &str {
        "SieveExec"
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

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.filters {
            if visit(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("SieveExec needs an input".to_string()))?;
        Ok(Arc::new(Self {
            input,
            filters: self.filters.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let schema = self.schema();
        // A batch that is large enough as it is goes on as it is.
        let passed = BatchCoalescer::new(Arc::clone(&schema), batch_rows)
            .with_biggest_coalesce_batch_size(Some(batch_rows / 2));
        Ok(Box::pin(Sieved {
            input: self.input.execute(partition, context)?,
            filters: self.filters.iter().cloned().map(Adaptive::new).collect(),
            passed,
            done: false,
            schema,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
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
        let known = inputs
            .first()
            .map(|known| Statistics::clone(known).to_inexact());
        Ok(Arc::new(known.unwrap_or_else(|| {
            Statistics::new_unknown(&self.schema())
        })))
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
        found: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters = found.parent_filters.iter().map(|found| &found.filter);
        let is_dynamic = |filter: &&Arc<dyn PhysicalExpr>| {
            DynamicFilterTracking::classify(filter).contains_dynamic_filter()
        };
        let filters: Vec<_> = filters.filter(is_dynamic).cloned().collect();
        let node: Arc<dyn ExecutionPlan> = match filters.is_empty() {
            true => Arc::clone(&self.input),
            false => Arc::new(Self {
                filters,
                ..Self::new(Arc::clone(&self.input))
            }),
        };
        Ok(FilterPushdownPropagation::if_all(found).with_updated_node(node))
    }
}

/// A filter, and whether it is evaluated.
struct Adaptive {
    filter: Arc<dyn PhysicalExpr>,
    /// What it said when it had a generation, in a form that takes less time.
    current: Option<(u64, Arc<dyn PhysicalExpr>)>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is tried: on these rows so far, in these nanoseconds, and has dropped so many.
    Tried {
        rows: usize,
        dropped: usize,
        ns: u64,
    },
    /// It is left out for so many more rows.
    Resting { rows: usize },
}

impl Default for State {
    fn default() -> Self {
        Self::Tried {
            rows: 0,
            dropped: 0,
            ns: 0,
        }
    }
}

impl State {
    /// The state after rows that were not looked at.
    fn rested(self, batch: usize) -> Self {
        match self {
            Self::Resting { rows } if rows > batch => Self::Resting { rows: rows - batch },
            _ => Self::default(),
        }
    }

    /// The state after rows of which some were dropped.
    fn tried(self, batch: usize, batch_dropped: usize, took: Duration) -> Self {
        let Self::Tried { rows, dropped, ns } = self else {
            return self;
        };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (rows, dropped) = (rows + batch, dropped + batch_dropped);
        let ns = ns.saturating_add(took);
        if rows < TRY_ROWS {
            Self::Tried { rows, dropped, ns }
        } else if ns > (dropped as u64).saturating_mul(DROP_NS_MAX) {
            Self::Resting { rows: REST_ROWS }
        } else {
            Self::default()
        }
    }
}

impl Adaptive {
    fn new(filter: Arc<dyn PhysicalExpr>) -> Self {
        Self {
            filter,
            current: None,
            state: State::default(),
        }
    }

    /// What is to be evaluated.
    fn current(&mut self) -> Result<Arc<dyn PhysicalExpr>> {
        let generation = self.filter.snapshot_generation();
        if let Some((known, current)) = &self.current
            && *known == generation
        {
            return Ok(Arc::clone(current));
        }
        let current = match self.filter.downcast_ref::<DynamicFilterPhysicalExpr>() {
            Some(filter) => any_partition(&filter.current()?)?,
            None => Arc::clone(&self.filter),
        };
        self.current = Some((generation, Arc::clone(&current)));
        Ok(current)
    }

    /// The rows that pass; all of them while it rests.
    fn apply(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        if let State::Resting { .. } = self.state {
            self.state = self.state.rested(rows);
            return Ok(batch);
        }
        let begun = Instant::now();
        let holds = self.current()?.evaluate(&batch)?.into_array(rows)?;
        let holds = holds.as_boolean_opt().ok_or_else(|| {
            DataFusionError::Internal("a dynamic filter is not boolean".to_string())
        })?;
        // NULL is no match.
        let batch = match holds.true_count() {
            all if all == rows => batch,
            _ => filter_record_batch(&batch, holds)?,
        };
        self.state = self
            .state
            .tried(rows, rows - batch.num_rows(), begun.elapsed());
        Ok(batch)
    }
}

/// The filter of a join's partitions as one that holds if it does for any of them. A row whose key is in a partition's table is
/// of that partition, so both hold for the same rows.
fn any_partition(filter: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let Some(case) = filter.downcast_ref::<CaseExpr>() else {
        return Ok(Arc::clone(filter));
    };
    if case.when_then_expr().len() > PARTITIONS_MAX {
        return Ok(Arc::clone(filter));
    }
    let partitions = case.when_then_expr().iter().map(|(_, then)| then);
    let branches = partitions.chain(case.else_expr()).cloned();
    let any = branches.reduce(|left, right| Arc::new(BinaryExpr::new(left, Operator::Or, right)));
    Ok(any.unwrap_or_else(|| Arc::clone(filter)))
}

struct Sieved {
    input: SendableRecordBatchStream,
    filters: Vec<Adaptive>,
    passed: BatchCoalescer,
    done: bool,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Sieved {
    fn take(&mut self, mut batch: RecordBatch) -> Result<()> {
        for filter in &mut self.filters {
            if batch.num_rows() == 0 {
                return Ok(());
            }
            batch = filter.apply(batch)?;
        }
        Ok(self.passed.push_batch(batch)?)
    }

    fn next_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(batch) = self.passed.next_completed_batch() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.done {
                return Poll::Ready(None);
            }
            let taken = match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => {
                    let elapsed = self.metrics.elapsed_compute().clone();
                    let _timer = elapsed.timer();
                    self.take(batch)
                }
                Some(Err(error)) => Err(error),
                None => {
                    self.done = true;
                    self.passed.finish_buffered_batch().map_err(Into::into)
                }
            };
            if let Err(error) = taken {
                self.done = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl Stream for Sieved {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.next_batch(context);
        self.metrics.record_poll(next)
    }
}

impl RecordBatchStream for Sieved {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array};
    use datafusion::physical_expr::expressions::{binary, case, col, lit};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    const BATCH_ROWS: usize = 8_192;

    fn batches(count: usize) -> Vec<RecordBatch> {
        let rows = i32::try_from(BATCH_ROWS).unwrap();
        let batch = |at: usize| {
            let from = i32::try_from(at).unwrap() * rows;
            let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(from..from + rows));
            RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        (0..count).map(batch).collect()
    }

    /// The sizes of the batches that pass `n % divisor = 0`.
    async fn sizes(count: usize, divisor: i32) -> Vec<usize> {
        let batches = batches(count);
        let schema = batches[0].schema();
        let modulo = binary(
            col("n", &schema).unwrap(),
            Operator::Modulo,
            lit(divisor),
            &schema,
        );
        let filter = binary(modulo.unwrap(), Operator::Eq, lit(0), &schema).unwrap();
        let input = futures::stream::iter(batches.into_iter().map(Ok));
        let sieved = Sieved {
            input: Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), input)),
            filters: vec![Adaptive::new(filter)],
            passed: BatchCoalescer::new(Arc::clone(&schema), BATCH_ROWS)
                .with_biggest_coalesce_batch_size(Some(BATCH_ROWS / 2)),
            done: false,
            schema,
            metrics: BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0),
        };
        sieved
            .map(|batch| batch.unwrap().num_rows())
            .collect()
            .await
    }

    #[tokio::test]
    async fn rows_that_pass_come_in_large_batches() {
        // Each batch goes on as it is, or with others, whatever the clock says of the filter.
        let sizes = sizes(4, 10).await;
        let rows: usize = sizes.iter().sum();
        assert_eq!(rows, (4 * BATCH_ROWS).div_ceil(10));
        assert_eq!(sizes.len(), 1);
    }

    #[tokio::test]
    async fn a_batch_that_passes_is_not_copied() {
        assert_eq!(sizes(6, 1).await, [BATCH_ROWS; 6]);
    }

    #[test]
    fn partitions_are_asked_in_turn() {
        let batch = batches(1).remove(0);
        let schema = batch.schema();
        let n = || col("n", &schema).unwrap();
        let is = |at: i32| binary(n(), Operator::Eq, lit(at), &schema).unwrap();
        let modulo = binary(n(), Operator::Modulo, lit(2), &schema).unwrap();
        let branches = |count: i32| (0..count).map(|at| (lit(at), is(at))).collect();
        let routed = case(Some(modulo), branches(2), Some(lit(false))).unwrap();
        let any = any_partition(&routed).unwrap();
        assert!(any.is::<BinaryExpr>());
        let holds = |filter: &Arc<dyn PhysicalExpr>| {
            let holds = filter.evaluate(&batch).unwrap().into_array(BATCH_ROWS);
            holds.unwrap().as_boolean().true_count()
        };
        assert_eq!((holds(&routed), holds(&any)), (2, 2));
        let many = case(Some(n()), branches(5), None).unwrap();
        assert!(any_partition(&many).unwrap().is::<CaseExpr>());
    }

    #[test]
    fn a_filter_rests_when_it_takes_too_long_for_what_it_drops() {
        let ns = |ns: u64| Duration::from_nanos(ns);
        let tried = State::default();
        let worth = TRY_ROWS as u64 * DROP_NS_MAX;
        assert_eq!(tried.tried(TRY_ROWS, TRY_ROWS, ns(worth)), State::default());
        let rests = State::Resting { rows: REST_ROWS };
        assert_eq!(tried.tried(TRY_ROWS, TRY_ROWS, ns(worth + 1)), rests);
        assert_eq!(tried.tried(TRY_ROWS, 0, ns(1)), rests, "drops nothing");
        let half = tried.tried(TRY_ROWS / 2, 0, ns(7));
        assert!(matches!(half, State::Tried { ns: 7, .. }), "not yet");
        assert_eq!(
            rests.rested(1),
            State::Resting {
                rows: REST_ROWS - 1
            }
        );
        assert_eq!(rests.rested(REST_ROWS), State::default());
    }
}
