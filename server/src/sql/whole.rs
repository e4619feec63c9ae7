//! `ceil`, `floor`, `round` and `trunc` of `numeric` to whole numbers.
//!
//! DataFusion keeps the argument's precision, in which `ceil(0.25)` has no place for its 1, and fails on columns without rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable};

use crate::error::{PgError, Result};
use crate::sql::kernel::{Argument, Kernel};

const WHOLE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// A call that rounds a decimal, as one of a kernel.
pub fn resolve(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let [number] = call.args.as_slice() else {
        return None;
    };
    let kernel = match call.func.name() {
        "ceil" => Kernel::new("nyala_ceil", WHOLE, |arguments, _| {
            rounded(arguments, |value, unit| {
                value.div_euclid(unit) + i128::from(value.rem_euclid(unit) != 0)
            })
        }),
        "floor" => Kernel::new("nyala_floor", WHOLE, |arguments, _| {
            rounded(arguments, i128::div_euclid)
        }),
        "trunc" => Kernel::new("nyala_trunc", WHOLE, |arguments, _| {
            rounded(arguments, |value, unit| value / unit)
        }),
        // Halves go away from zero.
        "round" => Kernel::new("nyala_round_whole", WHOLE, |arguments, _| {
            rounded(arguments, |value, unit| {
                let away = value % unit;
                value / unit + i128::from(away.abs() >= unit - away.abs()) * away.signum()
            })
        }),
        _ => return None,
    };
    let ty = number.get_type(schema).ok()?;
    matches!(ty, DataType::Decimal128(_, _)).then(|| kernel.call(vec![number.clone()]))
}

fn rounded(arguments: &[Argument], round: impl Fn(i128, i128) -> i128) -> Result<ArrayRef> {
    let wrong = || PgError::internal("rounding takes one decimal");
    let [number] = arguments else {
        return Err(wrong());
    };
    let numbers = number.values();
    let DataType::Decimal128(_, scale) = numbers.data_type() else {
        return Err(wrong());
    };
    let unit = match u32::try_from(*scale) {
        Ok(scale) if scale > 0 => 10_i128.checked_pow(scale).ok_or_else(wrong)?,
        _ => return Ok(cast(numbers, &WHOLE)?),
    };
    let decimals = numbers.as_primitive_opt::<Decimal128Type>();
    let whole = decimals
        .ok_or_else(wrong)?
        .unary::<_, Decimal128Type>(|value| round(value, unit));
    Ok(Arc::new(whole.with_data_type(WHOLE)))
}

#[cfg(test)]
mod tests {
    use arrow::array::Decimal128Array;

    use super::*;

    #[test]
    fn halves_and_signs() {
        let numbers = [
            -150, -149, -51, -50, -49, -1, 0, 1, 49, 50, 51, 99, 100, 150,
        ];
        let array =
            Decimal128Array::from_iter_values(numbers).with_data_type(DataType::Decimal128(3, 2));
        let schema = DFSchema::empty();
        let field = datafusion::common::ScalarValue::Decimal128(Some(25), 2, 2);
        for (name, expected) in [
            ("ceil", [-1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]),
            ("floor", [-2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 1, 1]),
            ("trunc", [-1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
            ("round", [-2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2]),
        ] {
            let functions = datafusion::functions::math::functions();
            let function = functions
                .into_iter()
                .find(|one| one.name() == name)
                .unwrap();
            let call = ScalarFunction::new_udf(function, vec![Expr::Literal(field.clone(), None)]);
            let Some(Expr::ScalarFunction(kernel)) = resolve(&call, &schema) else {
                panic!("{name} of a decimal is no kernel");
            };
            let result =
                kernel
                    .func
                    .invoke_with_args(datafusion::logical_expr::ScalarFunctionArgs {
                        args: vec![datafusion::logical_expr::ColumnarValue::Array(Arc::new(
                            array.clone(),
                        ))],
                        arg_fields: vec![],
                        number_rows: array.len(),
                        return_field: Arc::new(arrow::datatypes::Field::new("x", WHOLE, true)),
                        config_options: Arc::default(),
                    });
            let result = result.unwrap().into_array(array.len()).unwrap();
            let result: Vec<i128> = result.as_primitive::<Decimal128Type>().values().to_vec();
            assert_eq!(result, expected, "{name}");
        }
    }
}
