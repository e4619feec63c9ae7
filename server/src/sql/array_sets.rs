//! Arrays that are compared by their elements: `@>`, `<@`, `&&`, `<` and its like, `greatest` and `least`, `array_remove`.
//!
//! For the first three NULL elements equal nothing, not even each other; DataFusion's `array_has_all` and `array_has_any` take
//! two NULLs for equal. In the order of arrays a NULL element comes behind all others, and DataFusion puts it before them; in its
//! sorts that depends on where NULLs are put that are no element. `array_remove(a, NULL)` takes the NULLs out.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, NullBufferBuilder, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, cast, interleave, take};
use arrow::datatypes::DataType;
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{ScalarFunction, Sort};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use crate::error::{PgError, Result};
use crate::pgwire::encode::TimeZone;
use crate::sql::kernel::{Argument, Kernel};

/// Pairs of elements from which on a set is built.
const PAIRS_MAX: usize = 64;

/// The call of one of DataFusion's functions as one of a kernel.
pub fn resolve(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let kernel = match call.func.name() {
        "array_has_all" => {
            Kernel::new("nyala_array_contains", DataType::Boolean, |arguments, _| {
                compared(arguments, contains)
            })
        }
        "array_has_any" => {
            Kernel::new("nyala_array_overlaps", DataType::Boolean, |arguments, _| {
                compared(arguments, overlaps)
            })
        }
        "array_remove_all" => return removed(call, schema),
        name @ ("greatest" | "least") => {
            let ty = call.args.first()?.get_type(schema).ok()?;
            let same = |expr: &Expr| expr.get_type(schema).is_ok_and(|other| other == ty);
            if !call.args.iter().all(same) {
                return None;
            }
            match name {
                "greatest" => Kernel::new("nyala_greatest_array", ty, |arguments, _| {
                    chosen(arguments, Ordering::Greater)
                }),
                _ => Kernel::new("nyala_least_array", ty, |arguments, _| {
                    chosen(arguments, Ordering::Less)
                }),
            }
        }
        _ => return None,
    };
    all_lists(&call.args, schema).then(|| kernel.call(call.args.clone()))
}

/// A comparison of two arrays by their order as a call of a kernel.
pub fn compared_by_order(binary: &BinaryExpr, schema: &DFSchema) -> Option<Expr> {
    type Body = fn(&[Argument], TimeZone) -> Result<ArrayRef>;
    let (name, body): (_, Body) = match binary.op {
        Operator::Lt => ("nyala_array_lt", |arguments, _| {
            in_order(arguments, Ordering::is_lt)
        }),
        Operator::LtEq => ("nyala_array_le", |arguments, _| {
            in_order(arguments, Ordering::is_le)
        }),
        Operator::Gt => ("nyala_array_gt", |arguments, _| {
            in_order(arguments, Ordering::is_gt)
        }),
        Operator::GtEq => ("nyala_array_ge", |arguments, _| {
            in_order(arguments, Ordering::is_ge)
        }),
        _ => return None,
    };
    let operands = vec![binary.left.as_ref().clone(), binary.right.as_ref().clone()];
    let kernel = Kernel::new(name, DataType::Boolean, body);
    all_lists(&operands, schema).then(|| kernel.call(operands))
}

/// Keys of an order, with arrays in theirs: where NULL is not put as PostgreSQL does by itself, it has a key of its own.
pub fn order(keys: Vec<Sort>, schema: &DFSchema) -> Vec<Sort> {
    let mut ordered = Vec::with_capacity(keys.len());
    for key in keys {
        let by_itself = key.nulls_first != key.asc;
        if by_itself || !all_lists(std::slice::from_ref(&key.expr), schema) {
            ordered.push(key);
            continue;
        }
        let known = key.expr.clone().is_not_null();
        ordered.push(known.sort(key.nulls_first, false));
        ordered.push(key.expr.sort(key.asc, !key.asc));
    }
    ordered
}

fn all_lists(values: &[Expr], schema: &DFSchema) -> bool {
    let is_list = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::List(_)));
    values.iter().all(is_list)
}

fn removed(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let [list, _] = call.args.as_slice() else {
        return None;
    };
    let ty = list.get_type(schema).ok()?;
    let kernel = Kernel::new("nyala_array_remove", ty.clone(), |arguments, _| {
        without(arguments)
    });
    matches!(ty, DataType::List(_)).then(|| kernel.call(call.args.clone()))
}

fn without(arguments: &[Argument]) -> Result<ArrayRef> {
    let [list, element] = arguments else {
        return Err(PgError::internal(
            "array_remove takes an array and an element",
        ));
    };
    let lists = lists(list).ok_or_else(|| PgError::internal("an array is expected"))?;
    let elements = cast(element.values(), &lists.value_type())?;
    let converter = RowConverter::new(vec![SortField::new(lists.value_type())])?;
    let value_rows = converter.convert_columns(&[Arc::clone(lists.values())])?;
    let element_rows = converter.convert_columns(&[elements])?;
    let rows = if list.is_scalar() {
        element_rows.num_rows()
    } else {
        lists.len()
    };
    let mut kept: Vec<u64> = Vec::new();
    let mut lengths = Vec::with_capacity(rows);
    let mut nulls = NullBufferBuilder::new(rows);
    for row in 0..rows {
        let (own, other) = (at(list, row), at(element, row));
        let before = kept.len();
        nulls.append(lists.is_valid(own));
        if lists.is_valid(own) {
            let removed = element_rows.row(other);
            let rest = range(lists, own).filter(|at| value_rows.row(*at) != removed);
            kept.extend(rest.map(|at| at as u64));
        }
        lengths.push(kept.len() - before);
    }
    let DataType::List(item) = lists.data_type() else {
        return Err(PgError::internal("an array is expected"));
    };
    let values = take(lists.values(), &UInt64Array::from(kept), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let list = ListArray::try_new(Arc::clone(item), offsets, values, nulls.finish())?;
    Ok(Arc::new(list))
}

/// Rows of arrays that compare as PostgreSQL's arrays do.
fn ordered_rows(arguments: &[Argument]) -> Result<Vec<Rows>> {
    let Some(first) = arguments.first() else {
        return Err(PgError::internal("arrays are compared with others"));
    };
    let ty = first.values().data_type();
    // NULLs of arrays behind all others are so in their elements, too.
    let options = SortOptions {
        descending: false,
        nulls_first: false,
    };
    let converter = RowConverter::new(vec![SortField::new_with_options(ty.clone(), options)])?;
    let rows = arguments.iter().map(|argument| {
        let values = match argument.values().data_type() == ty {
            true => Arc::clone(argument.values()),
            false => cast(argument.values(), ty)?,
        };
        Ok(converter.convert_columns(&[values])?)
    });
    rows.collect()
}

fn in_order(arguments: &[Argument], holds: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let rows = ordered_rows(arguments)?;
    let ([left, right], [one, other]) = (arguments, rows.as_slice()) else {
        return Err(PgError::internal("arrays are compared by two"));
    };
    let compared = (0..length(arguments)).map(|row| {
        let (own, its) = (at(left, row), at(right, row));
        let known = left.values().is_valid(own) && right.values().is_valid(its);
        known.then(|| holds(one.row(own).cmp(&other.row(its))))
    });
    Ok(Arc::new(compared.collect::<BooleanArray>()))
}

/// Of each row the array that stands to the others like this; NULLs count for nothing.
fn chosen(arguments: &[Argument], wanted: Ordering) -> Result<ArrayRef> {
    let rows = ordered_rows(arguments)?;
    let values: Vec<&dyn Array> = arguments.iter().map(|one| one.values().as_ref()).collect();
    let indices: Vec<(usize, usize)> = (0..length(arguments))
        .map(|row| {
            let mut best: Option<usize> = None;
            for (number, argument) in arguments.iter().enumerate() {
                let better = |than: usize| {
                    let (Some(one), Some(other)) = (rows.get(number), rows.get(than)) else {
                        return false;
                    };
                    let than = arguments.get(than).map_or(0, |than| at(than, row));
                    one.row(at(argument, row)).cmp(&other.row(than)) == wanted
                };
                if argument.values().is_valid(at(argument, row)) && best.is_none_or(better) {
                    best = Some(number);
                }
            }
            let best = best.unwrap_or(0);
            (best, arguments.get(best).map_or(0, |best| at(best, row)))
        })
        .collect();
    Ok(interleave(&values, &indices)?)
}

/// Rows of a call: as many as its longest argument has.
fn length(arguments: &[Argument]) -> usize {
    let columns = arguments.iter().filter(|argument| !argument.is_scalar());
    columns
        .map(|column| column.values().len())
        .max()
        .unwrap_or(1)
}

fn at(argument: &Argument, row: usize) -> usize {
    if argument.is_scalar() { 0 } else { row }
}

/// The elements of one array, in a form in which equal ones have equal bytes.
struct Elements<'a> {
    values: &'a dyn Array,
    rows: &'a Rows,
    range: Range<usize>,
}

impl<'a> Elements<'a> {
    fn known(&self) -> impl Iterator<Item = Row<'a>> {
        let (values, rows) = (self.values, self.rows);
        self.range
            .clone()
            .filter(move |at| values.is_valid(*at))
            .map(move |at| rows.row(at))
    }

    fn len(&self) -> usize {
        self.range.len()
    }
}

fn contains(left: &Elements<'_>, right: &Elements<'_>) -> bool {
    if right.known().count() < right.len() {
        return false;
    }
    if left.len() * right.len() <= PAIRS_MAX {
        return right
            .known()
            .all(|one| left.known().any(|other| one == other));
    }
    let set: HashSet<Row<'_>> = left.known().collect();
    right.known().all(|one| set.contains(&one))
}

fn overlaps(left: &Elements<'_>, right: &Elements<'_>) -> bool {
    if left.len() * right.len() <= PAIRS_MAX {
        return right
            .known()
            .any(|one| left.known().any(|other| one == other));
    }
    let set: HashSet<Row<'_>> = left.known().collect();
    right.known().any(|one| set.contains(&one))
}

fn compared(
    arguments: &[Argument],
    compare: fn(&Elements<'_>, &Elements<'_>) -> bool,
) -> Result<ArrayRef> {
    let [left, right] = arguments else {
        return Err(PgError::internal("arrays are compared by two"));
    };
    let (Some(one), Some(other)) = (lists(left), lists(right)) else {
        return Err(PgError::internal("two arrays are expected"));
    };
    let other_values = match other.value_type() == one.value_type() {
        true => Arc::clone(other.values()),
        false => cast(other.values(), &one.value_type())?,
    };
    let converter = RowConverter::new(vec![SortField::new(one.value_type())])?;
    let one_rows = converter.convert_columns(&[Arc::clone(one.values())])?;
    let other_rows = converter.convert_columns(&[Arc::clone(&other_values)])?;
    let compared = (0..length(arguments)).map(|row| {
        let (left_row, right_row) = (at(left, row), at(right, row));
        let known = one.is_valid(left_row) && other.is_valid(right_row);
        known.then(|| {
            let left = Elements {
                values: one.values(),
                rows: &one_rows,
                range: range(one, left_row),
            };
            let right = Elements {
                values: &other_values,
                rows: &other_rows,
                range: range(other, right_row),
            };
            compare(&left, &right)
        })
    });
    Ok(Arc::new(compared.collect::<BooleanArray>()))
}

fn lists(argument: &Argument) -> Option<&ListArray> {
    argument.values().as_list_opt::<i32>()
}

fn range(lists: &ListArray, row: usize) -> Range<usize> {
    let offset = |at: usize| {
        let offset = lists.value_offsets().get(at).copied().unwrap_or_default();
        usize::try_from(offset).unwrap_or_default()
    };
    offset(row)..offset(row + 1)
}
