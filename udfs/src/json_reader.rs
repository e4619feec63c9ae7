//! Owns the reading of JSON text (RFC 8259): tokens, escapes, numbers, and what is said when one of them is wrong.
//!
//! The reader checks all it passes over and never allocates for a string without escapes. It knows nothing of trees, paths or
//! canonical form; those are built from its calls. Errors are worded as PostgreSQL's `jsonapi.c` words them.

use std::borrow::Cow;

use crate::json_error::JsonError;

/// Levels of arrays and objects a document may have. Each level costs a few hundred bytes of stack in the recursive readers of
/// this crate, so the limit keeps them far from the end of a 2 MiB thread stack, even in a debug build.
pub const JSON_DEPTH_MAX: usize = 256;

/// A value that is neither array nor object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// The text of the number, as written.
    Number(&'a str),
    /// The characters of the string, unescaped.
    String(Cow<'a, str>),
}

/// A cursor over one JSON document.
#[derive(Debug)]
pub(crate) struct JsonReader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> JsonReader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            position: 0,
        }
    }

    /// Byte offset of the next character to be read.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The document between two byte offsets taken from [`Self::position`].
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// The next character that is not white space, without reading it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.position).copied() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.position += 1,
                other => return other,
            }
        }
    }

    /// Reads `{`; true if a key follows, false if the object is empty (then `}` is read too).
    pub(crate) fn begin_object(&mut self) -> Result<bool, JsonError> {
        self.position += 1;
        match self.peek() {
            Some(b'"') => Ok(true),
            Some(b'}') => {
                self.position += 1;
                Ok(false)
            }
            _ => Err(self.unexpected("string or \"}\"")),
        }
    }

    /// Reads a key and the colon behind it.
    pub(crate) fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let key = self.string()?;
        match self.peek() {
            Some(b':') => {
                self.position += 1;
                Ok(key)
            }
            _ => Err(self.unexpected("\":\"")),
        }
    }

    /// Reads what follows a member's value; true if another key follows, false if the object has ended.
    pub(crate) fn next_member(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b',') => {
                self.position += 1;
                match self.peek() {
                    Some(b'"') => Ok(true),
                    _ => Err(self.unexpected("string")),
                }
            }
            Some(b'}') => {
                self.position += 1;
                Ok(false)
            }
            _ => Err(self.unexpected("\",\" or \"}\"")),
        }
    }

    /// Reads `[`; true if an element follows, false if the array is empty (then `]` is read too).
    pub(crate) fn begin_array(&mut self) -> Result<bool, JsonError> {
        self.position += 1;
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads what follows an element; true if another element follows, false if the array has ended.
    pub(crate) fn next_element(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b',') => {
                self.position += 1;
                Ok(true)
            }
            Some(b']') => {
                self.position += 1;
                Ok(false)
            }
            _ => Err(self.unexpected("\",\" or \"]\"")),
        }
    }

    /// Reads a value that is neither array nor object.
    pub(crate) fn scalar(&mut self) -> Result<Scalar<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Scalar::Number),
            Some(b't') => self.literal("true", Scalar::Bool(true)),
            Some(b'f') => self.literal("false", Scalar::Bool(false)),
            Some(b'n') => self.literal("null", Scalar::Null),
            _ => Err(self.unexpected_value()),
        }
    }

    /// Reads and checks one value of any kind without keeping it; `depth` is the number of containers around it.
    pub(crate) fn skip_value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => {
                let mut more = self.enter(depth)?.begin_object()?;
                while more {
                    self.key()?;
                    self.skip_value(depth + 1)?;
                    more = self.next_member()?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut more = self.enter(depth)?.begin_array()?;
                while more {
                    self.skip_value(depth + 1)?;
                    more = self.next_element()?;
                }
                Ok(())
            }
            _ => self.scalar().map(|_| ()),
        }
    }

    /// Checks that one more container may be entered at `depth`.
    pub(crate) fn enter(&mut self, depth: usize) -> Result<&mut Self, JsonError> {
        if depth >= JSON_DEPTH_MAX {
            return Err(JsonError::too_deep(JSON_DEPTH_MAX));
        }
        Ok(self)
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("end of input")),
        }
    }

    /// Reads a string; the next character must be its opening quote. Borrows from the document unless there are escapes.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let token_start = self.position;
        let start = self.position + 1;
        let end = find_special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.position = end + 1;
            return Ok(Cow::Borrowed(self.slice(start, end)));
        }
        let mut unescaped = String::from(self.slice(start, end));
        self.position = end;
        loop {
            match self.bytes.get(self.position).copied() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => unescaped.push(self.escape()?),
                Some(control) => {
                    let detail = format!("Character with value 0x{control:02x} must be escaped.");
                    return Err(JsonError::syntax(detail).in_document(self.text, self.position));
                }
                None => return Err(self.invalid_token(token_start, self.bytes.len())),
            }
            let run_end = find_special(self.bytes, self.position);
            unescaped.push_str(self.slice(self.position, run_end));
            self.position = run_end;
        }
    }

    /// Reads one escape sequence, or two if they are a surrogate pair.
    fn escape(&mut self) -> Result<char, JsonError> {
        let escaped = self.bytes.get(self.position + 1).copied();
        let character = match escaped {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            None => return Err(self.invalid_token(self.position, self.bytes.len())),
            Some(_) => {
                let end = self.text.ceil_char_boundary(self.position + 2);
                let shown = self.slice(self.position, end);
                let detail = format!("Escape sequence \"{shown}\" is invalid.");
                return Err(JsonError::syntax(detail).in_document(self.text, end));
            }
        };
        self.position += 2;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        if first == 0 {
            return Err(JsonError::nul_escape().in_document(self.text, self.position));
        }
        let code_point = match first {
            0xd800..=0xdbff => {
                let paired = self.bytes.get(self.position) == Some(&b'\\')
                    && self.bytes.get(self.position + 1) == Some(&b'u');
                let second = if paired { self.hex4()? } else { 0 };
                if (0xd800..=0xdbff).contains(&second) {
                    return Err(
                        self.surrogate("Unicode high surrogate must not follow a high surrogate.")
                    );
                }
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(
                        self.surrogate("Unicode low surrogate must follow a high surrogate.")
                    );
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        // Only a low surrogate on its own is left that is no character.
        char::from_u32(code_point)
            .ok_or_else(|| self.surrogate("Unicode low surrogate must follow a high surrogate."))
    }

    /// Reads `\u` and the four digits behind it.
    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.position + 2;
        let mut value = 0;
        for offset in 0..4 {
            let digit = self
                .bytes
                .get(digits + offset)
                .and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else {
                let detail = "\"\\u\" must be followed by four hexadecimal digits.";
                return Err(JsonError::syntax(detail).in_document(self.text, digits + offset));
            };
            value = value * 16 + digit;
        }
        self.position = digits + 4;
        Ok(value)
    }

    fn surrogate(&self, detail: &str) -> JsonError {
        JsonError::syntax(detail).in_document(self.text, self.position)
    }

    /// Reads a number by the grammar of RFC 8259, section 6, and returns its text.
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.position;
        let (end, complete) = number_end(self.bytes, start);
        if complete && !self.bytes.get(end).is_some_and(|byte| is_word(*byte)) {
            self.position = end;
            return Ok(self.slice(start, end));
        }
        Err(self.invalid_token(start, word_end(self.bytes, end)))
    }

    fn literal(&mut self, word: &str, value: Scalar<'a>) -> Result<Scalar<'a>, JsonError> {
        let end = word_end(self.bytes, self.position);
        if self.slice(self.position, end) == word {
            self.position = end;
            return Ok(value);
        }
        Err(self.invalid_token(self.position, end))
    }

    /// The error of a value that does not begin as one.
    fn unexpected_value(&mut self) -> JsonError {
        self.unexpected("JSON value")
    }

    /// The error of a token other than the `expected` one: it may be no token at all, or the wrong one, or the end.
    fn unexpected(&mut self, expected: &str) -> JsonError {
        let Some(first) = self.peek() else {
            return JsonError::syntax("The input string ended unexpectedly.")
                .in_document(self.text, self.bytes.len());
        };
        let start = self.position;
        let read = match first {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                self.position += 1;
                Ok(())
            }
            b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.scalar().map(|_| ()),
            _ => {
                let end = word_end(self.bytes, start);
                let end = if end == start {
                    self.text.ceil_char_boundary(start + 1)
                } else {
                    end
                };
                Err(self.invalid_token(start, end))
            }
        };
        if let Err(error) = read {
            return error;
        }
        let token = self.slice(start, self.position);
        JsonError::syntax(format!("Expected {expected}, but found \"{token}\"."))
            .in_document(self.text, self.position)
    }

    fn invalid_token(&self, start: usize, end: usize) -> JsonError {
        let end = self.text.ceil_char_boundary(end);
        JsonError::syntax(format!("Token \"{}\" is invalid.", self.slice(start, end)))
            .in_document(self.text, end)
    }
}

/// Whether PostgreSQL shows a byte as part of the word around an invalid token.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| is_word(**byte)).count()
}

/// Where the number that begins at `start` ends, and whether it is one as far as it goes.
fn number_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let digits_end = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let integer = if bytes.get(start) == Some(&b'-') {
        start + 1
    } else {
        start
    };
    let mut end = match bytes.get(integer) {
        Some(b'0') => integer + 1,
        Some(b'1'..=b'9') => digits_end(integer + 1),
        _ => return (integer, false),
    };
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits_end(fraction);
        if end == fraction {
            return (end, false);
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = end + 1;
        let signed = matches!(bytes.get(sign), Some(b'+' | b'-'));
        let exponent = if signed { sign + 1 } else { sign };
        end = digits_end(exponent);
        if end == exponent {
            return (end, false);
        }
    }
    (end, true)
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Offset of the first quote, backslash or control character at or after `start`, or the length if there is none.
///
/// Eight bytes at a time with the zero-byte test of "Bit Twiddling Hacks" (Anderson): the test may report bytes above the
/// first true one, never below it, so the lowest reported byte is right.
pub(crate) fn find_special(bytes: &[u8], start: usize) -> usize {
    let mut position = start;
    while let Some(chunk) = bytes
        .get(position..)
        .and_then(|rest| rest.first_chunk::<8>())
    {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (LOW_BITS * u64::from(b'"'));
        let backslash = word ^ (LOW_BITS * u64::from(b'\\'));
        let found = (quote.wrapping_sub(LOW_BITS) & !quote
            | backslash.wrapping_sub(LOW_BITS) & !backslash
            | word.wrapping_sub(LOW_BITS * 0x20) & !word)
            & HIGH_BITS;
        if found != 0 {
            return position + found.trailing_zeros() as usize / 8;
        }
        position += 8;
    }
    let rest = bytes.get(position..).unwrap_or_default();
    position
        + rest
            .iter()
            .take_while(|byte| !matches!(**byte, b'"' | b'\\' | 0..=0x1f))
            .count()
}

#[cfg(test)]
mod tests;
