//! Whether a value is in an array, as SQL has it: unknown where it is not, and a NULL is.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::logical_expr::Expr;

use crate::error::{PgError, Result};
use crate::pgwire::encode::TimeZone;
use crate::sql::kernel::{Argument, Kernel};

/// `nyala_is_member(value, array)`; the elements are of the value's type, and nothing is in an array that is NULL.
pub fn call(value: Expr, array: Expr) -> Expr {
    Kernel::new("nyala_is_member", DataType::Boolean, is_member).call(vec![value, array])
}

/// The elements of one array.
struct Elements {
    rows: HashSet<OwnedRow>,
    has_null: bool,
}

impl Elements {
    fn of(lists: &ListArray, row: usize, converter: &RowConverter) -> Result<Option<Self>> {
        if lists.is_null(row) {
            return Ok(None);
        }
        let values = lists.value(row);
        let rows = converter.convert_columns(&[Arc::clone(&values)])?;
        let known = rows.iter().zip(0..).filter(|(_, at)| values.is_valid(*at));
        Ok(Some(Self {
            rows: known.map(|(row, _)| row.owned()).collect(),
            has_null: values.null_count() > 0,
        }))
    }
}

fn is_member(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let wrong = || PgError::internal("nyala_is_member takes a value and an array of its type");
    let [values, arrays] = arguments else {
        return Err(wrong());
    };
    let lists = arrays.values().as_list_opt::<i32>().ok_or_else(wrong)?;
    let converter = RowConverter::new(vec![SortField::new(values.values().data_type().clone())])?;
    if lists.value_type() != *values.values().data_type() {
        return Err(wrong());
    }
    let rows = converter.convert_columns(&[Arc::clone(values.values())])?;
    let count = match (values.is_scalar(), arrays.is_scalar()) {
        (true, false) => lists.len(),
        _ => rows.num_rows(),
    };
    let only = match arrays.is_scalar() {
        true => Some(Elements::of(lists, 0, &converter)?),
        false => None,
    };
    let mut found = BooleanArray::builder(count);
    for at in 0..count {
        let own;
        let elements = match &only {
            Some(elements) => elements,
            None => {
                own = Elements::of(lists, at, &converter)?;
                &own
            }
        };
        let position = if values.is_scalar() { 0 } else { at };
        found.append_option(match elements {
            None => Some(false),
            Some(elements) if elements.rows.is_empty() && !elements.has_null => Some(false),
            Some(_) if values.values().is_null(position) => None,
            Some(elements) => match elements.rows.contains(&rows.row(position).owned()) {
                true => Some(true),
                false if elements.has_null => None,
                false => Some(false),
            },
        });
    }
    Ok(Arc::new(found.finish()))
}
