//! Times in the session's time zone: what `timestamptz` means where it becomes a date, a wall-clock time or text.
//!
//! A `timestamptz` is stored in UTC and DataFusion computes with it in UTC. PostgreSQL casts, truncates and
//! takes fields of it in the session's `TimeZone`, so those operations get the wall-clock time of that zone
//! put before, and the instant of the result after them. In UTC nothing is changed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::TimeZone;
use crate::sql::kernel::{Argument, Kernel};

const SECOND_US: i64 = 1_000_000;

/// Wall-clock time without a zone.
const LOCAL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Puts the session's zone into one expression of an analysed plan.
pub fn rewrite(
    expr: Expr,
    schema: &DFSchema,
    zone: TimeZone,
) -> DataFusionResult<Transformed<Expr>> {
    if zone.is_utc() {
        return Ok(Transformed::no(expr));
    }
    let is_instant = |expr: &Expr| {
        expr.get_type(schema)
            .is_ok_and(|ty| matches!(ty, DataType::Timestamp(_, Some(_))))
    };
    match expr {
        Expr::Cast(Cast { expr: inner, field }) => {
            let to = field.data_type().clone();
            let to_local = match &to {
                DataType::Timestamp(_, None) | DataType::Date32 | DataType::Time64(_) => true,
                DataType::Timestamp(_, Some(_)) => false,
                _ => return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field }))),
            };
            let from_local = matches!(
                inner.get_type(schema),
                Ok(DataType::Timestamp(_, None) | DataType::Date32)
            );
            if to_local && is_instant(&inner) {
                let expr = Box::new(local(*inner, zone));
                return Ok(Transformed::yes(Expr::Cast(Cast { expr, field })));
            }
            if !to_local && from_local {
                let wall = Expr::Cast(Cast::new(inner, LOCAL));
                let expr = Box::new(instant(wall, zone));
                return Ok(Transformed::yes(Expr::Cast(Cast { expr, field })));
            }
            Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::Plus | Operator::Minus)
                && is_instant(&left)
                && matches!(right.get_type(schema), Ok(DataType::Interval(_))) =>
        {
            // A day is a day of the zone, which can have 23 hours; Arrow does it by the column's zone.
            let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.arrow_name().into()));
            let left = Box::new(Expr::Cast(Cast::new(left, zoned)));
            let moved = Expr::BinaryExpr(BinaryExpr { left, op, right });
            let utc = SqlType::Timestamptz.arrow_type();
            Ok(Transformed::yes(Expr::Cast(Cast::new(
                Box::new(moved),
                utc,
            ))))
        }
        Expr::ScalarFunction(ScalarFunction { func, mut args }) => {
            let truncates = func.name() == "date_trunc";
            let takes_field = func.name() == "date_part" && !is_absolute_field(args.first());
            if let Some(time) = args.get_mut(1)
                && (truncates || takes_field)
                && is_instant(time)
            {
                *time = local(std::mem::take(time), zone);
                let call = Expr::ScalarFunction(ScalarFunction { func, args });
                return Ok(Transformed::yes(if truncates {
                    instant(Expr::Cast(Cast::new(Box::new(call), LOCAL)), zone)
                } else {
                    call
                }));
            }
            Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction {
                func,
                args,
            })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Fields that do not depend on the zone.
fn is_absolute_field(field: Option<&Expr>) -> bool {
    match field {
        Some(Expr::Literal(value, _)) => value
            .try_as_str()
            .flatten()
            .is_some_and(|name| name.eq_ignore_ascii_case("epoch")),
        _ => false,
    }
}

fn local(time: Expr, zone: TimeZone) -> Expr {
    Kernel::zoned("nyala_local_time", LOCAL, zone, |arguments, zone| {
        shift(arguments, None, |us| {
            us.checked_add(i64::from(zone.offset_at_utc(us)) * SECOND_US)
        })
    })
    .call(vec![time])
}

fn instant(time: Expr, zone: TimeZone) -> Expr {
    let utc = SqlType::Timestamptz.arrow_type();
    Kernel::zoned("nyala_instant", utc, zone, |arguments, zone| {
        shift(arguments, Some("UTC"), |us| {
            us.checked_sub(i64::from(zone.offset_at_local(us)) * SECOND_US)
        })
    })
    .call(vec![time])
}

/// Moves each time, in microseconds; the result has the given zone.
fn shift(
    arguments: &[Argument],
    zone: Option<&str>,
    moved: impl Fn(i64) -> Option<i64>,
) -> Result<ArrayRef> {
    let [time] = arguments else {
        return Err(PgError::internal("a conversion takes one argument"));
    };
    let values = microseconds(time.values())?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let moved: TimestampMicrosecondArray = values.try_unary(|us| {
        moved(us).ok_or_else(|| {
            PgError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
        })
    })?;
    Ok(Arc::new(match zone {
        Some(zone) => moved.with_timezone(zone),
        None => moved,
    }))
}

/// The same instants in microseconds, whatever their unit and zone.
fn microseconds(values: &ArrayRef) -> Result<ArrayRef> {
    let zone = match values.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => return Ok(Arc::clone(values)),
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let micros = DataType::Timestamp(TimeUnit::Microsecond, zone);
    Ok(cast_with_options(values, &micros, &options)?)
}

/// `time AT TIME ZONE zone` for a plan whose operands are known: the wall-clock time of an instant in that
/// zone, or the instant of a wall-clock time of that zone.
pub fn at_time_zone(time: Expr, zone: Expr, from: &DataType) -> Expr {
    if matches!(from, DataType::Timestamp(_, Some(_))) {
        return Kernel::new("nyala_time_at_zone", LOCAL, |arguments, _| {
            at_zone(arguments, None, |us, zone| {
                us.checked_add(i64::from(zone.offset_at_utc(us)) * SECOND_US)
            })
        })
        .call(vec![time, zone]);
    }
    let utc = SqlType::Timestamptz.arrow_type();
    let wall = Expr::Cast(Cast::new(Box::new(time), LOCAL));
    Kernel::new("nyala_instant_at_zone", utc, |arguments, _| {
        at_zone(arguments, Some("UTC"), |us, zone| {
            us.checked_sub(i64::from(zone.offset_at_local(us)) * SECOND_US)
        })
    })
    .call(vec![wall, zone])
}

fn at_zone(
    arguments: &[Argument],
    result_zone: Option<&str>,
    moved: impl Fn(i64, TimeZone) -> Option<i64>,
) -> Result<ArrayRef> {
    let [time, zone] = arguments else {
        return Err(PgError::internal("AT TIME ZONE takes two operands"));
    };
    let zones = arrow::compute::cast(zone.values(), &DataType::Utf8View)?;
    let zones = zones.as_string_view();
    let times = microseconds(time.values())?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let rows = match (time.is_scalar(), zone.is_scalar()) {
        (true, false) => zones.len(),
        _ => times.len(),
    };
    let mut known: Option<(&str, TimeZone)> = None;
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let time_at = if time.is_scalar() { 0 } else { row };
        let zone_at = if zone.is_scalar() { 0 } else { row };
        if times.is_null(time_at) || zones.is_null(zone_at) {
            values.push(None);
            continue;
        }
        let name = zones.value(zone_at);
        let zone = match known {
            Some((last, zone)) if last == name => zone,
            _ => {
                let zone = TimeZone::parse(name).ok_or_else(|| {
                    PgError::new(
                        sqlstate::INVALID_PARAMETER_VALUE,
                        format!("time zone \"{name}\" not recognized"),
                    )
                })?;
                known = Some((name, zone));
                zone
            }
        };
        let moved = moved(times.value(time_at), zone).ok_or_else(|| {
            PgError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
        })?;
        values.push(Some(moved));
    }
    let values = TimestampMicrosecondArray::from(values);
    Ok(Arc::new(match result_zone {
        Some(zone) => values.with_timezone(zone),
        None => values,
    }))
}
