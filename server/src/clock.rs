//! The wall clock: the only file that reads it.
//!
//! Everything else is handed a timestamp, so that a failure can be repeated. Durations and deadlines
//! use the monotonic clock and do not belong here.

use chrono::{DateTime, Utc};

/// The time now, in UTC.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The time now, in microseconds since 1970.
pub fn now_us() -> i64 {
    now().timestamp_micros()
}
