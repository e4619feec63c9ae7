//! Fields of times and intervals, and how they are printed: `to_char(timestamp, …)`.
//!
//! The rules are those of `DCH_to_char` in PostgreSQL's `formatting.c`.

use std::fmt::Write;

use arrow::datatypes::IntervalMonthDayNano;

use super::julian;
use super::pattern::{self, Case, Keyword, Keywords, Marks, Node};
use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::TimeZone;

/// What a keyword of a time's pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `AM`, `PM`; with points `A.M.`.
    HalfDay { points: bool },
    /// `AD`, `BC`; with points `A.D.`.
    Era { points: bool },
    /// `CC`.
    Century,
    /// `DAY`.
    DayName,
    /// `DY`.
    DayAbbreviation,
    /// `DDD`.
    DayOfYear,
    /// `IDDD`.
    IsoDayOfYear,
    /// `DD`.
    Day,
    /// `D`, from Sunday.
    DayOfWeek,
    /// `ID`, from Monday.
    IsoDayOfWeek,
    /// `FF1` to `FF6`.
    Fraction(usize),
    /// `MS`.
    Millisecond,
    /// `US`.
    Microsecond,
    /// `FX`: no skipping of blanks from here on.
    Exact,
    /// `HH24`.
    Hour24,
    /// `HH12`, `HH`.
    Hour12,
    /// `MI`.
    Minute,
    /// `SS`.
    Second,
    /// `SSSS`, `SSSSS`.
    SecondOfDay,
    /// `IW`.
    IsoWeek,
    /// `IYYY` to `I`, by number of digits.
    IsoYear(usize),
    /// `J`.
    Julian,
    /// `MM`.
    Month,
    /// `MONTH`.
    MonthName,
    /// `MON`.
    MonthAbbreviation,
    /// `RM`.
    RomanMonth,
    /// `Q`.
    Quarter,
    /// `OF`.
    Offset,
    /// `TZH`.
    ZoneHour,
    /// `TZM`.
    ZoneMinute,
    /// `TZ`.
    Zone,
    /// `WW`.
    WeekOfYear,
    /// `W`.
    WeekOfMonth,
    /// `Y,YYY`.
    YearWithComma,
    /// `YYYY` to `Y`, by number of digits.
    Year(usize),
}

/// Which calendar a field belongs to; the fields of a date must not be of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// Years, months and days.
    Gregorian,
    /// Years of whole weeks.
    IsoWeek,
}

impl Field {
    /// The calendar that the field needs.
    pub fn calendar(self) -> Option<Calendar> {
        use Field::{
            Day, DayOfWeek, DayOfYear, IsoDayOfWeek, IsoDayOfYear, IsoWeek, IsoYear, Month,
            MonthAbbreviation, MonthName, RomanMonth, WeekOfMonth, WeekOfYear, Year, YearWithComma,
        };
        match self {
            Day | DayOfWeek | DayOfYear | Month | MonthAbbreviation | MonthName | RomanMonth
            | WeekOfMonth | WeekOfYear | Year(_) | YearWithComma => Some(Calendar::Gregorian),
            IsoDayOfWeek | IsoDayOfYear | IsoWeek | IsoYear(_) => Some(Calendar::IsoWeek),
            _ => None,
        }
    }

    /// Whether the field is written in digits, so that it cannot be told from digits before it.
    pub fn is_number(self) -> bool {
        use Field::{
            DayAbbreviation, DayName, Era, Exact, HalfDay, MonthAbbreviation, MonthName, Offset,
            RomanMonth, Zone, ZoneHour,
        };
        !matches!(
            self,
            DayAbbreviation
                | DayName
                | Era { .. }
                | Exact
                | HalfDay { .. }
                | MonthAbbreviation
                | MonthName
                | Offset
                | RomanMonth
                | Zone
                | ZoneHour
        )
    }
}

impl Keywords for Field {
    const MARKED: bool = true;
    const ALL: &'static [Keyword<Self>] = &[
        ("A.D.", "a.d.", "", Self::Era { points: true }),
        ("A.M.", "a.m.", "", Self::HalfDay { points: true }),
        ("AD", "ad", "", Self::Era { points: false }),
        ("AM", "am", "", Self::HalfDay { points: false }),
        ("B.C.", "b.c.", "", Self::Era { points: true }),
        ("BC", "bc", "", Self::Era { points: false }),
        ("CC", "cc", "", Self::Century),
        ("DAY", "day", "Day", Self::DayName),
        ("DDD", "ddd", "", Self::DayOfYear),
        ("DD", "dd", "", Self::Day),
        ("DY", "dy", "Dy", Self::DayAbbreviation),
        ("D", "d", "", Self::DayOfWeek),
        ("FF1", "ff1", "", Self::Fraction(1)),
        ("FF2", "ff2", "", Self::Fraction(2)),
        ("FF3", "ff3", "", Self::Fraction(3)),
        ("FF4", "ff4", "", Self::Fraction(4)),
        ("FF5", "ff5", "", Self::Fraction(5)),
        ("FF6", "ff6", "", Self::Fraction(6)),
        ("FX", "fx", "", Self::Exact),
        ("HH24", "hh24", "", Self::Hour24),
        ("HH12", "hh12", "", Self::Hour12),
        ("HH", "hh", "", Self::Hour12),
        ("IDDD", "iddd", "", Self::IsoDayOfYear),
        ("ID", "id", "", Self::IsoDayOfWeek),
        ("IW", "iw", "", Self::IsoWeek),
        ("IYYY", "iyyy", "", Self::IsoYear(4)),
        ("IYY", "iyy", "", Self::IsoYear(3)),
        ("IY", "iy", "", Self::IsoYear(2)),
        ("I", "i", "", Self::IsoYear(1)),
        ("J", "j", "", Self::Julian),
        ("MI", "mi", "", Self::Minute),
        ("MM", "mm", "", Self::Month),
        ("MONTH", "month", "Month", Self::MonthName),
        ("MON", "mon", "Mon", Self::MonthAbbreviation),
        ("MS", "ms", "", Self::Millisecond),
        ("OF", "of", "", Self::Offset),
        ("P.M.", "p.m.", "", Self::HalfDay { points: true }),
        ("PM", "pm", "", Self::HalfDay { points: false }),
        ("Q", "q", "", Self::Quarter),
        ("RM", "rm", "", Self::RomanMonth),
        ("SSSSS", "sssss", "", Self::SecondOfDay),
        ("SSSS", "ssss", "", Self::SecondOfDay),
        ("SS", "ss", "", Self::Second),
        ("TZH", "tzh", "", Self::ZoneHour),
        ("TZM", "tzm", "", Self::ZoneMinute),
        ("TZ", "tz", "", Self::Zone),
        ("US", "us", "", Self::Microsecond),
        ("WW", "ww", "", Self::WeekOfYear),
        ("W", "w", "", Self::WeekOfMonth),
        ("Y,YYY", "y,yyy", "", Self::YearWithComma),
        ("YYYY", "yyyy", "", Self::Year(4)),
        ("YYY", "yyy", "", Self::Year(3)),
        ("YY", "yy", "", Self::Year(2)),
        ("Y", "y", "", Self::Year(1)),
    ];
}

/// Months in full; their first three letters are their abbreviations.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Days in full, from Sunday; their first three letters are their abbreviations.
pub const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Months in Roman numbers, the last one first, so that none is the beginning of one after it.
pub const ROMAN_MONTHS: [&str; 12] = [
    "XII", "XI", "X", "IX", "VIII", "VII", "VI", "V", "IV", "III", "II", "I",
];

/// Letters of an abbreviated name.
const ABBREVIATION: usize = 3;

/// Width that names of months and days are padded to.
const NAME_WIDTH: usize = 9;

/// Width that Roman months are padded to.
const ROMAN_WIDTH: usize = 4;

/// Width of a number that is padded with zeros, its sign included.
fn width(value: i64, digits: usize, marks: Marks) -> usize {
    match (marks.fill, value < 0) {
        (true, _) => 0,
        (false, false) => digits,
        (false, true) => digits + 1,
    }
}

/// A compiled pattern for times.
#[derive(Debug)]
pub struct TimePattern {
    /// Its parts.
    pub nodes: Vec<Node<Field>>,
    /// Whether the pattern is the empty text; `FM` alone has no nodes either.
    pub empty: bool,
}

/// A time or an interval in its parts; the months of an interval may be 0 or negative.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// From Sunday.
    weekday: usize,
    day_of_year: i64,
    /// Zone and instant of a `timestamptz`.
    instant: Option<(TimeZone, i64)>,
    interval: bool,
}

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

impl Parts {
    /// Of a wall-clock time in microseconds.
    pub fn of_local(us: i64) -> Self {
        let days = us.div_euclid(DAY_US);
        let time = us.rem_euclid(DAY_US);
        let (year, month, day) = julian::civil_from_days(days);
        Self {
            year,
            month,
            day,
            hour: time / (3_600 * SECOND_US),
            minute: time / (60 * SECOND_US) % 60,
            second: time / SECOND_US % 60,
            micros: time % SECOND_US,
            weekday: julian::weekday(days),
            day_of_year: julian::number(year, month, day) - julian::number(year, 1, 1) + 1,
            instant: None,
            interval: false,
        }
    }

    /// Of an instant in microseconds, as a zone's clocks show it.
    pub fn of_instant(us: i64, zone: TimeZone) -> Self {
        let offset = i64::from(zone.offset_at_utc(us)) * SECOND_US;
        Self {
            instant: Some((zone, us)),
            ..Self::of_local(us.saturating_add(offset))
        }
    }

    /// Of an interval.
    pub fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let us = interval.nanoseconds / 1_000;
        let (months, day) = (i64::from(interval.months), i64::from(interval.days));
        Self {
            year: months / 12,
            month: months % 12,
            day,
            hour: us / (3_600 * SECOND_US),
            minute: us / (60 * SECOND_US) % 60,
            second: us / SECOND_US % 60,
            micros: us % SECOND_US,
            weekday: 0,
            // The days that it spans, about.
            day_of_year: months * 30 + day,
            instant: None,
            interval: true,
        }
    }

    /// The year as people count it: 1 BC is 1.
    fn shown_year(&self, year: i64) -> i64 {
        match self.interval {
            false if year <= 0 => 1 - year,
            _ => year,
        }
    }

    fn offset(&self) -> i64 {
        match self.instant {
            Some((zone, us)) => i64::from(zone.offset_at_utc(us)),
            None => 0,
        }
    }

    fn in_calendar(&self) -> Result<()> {
        match self.interval {
            false => Ok(()),
            true => Err(PgError::new(
                sqlstate::INVALID_DATETIME_FORMAT,
                "invalid format specification for an interval value",
            )
            .with_hint("Intervals are not tied to specific calendar dates.")),
        }
    }
}

fn cased(name: &str, case: Case) -> String {
    match case {
        Case::Upper => name.to_ascii_uppercase(),
        Case::Lower => name.to_ascii_lowercase(),
        Case::Title => name.to_string(),
    }
}

impl TimePattern {
    /// Compiles a pattern. Every text is one.
    pub fn new(pattern: &str) -> Self {
        Self {
            nodes: pattern::parse(pattern),
            empty: pattern.is_empty(),
        }
    }

    /// Prints a time.
    pub fn write(&self, parts: &Parts, out: &mut String) -> Result<()> {
        for node in &self.nodes {
            match *node {
                Node::Text(text, _) => out.push(text),
                Node::Field {
                    key, case, marks, ..
                } => write_field(key, case, marks, parts, out)?,
            }
        }
        Ok(())
    }
}

fn write_field(
    field: Field,
    case: Case,
    marks: Marks,
    parts: &Parts,
    out: &mut String,
) -> Result<()> {
    let start = out.len();
    match field {
        Field::HalfDay { points } => {
            let name = match (parts.hour % 24 >= 12, points) {
                (false, false) => "AM",
                (false, true) => "A.M.",
                (true, false) => "PM",
                (true, true) => "P.M.",
            };
            out.push_str(&cased(name, case));
            return Ok(());
        }
        Field::Era { points } => {
            parts.in_calendar()?;
            let name = match (parts.year <= 0, points) {
                (false, false) => "AD",
                (false, true) => "A.D.",
                (true, false) => "BC",
                (true, true) => "B.C.",
            };
            out.push_str(&cased(name, case));
            return Ok(());
        }
        Field::MonthName | Field::MonthAbbreviation => {
            parts.in_calendar()?;
            let name = at(&MONTHS, parts.month - 1);
            write_name(name, field == Field::MonthName, case, marks, out);
            return Ok(());
        }
        Field::DayName | Field::DayAbbreviation => {
            parts.in_calendar()?;
            let name = DAYS.get(parts.weekday).copied().unwrap_or_default();
            write_name(name, field == Field::DayName, case, marks, out);
            return Ok(());
        }
        Field::RomanMonth => {
            write_roman(parts, case, marks, out);
            return Ok(());
        }
        Field::Zone | Field::ZoneHour | Field::ZoneMinute | Field::Offset => {
            parts.in_calendar()?;
            write_zone(field, case, marks, parts, out);
            return Ok(());
        }
        Field::Exact => return Ok(()),
        Field::DayOfWeek | Field::IsoDayOfWeek => {
            parts.in_calendar()?;
            let day = match (field, parts.weekday) {
                (Field::IsoDayOfWeek, 0) => 7,
                (Field::IsoDayOfWeek, day) => day,
                (_, day) => day + 1,
            };
            number(out, day as i64, 0);
        }
        Field::Quarter if parts.month == 0 => return Ok(()),
        Field::YearWithComma => {
            let year = parts.shown_year(parts.year);
            let _ = write!(out, "{},{:03}", year / 1_000, year % 1_000);
        }
        _ => {
            let (value, width) = plain_number(field, marks, parts);
            number(out, value, width);
        }
    }
    if let Some(ordinal) = marks.ordinal {
        let ending = ordinal.suffix(out.get(start..).unwrap_or_default());
        out.push_str(ending);
    }
    Ok(())
}

/// A field that is a number of one width.
fn plain_number(field: Field, marks: Marks, parts: &Parts) -> (i64, usize) {
    let fixed = |digits| if marks.fill { 0 } else { digits };
    let signed = |value, digits| (value, width(value, digits, marks));
    let iso_year = || julian::iso_year(parts.year, parts.month, parts.day);
    match field {
        Field::Hour12 => {
            let hour = match parts.hour % 12 {
                0 => 12,
                hour => hour,
            };
            (hour, width(parts.hour, 2, marks))
        }
        Field::Hour24 => signed(parts.hour, 2),
        Field::Minute => signed(parts.minute, 2),
        Field::Second => signed(parts.second, 2),
        Field::SecondOfDay => (parts.hour * 3_600 + parts.minute * 60 + parts.second, 0),
        // These are not trimmed: .5 is not .05.
        Field::Fraction(digits) => {
            let cut = 6_usize.saturating_sub(digits);
            let cut = u32::try_from(cut).unwrap_or_default();
            (parts.micros / 10_i64.pow(cut), digits)
        }
        Field::Millisecond => (parts.micros / 1_000, 3),
        Field::Microsecond => (parts.micros, 6),
        Field::Month => signed(parts.month, 2),
        Field::Day => (parts.day, fixed(2)),
        Field::DayOfYear => (parts.day_of_year, fixed(3)),
        Field::IsoDayOfYear => {
            let day = julian::iso_day_of_year(parts.year, parts.month, parts.day);
            (day, fixed(3))
        }
        Field::WeekOfYear => ((parts.day_of_year - 1) / 7 + 1, fixed(2)),
        Field::WeekOfMonth => ((parts.day - 1) / 7 + 1, 0),
        Field::IsoWeek => {
            let week = julian::iso_week(parts.year, parts.month, parts.day);
            (week, fixed(2))
        }
        Field::Quarter => ((parts.month - 1) / 3 + 1, 0),
        Field::Century => {
            let century = match parts.interval {
                true => parts.year / 100,
                false if parts.year > 0 => (parts.year - 1) / 100 + 1,
                false => parts.year / 100 - 1,
            };
            match (-99..=99).contains(&century) {
                true => signed(century, 2),
                false => (century, 0),
            }
        }
        Field::Julian => (julian::number(parts.year, parts.month, parts.day), 0),
        Field::Year(digits) | Field::IsoYear(digits) => {
            let year = match field {
                Field::Year(_) => parts.year,
                _ => iso_year(),
            };
            let year = parts.shown_year(year);
            let shown = match digits {
                1 => year % 10,
                2 => year % 100,
                3 => year % 1_000,
                _ => year,
            };
            match digits {
                1 => (shown, 1),
                // The sign of the year decides, which is not the ISO year's.
                _ => (shown, width(parts.shown_year(parts.year), digits, marks)),
            }
        }
        _ => (0, 0),
    }
}

/// A number padded with zeros, its sign counting as a digit.
fn number(out: &mut String, value: i64, width: usize) {
    let _ = write!(out, "{value:0width$}");
}

fn at(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index).copied())
        .unwrap_or_default()
}

fn write_name(name: &str, full: bool, case: Case, marks: Marks, out: &mut String) {
    if !full {
        let short = name.get(..ABBREVIATION).unwrap_or(name);
        out.push_str(&cased(short, case));
        return;
    }
    let width = match marks.fill || marks.localized {
        true => 0,
        false => NAME_WIDTH,
    };
    let _ = write!(out, "{:width$}", cased(name, case));
}

fn write_roman(parts: &Parts, case: Case, marks: Marks, out: &mut String) {
    let position = match parts.month {
        0 if parts.year == 0 => return,
        // Whole years of an interval.
        0 if parts.year > 0 => 0,
        0 => 11,
        month if month < 0 => -(month + 1),
        month => 12 - month,
    };
    let width = if marks.fill { 0 } else { ROMAN_WIDTH };
    let _ = write!(out, "{:width$}", cased(at(&ROMAN_MONTHS, position), case));
}

fn write_zone(field: Field, case: Case, marks: Marks, parts: &Parts, out: &mut String) {
    let offset = parts.offset();
    let sign = if offset >= 0 { '+' } else { '-' };
    let (hours, minutes) = (offset.abs() / 3_600, offset.abs() % 3_600 / 60);
    let _ = match field {
        Field::ZoneHour => write!(out, "{sign}{hours:02}"),
        Field::ZoneMinute => write!(out, "{minutes:02}"),
        Field::Offset => {
            let width = if marks.fill { 0 } else { 2 };
            let written = write!(out, "{sign}{hours:0width$}");
            match offset % 3_600 {
                0 => written,
                _ => write!(out, ":{minutes:02}"),
            }
        }
        _ => {
            if let Some((zone, us)) = parts.instant {
                let name = zone.abbreviation_at_utc(us);
                match case {
                    Case::Lower => out.push_str(&name.to_ascii_lowercase()),
                    _ => out.push_str(&name),
                }
            }
            Ok(())
        }
    };
}
