//! Takes the shadowed rows out of a scan of the closed table.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;

use crate::definitions::Table;
use crate::error::{CatalogError, Result};

/// Drops rows whose key is in the shadow, and then the key columns that only this needed.
#[derive(Debug)]
pub(super) struct ShadowFilterExec {
    input: Arc<dyn ExecutionPlan>,
    table: Arc<Table>,
    /// Leading columns of the input that go on.
    output_columns: usize,
    /// Positions of the key columns in the input, in key order.
    key_positions: Vec<usize>,
    shadow: Arc<HashSet<Vec<u8>>>,
    properties: Arc<PlanProperties>,
}

impl ShadowFilterExec {
    /// The columns to read: those asked for, then the key columns that are not among them.
    pub(super) fn input_projection(table: &Table, projection: &[usize]) -> Vec<usize> {
        let missing = table
            .key_columns()
            .iter()
            .filter(|at| !projection.contains(at));
        projection.iter().chain(missing).copied().collect()
    }

    /// Filters `input`, which has the columns of [`ShadowFilterExec::input_projection`], the first
    /// `output_columns` of which go on.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        table: Arc<Table>,
        output_columns: usize,
        shadow: Arc<HashSet<Vec<u8>>>,
    ) -> Result<Self> {
        let names = table.codec.address_schema();
        let key_positions = names
            .fields()
            .iter()
            .map(|field| input.schema().index_of(field.name()))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let columns: Vec<usize> = (0..output_columns).collect();
        let schema = Arc::new(input.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.output_partitioning().partition_count(),
            ),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        let properties = Arc::new(properties);
        Ok(Self {
            input,
            table,
            output_columns,
            key_positions,
            shadow,
            properties,
        })
    }
}

impl DisplayAs for ShadowFilterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ShadowFilterExec: table={}, shadow={}",
            self.table.def.name,
            self.shadow.len()
        )
    }
}

impl ExecutionPlan for ShadowFilterExec {
    fn name(&self) -> &str {
        "ShadowFilterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let input = children
            .pop()
            .ok_or_else(|| CatalogError::internal("the shadow filter needs one input"))?;
        let (table, shadow) = (Arc::clone(&self.table), Arc::clone(&self.shadow));
        Ok(Arc::new(Self::new(
            input,
            table,
            self.output_columns,
            shadow,
        )?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let table = Arc::clone(&self.table);
        let shadow = Arc::clone(&self.shadow);
        let key_positions = self.key_positions.clone();
        let output: Vec<usize> = (0..self.output_columns).collect();
        let rows = input.map(move |batch| {
            Ok(unshadowed(
                &batch?,
                &table,
                &key_positions,
                &output,
                &shadow,
            )?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

fn unshadowed(
    batch: &RecordBatch,
    table: &Table,
    key_positions: &[usize],
    output: &[usize],
    shadow: &HashSet<Vec<u8>>,
) -> Result<RecordBatch> {
    let keys = table.codec.encode_keys(&batch.project(key_positions)?)?;
    let keep: BooleanArray = keys
        .iter()
        .map(|key| Some(!shadow.contains(&**key)))
        .collect();
    let rows = batch.project(output)?;
    Ok(if keep.false_count() == 0 {
        rows
    } else {
        filter_record_batch(&rows, &keep)?
    })
}
