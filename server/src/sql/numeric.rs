//! Division and averages of `numeric`.
//!
//! DataFusion's quotient of decimals has four digits more than the dividend, and what is behind them is cut off. PostgreSQL
//! gives 16 significant digits at least, rounded. A column here has one scale for all values, so quotients and averages have
//! [`SCALE`] digits behind the point, or as many as an operand has, rounded half away from zero. As in PostgreSQL the average
//! of integers is `numeric`, too.
//!
//! [`NumericPlanner`] plans quotients; [`averages`] makes an average the quotient of a sum and a count, which a query that asks
//! for these as well computes once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, i256};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result as DataFusionResult};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    Aggregate, Cast, Expr, ExprSchemable, LogicalPlan, Projection, Window, WindowFunctionDefinition,
};
use nyala_catalog::types::SqlType;
use sqlparser::ast::BinaryOperator;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::TimeZone;
use crate::sql::kernel::{Argument, Kernel};
use crate::sql::retyped::{self, Retyped};

/// Digits behind the point of quotients and averages.
pub const SCALE: i8 = 16;

/// Digits behind the point from which on a product has no more than its operands: three prices with ten each would leave none before it.
const PRODUCT_SCALE_MAX: i8 = 20;

/// `bigint` as a decimal.
const BIGINT: DataType = DataType::Decimal128(19, 0);

/// What a sum of `bigint` is taken in.
pub const BIGINT_SUM: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// Plans `numeric / numeric`.
#[derive(Debug)]
pub struct NumericPlanner;

impl ExprPlanner for NumericPlanner {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        type_literals(&mut expr, schema);
        if !matches!(expr.op, BinaryOperator::Divide | BinaryOperator::Multiply) {
            return Ok(PlannerResult::Original(expr));
        }
        // Names that only an outer query knows have no type here.
        let types = expr.left.get_type(schema).ok();
        if expr.op == BinaryOperator::Multiply {
            let right = expr.right.get_type(schema).ok();
            return Ok(match types.zip(right) {
                Some((DataType::Decimal128(_, left), DataType::Decimal128(_, right)))
                    if left + right > PRODUCT_SCALE_MAX =>
                {
                    let scale = left.max(right).max(PRODUCT_SCALE_MAX);
                    let result = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale);
                    let kernel = Kernel::new("nyala_numeric_multiply", result, multiply);
                    let scale = datafusion::logical_expr::lit(i64::from(scale));
                    PlannerResult::Planned(kernel.call(vec![expr.left, expr.right, scale]))
                }
                _ => PlannerResult::Original(expr),
            });
        }
        Ok(match types.zip(expr.right.get_type(schema).ok()) {
            Some((left, right))
                if (is_decimal(&left) && is_exact(&right))
                    || (is_exact(&left) && is_decimal(&right)) =>
            {
                PlannerResult::Planned(quotient(expr.left, &left, expr.right, &right))
            }
            _ => PlannerResult::Original(expr),
        })
    }
}

/// A literal without a type takes that of the number that it is computed with.
fn type_literals(expr: &mut RawBinaryExpr, schema: &DFSchema) {
    use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
    if !matches!(expr.op, Plus | Minus | Multiply | Divide | Modulo) {
        return;
    }
    let number = |expr: &Expr| expr.get_type(schema).ok().filter(DataType::is_numeric);
    let text = |expr: &Expr| matches!(expr, Expr::Literal(value, None) if value.try_as_str().flatten().is_some());
    let typed = |literal: &mut Expr, ty| {
        *literal = Expr::Cast(Cast::new(Box::new(std::mem::take(literal)), ty));
    };
    match (number(&expr.left), number(&expr.right)) {
        (Some(ty), None) if text(&expr.right) => typed(&mut expr.right, ty),
        (None, Some(ty)) if text(&expr.left) => typed(&mut expr.left, ty),
        _ => {}
    }
}

fn is_decimal(ty: &DataType) -> bool {
    matches!(ty, DataType::Decimal128(..))
}

fn is_exact(ty: &DataType) -> bool {
    is_decimal(ty) || ty.is_signed_integer()
}

fn quotient(
    dividend: Expr,
    dividend_type: &DataType,
    divisor: Expr,
    divisor_type: &DataType,
) -> Expr {
    let scale = |ty: &DataType| match ty {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    let scale = SCALE.max(scale(dividend_type)).max(scale(divisor_type));
    let decimal = |expr: Expr, ty: &DataType| match is_decimal(ty) {
        true => expr,
        false => Expr::Cast(Cast::new(Box::new(expr), BIGINT)),
    };
    let operands = vec![
        decimal(dividend, dividend_type),
        decimal(divisor, divisor_type),
    ];
    let result = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale);
    // The result's scale is part of what the kernel computes, and told to it by a third operand.
    let kernel = Kernel::new("nyala_numeric_divide", result, divide);
    let scale = datafusion::logical_expr::lit(i64::from(scale));
    kernel.call([operands, vec![scale]].concat())
}

fn divide(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    computed(arguments, |dividend, divisor, result| {
        let factor = power_of_ten(result + divisor - dividend)?;
        Ok(Box::new(move |dividend, divisor| {
            rounded(dividend, factor, divisor)
        }))
    })
}

fn multiply(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    computed(arguments, |left, right, result| {
        let unit = power_of_ten(left + right - result)?;
        Ok(Box::new(move |left, right| {
            let product = i256::from_i128(left).checked_mul(i256::from_i128(right));
            half_away(product.ok_or_else(overflow)?, unit)
        }))
    })
}

/// What is computed of two values without their scales.
type Operation = Box<dyn Fn(i128, i128) -> Result<i128>>;

fn power_of_ten(exponent: i8) -> Result<i256> {
    let wrong = |_| PgError::internal("a result of a smaller scale");
    let exponent = u32::try_from(exponent).map_err(wrong)?;
    i256::from_i128(10)
        .checked_pow(exponent)
        .ok_or_else(overflow)
}

/// An operation over two decimals, made for their scales and that of the result, which is the third argument.
fn computed(
    arguments: &[Argument],
    operation: fn(i8, i8, i8) -> Result<Operation>,
) -> Result<ArrayRef> {
    let [lefts, rights, scale] = arguments else {
        return Err(PgError::internal("a result of two operands and a scale"));
    };
    let wrong = || PgError::internal("a result of other types");
    let scale = scale
        .values()
        .as_primitive_opt::<arrow::datatypes::Int64Type>()
        .filter(|scale| scale.len() == 1)
        .and_then(|scale| i8::try_from(scale.value(0)).ok())
        .ok_or_else(wrong)?;
    let of = |argument: &Argument| match argument.values().data_type() {
        DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    };
    let operation = operation(
        of(lefts).ok_or_else(wrong)?,
        of(rights).ok_or_else(wrong)?,
        scale,
    )?;
    let left = lefts.values().as_primitive::<Decimal128Type>();
    let right = rights.values().as_primitive::<Decimal128Type>();
    let rows = match (lefts.is_scalar(), rights.is_scalar()) {
        (true, false) => right.len(),
        _ => left.len(),
    };
    let mut results = Decimal128Array::builder(rows);
    for row in 0..rows {
        let at = if lefts.is_scalar() { 0 } else { row };
        let by = if rights.is_scalar() { 0 } else { row };
        if left.is_null(at) || right.is_null(by) {
            results.append_null();
            continue;
        }
        results.append_value(operation(left.value(at), right.value(by))?);
    }
    let results = results
        .finish()
        .with_precision_and_scale(DECIMAL128_MAX_PRECISION, scale)?;
    results
        .validate_decimal_precision(DECIMAL128_MAX_PRECISION)
        .map_err(|_| overflow())?;
    Ok(Arc::new(results))
}

/// `dividend * factor / divisor`, rounded half away from zero.
fn rounded(dividend: i128, factor: i256, divisor: i128) -> Result<i128> {
    if divisor == 0 {
        return Err(PgError::new(sqlstate::DIVISION_BY_ZERO, "division by zero"));
    }
    let dividend = i256::from_i128(dividend)
        .checked_mul(factor)
        .ok_or_else(overflow)?;
    half_away(dividend, i256::from_i128(divisor))
}

/// The quotient, rounded half away from zero.
fn half_away(dividend: i256, divisor: i256) -> Result<i128> {
    let quotient = dividend.checked_div(divisor).ok_or_else(overflow)?;
    let rest = dividend.checked_rem(divisor).ok_or_else(overflow)?;
    let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2));
    let up = twice.ok_or_else(overflow)? >= divisor.wrapping_abs();
    let negative = dividend.is_negative() != divisor.is_negative();
    let quotient = match (up, negative) {
        (false, _) => quotient,
        (true, true) => quotient.wrapping_sub(i256::ONE),
        (true, false) => quotient.wrapping_add(i256::ONE),
    };
    quotient.to_i128().ok_or_else(overflow)
}

fn overflow() -> PgError {
    PgError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        "value overflows numeric format",
    )
}

/// Before type coercion: averages of `numeric` and integers become quotients of sums and counts, and aggregates of values whose
/// type is told give that type.
pub fn averages(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let aggregate = match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate,
        LogicalPlan::Window(window) => return window_averages(window),
        other => return Ok(Transformed::no(other)),
    };
    let schema = Arc::clone(aggregate.input.schema());
    let found = aggregate
        .aggr_expr
        .iter()
        .map(|expr| average(expr, &schema));
    let found: Vec<Option<Average>> = found.collect();
    let told: Vec<Option<SqlType>> = aggregate
        .aggr_expr
        .iter()
        .map(|expr| match function(expr) {
            Expr::AggregateFunction(call) => retyped::aggregate_type(call, &schema),
            _ => None,
        })
        .collect();
    let exact: Vec<bool> = aggregate
        .aggr_expr
        .iter()
        .map(|expr| is_deviation(expr, &schema))
        .collect();
    let none = found.iter().all(Option::is_none) && told.iter().all(Option::is_none);
    if none && !exact.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let mut computed: Vec<Expr> = Vec::new();
    let mut once = |expr: &Expr| {
        if !computed.contains(expr) {
            computed.push(expr.clone());
        }
    };
    for (expr, average) in aggregate.aggr_expr.iter().zip(&found) {
        match average {
            Some(average) => [&average.sum, &average.count]
                .into_iter()
                .for_each(&mut once),
            None => once(expr),
        }
    }
    let Aggregate {
        input, group_expr, ..
    } = aggregate.clone();
    let inner = Aggregate::try_new(input, group_expr, computed)?;
    let inner_schema = Arc::clone(&inner.schema);
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let output = |expr: &Expr| Expr::Column(Column::from_name(expr.schema_name().to_string()));
    let mut results = Vec::with_capacity(aggregate.schema.fields().len());
    for at in 0..groups {
        let (qualifier, field) = inner_schema.qualified_field(at);
        if field.name() != Aggregate::INTERNAL_GROUPING_ID {
            results.push(Expr::Column(Column::from((qualifier, field))));
        }
    }
    let kinds = found.iter().zip(told).zip(exact);
    for (expr, ((average, told), exact)) in aggregate.aggr_expr.iter().zip(kinds) {
        results.push(match average {
            None if exact => {
                let result = DataType::Decimal128(DECIMAL128_MAX_PRECISION, SCALE);
                let deviation = Expr::Cast(Cast::new(Box::new(output(expr)), result));
                deviation.alias(expr.schema_name().to_string())
            }
            None => match told {
                Some(ty) => Retyped::call(ty, output(expr)).alias(expr.schema_name().to_string()),
                None => output(expr),
            },
            Some(average) => {
                let (sum, count) = (output(&average.sum), output(&average.count));
                let sum_type = sum.get_type(&inner_schema)?;
                mean(sum, &sum_type, count)?.alias(expr.schema_name().to_string())
            }
        });
    }
    let projection = Projection::try_new(results, Arc::new(LogicalPlan::Aggregate(inner)))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// The same of averages over windows.
fn window_averages(window: Window) -> DataFusionResult<Transformed<LogicalPlan>> {
    let schema = Arc::clone(window.input.schema());
    let found = window
        .window_expr
        .iter()
        .map(|expr| window_average(expr, &schema));
    let found: Vec<Option<Average>> = found.collect();
    if found.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let mut computed: Vec<Expr> = Vec::new();
    for (expr, average) in window.window_expr.iter().zip(&found) {
        let needed = match average {
            Some(average) => vec![&average.sum, &average.count],
            None => vec![expr],
        };
        for expr in needed {
            if !computed.contains(expr) {
                computed.push(expr.clone());
            }
        }
    }
    let inner = Window::try_new(computed, Arc::clone(&window.input))?;
    let inner_schema = Arc::clone(&inner.schema);
    let output = |expr: &Expr| Expr::Column(Column::from_name(expr.schema_name().to_string()));
    let mut results: Vec<Expr> = Vec::with_capacity(window.schema.fields().len());
    for at in 0..schema.fields().len() {
        results.push(Expr::Column(Column::from(inner_schema.qualified_field(at))));
    }
    for (expr, average) in window.window_expr.iter().zip(&found) {
        let name = expr.schema_name().to_string();
        results.push(match average {
            None => output(expr),
            Some(average) => {
                let (sum, count) = (output(&average.sum), output(&average.count));
                let sum_type = sum.get_type(&inner_schema)?;
                mean(sum, &sum_type, count)?.alias(name)
            }
        });
    }
    let projection = Projection::try_new(results, Arc::new(LogicalPlan::Window(inner)))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

fn window_average(expr: &Expr, schema: &DFSchema) -> Option<Average> {
    let Expr::WindowFunction(call) = function(expr) else {
        return None;
    };
    let [argument] = call.params.args.as_slice() else {
        return None;
    };
    let ty = argument.get_type(schema).ok()?;
    if call.fun.name() != "avg" || !is_exact(&ty) {
        return None;
    }
    let with = |function, argument: Expr| {
        let mut params = call.params.clone();
        params.args = vec![argument];
        Expr::WindowFunction(Box::new(WindowFunction {
            fun: WindowFunctionDefinition::AggregateUDF(function),
            params,
        }))
    };
    let summed = match ty {
        DataType::Int64 => Expr::Cast(Cast::new(Box::new(argument.clone()), BIGINT_SUM)),
        _ => argument.clone(),
    };
    Some(Average {
        sum: with(sum_udaf(), summed),
        count: with(count_udaf(), argument.clone()),
    })
}

/// Whether an aggregate is a deviation or variance of exact numbers. It is computed with floats, whose digits it has; its type is
/// `numeric`.
fn is_deviation(expr: &Expr, schema: &DFSchema) -> bool {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = function(expr) else {
        return false;
    };
    let [argument] = params.args.as_slice() else {
        return false;
    };
    matches!(func.name(), "stddev" | "stddev_pop" | "var" | "var_pop")
        && argument.get_type(schema).is_ok_and(|ty| is_exact(&ty))
}

/// An average by its sum and count.
fn mean(sum: Expr, sum_type: &DataType, count: Expr) -> DataFusionResult<Expr> {
    let count = null_if_zero(count)?;
    Ok(quotient(sum, sum_type, count, &DataType::Int64))
}

/// An average of nothing is NULL, as its sum is; so is the count by which that is divided.
pub(super) fn null_if_zero(count: Expr) -> DataFusionResult<Expr> {
    let zero = count.clone().eq(datafusion::logical_expr::lit(0_i64));
    let null = datafusion::logical_expr::lit(datafusion::common::ScalarValue::Int64(None));
    datafusion::logical_expr::when(zero, null).otherwise(count)
}

/// A call that may have the name it had before its arguments were changed.
fn function(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        expr => expr,
    }
}

/// What an average is the quotient of.
struct Average {
    sum: Expr,
    count: Expr,
}

fn average(expr: &Expr, schema: &DFSchema) -> Option<Average> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = function(expr) else {
        return None;
    };
    let [argument] = params.args.as_slice() else {
        return None;
    };
    let ty = argument.get_type(schema).ok()?;
    if func.name() != "avg" || !is_exact(&ty) {
        return None;
    }
    let call = |func, argument: Expr| {
        Expr::AggregateFunction(AggregateFunction::new_udf(
            func,
            vec![argument],
            params.distinct,
            params.filter.clone(),
            params.order_by.clone(),
            params.null_treatment,
        ))
    };
    let summed = match ty {
        DataType::Int64 => Expr::Cast(Cast::new(Box::new(argument.clone()), BIGINT_SUM)),
        _ => argument.clone(),
    };
    Some(Average {
        sum: call(sum_udaf(), summed),
        count: call(count_udaf(), argument.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_half_away_from_zero() {
        let by = |dividend, shift, divisor| {
            let factor = i256::from_i128(10).checked_pow(shift).unwrap();
            rounded(dividend, factor, divisor).unwrap()
        };
        assert_eq!(by(5, 0, 2), 3);
        assert_eq!(by(-5, 0, 2), -3);
        assert_eq!(by(5, 0, -2), -3);
        assert_eq!(by(5, 4, 3), 16_667);
        assert_eq!(by(-4, 4, -3), 13_333);
        assert!(rounded(1, i256::ONE, 0).is_err());
        assert!(rounded(i128::MAX, i256::from_i128(10), 1).is_err());
    }
}
