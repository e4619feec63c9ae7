//! Owns the walk from a JSON document to one value in it, without building a tree.
//!
//! There are two walks. Of canonical text (a `jsonb` column) nothing is checked again, values that are not wanted are skipped by
//! their brackets, and since keys are sorted the walk stops as soon as it is past the place of a missing one. Of any other text the whole
//! document is read and checked, and of duplicate keys the last one counts, as PostgreSQL does for `json`.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::json_error::JsonError;
use crate::json_node::compare_keys;
use crate::json_reader::{JsonReader, find_special};

pub(crate) mod array_literal;

/// What is known of the text of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonForm {
    /// Canonical text as [`crate::canonical`] writes it.
    Canonical,
    /// Any text at all.
    Unchecked,
}

/// One step from a value to a value inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathStep<'a> {
    /// A member of an object.
    Key(&'a str),
    /// An element of an array, counted from 0, or from the end if negative.
    Index(i64),
    /// Text that names a member of an object or, if it is an integer, an element of an array.
    KeyOrIndex(&'a str),
}

impl<'a> PathStep<'a> {
    fn key(self) -> Option<&'a str> {
        match self {
            Self::Key(key) | Self::KeyOrIndex(key) => Some(key),
            Self::Index(_) => None,
        }
    }

    fn index(self) -> Option<i64> {
        match self {
            Self::Index(index) => Some(index),
            Self::KeyOrIndex(text) => text.parse().ok(),
            Self::Key(_) => None,
        }
    }
}

/// The text of the value at the end of `path`, or none if there is no such value. An empty path is the document itself.
///
/// # Errors
/// As [`crate::canonical::validate_json`]; a document that is [`JsonForm::Canonical`] is not checked and gives none.
pub(crate) fn find<'a>(
    text: &'a str,
    path: &[PathStep<'_>],
    form: JsonForm,
) -> Result<Option<&'a str>, JsonError> {
    match form {
        JsonForm::Canonical => Ok(find_canonical(text, path)),
        JsonForm::Unchecked => find_checked(text, path),
    }
}

/// The characters of the string whose JSON text is `text`; none if it is another kind of value.
pub(crate) fn as_string(text: &str) -> Result<Option<Cow<'_, str>>, JsonError> {
    if !text.starts_with('"') {
        return Ok(None);
    }
    JsonReader::new(text).string().map(Some)
}

fn find_checked<'a>(text: &'a str, path: &[PathStep<'_>]) -> Result<Option<&'a str>, JsonError> {
    let mut reader = JsonReader::new(text);
    let Some((first, rest)) = path.split_first() else {
        reader.peek();
        let start = reader.position();
        reader.skip_value(0)?;
        let end = reader.position();
        reader.finish()?;
        return Ok(Some(reader.slice(start, end)));
    };
    let mut found = step_checked(&mut reader, *first)?;
    reader.finish()?;
    for step in rest {
        let Some(value) = found else { return Ok(None) };
        found = step_checked(&mut JsonReader::new(value), *step)?;
    }
    Ok(found)
}

/// Reads one whole value and returns the part of it that `step` leads to.
fn step_checked<'a>(
    reader: &mut JsonReader<'a>,
    step: PathStep<'_>,
) -> Result<Option<&'a str>, JsonError> {
    match (reader.peek(), step.key(), step.index()) {
        (Some(b'{'), Some(wanted), _) => {
            let mut found = None;
            let mut more = reader.begin_object()?;
            while more {
                let matches = reader.key()? == wanted;
                let value = value_slice(reader)?;
                if matches {
                    found = Some(value);
                }
                more = reader.next_member()?;
            }
            Ok(found)
        }
        (Some(b'['), _, Some(index)) => {
            let mut elements = Vec::new();
            let mut more = reader.begin_array()?;
            while more {
                elements.push(value_slice(reader)?);
                more = reader.next_element()?;
            }
            Ok(position_of(index, elements.len())
                .and_then(|position| elements.get(position).copied()))
        }
        _ => {
            reader.skip_value(0)?;
            Ok(None)
        }
    }
}

fn value_slice<'a>(reader: &mut JsonReader<'a>) -> Result<&'a str, JsonError> {
    reader.peek();
    let start = reader.position();
    reader.skip_value(1)?;
    Ok(reader.slice(start, reader.position()))
}

/// Where in an array of `length` elements an index points, if into it.
fn position_of(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let position = if index < 0 {
        index.checked_add(length)?
    } else {
        index
    };
    if position < length {
        usize::try_from(position).ok()
    } else {
        None
    }
}

fn find_canonical<'a>(text: &'a str, path: &[PathStep<'_>]) -> Option<&'a str> {
    let mut walk = CanonicalWalk {
        text,
        bytes: text.as_bytes(),
        position: 0,
    };
    for step in path {
        match walk.bytes.get(walk.position)? {
            b'{' => walk.enter_member(step.key()?)?,
            b'[' => walk.enter_element(step.index()?)?,
            _ => return None,
        }
    }
    let start = walk.position;
    if path.is_empty() {
        return Some(text);
    }
    walk.skip_value()?;
    text.get(start..walk.position)
}

/// A cursor over canonical text, always at the first character of a value between calls.
struct CanonicalWalk<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
}

impl CanonicalWalk<'_> {
    /// Moves from an object to the value of one of its members.
    fn enter_member(&mut self, wanted: &str) -> Option<()> {
        self.position += 1;
        while self.bytes.get(self.position) == Some(&b'"') {
            let start = self.position + 1;
            let end = find_special(self.bytes, start);
            let order = if self.bytes.get(end) == Some(&b'"') {
                self.position = end + 1;
                compare_keys(self.text.get(start..end)?, wanted)
            } else {
                let mut reader = JsonReader::new(self.text.get(self.position..)?);
                let key = reader.string().ok()?;
                self.position += reader.position();
                compare_keys(&key, wanted)
            };
            // The colon and the space behind it.
            self.position += 2;
            match order {
                Ordering::Equal => return Some(()),
                Ordering::Greater => return None,
                Ordering::Less => self.skip_value()?,
            }
            // The comma and the space behind it, or the end of the object.
            self.position += 2;
        }
        None
    }

    /// Moves from an array to one of its elements.
    fn enter_element(&mut self, index: i64) -> Option<()> {
        let index = if index < 0 {
            position_of(index, self.count_elements()?)?
        } else {
            usize::try_from(index).ok()?
        };
        self.position += 1;
        if self.bytes.get(self.position) == Some(&b']') {
            return None;
        }
        for _ in 0..index {
            self.skip_value()?;
            if self.bytes.get(self.position) != Some(&b',') {
                return None;
            }
            self.position += 2;
        }
        Some(())
    }

    /// Number of elements of the array at the cursor, which stays where it is.
    fn count_elements(&self) -> Option<usize> {
        let mut ahead = CanonicalWalk {
            text: self.text,
            bytes: self.bytes,
            position: self.position + 1,
        };
        if ahead.bytes.get(ahead.position) == Some(&b']') {
            return Some(0);
        }
        let mut count = 1;
        loop {
            ahead.skip_value()?;
            if ahead.bytes.get(ahead.position) != Some(&b',') {
                return Some(count);
            }
            ahead.position += 2;
            count += 1;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.bytes.get(self.position)? {
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_container(),
            _ => {
                let rest = self.bytes.get(self.position..)?;
                self.position += rest
                    .iter()
                    .take_while(|byte| !matches!(**byte, b',' | b'}' | b']'))
                    .count();
                Some(())
            }
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        self.position += 1;
        loop {
            self.position = find_special(self.bytes, self.position);
            match self.bytes.get(self.position)? {
                b'"' => {
                    self.position += 1;
                    return Some(());
                }
                // The escaped character cannot end the string, whatever it is.
                _ => self.position += 2,
            }
        }
    }

    /// Skips an array or object by counting brackets outside strings; canonical text has them in pairs.
    fn skip_container(&mut self) -> Option<()> {
        let mut open = 0_usize;
        loop {
            match self.bytes.get(self.position)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => {
                    open = open.saturating_sub(1);
                    if open == 0 {
                        self.position += 1;
                        return Some(());
                    }
                }
                _ => {}
            }
            self.position += 1;
        }
    }
}

#[cfg(test)]
mod tests;
