//! Finds in a condition what tells which rows are meant: values that the columns of a key or an index are equal to, one of
//! them perhaps out of a list.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use nyala_catalog::types::SqlType;
use sqlparser::ast::{BinaryOperator, Expr, visit_expressions};

use super::Compiler;
use crate::sql::dml::Target;
use crate::sql::point::indexed::{IndexAccess, IndexValues};
use crate::sql::point::listed::{KEYS_MAX, KeyList, List};
use crate::sql::point::{Access, Key};
use crate::sql::{names, parameters};

impl Compiler<'_> {
    /// Splits a condition into the key it names and what is left of it.
    pub(super) fn key(&mut self, target: &Target, condition: &Expr) -> Option<(Key, Option<Expr>)> {
        let table = &target.table;
        if table.codec.has_row_numbers() {
            return None;
        }
        self.equal(target, table.key_columns(), split(condition))
    }

    /// The same by the primary key, by a list of them, or by the index of which the condition names the most columns.
    pub(super) fn access(
        &mut self,
        target: &Target,
        condition: &Expr,
    ) -> Option<(Access, Option<Expr>)> {
        if let Some((key, rest)) = self.key(target, condition) {
            return Some((Access::Key(key), rest));
        }
        let table = Arc::clone(&target.table);
        if !table.codec.has_row_numbers()
            && let Some((list, rest)) = self.listed(target, table.key_columns(), condition)
        {
            return Some((Access::Keys(list), rest));
        }
        // Closed rows have no index.
        if table.is_hybrid() {
            return None;
        }
        let mut best: Option<(Access, Option<Expr>, usize)> = None;
        for index in table.indexes.iter().filter(|index| index.is_ready()) {
            let positions: Vec<usize> = index.positions().collect();
            let least = best.as_ref().map_or(0, |(_, _, width)| *width);
            for width in (least + 1..=positions.len()).rev() {
                let leading = positions.get(..width)?;
                let found = match self.equal(target, leading, split(condition)) {
                    Some((key, rest)) => Some((IndexValues::One(key), rest)),
                    None => self
                        .listed(target, leading, condition)
                        .map(|(list, rest)| (IndexValues::Listed(list), rest)),
                };
                if let Some((values, rest)) = found {
                    let access = Access::Index(IndexAccess {
                        index: Arc::clone(index),
                        values,
                    });
                    best = Some((access, rest, width));
                    break;
                }
            }
        }
        best.map(|(access, rest, _)| (access, rest))
    }

    /// Splits conjuncts into values that some columns, each named once, are equal to, and what is left of them.
    fn equal(
        &mut self,
        target: &Target,
        columns: &[usize],
        conjuncts: Vec<&Expr>,
    ) -> Option<(Key, Option<Expr>)> {
        let mut keys: Vec<Option<Expr>> = vec![None; columns.len()];
        let mut rest = Vec::new();
        'conjuncts: for conjunct in conjuncts {
            if let Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } = conjunct
            {
                for (column, value) in [(left, right), (right, left)] {
                    let Some(at) = column_of(target, column) else {
                        continue;
                    };
                    let slot = columns.iter().position(|key| *key == at);
                    if let Some(slot @ None) = slot.and_then(|slot| keys.get_mut(slot))
                        && has_no_columns(value)
                    {
                        *slot = Some(literal_of(target, at, value)?);
                        continue 'conjuncts;
                    }
                }
            }
            rest.push(conjunct);
        }
        let values = self.over_parameters(keys.into_iter().collect::<Option<Vec<_>>>()?)?;
        for (value, at) in values.iter().zip(columns) {
            self.is_comparable(target, *at, value)?;
        }
        let columns = columns.to_vec();
        Some((Key { columns, values }, all_of(rest)))
    }

    /// The same where one of the columns has a value out of a list.
    fn listed(
        &mut self,
        target: &Target,
        columns: &[usize],
        condition: &Expr,
    ) -> Option<(KeyList, Option<Expr>)> {
        let conjuncts = split(condition);
        for (chosen, conjunct) in conjuncts.iter().enumerate() {
            let column = match conjunct {
                Expr::InList {
                    expr,
                    negated: false,
                    ..
                } => column_of(target, expr),
                Expr::AnyOp {
                    left,
                    compare_op: BinaryOperator::Eq,
                    ..
                } => column_of(target, left),
                _ => None,
            };
            let slot = |column| columns.iter().position(|at| *at == column);
            let Some((column, slot)) = column.and_then(|column| Some((column, slot(column)?)))
            else {
                continue;
            };
            let others: Vec<usize> = columns.iter().copied().filter(|at| *at != column).collect();
            let mut left = conjuncts.clone();
            left.remove(chosen);
            let Some((key, rest)) = self.equal(target, &others, left) else {
                continue;
            };
            let Some(list) = self.list(target, column, conjunct) else {
                continue;
            };
            let list = KeyList {
                key,
                column,
                slot,
                list,
            };
            return Some((list, rest));
        }
        None
    }

    /// The values of `column IN (…)` or `column = ANY (…)`.
    fn list(&mut self, target: &Target, column: usize, conjunct: &Expr) -> Option<List> {
        match conjunct {
            Expr::InList { list, .. } => {
                if list.len() > KEYS_MAX || !list.iter().all(has_no_columns) {
                    return None;
                }
                let values = list.iter().map(|value| literal_of(target, column, value));
                let values = self.over_parameters(values.collect::<Option<Vec<_>>>()?)?;
                for value in &values {
                    self.is_comparable(target, column, value)?;
                }
                Some(List::Values(values))
            }
            Expr::AnyOp { right, .. } if has_no_columns(right) => {
                let mut array = right.as_ref().clone();
                let element = target.table.def.columns.get(column)?.ty.clone();
                parameters::cast_literal(&mut array, &SqlType::Array(Box::new(element))).ok()?;
                let array = self.over_parameters(vec![array])?.pop()?;
                match array.data_type(&self.parameters).ok()? {
                    DataType::List(element) => {
                        is_of_family(target, column, element.data_type())?;
                    }
                    _ => return None,
                }
                Some(List::Array(array))
            }
            _ => None,
        }
    }

    fn is_comparable(
        &self,
        target: &Target,
        column: usize,
        value: &Arc<dyn PhysicalExpr>,
    ) -> Option<()> {
        is_of_family(target, column, &value.data_type(&self.parameters).ok()?)
    }
}

/// Whether values of a type are those of a column, or become such by a cast that keeps what they are equal to.
fn is_of_family(target: &Target, column: usize, given: &DataType) -> Option<()> {
    let wanted = target.table.schema.fields().get(column)?.data_type();
    let same_family = given == wanted
        || (given.is_signed_integer() && wanted.is_signed_integer())
        || (given.is_string() && wanted.is_string());
    same_family.then_some(())
}

/// A value that a column is compared with.
fn literal_of(target: &Target, column: usize, value: &Expr) -> Option<Expr> {
    let mut value = value.clone();
    let column = target.table.def.columns.get(column)?;
    parameters::cast_literal(&mut value, &column.ty).ok()?;
    Some(value)
}

fn split(condition: &Expr) -> Vec<&Expr> {
    let mut conjuncts = Vec::new();
    let mut left = vec![condition];
    while let Some(condition) = left.pop() {
        match condition {
            Expr::BinaryOp {
                left: first,
                op: BinaryOperator::And,
                right,
            } => left.extend([right.as_ref(), first.as_ref()]),
            Expr::Nested(inner) => left.push(inner),
            other => conjuncts.push(other),
        }
    }
    conjuncts
}

/// Conjuncts as one condition.
fn all_of(conjuncts: Vec<&Expr>) -> Option<Expr> {
    let conjuncts = conjuncts.into_iter();
    conjuncts
        .map(|conjunct| Expr::Nested(Box::new(conjunct.clone())))
        .reduce(|before, conjunct| Expr::BinaryOp {
            left: Box::new(before),
            op: BinaryOperator::And,
            right: Box::new(conjunct),
        })
}

/// The table's column that an expression is.
pub(in crate::sql::point) fn column_of(target: &Target, expr: &Expr) -> Option<usize> {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, name] if names::fold(table) == names::fold(&target.alias) => name,
            _ => return None,
        },
        Expr::Nested(inner) => return column_of(target, inner),
        _ => return None,
    };
    target.column(&names::fold(name)).ok()
}

fn has_no_columns(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match part {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_continue()
}
