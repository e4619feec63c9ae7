//! Scans of the row store: the rows of an open table, or the open rows of a hybrid one.
//!
//! A scan walks one key range of one snapshot in key order, merges in what the transaction has
//! written itself, and decodes batches of rows into columns. It never looks at the closed table.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as DataFusionResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};

use crate::definitions::{StorageId, Table};
use crate::error::{CatalogError, Result};
use crate::key_range::KeyRange;
use crate::row_store::{FRESH_ROW, FRESH_TOMBSTONE, Space};
use crate::transaction::ReadView;
use crate::turns;

/// Keys that are fetched before the query goes on; more are fetched by another thread.
const FETCHED_AT_ONCE_MAX: usize = 1_024;

/// Batches that wait between the scanning thread and the query.
const BATCHES_WAITING_MAX: usize = 2;

/// Reads rows of the row store.
#[derive(Debug)]
pub(crate) struct OpenScanExec {
    view: ReadView,
    table: Arc<Table>,
    source: RowSource,
    /// Columns by position; one past the last is the row number.
    projection: Vec<usize>,
    range: KeyRange,
    /// Name of the index that the keys are from.
    index: Option<String>,
    limit: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The order of rows in key order, as far as the leading key columns are among those read.
pub(crate) fn key_ordering(table: &Table, projection: &[usize]) -> Option<LexOrdering> {
    let columns = table.key_columns().iter().map_while(|key| {
        let at = projection.iter().position(|column| column == key)?;
        let name = table.schema.fields().get(*key)?.name();
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, at));
        Some(PhysicalSortExpr::new(column, SortOptions::new(false, true)))
    });
    LexOrdering::new(columns.collect::<Vec<_>>())
}

/// Which rows of the row store a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowSource {
    /// All open rows.
    Rows,
    /// Those that changed since the snapshot.
    Fresh,
}

impl RowSource {
    fn space(self, storage: StorageId) -> Space {
        match self {
            Self::Rows => Space::Rows(storage),
            Self::Fresh => Space::Fresh(storage),
        }
    }

    /// The row value in what is stored; `None` for a tombstone.
    fn value(self, stored: fjall::Slice) -> Result<Option<fjall::Slice>> {
        match (self, stored.split_first()) {
            (Self::Rows, _) => Ok(Some(stored)),
            (Self::Fresh, Some((&FRESH_ROW, value))) => Ok(Some(fjall::Slice::from(value))),
            (Self::Fresh, Some((&FRESH_TOMBSTONE, _))) => Ok(None),
            (Self::Fresh, _) => Err(CatalogError::corrupted("fresh row of an unknown kind")),
        }
    }
}

impl OpenScanExec {
    /// A scan of the keys in `range`, up to `limit` rows.
    pub(crate) fn new(
        view: ReadView,
        table: Arc<Table>,
        source: RowSource,
        projection: Vec<usize>,
        range: KeyRange,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = table.codec.projected_schema(&projection)?;
        let mut equivalences = EquivalenceProperties::new(Arc::clone(&schema));
        // Own writes are merged in key order, too. A list of keys is read in the order of the list.
        let ordered = match &range {
            KeyRange::Range(..) => true,
            KeyRange::Keys(keys) => keys.is_sorted(),
        };
        if ordered {
            equivalences.add_orderings(key_ordering(&table, &projection));
        }
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            view,
            table,
            source,
            projection,
            range,
            index: None,
            limit,
            schema,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan, told that its keys are from an index.
    pub(crate) fn by_index(self, index: Option<String>) -> Self {
        Self { index, ..self }
    }

    fn reader(&self, batch_rows: usize) -> RowReader {
        RowReader {
            view: self.view.clone(),
            table: Arc::clone(&self.table),
            source: self.source,
            projection: self.projection.clone(),
            range: self.range.clone(),
            limit: self.limit.unwrap_or(usize::MAX),
            batch_rows,
        }
    }
}

impl DisplayAs for OpenScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenScanExec: table={}", self.table.def.name)?;
        if self.source == RowSource::Fresh {
            write!(f, ", fresh rows")?;
        }
        if let Some(index) = &self.index {
            write!(f, ", index={index}")?;
        }
        match &self.range {
            KeyRange::Keys(keys) => write!(f, ", keys={}", keys.len())?,
            KeyRange::Range(Bound::Unbounded, Bound::Unbounded) => {}
            KeyRange::Range(..) => write!(f, ", key range")?,
        }
        let names: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        write!(f, ", projection=[{}]", names.join(", "))?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for OpenScanExec {
    fn name(&self) -> &str {
        "OpenScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let reader = self.reader(context.session_config().batch_size());
        if matches!(&self.range, KeyRange::Keys(keys) if keys.len() <= FETCHED_AT_ONCE_MAX) {
            // A handful of point gets costs less than handing them to another thread.
            let mut batches = Vec::new();
            reader.read(|batch| {
                metrics.record_output(batch.num_rows());
                batches.push(Ok(batch));
                true
            })?;
            let stream = futures::stream::iter(batches);
            return Ok(Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                stream,
            )));
        }
        let mut builder =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_WAITING_MAX);
        let sender = builder.tx();
        builder.spawn_blocking(move || {
            reader.read(|batch| {
                metrics.record_output(batch.num_rows());
                turns::offer();
                // The query that no longer listens has ended or was cancelled.
                sender.blocking_send(Ok(batch)).is_ok()
            })?;
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &datafusion::physical_plan::statistics::StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        let rows = match &self.range {
            KeyRange::Keys(keys) => keys.len(),
            KeyRange::Range(..) => {
                let space = self.source.space(self.table.def.storage);
                self.view.snapshot.estimated_rows(space)?
            }
        };
        let rows = rows.min(self.limit.unwrap_or(usize::MAX));
        Ok(Arc::new(
            Statistics::new_unknown(&self.schema).with_num_rows(Precision::Inexact(rows)),
        ))
    }
}

/// Reads the rows of one scan.
struct RowReader {
    view: ReadView,
    table: Arc<Table>,
    source: RowSource,
    projection: Vec<usize>,
    range: KeyRange,
    limit: usize,
    batch_rows: usize,
}

impl RowReader {
    /// Hands batches to `sink` until there are no more rows or it returns false.
    fn read(&self, mut sink: impl FnMut(RecordBatch) -> bool) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let mut batch = Batch::new(self);
        match &self.range {
            KeyRange::Keys(keys) => {
                for key in keys {
                    if let Some(value) = self.get(key)?
                        && !batch.push(fjall::Slice::from(&**key), value, &mut sink)?
                    {
                        return Ok(());
                    }
                }
            }
            KeyRange::Range(start, end) => {
                if !self.merge(start, end, |key, value| batch.push(key, value, &mut sink))? {
                    return Ok(());
                }
            }
        }
        batch.flush(&mut sink)?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<fjall::Slice>> {
        let storage = self.table.def.storage;
        match self
            .view
            .writes
            .table(storage)
            .and_then(|writes| writes.rows.get(key))
        {
            Some(own) => Ok(own.as_ref().map(|value| fjall::Slice::from(&**value))),
            None => match self.view.snapshot.get(self.source.space(storage), key)? {
                Some(stored) => self.source.value(stored),
                None => Ok(None),
            },
        }
    }

    /// The rows of a range in key order, own writes instead of what the snapshot has. Returns false
    /// if `row` did.
    fn merge(
        &self,
        start: &Bound<Vec<u8>>,
        end: &Bound<Vec<u8>>,
        mut row: impl FnMut(fjall::Slice, fjall::Slice) -> Result<bool>,
    ) -> Result<bool> {
        let storage = self.table.def.storage;
        let range = (start.clone(), end.clone());
        let space = self.source.space(storage);
        let mut stored = self.view.snapshot.range(space, range)?;
        let own = self.view.writes.table(storage);
        let bounds = (borrow(start), borrow(end));
        let mut own = own
            .into_iter()
            .flat_map(|writes| writes.rows.range::<[u8], _>(bounds))
            .peekable();
        let mut next = stored.next().map(fjall::Guard::into_inner).transpose()?;
        loop {
            let own_first = match (&next, own.peek()) {
                (None, None) => return Ok(true),
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some((key, _)), Some((own_key, _))) => ***own_key <= **key,
            };
            if own_first {
                let Some((own_key, own_value)) = own.next() else {
                    continue;
                };
                if next.as_ref().is_some_and(|(key, _)| **key == **own_key) {
                    next = stored.next().map(fjall::Guard::into_inner).transpose()?;
                }
                if let Some(value) = own_value
                    && !row(fjall::Slice::from(&**own_key), fjall::Slice::from(&**value))?
                {
                    return Ok(false);
                }
            } else {
                let following = stored.next().map(fjall::Guard::into_inner).transpose()?;
                let Some((key, stored)) = std::mem::replace(&mut next, following) else {
                    continue;
                };
                if let Some(value) = self.source.value(stored)?
                    && !row(key, value)?
                {
                    return Ok(false);
                }
            }
        }
    }
}

fn borrow(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Rows collected for the next batch.
struct Batch<'a> {
    reader: &'a RowReader,
    keys: Vec<fjall::Slice>,
    values: Vec<fjall::Slice>,
    rows_left: usize,
}

impl<'a> Batch<'a> {
    fn new(reader: &'a RowReader) -> Self {
        Self {
            reader,
            keys: Vec::new(),
            values: Vec::new(),
            rows_left: reader.limit,
        }
    }

    /// Adds a row; returns whether more are wanted.
    fn push(
        &mut self,
        key: fjall::Slice,
        value: fjall::Slice,
        sink: &mut impl FnMut(RecordBatch) -> bool,
    ) -> Result<bool> {
        self.keys.push(key);
        self.values.push(value);
        self.rows_left -= 1;
        if self.rows_left == 0 {
            self.flush(sink)?;
            return Ok(false);
        }
        if self.keys.len() >= self.reader.batch_rows {
            return self.flush(sink);
        }
        Ok(true)
    }

    fn flush(&mut self, sink: &mut impl FnMut(RecordBatch) -> bool) -> Result<bool> {
        if self.keys.is_empty() {
            return Ok(true);
        }
        let codec = &self.reader.table.codec;
        let batch = codec.decode(&self.reader.projection, &self.keys, &self.values)?;
        self.keys.clear();
        self.values.clear();
        Ok(sink(batch))
    }
}
