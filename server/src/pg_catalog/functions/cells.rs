//! Arrow arrays as cells, for the arguments of system functions.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;

use crate::error::Result;
use crate::pg_catalog::rows::Cell;
use crate::pgwire::decode::scalar_at;

/// The values of an array; types that no system function takes come as their text, decimals with all digits.
pub fn of(values: &ArrayRef) -> Result<Vec<Cell>> {
    let converted = |target: DataType| cast(values, &target);
    Ok(match values.data_type() {
        DataType::Null => vec![Cell::Null; values.len()],
        DataType::Boolean => values.as_boolean().iter().map(Cell::from).collect(),
        data_type if data_type.is_integer() => integers(&converted(DataType::Int64)?),
        DataType::Timestamp(_, _) => {
            let micros = converted(DataType::Timestamp(TimeUnit::Microsecond, None))?;
            integers(&cast(&micros, &DataType::Int64)?)
        }
        data_type if data_type.is_floating() => {
            let floats = converted(DataType::Float64)?;
            floats
                .as_primitive::<Float64Type>()
                .iter()
                .map(Cell::from)
                .collect()
        }
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let list = |list: Option<ArrayRef>| {
                list.map_or(Ok(Cell::Null), |list| of(&list).map(Cell::List))
            };
            lists.iter().map(list).collect::<Result<_>>()?
        }
        _ => {
            let texts = converted(DataType::Utf8View)?;
            texts
                .as_string_view()
                .iter()
                .map(|text| text.map(str::to_string).into())
                .collect()
        }
    })
}

/// The one value of an array of one row.
pub fn scalar(values: &ArrayRef) -> Result<ScalarValue> {
    Ok(scalar_at(values, 0)?)
}

fn integers(values: &ArrayRef) -> Vec<Cell> {
    values
        .as_primitive::<Int64Type>()
        .iter()
        .map(Cell::from)
        .collect()
}
