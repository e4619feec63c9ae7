//! Owns the comparison of JSON numbers by value while they are text: no conversion, so no digit is lost and none is too many.

/// Whether two JSON numbers have the same value: `1`, `1.0` and `10e-1` do.
///
/// Both texts must be valid JSON numbers. Exponents that do not fit into 64 bits are compared as text.
pub(super) fn numbers_equal(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    match (Decimal::read(left), Decimal::read(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// A number as its significant digits and the power of ten of the last of them. Zero has no digits.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>()),
            None => (unsigned, Ok(0)),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = integer
            .bytes()
            .chain(fraction.bytes())
            .skip_while(|digit| *digit == b'0')
            .collect();
        let significant = digits
            .iter()
            .rposition(|digit| *digit != b'0')
            .map_or(0, |last| last + 1);
        if significant == 0 {
            return Some(Self {
                negative: false,
                digits: Vec::new(),
                exponent: 0,
            });
        }
        let trailing_zeros = i64::try_from(digits.len() - significant).ok()?;
        digits.truncate(significant);
        let fraction_digits = i64::try_from(fraction.len()).ok()?;
        let exponent = exponent
            .ok()?
            .checked_sub(fraction_digits)?
            .checked_add(trailing_zeros)?;
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::numbers_equal;

    #[test]
    fn compares_values() {
        for (left, right, expected) in [
            ("1", "1.0", true),
            ("100", "1e2", true),
            ("0.001", "1E-3", true),
            ("10.50", "1.05e+1", true),
            ("0", "-0.000e99", true),
            ("0e99999999999999999999", "0", true),
            ("-1", "1", false),
            ("1", "1.0000000000000000000000000000001", false),
            ("9007199254740993", "9007199254740992", false),
            ("1e99999999999999999999", "1e99999999999999999999", true),
            ("1e99999999999999999999", "1e99999999999999999998", false),
            ("1e9223372036854775807", "10e9223372036854775807", false),
        ] {
            assert_eq!(numbers_equal(left, right), expected, "{left} = {right}");
            assert_eq!(numbers_equal(right, left), expected, "{right} = {left}");
        }
    }
}
