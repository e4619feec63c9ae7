//! Operators that DataFusion evaluates otherwise than PostgreSQL.
//!
//! - Integer arithmetic that leaves its type is 22003, not a wrapped number.
//! - `date ± interval` is a timestamp; an interval can be multiplied and divided by a number.
//! - `round(double precision)` and casts of floats to integers round half to even.
//!
//! [`IntervalPlanner`] is asked while the plan is made. [`resolve`] runs before type coercion, where literals still are what was written; [`rewrite`] after it,
//! where both operands have the type they are computed in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::compute::kernels::numeric;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DurationMicrosecondType, Field,
    Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, InList, ScalarFunction};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr,
};
use datafusion::logical_expr::{
    Between, BinaryExpr, Cast, Expr, ExprSchemable, Operator, lit, when,
};
use sqlparser::ast::BinaryOperator;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::TimeZone;
use crate::sql::array_sets;
use crate::sql::kernel::{Argument, Kernel};
use crate::sql::numeric::{BIGINT_SUM, null_if_zero};
use crate::sql::whole;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Days that an interval's month counts when a fraction of one is left over, as in PostgreSQL.
const DAYS_PER_MONTH: f64 = 30.0;

const NANOS_PER_DAY: f64 = 86_400e9;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// PostgreSQL keeps microseconds.
const NANOS_PER_MICRO: f64 = 1e3;

/// Before type coercion: gives operands the types that decide what the operator means.
pub fn resolve(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    let expr = match expr {
        Expr::AggregateFunction(mut call) if call.func.name() == "sum" => {
            let widened = widen_sum(&mut call.params.args, schema);
            return Ok(Transformed::new_transformed(
                Expr::AggregateFunction(call),
                widened,
            ));
        }
        Expr::WindowFunction(mut call) if call.fun.name() == "sum" => {
            let widened = widen_sum(&mut call.params.args, schema);
            return Ok(Transformed::new_transformed(
                Expr::WindowFunction(call),
                widened,
            ));
        }
        Expr::ScalarFunction(call) => {
            let other =
                whole::resolve(&call, schema).or_else(|| array_sets::resolve(&call, schema));
            if let Some(other) = other {
                return Ok(Transformed::yes(other));
            }
            let to = integer_result(&call, schema);
            let (call, changed) = shown_booleans(call, schema)?;
            let call = Expr::ScalarFunction(call);
            return Ok(match to {
                Some(ty) => Transformed::yes(cast(call, ty)),
                None => Transformed::new_transformed(call, changed),
            });
        }
        Expr::Between(mut between) if is_float(&between.expr, schema) => {
            let low = float_bound(&mut between.low, schema);
            let high = float_bound(&mut between.high, schema);
            return Ok(Transformed::new_transformed(
                Expr::Between(between),
                low || high,
            ));
        }
        Expr::InList(list) if list.list.iter().any(is_computed) => {
            return Ok(Transformed::yes(one_by_one(list, schema)));
        }
        Expr::InList(mut list) if is_float(&list.expr, schema) => {
            let items = list.list.iter_mut();
            let changed = items
                .map(|item| float_bound(item, schema))
                .filter(|one| *one);
            let changed = changed.count() > 0;
            return Ok(Transformed::new_transformed(Expr::InList(list), changed));
        }
        Expr::BinaryExpr(binary) => match array_sets::compared_by_order(&binary, schema) {
            Some(compared) => return Ok(Transformed::yes(compared)),
            None => Expr::BinaryExpr(binary),
        },
        other => other,
    };
    let Expr::BinaryExpr(BinaryExpr {
        mut left,
        op,
        mut right,
    }) = expr
    else {
        return Ok(Transformed::no(expr));
    };
    let unchanged = |left, right| {
        Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
            left,
            op,
            right,
        })))
    };
    // Names that only an outer query knows have no type here.
    let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema)) else {
        return unchanged(left, right);
    };
    if is_arithmetic(op) || op.supports_propagation() {
        // A decimal has no place for what a float can be.
        let operand = match (left_type.is_floating(), right_type.is_floating()) {
            (true, false) if right_type.is_decimal() => Some(&mut right),
            (false, true) if left_type.is_decimal() => Some(&mut left),
            _ => None,
        };
        if let Some(operand) = operand {
            **operand = float(std::mem::take(operand.as_mut()));
            return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            })));
        }
    }
    if !is_arithmetic(op) {
        return unchanged(left, right);
    }
    match (&left_type, op, &right_type) {
        (DataType::Date32, Operator::Minus, DataType::Date32) => {
            let days = Expr::BinaryExpr(BinaryExpr { left, op, right });
            return Ok(Transformed::yes(cast(days, DataType::Int32)));
        }
        // Where an operand was not known when the operator was planned.
        (one, Operator::Minus, other) if zone_of_difference(one, other).is_some() => {
            let zone = zone_of_difference(one, other).flatten();
            return Ok(Transformed::yes(time_between(*left, *right, zone)));
        }
        (DataType::Date32, Operator::Plus | Operator::Minus, &INTERVAL) => {
            left = Box::new(as_timestamp(*left));
        }
        (&INTERVAL, Operator::Plus, DataType::Date32) => {
            right = Box::new(as_timestamp(*right));
        }
        _ => return unchanged(left, right),
    }
    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
        left,
        op,
        right,
    })))
}

/// Whether an item of a list has to be computed for each row.
fn is_computed(item: &Expr) -> bool {
    item.any_column_refs() || item.contains_outer()
}

/// `x IN (a, b)` as `x = a OR x = b`: DataFusion takes a CASE over columns for a constant.
fn one_by_one(list: InList, schema: &DFSchema) -> Expr {
    let InList {
        expr,
        list,
        negated,
    } = list;
    let float = is_float(&expr, schema);
    let equal = list.into_iter().map(|mut item| {
        if float {
            float_bound(&mut item, schema);
        }
        expr.as_ref().clone().eq(item)
    });
    // No deeper than need be.
    let mut conditions: Vec<Expr> = equal.collect();
    while conditions.len() > 1 {
        let mut pairs = conditions.into_iter();
        let mut half = Vec::new();
        while let Some(left) = pairs.next() {
            half.push(match pairs.next() {
                Some(right) => left.or(right),
                None => left,
            });
        }
        conditions = half;
    }
    let found = conditions.pop().unwrap_or_else(|| lit(false));
    match negated {
        true => Expr::Not(Box::new(found)),
        false => found,
    }
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|ty| ty == INTERVAL)
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|ty| ty.is_floating())
}

/// A decimal that a float is compared with is a float.
fn float_bound(bound: &mut Expr, schema: &DFSchema) -> bool {
    let decimal = bound.get_type(schema).is_ok_and(|ty| ty.is_decimal());
    if decimal {
        *bound = float(std::mem::take(bound));
    }
    decimal
}

/// The type of functions that give `integer`, or arrays of it, or whole numbers, in PostgreSQL only.
fn integer_result(call: &ScalarFunction, schema: &DFSchema) -> Option<DataType> {
    match call.func.name() {
        "array_length" | "array_ndims" | "array_position" | "cardinality" | "regexp_count"
        | "regexp_instr" => Some(DataType::Int32),
        "floor" | "ceil" | "round" | "trunc" => match call.args.as_slice() {
            [number] if number.get_type(schema).is_ok_and(|ty| ty.is_decimal()) => {
                Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
            }
            _ => None,
        },
        "generate_series" | "gcd" | "lcm" => {
            let small = |arg: &Expr| {
                let ty = arg.get_type(schema);
                matches!(ty, Ok(DataType::Int16 | DataType::Int32))
            };
            let item = Field::new_list_field(DataType::Int32, true);
            let result = match call.func.name() {
                "generate_series" => DataType::List(Arc::new(item)),
                _ => DataType::Int32,
            };
            call.args.iter().all(small).then_some(result)
        }
        _ => None,
    }
}

/// `concat` and its like show a boolean as results do, `t`, and not as its cast to text does, `true`.
fn shown_booleans(
    mut call: ScalarFunction,
    schema: &DFSchema,
) -> DataFusionResult<(ScalarFunction, bool)> {
    let mut changed = false;
    if matches!(call.func.name(), "concat" | "concat_ws") {
        for argument in &mut call.args {
            if argument
                .get_type(schema)
                .is_ok_and(|ty| ty == DataType::Boolean)
            {
                let value = std::mem::take(argument);
                *argument = when(value.clone(), lit("t"))
                    .when(value.is_false(), lit("f"))
                    .end()?;
                changed = true;
            }
        }
    }
    Ok((call, changed))
}

/// The sum of `bigint` is `numeric`: it need not be a `bigint`.
fn widen_sum(args: &mut [Expr], schema: &DFSchema) -> bool {
    let [value] = args else {
        return false;
    };
    if !matches!(value.get_type(schema), Ok(DataType::Int64)) {
        return false;
    }
    *value = cast(std::mem::take(value), BIGINT_SUM);
    true
}

/// Plans `interval * number` and `interval / number`, for which DataFusion has no result type, and the difference of times, whose type
/// decides what can be done with it.
#[derive(Debug)]
pub struct IntervalPlanner;

impl ExprPlanner for IntervalPlanner {
    fn plan_aggregate(
        &self,
        expr: RawAggregateExpr,
    ) -> DataFusionResult<PlannerResult<RawAggregateExpr>> {
        Ok(match average_of_intervals(&expr)? {
            Some(average) => PlannerResult::Planned(average),
            None => PlannerResult::Original(expr),
        })
    }

    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        let scales = matches!(expr.op, BinaryOperator::Multiply | BinaryOperator::Divide);
        if !scales && expr.op != BinaryOperator::Minus {
            return Ok(PlannerResult::Original(expr));
        }
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        if (&left, &expr.op, &right)
            == (&DataType::Date32, &BinaryOperator::Minus, &DataType::Date32)
        {
            let days = Expr::BinaryExpr(BinaryExpr::new(
                Box::new(expr.left),
                Operator::Minus,
                Box::new(expr.right),
            ));
            return Ok(PlannerResult::Planned(cast(days, DataType::Int32)));
        }
        if expr.op == BinaryOperator::Minus {
            return Ok(match zone_of_difference(&left, &right) {
                Some(zone) => PlannerResult::Planned(time_between(expr.left, expr.right, zone)),
                None => PlannerResult::Original(expr),
            });
        }
        if !scales {
            return Ok(PlannerResult::Original(expr));
        }
        let planned = match (&left, &expr.op, &right) {
            (&INTERVAL, BinaryOperator::Multiply, number) if number.is_numeric() => {
                interval_times(expr.left, expr.right)
            }
            (number, BinaryOperator::Multiply, &INTERVAL) if number.is_numeric() => {
                interval_times(expr.right, expr.left)
            }
            (&INTERVAL, BinaryOperator::Divide, number) if number.is_numeric() => {
                interval_divided(expr.left, expr.right)
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(planned))
    }
}

/// What computes intervals.
const OF_INTERVALS: [&str; 3] = [
    "nyala_time_between",
    "nyala_interval_multiply",
    "nyala_interval_divide",
];

/// The average of what is known to be an interval, which DataFusion does not have: its sum by its count.
fn average_of_intervals(call: &RawAggregateExpr) -> DataFusionResult<Option<Expr>> {
    let [argument] = call.args.as_slice() else {
        return Ok(None);
    };
    let known = match argument {
        Expr::ScalarFunction(inner) => OF_INTERVALS.contains(&inner.func.name()),
        _ => false,
    };
    if call.func.name() != "avg" || !known {
        return Ok(None);
    }
    let aggregate = |function| {
        Expr::AggregateFunction(AggregateFunction::new_udf(
            function,
            call.args.clone(),
            call.distinct,
            call.filter.clone(),
            call.order_by.clone(),
            call.null_treatment,
        ))
    };
    let count = null_if_zero(aggregate(count_udaf()))?;
    Ok(Some(interval_divided(aggregate(sum_udaf()), count)))
}

fn is_arithmetic(op: Operator) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(op, Plus | Minus | Multiply | Divide | Modulo)
}

fn as_timestamp(date: Expr) -> Expr {
    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None))
}

/// In which zone the difference of two times is, which is in days and hours; none if it is of something else.
fn zone_of_difference(left: &DataType, right: &DataType) -> Option<Option<Arc<str>>> {
    match (left, right) {
        (DataType::Timestamp(_, zone), DataType::Timestamp(_, other)) => {
            Some(zone.as_ref().or(other.as_ref()).cloned())
        }
        (DataType::Timestamp(_, zone), DataType::Date32)
        | (DataType::Date32, DataType::Timestamp(_, zone)) => Some(zone.clone()),
        _ => None,
    }
}

/// `later - earlier`, both brought to one type.
fn time_between(later: Expr, earlier: Expr, zone: Option<Arc<str>>) -> Expr {
    let ty = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let times = [later, earlier].map(|time| cast(time, ty.clone()));
    let kernel = Kernel::new("nyala_time_between", INTERVAL, difference);
    kernel.call(times.to_vec())
}

/// `timestamp_mi` of PostgreSQL: whole days, and the time of one sign with them.
fn difference(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let [later, earlier] = arguments else {
        return Err(PgError::internal("an operator takes two operands"));
    };
    let durations = numeric::sub(later, earlier)?;
    let durations = durations.as_primitive::<DurationMicrosecondType>();
    let intervals = durations.try_unary::<_, IntervalMonthDayNanoType, ArrowError>(|micros| {
        let days = i32::try_from(micros / MICROS_PER_DAY).map_err(|_| {
            ArrowError::ExternalError(Box::new(PgError::new(
                sqlstate::DATETIME_FIELD_OVERFLOW,
                "interval out of range",
            )))
        })?;
        let rest = micros % MICROS_PER_DAY;
        Ok(IntervalMonthDayNano::new(0, days, rest * 1_000))
    })?;
    Ok(Arc::new(intervals))
}

/// Intervals compare by the time that they take, a month of 30 days and a day of 24 hours.
fn comparable(interval: Expr) -> Expr {
    let ty = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);
    Kernel::new("nyala_interval_length", ty, lengths).call(vec![interval])
}

fn lengths(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let [intervals] = arguments else {
        return Err(PgError::internal(
            "nyala_interval_length takes one interval",
        ));
    };
    let intervals = intervals
        .values()
        .as_primitive::<IntervalMonthDayNanoType>();
    let lengths = intervals.unary::<_, Decimal128Type>(|interval| {
        let days = i128::from(interval.months) * 30 + i128::from(interval.days);
        days * i128::from(MICROS_PER_DAY) + i128::from(interval.nanoseconds / 1_000)
    });
    let lengths = lengths.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)?;
    Ok(Arc::new(lengths))
}

fn float(number: Expr) -> Expr {
    cast(number, DataType::Float64)
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}

/// An interval divided by a number.
fn interval_divided(interval: Expr, number: Expr) -> Expr {
    let kernel = Kernel::new("nyala_interval_divide", INTERVAL, divide_interval);
    kernel.call(vec![interval, float(number)])
}

fn interval_times(interval: Expr, number: Expr) -> Expr {
    let kernel = Kernel::new("nyala_interval_multiply", INTERVAL, multiply_interval);
    kernel.call(vec![interval, float(number)])
}

/// After type coercion: arithmetic and rounding as PostgreSQL does it.
pub fn rewrite(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if op.supports_propagation()
                && is_interval(&left, schema)
                && is_interval(&right, schema) =>
        {
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(comparable(*left)),
                op,
                right: Box::new(comparable(*right)),
            })))
        }
        Expr::InList(mut list)
            if is_interval(&list.expr, schema)
                && list.list.iter().all(|item| is_interval(item, schema)) =>
        {
            list.expr = Box::new(comparable(*list.expr));
            list.list = list.list.into_iter().map(comparable).collect();
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::Between(between)
            if [&between.expr, &between.low, &between.high]
                .iter()
                .all(|side| is_interval(side, schema)) =>
        {
            Ok(Transformed::yes(Expr::Between(Between {
                expr: Box::new(comparable(*between.expr)),
                negated: between.negated,
                low: Box::new(comparable(*between.low)),
                high: Box::new(comparable(*between.high)),
            })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let kernel = checked_kernel(op);
            if let Some((name, body)) = kernel
                && let Ok(ty) = left.get_type(schema)
                && ty.is_signed_integer()
                && right.get_type(schema).is_ok_and(|right| right == ty)
            {
                let kernel = Kernel::new(name, ty, body);
                return Ok(Transformed::yes(kernel.call(vec![*left, *right])));
            }
            Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            })))
        }
        Expr::Negative(value) => match value.get_type(schema) {
            Ok(ty) if ty.is_signed_integer() => {
                let zero = Expr::Literal(ScalarValue::new_zero(&ty)?, None);
                let kernel = Kernel::new("nyala_negate", ty, |arguments, _| {
                    checked(arguments, |a, b| numeric::sub(a, b))
                });
                Ok(Transformed::yes(kernel.call(vec![zero, *value])))
            }
            _ => Ok(Transformed::no(Expr::Negative(value))),
        },
        Expr::ScalarFunction(ScalarFunction { func, mut args })
            if func.name() == "round" && args.len() == 1 =>
        {
            let float = match args.first().map(|value| value.get_type(schema)) {
                Some(Ok(ty)) if ty.is_floating() => ty,
                _ => {
                    return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction {
                        func,
                        args,
                    })));
                }
            };
            Ok(match args.pop() {
                Some(value) => Transformed::yes(round_to_even(value, float)),
                None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
            })
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A float rounded to an integral one, halves to even.
pub fn round_to_even(value: Expr, float: DataType) -> Expr {
    Kernel::new("nyala_round", float, round_floats).call(vec![value])
}

type Binary = fn(&[Argument], TimeZone) -> Result<ArrayRef>;

fn checked_kernel(op: Operator) -> Option<(&'static str, Binary)> {
    match op {
        Operator::Plus => Some(("nyala_add", |arguments, _| {
            checked(arguments, |a, b| numeric::add(a, b))
        })),
        Operator::Minus => Some(("nyala_subtract", |arguments, _| {
            checked(arguments, |a, b| numeric::sub(a, b))
        })),
        Operator::Multiply => Some(("nyala_multiply", |arguments, _| {
            checked(arguments, |a, b| numeric::mul(a, b))
        })),
        Operator::Divide => Some(("nyala_divide", |arguments, _| {
            checked(arguments, |a, b| numeric::div(a, b))
        })),
        _ => None,
    }
}

fn checked(
    arguments: &[Argument],
    operation: fn(&Argument, &Argument) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef> {
    let [left, right] = arguments else {
        return Err(PgError::internal("an operator takes two operands"));
    };
    operation(left, right).map_err(|error| match error {
        ArrowError::ArithmeticOverflow(_) => out_of_range(left.values().data_type()),
        other => other.into(),
    })
}

fn out_of_range(ty: &DataType) -> PgError {
    let name = match ty {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    PgError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("{name} out of range"),
    )
}

fn round_floats(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let [value] = arguments else {
        return Err(PgError::internal("round takes one argument"));
    };
    let values = value.values();
    Ok(match values.data_type() {
        DataType::Float32 => Arc::new(
            values
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(f32::round_ties_even),
        ),
        _ => Arc::new(
            values
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(f64::round_ties_even),
        ),
    })
}

fn multiply_interval(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    scaled(arguments, scale)
}

fn divide_interval(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    scaled(arguments, |interval, divisor| {
        if divisor == 0.0 {
            return Err(PgError::new(sqlstate::DIVISION_BY_ZERO, "division by zero"));
        }
        scale(interval, 1.0 / divisor)
    })
}

fn scaled(
    arguments: &[Argument],
    operation: impl Fn(IntervalMonthDayNano, f64) -> Result<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    let [intervals, numbers] = arguments else {
        return Err(PgError::internal("an operator takes two operands"));
    };
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let numbers_array = cast_with_options(numbers.values(), &DataType::Float64, &options)?;
    let interval_values = intervals
        .values()
        .as_primitive::<IntervalMonthDayNanoType>();
    let number_values = numbers_array.as_primitive::<Float64Type>();
    let rows = match (intervals.is_scalar(), numbers.is_scalar()) {
        (true, false) => number_values.len(),
        _ => interval_values.len(),
    };
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let at = if intervals.is_scalar() { 0 } else { row };
        let by = if numbers.is_scalar() { 0 } else { row };
        let null = interval_values.is_null(at) || number_values.is_null(by);
        values.push(match null {
            true => None,
            false => Some(operation(
                interval_values.value(at),
                number_values.value(by),
            )?),
        });
    }
    Ok(Arc::new(IntervalMonthDayNanoArray::from(values)))
}

/// `interval_mul` of PostgreSQL: a fraction of a month goes over into days of thirtieths, a fraction of
/// a day into time.
fn scale(interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let overflow = || PgError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "interval out of range");
    let whole = |value: f64, max: f64| {
        if value.is_nan() || value.abs() > max {
            return Err(overflow());
        }
        Ok(value)
    };
    let months = whole(f64::from(interval.months) * factor, f64::from(i32::MAX))?;
    let days = whole(f64::from(interval.days) * factor, f64::from(i32::MAX))?;
    let month_days = round_micro((months - months.trunc()) * DAYS_PER_MONTH);
    let mut day_seconds = round_micro((days - days.trunc()) + (month_days - month_days.trunc()));
    let mut all_days = days.trunc() + month_days.trunc();
    // Fractions of a day that add up to one are one.
    if day_seconds.abs() >= 1.0 {
        all_days += day_seconds.trunc();
        day_seconds -= day_seconds.trunc();
    }
    let nanos = interval.nanoseconds as f64 * factor + day_seconds * NANOS_PER_DAY;
    let nanos = whole(
        (nanos / NANOS_PER_MICRO).round_ties_even() * NANOS_PER_MICRO,
        9.2e18,
    )?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the ranges were checked above"
    )]
    Ok(IntervalMonthDayNano::new(
        months.trunc() as i32,
        whole(all_days, f64::from(i32::MAX))? as i32,
        nanos as i64,
    ))
}

/// Rounds away what floating point adds behind the sixth digit, as PostgreSQL's TSROUND does.
fn round_micro(value: f64) -> f64 {
    (value * 1e6).round_ties_even() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_scale_as_in_postgresql() {
        let interval = IntervalMonthDayNano::new;
        let hour = 3_600_000_000_000;
        for (given, factor, expected) in [
            (interval(0, 0, hour), 3.0, interval(0, 0, 3 * hour)),
            (interval(1, 0, 0), 0.5, interval(0, 15, 0)),
            (interval(0, 1, 0), 1.5, interval(0, 1, 12 * hour)),
            (interval(1, 1, 0), -1.0, interval(-1, -1, 0)),
        ] {
            assert_eq!(scale(given, factor).unwrap(), expected);
        }
        assert!(scale(interval(i32::MAX, 0, 0), 2.0).is_err());
    }
}
