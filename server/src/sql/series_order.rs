//! Rows that a statement makes come in the order in which it makes them.
//!
//! `SELECT x FROM generate_series(1, 100000) AS x` has no ORDER BY, nor has `SELECT 'a' UNION ALL SELECT 'b'`; yet in PostgreSQL
//! their rows come as they are written, and people rely on it. DataFusion spreads a series over partitions as soon as something is
//! computed of it, and answers with the rows of a union as they come. Where nothing above needs them so, [`kept`] takes the
//! one out again, and puts an [`AppendExec`] in the place of the other. Unions that read tables stay as they are: their parts are
//! better read at the same time.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};

use super::append::AppendExec;

/// The plan with the rows that it makes in their order, if all that is done with them is done row by row.
pub fn kept(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let spread = plan.downcast_ref::<RepartitionExec>();
    if let Some(spread) = spread
        && matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_))
        && spread.input().is::<LazyMemoryExec>()
    {
        return Ok(Arc::clone(spread.input()));
    }
    if plan.is::<UnionExec>() && makes_all_rows(&plan)? {
        let inputs = plan.children().into_iter().cloned();
        let inputs: Vec<_> = inputs.map(kept).collect::<Result<_>>()?;
        let one_each =
            |input: &Arc<dyn ExecutionPlan>| input.output_partitioning().partition_count() == 1;
        return match inputs.iter().all(one_each) {
            true => Ok(Arc::new(AppendExec::new(inputs, plan.schema()))),
            false => replace_children_if_necessary(plan, inputs),
        };
    }
    let row_by_row = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<CoalescePartitionsExec>();
    let children = plan.children();
    let [child] = children.as_slice() else {
        return Ok(plan);
    };
    if !row_by_row {
        return Ok(plan);
    }
    let child = kept(Arc::clone(child))?;
    replace_children_if_necessary(plan, vec![child])
}

/// Whether it reads nothing that is stored.
fn makes_all_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut makes = true;
    plan.apply(|node| {
        let in_memory = |scan: &DataSourceExec| scan.data_source().is::<MemorySourceConfig>();
        makes = !node.children().is_empty()
            || node.is::<PlaceholderRowExec>()
            || node.is::<EmptyExec>()
            || node.is::<LazyMemoryExec>()
            || node.downcast_ref().is_some_and(in_memory);
        Ok(match makes {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(makes)
}
