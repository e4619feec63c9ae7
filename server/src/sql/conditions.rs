//! Filters of cheap comparisons, each evaluated once over the whole batch.
//!
//! DataFusion evaluates `a AND b AND c` pair by pair. Where `a` leaves few rows it copies these, with all columns of the batch,
//! evaluates `b` over the copy and scatters the outcome back, and so on for `c`. That pays for a function that takes long; a
//! comparison of a column with a constant is done over all rows in less time than the copy. [`cheap`] finds such comparisons
//! in the filters of a physical plan, puts them first and combines their outcomes as bits; the rest of a condition keeps its order and is
//! evaluated over what is left, as before. Moving them is safe because they cannot fail.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and_kleene, or_kleene};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

/// The longest list that counts as a cheap comparison.
const LIST_MAX: usize = 16;

/// The plan with the cheap comparisons of its filters put together.
pub fn cheap(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|node| {
        let Some(filter) = node.downcast_ref::<FilterExec>() else {
            return Ok(Transformed::no(node));
        };
        let schema = filter.input().schema();
        let Some(predicate) = together(filter.predicate(), &schema)? else {
            return Ok(Transformed::no(node));
        };
        let filter = FilterExecBuilder::from(filter)
            .with_predicate(predicate)
            .build()?;
        Ok(Transformed::yes(Arc::new(filter) as _))
    })?;
    Ok(changed.data)
}

/// A condition with its cheap parts first; `None` if it has too few for it to matter.
fn together(
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let mut parts = Vec::new();
    flatten(predicate, Operator::And, &mut parts);
    let mut first = Vec::new();
    let mut rest = Vec::new();
    for part in parts {
        match compiled(&part, schema)? {
            Some(part) => first.push(part),
            None => rest.push(part),
        }
    }
    let combined: Arc<dyn PhysicalExpr> = match (first.len(), first.pop()) {
        (0, _) | (_, None) => return Ok(None),
        (1, Some(only)) if rest.is_empty() && !only.is::<Combined>() => return Ok(None),
        (1, Some(only)) => only,
        (_, Some(last)) => {
            first.push(last);
            Arc::new(Combined {
                operator: Operator::And,
                operands: first,
            })
        }
    };
    let all = rest.into_iter().fold(combined, |left, right| {
        Arc::new(BinaryExpr::new(left, Operator::And, right))
    });
    Ok(Some(all))
}

fn flatten(
    expr: &Arc<dyn PhysicalExpr>,
    operator: Operator,
    parts: &mut Vec<Arc<dyn PhysicalExpr>>,
) {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == operator => {
            flatten(binary.left(), operator, parts);
            flatten(binary.right(), operator, parts);
        }
        _ => parts.push(Arc::clone(expr)),
    }
}

/// A cheap condition in the form that is evaluated at once; `None` if it is not cheap, or may fail.
fn compiled(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let own = Some(Arc::clone(expr));
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Ok(compiled(not.arg(), schema)?.map(|arg| Arc::new(NotExpr::new(arg)) as _));
    }
    if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        return Ok(own.filter(|_| null.arg().is::<Column>()));
    }
    if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
        return Ok(own.filter(|_| null.arg().is::<Column>()));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let cheap = list.expr().is::<Column>()
            && list.list().len() <= LIST_MAX
            && list.list().iter().all(|item| item.is::<Literal>());
        return Ok(own.filter(|_| cheap));
    }
    let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
        return Ok(None);
    };
    match binary.op() {
        Operator::And | Operator::Or => {
            let mut parts = Vec::new();
            flatten(expr, *binary.op(), &mut parts);
            let mut operands = Vec::with_capacity(parts.len());
            for part in parts {
                match compiled(&part, schema)? {
                    Some(part) => operands.push(part),
                    None => return Ok(None),
                }
            }
            Ok(Some(Arc::new(Combined {
                operator: *binary.op(),
                operands,
            })))
        }
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => {
            let mut cheap = true;
            for side in [binary.left(), binary.right()] {
                cheap &= side.is::<Column>() || side.is::<Literal>();
                cheap &= !side.data_type(schema)?.is_nested();
            }
            Ok(own.filter(|_| cheap))
        }
        _ => Ok(None),
    }
}

/// Conditions of which all, or any, must hold.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Combined {
    /// `AND` or `OR`.
    operator: Operator,
    operands: Vec<Arc<dyn PhysicalExpr>>,
}

impl Combined {
    fn is_and(&self) -> bool {
        self.operator == Operator::And
    }

    /// Whether an outcome is the same whatever the other operands are.
    fn is_decided(&self, outcome: &BooleanArray) -> bool {
        outcome.null_count() == 0
            && match self.is_and() {
                true => !outcome.has_true(),
                false => !outcome.has_false(),
            }
    }
}

impl fmt::Display for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, operand) in self.operands.iter().enumerate() {
            if at > 0 {
                write!(f, " {} ", self.operator)?;
            }
            match operand.is::<Self>() {
                true => write!(f, "({operand})")?,
                false => write!(f, "{operand}")?,
            }
        }
        Ok(())
    }
}

impl PhysicalExpr for Combined {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        for operand in &self.operands {
            if operand.nullable(schema)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut outcome: Option<BooleanArray> = None;
        for operand in &self.operands {
            let value = operand.evaluate(batch)?.into_array(batch.num_rows())?;
            let value = value.as_boolean_opt().ok_or_else(|| {
                DataFusionError::Internal(format!("condition {operand} is not boolean"))
            })?;
            let new = match (&outcome, self.is_and()) {
                (None, _) => value.clone(),
                (Some(so_far), true) => and_kleene(so_far, value)?,
                (Some(so_far), false) => or_kleene(so_far, value)?,
            };
            if self.is_decided(&new) {
                return Ok(ColumnarValue::Array(Arc::new(new)));
            }
            outcome = Some(new);
        }
        Ok(match outcome {
            Some(outcome) => ColumnarValue::Array(Arc::new(outcome)),
            None => ColumnarValue::Scalar(ScalarValue::Boolean(Some(self.is_and()))),
        })
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.operands.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        operands: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self {
            operator: self.operator,
            operands,
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
