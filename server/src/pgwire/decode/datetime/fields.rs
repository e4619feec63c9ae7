//! Splits date/time text into fields, after PostgreSQL's `ParseDateTime` and `DecodeDateTime`.
//!
//! Owns the tokens: which number is a day, which word a month or a zone. It checks no ranges of dates;
//! its caller does, and it knows no session beyond the field order it is given.

use chrono_tz::Tz;

use super::super::super::encode::calendar::SECOND_US;
use super::super::super::encode::settings::parse_offset;
use super::super::super::encode::{DateOrder, TimeZone};
use super::{ValueError, civil_from_julian, out_of_range, syntax};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// Zone abbreviations, in seconds east of Greenwich, as PostgreSQL's default set has them.
pub const ABBREVIATIONS: [(&str, i32); 29] = [
    ("z", 0),
    ("zulu", 0),
    ("utc", 0),
    ("ut", 0),
    ("gmt", 0),
    ("wet", 0),
    ("west", 3_600),
    ("bst", 3_600),
    ("cet", 3_600),
    ("mez", 3_600),
    ("cest", 7_200),
    ("cetdst", 7_200),
    ("mesz", 7_200),
    ("eet", 7_200),
    ("eest", 10_800),
    ("msk", 10_800),
    ("est", -18_000),
    ("edt", -14_400),
    ("cst", -21_600),
    ("cdt", -18_000),
    ("mst", -25_200),
    ("mdt", -21_600),
    ("pst", -28_800),
    ("pdt", -25_200),
    ("akst", -32_400),
    ("akdt", -28_800),
    ("hst", -36_000),
    ("jst", 32_400),
    ("kst", 32_400),
];

/// A word that stands for a whole value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
    Now,
    /// A day by its distance from today; it can have a time.
    Day(i64),
}

/// What was found in a date/time text.
#[derive(Debug, Default)]
pub struct Fields {
    pub special: Option<Special>,
    /// As written; `bc` says on which side of 1 AD.
    pub year: Option<i64>,
    pub month: Option<u32>,
    pub day: Option<u32>,
    pub bc: bool,
    /// Microseconds since midnight.
    pub time_us: Option<i64>,
    /// Whether the time has an hour, minute or second that no clock shows.
    pub time_invalid: bool,
    pub zone: Option<TimeZone>,
}

/// Finds the fields of `text`.
///
/// # Errors
/// 22007 for what is no date/time, 22008 for numbers too large for any field.
pub fn parse(text: &str, name: &str, order: DateOrder) -> Result<Fields, ValueError> {
    let mut scanner = Scanner {
        rest: text,
        fields: Fields::default(),
        order,
        time_only: name == "time",
        short_year: false,
        afternoon: None,
    };
    match scanner.run() {
        Ok(()) => {}
        Err(Refusal::Syntax) => return Err(syntax(name, text)),
        Err(Refusal::Range) => return Err(out_of_range(text)),
        Err(Refusal::Displacement) => {
            let message = format!("time zone displacement out of range: \"{text}\"");
            return Err(ValueError::new("22009", message));
        }
        Err(Refusal::Zone(zone)) => {
            let zone = zone.to_ascii_lowercase();
            return Err(ValueError::new(
                "22023",
                format!("time zone \"{zone}\" not recognized"),
            ));
        }
    }
    Ok(scanner.fields)
}

enum Refusal {
    Syntax,
    Range,
    Zone(String),
    Displacement,
}

struct Scanner<'a> {
    rest: &'a str,
    fields: Fields,
    order: DateOrder,
    /// Whether bare digits are a time, not a date.
    time_only: bool,
    /// Whether the year had one or two digits.
    short_year: bool,
    afternoon: Option<bool>,
}

impl<'a> Scanner<'a> {
    fn run(&mut self) -> Result<(), Refusal> {
        let mut any = false;
        loop {
            self.rest = self
                .rest
                .trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
            let Some(first) = self.rest.bytes().next() else {
                break;
            };
            any = true;
            match first {
                b'0'..=b'9' => self.number()?,
                b'+' | b'-' => self.signed()?,
                byte if byte.is_ascii_alphabetic() => self.word()?,
                _ => return Err(Refusal::Syntax),
            }
        }
        let fields = &mut self.fields;
        let twice = match fields.special {
            None => false,
            Some(Special::Day(_)) => fields.day.is_some(),
            Some(_) => fields.day.is_some() || fields.time_us.is_some(),
        };
        if !any || twice {
            return Err(Refusal::Syntax);
        }
        if let Some(year) = &mut fields.year
            && self.short_year
            && !fields.bc
        {
            // Two digits mean the years 1970 to 2069.
            *year += if *year < 70 { 2_000 } else { 1_900 };
        }
        if let (Some(afternoon), Some(us)) = (self.afternoon, &mut fields.time_us) {
            const HALF_DAY: i64 = 12 * 3_600 * SECOND_US;
            if *us >= 13 * 3_600 * SECOND_US {
                fields.time_invalid = true;
            }
            *us = *us % HALF_DAY + if afternoon { HALF_DAY } else { 0 };
        }
        Ok(())
    }

    /// Takes the longest prefix of bytes that `keep` accepts.
    fn take(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let length = self.rest.bytes().take_while(|byte| keep(*byte)).count();
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        head
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.rest.as_bytes().get(ahead).copied().unwrap_or(0)
    }

    fn number(&mut self) -> Result<(), Refusal> {
        let digits = self.take(|byte| byte.is_ascii_digit());
        match self.peek(0) {
            b':' => return self.clock(digits),
            b'.' if (self.has_date() || self.time_only) && digits.len() == 6 => {
                let fraction = self.fraction()?;
                return self.compact_time(digits, fraction);
            }
            separator @ (b'-' | b'/' | b'.')
                if self.peek(1).is_ascii_alphanumeric() && !self.has_date() =>
            {
                return self.separated_date(digits, separator);
            }
            _ => {}
        }
        match digits.len() {
            4 | 6 if self.time_only => self.compact_time(digits, 0),
            8 if !self.has_date() => self.compact_date(digits, 4),
            6 if !self.has_date() && self.fields.month.is_none() => self.compact_date(digits, 2),
            4 | 6 if self.has_date() => self.compact_time(digits, 0),
            1 | 2 if self.fields.day.is_none() => {
                self.fields.day = Some(parse_small(digits)?);
                Ok(())
            }
            _ if self.fields.year.is_none() => self.set_year(digits),
            _ => Err(Refusal::Syntax),
        }
    }

    fn has_date(&self) -> bool {
        self.fields.year.is_some() && self.fields.month.is_some() && self.fields.day.is_some()
    }

    fn set_year(&mut self, digits: &str) -> Result<(), Refusal> {
        let year: i64 = digits.parse().map_err(|_| Refusal::Range)?;
        self.fields.year = Some(year);
        self.short_year = digits.len() <= 2;
        Ok(())
    }

    fn compact_date(&mut self, digits: &str, year_digits: usize) -> Result<(), Refusal> {
        let (year, rest) = digits
            .split_at_checked(year_digits)
            .ok_or(Refusal::Syntax)?;
        let (month, day) = rest.split_at_checked(2).ok_or(Refusal::Syntax)?;
        self.set_year(year)?;
        self.fields.month = Some(parse_small(month)?);
        self.fields.day = Some(parse_small(day)?);
        Ok(())
    }

    fn compact_time(&mut self, digits: &str, fraction: i64) -> Result<(), Refusal> {
        let mut parts = digits.as_bytes().chunks(2).map(|part| {
            part.iter()
                .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
        });
        let mut next = || parts.next().unwrap_or(0);
        let (hour, minute, second) = (next(), next(), next());
        self.set_time(hour, minute, second, fraction)
    }

    /// A date with separators, whose first part was read.
    fn separated_date(&mut self, first: &str, separator: u8) -> Result<(), Refusal> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric();
        let part = |scanner: &mut Self| {
            if scanner.peek(0) != separator {
                return Err(Refusal::Syntax);
            }
            scanner.rest = scanner.rest.get(1..).unwrap_or_default();
            let digits = scanner.peek(0).is_ascii_digit();
            // A `T` behind the last number begins the time.
            Ok(scanner.take(|byte| is_part(byte) && byte.is_ascii_digit() == digits))
        };
        let second = part(self)?;
        let third = part(self)?;
        if let Some(month) = month_of(second) {
            self.fields.month = Some(month);
            let (year, day) = if first.len() >= 3 {
                (first, third)
            } else {
                (third, first)
            };
            self.fields.day = Some(parse_small(day)?);
            return self.set_year(year);
        }
        let (year, month, day) = match self.order {
            _ if first.len() >= 3 => (first, second, third),
            DateOrder::Mdy => (third, first, second),
            DateOrder::Dmy => (third, second, first),
            DateOrder::Ymd => (first, second, third),
        };
        self.fields.month = Some(parse_small(month)?);
        self.fields.day = Some(parse_small(day)?);
        self.set_year(year)
    }

    /// The day and year of `Jan-02-2026`, whose month was read.
    fn behind_month(&mut self) -> Result<(), Refusal> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        let day = self.take(|byte| byte.is_ascii_digit());
        self.fields.day = Some(parse_small(day)?);
        if !matches!(self.peek(0), b'-' | b'/' | b'.') {
            return Err(Refusal::Syntax);
        }
        self.rest = self.rest.get(1..).unwrap_or_default();
        let year = self.take(|byte| byte.is_ascii_digit());
        if year.is_empty() {
            return Err(Refusal::Syntax);
        }
        self.set_year(year)
    }

    /// A time whose hour was read.
    fn clock(&mut self, hour: &str) -> Result<(), Refusal> {
        let number = |digits: &str| digits.parse::<i64>().map_err(|_| Refusal::Syntax);
        let hour = number(hour)?;
        let part = |scanner: &mut Self| {
            scanner.rest = scanner.rest.get(1..).unwrap_or_default();
            number(scanner.take(|byte| byte.is_ascii_digit()))
        };
        let minute = part(self)?;
        let second = if self.peek(0) == b':' { part(self)? } else { 0 };
        let fraction = if self.peek(0) == b'.' {
            self.fraction()?
        } else {
            0
        };
        self.set_time(hour, minute, second, fraction)
    }

    /// Microseconds of a fraction that begins with its point, rounded.
    fn fraction(&mut self) -> Result<i64, Refusal> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        let digits = self
            .take(|byte| byte.is_ascii_digit())
            .bytes()
            .map(|digit| i64::from(digit - b'0'));
        let seven = digits
            .chain(std::iter::repeat(0))
            .take(7)
            .fold(0, |value, digit| value * 10 + digit);
        Ok((seven + 5) / 10)
    }

    fn set_time(&mut self, hour: i64, minute: i64, second: i64, us: i64) -> Result<(), Refusal> {
        if self.fields.time_us.is_some() {
            return Err(Refusal::Syntax);
        }
        let fields = &mut self.fields;
        // 24:00:00 and a leap second are times of the clock, what lies behind them is not.
        fields.time_invalid = hour > 24
            || minute > 59
            || second > 60
            || (hour == 24 && (minute > 0 || second > 0 || us > 0));
        fields.time_us = Some(if fields.time_invalid {
            0
        } else {
            (hour * 3_600 + minute * 60 + second) * SECOND_US + us
        });
        Ok(())
    }

    /// An offset behind a time, or `-infinity`.
    fn signed(&mut self) -> Result<(), Refusal> {
        let sign = self.peek(0);
        if self.peek(1).is_ascii_alphabetic() {
            self.rest = self.rest.get(1..).unwrap_or_default();
            let word = self.take(|byte| byte.is_ascii_alphabetic());
            if !["infinity", "inf"]
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name))
            {
                return Err(Refusal::Syntax);
            }
            self.fields.special = Some(if sign == b'-' {
                Special::MinusInfinity
            } else {
                Special::Infinity
            });
            return Ok(());
        }
        if self.fields.time_us.is_none() && !self.has_date() {
            return Err(Refusal::Syntax);
        }
        let start = self.rest;
        self.rest = self.rest.get(1..).unwrap_or_default();
        let body = self.take(|byte| byte.is_ascii_digit() || byte == b':');
        let text = start.get(..=body.len()).unwrap_or_default();
        let seconds = parse_offset(text).ok_or({
            if body.is_empty() {
                Refusal::Syntax
            } else {
                Refusal::Displacement
            }
        })?;
        self.fields.zone = Some(TimeZone::Fixed(seconds));
        Ok(())
    }

    fn word(&mut self) -> Result<(), Refusal> {
        // Zone names go on over slashes and, behind those, digits and signs: `Etc/GMT+3`.
        let length = self
            .rest
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let zone_length = self
            .rest
            .bytes()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'+' | b'-')
            })
            .count();
        let zone_name = self.rest.get(..zone_length).unwrap_or_default();
        if zone_name.contains('/') {
            self.rest = self.rest.get(zone_length..).unwrap_or_default();
            let zone =
                TimeZone::parse(zone_name).ok_or_else(|| Refusal::Zone(zone_name.to_string()))?;
            self.fields.zone = Some(zone);
            return Ok(());
        }
        let word = self
            .rest
            .get(..length)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let original = self.rest.get(..length).unwrap_or_default();
        self.rest = self.rest.get(length..).unwrap_or_default();
        match word.as_str() {
            "t" if self.has_date() && self.peek(0).is_ascii_digit() => {}
            "j" if self.peek(0).is_ascii_digit() && self.fields.day.is_none() => {
                let digits = self.take(|byte| byte.is_ascii_digit());
                let julian: i64 = parse_small(digits)?.into();
                let (year, month, day) = civil_from_julian(julian);
                self.fields.bc = year <= 0;
                self.fields.year = Some(if year <= 0 { 1 - year } else { year });
                (self.fields.month, self.fields.day) = (Some(month), Some(day));
            }
            "am" => self.afternoon = Some(false),
            "pm" => self.afternoon = Some(true),
            "bc" => self.fields.bc = true,
            "ad" | "at" | "on" => {}
            "infinity" | "inf" => self.fields.special = Some(Special::Infinity),
            "epoch" => self.fields.special = Some(Special::Epoch),
            "allballs" => self.set_time(0, 0, 0, 0)?,
            "now" => self.fields.special = Some(Special::Now),
            "today" => self.fields.special = Some(Special::Day(0)),
            "tomorrow" => self.fields.special = Some(Special::Day(1)),
            "yesterday" => self.fields.special = Some(Special::Day(-1)),
            _ => {
                if let Some(month) = month_of(&word) {
                    // `Jan 2`: a bare number before the month was its day already.
                    self.fields.month = Some(month);
                    if matches!(self.peek(0), b'-' | b'/' | b'.') {
                        return self.behind_month();
                    }
                } else if let Some(zone) = zone_of(&word, original) {
                    self.fields.zone = Some(zone);
                } else if !is_name(&word, &WEEKDAYS, 3) {
                    return Err(Refusal::Syntax);
                }
            }
        }
        Ok(())
    }
}

fn zone_of(word: &str, original: &str) -> Option<TimeZone> {
    ABBREVIATIONS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, seconds)| match seconds {
            0 => TimeZone::Named(Tz::UTC),
            seconds => TimeZone::Fixed(*seconds),
        })
        .or_else(|| TimeZone::parse(original))
}

fn is_name(word: &str, names: &[&str], short: usize) -> bool {
    names
        .iter()
        .any(|name| *name == word || name.get(..short) == Some(word))
}

fn month_of(word: &str) -> Option<u32> {
    let word = word.to_ascii_lowercase();
    let named =
        |name: &&str| is_name(&word, &[name], 3) || (word == "sept" && **name == *"september");
    MONTHS.iter().position(named).map(|index| index as u32 + 1)
}

fn parse_small(digits: &str) -> Result<u32, Refusal> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Syntax);
    }
    digits.parse().map_err(|_| Refusal::Range)
}
