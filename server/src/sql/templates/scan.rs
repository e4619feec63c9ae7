//! Reading times by a pattern: `to_timestamp(text, …)` and `to_date(text, …)`.
//!
//! The rules are those of `DCH_from_char` and `do_to_timestamp` in PostgreSQL's `formatting.c`: blanks and punctuation are skipped
//! generously unless `FX` forbids it, a number takes as many digits as it can where something else than a digit follows in the pattern,
//! and a field may be given twice only with one value.

use super::date_time::{Calendar, DAYS, Field, MONTHS, ROMAN_MONTHS, TimePattern};
use super::julian;
use super::pattern::{Marks, Node, TextKind, is_separator, is_space};
use crate::error::{PgError, Result, sqlstate};

/// Largest hour of a time zone's offset.
const ZONE_HOUR_MAX: i64 = 15;

/// What a text says, in the words of a calendar; days and months are within their ranges.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Days since 1970-01-01.
    pub days: i64,
    /// Microseconds since midnight.
    pub time_us: i64,
    /// Seconds east of Greenwich, if the text names a zone.
    pub offset: Option<i64>,
}

/// Values of fields as they were read; 0 is absent, as in PostgreSQL.
#[derive(Debug, Default)]
struct Fields {
    calendar: Option<Calendar>,
    twelve_hours: bool,
    pm: i64,
    bc: i64,
    hour: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    millis: i64,
    micros: i64,
    weekday: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    year: i64,
    year_digits: usize,
    century: i64,
    julian: i64,
    week: i64,
    week_of_month: i64,
    zone_sign: i64,
    zone_hour: i64,
    zone_minute: i64,
}

impl TimePattern {
    /// Reads a text.
    pub fn read(&self, text: &str) -> Result<Reading> {
        let mut scanner = Scanner {
            text,
            rest: text,
            exact: false,
            extra: 0,
            fields: Fields::default(),
        };
        for (position, node) in self.nodes.iter().enumerate() {
            if scanner.rest.is_empty() {
                break;
            }
            scanner.node(node, position == 0, self.nodes.get(position + 1))?;
        }
        scanner.fields.reading(text)
    }
}

/// Where reading is.
struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
    /// Whether `FX` was met.
    exact: bool,
    /// Characters skipped beyond those that the pattern has.
    extra: i64,
    fields: Fields,
}

/// A field of the pattern that is being read.
#[derive(Clone, Copy)]
struct Current {
    name: &'static str,
    /// Whether a number ends where its digits do, not after a fixed number of characters.
    open: bool,
}

impl Scanner<'_> {
    fn node(&mut self, node: &Node<Field>, first: bool, next: Option<&Node<Field>>) -> Result<()> {
        let is_field = matches!(node, Node::Field { .. });
        let is_exact = matches!(
            node,
            Node::Field {
                key: Field::Exact,
                ..
            }
        );
        if !self.exact && !is_exact && (is_field || first) {
            self.skip_blanks();
        }
        let (key, name, marks) = match *node {
            Node::Text(_, kind) => {
                self.text_between(kind);
                return Ok(());
            }
            Node::Field {
                key, name, marks, ..
            } => (key, name, marks),
        };
        if let Some(calendar) = key.calendar() {
            if self.fields.calendar.is_some_and(|known| known != calendar) {
                return Err(format_error("invalid combination of date conventions").with_hint(
                    "Do not mix Gregorian and ISO week date conventions in a formatting template.",
                ));
            }
            self.fields.calendar = Some(calendar);
        }
        let open = marks.fill || marks.ordinal.is_some() || ends_number(next);
        self.field(key, Current { name, open }, marks)?;
        if !self.exact {
            self.extra = 0;
            self.skip_blanks();
        }
        Ok(())
    }

    fn skip_blanks(&mut self) {
        let trimmed = self.rest.trim_start_matches(is_space);
        self.extra += (self.rest.len() - trimmed.len()) as i64;
        self.rest = trimmed;
    }

    fn skip_character(&mut self) {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
    }

    fn text_between(&mut self, kind: TextKind) {
        if self.exact {
            self.skip_character();
            return;
        }
        match kind {
            TextKind::Literal if self.extra > 0 => self.extra -= 1,
            TextKind::Literal => self.skip_character(),
            TextKind::Space | TextKind::Separator => {
                self.extra -= 1;
                if self
                    .rest
                    .starts_with(|next| is_space(next) || is_separator(next))
                {
                    self.skip_character();
                    self.extra += 1;
                }
            }
        }
    }

    fn field(&mut self, key: Field, current: Current, marks: Marks) -> Result<()> {
        let name = current.name;
        match key {
            Field::Exact => {
                self.exact = true;
                return Ok(());
            }
            Field::HalfDay { points } => {
                let names: &[&str] = match points {
                    true => &["a.m.", "p.m."],
                    false => &["am", "pm"],
                };
                let pm = self.word(names.iter().copied(), name)?;
                set(&mut self.fields.pm, pm, name)?;
                self.fields.twelve_hours = true;
                return Ok(());
            }
            Field::Era { points } => {
                let names: &[&str] = match points {
                    true => &["a.d.", "b.c."],
                    false => &["ad", "bc"],
                };
                let bc = self.word(names.iter().copied(), name)?;
                return set(&mut self.fields.bc, bc, name);
            }
            Field::MonthName | Field::MonthAbbreviation => {
                let month = self.name(&MONTHS, key == Field::MonthName, name)?;
                return set(&mut self.fields.month, month + 1, name);
            }
            Field::DayName | Field::DayAbbreviation => {
                let day = self.name(&DAYS, key == Field::DayName, name)?;
                set(&mut self.fields.weekday, day, name)?;
                self.fields.weekday += 1;
                return Ok(());
            }
            Field::RomanMonth => {
                let month = self.word(ROMAN_MONTHS.into_iter(), name)?;
                return set(&mut self.fields.month, 12 - month, name);
            }
            Field::Zone | Field::Offset => {
                return Err(PgError::unsupported(format!(
                    "formatting field \"{name}\" is only supported in to_char"
                )));
            }
            Field::ZoneHour => {
                let sign = match self.rest.as_bytes().first() {
                    Some(sign @ (b'+' | b'-' | b' ')) => {
                        self.skip_character();
                        *sign
                    }
                    // The sign may have been taken for a separator.
                    _ if self.extra > 0 => self.before(),
                    _ => b'+',
                };
                self.fields.zone_sign = if sign == b'-' { -1 } else { 1 };
                let (hour, _) = self.number(2, current)?;
                return set(&mut self.fields.zone_hour, hour, name);
            }
            Field::ZoneMinute => {
                if self.fields.zone_sign == 0 {
                    self.fields.zone_sign = 1;
                }
                let (minute, _) = self.number(2, current)?;
                return set(&mut self.fields.zone_minute, minute, name);
            }
            Field::YearWithComma => {
                let year = self.year_with_comma()?;
                set(&mut self.fields.year, year, name)?;
                self.fields.year_digits = 4;
            }
            _ => self.number_field(key, current)?,
        }
        if marks.ordinal.is_some() {
            self.skip_character();
            self.skip_character();
        }
        Ok(())
    }

    fn number_field(&mut self, key: Field, current: Current) -> Result<()> {
        let name = current.name;
        let digits = match key {
            Field::Hour12 | Field::Hour24 => 2,
            Field::Millisecond | Field::IsoDayOfYear => 3,
            Field::Microsecond => 6,
            Field::Fraction(digits) => digits,
            Field::IsoDayOfWeek => 1,
            _ => name.len(),
        };
        let (value, length) = self.number(digits, current)?;
        let fields = &mut self.fields;
        match key {
            Field::Hour12 => {
                set(&mut fields.hour, value, name)?;
                fields.twelve_hours = true;
            }
            Field::Hour24 => set(&mut fields.hour, value, name)?,
            Field::Minute => set(&mut fields.minute, value, name)?,
            Field::Second => set(&mut fields.second, value, name)?,
            Field::SecondOfDay => set(&mut fields.second_of_day, value, name)?,
            // .25 is a quarter of a second, as .250 is.
            Field::Millisecond => {
                set(&mut fields.millis, value, name)?;
                fields.millis *= power_of_ten(3, length);
            }
            Field::Microsecond | Field::Fraction(_) => {
                set(&mut fields.micros, value, name)?;
                fields.micros *= power_of_ten(6, length);
            }
            Field::Month => set(&mut fields.month, value, name)?,
            Field::DayOfYear | Field::IsoDayOfYear => set(&mut fields.day_of_year, value, name)?,
            Field::Day => set(&mut fields.day, value, name)?,
            Field::DayOfWeek => set(&mut fields.weekday, value, name)?,
            Field::IsoDayOfWeek => {
                set(&mut fields.weekday, value, name)?;
                fields.weekday += 1;
                if fields.weekday > 7 {
                    fields.weekday = 1;
                }
            }
            Field::WeekOfYear | Field::IsoWeek => set(&mut fields.week, value, name)?,
            Field::WeekOfMonth => set(&mut fields.week_of_month, value, name)?,
            Field::Century => set(&mut fields.century, value, name)?,
            Field::Julian => set(&mut fields.julian, value, name)?,
            Field::Year(digits) | Field::IsoYear(digits) => {
                set(&mut fields.year, value, name)?;
                if digits < 4 && length < 4 {
                    fields.year = near_2020(fields.year);
                }
                fields.year_digits = digits;
            }
            // A quarter is read and says nothing: which of its days would be meant?
            _ => {}
        }
        Ok(())
    }

    /// The byte before what is still to be read.
    fn before(&self) -> u8 {
        let read = self.text.len() - self.rest.len();
        self.text
            .as_bytes()
            .get(read.wrapping_sub(1))
            .copied()
            .unwrap_or(b'+')
    }

    /// An integer, and how many characters it took with the blanks before it.
    fn number(&mut self, digits: usize, current: Current) -> Result<(i64, usize)> {
        let Current { name, open } = current;
        let start = self.rest;
        let trimmed = start.trim_start_matches(is_space);
        let field = trimmed.get(..digits).unwrap_or(trimmed);
        let (value, rest) =
            if open {
                integer(start)
            } else {
                if trimmed.len() < digits {
                    let remain = trimmed.len();
                    return Err(format_error(format!(
                        "source string too short for \"{name}\" formatting field"
                    ))
                    .with_detail(format!(
                        "Field requires {digits} characters, but only {remain} remain."
                    ))
                    .with_hint(NOT_FIXED_WIDTH));
                }
                let (value, after) = integer(field);
                let used = field.len() - after.len();
                if used > 0 && used < digits {
                    return Err(format_error(format!("invalid value \"{field}\" for \"{name}\""))
                    .with_detail(format!(
                        "Field requires {digits} characters, but only {used} could be parsed."
                    ))
                    .with_hint(NOT_FIXED_WIDTH));
                }
                (value, trimmed.get(used..).unwrap_or_default())
            };
        if rest.len() == start.len() {
            return Err(
                format_error(format!("invalid value \"{field}\" for \"{name}\""))
                    .with_detail("Value must be an integer."),
            );
        }
        let in_range = value.filter(|value| i32::try_from(*value).is_ok());
        let Some(value) = in_range else {
            return Err(PgError::new(
                sqlstate::DATETIME_FIELD_OVERFLOW,
                format!("value for \"{name}\" in source string is out of range"),
            )
            .with_detail(format!(
                "Value must be in the range {} to {}.",
                i32::MIN,
                i32::MAX
            )));
        };
        self.rest = rest;
        Ok((value, start.len() - rest.len()))
    }

    /// A month or day, in full or abbreviated; counted from 0.
    fn name(&mut self, names: &[&'static str], full: bool, field: &str) -> Result<i64> {
        let names = names.iter().map(|name| match full {
            true => *name,
            false => name.get(..3).unwrap_or(name),
        });
        self.word(names, field)
    }

    /// Which of some words comes next, in any case.
    fn word<'w>(&mut self, words: impl Iterator<Item = &'w str>, field: &str) -> Result<i64> {
        for (position, word) in (0..).zip(words) {
            let found = self.rest.get(..word.len());
            if found.is_some_and(|found| found.eq_ignore_ascii_case(word)) {
                self.rest = self.rest.get(word.len()..).unwrap_or_default();
                return Ok(position);
            }
        }
        let shown = self.rest.split(is_space).next().unwrap_or_default();
        Err(
            format_error(format!("invalid value \"{shown}\" for \"{field}\"")).with_detail(
                "The given value did not match any of the allowed values for this field.",
            ),
        )
    }

    fn year_with_comma(&mut self) -> Result<i64> {
        let invalid = || format_error("invalid input string for \"Y,YYY\"");
        let (thousands, rest) = integer(self.rest);
        if rest.len() == self.rest.len() {
            return Err(invalid());
        }
        let rest = rest.strip_prefix(',').ok_or_else(invalid)?;
        let rest = rest.trim_start_matches(is_space);
        // At most three characters, a sign among them.
        let field = rest.get(..3).unwrap_or(rest);
        let (years, after) = integer(field);
        let used = field.len() - after.len();
        let year = thousands
            .and_then(|thousands| thousands.checked_mul(1_000)?.checked_add(years?))
            .filter(|year| used > 0 && i32::try_from(*year).is_ok())
            .ok_or_else(invalid)?;
        self.rest = rest.get(used..).unwrap_or_default();
        Ok(year)
    }
}

const NOT_FIXED_WIDTH: &str =
    "If your source string is not fixed-width, try using the \"FM\" modifier.";

fn format_error(message: impl Into<String>) -> PgError {
    PgError::new(sqlstate::INVALID_DATETIME_FORMAT, message)
}

fn power_of_ten(digits: u32, length: usize) -> i64 {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    match length {
        1.. => 10_i64.pow(digits.saturating_sub(length)),
        0 => 1,
    }
}

/// Whether what follows in a pattern cannot continue a number.
fn ends_number(next: Option<&Node<Field>>) -> bool {
    match next {
        None => true,
        Some(Node::Field { key, .. }) => !key.is_number(),
        Some(Node::Text(text, _)) => !text.is_ascii_digit(),
    }
}

/// `strtol`: blanks, a sign, digits; the value is `None` if it does not fit. Without digits nothing is taken.
fn integer(text: &str) -> (Option<i64>, &str) {
    let trimmed = text.trim_start_matches(is_space);
    let (sign, digits) = match trimmed.as_bytes().first() {
        Some(b'-') => (-1, trimmed.get(1..).unwrap_or_default()),
        Some(b'+') => (1, trimmed.get(1..).unwrap_or_default()),
        _ => (1, trimmed),
    };
    let rest = digits.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let taken = digits.len() - rest.len();
    if taken == 0 {
        return (Some(0), text);
    }
    let value = digits
        .get(..taken)
        .and_then(|digits| digits.parse::<i64>().ok())
        .map(|value| sign * value);
    (value, rest)
}

fn set(slot: &mut i64, value: i64, name: &str) -> Result<()> {
    if *slot != 0 && *slot != value {
        return Err(format_error(format!(
            "conflicting values for \"{name}\" field in formatting string"
        ))
        .with_detail("This value contradicts a previous setting for the same field type."));
    }
    *slot = value;
    Ok(())
}

/// The year that one, two or three digits stand for: 70 is 1970, 69 is 2069.
fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2_000,
        70..100 => year + 1_900,
        100..520 => year + 2_000,
        520..1_000 => year + 1_000,
        _ => year,
    }
}

fn out_of_range(text: &str) -> PgError {
    PgError::new(
        sqlstate::DATETIME_FIELD_OVERFLOW,
        format!("date/time field value out of range: \"{text}\""),
    )
}

/// A date that is being put together; what was not said is 1 BC, January, the first.
struct Date {
    year: i64,
    month: i64,
    day: i64,
    has_month: bool,
    has_day: bool,
}

impl Date {
    fn set_julian(&mut self, number: i64) {
        (self.year, self.month, self.day) = julian::civil(number);
        (self.has_month, self.has_day) = (true, true);
    }
}

impl Fields {
    fn reading(mut self, text: &str) -> Result<Reading> {
        let time_us = self.time_us(text)?;
        let date = self.date()?;
        let in_month = || {
            let (month, year) = (u32::try_from(date.month).unwrap_or(1), date.year);
            i64::from(crate::pgwire::encode::days_in_month(year, month))
        };
        let wrong_month = date.has_month && !(1..=12).contains(&date.month);
        let wrong_day = date.has_day && !(1..=31).contains(&date.day);
        if wrong_month || wrong_day || (date.has_month && date.has_day && date.day > in_month()) {
            return Err(out_of_range(text));
        }
        let offset = match self.zone_sign {
            0 => None,
            sign => {
                if !(0..=ZONE_HOUR_MAX).contains(&self.zone_hour)
                    || !(0..60).contains(&self.zone_minute)
                {
                    return Err(PgError::new(
                        sqlstate::INVALID_TIME_ZONE_DISPLACEMENT,
                        format!("time zone displacement out of range: \"{text}\""),
                    ));
                }
                Some(sign * (self.zone_hour * 60 + self.zone_minute) * 60)
            }
        };
        Ok(Reading {
            days: julian::days_from_civil(date.year, date.month, date.day),
            time_us,
            offset,
        })
    }

    fn time_us(&self, text: &str) -> Result<i64> {
        let or = |value: i64, other: i64| if value == 0 { other } else { value };
        let mut hour = or(self.hour, self.second_of_day / 3_600);
        let minute = or(self.minute, self.second_of_day % 3_600 / 60);
        let second = or(self.second, self.second_of_day % 60);
        if self.twelve_hours {
            if !(1..=12).contains(&hour) {
                return Err(format_error(format!(
                    "hour \"{hour}\" is invalid for the 12-hour clock"
                ))
                .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
            hour = hour % 12 + if self.pm != 0 { 12 } else { 0 };
        }
        let micros = self.millis * 1_000 + self.micros;
        let valid = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..1_000_000).contains(&micros);
        match valid {
            true => Ok(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros),
            false => Err(out_of_range(text)),
        }
    }

    /// The year, astronomical.
    fn year(&mut self) -> i64 {
        if self.bc != 0 {
            self.century = -self.century;
        }
        let century = self.century;
        if self.year != 0 && century != 0 && self.year_digits <= 2 {
            // Two digits of a year in the century given: the 21st is from 2001 to 2100.
            return match (self.year % 100, century >= 0) {
                (0, true) => century * 100,
                (0, false) => century * 100 + 1,
                (year, true) => year + (century - 1) * 100,
                (year, false) => (century + 1) * 100 - year + 1,
            };
        }
        if self.year != 0 {
            let year = if self.bc != 0 { -self.year } else { self.year };
            return if year < 0 { year + 1 } else { year };
        }
        match century {
            0 => 0,
            1.. => (century - 1) * 100 + 1,
            _ => century * 100 + 1,
        }
    }

    fn date(&mut self) -> Result<Date> {
        let mut date = Date {
            year: self.year(),
            month: 1,
            day: 1,
            has_month: false,
            has_day: false,
        };
        if self.julian != 0 {
            date.set_julian(self.julian);
        }
        let iso = self.calendar == Some(Calendar::IsoWeek);
        if self.week != 0 {
            if iso {
                let monday = julian::iso_week_start(date.year, self.week);
                date.set_julian(match self.weekday {
                    0 => monday,
                    // Sunday is the first day here and the last of an ISO week.
                    1 => monday + 6,
                    day => monday + day - 2,
                });
            } else {
                self.day_of_year = (self.week - 1) * 7 + 1;
            }
        }
        if self.week_of_month != 0 {
            self.day = (self.week_of_month - 1) * 7 + 1;
        }
        if self.day != 0 {
            date.day = self.day;
            date.has_day = true;
        }
        if self.month != 0 {
            date.month = self.month;
            date.has_month = true;
        }
        if self.day_of_year != 0 && (date.month <= 1 || date.day <= 1) {
            self.by_day_of_year(iso, &mut date)?;
        }
        Ok(date)
    }

    fn by_day_of_year(&self, iso: bool, date: &mut Date) -> Result<()> {
        if date.year == 0 && self.bc == 0 {
            return Err(format_error(
                "cannot calculate day of year without year information",
            ));
        }
        if iso {
            let start = julian::iso_week_start(date.year, 1);
            date.set_julian(start - 1 + self.day_of_year);
            return Ok(());
        }
        let mut before = 0;
        let mut month = 1;
        while month <= 12 {
            let length = crate::pgwire::encode::days_in_month(date.year, month);
            if self.day_of_year <= before + i64::from(length) {
                break;
            }
            before += i64::from(length);
            month += 1;
        }
        if date.month <= 1 {
            date.month = i64::from(month);
        }
        if date.day <= 1 {
            date.day = self.day_of_year - before;
        }
        (date.has_month, date.has_day) = (true, true);
        Ok(())
    }
}
