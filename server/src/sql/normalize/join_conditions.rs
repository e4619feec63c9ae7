//! Subqueries in the conditions of joins.
//!
//! What the condition of an inner join keeps is what WHERE keeps of all pairs, so a part of it with a subquery goes there, where
//! subqueries become joins.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Filter, LogicalPlan};

use crate::sql::normalize::unnesting::has_subquery;

/// One node, where it is an inner join whose condition has a subquery.
pub fn filtered_above(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = plan else {
        return Ok(Transformed::no(plan));
    };
    let applies =
        join.join_type == JoinType::Inner && join.filter.as_ref().is_some_and(has_subquery);
    let Some(filter) = join.filter.take_if(|_| applies) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let (above, within): (Vec<_>, Vec<_>) = split_conjunction_owned(filter)
        .into_iter()
        .partition(has_subquery);
    join.filter = conjunction(within);
    let joined = LogicalPlan::Join(join);
    match conjunction(above) {
        Some(above) => {
            let filter = Filter::try_new(above, Arc::new(joined))?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        None => Ok(Transformed::no(joined)),
    }
}
