//! Text form of dates, times and timestamps in every `DateStyle`.
//!
//! Owns PostgreSQL's `EncodeDateOnly`, `EncodeTimeOnly` and `EncodeDateTime`. It never parses; values
//! are Arrow's (days and microseconds since 1970), with the extremes of their integer as infinity.

use bytes::BytesMut;

use super::calendar::{DAY_US, SECOND_US, civil_from_days, weekday};
use super::settings::{DateOrder, DateOutput, DateStyle, TimeZone};
use crate::pgwire::append::Append;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Writes `value` with at least `width` digits.
pub fn write_padded(value: u64, width: usize, out: &mut BytesMut) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    for _ in digits.len()..width {
        out.put_u8(b'0');
    }
    out.put_slice(digits.as_bytes());
}

fn two(value: u32) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

/// Writes a fraction of `us` microseconds (0 to 999,999) with its point, trailing zeros cut.
pub fn write_fraction(us: u32, out: &mut BytesMut) {
    if us == 0 {
        return;
    }
    let mut digits = *b".000000";
    let mut rest = us;
    for digit in digits.iter_mut().skip(1).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let length = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(0, |last| last + 1);
    out.put_slice(digits.get(..length).unwrap_or_default());
}

/// Writes an offset as PostgreSQL does: `+00`, `-05:30`, `+00:53:28`.
pub fn write_offset(seconds: i32, out: &mut BytesMut) {
    out.put_u8(if seconds < 0 { b'-' } else { b'+' });
    let seconds = seconds.unsigned_abs();
    out.put_slice(&two(seconds / 3_600));
    if !seconds.is_multiple_of(3_600) {
        out.put_u8(b':');
        out.put_slice(&two(seconds / 60 % 60));
        if !seconds.is_multiple_of(60) {
            out.put_u8(b':');
            out.put_slice(&two(seconds % 60));
        }
    }
}

/// Writes a date of `days` since 1970.
pub fn write_date(days: i32, style: DateStyle, out: &mut BytesMut) {
    match days {
        i32::MAX => return out.put_slice(b"infinity"),
        i32::MIN => return out.put_slice(b"-infinity"),
        _ => {}
    }
    let (year, month, day) = civil_from_days(i64::from(days));
    write_civil(year, month, day, style, out);
    if year <= 0 {
        out.put_slice(b" BC");
    }
}

/// The year as people count it: there is none between 1 BC and 1 AD.
fn calendar_year(year: i64) -> u64 {
    if year > 0 {
        year.unsigned_abs()
    } else {
        (1 - year).unsigned_abs()
    }
}

fn write_civil(year: i64, month: u32, day: u32, style: DateStyle, out: &mut BytesMut) {
    let calendar = calendar_year(year);
    let day_first = style.order == DateOrder::Dmy;
    let (separator, first, second) = match style.output {
        DateOutput::Iso => {
            if calendar <= 9_999 {
                let high = two((calendar / 100) as u32);
                let low = two((calendar % 100) as u32);
                let (month, day) = (two(month), two(day));
                out.put_slice(&[
                    high[0], high[1], low[0], low[1], b'-', month[0], month[1], b'-', day[0],
                    day[1],
                ]);
            } else {
                write_padded(calendar, 4, out);
                out.put_u8(b'-');
                out.put_slice(&two(month));
                out.put_u8(b'-');
                out.put_slice(&two(day));
            }
            return;
        }
        DateOutput::German => (b'.', day, month),
        DateOutput::Sql if day_first => (b'/', day, month),
        DateOutput::Sql => (b'/', month, day),
        DateOutput::Postgres if day_first => (b'-', day, month),
        DateOutput::Postgres => (b'-', month, day),
    };
    out.put_slice(&two(first));
    out.put_u8(separator);
    out.put_slice(&two(second));
    out.put_u8(separator);
    write_padded(calendar, 4, out);
}

/// Writes a time of day of `us` microseconds since midnight (24:00:00 included).
pub fn write_time(us: i64, out: &mut BytesMut) {
    let seconds = (us / SECOND_US) as u32;
    let (hour, minute, second) = (
        two(seconds / 3_600),
        two(seconds / 60 % 60),
        two(seconds % 60),
    );
    out.put_slice(&[
        hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1],
    ]);
    write_fraction((us % SECOND_US) as u32, out);
}

/// Writes a timestamp of `us` since 1970; with a `zone` the value is UTC and shown in that zone.
pub fn write_timestamp(us: i64, style: DateStyle, zone: Option<TimeZone>, out: &mut BytesMut) {
    match us {
        i64::MAX => return out.put_slice(b"infinity"),
        i64::MIN => return out.put_slice(b"-infinity"),
        _ => {}
    }
    let offset = zone.map(|zone| {
        if zone.is_utc() {
            0
        } else {
            zone.offset_at_utc(us)
        }
    });
    // Beside the ends of the range the shift can leave i64; days and time are kept apart for that.
    let (mut days, mut time) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    time += i64::from(offset.unwrap_or(0)) * SECOND_US;
    days += time.div_euclid(DAY_US);
    time = time.rem_euclid(DAY_US);
    let (year, month, day) = civil_from_days(days);
    if style.output == DateOutput::Postgres {
        let weekday = WEEKDAYS.get(weekday(days)).copied().unwrap_or_default();
        let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
        out.put_slice(weekday.as_bytes());
        out.put_u8(b' ');
        if style.order == DateOrder::Dmy {
            out.put_slice(&two(day));
            out.put_u8(b' ');
            out.put_slice(name.as_bytes());
        } else {
            out.put_slice(name.as_bytes());
            out.put_u8(b' ');
            out.put_slice(&two(day));
        }
        out.put_u8(b' ');
        write_time(time, out);
        out.put_u8(b' ');
        write_padded(calendar_year(year), 4, out);
    } else {
        write_civil(year, month, day, style, out);
        out.put_u8(b' ');
        write_time(time, out);
    }
    if let (Some(offset), Some(zone)) = (offset, zone) {
        if style.output == DateOutput::Iso {
            write_offset(offset, out);
        } else {
            out.put_u8(b' ');
            out.put_slice(zone.abbreviation_at_utc(us).as_bytes());
        }
    }
    if year <= 0 {
        out.put_slice(b" BC");
    }
}
