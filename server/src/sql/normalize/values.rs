//! `VALUES` that DataFusion does not make as they stand.
//!
//! It computes rows before any subquery has run, and wants each column of one type: a string without a type that stands below
//! `now()` stays text. So rows that hold subqueries, or columns of several types, become a union of queries, whose types are
//! found out as those of any union. Where only strings and NULLs stand beside values of one type they are given that type instead.

use std::ops::ControlFlow;

use sqlparser::ast::{
    CastKind, DataType, Expr, Ident, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, Value,
    visit_expressions,
};

use crate::sql::normalize::from;

/// Rows that may become queries because of their types; planning a union of so many takes some ten milliseconds.
const TYPED_ROWS_MAX: usize = 250;

/// Makes the rows of a query ones that can be planned.
pub fn resolve(query: &mut Query) {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return;
    };
    let rows = &mut values.rows;
    let width = rows.first().map_or(0, |row| row.content.len());
    let mut mixed = false;
    // Rows of different lengths are an error that is found later.
    if rows.len() > 1 && rows.iter().all(|row| row.content.len() == width) {
        for at in 0..width {
            let column = rows.iter_mut().filter_map(|row| row.content.get_mut(at));
            mixed |= !has_one_type(column.collect());
        }
    }
    let holds = |expr: &Expr| {
        visit_expressions(expr, |part| match part {
            Expr::Subquery(_)
            | Expr::InSubquery { .. }
            | Expr::Exists { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    };
    let computed = rows.iter().flat_map(|row| row.iter()).any(holds);
    let queries = computed || (mixed && rows.len() <= TYPED_ROWS_MAX);
    if !queries {
        return;
    }
    let rows = std::mem::take(rows).into_iter().map(|row| {
        let columns = row.content.into_iter().zip(1..);
        let items = columns.map(|(expr, number)| SelectItem::ExprWithAlias {
            expr,
            alias: Ident::new(format!("column{number}")),
        });
        from::select_one(items.collect())
    });
    if let Some(union) = union_of(rows.collect()) {
        *query.body = union;
    }
}

/// The union of queries, nested no deeper than need be: planning is recursive.
fn union_of(mut queries: Vec<SetExpr>) -> Option<SetExpr> {
    if queries.len() <= 1 {
        return queries.pop();
    }
    let right = queries.split_off(queries.len() / 2);
    Some(SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(union_of(queries)?),
        right: Box::new(union_of(right)?),
    })
}

/// What a cell's type is found by.
enum Cell<'a> {
    /// NULL or a string, which take the type of the others.
    Unknown,
    /// A value whose type is written, the type with or without its length.
    Typed(&'a DataType),
    /// A number, TRUE or FALSE, or a parameter.
    Plain,
    Computed,
}

impl<'a> Cell<'a> {
    fn of(expr: &'a Expr) -> Self {
        match expr {
            Expr::Value(value) => match &value.value {
                Value::Null | Value::SingleQuotedString(_) => Self::Unknown,
                _ => Self::Plain,
            },
            Expr::Cast {
                data_type,
                array: false,
                ..
            } => Self::Typed(data_type),
            Expr::TypedString(typed) => Self::Typed(&typed.data_type),
            Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => Self::of(expr),
            _ => Self::Computed,
        }
    }
}

/// Whether the cells of a column will be of one type, once those without a type have that of the others.
fn has_one_type(cells: Vec<&mut Expr>) -> bool {
    let (mut unknown, mut plain, mut computed) = (false, false, false);
    let mut types: Vec<&DataType> = Vec::new();
    for cell in &cells {
        match Cell::of(cell) {
            Cell::Unknown => unknown = true,
            Cell::Plain => plain = true,
            Cell::Computed => computed = true,
            Cell::Typed(ty) if types.contains(&ty) => {}
            Cell::Typed(ty) => types.push(ty),
        }
    }
    match types.as_slice() {
        [] => !(computed && unknown),
        [ty] if !plain && !computed => {
            if unknown && !has_length(ty) {
                let ty = (*ty).clone();
                cells.into_iter().for_each(|cell| give_type(cell, &ty));
                return true;
            }
            !unknown
        }
        // A number beside a value of a written type may have to become one.
        _ => false,
    }
}

/// Whether giving a value the type may change it.
fn has_length(ty: &DataType) -> bool {
    ty.to_string().contains('(')
}

fn give_type(cell: &mut Expr, ty: &DataType) {
    if let Cell::Unknown = Cell::of(cell) {
        *cell = Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(cell.clone()),
            data_type: ty.clone(),
            array: false,
            format: None,
        };
    }
}
