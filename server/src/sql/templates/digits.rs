//! Numbers cut to a picture: rounding, overflow, Roman numbers and exponents, before anything is laid out.

use super::number::{Digits, Picture};
use crate::error::{PgError, Result, sqlstate};

/// Decimal digits that a `double precision` holds.
const DOUBLE_DIGITS: usize = 15;

/// Decimal digits that a `real` holds.
const REAL_DIGITS: usize = 6;

/// Largest Roman number.
const ROMAN_MAX: i64 = 3_999;

impl Picture {
    /// An exact number: `value / 10^scale`.
    pub fn decimal(&self, value: i128, scale: i8) -> Result<Digits> {
        let negative = value < 0;
        let digits = value.unsigned_abs().to_string();
        let scale = i64::from(scale);
        if self.roman {
            let whole = fixed(&digits, scale, 0);
            let value: i64 = whole.parse().unwrap_or(i64::MAX);
            return self.roman(if negative { -value } else { value });
        }
        if self.exponent {
            let sign = if negative { '-' } else { ' ' };
            let number = scientific(&digits, scale, self.behind);
            return Ok(self.whole(format!("{sign}{number}")));
        }
        let shift = i64::try_from(self.shift).unwrap_or_default();
        let number = fixed(&digits, scale - shift, self.behind);
        let zero = number.bytes().all(|digit| matches!(digit, b'0' | b'.'));
        Ok(self.fit(number, negative && !zero, self.behind))
    }

    /// A `double precision`.
    pub fn double(&self, value: f64) -> Result<Digits> {
        self.float(value, DOUBLE_DIGITS)
    }

    /// A `real`.
    pub fn real(&self, value: f32) -> Result<Digits> {
        // PostgreSQL shifts a real as a real.
        let shift = i32::try_from(self.shift).unwrap_or(i32::MAX);
        let shifted = (f64::from(value) * 10_f64.powi(shift)) as f32;
        let unshifted = if self.roman || self.exponent {
            value
        } else {
            shifted
        };
        let picture = Self {
            shift: 0,
            before: self.before + self.shift,
            ..*self
        };
        picture.float(f64::from(unshifted), REAL_DIGITS)
    }

    fn float(&self, value: f64, digits_max: usize) -> Result<Digits> {
        if self.roman {
            let rounded = value.round_ties_even();
            // What no integer holds is no Roman number, either.
            return match rounded.abs() <= f64::from(i32::MAX) {
                true => self.roman(rounded as i64),
                false => self.roman(0),
            };
        }
        if self.exponent {
            return Ok(self.whole(match value.is_finite() {
                true => exponential(value, self.behind),
                false => {
                    let (before, behind) = ("#".repeat(self.before), self.behind);
                    format!(" {before}.{}", "#".repeat(behind + 4))
                }
            }));
        }
        let shift = i32::try_from(self.shift).unwrap_or(i32::MAX);
        let value = value * 10_f64.powi(shift);
        let whole = match value.is_finite() {
            true => format!("{:.0}", value.abs()).len(),
            false => printed(value.abs(), 0).len(),
        };
        let behind = self.behind.min(digits_max.saturating_sub(whole));
        let number = printed(value, behind);
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number.to_string()),
            None => (false, number),
        };
        Ok(self.fit(number, negative, behind))
    }

    /// A number that is printed as it is.
    fn whole(&self, digits: String) -> Digits {
        Digits {
            digits,
            negative: false,
            spaces: 0,
            before: self.before,
            behind: self.behind,
        }
    }

    /// Counts the places that the number leaves empty; `#` if it has more digits than places.
    fn fit(&self, number: String, negative: bool, behind: usize) -> Digits {
        let before = self.before + self.shift;
        let length = number.find('.').unwrap_or(number.len());
        let digits = match length > before {
            false => number,
            true => format!("{}.{}", "#".repeat(before), "#".repeat(behind)),
        };
        Digits {
            digits,
            negative,
            spaces: before.saturating_sub(length),
            before,
            behind,
        }
    }

    fn roman(&self, value: i64) -> Result<Digits> {
        if i32::try_from(value).is_err() {
            return Err(integer_out_of_range());
        }
        if !(1..=ROMAN_MAX).contains(&value) {
            return Ok(self.whole("#".repeat(15)));
        }
        let mut rest = value;
        let mut digits = String::new();
        for (letters, worth) in ROMAN {
            while rest >= worth {
                digits.push_str(letters);
                rest -= worth;
            }
        }
        Ok(self.whole(digits))
    }
}

const ROMAN: [(&str, i64); 13] = [
    ("M", 1_000),
    ("CM", 900),
    ("D", 500),
    ("CD", 400),
    ("C", 100),
    ("XC", 90),
    ("L", 50),
    ("XL", 40),
    ("X", 10),
    ("IX", 9),
    ("V", 5),
    ("IV", 4),
    ("I", 1),
];

fn integer_out_of_range() -> PgError {
    PgError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range")
}

/// `%.*f`.
fn printed(value: f64, behind: usize) -> String {
    if value.is_nan() {
        "NaN".to_string()
    } else if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}Infinity")
    } else {
        format!("{value:.behind$}")
    }
}

/// `%+.*e` with a blank for the plus: the exponent has a sign and two digits at least.
fn exponential(value: f64, behind: usize) -> String {
    let number = format!("{value:.behind$e}");
    let (significand, exponent) = number.split_once('e').unwrap_or((&number, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if value.is_sign_negative() { "" } else { " " };
    format!("{sign}{significand}e{exponent:+03}")
}

/// `digits / 10^scale` with a number of digits behind the point, halves rounded away from zero.
fn fixed(digits: &str, scale: i64, behind: usize) -> String {
    let wanted = i64::try_from(behind).unwrap_or_default();
    let digits = match usize::try_from(scale - wanted) {
        Ok(drop) => rounded(digits, drop),
        Err(_) => {
            let zeros = usize::try_from(wanted - scale).unwrap_or_default();
            format!("{digits}{}", "0".repeat(zeros))
        }
    };
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    // One digit before the point, at least.
    let digits = format!("{digits:0>width$}", width = behind + 1);
    match behind {
        0 => digits,
        _ => {
            let (before, behind) = digits.split_at(digits.len() - behind);
            format!("{before}.{behind}")
        }
    }
}

/// Digits without the last few, the last one kept rounded.
fn rounded(digits: &str, drop: usize) -> String {
    let Some(keep) = digits.len().checked_sub(drop) else {
        return "0".to_string();
    };
    let (kept, dropped) = digits.split_at(keep);
    let up = dropped
        .as_bytes()
        .first()
        .is_some_and(|digit| *digit >= b'5');
    let kept: u128 = kept.parse().unwrap_or_default();
    (kept + u128::from(up)).to_string()
}

/// `numeric_out_sci` of PostgreSQL, where 9.99 by `9.9EEEE` is `10.0e+00`.
fn scientific(digits: &str, scale: i64, behind: usize) -> String {
    let length = i64::try_from(digits.len()).unwrap_or_default();
    let exponent = match digits {
        "0" => 0,
        _ => length - 1 - scale,
    };
    let significand = fixed(digits, length - 1, behind);
    format!("{significand}e{exponent:+03}")
}
