//! The session settings that decide how values look, with PostgreSQL's defaults.
//!
//! Owns their types and the names `SET` and `SHOW` use for them. It never holds a session: callers
//! pass a copy of what was in force when the statement began.

use chrono::{NaiveDateTime, Offset, TimeDelta, TimeZone as _};
use chrono_tz::{OffsetComponents, OffsetName, TZ_VARIANTS, Tz};

use super::calendar::SECOND_US;

/// Output form half of `DateStyle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateOutput {
    /// `2026-01-31`.
    #[default]
    Iso,
    /// `01/31/2026`.
    Sql,
    /// `01-31-2026`, `Sat Jan 31 10:00:00 2026`.
    Postgres,
    /// `31.01.2026`.
    German,
}

/// Field order half of `DateStyle`; also how ambiguous input is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateOrder {
    /// Month, day, year.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// `DateStyle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DateStyle {
    /// Output form.
    pub output: DateOutput,
    /// Field order.
    pub order: DateOrder,
}

/// `IntervalStyle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`.
    #[default]
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`.
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`.
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`.
    Iso8601,
}

/// `bytea_output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteaOutput {
    /// `\x00ff`.
    #[default]
    Hex,
    /// `\000\377`.
    Escape,
}

/// Everything that decides the text form of values; the default is PostgreSQL's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatSettings {
    /// `DateStyle`.
    pub date_style: DateStyle,
    /// `TimeZone`.
    pub time_zone: TimeZone,
    /// `IntervalStyle`.
    pub interval_style: IntervalStyle,
    /// `extra_float_digits`, -15 to 3; above 0 floats print their shortest exact form.
    pub extra_float_digits: i32,
    /// `bytea_output`.
    pub bytea_output: ByteaOutput,
}

impl Default for FormatSettings {
    fn default() -> Self {
        Self {
            date_style: DateStyle::default(),
            time_zone: TimeZone::default(),
            interval_style: IntervalStyle::default(),
            extra_float_digits: 1,
            bytea_output: ByteaOutput::default(),
        }
    }
}

/// A session's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeZone {
    /// A zone of the IANA database.
    Named(Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::Named(Tz::UTC)
    }
}

impl TimeZone {
    /// The zone of an IANA name in any case (`europe/berlin`), or of an offset (`+05:30`, `-8`) that
    /// counts east of Greenwich as ISO 8601 does.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(seconds) = parse_offset(text) {
            return Some(Self::Fixed(seconds));
        }
        if let Ok(zone) = text.parse::<Tz>() {
            return Some(Self::Named(zone));
        }
        TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(text))
            .map(|zone| Self::Named(*zone))
    }

    /// What `SHOW TimeZone` prints; a fixed offset has PostgreSQL's POSIX form `<+05:30>-05:30`.
    pub fn name(&self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_string(),
            Self::Fixed(seconds) => {
                format!("<{}>{}", offset_text(*seconds), offset_text(-*seconds))
            }
        }
    }

    /// The zone as Arrow writes it in a timestamp's type.
    pub fn arrow_name(&self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_string(),
            Self::Fixed(seconds) => {
                let sign = if *seconds < 0 { '-' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }

    /// Whether the offset is zero at all times.
    pub fn is_utc(&self) -> bool {
        matches!(
            self,
            Self::Named(Tz::UTC | Tz::Etc__UTC | Tz::GMT) | Self::Fixed(0)
        )
    }

    /// Seconds east of Greenwich at `utc_us`, microseconds since 1970 UTC.
    pub fn offset_at_utc(&self, utc_us: i64) -> i32 {
        match self {
            Self::Fixed(seconds) => *seconds,
            Self::Named(zone) => zone
                .offset_from_utc_datetime(&naive(utc_us))
                .fix()
                .local_minus_utc(),
        }
    }

    /// Whether summer time is in force at `utc_us`.
    pub fn is_summer_time_at_utc(&self, utc_us: i64) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&naive(utc_us));
                !offset.dst_offset().is_zero()
            }
        }
    }

    /// Abbreviation in force at `utc_us` (`CET`, `+03`), as the non-ISO date styles print it.
    pub fn abbreviation_at_utc(&self, utc_us: i64) -> String {
        match self {
            Self::Fixed(seconds) => offset_text(*seconds),
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&naive(utc_us));
                let name = offset.abbreviation().map(str::to_string);
                name.unwrap_or_else(|| offset_text(offset.fix().local_minus_utc()))
            }
        }
    }

    /// Seconds east of Greenwich at the wall-clock time `local_us`.
    ///
    /// As in PostgreSQL a time that a change to summer time skips is read with the offset before the
    /// change, and one that occurs twice as its second, standard-time occurrence.
    pub fn offset_at_local(&self, local_us: i64) -> i32 {
        let Self::Named(zone) = self else {
            return self.offset_at_utc(local_us);
        };
        match zone.offset_from_local_datetime(&naive(local_us)) {
            chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
            chrono::LocalResult::Ambiguous(_, later) => later.fix().local_minus_utc(),
            // The offset in force a day earlier is the one before the change.
            chrono::LocalResult::None => {
                self.offset_at_utc(local_us.saturating_sub(86_400 * SECOND_US))
            }
        }
    }
}

/// chrono's calendar ends before PostgreSQL's; the ends stand for what lies beyond.
fn naive(us: i64) -> NaiveDateTime {
    let margin = TimeDelta::days(2);
    match chrono::DateTime::from_timestamp_micros(us) {
        Some(time) => time
            .naive_utc()
            .clamp(NaiveDateTime::MIN + margin, NaiveDateTime::MAX - margin),
        None if us < 0 => NaiveDateTime::MIN + margin,
        None => NaiveDateTime::MAX - margin,
    }
}

fn offset_text(seconds: i32) -> String {
    let mut out = bytes::BytesMut::new();
    super::datetime::write_offset(seconds, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Seconds of `+05`, `-05:30`, `+0530`, `+05:30:15` (and `+5`); at most 15:59:59 as in PostgreSQL.
pub fn parse_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes() {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let number = |part: &[u8]| -> Option<i32> {
        if part.is_empty() || part.len() > 2 {
            return None;
        }
        part.iter().try_fold(0, |value, byte| {
            byte.is_ascii_digit()
                .then(|| value * 10 + i32::from(byte - b'0'))
        })
    };
    let mut parts = [0_i32; 3];
    if digits.contains(&b':') {
        let mut fields = digits.split(|byte| *byte == b':');
        for (slot, field) in parts.iter_mut().zip(fields.by_ref()) {
            *slot = number(field)?;
        }
        if fields.next().is_some() {
            return None;
        }
    } else {
        // `+530` is 5:30: minutes and seconds are the last pairs.
        let hours = if digits.len() % 2 == 1 {
            1
        } else {
            2.min(digits.len())
        };
        let (first, rest) = digits.split_at_checked(hours)?;
        let mut fields = std::iter::once(first).chain(rest.chunks(2));
        for (slot, field) in parts.iter_mut().zip(fields.by_ref()) {
            *slot = number(field)?;
        }
        if fields.next().is_some() {
            return None;
        }
    }
    let [hours, minutes, seconds] = parts;
    (hours < 16 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3_600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::{TimeZone, parse_offset};

    #[test]
    fn offsets_and_zones_are_read() {
        assert_eq!(parse_offset("+05:30"), Some(19_800));
        assert_eq!(parse_offset("-0800"), Some(-28_800));
        assert_eq!(parse_offset("+5"), Some(18_000));
        assert_eq!(parse_offset("+530"), Some(19_800));
        assert_eq!(parse_offset("+16"), None);
        assert_eq!(parse_offset("5"), None);
        assert_eq!(
            TimeZone::parse("+05:30").map(|zone| zone.name()).as_deref(),
            Some("<+05:30>-05:30")
        );
        assert_eq!(
            TimeZone::parse("europe/berlin")
                .map(|z| z.name())
                .as_deref(),
            Some("Europe/Berlin")
        );
    }

    #[test]
    fn summer_time_gaps_and_overlaps_follow_postgresql() {
        let berlin = TimeZone::parse("Europe/Berlin").unwrap_or_default();
        // 2026-03-29 02:30 does not exist, 2026-10-25 02:30 exists twice.
        assert_eq!(berlin.offset_at_local(1_774_751_400_000_000), 3_600);
        assert_eq!(berlin.offset_at_local(1_792_895_400_000_000), 3_600);
        assert_eq!(berlin.offset_at_utc(i64::MAX), 3_600);
    }
}
