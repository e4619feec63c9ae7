//! The parts of a table side by side, as a plan that knows more of their rows than a union does.
//!
//! DataFusion answers `count(*)`, `min` and `max` from exact statistics, and merges those of a union's inputs column by column:
//! what one input does not know, the union does not. But a column that is NULL in all open rows, such as the one that says when a
//! record was closed, has no bounds there, and none to know. [`PartsExec`] merges with that in mind; when the rule that
//! asks has run, [`UnionOfParts`] puts the union in its place, which all other rules know how to push filters, orders and
//! limits through.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::closed_table::total_statistics;
use crate::sieve::AddSieves;

/// The rule of DataFusion that answers aggregates from statistics.
const AGGREGATES_FROM_STATISTICS: &str = "aggregate_statistics";

/// The rule of DataFusion that hands dynamic filters down to the scans.
const DYNAMIC_FILTERS: &str = "FilterPushdown(Post)";

/// DataFusion's rules for physical plans, the one that puts unions in the place of parts, and the one that adds sieves.
pub fn physical_optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules
        .iter()
        .position(|rule| rule.name() == AGGREGATES_FROM_STATISTICS);
    rules.insert(after.map_or(0, |at| at + 1), Arc::new(UnionOfParts));
    let before = rules.iter().position(|rule| rule.name() == DYNAMIC_FILTERS);
    rules.insert(before.unwrap_or(rules.len()), Arc::new(AddSieves));
    rules
}

/// The rows of all inputs.
#[derive(Debug)]
pub(super) struct PartsExec {
    union: Arc<dyn ExecutionPlan>,
}

impl PartsExec {
    /// The one input, or all of them side by side.
    pub(super) fn of(mut inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (inputs.len(), inputs.pop()) {
            (1, Some(input)) => Ok(input),
            (_, last) => {
                inputs.extend(last);
                let union = UnionExec::try_new(inputs)?;
                Ok(Arc::new(Self { union }))
            }
        }
    }
}

impl DisplayAs for PartsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartsExec")
    }
}

impl ExecutionPlan for PartsExec {
    fn name(&self) -> &str {
        "PartsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.union.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.union.children()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Self::of(children)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.union.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.union.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        arguments: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        if arguments.partition().is_some() {
            return self.union.statistics_from_inputs(inputs, arguments);
        }
        let inputs = inputs.iter().map(AsRef::as_ref);
        Ok(Arc::new(total_statistics(&self.schema(), inputs)))
    }
}

/// Puts the union in the place of each [`PartsExec`].
#[derive(Debug)]
struct UnionOfParts;

impl PhysicalOptimizerRule for UnionOfParts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_up(|node| {
            Ok(match node.downcast_ref::<PartsExec>() {
                Some(parts) => Transformed::yes(Arc::clone(&parts.union)),
                None => Transformed::no(node),
            })
        });
        replaced.data()
    }

    fn name(&self) -> &str {
        "union_of_parts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
