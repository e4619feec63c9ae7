//! Functions that do something: advisory locks, sleeping, ending what others run, notifications, numbers of transactions, random
//! UUIDs.
//!
//! They are volatile: each row calls them. What they work on is the session's [`Backend`].

use std::time::Duration;

use nyala_catalog::types::SqlType;

use crate::advisory_locks::{LockKey, LockMode, LockScope};
use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::functions::{Call, SystemFunction};
use crate::pg_catalog::rows::Cell;
use crate::pgwire::decode::{InputSettings, parse_scalar};
use crate::pgwire::encode::{DateOrder, TimeZone};
use crate::session::backend::Backend;
use crate::sql::casts;

/// PostgreSQL's longest wait, so that a time is a number.
const SLEEP_SECONDS_MAX: f64 = 1e9;

const MICROS_PER_SECOND: f64 = 1e6;

const fn effect(
    name: &'static str,
    result: &'static str,
    body: fn(&Call<'_>) -> Result<Cell>,
) -> SystemFunction {
    SystemFunction {
        name,
        result,
        strict: true,
        volatile: true,
        body,
    }
}

macro_rules! locks {
    ($($name:literal: $mode:ident, $scope:ident;)*) => {
        &[$(
            effect(concat!("pg_advisory_", $name), "void", |call| {
                call.backend()?.lock(key(call)?, LockMode::$mode, LockScope::$scope)?;
                Ok(VOID)
            }),
            effect(concat!("pg_try_advisory_", $name), "bool", |call| {
                let locked = call.backend()?.try_lock(key(call)?, LockMode::$mode, LockScope::$scope)?;
                Ok(locked.into())
            }),
        )*]
    };
}

/// `pg_advisory_lock` and its like.
pub(super) const LOCKS: &[SystemFunction] = locks! {
    "lock": Exclusive, Session;
    "lock_shared": Shared, Session;
    "xact_lock": Exclusive, Transaction;
    "xact_lock_shared": Shared, Transaction;
};

pub(super) const FUNCTIONS: &[SystemFunction] = &[
    effect("pg_advisory_unlock", "bool", |call| {
        Ok(call
            .backend()?
            .unlock(key(call)?, LockMode::Exclusive)
            .into())
    }),
    effect("pg_advisory_unlock_shared", "bool", |call| {
        Ok(call.backend()?.unlock(key(call)?, LockMode::Shared).into())
    }),
    effect("pg_advisory_unlock_all", "void", |call| {
        call.backend()?.unlock_all();
        Ok(VOID)
    }),
    effect("gen_random_uuid", "uuid", |_| {
        Ok(Cell::Text(uuid::Uuid::new_v4().to_string().into()))
    }),
    effect("pg_sleep", "void", |call| sleep(call, call.float(0)?)),
    effect("pg_sleep_for", "void", |call| {
        let interval = text_value(call.text(0)?, &SqlType::Interval)?;
        sleep(call, interval)
    }),
    effect("pg_sleep_until", "void", |call| {
        let until = match call.cell(0) {
            Cell::Int(micros) => *micros as f64 / MICROS_PER_SECOND,
            _ => text_value(call.text(0)?, &SqlType::Timestamptz)?,
        };
        sleep(call, until - clock::now_us() as f64 / MICROS_PER_SECOND)
    }),
    effect("pg_cancel_backend", "bool", |call| {
        Ok(call.backend()?.cancel(call.int4(0)?).into())
    }),
    effect("pg_terminate_backend", "bool", |call| {
        let patience = match call.cell(1) {
            Cell::Null => 0,
            _ => call.int(1)?,
        };
        let Ok(patience) = u64::try_from(patience) else {
            return Err(PgError::new(
                sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                "\"timeout\" must not be negative",
            ));
        };
        let patience = Duration::from_millis(patience);
        Ok(call.backend()?.terminate(call.int4(0)?, patience)?.into())
    }),
    SystemFunction {
        strict: false,
        ..effect("pg_notify", "void", |call| {
            let text = |position| call.cell(position).as_text().unwrap_or_default();
            call.backend()?.notify(text(0), text(1))?;
            Ok(VOID)
        })
    },
    effect("pg_notification_queue_usage", "float8", |call| {
        Ok(call.backend()?.notification_usage().into())
    }),
    effect("nyala_listening_channels", "text[]", |call| {
        Ok(call.backend()?.channels().into())
    }),
    // Numbers of transactions are 32 bits of those that `txid_current` tells.
    effect("nyala_xmin", "xid", |call| {
        Ok(Cell::Int(
            i64::from(call.backend()?.transaction_id() as u32),
        ))
    }),
    effect("nyala_xid_age", "int4", |call| {
        // The first numbers are those of no transaction, and older than all.
        const FIRST_NORMAL: i64 = 3;
        let number = call.int(0)?;
        if (0..FIRST_NORMAL).contains(&number) {
            return Ok(i32::MAX.into());
        }
        let now = call.backend()?.transaction_id() as i32;
        Ok(now.wrapping_sub(number as i32).into())
    }),
    effect("txid_current", "int8", |call| {
        Ok(call.backend()?.transaction_id().into())
    }),
    effect("txid_current_if_assigned", "int8", |call| {
        Ok(call.backend()?.transaction_id_if_assigned().into())
    }),
    effect("pg_current_xact_id", "int8", |call| {
        Ok(call.backend()?.transaction_id().into())
    }),
    effect("pg_current_xact_id_if_assigned", "int8", |call| {
        Ok(call.backend()?.transaction_id_if_assigned().into())
    }),
];

const VOID: Cell = Cell::Text(std::borrow::Cow::Borrowed(""));

impl Call<'_> {
    fn backend(&self) -> Result<&Backend> {
        let missing = || PgError::internal("no session calls this function");
        self.view.backend.as_deref().ok_or_else(missing)
    }

    fn float(&self, position: usize) -> Result<f64> {
        match self.cell(position) {
            Cell::Float(value) => Ok(*value),
            Cell::Int(value) => Ok(*value as f64),
            Cell::Text(text) => text.trim().parse().map_err(|_| self.mismatch()),
            _ => Err(self.mismatch()),
        }
    }

    fn int4(&self, position: usize) -> Result<i32> {
        i32::try_from(self.int(position)?).map_err(|_| self.mismatch())
    }
}

/// One number, or a pair of smaller ones.
fn key(call: &Call<'_>) -> Result<LockKey> {
    let backend = call.backend()?;
    match call.arguments.len() {
        1 => {
            let number = call.int(0)?.cast_unsigned();
            let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
            Ok(backend.lock_key(half(number >> 32), half(number), 1))
        }
        2 => {
            let (class, object) = (call.int4(0)?, call.int4(1)?);
            Ok(backend.lock_key(class.cast_unsigned(), object.cast_unsigned(), 2))
        }
        _ => Err(call.mismatch()),
    }
}

fn sleep(call: &Call<'_>, seconds: f64) -> Result<Cell> {
    if seconds > 0.0 {
        let seconds = seconds.min(SLEEP_SECONDS_MAX);
        call.backend()?.sleep(Duration::from_secs_f64(seconds))?;
    }
    Ok(VOID)
}

/// An interval, or a moment since 1970, in seconds.
fn text_value(text: &str, ty: &SqlType) -> Result<f64> {
    use datafusion::common::ScalarValue::{IntervalMonthDayNano, TimestampMicrosecond};
    const DAY_SECONDS: f64 = 86_400.0;
    const MONTH_SECONDS: f64 = 30.0 * DAY_SECONDS;
    let settings = InputSettings {
        time_zone: TimeZone::default(),
        date_order: DateOrder::default(),
        json: casts::json_input,
        now_us: None,
    };
    let value = parse_scalar(text, ty, &settings)?;
    Ok(match value {
        IntervalMonthDayNano(Some(interval)) => {
            f64::from(interval.months) * MONTH_SECONDS
                + f64::from(interval.days) * DAY_SECONDS
                + interval.nanoseconds as f64 / 1e9
        }
        TimestampMicrosecond(Some(micros), _) => micros as f64 / MICROS_PER_SECOND,
        _ => 0.0,
    })
}
