//! Binary input of every type, as the `*recv` functions of PostgreSQL read it.
//!
//! Owns the checks of lengths and ranges. Values move from PostgreSQL's epoch (2000) to Arrow's (1970)
//! here; nothing is read past the bytes given.

use std::borrow::Cow;

use arrow::datatypes::IntervalMonthDayNano;
use nyala_catalog::types::SqlType;

use super::super::encode::calendar::{DAY_US, PG_EPOCH_DAYS, PG_EPOCH_US};
use super::{ColumnParser, ValueError, number, numeric_modifier, string};

/// Signs of a binary numeric.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;

/// Exactly `N` bytes.
pub fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ValueError> {
    bytes.try_into().map_err(|_| ValueError::binary())
}

/// Takes `N` bytes from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ValueError> {
    let (head, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or_else(ValueError::binary)?;
    *bytes = rest;
    Ok(*head)
}

/// Any byte but 0 is true.
pub fn read_bool(bytes: &[u8]) -> Result<bool, ValueError> {
    let [byte] = fixed(bytes)?;
    Ok(byte != 0)
}

/// Days since 1970.
pub fn read_date(bytes: &[u8]) -> Result<i32, ValueError> {
    match i32::from_be_bytes(fixed(bytes)?) {
        infinite @ (i32::MAX | i32::MIN) => Ok(infinite),
        days => days
            .checked_add(PG_EPOCH_DAYS)
            .ok_or_else(|| ValueError::new("22008", "date out of range")),
    }
}

/// Microseconds since midnight.
pub fn read_time(bytes: &[u8]) -> Result<i64, ValueError> {
    let us = i64::from_be_bytes(fixed(bytes)?);
    if (0..=DAY_US).contains(&us) {
        Ok(us)
    } else {
        Err(ValueError::new("22008", "time out of range"))
    }
}

/// Microseconds since 1970.
pub fn read_timestamp(bytes: &[u8]) -> Result<i64, ValueError> {
    match i64::from_be_bytes(fixed(bytes)?) {
        infinite @ (i64::MAX | i64::MIN) => Ok(infinite),
        us => us
            .checked_add(PG_EPOCH_US)
            .filter(|us| *us != i64::MAX)
            .ok_or_else(|| ValueError::new("22008", "timestamp out of range")),
    }
}

/// Microseconds, days and months.
pub fn read_interval(bytes: &[u8]) -> Result<IntervalMonthDayNano, ValueError> {
    let mut rest = bytes;
    let us = i64::from_be_bytes(take(&mut rest)?);
    let days = i32::from_be_bytes(take(&mut rest)?);
    let months = i32::from_be_bytes(fixed(rest)?);
    let nanos = us
        .checked_mul(1_000)
        .ok_or_else(|| ValueError::new("22008", "interval out of range"))?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// The unscaled value of a base-10000 numeric, rounded to the type's scale.
pub fn read_numeric(bytes: &[u8], ty: &SqlType) -> Result<i128, ValueError> {
    let mut rest = bytes;
    let count = u16::from_be_bytes(take(&mut rest)?);
    let weight = i16::from_be_bytes(take(&mut rest)?);
    let sign = u16::from_be_bytes(take(&mut rest)?);
    let _display_scale = u16::from_be_bytes(take(&mut rest)?);
    if !matches!(sign, POSITIVE | NEGATIVE) {
        return Err(ValueError::new(
            "0A000",
            "numeric NaN and infinity are not supported",
        ));
    }
    if rest.len() != usize::from(count) * 2 {
        return Err(ValueError::binary());
    }
    let groups = || {
        rest.as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u16::from_be_bytes(*pair))
    };
    if groups().any(|group| group > 9_999) {
        return Err(ValueError::new(
            "22P03",
            "invalid digit in external \"numeric\" value",
        ));
    }
    let digits = groups().flat_map(|group| {
        [group / 1_000, group / 100 % 10, group / 10 % 10, group % 10].map(|digit| digit as u8)
    });
    let (_, scale) = numeric_modifier(ty);
    let kept = (i64::from(weight) + 1) * 4 + i64::from(scale);
    let value = number::round_digits(digits, kept, ty)?;
    Ok(if sign == NEGATIVE { -value } else { value })
}

/// The text form of a type stored as a string.
pub fn read_text<'a>(bytes: &'a [u8], ty: &SqlType) -> Result<Cow<'a, str>, ValueError> {
    let text = match ty {
        SqlType::Jsonb => match bytes {
            [1, text @ ..] => text,
            _ => return Err(ValueError::new("22P03", "unsupported jsonb version number")),
        },
        SqlType::Uuid => {
            let bits: [u8; 16] = fixed(bytes)?;
            let mut digits = [0_u8; 32];
            for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
                let digit = |half: u8| {
                    if half < 10 {
                        b'0' + half
                    } else {
                        b'a' - 10 + half
                    }
                };
                *pair = [digit(byte >> 4), digit(byte & 15)];
            }
            let text = string::format_uuid(&digits);
            return Ok(Cow::Owned(String::from_utf8_lossy(&text).into_owned()));
        }
        SqlType::Int2vector | SqlType::Oidvector => {
            return Err(ValueError::new(
                "0A000",
                format!("binary input of {ty} is not supported"),
            ));
        }
        _ => bytes,
    };
    std::str::from_utf8(text)
        .map(Cow::Borrowed)
        .map_err(|error| {
            let bad = text.get(error.valid_up_to()).copied().unwrap_or_default();
            ValueError::new(
                "22021",
                format!("invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}"),
            )
        })
}

/// Appends the elements of a binary array to `elements`.
pub fn read_array(bytes: &[u8], elements: &mut ColumnParser) -> Result<(), ValueError> {
    let mut rest = bytes;
    let dimensions = i32::from_be_bytes(take(&mut rest)?);
    let _has_null = i32::from_be_bytes(take(&mut rest)?);
    let oid = u32::from_be_bytes(take(&mut rest)?);
    if oid != elements.ty.oid() {
        return Err(ValueError::new(
            "42804",
            "binary data has array element type different from expected",
        )
        .with_detail(format!(
            "Expected type {}, received OID {oid}.",
            elements.ty
        )));
    }
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = i32::from_be_bytes(take(&mut rest)?);
            let _lower_bound = i32::from_be_bytes(take(&mut rest)?);
            count
        }
        2..=6 => {
            return Err(ValueError::new(
                "0A000",
                "arrays of several dimensions are not supported",
            ));
        }
        _ => return Err(ValueError::binary()),
    };
    for _ in 0..count {
        match i32::from_be_bytes(take(&mut rest)?) {
            -1 => elements.append_null(),
            length => {
                let length = usize::try_from(length).map_err(|_| ValueError::binary())?;
                let (value, after) = rest
                    .split_at_checked(length)
                    .ok_or_else(ValueError::binary)?;
                elements.append_binary(value)?;
                rest = after;
            }
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(ValueError::binary())
    }
}
