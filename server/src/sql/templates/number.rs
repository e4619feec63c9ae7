//! Numbers by a pattern: what a pattern says, and `to_char(number, …)`.
//!
//! The rules are those of `NUMDesc_prepare` and `NUM_processor` in PostgreSQL's `formatting.c`, in the C locale: `D` is a point, `G` a
//! comma and `L` a blank.

use super::pattern::{self, Case, Keyword, Keywords, Node, Ordinal};
use crate::error::{PgError, Result, sqlstate};

/// What a keyword of a number's pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    /// `,`.
    Comma,
    /// `.`, `D`.
    Point,
    /// `0`: a digit, also where it is a leading zero.
    Zero,
    /// `9`: a digit.
    Nine,
    /// `B`: reads as nothing.
    Blank,
    /// `C`: reads as nothing.
    Currency,
    /// `EEEE`.
    Exponent,
    /// `FM`: no padding.
    Fill,
    /// `G`.
    Group,
    /// `L`.
    Local,
    /// `MI`.
    Minus,
    /// `PL`.
    Plus,
    /// `PR`: a negative number in angle brackets.
    Bracket,
    /// `RN`.
    Roman,
    /// `SG`.
    PlusMinus,
    /// `SP`: reads as nothing.
    Spelled,
    /// `S`: a sign beside the number.
    Sign,
    /// `TH`.
    Ordinal,
    /// `V`: multiplied by a power of ten.
    Shift,
}

impl Keywords for Symbol {
    const MARKED: bool = false;
    const ALL: &'static [Keyword<Self>] = &[
        (",", "", "", Self::Comma),
        (".", "", "", Self::Point),
        ("0", "", "", Self::Zero),
        ("9", "", "", Self::Nine),
        ("B", "b", "", Self::Blank),
        ("C", "c", "", Self::Currency),
        ("D", "d", "", Self::Point),
        ("EEEE", "eeee", "", Self::Exponent),
        ("FM", "fm", "", Self::Fill),
        ("G", "g", "", Self::Group),
        ("L", "l", "", Self::Local),
        ("MI", "mi", "", Self::Minus),
        ("PL", "pl", "", Self::Plus),
        ("PR", "pr", "", Self::Bracket),
        ("RN", "rn", "", Self::Roman),
        ("SG", "sg", "", Self::PlusMinus),
        ("SP", "sp", "", Self::Spelled),
        ("S", "s", "", Self::Sign),
        ("TH", "th", "", Self::Ordinal),
        ("V", "v", "", Self::Shift),
    ];
}

/// Where `S` puts the sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignSide {
    /// Before the number.
    Before,
    /// Behind it.
    Behind,
}

/// What a pattern says as a whole.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a keyword that occurs or not"
)]
pub struct Picture {
    /// Digits before the point.
    pub before: usize,
    /// Digits behind it.
    pub behind: usize,
    /// Digits behind `V`.
    pub shift: usize,
    /// Place of the first `0`, from 1; 0 without any.
    pub zero_start: usize,
    /// Place of the last `0`, from 1.
    pub zero_end: usize,
    /// Side of `S`.
    pub sign: Option<SignSide>,
    /// Digits before `S`.
    pub before_sign: usize,
    /// A point occurs.
    pub point: bool,
    /// `FM` occurs.
    pub fill: bool,
    /// `0` occurs before the point.
    pub zero: bool,
    /// `B` occurs before any digit.
    pub blank: bool,
    /// `MI` or `SG` occurs.
    pub minus: bool,
    /// `PL` or `SG` occurs.
    pub plus: bool,
    /// `PR` occurs.
    pub bracket: bool,
    /// `RN` occurs.
    pub roman: bool,
    /// `V` occurs.
    pub shifted: bool,
    /// `EEEE` occurs.
    pub exponent: bool,
}

/// A compiled pattern for numbers.
#[derive(Debug)]
pub struct NumberPattern {
    /// Its parts.
    pub nodes: Vec<Node<Symbol>>,
    /// What they say together.
    pub picture: Picture,
}

impl NumberPattern {
    /// Compiles a pattern; 42601 if its parts do not go together.
    pub fn new(pattern: &str) -> Result<Self> {
        let nodes = pattern::parse(pattern);
        let mut picture = Picture::default();
        for node in &nodes {
            if let Node::Field { key, .. } = node {
                picture.add(*key)?;
            }
        }
        Ok(Self { nodes, picture })
    }

    /// Prints a number.
    pub fn write(&self, number: &Digits, out: &mut String) -> Result<()> {
        if self.picture.exponent {
            out.push_str(&number.digits);
            return Ok(());
        }
        let start = out.len();
        let mut writer = Writer::new(self.picture, number, out);
        for node in &self.nodes {
            match *node {
                Node::Text(text, _) => writer.out.push(text),
                Node::Field { key, case, .. } => writer.symbol(key, case)?,
            }
        }
        // A float may have fewer digits than its picture. PostgreSQL's result ends there, too.
        if let Some(end) = out.get(start..).and_then(|written| written.find(END)) {
            out.truncate(start + end);
        }
        Ok(())
    }
}

impl Picture {
    fn add(&mut self, symbol: Symbol) -> Result<()> {
        if self.exponent && symbol != Symbol::Exponent {
            return syntax("\"EEEE\" must be the last pattern used");
        }
        match symbol {
            Symbol::Nine if self.bracket => return syntax("\"9\" must be ahead of \"PR\""),
            Symbol::Nine if self.shifted => self.shift += 1,
            Symbol::Nine if self.point => self.behind += 1,
            Symbol::Nine => self.before += 1,
            Symbol::Zero if self.bracket => return syntax("\"0\" must be ahead of \"PR\""),
            Symbol::Zero => {
                if !self.zero && !self.point {
                    self.zero = true;
                    self.zero_start = self.before + 1;
                }
                match self.point {
                    true => self.behind += 1,
                    false => self.before += 1,
                }
                self.zero_end = self.before + self.behind;
            }
            Symbol::Blank => self.blank |= self.before == 0 && self.behind == 0 && !self.zero,
            Symbol::Point if self.point => return syntax("multiple decimal points"),
            Symbol::Point if self.shifted => {
                return syntax("cannot use \"V\" and decimal point together");
            }
            Symbol::Point => self.point = true,
            Symbol::Fill => self.fill = true,
            Symbol::Sign => self.add_sign()?,
            Symbol::Minus if self.sign.is_some() => {
                return syntax("cannot use \"S\" and \"MI\" together");
            }
            Symbol::Minus => self.minus = true,
            Symbol::Plus if self.sign.is_some() => {
                return syntax("cannot use \"S\" and \"PL\" together");
            }
            Symbol::Plus => self.plus = true,
            Symbol::PlusMinus if self.sign.is_some() => {
                return syntax("cannot use \"S\" and \"SG\" together");
            }
            Symbol::PlusMinus => (self.minus, self.plus) = (true, true),
            Symbol::Bracket if self.sign.is_some() || self.plus || self.minus => {
                return syntax("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together");
            }
            Symbol::Bracket => self.bracket = true,
            Symbol::Roman => self.roman = true,
            Symbol::Shift if self.point => {
                return syntax("cannot use \"V\" and decimal point together");
            }
            Symbol::Shift => self.shifted = true,
            Symbol::Exponent => self.add_exponent()?,
            Symbol::Comma
            | Symbol::Currency
            | Symbol::Group
            | Symbol::Local
            | Symbol::Spelled
            | Symbol::Ordinal => {}
        }
        Ok(())
    }

    fn add_sign(&mut self) -> Result<()> {
        if self.sign.is_some() {
            return syntax("cannot use \"S\" twice");
        }
        if self.plus || self.minus || self.bracket {
            return syntax("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
        }
        if self.point {
            self.sign = Some(SignSide::Behind);
        } else {
            self.sign = Some(SignSide::Before);
            self.before_sign = self.before;
        }
        Ok(())
    }

    fn add_exponent(&mut self) -> Result<()> {
        if self.exponent {
            return syntax("cannot use \"EEEE\" twice");
        }
        let alone = !(self.blank
            || self.fill
            || self.sign.is_some()
            || self.bracket
            || self.minus
            || self.plus
            || self.roman
            || self.shifted);
        if !alone {
            return Err(
                PgError::syntax("\"EEEE\" is incompatible with other formats").with_detail(
                    "\"EEEE\" may only be used together with digit and decimal point patterns.",
                ),
            );
        }
        self.exponent = true;
        Ok(())
    }
}

fn syntax(message: &str) -> Result<()> {
    Err(PgError::syntax(message))
}

/// A number cut to a picture: its digits as text, its sign, and the places it leaves empty.
#[derive(Debug, Clone)]
pub struct Digits {
    /// Digits with a point, `#`s where they do not fit, a Roman number, or all of a number with exponent.
    pub digits: String,
    /// Whether the number is negative.
    pub negative: bool,
    /// Digits of the picture before the first one of the number.
    pub spaces: usize,
    /// Digits of the picture before the point.
    pub before: usize,
    /// Digits of the picture behind it; less than the pattern's where a float has no more.
    pub behind: usize,
}

/// Prints one number.
struct Writer<'a> {
    picture: Picture,
    number: &'a Digits,
    out: &'a mut String,
    /// Places of digits, less one.
    count: i64,
    /// Whether the sign stands, or none is needed.
    sign_written: bool,
    /// Whether a digit was just written, so that a comma may follow.
    inside: bool,
    /// Place of the pattern.
    place: usize,
    /// Next digit of the number.
    next: usize,
    /// Last digit that is not a trailing zero, or the point; only with `FM` and a point.
    last_relevant: Option<usize>,
}

impl<'a> Writer<'a> {
    fn new(mut picture: Picture, number: &'a Digits, out: &'a mut String) -> Self {
        (picture.before, picture.behind) = (number.before, number.behind);
        picture.zero_start = picture.zero_start.saturating_sub(1);
        if picture.roman {
            picture = Picture {
                fill: picture.fill,
                roman: true,
                ..Picture::default()
            };
        }
        let sign_written = if picture.plus || picture.minus {
            picture.minus
        } else {
            if !number.negative && picture.fill {
                picture.bracket = false;
            }
            let unsigned = !number.negative && picture.fill && picture.sign.is_none();
            if picture.sign == Some(SignSide::Before) && picture.before == picture.before_sign {
                picture.sign = Some(SignSide::Behind);
            }
            unsigned
        };
        let last_relevant = match picture.fill && picture.point {
            true => last_relevant(&picture, number),
            false => None,
        };
        let mut count = signed(picture.before + picture.behind) - 1;
        if !sign_written && number.spaces == 0 {
            count += 1;
        }
        Self {
            picture,
            number,
            out,
            count,
            sign_written,
            inside: false,
            place: 0,
            next: 0,
            last_relevant,
        }
    }

    fn symbol(&mut self, symbol: Symbol, case: Case) -> Result<()> {
        let fill = self.picture.fill;
        match symbol {
            Symbol::Nine | Symbol::Zero | Symbol::Point => self.place(symbol),
            Symbol::Comma | Symbol::Group if self.inside => self.out.push(','),
            Symbol::Comma | Symbol::Group => self.pad(),
            Symbol::Local => self.out.push(' '),
            Symbol::Roman => {
                let digits = match case {
                    Case::Lower => self.number.digits.to_ascii_lowercase(),
                    _ => self.number.digits.clone(),
                };
                if !fill {
                    let missing = ROMAN_WIDTH.saturating_sub(digits.len());
                    self.out.extend(std::iter::repeat_n(' ', missing));
                }
                self.out.push_str(&digits);
            }
            Symbol::Ordinal => {
                let counts = !self.picture.roman
                    && !self.number.digits.starts_with('#')
                    && !self.number.negative
                    && !self.picture.point;
                if counts {
                    let digits = &self.number.digits;
                    if !digits.ends_with(|last: char| last.is_ascii_digit()) {
                        return Err(PgError::new(
                            sqlstate::INVALID_TEXT_REPRESENTATION,
                            format!("\"{digits}\" is not a number"),
                        ));
                    }
                    let ordinal = match case {
                        Case::Lower => Ordinal::Lower,
                        _ => Ordinal::Upper,
                    };
                    self.out.push_str(ordinal.suffix(&self.number.digits));
                }
            }
            Symbol::Minus if self.number.negative && !self.picture.roman => self.out.push('-'),
            Symbol::Plus if !self.number.negative && !self.picture.roman => self.out.push('+'),
            Symbol::Minus | Symbol::Plus => self.pad(),
            Symbol::PlusMinus if self.picture.roman => self.out.push(END),
            Symbol::PlusMinus => self.out.push(if self.number.negative { '-' } else { '+' }),
            Symbol::Blank
            | Symbol::Currency
            | Symbol::Exponent
            | Symbol::Fill
            | Symbol::Bracket
            | Symbol::Spelled
            | Symbol::Sign
            | Symbol::Shift => {}
        }
        Ok(())
    }

    fn pad(&mut self) {
        if !self.picture.fill {
            self.out.push(' ');
        }
    }

    fn digit(&self, position: usize) -> u8 {
        let digits = self.number.digits.as_bytes();
        digits.get(position).copied().unwrap_or(0)
    }

    /// Whether only the point is left of what is behind it.
    fn ends_at_point(&self) -> bool {
        self.last_relevant
            .is_some_and(|last| self.digit(last) == b'.')
    }

    /// `.1` by `9.9`: the zero before the point is a blank.
    fn is_blank_zero(&self) -> bool {
        !self.picture.zero && self.next == 0 && self.digit(0) == b'0' && self.picture.behind != 0
    }

    fn push_sign(&mut self) {
        self.out.push(if self.number.negative { '-' } else { '+' });
    }

    fn place(&mut self, symbol: Symbol) {
        let Picture { zero, point, .. } = self.picture;
        if self.picture.roman {
            return;
        }
        self.inside = false;
        let spaces = self.number.spaces;
        let starts = self.place >= spaces || (zero && self.picture.zero_start == self.place);
        if !self.sign_written && starts && (!self.is_blank_zero() || self.ends_at_point()) {
            self.leading_sign();
        }
        if self.place < spaces && (!zero || self.picture.zero_start > self.place) {
            self.pad();
        } else if self.place < spaces {
            self.out.push('0');
            self.inside = true;
        } else {
            self.next_digit(symbol);
        }
        let last = match self.last_relevant == Some(self.next) {
            true => signed(self.place),
            false => self.count + i64::from(spaces != 0) + i64::from(point),
        };
        if signed(self.place) + 1 == last {
            if self.sign_written && self.picture.bracket {
                self.out.push(if self.number.negative { '>' } else { ' ' });
            } else if self.picture.sign == Some(SignSide::Behind) {
                self.push_sign();
            }
        }
        self.place += 1;
    }

    fn leading_sign(&mut self) {
        match self.picture.sign {
            Some(SignSide::Before) => self.push_sign(),
            Some(SignSide::Behind) => return,
            None if self.picture.bracket => {
                self.out.push(if self.number.negative { '<' } else { ' ' });
            }
            None if self.number.negative => self.out.push('-'),
            None => self.pad(),
        }
        self.sign_written = true;
    }

    fn next_digit(&mut self, symbol: Symbol) {
        let digit = self.digit(self.next);
        if digit == b'.' {
            if !self.ends_at_point() || self.picture.fill {
                self.out.push('.');
            }
        } else if self.last_relevant.is_some_and(|last| self.next > last) && symbol != Symbol::Zero
        {
            // A trailing zero that FM leaves out.
        } else if self.is_blank_zero() {
            if !self.picture.fill {
                self.out.push(' ');
            } else if self.ends_at_point() {
                self.out.push('0');
            }
        } else {
            self.out.push(char::from(digit));
            self.inside = true;
        }
        if digit != 0 {
            self.next += 1;
        }
    }
}

/// Stands behind the last digit of a number.
const END: char = '\0';

/// Width of Roman numbers.
const ROMAN_WIDTH: usize = 15;

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn last_relevant(picture: &Picture, number: &Digits) -> Option<usize> {
    let digits = number.digits.as_bytes();
    let point = digits.iter().position(|digit| *digit == b'.')?;
    let mut last = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .filter(|last| *last > point)
        .unwrap_or(point);
    // Digits that a 0 asks for stay.
    if picture.zero_end > number.spaces {
        last = last.max((picture.zero_end - number.spaces).min(digits.len() - 1));
    }
    Some(last)
}
