//! Template patterns: `to_char`, `to_timestamp`, `to_date` and `to_number` as PostgreSQL computes them.
//!
//! DataFusion has functions of these names with `strftime` formats, for which `YYYY-MM` is text like any other. These here read
//! PostgreSQL's patterns; they are found before DataFusion's, and are bound to the session's time zone when a plan is made.
//!
//! - [`pattern`] cuts a pattern into keywords and text.
//! - [`date_time`] prints times and intervals, [`scan`] reads times, [`julian`] counts their days.
//! - [`number`] lays numbers out, [`digits`] rounds them before, [`to_number`] reads them.
//!
//! A pattern is compiled once for as long as it stays the same, so a constant one once a batch.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Date32Array, Decimal128Array, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use nyala_catalog::types::{NUMERIC_DEFAULT, SqlType, UTC};

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::TimeZone;

mod date_time;
mod digits;
mod julian;
mod number;
mod pattern;
mod scan;
#[cfg(test)]
mod tests;
mod to_number;

use date_time::{Parts, TimePattern};
use number::{NumberPattern, Picture};
use scan::Reading;

const DAY_US: i64 = 86_400_000_000;

/// Days from 1970-01-01 to 4714-11-24 BC, the first day of PostgreSQL's calendar.
const DAYS_MIN: i64 = -2_440_588;

/// Days from 1970-01-01 to 5874898-01-01, behind the last `date`.
const DATE_DAYS_END: i64 = 2_145_042_906;

/// Days from 1970-01-01 to the last one that begins in the range of a `timestamp`, which counts microseconds from there.
const TIMESTAMP_DAYS_END: i64 = i64::MAX / DAY_US;

/// A function of template patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Print,
    Timestamp,
    Date,
    Number,
}

/// The function of that name, for a session in `zone`.
pub fn function(name: &str, zone: TimeZone) -> Option<Arc<ScalarUDF>> {
    let function = match name {
        "to_char" => Function::Print,
        "to_timestamp" => Function::Timestamp,
        "to_date" => Function::Date,
        "to_number" => Function::Number,
        _ => return None,
    };
    Some(Arc::new(ScalarUDF::from(Template {
        function,
        zone,
        // The zone is that of the session, which is the same throughout a statement.
        signature: Signature::user_defined(Volatility::Stable),
    })))
}

/// A function of template patterns in a time zone.
#[derive(Debug)]
struct Template {
    function: Function,
    zone: TimeZone,
    signature: Signature,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function && self.zone == other.zone
    }
}

impl Eq for Template {}

impl Hash for Template {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl Template {
    fn result(&self) -> SqlType {
        match self.function {
            Function::Print => SqlType::Text,
            Function::Timestamp => SqlType::Timestamptz,
            Function::Date => SqlType::Date,
            Function::Number => SqlType::Numeric(None),
        }
    }

    fn undefined(&self, types: &[DataType]) -> PgError {
        let types: Vec<String> = types
            .iter()
            .map(|ty| SqlType::of_arrow(ty).to_string())
            .collect();
        PgError::new(
            sqlstate::UNDEFINED_FUNCTION,
            format!(
                "function {}({}) does not exist",
                self.name(),
                types.join(", ")
            ),
        )
        .with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )
    }
}

/// What a value is printed as; `None` if `to_char` does not take it.
fn printed_type(ty: &DataType) -> Option<DataType> {
    Some(match ty {
        DataType::Null => DataType::Null,
        // Of the types a date can become, timestamptz is the preferred one.
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, Some(_)) => {
            SqlType::Timestamptz.arrow_type()
        }
        DataType::Timestamp(_, None) => SqlType::Timestamp.arrow_type(),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Int32 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        // Of the types a smallint can become, double precision is the preferred one.
        DataType::Float64 | DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Float64,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            DataType::Decimal128(*p, *s)
        }
        _ => return None,
    })
}

impl ScalarUDFImpl for Template {
    fn name(&self) -> &str {
        match self.function {
            Function::Print => "to_char",
            Function::Timestamp => "to_timestamp",
            Function::Date => "to_date",
            Function::Number => "to_number",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        let is_text = |ty: &DataType| ty.is_string() || ty.is_null();
        let text = DataType::Utf8View;
        let coerced = match (self.function, types) {
            (Function::Print, [value, pattern]) if is_text(pattern) => {
                printed_type(value).map(|value| vec![value, text])
            }
            (Function::Timestamp, [seconds]) if seconds.is_numeric() || is_text(seconds) => {
                Some(vec![DataType::Float64])
            }
            (Function::Print, _) => None,
            (_, [value, pattern]) if is_text(value) && is_text(pattern) => {
                Some(vec![text.clone(), text])
            }
            _ => None,
        };
        Ok(coerced.ok_or_else(|| self.undefined(types))?)
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.result().arrow_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(self.result().field(self.name(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args
            .args
            .iter()
            .map(|value| value.to_array(rows))
            .collect::<DataFusionResult<Vec<_>>>()?;
        let result = match (self.function, columns.as_slice()) {
            (Function::Timestamp, [seconds]) => from_epoch(seconds)?,
            (Function::Print, [values, patterns]) => self.print(values, text(patterns)?)?,
            (_, [values, patterns]) => self.read(text(values)?, text(patterns)?)?,
            _ => return Err(PgError::internal("a pattern function takes two arguments").into()),
        };
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
}

fn text(values: &ArrayRef) -> Result<&StringViewArray> {
    values
        .as_string_view_opt()
        .ok_or_else(|| PgError::internal("a pattern is text"))
}

/// Keeps what the last pattern was compiled to.
struct Compiled<P> {
    last: Option<(String, P)>,
    compile: fn(&str) -> Result<P>,
}

impl<P> Compiled<P> {
    fn new(compile: fn(&str) -> Result<P>) -> Self {
        Self {
            last: None,
            compile,
        }
    }

    fn get(&mut self, pattern: &str) -> Result<&P> {
        let entry = match self.last.take() {
            Some((text, compiled)) if text == pattern => (text, compiled),
            _ => (pattern.to_string(), (self.compile)(pattern)?),
        };
        Ok(&self.last.insert(entry).1)
    }
}

fn time_pattern(pattern: &str) -> Result<TimePattern> {
    Ok(TimePattern::new(pattern))
}

/// Prints each value by its pattern; `print` says no for a value that has no text.
fn printed<T: ArrowPrimitiveType, P>(
    values: &ArrayRef,
    patterns: &StringViewArray,
    compile: fn(&str) -> Result<P>,
    print: impl Fn(T::Native, &P, &mut String) -> Result<bool>,
) -> Result<ArrayRef> {
    let values = values.as_primitive::<T>();
    let mut compiled = Compiled::new(compile);
    let mut text = String::new();
    let mut result = StringViewBuilder::with_capacity(values.len());
    for (value, pattern) in values.iter().zip(patterns) {
        text.clear();
        match value.zip(pattern) {
            Some((value, pattern)) if print(value, compiled.get(pattern)?, &mut text)? => {
                result.append_value(&text);
            }
            _ => result.append_null(),
        }
    }
    Ok(Arc::new(result.finish()))
}

impl Template {
    fn print(&self, values: &ArrayRef, patterns: &StringViewArray) -> Result<ArrayRef> {
        let zone = self.zone;
        // PostgreSQL gives NULL for an empty pattern, and for infinity.
        let time = |parts: Option<Parts>, pattern: &TimePattern, out: &mut String| match parts {
            Some(parts) if !pattern.empty => {
                pattern.write(&parts, out)?;
                Ok(true)
            }
            _ => Ok(false),
        };
        let finite = |us: i64| us != i64::MAX && us != i64::MIN;
        match values.data_type() {
            DataType::Null => Ok(arrow::array::new_null_array(
                &DataType::Utf8View,
                values.len(),
            )),
            DataType::Timestamp(_, None) => printed::<TimestampMicrosecondType, _>(
                values,
                patterns,
                time_pattern,
                |us, pattern, out| time(finite(us).then(|| Parts::of_local(us)), pattern, out),
            ),
            DataType::Timestamp(_, Some(_)) => printed::<TimestampMicrosecondType, _>(
                values,
                patterns,
                time_pattern,
                |us, pattern, out| {
                    let parts = finite(us).then(|| Parts::of_instant(us, zone));
                    time(parts, pattern, out)
                },
            ),
            DataType::Interval(_) => printed::<IntervalMonthDayNanoType, _>(
                values,
                patterns,
                time_pattern,
                |interval, pattern, out| time(Some(Parts::of_interval(interval)), pattern, out),
            ),
            DataType::Time64(_) => printed::<Time64MicrosecondType, _>(
                values,
                patterns,
                time_pattern,
                |us, pattern, out| {
                    let interval = IntervalMonthDayNano::new(0, 0, us.saturating_mul(1_000));
                    time(Some(Parts::of_interval(interval)), pattern, out)
                },
            ),
            _ => print_numbers(values, patterns),
        }
    }

    fn read(&self, texts: &StringViewArray, patterns: &StringViewArray) -> Result<ArrayRef> {
        if self.function == Function::Number {
            return read_numbers(texts, patterns);
        }
        let mut compiled = Compiled::new(time_pattern);
        let mut readings = Vec::with_capacity(texts.len());
        for (text, pattern) in texts.iter().zip(patterns) {
            readings.push(match text.zip(pattern) {
                Some((text, pattern)) => {
                    let reading = compiled.get(pattern)?.read(text)?;
                    Some(match self.function {
                        Function::Date => date(reading, text)?,
                        _ => instant(reading, self.zone)?,
                    })
                }
                None => None,
            });
        }
        if self.function == Function::Date {
            let days = readings
                .into_iter()
                .map(|days| days.and_then(|days| i32::try_from(days).ok()));
            return Ok(Arc::new(days.collect::<Date32Array>()));
        }
        Ok(Arc::new(
            TimestampMicrosecondArray::from(readings).with_timezone(UTC),
        ))
    }
}

fn print_numbers(values: &ArrayRef, patterns: &StringViewArray) -> Result<ArrayRef> {
    let compile = NumberPattern::new;
    match values.data_type() {
        DataType::Int32 => {
            printed::<Int32Type, _>(values, patterns, compile, |value, pattern, out| {
                let picture = &pattern.picture;
                // As in PostgreSQL, an integer has its exponent from a double precision.
                check_shift(picture, i128::from(value), i32::MAX.into(), "integer")?;
                let digits = match picture.exponent && !picture.roman {
                    true => picture.double(f64::from(value))?,
                    false => picture.decimal(i128::from(value), 0)?,
                };
                pattern.write(&digits, out)?;
                Ok(true)
            })
        }
        DataType::Int64 => {
            printed::<Int64Type, _>(values, patterns, compile, |value, pattern, out| {
                let (picture, value) = (&pattern.picture, i128::from(value));
                check_shift(picture, value, i64::MAX.into(), "bigint")?;
                pattern.write(&picture.decimal(value, 0)?, out)?;
                Ok(true)
            })
        }
        DataType::Float32 => {
            printed::<Float32Type, _>(values, patterns, compile, |value, pattern, out| {
                pattern.write(&pattern.picture.real(value)?, out)?;
                Ok(true)
            })
        }
        DataType::Float64 => {
            printed::<Float64Type, _>(values, patterns, compile, |value, pattern, out| {
                pattern.write(&pattern.picture.double(value)?, out)?;
                Ok(true)
            })
        }
        DataType::Decimal128(_, scale) => {
            printed::<Decimal128Type, _>(values, patterns, compile, |value, pattern, out| {
                pattern.write(&pattern.picture.decimal(value, *scale)?, out)?;
                Ok(true)
            })
        }
        other => Err(PgError::internal(format!("to_char of {other}"))),
    }
}

/// 22003 if an integer times the power of ten that `V` asks for leaves its type, as it does in PostgreSQL.
fn check_shift(picture: &Picture, value: i128, max: i128, name: &str) -> Result<()> {
    if picture.shift == 0 || picture.roman {
        return Ok(());
    }
    let shifted = u32::try_from(picture.shift)
        .ok()
        .and_then(|shift| 10_i128.checked_pow(shift))
        .filter(|factor| *factor <= max)
        .and_then(|factor| value.checked_mul(factor));
    match shifted {
        Some(shifted) if (-max - 1..=max).contains(&shifted) => Ok(()),
        _ => Err(PgError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("{name} out of range"),
        )),
    }
}

fn read_numbers(texts: &StringViewArray, patterns: &StringViewArray) -> Result<ArrayRef> {
    let (precision, scale) = NUMERIC_DEFAULT;
    let behind = u32::try_from(scale).unwrap_or_default();
    let mut compiled = Compiled::new(NumberPattern::new);
    let mut values = Vec::with_capacity(texts.len());
    for (text, pattern) in texts.iter().zip(patterns) {
        values.push(match text.zip(pattern) {
            Some((_, "")) | None => None,
            Some((text, pattern)) => Some(compiled.get(pattern)?.read(text, behind)?),
        });
    }
    let values = Decimal128Array::from(values).with_precision_and_scale(precision, scale)?;
    Ok(Arc::new(values))
}

/// Days since 1970-01-01 of a date that was read.
fn date(reading: Reading, text: &str) -> Result<i64> {
    match (DAYS_MIN..DATE_DAYS_END).contains(&reading.days) {
        true => Ok(reading.days),
        false => Err(PgError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            format!("date out of range: \"{text}\""),
        )),
    }
}

/// The instant that was read, in the session's zone if the text names none.
fn instant(reading: Reading, zone: TimeZone) -> Result<i64> {
    let out_of_range = || PgError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "timestamp out of range");
    if !(DAYS_MIN..TIMESTAMP_DAYS_END).contains(&reading.days) {
        return Err(out_of_range());
    }
    let local = reading
        .days
        .checked_mul(DAY_US)
        .and_then(|day| day.checked_add(reading.time_us))
        .ok_or_else(out_of_range)?;
    let offset = match reading.offset {
        Some(offset) => offset,
        None => i64::from(zone.offset_at_local(local)),
    };
    local
        .checked_sub(offset * 1_000_000)
        .ok_or_else(out_of_range)
}

/// `to_timestamp(double precision)`: seconds since 1970.
fn from_epoch(seconds: &ArrayRef) -> Result<ArrayRef> {
    let seconds = seconds.as_primitive::<Float64Type>();
    let instants: TimestampMicrosecondArray = seconds.try_unary(|seconds| {
        let error = |message: String| PgError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message);
        if seconds.is_nan() {
            return Err(error("timestamp cannot be NaN".to_string()));
        }
        if seconds.is_infinite() {
            return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
        }
        let day = seconds / 86_400.0;
        if day < DAYS_MIN as f64 || day >= TIMESTAMP_DAYS_END as f64 {
            return Err(error(format!("timestamp out of range: \"{seconds}\"")));
        }
        // PostgreSQL rounds what is left after its own epoch, 2000-01-01.
        let epoch = 946_684_800;
        let since = ((seconds - epoch as f64) * 1e6).round_ties_even();
        Ok(since as i64 + epoch * 1_000_000)
    })?;
    Ok(Arc::new(instants.with_timezone(UTC)))
}
