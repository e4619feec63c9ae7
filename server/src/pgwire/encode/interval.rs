//! Text form of intervals in every `IntervalStyle`.
//!
//! Owns PostgreSQL's `EncodeInterval`; never parses and never normalises: months, days and time stay
//! apart, as they are stored.

use arrow::datatypes::IntervalMonthDayNano;
use bytes::BytesMut;

use super::datetime::{write_fraction, write_padded};
use super::settings::IntervalStyle;
use crate::pgwire::append::Append;

/// An interval broken down; each of its time fields has the sign of the time as a whole.
struct Parts {
    years: i64,
    months: i64,
    days: i64,
    negative_time: bool,
    hours: u64,
    minutes: u64,
    seconds: u64,
    micros: u32,
}

/// Writes an interval; nanoseconds are cut to microseconds, PostgreSQL's resolution.
pub fn write_interval(value: IntervalMonthDayNano, style: IntervalStyle, out: &mut BytesMut) {
    let micros = value.nanoseconds / 1_000;
    let total = micros.unsigned_abs();
    let parts = Parts {
        years: i64::from(value.months / 12),
        months: i64::from(value.months % 12),
        days: i64::from(value.days),
        negative_time: micros < 0,
        hours: total / 3_600_000_000,
        minutes: total / 60_000_000 % 60,
        seconds: total / 1_000_000 % 60,
        micros: (total % 1_000_000) as u32,
    };
    match style {
        IntervalStyle::Postgres => parts.write_postgres(out),
        IntervalStyle::PostgresVerbose => parts.write_verbose(out),
        IntervalStyle::SqlStandard => parts.write_sql_standard(out),
        IntervalStyle::Iso8601 => parts.write_iso8601(out),
    }
}

fn put_int(value: i64, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

impl Parts {
    fn has_time(&self) -> bool {
        self.hours != 0 || self.minutes != 0 || self.has_seconds()
    }

    fn has_seconds(&self) -> bool {
        self.seconds != 0 || self.micros != 0
    }

    fn write_clock(&self, hour_width: usize, out: &mut BytesMut) {
        write_padded(self.hours, hour_width, out);
        out.put_u8(b':');
        write_padded(self.minutes, 2, out);
        out.put_u8(b':');
        write_padded(self.seconds, 2, out);
        write_fraction(self.micros, out);
    }

    fn write_postgres(&self, out: &mut BytesMut) {
        let mut is_zero = true;
        // A field behind a negative one gets an explicit plus.
        let mut is_before = false;
        for (value, unit) in [
            (self.years, " year"),
            (self.months, " mon"),
            (self.days, " day"),
        ] {
            if value == 0 {
                continue;
            }
            if !is_zero {
                out.put_u8(b' ');
            }
            if is_before && value > 0 {
                out.put_u8(b'+');
            }
            put_int(value, out);
            out.put_slice(unit.as_bytes());
            if value != 1 {
                out.put_u8(b's');
            }
            is_before = value < 0;
            is_zero = false;
        }
        if is_zero || self.has_time() {
            if !is_zero {
                out.put_u8(b' ');
            }
            if self.negative_time {
                out.put_u8(b'-');
            } else if is_before {
                out.put_u8(b'+');
            }
            self.write_clock(2, out);
        }
    }

    fn write_verbose(&self, out: &mut BytesMut) {
        let sign = if self.negative_time { -1 } else { 1 };
        let fields = [
            (self.years, " year"),
            (self.months, " mon"),
            (self.days, " day"),
            (sign * self.hours as i64, " hour"),
            (sign * self.minutes as i64, " min"),
        ];
        out.put_u8(b'@');
        let mut is_zero = true;
        let mut is_before = false;
        for (value, unit) in fields {
            if value == 0 {
                continue;
            }
            // The first field decides whether all are counted backwards ("ago").
            let shown = if is_zero {
                is_before = value < 0;
                value.abs()
            } else if is_before {
                -value
            } else {
                value
            };
            out.put_u8(b' ');
            put_int(shown, out);
            out.put_slice(unit.as_bytes());
            if shown != 1 {
                out.put_u8(b's');
            }
            is_zero = false;
        }
        if self.has_seconds() {
            out.put_u8(b' ');
            if self.negative_time {
                if is_zero {
                    is_before = true;
                } else if !is_before {
                    out.put_u8(b'-');
                }
            } else if is_before {
                out.put_u8(b'-');
            }
            write_padded(self.seconds, 1, out);
            write_fraction(self.micros, out);
            out.put_slice(b" sec");
            if self.seconds != 1 || self.micros != 0 {
                out.put_u8(b's');
            }
            is_zero = false;
        }
        if is_zero {
            out.put_slice(b" 0");
        }
        if is_before {
            out.put_slice(b" ago");
        }
    }

    fn write_sql_standard(&self, out: &mut BytesMut) {
        let negative_date = self.years < 0 || self.months < 0;
        let has_negative = negative_date || self.days < 0 || self.negative_time;
        let positive_time = self.has_time() && !self.negative_time;
        let has_positive = self.years > 0 || self.months > 0 || self.days > 0 || positive_time;
        let has_date = self.years != 0 || self.months != 0;
        let has_day_time = self.days != 0 || self.has_time();
        let mixed = has_negative && has_positive;
        let standard = !(mixed || has_date && has_day_time);
        let sign = |negative: bool| if negative { b'-' } else { b'+' };
        let absolute = |value: i64, out: &mut BytesMut| put_int(value.abs(), out);
        if !has_negative && !has_positive {
            return out.put_u8(b'0');
        }
        if !standard {
            out.put_u8(sign(negative_date));
            absolute(self.years, out);
            out.put_u8(b'-');
            absolute(self.months, out);
            out.put_slice(&[b' ', sign(self.days < 0)]);
            absolute(self.days, out);
            out.put_slice(&[b' ', sign(self.negative_time)]);
            return self.write_clock(1, out);
        }
        if has_negative {
            out.put_u8(b'-');
        }
        if has_date {
            absolute(self.years, out);
            out.put_u8(b'-');
            absolute(self.months, out);
            return;
        }
        if self.days != 0 {
            absolute(self.days, out);
            out.put_u8(b' ');
        }
        self.write_clock(1, out);
    }

    fn write_iso8601(&self, out: &mut BytesMut) {
        let fields = [(self.years, b'Y'), (self.months, b'M'), (self.days, b'D')];
        if fields.iter().all(|(value, _)| *value == 0) && !self.has_time() {
            return out.put_slice(b"PT0S");
        }
        out.put_u8(b'P');
        for (value, unit) in fields {
            if value != 0 {
                put_int(value, out);
                out.put_u8(unit);
            }
        }
        if !self.has_time() {
            return;
        }
        out.put_u8(b'T');
        for (value, unit) in [(self.hours, b'H'), (self.minutes, b'M')] {
            if value != 0 {
                self.write_time_sign(out);
                write_padded(value, 1, out);
                out.put_u8(unit);
            }
        }
        if self.has_seconds() {
            self.write_time_sign(out);
            write_padded(self.seconds, 1, out);
            write_fraction(self.micros, out);
            out.put_u8(b'S');
        }
    }

    fn write_time_sign(&self, out: &mut BytesMut) {
        if self.negative_time {
            out.put_u8(b'-');
        }
    }
}
