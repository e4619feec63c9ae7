//! Reading numbers by a pattern: `to_number(text, …)`.
//!
//! The rules are those of `NUM_numpart_from_char` and `NUM_processor` in PostgreSQL's `formatting.c`.

use super::number::{NumberPattern, Picture, Symbol};
use super::pattern::Node;
use crate::error::{PgError, Result, sqlstate};

/// Characters that belong to a number, and are not skipped for a symbol of the pattern.
const DATA: &str = "0123456789.,+-";

impl NumberPattern {
    /// Reads a number: its value times `10^scale`, half away from zero where it has more digits.
    pub fn read(&self, text: &str, scale: u32) -> Result<i128> {
        if self.picture.exponent {
            return Err(PgError::unsupported("\"EEEE\" not supported for input"));
        }
        if self.picture.roman {
            return Err(PgError::unsupported("\"RN\" not supported for input"));
        }
        let mut reader = Reader {
            picture: self.picture,
            rest: text,
            sign: None,
            digits: String::new(),
            point: None,
        };
        for node in &self.nodes {
            if reader.rest.is_empty() {
                break;
            }
            match *node {
                Node::Text(..) => reader.skip(),
                Node::Field { key, .. } => reader.symbol(key),
            }
        }
        reader.value(scale)
    }
}

struct Reader<'a> {
    picture: Picture,
    rest: &'a str,
    sign: Option<char>,
    digits: String,
    /// Digits before the point, once it was read.
    point: Option<usize>,
}

impl Reader<'_> {
    fn next(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self) {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
    }

    /// Skips some characters, up to the first that belongs to a number.
    fn skip_other(&mut self, count: usize) {
        for _ in 0..count {
            match self.next() {
                Some(next) if !DATA.contains(next) => self.skip(),
                _ => return,
            }
        }
    }

    fn symbol(&mut self, symbol: Symbol) {
        match symbol {
            Symbol::Nine | Symbol::Zero | Symbol::Point => {
                self.digit(symbol);
                self.skip();
            }
            // Before the first digit, FM leaves the comma out.
            Symbol::Comma | Symbol::Group if !self.picture.fill && self.next() == Some(',') => {
                self.skip();
            }
            Symbol::Local => self.skip_other(1),
            Symbol::Ordinal if !self.picture.point => self.skip_other(2),
            Symbol::Minus => self.sign_of(&['-']),
            Symbol::Plus => self.sign_of(&['+']),
            Symbol::PlusMinus => self.sign_of(&['-', '+']),
            _ => {}
        }
    }

    fn sign_of(&mut self, signs: &[char]) {
        match self.next() {
            Some(sign) if signs.contains(&sign) => {
                self.sign = Some(sign);
                self.skip();
            }
            _ => self.skip_other(1),
        }
    }

    /// Reads a sign, a digit or the point; what it stops at is skipped by the caller.
    fn digit(&mut self, symbol: Symbol) {
        if self.rest.starts_with(' ') {
            self.skip();
        }
        if self.sign.is_none() && symbol != Symbol::Point && self.digits.is_empty() {
            self.leading_sign();
        }
        let mut read = false;
        match self.next() {
            None => return,
            Some(digit) if digit.is_ascii_digit() => {
                let behind = self.point.map(|point| self.digits.len() - point);
                if behind == Some(self.picture.behind) {
                    return;
                }
                self.digits.push(digit);
                read = true;
            }
            Some('.') if self.picture.point && self.point.is_none() => {
                self.point = Some(self.digits.len());
                read = true;
            }
            Some(_) => {}
        }
        if self.sign.is_none() && !self.digits.is_empty() {
            self.trailing_sign(read);
        }
    }

    fn leading_sign(&mut self) {
        match self.next() {
            Some(sign @ ('-' | '+')) => {
                self.sign = Some(sign);
                self.skip();
            }
            Some('<') if self.picture.bracket => {
                self.sign = Some('-');
                self.skip();
            }
            _ => {}
        }
    }

    /// A sign behind the last digit: its place cannot be told from the pattern.
    fn trailing_sign(&mut self, read: bool) {
        if self.picture.sign.is_some() {
            let mut after = self.rest.chars();
            after.next();
            if read && let Some(sign @ ('-' | '+')) = after.as_str().chars().next() {
                self.skip();
                self.sign = Some(sign);
            }
        } else if !read
            && (self.picture.plus || self.picture.minus)
            && let Some(sign @ ('-' | '+')) = self.next()
        {
            self.sign = Some(sign);
        }
    }

    fn value(&self, scale: u32) -> Result<i128> {
        if self.digits.is_empty() {
            let sign = self.sign.unwrap_or(' ');
            return Err(PgError::new(
                sqlstate::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type numeric: \"{sign}\""),
            ));
        }
        let whole = self.point.unwrap_or(self.digits.len());
        self.check_precision(whole)?;
        let behind = self.digits.len() - whole + self.picture.shift;
        let overflow = || {
            PgError::new(
                sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                "value overflows numeric format",
            )
        };
        let value: i128 = self.digits.parse().map_err(|_| overflow())?;
        let behind = u32::try_from(behind).map_err(|_| overflow())?;
        let value = match scale.checked_sub(behind) {
            Some(more) => 10_i128
                .checked_pow(more)
                .and_then(|factor| value.checked_mul(factor))
                .ok_or_else(overflow)?,
            None => {
                let divisor = 10_i128.checked_pow(behind - scale).ok_or_else(overflow)?;
                (value + divisor / 2) / divisor
            }
        };
        Ok(if self.sign == Some('-') {
            -value
        } else {
            value
        })
    }

    /// A point of the pattern also reads a digit, so there can be more digits than the pattern has places for.
    fn check_precision(&self, whole: usize) -> Result<()> {
        let before = self.picture.before + self.picture.shift;
        let digits = self.digits.get(..whole).unwrap_or_default();
        if digits.trim_start_matches('0').len() <= before {
            return Ok(());
        }
        let scale = self.digits.len() - whole;
        let limit = match before {
            0 => "1".to_string(),
            _ => format!("10^{before}"),
        };
        Err(PgError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            "numeric field overflow",
        )
        .with_detail(format!(
            "A field with precision {}, scale {scale} must round to an absolute value less than {limit}.",
            before + scale
        )))
    }
}
