//! Dates, times and intervals as PostgreSQL prints them with `DateStyle` ISO in UTC.

const US_PER_DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// `date`: days from 2000-01-01.
pub fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        days => {
            let (text, era) = day(i64::from(days));
            format!("{text}{era}")
        }
    }
}

/// `time`: microseconds from midnight.
pub fn time(us: i64) -> String {
    let fraction = fraction(us % 1_000_000);
    let seconds = us / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}{fraction}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `timestamp` and `timestamptz`: microseconds from 2000-01-01, then the zone's suffix.
pub fn timestamp(us: i64, zone: &str) -> String {
    match us {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        us => {
            let (text, era) = day(us.div_euclid(US_PER_DAY));
            format!("{text} {}{zone}{era}", time(us.rem_euclid(US_PER_DAY)))
        }
    }
}

/// `interval`: microseconds, days and months, each with its own sign.
pub fn interval(bytes: &[u8]) -> Result<String, String> {
    let (us, rest) = bytes.split_first_chunk::<8>().ok_or("interval cut short")?;
    let (days, rest) = rest.split_first_chunk::<4>().ok_or("interval cut short")?;
    let months: [u8; 4] = rest.try_into().map_err(|_| "interval has 16 bytes")?;
    let (us, days) = (i64::from_be_bytes(*us), i32::from_be_bytes(*days));
    let months = i32::from_be_bytes(months);
    let mut parts = Vec::new();
    // After a negative part PostgreSQL marks the next positive one with a plus.
    let mut before_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let plus = if before_negative && value > 0 {
                "+"
            } else {
                ""
            };
            let plural = if value == 1 { "" } else { "s" };
            parts.push(format!("{plus}{value} {unit}{plural}"));
            before_negative = value < 0;
        }
    }
    if us != 0 || parts.is_empty() {
        let sign = match us {
            us if us < 0 => "-",
            _ if before_negative => "+",
            _ => "",
        };
        let us = us.unsigned_abs() as i64;
        parts.push(format!("{sign}{}", time(us)));
    }
    Ok(parts.join(" "))
}

fn fraction(us: i64) -> String {
    if us == 0 {
        return String::new();
    }
    let digits = format!("{us:06}");
    format!(".{}", digits.trim_end_matches('0'))
}

/// The day's text and ` BC` where it applies (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn day(days: i64) -> (String, &'static str) {
    let shifted = days + EPOCH_DAYS + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if year > 0 {
        (format!("{year:04}-{month:02}-{day:02}"), "")
    } else {
        (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC")
    }
}
