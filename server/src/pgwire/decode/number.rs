//! Text input of booleans, integers, floats and `numeric`.
//!
//! Owns their grammar, ranges and rounding; knows nothing of builders or of binary forms.

use nyala_catalog::types::SqlType;

use super::{ValueError, numeric_modifier};

/// Digits that an `i128` holds without overflow.
const DIGITS_MAX: usize = 38;

/// PostgreSQL's `isspace`.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'))
}

/// Reads any unique prefix of true, false, yes, no, on, off, or 1 and 0.
pub fn parse_bool(text: &str) -> Result<bool, ValueError> {
    let word = trim(text);
    let is_prefix = |of: &str, shortest: usize| {
        word.len() >= shortest
            && of
                .get(..word.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    if is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2) || word == "1" {
        return Ok(true);
    }
    if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == "0" {
        return Ok(false);
    }
    Err(ValueError::syntax("boolean", text))
}

/// Reads a signed integer of the width of `T`.
pub fn parse_integer<T: TryFrom<i64>>(text: &str, type_name: &str) -> Result<T, ValueError> {
    let out_of_range = || {
        ValueError::new(
            "22003",
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    };
    let bytes = trim(text).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::syntax(type_name, text));
    }
    // Counted downwards, so that the smallest value needs no special case.
    let value = digits.iter().try_fold(0_i64, |value, digit| {
        value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))
    });
    let value = if negative {
        value
    } else {
        value.and_then(i64::checked_neg)
    };
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(out_of_range)
}

/// Reads an OID; those above 2^31 keep their bits in the signed column.
pub fn parse_oid(text: &str) -> Result<i32, ValueError> {
    let value: i64 = parse_integer(text, "oid")?;
    // As in PostgreSQL a negative number means its 32 bits.
    if value < 0 {
        i32::try_from(value).ok()
    } else {
        u32::try_from(value).ok().map(|value| value as i32)
    }
    .ok_or_else(|| {
        ValueError::new(
            "22003",
            format!("value \"{text}\" is out of range for type oid"),
        )
    })
}

/// Reads a `double precision`.
pub fn parse_f64(text: &str) -> Result<f64, ValueError> {
    let word = trim(text);
    let value: f64 = word
        .parse()
        .map_err(|_| ValueError::syntax("double precision", text))?;
    if lost_range(word, value.is_infinite(), value == 0.0) {
        return Err(float_range(word, "double precision"));
    }
    Ok(value)
}

/// Reads a `real`.
pub fn parse_f32(text: &str) -> Result<f32, ValueError> {
    let word = trim(text);
    let value: f32 = word.parse().map_err(|_| ValueError::syntax("real", text))?;
    if lost_range(word, value.is_infinite(), value == 0.0) {
        return Err(float_range(word, "real"));
    }
    Ok(value)
}

fn float_range(word: &str, type_name: &str) -> ValueError {
    ValueError::new(
        "22003",
        format!("\"{word}\" is out of range for type {type_name}"),
    )
}

/// Whether a number became infinite or zero only because it does not fit.
fn lost_range(word: &str, infinite: bool, zero: bool) -> bool {
    let mut mantissa = word.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
    match (infinite, zero) {
        (true, _) => word.bytes().any(|byte| byte.is_ascii_digit()),
        (_, true) => mantissa.any(|byte| matches!(byte, b'1'..=b'9')),
        _ => false,
    }
}

/// Reads a `numeric` as the unscaled value of its type's scale, rounded half away from zero.
pub fn parse_numeric(text: &str, ty: &SqlType) -> Result<i128, ValueError> {
    let syntax = || ValueError::syntax("numeric", text);
    let word = trim(text);
    let (negative, body) = match word.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if [&b"nan"[..], b"infinity", b"inf"]
        .iter()
        .any(|name| body.eq_ignore_ascii_case(name))
    {
        return Err(ValueError::new(
            "0A000",
            format!("numeric \"{word}\" is not supported"),
        ));
    }
    let mantissa_length = body
        .iter()
        .position(|byte| matches!(byte, b'e' | b'E'))
        .unwrap_or(body.len());
    let (mantissa, exponent) = body.split_at_checked(mantissa_length).ok_or_else(syntax)?;
    let exponent: i64 = match exponent {
        [] => 0,
        [_, digits @ ..] => {
            let digits = std::str::from_utf8(digits).map_err(|_| syntax())?;
            let value: i32 = parse_integer(digits, "integer").map_err(|_| syntax())?;
            i64::from(value)
        }
    };
    let point = mantissa
        .iter()
        .position(|byte| *byte == b'.')
        .unwrap_or(mantissa.len());
    let (whole, fraction) = mantissa.split_at_checked(point).ok_or_else(syntax)?;
    let fraction = fraction.get(1..).unwrap_or_default();
    let digits = || whole.iter().chain(fraction);
    if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
        return Err(syntax());
    }
    let (_, scale) = numeric_modifier(ty);
    // Digits in front of the cut that the scale makes; the first one behind it rounds.
    let kept = whole.len() as i64 + exponent + i64::from(scale);
    round_digits(digits().map(|digit| digit - b'0'), kept, ty)
        .map(|value| if negative { -value } else { value })
}

/// The integer of the first `kept` decimal digits (as many zeros follow as are missing), rounded by
/// the next one and checked against the type's precision.
pub fn round_digits(
    digits: impl Iterator<Item = u8>,
    kept: i64,
    ty: &SqlType,
) -> Result<i128, ValueError> {
    let (precision, scale) = numeric_modifier(ty);
    let overflow = || match ty {
        SqlType::Numeric(Some(_)) => ValueError::new("22003", "numeric field overflow")
            .with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value \
                 less than {}.",
                match i16::from(precision) - i16::from(scale) {
                    0 => "1".to_string(),
                    power => format!("10^{power}"),
                }
            )),
        _ => ValueError::new("22003", "value overflows numeric format"),
    };
    let mut value = 0_i128;
    let mut used = 0_i64;
    let mut significant = 0_usize;
    for digit in digits {
        if used >= kept {
            if used == kept && digit >= 5 {
                value += 1;
            }
            used = kept + 1;
            break;
        }
        significant += usize::from(significant > 0 || digit > 0);
        if significant > DIGITS_MAX {
            return Err(overflow());
        }
        value = value * 10 + i128::from(digit);
        used += 1;
    }
    if used < kept && value != 0 {
        let zeros = u32::try_from(kept - used).map_err(|_| overflow())?;
        let power = 10_i128.checked_pow(zeros).ok_or_else(overflow)?;
        value = value.checked_mul(power).ok_or_else(overflow)?;
    }
    match 10_i128.checked_pow(u32::from(precision)) {
        Some(limit) if value >= limit => Err(overflow()),
        _ => Ok(value),
    }
}
