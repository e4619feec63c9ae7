//! Common table expressions that are named more than once: computed once a statement, as PostgreSQL does it.
//!
//! DataFusion puts a copy of a CTE's plan in each place that names it. [`share`] finds the copies, which are equal, under the
//! same alias, and puts a [`SharedRows`] node above each; copies have one number. Nothing is pushed through the node, so the
//! copies stay equal while they are optimised, and whichever place is read first computes the rows for all of them
//! ([`exec`]).
//!
//! Shared are only CTEs with work to save or with an outcome of their own in each run: aggregates, windows, DISTINCT,
//! recursion, volatile functions. Of others each place is better off with a plan of its own, which filters are pushed into.
//! Nothing inside the recursive part of a CTE is shared: it runs again and again over other rows.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, SubqueryAlias, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

mod exec;

use exec::SharedRowsExec;
pub use exec::connect;

/// Marks the CTEs of a plan that are to be computed once.
pub fn share(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut copies: HashMap<SubqueryAlias, usize> = HashMap::new();
    plan.apply_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::RecursiveQuery(_) => TreeNodeRecursion::Jump,
            LogicalPlan::SubqueryAlias(alias) if is_worth_sharing(alias)? => {
                let count = copies.entry(alias.clone()).or_default();
                *count += 1;
                // What is in a copy is computed with the first.
                match *count {
                    1 => TreeNodeRecursion::Continue,
                    _ => TreeNodeRecursion::Jump,
                }
            }
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    copies.retain(|_, count| *count > 1);
    if copies.is_empty() {
        return Ok(plan);
    }
    let mut numbers: HashMap<SubqueryAlias, usize> = HashMap::new();
    let shared = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::RecursiveQuery(_) => {
            Ok(Transformed::new(node, false, TreeNodeRecursion::Jump))
        }
        LogicalPlan::SubqueryAlias(alias) if copies.contains_key(&alias) => {
            let next = numbers.len();
            let number = *numbers.entry(alias.clone()).or_insert(next);
            let input = alias.input.as_ref().clone();
            let node = SharedRows { number, input };
            let node = LogicalPlan::Extension(Extension {
                node: Arc::new(node),
            });
            let alias = SubqueryAlias::try_new(Arc::new(node), alias.alias)?;
            Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(shared.data)
}

/// Whether a plan has work to save, or another outcome each time it runs.
fn is_worth_sharing(alias: &SubqueryAlias) -> Result<bool> {
    let plan = &alias.input;
    let works = plan.exists(|node| {
        let works = matches!(
            node,
            LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Distinct(_)
                | LogicalPlan::RecursiveQuery(_)
        );
        Ok(works || node.expressions().iter().any(Expr::is_volatile))
    })?;
    // What depends on a row outside is another plan for each row.
    let is_dependent = |node: &LogicalPlan| {
        let expressions = node.expressions();
        Ok(expressions.iter().any(Expr::contains_outer))
    };
    Ok(works && !plan.exists(is_dependent)?)
}

/// The rows of a plan that is in several places of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SharedRows {
    number: usize,
    input: LogicalPlan,
}

impl SharedRows {
    /// The plan below a node, if it is of this kind.
    pub fn input_of(node: &Extension) -> Option<&LogicalPlan> {
        let shared = node.node.as_any().downcast_ref::<Self>()?;
        Some(&shared.input)
    }
}

impl PartialOrd for SharedRows {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for SharedRows {
    fn name(&self) -> &str {
        "SharedRows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SharedRows: number={}", self.number)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self {
                number: self.number,
                input,
            }),
            _ => Err(DataFusionError::Internal(
                "SharedRows has one input".to_string(),
            )),
        }
    }
}

/// Makes physical plans, those of [`SharedRows`] too.
#[derive(Debug)]
pub struct WithSharedRows;

#[async_trait]
impl QueryPlanner for WithSharedRows {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner =
            DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(SharedPlanner)]);
        planner.create_physical_plan(plan, state).await
    }
}

struct SharedPlanner;

#[async_trait]
impl ExtensionPlanner for SharedPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let shared = node.as_any().downcast_ref::<SharedRows>();
        let (Some(shared), [input]) = (shared, inputs) else {
            return Ok(None);
        };
        let input = Arc::clone(input);
        Ok(Some(Arc::new(SharedRowsExec::new(shared.number, input))))
    }
}
