//! Keys of an order that are computed become columns of the input.
//!
//! DataFusion asks of each key whether its input comes in that order already. For an expression it works that out of the bounds of its parts,
//! and where these are of different types it gives up and takes what it has just sorted for unsorted: `ORDER BY -(price * 1.2)` was refused.
//! Of a column it knows.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Sort, Window,
};

/// One node, where it sorts.
pub fn as_columns(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(sort) => of_sort(sort),
        LogicalPlan::Window(window) => of_window(window),
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        plan => Ok(Transformed::no(plan)),
    }
}

fn of_sort(mut sort: Sort) -> DfResult<Transformed<LogicalPlan>> {
    let mut keys = Keys::default();
    sort.expr
        .iter_mut()
        .for_each(|key| keys.take(&mut key.expr));
    if keys.computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    }
    let columns = sort.input.schema().columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = columns.collect();
    sort.input = keys.added_to(&sort.input)?;
    let plan = LogicalPlanBuilder::from(LogicalPlan::Sort(sort));
    Ok(Transformed::yes(plan.project(columns)?.build()?))
}

fn of_window(window: Window) -> DfResult<Transformed<LogicalPlan>> {
    let mut keys = Keys::default();
    let mut calls = window.window_expr.clone();
    for call in &mut calls {
        keys.of_call(call);
    }
    if keys.computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let columns = window.schema.columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = columns.collect();
    let input = keys.added_to(&window.input)?;
    let plan = LogicalPlan::Window(Window::try_new(calls, input)?);
    let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
    Ok(Transformed::yes(plan))
}

fn of_aggregate(aggregate: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    let mut keys = Keys::default();
    let mut calls = aggregate.aggr_expr.clone();
    for call in &mut calls {
        keys.of_call(call);
    }
    if keys.computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let input = keys.added_to(&aggregate.input)?;
    let aggregate = Aggregate::try_new(input, aggregate.group_expr, calls)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// What was computed in keys, each with the name of its column.
#[derive(Default)]
struct Keys {
    computed: Vec<(Expr, String)>,
}

impl Keys {
    /// The keys of a call, which keeps its name.
    fn of_call(&mut self, call: &mut Expr) {
        if let Expr::Alias(alias) = call {
            let name = alias.expr.schema_name().to_string();
            self.of_call(&mut alias.expr);
            // The name of the alias stands; one that was given to keep the old one is not needed.
            if let Expr::Alias(inner) = alias.expr.as_mut()
                && inner.name == name
            {
                *alias.expr = inner.expr.as_ref().clone();
            }
            return;
        }
        let name = call.schema_name().to_string();
        let mut found = false;
        let mut take = |keys: &mut Self, key: &mut Expr| {
            found |= is_computed(key);
            keys.take(key);
        };
        match call {
            Expr::WindowFunction(function) => {
                for key in &mut function.params.partition_by {
                    take(self, key);
                }
                for key in &mut function.params.order_by {
                    take(self, &mut key.expr);
                }
            }
            Expr::AggregateFunction(function) if !function.params.distinct => {
                for key in &mut function.params.order_by {
                    take(self, &mut key.expr);
                }
            }
            _ => {}
        }
        if found {
            *call = std::mem::take(call).alias(name);
        }
    }

    fn take(&mut self, key: &mut Expr) {
        if !is_computed(key) {
            return;
        }
        let known = self.computed.iter().find(|(expr, _)| expr == key);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => {
                let name = format!("nyala_key_{}", self.computed.len());
                self.computed.push((key.clone(), name.clone()));
                name
            }
        };
        *key = Expr::Column(Column::new_unqualified(name));
    }

    fn added_to(self, input: &Arc<LogicalPlan>) -> DfResult<Arc<LogicalPlan>> {
        let mut columns: Vec<Expr> = input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let computed = self.computed.into_iter();
        columns.extend(computed.map(|(expr, name)| expr.alias(name)));
        let projection = Projection::try_new(columns, Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    }
}

/// Whether bounds are worked out for parts of a key. Others stay where they are: a column more is kept for each row that is sorted.
fn is_computed(key: &Expr) -> bool {
    let bounded = |part: &Expr| {
        Ok(match part {
            Expr::BinaryExpr(binary) => binary.op != Operator::StringConcat,
            Expr::Negative(_) | Expr::Not(_) | Expr::Between(_) => true,
            _ => false,
        })
    };
    key.any_column_refs() && key.exists(bounded).unwrap_or(true)
}
