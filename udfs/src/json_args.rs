//! Owns what all functions on JSON do with their arguments: which types they take, and how columns and constants are read.
//!
//! Documents and keys are read as `Utf8View`, integers as `Int64` and key lists as `List<Utf8View>`; DataFusion casts to these. The
//! cast of a `Utf8` column only writes views, so no document is copied.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use crate::json_path::JsonForm;
use crate::pg_type::is_jsonb;

/// The type a JSON document or a text is read as.
pub(crate) fn coerce_text(function: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Ok(DataType::Utf8View)
        }
        DataType::Dictionary(_, values) => coerce_text(function, values),
        other => plan_err!("function {function} does not accept {other} as a JSON document or key"),
    }
}

/// The type the key of `->` is read as: text for a member, an integer for an element.
pub(crate) fn coerce_key(function: &str, given: &DataType) -> Result<DataType> {
    if given.is_integer() {
        Ok(DataType::Int64)
    } else {
        coerce_text(function, given)
    }
}

/// The type a `text[]` is read as. Text stays text: it is an array literal.
pub(crate) fn coerce_keys(function: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _) => {
            coerce_text(function, element.data_type())?;
            Ok(DataType::List(Arc::new(Field::new_list_field(
                DataType::Utf8View,
                true,
            ))))
        }
        other => coerce_text(function, other),
    }
}

/// What may be assumed of the documents in a column.
pub(crate) fn form_of(field: Option<&FieldRef>) -> JsonForm {
    if field.is_some_and(|field| is_jsonb(field)) {
        JsonForm::Canonical
    } else {
        JsonForm::Unchecked
    }
}

/// Number of rows to evaluate: one if every argument is a constant.
pub(crate) fn rows_to_evaluate(args: &ScalarFunctionArgs) -> usize {
    let constant = args
        .args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if constant { 1 } else { args.number_rows }
}

/// The argument at `position`.
pub(crate) fn argument(args: &ScalarFunctionArgs, position: usize) -> Result<&ColumnarValue> {
    args.args
        .get(position)
        .ok_or_else(|| exec_datafusion_err!("argument {} is missing", position + 1))
}

/// The argument at `position` as a column of `rows` texts.
pub(crate) fn text_column(
    args: &ScalarFunctionArgs,
    position: usize,
    rows: usize,
) -> Result<StringViewArray> {
    as_text(&argument(args, position)?.to_array(rows)?)
}

/// Any array of texts as `Utf8View`.
pub(crate) fn as_text(array: &ArrayRef) -> Result<StringViewArray> {
    let array = if array.data_type() == &DataType::Utf8View {
        Arc::clone(array)
    } else {
        cast(array, &DataType::Utf8View)?
    };
    let text = array
        .as_string_view_opt()
        .ok_or_else(|| exec_datafusion_err!("{} is no text", array.data_type()))?;
    Ok(text.clone())
}

/// The result of a call: a constant if every argument was one.
pub(crate) fn result(args: &ScalarFunctionArgs, array: ArrayRef) -> Result<ColumnarValue> {
    let constant = args
        .args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if constant && array.len() == 1 {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &array, 0,
        )?));
    }
    Ok(ColumnarValue::Array(array))
}

/// An argument that is one value for all rows or one for each.
#[derive(Debug)]
pub(crate) enum PerRow<T, C> {
    Constant(T),
    Column(C),
}

/// An argument that is a list of texts: read once if it is a constant, by row otherwise. NULL is none.
pub(crate) type TextLists = PerRow<Option<Vec<Option<String>>>, ArrayRef>;

/// Reads the `text[]` argument at `position`, given as a list or as an array literal.
pub(crate) fn text_lists(args: &ScalarFunctionArgs, position: usize) -> Result<TextLists> {
    match argument(args, position)? {
        ColumnarValue::Scalar(scalar) => Ok(PerRow::Constant(text_list(&scalar.to_array()?, 0)?)),
        ColumnarValue::Array(array) => Ok(PerRow::Column(Arc::clone(array))),
    }
}

/// The list in one row of an array of lists or of array literals.
pub(crate) fn text_list(array: &ArrayRef, row: usize) -> Result<Option<Vec<Option<String>>>> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Ok(None);
    }
    let elements = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => {
            let literals = as_text(&array.slice(row, 1))?;
            return Ok(Some(crate::json_path::array_literal::parse(
                literals.value(0),
            )?));
        }
    };
    let elements = as_text(&elements)?;
    Ok(Some(
        elements
            .iter()
            .map(|element| element.map(str::to_string))
            .collect(),
    ))
}
