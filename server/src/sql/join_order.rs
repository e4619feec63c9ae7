//! An optimiser rule: in which order tables are joined.
//!
//! DataFusion joins tables in the order in which FROM names them; which side a hash join builds is all it chooses. A query
//! that names the large table first then carries all its rows through every other join. This rule takes a *region*, inner joins
//! with nothing but filters between them, apart into its inputs and its conditions, and puts it together again in the
//! order that costs least by the [estimates](Estimate) of rows:
//!
//! ```text
//! rows(S)     = product of the rows of the inputs in S, times the selectivity of each condition between two of them
//! cost(A ⋈ B) = cost(A) + cost(B) + 2 · smaller side (built) + larger side (probed) + rows(A ∪ B)
//! ```
//!
//! Up to [`EXACT_MAX`] inputs all orders are compared, bushy ones included, by dynamic programming over subsets (Moerkotte and
//! Neumann, "Analysis of Two Existing and One New Dynamic Programming Algorithm for the Generation of Optimal Bushy Join Trees
//! without Cross Products", VLDB 2006, algorithm DPsub). More inputs are joined greedily, the pair with the fewest
//! rows first. Inputs that no condition connects are joined last.
//!
//! - The answer is the same in any order: only inner joins move, and each condition is applied as soon as its columns are there.
//! - Without an estimate for one of its inputs a region stays as it was written.
//! - A region of two inputs is left to DataFusion.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinConstraint, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, JoinType, LogicalPlan, Operator, Projection,
};
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};

use crate::sql::instants::DistinctInstants;
use crate::sql::sound_rules;

mod estimate;

use estimate::Estimate;

/// Inputs up to which all orders are compared: 3^10 joins at most.
const EXACT_MAX: usize = 10;

/// Inputs of a region at most; each is a bit of a set.
const INPUTS_MAX: usize = 64;

/// Rows that a comparison other than equality leaves of all pairs.
const OTHER_SELECTIVITY: f64 = 0.3;

/// See the module.
#[derive(Debug)]
pub struct JoinOrder;

/// DataFusion's rules with this one behind those that bring filters to their tables.
pub fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = sound_rules::mended(Optimizer::new().rules);
    let behind = rules
        .iter()
        .position(|rule| rule.name() == "push_down_filter")
        .map_or(rules.len(), |at| at + 1);
    rules.insert(behind, Arc::new(JoinOrder));
    let before = rules
        .iter()
        .position(|rule| rule.name() == "common_sub_expression_eliminate")
        .unwrap_or(rules.len());
    rules.insert(before, Arc::new(DistinctInstants));
    rules
}

impl OptimizerRule for JoinOrder {
    fn name(&self) -> &str {
        "join_order"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        reordered(plan)
    }
}

fn reordered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !is_inner_join(&plan) {
        let children = plan.map_children(reordered)?;
        return children.transform_data(|plan| plan.map_subqueries(reordered));
    }
    let mut region = Region::default();
    region.take(plan.clone());
    let Some(joined) = region.joined()? else {
        return inputs_reordered(plan);
    };
    // Who reads the rows knows columns by their place, too.
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let restored = Projection::try_new(columns.collect(), Arc::new(joined))?;
    Ok(Transformed::yes(LogicalPlan::Projection(restored)))
}

/// A region that stays as it is, with the regions below it in order.
fn inputs_reordered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.map_children(|child| match child {
        LogicalPlan::Join(_) | LogicalPlan::Filter(_) if is_inner_join(&child) => {
            inputs_reordered(child)
        }
        child => reordered(child),
    })
}

/// Whether a plan is a join of a region, with filters on top of it or not.
fn is_inner_join(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => {
            join.join_type == JoinType::Inner
                && join.null_equality == NullEquality::NullEqualsNothing
                && join.join_constraint == JoinConstraint::On
        }
        LogicalPlan::Filter(filter) => is_inner_join(&filter.input),
        _ => false,
    }
}

/// A set of inputs, one bit each.
type Set = u64;

/// The inputs and conditions of joins that can be made in any order.
#[derive(Default)]
struct Region {
    inputs: Vec<LogicalPlan>,
    conditions: Vec<Expr>,
}

/// A condition, and the inputs whose columns it reads.
struct Condition {
    expr: Expr,
    inputs: Set,
    /// The sides of an equation between two sets of inputs.
    equation: Option<(Set, Set)>,
}

/// A way to join a set of inputs.
#[derive(Clone, Copy)]
struct Tree {
    cost: f64,
    /// Sets that are joined; none for a single input.
    sides: Option<(Set, Set)>,
}

impl Region {
    fn take(&mut self, plan: LogicalPlan) {
        if !is_inner_join(&plan) {
            self.inputs.push(plan);
            return;
        }
        match plan {
            LogicalPlan::Join(join) => {
                let equations = join.on.into_iter().map(|(left, right)| left.eq(right));
                self.conditions.extend(equations);
                let others = join.filter.map(split_conjunction_owned);
                self.conditions.extend(others.unwrap_or_default());
                self.take(Arc::unwrap_or_clone(join.left));
                self.take(Arc::unwrap_or_clone(join.right));
            }
            LogicalPlan::Filter(filter) => {
                let conditions = split_conjunction_owned(filter.predicate);
                self.conditions.extend(conditions);
                self.take(Arc::unwrap_or_clone(filter.input));
            }
            other => self.inputs.push(other),
        }
    }

    /// The joins in the order that costs least; `None` if the region has to stay as it is.
    fn joined(self) -> Result<Option<LogicalPlan>> {
        if self.inputs.len() < 3 || self.inputs.len() > INPUTS_MAX {
            return Ok(None);
        }
        let mut conditions = Vec::with_capacity(self.conditions.len());
        for expr in self.conditions {
            match condition(expr, &self.inputs) {
                Some(condition) => conditions.push(condition),
                None => return Ok(None),
            }
        }
        let mut estimates = Vec::with_capacity(self.inputs.len());
        for (at, input) in self.inputs.iter().enumerate() {
            let Some(mut estimate) = Estimate::of(input) else {
                return Ok(None);
            };
            // What one input alone has to fulfil was not pushed down to it.
            for condition in conditions.iter().filter(|c| c.inputs == 1 << at) {
                estimate.rows *= estimate.selectivity(&condition.expr);
            }
            estimates.push(estimate);
        }
        let graph = Graph::new(&estimates, &conditions);
        let trees = graph.trees();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in self.inputs {
            inputs.push(Some(reordered(input)?.data));
        }
        let mut builder = Builder {
            inputs,
            conditions,
            graph: &graph,
        };
        let mut parts: Vec<Set> = graph.components();
        parts.sort_by(|left, right| graph.rows(*left).total_cmp(&graph.rows(*right)));
        let mut joined: Option<(LogicalPlan, Set)> = None;
        for part in parts {
            let plan = builder.build(part, &trees)?;
            joined = Some(match joined {
                None => (plan, part),
                Some((before, set)) => (builder.join((before, set), (plan, part))?, set | part),
            });
        }
        let Some((plan, _)) = joined else {
            return Ok(None);
        };
        // Conditions without columns.
        builder.filtered(plan, 0).map(Some)
    }
}

/// Which inputs a condition is about; `None` if that is not known for certain, or it must not move.
fn condition(expr: Expr, inputs: &[LogicalPlan]) -> Option<Condition> {
    let moves = !expr.is_volatile()
        && !expr
            .exists(|part| {
                Ok(matches!(
                    part,
                    Expr::ScalarSubquery(_)
                        | Expr::Exists(_)
                        | Expr::InSubquery(_)
                        | Expr::SetComparison(_)
                        | Expr::OuterReferenceColumn(..)
                ))
            })
            .unwrap_or(true);
    if !moves {
        return None;
    }
    let set = inputs_of(&expr, inputs)?;
    let equation = match &expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => {
            let (left, right) = (inputs_of(left, inputs)?, inputs_of(right, inputs)?);
            (left != 0 && right != 0 && left & right == 0).then_some((left, right))
        }
        _ => None,
    };
    Some(Condition {
        expr,
        inputs: set,
        equation,
    })
}

fn inputs_of(expr: &Expr, inputs: &[LogicalPlan]) -> Option<Set> {
    let mut set = 0;
    for column in expr.column_refs() {
        let mut having = inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| input.schema().has_column(column));
        let (at, _) = having.next()?;
        if having.next().is_some() {
            return None;
        }
        set |= 1 << at;
    }
    Some(set)
}

/// How many rows sets of inputs have, and which of them conditions connect.
struct Graph {
    rows: Vec<f64>,
    /// Selectivity of all conditions over a set of inputs.
    selectivities: Vec<(Set, f64)>,
    neighbours: Vec<Set>,
}

impl Graph {
    fn new(estimates: &[Estimate], conditions: &[Condition]) -> Self {
        let mut neighbours = vec![0; estimates.len()];
        let mut equations: HashMap<Set, f64> = HashMap::new();
        let mut selectivities = Vec::new();
        for condition in conditions.iter().filter(|c| c.inputs.count_ones() > 1) {
            let Some((left, right)) = condition.equation else {
                selectivities.push((condition.inputs, OTHER_SELECTIVITY));
                continue;
            };
            for (at, own) in neighbours.iter_mut().enumerate() {
                *own |= if left & (1 << at) != 0 { right } else { 0 };
                *own |= if right & (1 << at) != 0 { left } else { 0 };
            }
            let values = values(estimates, &condition.expr);
            *equations.entry(condition.inputs).or_insert(1.0) *= values;
        }
        for (set, values) in equations {
            // Several columns together are at most a key of the smaller table.
            let tables = members(set).filter_map(|at| estimates.get(at));
            let key = tables.map(|e| e.all_rows).fold(f64::INFINITY, f64::min);
            selectivities.push((set, 1.0 / values.min(key).max(1.0)));
        }
        Self {
            rows: estimates.iter().map(|e| e.rows.max(1.0)).collect(),
            selectivities,
            neighbours,
        }
    }

    fn rows(&self, set: Set) -> f64 {
        let rows = members(set).filter_map(|at| self.rows.get(at));
        let selective = self.selectivities.iter();
        let selective = selective.filter(|(inputs, _)| inputs & set == *inputs);
        let rows = rows.product::<f64>() * selective.map(|(_, s)| s).product::<f64>();
        rows.max(1.0)
    }

    fn neighbours(&self, set: Set) -> Set {
        let all = members(set).filter_map(|at| self.neighbours.get(at));
        all.fold(0, |union, next| union | next) & !set
    }

    /// The sets of inputs that equations connect.
    fn components(&self) -> Vec<Set> {
        let mut left: Set = (0..self.rows.len()).fold(0, |all, at| all | 1 << at);
        let mut components = Vec::new();
        while left != 0 {
            let mut component = left & left.wrapping_neg();
            loop {
                let more = self.neighbours(component);
                if more == 0 {
                    break;
                }
                component |= more;
            }
            components.push(component);
            left &= !component;
        }
        components
    }

    /// The best trees of each component, with all trees they are made of.
    fn trees(&self) -> HashMap<Set, Tree> {
        let mut trees = HashMap::new();
        for at in 0..self.rows.len() {
            let leaf = Tree {
                cost: 0.0,
                sides: None,
            };
            trees.insert(1 << at, leaf);
        }
        for component in self.components() {
            match component.count_ones() as usize <= EXACT_MAX {
                true => self.compare_all(component, &mut trees),
                false => self.grow(component, &mut trees),
            }
        }
        trees
    }

    fn cost(&self, trees: &HashMap<Set, Tree>, left: Set, right: Set) -> Option<f64> {
        let below = trees.get(&left)?.cost + trees.get(&right)?.cost;
        let (left_rows, right_rows) = (self.rows(left), self.rows(right));
        let (built, probed) = (left_rows.min(right_rows), left_rows.max(right_rows));
        Some(below + 2.0 * built + probed + self.rows(left | right))
    }

    fn compare_all(&self, component: Set, trees: &mut HashMap<Set, Tree>) {
        // Subsets of the component in ascending order: parts come before what they are parts of.
        let mut set: Set = 0;
        loop {
            set = set.wrapping_sub(component) & component;
            if set == 0 {
                return;
            }
            if set.count_ones() < 2 {
                continue;
            }
            let mut best: Option<Tree> = None;
            let mut left = (set - 1) & set;
            while left != 0 {
                let right = set & !left;
                // Each pair once; both sides have trees only if they are connected themselves.
                if left > right
                    && self.neighbours(left) & right != 0
                    && let Some(cost) = self.cost(trees, left, right)
                    && best.is_none_or(|best| cost < best.cost)
                {
                    let sides = Some((left, right));
                    best = Some(Tree { cost, sides });
                }
                left = (left - 1) & set;
            }
            if let Some(best) = best {
                trees.insert(set, best);
            }
        }
    }

    fn grow(&self, component: Set, trees: &mut HashMap<Set, Tree>) {
        let mut parts: Vec<Set> = members(component).map(|at| 1 << at).collect();
        while parts.len() > 1 {
            let mut best: Option<(f64, Set, Set)> = None;
            for (at, left) in parts.iter().enumerate() {
                let neighbours = self.neighbours(*left);
                for right in parts.iter().skip(at + 1) {
                    let rows = self.rows(left | right);
                    if neighbours & right != 0 && best.is_none_or(|(least, ..)| rows < least) {
                        best = Some((rows, *left, *right));
                    }
                }
            }
            let Some((_, left, right)) = best else { return };
            let cost = self.cost(trees, left, right).unwrap_or(f64::INFINITY);
            let sides = Some((left, right));
            trees.insert(left | right, Tree { cost, sides });
            parts.retain(|part| *part != left && *part != right);
            parts.push(left | right);
        }
    }
}

/// Different values that the sides of an equation have in common, at most: a foreign key has no more than its table, and
/// of both sides' bounds the lower one is closer to that.
fn values(estimates: &[Estimate], equation: &Expr) -> f64 {
    let Expr::BinaryExpr(BinaryExpr { left, right, .. }) = equation else {
        return 1.0;
    };
    let values = |side: &Expr| {
        let mut all = estimates.iter().filter_map(|e| e.values(side));
        all.next().unwrap_or(f64::INFINITY)
    };
    let least = values(left).min(values(right));
    if least.is_finite() { least } else { 1.0 }
}

fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..INPUTS_MAX).filter(move |at| set & (1 << at) != 0)
}

/// Makes the plan.
struct Builder<'a> {
    inputs: Vec<Option<LogicalPlan>>,
    /// Those that are not applied yet.
    conditions: Vec<Condition>,
    graph: &'a Graph,
}

impl Builder<'_> {
    fn build(&mut self, set: Set, trees: &HashMap<Set, Tree>) -> Result<LogicalPlan> {
        if let Some((left, right)) = trees.get(&set).and_then(|tree| tree.sides) {
            let left_plan = self.build(left, trees)?;
            let right_plan = self.build(right, trees)?;
            return self.join((left_plan, left), (right_plan, right));
        }
        let input = members(set).next().and_then(|at| self.inputs.get_mut(at));
        let Some(input) = input.and_then(Option::take) else {
            return datafusion::common::internal_err!("an input of a join is missing");
        };
        self.filtered(input, set)
    }

    /// Joins two sets by all conditions that can be applied then. The smaller side is built.
    fn join(&mut self, left: (LogicalPlan, Set), right: (LogicalPlan, Set)) -> Result<LogicalPlan> {
        let swapped = self.graph.rows(left.1) > self.graph.rows(right.1);
        let (left, right) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let mut on = Vec::new();
        let mut rest = Vec::new();
        for condition in self.applicable(left.1 | right.1) {
            let Expr::BinaryExpr(equation) = &condition.expr else {
                rest.push(condition.expr);
                continue;
            };
            let (one, other) = (&equation.left, &equation.right);
            match condition.equation {
                Some((a, b)) if a & left.1 == a && b & right.1 == b => {
                    on.push((one.as_ref().clone(), other.as_ref().clone()));
                }
                Some((a, b)) if a & right.1 == a && b & left.1 == b => {
                    on.push((other.as_ref().clone(), one.as_ref().clone()));
                }
                _ => rest.push(condition.expr),
            }
        }
        let join = Join::try_new(
            Arc::new(left.0),
            Arc::new(right.0),
            on,
            conjunction(rest),
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(LogicalPlan::Join(join))
    }

    /// A plan of a set with the conditions that are about it alone.
    fn filtered(&mut self, plan: LogicalPlan, set: Set) -> Result<LogicalPlan> {
        let conditions = self.applicable(set).into_iter().map(|c| c.expr);
        match conjunction(conditions) {
            Some(all) => Ok(LogicalPlan::Filter(Filter::try_new(all, Arc::new(plan))?)),
            None => Ok(plan),
        }
    }

    fn applicable(&mut self, set: Set) -> Vec<Condition> {
        let all = std::mem::take(&mut self.conditions);
        let (now, later) = all
            .into_iter()
            .partition(|c| c.inputs & set == c.inputs && (c.inputs != 0 || set == 0));
        self.conditions = later;
        now
    }
}

/// The column that an expression is, whatever it is cast to.
fn column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Cast(cast) => column(&cast.expr),
        Expr::TryCast(cast) => column(&cast.expr),
        Expr::Alias(alias) => column(&alias.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
