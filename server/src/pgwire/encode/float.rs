//! Text form of `real` and `double precision`.
//!
//! Owns PostgreSQL's layout of a float: fixed notation between 1e-4 and the type's exact digits,
//! otherwise `1e+20`. Digits come from `ryu` (shortest form that reads back) or, for
//! `extra_float_digits` of 0 and below, from correctly rounded decimal digits as C's `%g` gives them.

use std::fmt::Write;

use bytes::BytesMut;

use crate::pgwire::append::Append;

/// Digits that every `double precision` holds (`DBL_DIG`).
const DOUBLE_DIGITS: i32 = 15;
/// Digits that every `real` holds (`FLT_DIG`).
const REAL_DIGITS: i32 = 6;

/// Writes a `double precision`.
pub fn write_f64(value: f64, extra_digits: i32, out: &mut BytesMut) {
    if write_special(value, out) {
        return;
    }
    if extra_digits > 0 {
        if value.abs() < 1e15 && value.fract() == 0.0 {
            return write_whole(value as i64, value.is_sign_negative(), out);
        }
        let mut buffer = ryu::Buffer::new();
        write_layout(buffer.format_finite(value), DOUBLE_DIGITS, out);
    } else {
        write_rounded(value, (DOUBLE_DIGITS + extra_digits).max(1), out);
    }
}

/// Writes a `real`.
pub fn write_f32(value: f32, extra_digits: i32, out: &mut BytesMut) {
    if write_special(f64::from(value), out) {
        return;
    }
    if extra_digits > 0 {
        if value.abs() < 1e6 && value.fract() == 0.0 {
            return write_whole(value as i64, value.is_sign_negative(), out);
        }
        let mut buffer = ryu::Buffer::new();
        write_layout(buffer.format_finite(value), REAL_DIGITS, out);
    } else {
        write_rounded(f64::from(value), (REAL_DIGITS + extra_digits).max(1), out);
    }
}

fn write_special(value: f64, out: &mut BytesMut) -> bool {
    let text: &[u8] = match value {
        value if value.is_nan() => b"NaN",
        f64::INFINITY => b"Infinity",
        f64::NEG_INFINITY => b"-Infinity",
        _ => return false,
    };
    out.put_slice(text);
    true
}

fn write_whole(value: i64, negative: bool, out: &mut BytesMut) {
    if value == 0 && negative {
        return out.put_slice(b"-0");
    }
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes `value` with `precision` significant digits, as `%.*g` does.
fn write_rounded(value: f64, precision: i32, out: &mut BytesMut) {
    let mut text = Text {
        bytes: [0; 40],
        length: 0,
    };
    let decimals = usize::try_from(precision - 1).unwrap_or(0);
    // 17 digits, a sign, a point and an exponent fit the buffer; writing to it cannot fail.
    if write!(text, "{value:.decimals$e}").is_ok() {
        write_layout(text.as_str(), precision, out);
    }
}

/// Lays out the digits of `text` (Rust's `12.5` or `1.25e1`) as PostgreSQL does; exponents from
/// `fixed_below` on use the exponent form.
fn write_layout(text: &str, fixed_below: i32, out: &mut BytesMut) {
    let mut digits = [0_u8; 24];
    let mut count = 0_usize;
    let mut point = 0_i32;
    let mut exponent = 0_i32;
    let mut behind_point = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'-' => out.put_u8(b'-'),
            b'.' => behind_point = true,
            b'e' => {
                exponent = std::str::from_utf8(
                    text.as_bytes()
                        .get(text.len() - bytes.len()..)
                        .unwrap_or_default(),
                )
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
                break;
            }
            digit => {
                if count == 0 && digit == b'0' {
                    // A leading zero is no digit, but behind the point it moves it.
                    point -= i32::from(behind_point);
                    continue;
                }
                if let Some(slot) = digits.get_mut(count) {
                    *slot = digit;
                    count += 1;
                }
                point += i32::from(!behind_point);
            }
        }
    }
    let digits = digits.get(..count).unwrap_or_default();
    let used = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(0, |last| last + 1);
    let digits = digits.get(..used).unwrap_or_default();
    let Some((first, others)) = digits.split_first() else {
        return out.put_u8(b'0');
    };
    // Decimal exponent of the first digit.
    let exponent = point + exponent - 1;
    if (-4..fixed_below).contains(&exponent) {
        if exponent < 0 {
            out.put_slice(b"0.");
            out.put_bytes(b'0', usize::try_from(-exponent - 1).unwrap_or(0));
            out.put_slice(digits);
        } else {
            let whole = usize::try_from(exponent).unwrap_or(0) + 1;
            match digits.split_at_checked(whole) {
                Some((integer, fraction)) => {
                    out.put_slice(integer);
                    if !fraction.is_empty() {
                        out.put_u8(b'.');
                        out.put_slice(fraction);
                    }
                }
                None => {
                    out.put_slice(digits);
                    out.put_bytes(b'0', whole - digits.len());
                }
            }
        }
        return;
    }
    out.put_u8(*first);
    if !others.is_empty() {
        out.put_u8(b'.');
        out.put_slice(others);
    }
    out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
    super::datetime::write_padded(u64::from(exponent.unsigned_abs()), 2, out);
}

/// A short text on the stack.
struct Text {
    bytes: [u8; 40],
    length: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let slot = self
            .bytes
            .get_mut(self.length..end)
            .ok_or(std::fmt::Error)?;
        slot.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
