//! Series come in their order.
//!
//! `SELECT x FROM generate_series(1, 100000) AS x` has no ORDER BY, yet in PostgreSQL its rows come as they are made, and people
//! rely on it. DataFusion spreads them over partitions as soon as something is computed of them. Where nothing above needs
//! them spread, [`kept`] takes that out again.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

/// The plan with the rows of a series in their order, if all that is done with them is done row by row.
pub fn kept(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let spread = plan.downcast_ref::<RepartitionExec>();
    if let Some(spread) = spread
        && matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_))
        && spread.input().is::<LazyMemoryExec>()
    {
        return Ok(Arc::clone(spread.input()));
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
