//! Owns the canonical text of `jsonb`: the one text by which a JSON value is stored, compared and shown.
//!
//! It is what PostgreSQL's `jsonb_out` prints: `": "` and `", "` as separators, keys sorted by length and then bytes, the last of
//! duplicate keys, as few escapes as possible. Unlike there, a number keeps the text it was written in (`1.0`, `1e2`), since a
//! rewritten number could not be told from the sender's.

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, StringViewArray};

use crate::json_error::JsonError;
use crate::json_node::{JsonNode, compare_keys, write_string};
use crate::json_reader::{JSON_DEPTH_MAX, JsonReader, Scalar, find_special};
use crate::verbatim_views::VerbatimViews;

/// Appends the canonical text of `text` to `out`. Text that is canonical already is copied after one pass over it.
///
/// # Errors
/// SQLSTATE 22P02 if `text` is not JSON, 22P05 if it holds `\u0000`, 54001 if it nests deeper than
/// [`JSON_DEPTH_MAX`]. `out` is then unchanged.
pub fn canonicalize_jsonb(text: &str, out: &mut String) -> Result<(), JsonError> {
    if is_canonical(text) {
        out.push_str(text);
    } else {
        JsonNode::parse(text)?.write(out);
    }
    Ok(())
}

/// Appends a text as a JSON string.
pub fn quote(text: &str, out: &mut String) {
    write_string(text, out);
}

/// Checks that `text` is JSON that [`canonicalize_jsonb`] would accept.
///
/// # Errors
/// As [`canonicalize_jsonb`].
pub fn validate_json(text: &str) -> Result<(), JsonError> {
    let mut reader = JsonReader::new(text);
    reader.skip_value(0)?;
    reader.finish()
}

/// Brings every value of a column into canonical form; NULL stays NULL. Values that are canonical already are not copied.
///
/// # Errors
/// As [`canonicalize_jsonb`]; the detail names the row, counted from 1.
pub fn jsonb_in(texts: &StringViewArray) -> Result<StringViewArray, JsonError> {
    let mut canonical = VerbatimViews::new(texts);
    let mut rewritten = String::new();
    for (row, text) in texts.iter().enumerate() {
        match text {
            None => canonical.append_null(),
            Some(text) if is_canonical(text) => canonical.append_slice(row, text),
            Some(text) => {
                rewritten.clear();
                JsonNode::parse(text)
                    .map_err(|error| error.in_row(row))?
                    .write(&mut rewritten);
                canonical.append_text(&rewritten);
            }
        }
    }
    Ok(canonical.finish())
}

/// Checks that every value of a column is JSON.
///
/// # Errors
/// As [`validate_json`]; the detail names the row, counted from 1.
pub fn json_in(texts: &StringViewArray) -> Result<(), JsonError> {
    for row in 0..texts.len() {
        if texts.is_valid(row) {
            validate_json(texts.value(row)).map_err(|error| error.in_row(row))?;
        }
    }
    Ok(())
}

/// Whether `text` is valid JSON in canonical form. May say no to canonical text with escapes in its keys, which only costs time.
pub(crate) fn is_canonical(text: &str) -> bool {
    let mut scan = CanonicalScan {
        text,
        bytes: text.as_bytes(),
        position: 0,
    };
    scan.value(0).is_some() && scan.position == text.len()
}

/// A pass over canonical text that stops at the first character canonical text would not have.
struct CanonicalScan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> CanonicalScan<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.bytes.get(self.position).copied()? {
            b'"' => self.string(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        if depth >= JSON_DEPTH_MAX {
            return None;
        }
        self.position += 1;
        if self.take(b"}") {
            return Some(());
        }
        let mut previous: Option<&str> = None;
        loop {
            let key = self.key()?;
            if previous.is_some_and(|previous| compare_keys(previous, key) != Ordering::Less) {
                return None;
            }
            previous = Some(key);
            self.value(depth + 1)?;
            if !self.take(b", ") {
                return self.take(b"}").then_some(());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        if depth >= JSON_DEPTH_MAX {
            return None;
        }
        self.position += 1;
        if self.take(b"]") {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if !self.take(b", ") {
                return self.take(b"]").then_some(());
            }
        }
    }

    /// Reads a key without escapes and the separator behind it.
    fn key(&mut self) -> Option<&'a str> {
        if !self.take(b"\"") {
            return None;
        }
        let start = self.position;
        self.position = find_special(self.bytes, start);
        let key = self.text.get(start..self.position)?;
        self.take(b"\": ").then_some(key)
    }

    fn string(&mut self) -> Option<()> {
        self.position += 1;
        loop {
            self.position = find_special(self.bytes, self.position);
            if self.take(b"\"") {
                return Some(());
            }
            if !self.take(b"\\") {
                return None;
            }
            let escaped = self.bytes.get(self.position).copied()?;
            self.position += 1;
            match escaped {
                b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => self.control_escape()?,
                _ => return None,
            }
        }
    }

    /// Reads the digits of `\u00XX` if they stand for a control character that has no shorter escape.
    fn control_escape(&mut self) -> Option<()> {
        let digits = self.text.get(self.position..self.position + 4)?;
        let shortest = digits
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let code = u32::from_str_radix(digits, 16).ok()?;
        if !shortest
            || !(0x01..=0x1f).contains(&code)
            || matches!(code, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d)
        {
            return None;
        }
        self.position += 4;
        Some(())
    }

    /// Reads a number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.position..)?;
        let length = rest
            .iter()
            .take_while(|byte| !matches!(**byte, b',' | b']' | b'}'))
            .count();
        let word = self.text.get(self.position..self.position + length)?;
        self.position += length;
        let mut reader = JsonReader::new(word);
        let scalar = reader.scalar().ok()?;
        // White space around the word would be read over, so the reader must have stopped exactly at its end.
        let exact = reader.position() == word.len() && !word.starts_with([' ', '\t', '\n', '\r']);
        (exact && !matches!(scalar, Scalar::String(_))).then_some(())
    }

    fn take(&mut self, expected: &[u8]) -> bool {
        let found = self
            .bytes
            .get(self.position..)
            .is_some_and(|rest| rest.starts_with(expected));
        if found {
            self.position += expected.len();
        }
        found
    }
}

#[cfg(test)]
mod tests;
