//! Statistics of a file as the Delta log keeps them: row count, null counts, smallest and largest
//! values, in JSON.
//!
//! What is written is always a true bound, even where the protocol lets writers cut values short:
//! timestamps have milliseconds there, so the smallest is rounded down and the largest up, and long
//! strings end in a prefix that sorts before or after every value. What is read back is therefore
//! exact only for numbers and dates, and for timestamps where a tag of the file tells them to the microsecond.
//!
//! A float column that holds a NaN has no bounds: NaN sorts above all numbers in SQL, and
//! JSON cannot say it.

use arrow::datatypes::{DataType, Decimal128Type, DecimalType, FieldRef, Schema, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use serde_json::{Map, Number, Value};

use super::{ClosedTableSpec, schema};

/// Years that every reader of ISO dates understands; values outside have no bounds.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// Microseconds in a millisecond, the precision of timestamps in the log.
const MILLISECOND_US: i64 = 1_000;

const DAYS_TO_EPOCH: i32 = 719_163;

/// The smallest and largest value of a column in one file, and how many nulls it has.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnBounds {
    pub(super) min: Option<ScalarValue>,
    pub(super) max: Option<ScalarValue>,
    /// `None` if nothing is known of the column.
    pub(super) nulls: Option<u64>,
}

/// The statistics of a file as the log keeps them.
pub(super) fn encode(schema: &Schema, rows: u64, columns: &[ColumnBounds]) -> String {
    let mut mins = Map::new();
    let mut maxs = Map::new();
    let mut nulls = Map::new();
    for (field, column) in schema.fields().iter().zip(columns) {
        if !schema::has_statistics(field) {
            continue;
        }
        let Some(null_count) = column.nulls else {
            continue;
        };
        nulls.insert(field.name().clone(), Value::from(null_count));
        if let Some(min) = column.min.as_ref().and_then(|min| to_json(min, false)) {
            mins.insert(field.name().clone(), min);
        }
        if let Some(max) = column.max.as_ref().and_then(|max| to_json(max, true)) {
            maxs.insert(field.name().clone(), max);
        }
    }
    let object = [
        ("numRecords", Value::from(rows)),
        ("minValues", Value::Object(mins)),
        ("maxValues", Value::Object(maxs)),
        ("nullCount", Value::Object(nulls)),
    ];
    Value::Object(
        object
            .map(|(name, value)| (name.to_string(), value))
            .into_iter()
            .collect(),
    )
    .to_string()
}

/// The bounds of timestamps to the microsecond, which the statistics of the log cannot tell: a JSON object with
/// smallest and largest value, in microseconds, for each column. `None` if there are none.
pub(super) fn encode_timestamps(schema: &Schema, columns: &[ColumnBounds]) -> Option<String> {
    let mut bounds = Map::new();
    for (field, column) in schema.fields().iter().zip(columns) {
        if let (
            Some(ScalarValue::TimestampMicrosecond(Some(min), _)),
            Some(ScalarValue::TimestampMicrosecond(Some(max), _)),
        ) = (&column.min, &column.max)
        {
            bounds.insert(field.name().clone(), Value::from(vec![*min, *max]));
        }
    }
    (!bounds.is_empty()).then(|| Value::Object(bounds).to_string())
}

/// A file's statistics in terms of the table's schema. What the log does not tell, and so what it does not tell of columns
/// that the file lacks, stays unknown.
/// `timestamps` is what [`encode_timestamps`] told, if the file was written by it.
pub(super) fn decode(
    spec: &ClosedTableSpec,
    text: Option<&str>,
    timestamps: Option<&str>,
    bytes: u64,
) -> Statistics {
    let schema = &spec.schema;
    let mut statistics = Statistics::new_unknown(schema);
    statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
    let Some(Value::Object(object)) = text.and_then(|text| serde_json::from_str(text).ok()) else {
        return statistics;
    };
    if let Some(rows) = object.get("numRecords").and_then(as_usize) {
        statistics.num_rows = Precision::Exact(rows);
    }
    let group = |name: &str| object.get(name).and_then(Value::as_object);
    let (mins, maxs, nulls) = (group("minValues"), group("maxValues"), group("nullCount"));
    let timestamps = timestamps.and_then(|text| serde_json::from_str::<Value>(text).ok());
    for (files, column) in spec.columns.iter().zip(&mut statistics.column_statistics) {
        // Which of them the file has: each has its nulls counted, or no statistics at all.
        let in_file = |field: &&FieldRef| nulls.is_some_and(|g| g.contains_key(field.name()));
        let Some(field) = files.fields().find(in_file) else {
            continue;
        };
        let of =
            |group: Option<&Map<String, Value>>| group.and_then(|g| g.get(field.name())).cloned();
        let to = files.written.data_type();
        let bound = |group, upper| {
            of(group)
                .filter(|_| schema::has_bounds(field))
                .and_then(|value| from_json(field.data_type(), &value, upper))
                .and_then(|value| value.cast_to(to).ok())
                .map_or(Precision::Absent, |value| precision(to, value))
        };
        let exact = |at: usize| {
            let bounds = timestamps.as_ref()?.get(field.name())?;
            let value = bounds.get(at)?.as_i64()?;
            let DataType::Timestamp(TimeUnit::Microsecond, zone) = to else {
                return None;
            };
            let value = ScalarValue::TimestampMicrosecond(Some(value), zone.clone());
            Some(Precision::Exact(value))
        };
        let null_count = of(nulls).as_ref().and_then(as_usize);
        *column = ColumnStatistics {
            null_count: null_count.map_or(Precision::Absent, Precision::Exact),
            min_value: exact(0).unwrap_or_else(|| bound(mins, false)),
            max_value: exact(1).unwrap_or_else(|| bound(maxs, true)),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}

/// Forgets the bounds of floats: others leave NaN out, which is above all numbers.
pub(super) fn without_floats(spec: &ClosedTableSpec, statistics: &mut Statistics) {
    let columns = spec.columns.iter().zip(&mut statistics.column_statistics);
    for (files, column) in columns {
        if files.written.data_type().is_floating() {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
        }
    }
}

/// What is known of columns that have one value.
pub(super) fn with_constants(statistics: &mut Statistics, constants: &[(usize, ScalarValue)]) {
    let rows = statistics.num_rows;
    for (at, value) in constants {
        let Some(column) = statistics.column_statistics.get_mut(*at) else {
            continue;
        };
        *column = ColumnStatistics::new_unknown();
        if value.is_null() {
            column.null_count = rows;
        } else {
            column.null_count = Precision::Exact(0);
            column.min_value = Precision::Exact(value.clone());
            column.max_value = Precision::Exact(value.clone());
        }
    }
}

/// Statistics with the columns in another order.
pub(super) fn in_order(statistics: &Statistics, order: &[usize]) -> Statistics {
    let columns = order.iter().map(|at| {
        let column = statistics.column_statistics.get(*at).cloned();
        column.unwrap_or_else(ColumnStatistics::new_unknown)
    });
    Statistics {
        num_rows: statistics.num_rows,
        total_byte_size: statistics.total_byte_size,
        column_statistics: columns.collect(),
    }
}

/// The statistics of several files, or parts of a table, together.
pub(crate) fn total<'a>(
    schema: &Schema,
    files: impl Iterator<Item = &'a Statistics>,
) -> Statistics {
    let mut sum: Option<Statistics> = None;
    for file in files {
        let Some(sum) = &mut sum else {
            sum = Some(file.clone());
            continue;
        };
        let sides = sum
            .column_statistics
            .iter_mut()
            .zip(&file.column_statistics);
        for (left, right) in sides {
            // A column of nulls only has no bounds and moves none.
            let empty = |side: &ColumnStatistics, rows: &Precision<usize>| {
                matches!(rows, Precision::Exact(_)) && side.null_count == *rows
            };
            if empty(left, &sum.num_rows) {
                left.min_value = right.min_value.clone();
                left.max_value = right.max_value.clone();
            } else if !empty(right, &file.num_rows) {
                left.min_value = left.min_value.min(&right.min_value);
                left.max_value = left.max_value.max(&right.max_value);
            }
            left.null_count = left.null_count.add(&right.null_count);
        }
        sum.num_rows = sum.num_rows.add(&file.num_rows);
        sum.total_byte_size = sum.total_byte_size.add(&file.total_byte_size);
    }
    sum.unwrap_or_else(|| {
        let mut none = Statistics::new_unknown(schema);
        none.num_rows = Precision::Exact(0);
        none.total_byte_size = Precision::Exact(0);
        none
    })
}

fn as_usize(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

/// Strings may be cut short and timestamps rounded; a bound of the others is a value of the column.
fn precision(data_type: &DataType, value: ScalarValue) -> Precision<ScalarValue> {
    match data_type {
        DataType::Utf8View | DataType::Timestamp(_, _) => Precision::Inexact(value),
        _ => Precision::Exact(value),
    }
}

fn to_json(value: &ScalarValue, upper: bool) -> Option<Value> {
    match value {
        ScalarValue::Int16(value) => value.map(Value::from),
        ScalarValue::Int32(value) => value.map(Value::from),
        ScalarValue::Int64(value) => value.map(Value::from),
        ScalarValue::Float32(value) => {
            // Through its decimal text, so that the bound is the shortest one that reads back equal.
            value
                .filter(|value| value.is_finite())
                .and_then(|value| number(&value.to_string()))
        }
        ScalarValue::Float64(value) => value.and_then(Number::from_f64).map(Value::Number),
        ScalarValue::Decimal128(value, precision, scale) => value
            .and_then(|value| number(&Decimal128Type::format_decimal(value, *precision, *scale))),
        ScalarValue::Date32(value) => {
            let date = NaiveDate::from_num_days_from_ce_opt((*value)?.checked_add(DAYS_TO_EPOCH)?)?;
            let date = YEARS.contains(&date.year()).then_some(date)?;
            Some(Value::from(date.format("%Y-%m-%d").to_string()))
        }
        ScalarValue::TimestampMicrosecond(value, zone) => {
            let value = (*value)?;
            let down = value.div_euclid(MILLISECOND_US);
            let up = upper && value.rem_euclid(MILLISECOND_US) != 0;
            let time = DateTime::from_timestamp_millis(down + i64::from(up))?;
            let time = YEARS.contains(&time.year()).then_some(time)?;
            let suffix = if zone.is_some() { "Z" } else { "" };
            Some(Value::from(format!(
                "{}{suffix}",
                time.format("%Y-%m-%dT%H:%M:%S%.3f")
            )))
        }
        ScalarValue::Utf8View(value) => value.as_deref().map(Value::from),
        _ => None,
    }
}

/// A JSON number with all the digits of its text.
fn number(text: &str) -> Option<Value> {
    serde_json::from_str::<Number>(text).ok().map(Value::Number)
}

fn from_json(data_type: &DataType, value: &Value, upper: bool) -> Option<ScalarValue> {
    match data_type {
        DataType::Int16 => value
            .as_i64()
            .and_then(|v| v.try_into().ok())
            .map(|v| ScalarValue::Int16(Some(v))),
        DataType::Int32 => value
            .as_i64()
            .and_then(|v| v.try_into().ok())
            .map(|v| ScalarValue::Int32(Some(v))),
        DataType::Int64 => value.as_i64().map(|v| ScalarValue::Int64(Some(v))),
        DataType::Float32 => value.as_f64().map(|v| ScalarValue::Float32(Some(v as f32))),
        DataType::Float64 => value.as_f64().map(|v| ScalarValue::Float64(Some(v))),
        DataType::Decimal128(precision, scale) => {
            let text = match value {
                Value::Number(number) => number.to_string(),
                Value::String(text) => text.clone(),
                _ => return None,
            };
            let value = arrow::compute::kernels::cast_utils::parse_decimal::<Decimal128Type>(
                &text, *precision, *scale,
            );
            Some(ScalarValue::Decimal128(
                Some(value.ok()?),
                *precision,
                *scale,
            ))
        }
        DataType::Date32 => {
            let date = NaiveDate::parse_from_str(value.as_str()?, "%Y-%m-%d").ok()?;
            Some(ScalarValue::Date32(Some(
                date.num_days_from_ce() - DAYS_TO_EPOCH,
            )))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let mut time = timestamp_us(value.as_str()?)?;
            // Other writers cut the largest value down to its millisecond.
            if upper && time.rem_euclid(MILLISECOND_US) == 0 {
                time = time.checked_add(MILLISECOND_US - 1)?;
            }
            Some(ScalarValue::TimestampMicrosecond(Some(time), zone.clone()))
        }
        DataType::Utf8View => value
            .as_str()
            .map(|text| ScalarValue::Utf8View(Some(text.to_string()))),
        _ => None,
    }
}

fn timestamp_us(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|time| time.and_utc().timestamp_micros())
}
