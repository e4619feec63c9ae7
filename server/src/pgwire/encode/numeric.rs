//! Text and binary form of `numeric`.
//!
//! Owns the layout of a decimal given as unscaled integer and scale; never rounds. The binary form is
//! PostgreSQL's: base-10000 digits, the weight of the first one, sign and display scale.

use arrow::datatypes::i256;
use bytes::BytesMut;

use crate::pgwire::append::Append;

/// The decimal digits of an unscaled value, most significant first, and its sign.
pub struct Digits {
    buffer: [u8; 80],
    start: usize,
    negative: bool,
}

impl Digits {
    /// The digits of a 128-bit value.
    pub fn of_i128(value: i128) -> Self {
        let mut digits = Self {
            buffer: [0; 80],
            start: 80,
            negative: value < 0,
        };
        let magnitude = value.unsigned_abs();
        match u64::try_from(magnitude) {
            Ok(small) => digits.set(itoa::Buffer::new().format(small)),
            Err(_) => digits.set(itoa::Buffer::new().format(magnitude)),
        }
        digits
    }

    /// The digits of a 256-bit value.
    pub fn of_i256(value: i256) -> Self {
        match value.to_i128() {
            Some(value) => Self::of_i128(value),
            None => {
                let text = value.to_string();
                let mut digits = Self {
                    buffer: [0; 80],
                    start: 80,
                    negative: text.starts_with('-'),
                };
                digits.set(text.trim_start_matches('-'));
                digits
            }
        }
    }

    fn set(&mut self, text: &str) {
        // The longest 256-bit integer has 77 digits.
        self.start = self.buffer.len().saturating_sub(text.len());
        if let Some(slot) = self.buffer.get_mut(self.start..) {
            slot.copy_from_slice(text.as_bytes());
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn is_zero(&self) -> bool {
        self.as_slice() == b"0"
    }

    /// The digits and the scale without the trailing zeros of the fraction.
    fn trimmed(&self, scale: i8) -> (&[u8], i8) {
        let digits = self.as_slice();
        if self.is_zero() {
            return (digits, scale.min(0));
        }
        let mut kept = digits.len();
        let mut scale = scale;
        while scale > 0 && digits.get(kept - 1) == Some(&b'0') {
            kept -= 1;
            scale -= 1;
        }
        (digits.get(..kept).unwrap_or_default(), scale)
    }

    /// Writes the value over 10^scale; with `trim` the fraction's trailing zeros are cut.
    pub fn write_text(&self, scale: i8, trim: bool, out: &mut BytesMut) {
        let (digits, scale) = if trim {
            self.trimmed(scale)
        } else {
            (self.as_slice(), scale)
        };
        if self.negative {
            out.put_u8(b'-');
        }
        let Ok(scale) = usize::try_from(scale) else {
            out.put_slice(digits);
            if !self.is_zero() {
                out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
            }
            return;
        };
        match digits.len().checked_sub(scale) {
            Some(whole) if whole > 0 => {
                let (integer, fraction) = digits.split_at(whole);
                out.put_slice(integer);
                if scale > 0 {
                    out.put_u8(b'.');
                    out.put_slice(fraction);
                }
            }
            _ => {
                out.put_slice(b"0.");
                out.put_bytes(b'0', scale - digits.len());
                out.put_slice(digits);
            }
        }
    }

    /// Writes PostgreSQL's binary form, without a length in front.
    pub fn write_binary(&self, scale: i8, trim: bool, out: &mut BytesMut) {
        let (digits, scale) = if trim {
            self.trimmed(scale)
        } else {
            (self.as_slice(), scale)
        };
        let start = out.len();
        out.put_slice(&[0; 8]);
        let mut weight = 0_i16;
        let mut count = 0_i16;
        if !self.is_zero() {
            // Position of each decimal digit counts from the point, so that groups align with it.
            let whole = digits.len() as i32 - i32::from(scale);
            let first_group = (whole - 1).div_euclid(4);
            weight = first_group as i16;
            let mut filled = 4 - (whole - first_group * 4);
            let mut group = 0_u16;
            let mut pending_zeros = 0_i16;
            let missing = usize::from(scale.min(0).unsigned_abs());
            let zeros = std::iter::repeat_n(&b'0', missing);
            for digit in digits.iter().chain(zeros) {
                group = group * 10 + u16::from(digit - b'0');
                filled += 1;
                if filled == 4 {
                    flush(group, &mut count, &mut pending_zeros, out);
                    (group, filled) = (0, 0);
                }
            }
            if filled > 0 {
                for _ in filled..4 {
                    group *= 10;
                }
                flush(group, &mut count, &mut pending_zeros, out);
            }
        }
        let sign: u16 = if self.negative { 0x4000 } else { 0 };
        let mut header = [0_u8; 8];
        let fields = [
            count.to_be_bytes(),
            weight.to_be_bytes(),
            sign.to_be_bytes(),
            i16::from(scale.max(0)).to_be_bytes(),
        ];
        for (slot, field) in header.chunks_exact_mut(2).zip(fields) {
            slot.copy_from_slice(&field);
        }
        if let Some(slot) = out.get_mut(start..start + 8) {
            slot.copy_from_slice(&header);
        }
    }
}

/// Appends a base-10000 digit; zeros wait, since trailing ones are not sent.
fn flush(group: u16, count: &mut i16, pending_zeros: &mut i16, out: &mut BytesMut) {
    // A zero in front of the first digit cannot occur: the first decimal digit is not zero.
    if group == 0 {
        *pending_zeros += 1;
        return;
    }
    for _ in 0..*pending_zeros {
        out.put_u16(0);
    }
    *count += *pending_zeros + 1;
    *pending_zeros = 0;
    out.put_u16(group);
}
