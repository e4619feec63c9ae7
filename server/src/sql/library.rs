//! Functions of PostgreSQL that DataFusion does not have, over times and numbers; their arguments have fixed types.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, IntervalMonthDayNanoArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use nyala_catalog::types::UTC;

use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::TimeZone;
use crate::sql::kernel::{Argument, Kernel};

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const MICROS: i64 = 1_000_000;
const MICROS_F: f64 = 1e6;
const DAY_NS: i64 = 86_400_000_000_000;
const MONTH_DAYS: i32 = 30;

/// The function of that name.
pub fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS
        .iter()
        .find(|function| function.name() == name)
        .cloned()
}

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    use DataType::{Float64, Int32};
    let ints = |count: usize, last: DataType| {
        let mut types = vec![Int32; count];
        types.push(last);
        types
    };
    let time = DataType::Time64(TimeUnit::Microsecond);
    let exact = |kernel: Kernel, types: Vec<DataType>| {
        let signature = Signature::exact(types, Volatility::Immutable);
        Arc::new(ScalarUDF::from(kernel.with_signature(signature)))
    };
    vec![
        exact(
            Kernel::new("age", INTERVAL, age),
            vec![TIMESTAMP, TIMESTAMP],
        ),
        exact(
            Kernel::new("make_interval", INTERVAL, make_interval),
            ints(6, Float64),
        ),
        Arc::new(ScalarUDF::from(
            Kernel::new("clock_timestamp", instant(), clock_timestamp)
                .with_signature(Signature::nullary(Volatility::Volatile)),
        )),
        Arc::new(ScalarUDF::from(
            // Evaluated once, when the statement is planned.
            Kernel::new("statement_timestamp", instant(), clock_timestamp)
                .with_signature(Signature::nullary(Volatility::Stable)),
        )),
        exact(
            Kernel::new("justify_days", INTERVAL, |arguments, _| {
                justified(arguments, justify_days)
            }),
            vec![INTERVAL],
        ),
        exact(
            Kernel::new("justify_hours", INTERVAL, |arguments, _| {
                justified(arguments, justify_hours)
            }),
            vec![INTERVAL],
        ),
        exact(
            Kernel::new("justify_interval", INTERVAL, |arguments, _| {
                justified(arguments, justify_interval)
            }),
            vec![INTERVAL],
        ),
        exact(Kernel::new("make_time", time, make_time), ints(2, Float64)),
        exact(
            Kernel::new("make_timestamp", TIMESTAMP, make_timestamp),
            ints(5, Float64),
        ),
        exact(
            Kernel::new("width_bucket", Int32, width_bucket),
            vec![Float64, Float64, Float64, Int32],
        ),
    ]
});

/// Rows of a call, and for each whether all its arguments are there.
struct Rows<'a> {
    arguments: &'a [Argument],
    count: usize,
}

impl<'a> Rows<'a> {
    fn of(arguments: &'a [Argument]) -> Self {
        let longest = arguments.iter().filter(|one| !one.is_scalar());
        let count = longest.map(|one| one.values().len()).max().unwrap_or(1);
        Self { arguments, count }
    }

    /// One value for each row, NULL where an argument is.
    fn map<T>(&self, body: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<Option<T>>> {
        (0..self.count)
            .map(|at| {
                let row = Row {
                    arguments: self.arguments,
                    at,
                };
                let mut all = (0..self.arguments.len()).map(|number| row.is_null(number));
                match all.any(|null| null) {
                    true => Ok(None),
                    false => body(&row).map(Some),
                }
            })
            .collect()
    }
}

struct Row<'a> {
    arguments: &'a [Argument],
    at: usize,
}

impl Row<'_> {
    fn place(&self, number: usize) -> Result<(&ArrayRef, usize)> {
        let missing = || PgError::internal("a function without its arguments");
        let argument = self.arguments.get(number).ok_or_else(missing)?;
        let at = if argument.is_scalar() { 0 } else { self.at };
        Ok((argument.values(), at))
    }

    fn is_null(&self, number: usize) -> bool {
        self.place(number)
            .map_or(true, |(values, at)| values.is_null(at))
    }

    fn int(&self, number: usize) -> Result<i32> {
        let (values, at) = self.place(number)?;
        Ok(values.as_primitive::<Int32Type>().value(at))
    }

    fn float(&self, number: usize) -> Result<f64> {
        let (values, at) = self.place(number)?;
        Ok(values.as_primitive::<Float64Type>().value(at))
    }

    fn timestamp(&self, number: usize) -> Result<NaiveDateTime> {
        let (values, at) = self.place(number)?;
        let micros = values.as_primitive::<TimestampMicrosecondType>().value(at);
        DateTime::from_timestamp_micros(micros)
            .map(|time| time.naive_utc())
            .ok_or_else(|| out_of_range("timestamp out of range"))
    }
}

fn out_of_range(message: &str) -> PgError {
    PgError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message)
}

/// `timestamp_age` of PostgreSQL: years, months and days as a calendar counts them.
fn age(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let ages = Rows::of(arguments).map(|row| {
        let (one, other) = (row.timestamp(0)?, row.timestamp(1)?);
        let sign = if one < other { -1 } else { 1 };
        let fields = |time: &NaiveDateTime| {
            let day_us = i64::from(time.num_seconds_from_midnight()) * MICROS
                + i64::from(time.nanosecond() / 1_000);
            let date = time.date();
            (date.year(), date.month0(), date.day0(), day_us)
        };
        let (a, b) = (fields(&one), fields(&other));
        let months = i64::from(a.0 - b.0) * 12 + i64::from(a.1) - i64::from(b.1);
        let (mut months, mut days, mut micros) = (
            months * sign,
            (i64::from(a.2) - i64::from(b.2)) * sign,
            (a.3 - b.3) * sign,
        );
        if micros < 0 {
            micros += 86_400 * MICROS;
            days -= 1;
        }
        let month_days = i64::from(days_in_month(if sign < 0 { &one } else { &other }));
        while days < 0 {
            days += month_days;
            months -= 1;
        }
        let fit = |value: i64| i32::try_from(value * sign).unwrap_or_default();
        Ok(IntervalMonthDayNano::new(
            fit(months),
            fit(days),
            micros * 1_000 * sign,
        ))
    })?;
    Ok(Arc::new(IntervalMonthDayNanoArray::from(ages)))
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

fn clock_timestamp(_: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let now = TimestampMicrosecondArray::from(vec![clock::now_us()]);
    Ok(Arc::new(now.with_timezone(UTC)))
}

fn justified(
    arguments: &[Argument],
    justify: fn(IntervalMonthDayNano) -> IntervalMonthDayNano,
) -> Result<ArrayRef> {
    let [intervals] = arguments else {
        return Err(PgError::internal("justify takes one interval"));
    };
    let intervals = intervals
        .values()
        .as_primitive::<IntervalMonthDayNanoType>();
    let justified = intervals.unary::<_, IntervalMonthDayNanoType>(justify);
    Ok(Arc::new(justified))
}

/// Whole days of a time, and what is left of it.
fn whole_days(nanoseconds: i64) -> (i32, i64) {
    let days = i32::try_from(nanoseconds / DAY_NS).unwrap_or_default();
    (days, nanoseconds % DAY_NS)
}

/// A larger and a smaller part, of which the smaller one has the larger one's sign; `size` smaller ones are a larger one. `rest`
/// tells on which side of 0 the smaller part is.
fn of_one_sign<T>(larger: &mut i32, smaller: &mut T, rest: Ordering, size: T)
where
    T: std::ops::AddAssign + std::ops::SubAssign,
{
    match (0.cmp(larger), rest) {
        (Ordering::Less, Ordering::Less) => {
            *smaller += size;
            *larger -= 1;
        }
        (Ordering::Greater, Ordering::Greater) => {
            *smaller -= size;
            *larger += 1;
        }
        _ => {}
    }
}

/// `interval_justify_hours` of PostgreSQL: whole days of the time become days, of one sign with it.
fn justify_hours(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let (whole, mut time) = whole_days(interval.nanoseconds);
    let mut days = interval.days.saturating_add(whole);
    let side = time.cmp(&0);
    of_one_sign(&mut days, &mut time, side, DAY_NS);
    IntervalMonthDayNano::new(interval.months, days, time)
}

/// `interval_justify_days` of PostgreSQL: 30 days become a month, of one sign with the days.
fn justify_days(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let mut months = interval.months.saturating_add(interval.days / MONTH_DAYS);
    let mut days = interval.days % MONTH_DAYS;
    let side = days.cmp(&0);
    of_one_sign(&mut months, &mut days, side, MONTH_DAYS);
    IntervalMonthDayNano::new(months, days, interval.nanoseconds)
}

/// `interval_justify_interval` of PostgreSQL: both at once.
fn justify_interval(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let (whole, mut time) = whole_days(interval.nanoseconds);
    let mut days = interval.days.saturating_add(whole);
    let mut months = interval.months.saturating_add(days / MONTH_DAYS);
    days %= MONTH_DAYS;
    // Of no days, the time tells.
    let side = days.cmp(&0).then(time.cmp(&0));
    of_one_sign(&mut months, &mut days, side, MONTH_DAYS);
    let side = time.cmp(&0);
    of_one_sign(&mut days, &mut time, side, DAY_NS);
    IntervalMonthDayNano::new(months, days, time)
}

fn days_in_month(time: &NaiveDateTime) -> u32 {
    let date = time.date();
    let next = match date.month() {
        12 => NaiveDate::from_ymd_opt(date.year() + 1, 1, 1),
        month => NaiveDate::from_ymd_opt(date.year(), month + 1, 1),
    };
    next.and_then(|next| next.pred_opt())
        .map_or(31, |last| last.day())
}

fn make_interval(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let overflow = || out_of_range("interval out of range");
    let intervals = Rows::of(arguments).map(|row| {
        let part = |number, factor: i64| Ok::<_, PgError>(i64::from(row.int(number)?) * factor);
        let months = part(0, 12)? + part(1, 1)?;
        let days = part(2, 7)? + part(3, 1)?;
        let seconds = row.float(6)?;
        if !seconds.is_finite() {
            return Err(overflow());
        }
        let whole = (part(4, 3_600)? + part(5, 60)?) as f64 * MICROS_F;
        let micros = whole + (seconds * MICROS_F).round_ties_even();
        if micros.abs() > 9.2e15 {
            return Err(overflow());
        }
        Ok(IntervalMonthDayNano::new(
            i32::try_from(months).map_err(|_| overflow())?,
            i32::try_from(days).map_err(|_| overflow())?,
            (micros as i64) * 1_000,
        ))
    })?;
    Ok(Arc::new(IntervalMonthDayNanoArray::from(intervals)))
}

/// Microseconds of a day.
fn time_of(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let in_range = (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=60.0).contains(&second)
        && (hour < 24 || (minute == 0 && second == 0.0));
    if !in_range {
        return Err(out_of_range(&format!(
            "time field value out of range: {hour}:{minute:02}:{second:02}"
        )));
    }
    let micros = (second * MICROS_F).round_ties_even() as i64;
    Ok((i64::from(hour) * 3_600 + i64::from(minute) * 60) * MICROS + micros)
}

fn make_time(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let times = Rows::of(arguments).map(|row| time_of(row.int(0)?, row.int(1)?, row.float(2)?))?;
    Ok(Arc::new(Time64MicrosecondArray::from(times)))
}

fn make_timestamp(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let times = Rows::of(arguments).map(|row| {
        let (year, month, day) = (row.int(0)?, row.int(1)?, row.int(2)?);
        let field = |value: i32| u32::try_from(value).unwrap_or_default();
        // There is no year 0: -1 is 1 BC.
        let calendar = if year < 0 { year + 1 } else { year };
        let date = NaiveDate::from_ymd_opt(calendar, field(month), field(day));
        let date = date.filter(|_| year != 0).ok_or_else(|| {
            out_of_range(&format!(
                "date field value out of range: {year}-{month:02}-{day:02}"
            ))
        })?;
        let time = time_of(row.int(3)?, row.int(4)?, row.float(5)?)?;
        let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc();
        Ok(midnight.timestamp_micros() + time)
    })?;
    Ok(Arc::new(TimestampMicrosecondArray::from(times)))
}

fn width_bucket(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let invalid = |message: &str| PgError::new("2201G", message);
    let buckets = Rows::of(arguments).map(|row| {
        let (operand, low, high) = (row.float(0)?, row.float(1)?, row.float(2)?);
        let count = row.int(3)?;
        if count <= 0 {
            return Err(invalid("count must be greater than zero"));
        }
        if operand.is_nan() || low.is_nan() || high.is_nan() {
            return Err(invalid(
                "operand, lower bound, and upper bound cannot be NaN",
            ));
        }
        if low == high {
            return Err(invalid("lower bound cannot equal upper bound"));
        }
        let (operand, low, high) = match low < high {
            true => (operand, low, high),
            false => (-operand, -low, -high),
        };
        if operand < low {
            return Ok(0);
        }
        if operand >= high {
            return count.checked_add(1).ok_or_else(|| {
                PgError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range")
            });
        }
        let part = (operand - low) / (high - low) * f64::from(count);
        Ok((part.floor() as i32 + 1).min(count))
    })?;
    Ok(Arc::new(Int32Array::from(buckets)))
}
