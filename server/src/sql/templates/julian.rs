//! Julian day numbers and ISO weeks, also of dates that are none: an interval has no month 1 to 12.
//!
//! `number` is PostgreSQL's `date2j`, whose answers for such dates are what `to_char(interval, 'J')` prints.

/// Julian day of 1970-01-01.
const UNIX_EPOCH: i64 = 2_440_588;

/// Julian day number of a year, month and day, by truncating division.
pub fn number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month > 2 {
        true => (year + 4_800, month + 1),
        false => (year + 4_799, month + 13),
    };
    let century = year / 100;
    year * 365 - 32_167 + year / 4 - century + century / 4 + 7_834 * month / 256 + day
}

/// Days since 1970-01-01.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    number(year, month, day) - UNIX_EPOCH
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let (year, month, day) = crate::pgwire::encode::civil_from_days(days);
    (year, i64::from(month), i64::from(day))
}

/// Year, month and day of a Julian day number.
pub fn civil(number: i64) -> (i64, i64, i64) {
    civil_from_days(number - UNIX_EPOCH)
}

/// Day of the week of a number of days since 1970-01-01; 0 is Sunday.
pub fn weekday(days: i64) -> usize {
    usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default()
}

/// Days since Monday of a Julian day number.
fn since_monday(number: i64) -> i64 {
    number.rem_euclid(7)
}

/// Julian day of the Monday of an ISO week.
pub fn iso_week_start(year: i64, week: i64) -> i64 {
    // The fourth of January is in the first week.
    let fourth = number(year, 1, 4);
    (week - 1) * 7 + fourth - since_monday(fourth)
}

/// The ISO year of a date.
pub fn iso_year(year: i64, month: i64, day: i64) -> i64 {
    let date = number(year, month, day);
    if date < iso_week_start(year, 1) {
        year - 1
    } else if date >= iso_week_start(year + 1, 1) {
        year + 1
    } else {
        year
    }
}

/// The ISO week of a date.
pub fn iso_week(year: i64, month: i64, day: i64) -> i64 {
    let start = iso_week_start(iso_year(year, month, day), 1);
    (number(year, month, day) - start) / 7 + 1
}

/// The day of the ISO year of a date.
pub fn iso_day_of_year(year: i64, month: i64, day: i64) -> i64 {
    number(year, month, day) - iso_week_start(iso_year(year, month, day), 1) + 1
}
