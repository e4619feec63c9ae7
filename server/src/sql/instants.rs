//! An optimiser rule: literals of `timestamp` and `timestamptz` with the same number are not the same.
//!
//! DataFusion compares such literals by their number alone, so common subexpressions that differ in the type only would be
//! computed once. Where both stand in one step of a plan, those with a zone are marked before common subexpressions are looked for.

use std::collections::{BTreeMap, HashSet};

use datafusion::common::Result;
use datafusion::common::ScalarValue::TimestampMicrosecond;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Key of the mark in a literal's metadata.
const MARK: &str = "nyala.instant";

/// See the module.
#[derive(Debug)]
pub struct DistinctInstants;

impl OptimizerRule for DistinctInstants {
    fn name(&self) -> &str {
        "distinct_instants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let (mut zoned, mut plain) = (HashSet::new(), HashSet::new());
        plan.apply_expressions(|expr| {
            expr.apply(|part| {
                match part {
                    Expr::Literal(TimestampMicrosecond(Some(us), Some(_)), None) => {
                        zoned.insert(*us);
                    }
                    Expr::Literal(TimestampMicrosecond(Some(us), None), _) => {
                        plain.insert(*us);
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if zoned.is_disjoint(&plain) {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let marked = expr.transform_up(|part| {
                Ok(match part {
                    Expr::Literal(value @ TimestampMicrosecond(Some(_), Some(_)), None) => {
                        let mark = BTreeMap::from([(MARK.to_string(), String::new())]);
                        Transformed::yes(Expr::Literal(value, Some(FieldMetadata::new(mark))))
                    }
                    other => Transformed::no(other),
                })
            })?;
            Ok(marked.update_data(|expr| name.restore(expr)))
        })
    }
}
