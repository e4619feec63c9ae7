//! What physical planning must not know, because it concludes too much of it.
//!
//! Before DataFusion's rules for orders and for filters run, nodes are put into the plan that say less of their input than it says itself;
//! when the rules are done they are taken out.
//!
//! - **Constants below a union.** In `SELECT 'b' AS source, n FROM t UNION ALL SELECT 'a', n FROM u ORDER BY source, n LIMIT 2` the first
//!   key is constant in each input, so the inputs are sorted by the other one. But sorts that look for the smallest rows tell each
//!   other which rows are too large already, and by `n` alone a row of `t` drives out smaller ones of `u`; and of three inputs
//!   of which two are constant no merge by all keys is found. So nothing is constant below a union.
//! - **Names that a join gives twice.** Filters, also those that sorts and joins make while they run, are brought down through nodes
//!   by the names of columns. Of two columns of one name that is the first, be it meant or not. So no filter passes a join that has such.
//!   Neither does one that a join makes of keys that are arrays: it takes too many of them for unequal.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, replace_children_if_necessary};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules with those of this file around them.
pub fn around(rules: Vec<Rule>) -> Vec<Rule> {
    let mut around: Vec<Rule> = Vec::with_capacity(rules.len() + 6);
    for rule in rules {
        if rule.name() == "EnsureRequirements" {
            around.push(Arc::new(Hints::Put(Hidden::Constants)));
        }
        if !rule.name().starts_with("FilterPushdown") {
            around.push(rule);
            continue;
        }
        around.push(Arc::new(Hints::Put(Hidden::Doubles)));
        around.push(rule);
        around.push(Arc::new(Hints::Take(Hidden::Doubles)));
    }
    around.push(Arc::new(Hints::Take(Hidden::Constants)));
    around
}

/// Puts nodes in, or takes them out.
#[derive(Debug)]
enum Hints {
    Put(Hidden),
    Take(Hidden),
}

impl PhysicalOptimizerRule for Hints {
    fn name(&self) -> &str {
        match self {
            Self::Put(_) => "nyala_hide",
            Self::Take(_) => "nyala_show",
        }
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = match self {
            Self::Put(Hidden::Constants) => plan.transform_up(hide_constants)?,
            Self::Put(Hidden::Doubles) => plan.transform_up(hide_doubles)?,
            Self::Take(hidden) => plan.transform_up(|plan| Ok(show(plan, *hidden)))?,
        };
        Ok(changed.data)
    }
}

fn hide_doubles(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    Ok(
        match plan.is::<HashJoinExec>() && has_doubles(plan.as_ref()) {
            true => Transformed::yes(HintExec::over(plan, Hidden::Doubles)),
            false => Transformed::no(plan),
        },
    )
}

fn hide_constants(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let constant =
        |input: &Arc<dyn ExecutionPlan>| !input.equivalence_properties().constants().is_empty();
    if !plan.is::<UnionExec>() || !plan.children().into_iter().any(constant) {
        return Ok(Transformed::no(plan));
    }
    let inputs = plan
        .children()
        .into_iter()
        .map(|input| match constant(input) {
            true => HintExec::over(Arc::clone(input), Hidden::Constants),
            false => Arc::clone(input),
        });
    let inputs = inputs.collect();
    replace_children_if_necessary(plan, inputs).map(Transformed::yes)
}

fn show(plan: Arc<dyn ExecutionPlan>, hidden: Hidden) -> Transformed<Arc<dyn ExecutionPlan>> {
    match plan.downcast_ref::<HintExec>() {
        Some(hint) if hint.hidden == hidden => Transformed::yes(Arc::clone(&hint.input)),
        _ => Transformed::no(plan),
    }
}

fn has_doubles(plan: &dyn ExecutionPlan) -> bool {
    let schema = plan.schema();
    let mut names = HashSet::new();
    !schema
        .fields()
        .iter()
        .all(|field| names.insert(field.name()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// That columns are constant.
    Constants,
    /// Which of two columns a name means.
    Doubles,
}

/// Its input, of which something is not known.
#[derive(Debug)]
struct HintExec {
    input: Arc<dyn ExecutionPlan>,
    hidden: Hidden,
    properties: Arc<PlanProperties>,
}

impl HintExec {
    fn over(input: Arc<dyn ExecutionPlan>, hidden: Hidden) -> Arc<dyn ExecutionPlan> {
        let properties = match hidden {
            Hidden::Doubles => Arc::clone(input.properties()),
            Hidden::Constants => {
                let known = input.equivalence_properties();
                let orders = known.oeq_class().iter().cloned();
                let less = EquivalenceProperties::new_with_orderings(input.schema(), orders);
                Arc::new(input.properties().as_ref().clone().with_eq_properties(less))
            }
        };
        Arc::new(Self {
            input,
            hidden,
            properties,
        })
    }
}

impl DisplayAs for HintExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HintExec: {:?}", self.hidden)
    }
}

impl ExecutionPlan for HintExec {
    fn name(&self) -> &str {
        "HintExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// A sort that is pushed below would be left out, where what is constant is known again.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.hidden != Hidden::Constants]
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
        match children.pop() {
            Some(input) => Ok(Self::over(input, self.hidden)),
            None => internal_err!("HintExec needs an input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(inputs.first().map_or_else(unknown, Arc::clone))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        match self.hidden {
            Hidden::Constants => FilterDescription::from_children(filters, &self.children()),
            Hidden::Doubles => Ok(FilterDescription::all_unsupported(
                &filters,
                &self.children(),
            )),
        }
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
