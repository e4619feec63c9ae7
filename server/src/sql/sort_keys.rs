//! The smallest rows of a union are sorted by all keys in each of its inputs.
//!
//! In `SELECT 'b' AS source, n FROM t UNION ALL SELECT 'a', n FROM u ORDER BY source, n LIMIT 2` the first key is constant in each input, so
//! DataFusion sorts the inputs by the other one. But the sorts that look for the smallest rows tell each other which rows are too
//! large already, and by `n` alone a row of `t` drives out smaller ones of `u`. So such a sort gets the keys back by which what it gives is
//! merged.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules with this one before those that tell scans what sorts look for.
pub fn with_whole_keys(mut rules: Vec<Rule>) -> Vec<Rule> {
    let first = rules
        .iter()
        .rposition(|rule| rule.name().starts_with("FilterPushdown"));
    rules.insert(first.unwrap_or(rules.len()), Arc::new(WholeKeys));
    rules
}

#[derive(Debug)]
struct WholeKeys;

impl PhysicalOptimizerRule for WholeKeys {
    fn name(&self) -> &str {
        "whole_sort_keys"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(plan.transform_up(whole_keys)?.data)
    }
}

fn whole_keys(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let sorted = plan
        .downcast_ref::<SortPreservingMergeExec>()
        .and_then(|merge| {
            merge
                .input()
                .downcast_ref::<SortExec>()
                .map(|sort| (merge, sort))
        });
    let Some((merge, sort)) = sorted else {
        return Ok(Transformed::no(plan));
    };
    let lacks_keys = sort.preserve_partitioning() && sort.expr().len() < merge.expr().len();
    if sort.fetch().is_none() || !lacks_keys {
        return Ok(Transformed::no(plan));
    }
    let whole = SortExec::new(merge.expr().clone(), Arc::clone(sort.input()))
        .with_preserve_partitioning(true)
        .with_fetch(sort.fetch());
    Ok(Transformed::yes(replace_children_if_necessary(
        plan,
        vec![Arc::new(whole)],
    )?))
}
