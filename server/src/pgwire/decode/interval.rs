//! Text input of intervals: verbose, SQL-standard and ISO 8601.
//!
//! Owns PostgreSQL's units and how fractions of one spill into the next smaller (a month has 30 days, a
//! day 24 hours). Months, days and time are never normalised into each other.

use arrow::datatypes::IntervalMonthDayNano;

use super::ValueError;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;
const SECOND_US: i64 = 1_000_000;
const DAY_US: f64 = 86_400_000_000.0;

fn unit_of(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" | "useconds" | "usecond" => {
            Unit::Micros(1)
        }
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" | "mseconds" | "msecond" => {
            Unit::Micros(1_000)
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(SECOND_US),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(MINUTE_US),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(HOUR_US),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "decade" | "decades" | "dec" | "decs" => Unit::Months(120),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1_200),
        "mil" | "mils" | "millennia" | "millennium" => Unit::Months(12_000),
        _ => return None,
    })
}

/// A decimal number: whole part and fraction share the sign.
#[derive(Debug, Clone, Copy)]
struct Number {
    negative: bool,
    whole: i64,
    fraction: f64,
}

#[derive(Debug, Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

enum Refusal {
    Syntax,
    Range,
}

/// Reads an interval; its time counts in whole microseconds.
///
/// # Errors
/// 22007 for what is no interval, 22015 for fields out of range.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano, ValueError> {
    let body = super::number::trim(text);
    let parsed = match body.strip_prefix(['P', 'p']) {
        Some(iso) => parse_iso(iso),
        None => parse_verbose(body),
    };
    let value = parsed.and_then(|sum| {
        let months = i32::try_from(sum.months).map_err(|_| Refusal::Range)?;
        let days = i32::try_from(sum.days).map_err(|_| Refusal::Range)?;
        let nanos = sum.micros.checked_mul(1_000).ok_or(Refusal::Range)?;
        Ok(IntervalMonthDayNano::new(months, days, nanos))
    });
    value.map_err(|refusal| match refusal {
        Refusal::Syntax => ValueError::new(
            "22007",
            format!("invalid input syntax for type interval: \"{text}\""),
        ),
        Refusal::Range => ValueError::new(
            "22015",
            format!("interval field value out of range: \"{text}\""),
        ),
    })
}

impl Sum {
    /// Adds `number` units; a fraction spills into days and time.
    fn add(&mut self, number: Number, unit: Unit) -> Result<(), Refusal> {
        let sign = if number.negative { -1 } else { 1 };
        let whole = |factor: i64| {
            number
                .whole
                .checked_mul(factor * sign)
                .ok_or(Refusal::Range)
        };
        let signed = number.fraction * sign as f64;
        let add = |slot: &mut i64, value: i64| {
            *slot = slot.checked_add(value).ok_or(Refusal::Range)?;
            Ok(())
        };
        match unit {
            Unit::Micros(factor) => {
                add(&mut self.micros, whole(factor)?)?;
                add(
                    &mut self.micros,
                    (signed * factor as f64).round_ties_even() as i64,
                )
            }
            Unit::Days(factor) => {
                add(&mut self.days, whole(factor)?)?;
                self.add_days(signed * factor as f64)
            }
            Unit::Months(1) => {
                add(&mut self.months, whole(1)?)?;
                self.add_days(signed * 30.0)
            }
            // Fractions of years and longer units count in whole months.
            Unit::Months(factor) => {
                add(&mut self.months, whole(factor)?)?;
                add(
                    &mut self.months,
                    (signed * factor as f64).round_ties_even() as i64,
                )
            }
        }
    }

    fn add_days(&mut self, days: f64) -> Result<(), Refusal> {
        let whole = days.trunc();
        self.days = self.days.checked_add(whole as i64).ok_or(Refusal::Range)?;
        let micros = ((days - whole) * DAY_US).round_ties_even() as i64;
        self.micros = self.micros.checked_add(micros).ok_or(Refusal::Range)?;
        Ok(())
    }

    fn negate(self) -> Result<Self, Refusal> {
        let negate = |value: i64| value.checked_neg().ok_or(Refusal::Range);
        Ok(Self {
            months: negate(self.months)?,
            days: negate(self.days)?,
            micros: negate(self.micros)?,
        })
    }
}

/// Takes a number from the front of `text`.
fn take_number(text: &str) -> Result<(Number, &str), Refusal> {
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = body.split_at_checked(digits(body)).ok_or(Refusal::Syntax)?;
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => after
            .split_at_checked(digits(after))
            .ok_or(Refusal::Syntax)?,
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Refusal::Syntax);
    }
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| Refusal::Range)?
    };
    let fraction = if fraction.is_empty() {
        0.0
    } else {
        format!("0.{fraction}")
            .parse()
            .map_err(|_| Refusal::Syntax)?
    };
    Ok((
        Number {
            negative,
            whole,
            fraction,
        },
        rest,
    ))
}

fn parse_verbose(text: &str) -> Result<Sum, Refusal> {
    let mut sum = Sum::default();
    let mut rest = text.strip_prefix('@').unwrap_or(text);
    let mut any = false;
    let mut ago = false;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        if ago {
            return Err(Refusal::Syntax);
        }
        let word_length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if word_length > 0 {
            let (word, after) = rest.split_at_checked(word_length).ok_or(Refusal::Syntax)?;
            if !word.eq_ignore_ascii_case("ago") || !any {
                return Err(Refusal::Syntax);
            }
            ago = true;
            rest = after;
            continue;
        }
        any = true;
        let (number, after) = take_number(rest)?;
        if after.starts_with(':') {
            rest = add_clock(&mut sum, number, after)?;
            continue;
        }
        if let Some(months) = after.strip_prefix('-').filter(|_| number.fraction == 0.0) {
            // SQL's year-month: `1-2`, the sign counts for both.
            let (months, after) = take_number(months)?;
            if months.whole > 11 || months.fraction != 0.0 {
                return Err(Refusal::Range);
            }
            sum.add(number, Unit::Months(12))?;
            sum.add(
                Number {
                    negative: number.negative,
                    ..months
                },
                Unit::Months(1),
            )?;
            rest = after;
            continue;
        }
        let after = after.trim_start();
        let word_length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, after) = after.split_at_checked(word_length).ok_or(Refusal::Syntax)?;
        let unit = if word.is_empty() {
            // A bare number counts days in front of a time, else seconds.
            let clock = after
                .split_ascii_whitespace()
                .next()
                .is_some_and(|next| next.contains(':'));
            if clock {
                Unit::Days(1)
            } else {
                Unit::Micros(SECOND_US)
            }
        } else {
            unit_of(&word.to_ascii_lowercase()).ok_or(Refusal::Syntax)?
        };
        sum.add(number, unit)?;
        rest = after;
    }
    if !any {
        return Err(Refusal::Syntax);
    }
    if ago { sum.negate() } else { Ok(sum) }
}

/// Adds `hours:minutes[:seconds]` whose hours were read; the sign in front counts for all.
fn add_clock<'a>(sum: &mut Sum, hours: Number, rest: &'a str) -> Result<&'a str, Refusal> {
    let negative = hours.negative;
    let part = |rest: &'a str| -> Result<(Number, &'a str), Refusal> {
        let rest = rest.get(1..).unwrap_or_default();
        if rest.starts_with(['+', '-']) {
            return Err(Refusal::Syntax);
        }
        let (number, rest) = take_number(rest)?;
        Ok((Number { negative, ..number }, rest))
    };
    let (second_field, rest) = part(rest)?;
    let (minutes, seconds, rest) = if rest.starts_with(':') {
        let (seconds, rest) = part(rest)?;
        (second_field, Some(seconds), rest)
    } else {
        (second_field, None, rest)
    };
    // `02:03.5` is minutes and seconds.
    if seconds.is_none() && minutes.fraction != 0.0 {
        sum.add(hours, Unit::Micros(MINUTE_US))?;
        sum.add(minutes, Unit::Micros(SECOND_US))?;
        return Ok(rest);
    }
    if minutes.whole > 59 || seconds.is_some_and(|seconds| seconds.whole > 60) {
        return Err(Refusal::Range);
    }
    sum.add(hours, Unit::Micros(HOUR_US))?;
    sum.add(minutes, Unit::Micros(MINUTE_US))?;
    if let Some(seconds) = seconds {
        sum.add(seconds, Unit::Micros(SECOND_US))?;
    }
    Ok(rest)
}

/// The part of an ISO 8601 duration behind its `P`.
fn parse_iso(text: &str) -> Result<Sum, Refusal> {
    let mut sum = Sum::default();
    let mut rest = text;
    let mut in_time = false;
    let mut any = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']).filter(|_| !in_time) {
            // PostgreSQL takes a bare `PT` for nothing, though not a bare `P`.
            (in_time, any) = (true, true);
            rest = after;
            continue;
        }
        let (number, after) = take_number(rest)?;
        let mut characters = after.chars();
        let unit = match (in_time, characters.next().map(|c| c.to_ascii_uppercase())) {
            (false, Some('Y')) => Unit::Months(12),
            (false, Some('M')) => Unit::Months(1),
            (false, Some('W')) => Unit::Days(7),
            (false, Some('D')) => Unit::Days(1),
            (true, Some('H')) => Unit::Micros(HOUR_US),
            (true, Some('M')) => Unit::Micros(MINUTE_US),
            (true, Some('S')) => Unit::Micros(SECOND_US),
            _ => return Err(Refusal::Syntax),
        };
        sum.add(number, unit)?;
        any = true;
        rest = characters.as_str();
    }
    if any { Ok(sum) } else { Err(Refusal::Syntax) }
}
