//! DataFusion's optimiser rules where they change what a query means.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rules, with what is mended in the place of what is not.
pub fn mended(rules: Vec<Rule>) -> Vec<Rule> {
    let mended = rules.into_iter().map(|rule| -> Rule {
        match rule.name() {
            "push_down_filter" => Arc::new(Mended {
                rule,
                instead: above_one_row,
            }),
            "propagate_empty_relation" => Arc::new(Mended {
                rule,
                instead: only_input,
            }),
            _ => rule,
        }
    });
    mended.collect()
}

/// A rule, and what is done instead of it with some nodes.
#[derive(Debug)]
struct Mended {
    rule: Rule,
    instead: fn(&LogicalPlan) -> Result<Option<Transformed<LogicalPlan>>>,
}

impl OptimizerRule for Mended {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match (self.instead)(&plan)? {
            Some(done) => Ok(done),
            None => self.rule.rewrite(plan, config),
        }
    }
}

/// A filter above an aggregate without groups stays there. A condition without columns would be pushed below it, where it takes
/// away the rows that are aggregated and not the row that they give. So does one above rows that others read as well.
fn above_one_row(plan: &LogicalPlan) -> Result<Option<Transformed<LogicalPlan>>> {
    let LogicalPlan::Filter(filter) = plan else {
        return Ok(None);
    };
    // The rule takes several filters at once.
    let mut input = filter.input.as_ref();
    while let LogicalPlan::Filter(filter) = input {
        input = filter.input.as_ref();
    }
    let stays = match input {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Extension(_) => true,
        _ => false,
    };
    Ok(stays.then(|| Transformed::no(plan.clone())))
}

/// The only input of a union that has rows gets the names of the union's columns; they are those of its first input.
fn only_input(plan: &LogicalPlan) -> Result<Option<Transformed<LogicalPlan>>> {
    let LogicalPlan::Union(Union { inputs, schema }) = plan else {
        return Ok(None);
    };
    let is_empty = |input: &LogicalPlan| match input {
        LogicalPlan::EmptyRelation(empty) => !empty.produce_one_row,
        _ => false,
    };
    let mut with_rows = inputs.iter().filter(|input| !is_empty(input));
    let (Some(only), None) = (with_rows.next(), with_rows.next()) else {
        return Ok(None);
    };
    if inputs.len() == 1 || only.schema() == schema {
        return Ok(None);
    }
    let columns = only.schema().columns().into_iter().zip(schema.iter());
    let columns = columns.map(|(column, (qualifier, field))| {
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    });
    let renamed = Projection::try_new(columns.collect(), Arc::clone(only))?;
    Ok(Some(Transformed::yes(LogicalPlan::Projection(renamed))))
}
