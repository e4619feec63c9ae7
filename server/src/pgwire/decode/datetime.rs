//! Text input of dates, times and timestamps.
//!
//! Owns the assembly of fields into values and their ranges; the fields are found by `fields`. It reads no
//! clock: what `now`, `today` and their kin are, the settings tell.

mod fields;

pub use fields::ABBREVIATIONS;

use super::super::encode::calendar::{
    DAY_US, SECOND_US, civil_from_days, days_from_civil, days_in_month,
};
use super::{InputSettings, ValueError};
use fields::{Fields, Special};

/// Days of 4714-11-24 BC, the first date that PostgreSQL has.
const FIRST_DAY: i64 = -2_440_588;
/// Last year of PostgreSQL's `date`.
const LAST_YEAR: i64 = 5_874_897;

/// Days since 1970; the extremes stand for infinity.
pub fn parse_date(text: &str, settings: &InputSettings) -> Result<i32, ValueError> {
    if let Some((days, [])) = iso_date(text.as_bytes()) {
        return Ok(days as i32);
    }
    let name = "date";
    let fields = fields::parse(text, name, settings.date_order)?;
    match fields.special {
        Some(Special::Infinity) => return Ok(i32::MAX),
        Some(Special::MinusInfinity) => return Ok(i32::MIN),
        Some(Special::Epoch) => return Ok(0),
        Some(Special::Now | Special::Day(_)) | None => {}
    }
    fields.check_time(text)?;
    let days = match fields.special {
        Some(Special::Day(distance)) => today(text, settings)? + distance,
        Some(_) => today(text, settings)?,
        None => fields.days(text, name)?,
    };
    i32::try_from(days)
        .map_err(|_| ValueError::new("22008", format!("date out of range: \"{text}\"")))
}

/// Microseconds since midnight; a date and a zone are allowed and ignored.
pub fn parse_time(text: &str, settings: &InputSettings) -> Result<i64, ValueError> {
    let name = "time";
    let fields = fields::parse(text, name, settings.date_order)?;
    fields.check_time(text)?;
    match fields.special {
        Some(Special::Now) => return Ok(wall_clock(text, settings)?.rem_euclid(DAY_US)),
        Some(Special::Day(_)) => return Ok(fields.time_us.unwrap_or(0)),
        Some(_) => return Err(syntax(name, text)),
        None => {}
    }
    match fields.time_us {
        Some(us) if us <= DAY_US => Ok(us),
        Some(_) => Err(out_of_range(text)),
        None => Err(syntax(name, text)),
    }
}

/// Microseconds since 1970: wall-clock time, or UTC if `zoned`; the extremes stand for infinity.
pub fn parse_timestamp(
    text: &str,
    zoned: bool,
    settings: &InputSettings,
) -> Result<i64, ValueError> {
    let name = if zoned {
        "timestamp with time zone"
    } else {
        "timestamp"
    };
    if let Some((local, offset)) = iso_timestamp(text.as_bytes()) {
        return match (zoned, offset) {
            (false, _) => Ok(local),
            (true, Some(seconds)) => Ok(local - seconds * SECOND_US),
            (true, None) => Ok(local - zone_offset(local, settings)),
        };
    }
    let fields = fields::parse(text, name, settings.date_order)?;
    match fields.special {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::MinusInfinity) => return Ok(i64::MIN),
        // The epoch is an instant; without a zone it is the wall clock of UTC.
        Some(Special::Epoch) => return Ok(0),
        Some(Special::Now) if zoned => return now(text, settings),
        Some(Special::Now) => return wall_clock(text, settings),
        Some(Special::Day(_)) | None => {}
    }
    fields.check_time(text)?;
    let range = || ValueError::new("22008", format!("timestamp out of range: \"{text}\""));
    let days = match fields.special {
        Some(Special::Day(distance)) => today(text, settings)? + distance,
        _ => fields.days(text, name)?,
    };
    let local = days
        .checked_mul(DAY_US)
        .and_then(|us| us.checked_add(fields.time_us.unwrap_or(0)))
        .filter(|us| *us != i64::MAX)
        .ok_or_else(range)?;
    if !zoned {
        return Ok(local);
    }
    let offset = match fields.zone {
        Some(zone) => i64::from(zone.offset_at_local(local)) * SECOND_US,
        None => zone_offset(local, settings),
    };
    local
        .checked_sub(offset)
        .filter(|us| *us != i64::MAX)
        .ok_or_else(range)
}

/// The time of the statement, in microseconds since 1970.
fn now(text: &str, settings: &InputSettings) -> Result<i64, ValueError> {
    settings.now_us.ok_or_else(|| {
        let message = format!("date/time value \"{text}\" is not supported");
        ValueError::new("0A000", message)
    })
}

/// What a clock in the session's zone shows at that time, in microseconds since 1970.
fn wall_clock(text: &str, settings: &InputSettings) -> Result<i64, ValueError> {
    let now = now(text, settings)?;
    Ok(now + i64::from(settings.time_zone.offset_at_utc(now)) * SECOND_US)
}

/// The day in the session's zone at that time, in days since 1970.
fn today(text: &str, settings: &InputSettings) -> Result<i64, ValueError> {
    Ok(wall_clock(text, settings)?.div_euclid(DAY_US))
}

fn zone_offset(local: i64, settings: &InputSettings) -> i64 {
    if settings.time_zone.is_utc() {
        return 0;
    }
    i64::from(settings.time_zone.offset_at_local(local)) * SECOND_US
}

fn syntax(name: &str, text: &str) -> ValueError {
    ValueError::new(
        "22007",
        format!("invalid input syntax for type {name}: \"{text}\""),
    )
}

fn out_of_range(text: &str) -> ValueError {
    ValueError::new(
        "22008",
        format!("date/time field value out of range: \"{text}\""),
    )
}

impl Fields {
    /// Days since 1970 of the date fields.
    fn days(&self, text: &str, name: &str) -> Result<i64, ValueError> {
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Err(syntax(name, text));
        };
        let year = match (self.bc, year) {
            (_, 0) => return Err(out_of_range(text)),
            (true, year) => 1 - year,
            (false, year) => year,
        };
        if !(1..=12).contains(&month) || day < 1 {
            return Err(out_of_range(text));
        }
        let kind = if name == "date" { "date" } else { "timestamp" };
        let beyond = || ValueError::new("22008", format!("{kind} out of range: \"{text}\""));
        if year > LAST_YEAR {
            return Err(beyond());
        }
        if day > days_in_month(year, month) {
            return Err(out_of_range(text));
        }
        let days = days_from_civil(year, month, day);
        if days < FIRST_DAY {
            return Err(beyond());
        }
        Ok(days)
    }

    /// Refuses hours that a clock does not have.
    fn check_time(&self, text: &str) -> Result<(), ValueError> {
        if self.time_invalid {
            Err(out_of_range(text))
        } else {
            Ok(())
        }
    }
}

/// The fast path of `YYYY-MM-DD`; gives the days and what follows, nothing if any check fails.
fn iso_date(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = bytes else {
        return None;
    };
    let year = pair(*y1, *y2)? * 100 + pair(*y3, *y4)?;
    let (month, day) = (pair(*m1, *m2)?, pair(*d1, *d2)?);
    let valid = year > 0 && (1..=12).contains(&month) && day >= 1;
    (valid && day <= days_in_month(i64::from(year), month))
        .then(|| (days_from_civil(i64::from(year), month, day), rest))
}

/// The fast path of `YYYY-MM-DD[ T]HH:MM:SS[.fraction][Z|+HH[:MM]]`: microseconds and seconds of offset.
fn iso_timestamp(bytes: &[u8]) -> Option<(i64, Option<i64>)> {
    let (days, rest) = iso_date(bytes)?;
    let [b' ' | b'T', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest else {
        return None;
    };
    let (hour, minute, second) = (pair(*h1, *h2)?, pair(*m1, *m2)?, pair(*s1, *s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut us = i64::from(hour * 3_600 + minute * 60 + second) * SECOND_US;
    let mut rest = rest;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(1..=6).contains(&digits) {
            return None;
        }
        let (number, after) = fraction.split_at_checked(digits)?;
        let value = number
            .iter()
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        us += value * 10_i64.pow(6 - digits as u32);
        rest = after;
    }
    let offset = match rest {
        [] => None,
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, minutes @ ..] => {
            let minutes = match minutes {
                [] => 0,
                [b':', m1, m2] => pair(*m1, *m2)?,
                _ => return None,
            };
            let hours = pair(*h1, *h2)?;
            if hours > 15 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3_600 + minutes * 60);
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some((days * DAY_US + us, offset))
}

/// The number of two digits.
fn pair(high: u8, low: u8) -> Option<u32> {
    (high.is_ascii_digit() && low.is_ascii_digit())
        .then(|| u32::from(high - b'0') * 10 + u32::from(low - b'0'))
}

/// Fields of a Julian day number, as `J2451545` names it.
fn civil_from_julian(julian: i64) -> (i64, u32, u32) {
    civil_from_days(julian - 2_440_588)
}
