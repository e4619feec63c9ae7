//! Owns the tree of one JSON document: borrowed from its text where it can be, objects sorted and without duplicates.
//!
//! It is what canonical text is written from, what containment compares and what merge patches are applied to. Numbers are kept as
//! the text they were written in, never as a binary float, so nothing is lost between reading and writing.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use crate::json_error::JsonError;
use crate::json_reader::{JsonReader, Scalar, find_special};

/// One value of a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JsonNode<'a> {
    Null,
    Bool(bool),
    /// The number as it was written.
    Number(&'a str),
    /// The characters of the string, unescaped.
    String(Cow<'a, str>),
    Array(Vec<JsonNode<'a>>),
    /// Members in the order of [`compare_keys`], each key once.
    Object(Vec<Member<'a>>),
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: JsonNode<'a>,
}

/// The order `jsonb` keeps keys in: by length in bytes, then by bytes.
pub(crate) fn compare_keys(left: &str, right: &str) -> Ordering {
    left.len()
        .cmp(&right.len())
        .then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

impl<'a> JsonNode<'a> {
    /// Reads a whole document. Of members with the same key the last one wins.
    pub(crate) fn parse(text: &'a str) -> Result<Self, JsonError> {
        let mut reader = JsonReader::new(text);
        let node = Self::read(&mut reader, 0)?;
        reader.finish()?;
        Ok(node)
    }

    fn read(reader: &mut JsonReader<'a>, depth: usize) -> Result<Self, JsonError> {
        match reader.peek() {
            Some(b'{') => {
                let mut members = Vec::new();
                let mut sorted = true;
                let mut more = reader.enter(depth)?.begin_object()?;
                while more {
                    let key = reader.key()?;
                    sorted &= members.last().is_none_or(|last: &Member<'_>| {
                        compare_keys(&last.key, &key) == Ordering::Less
                    });
                    members.push(Member {
                        key,
                        value: Self::read(reader, depth + 1)?,
                    });
                    more = reader.next_member()?;
                }
                if !sorted {
                    sort_members(&mut members);
                }
                Ok(Self::Object(members))
            }
            Some(b'[') => {
                let mut elements = Vec::new();
                let mut more = reader.enter(depth)?.begin_array()?;
                while more {
                    elements.push(Self::read(reader, depth + 1)?);
                    more = reader.next_element()?;
                }
                Ok(Self::Array(elements))
            }
            _ => Ok(match reader.scalar()? {
                Scalar::Null => Self::Null,
                Scalar::Bool(value) => Self::Bool(value),
                Scalar::Number(text) => Self::Number(text),
                Scalar::String(text) => Self::String(text),
            }),
        }
    }

    /// The value of a member, if this is an object that has it.
    pub(crate) fn member(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let found = members
            .binary_search_by(|member| compare_keys(&member.key, key))
            .ok()?;
        members.get(found).map(|member| &member.value)
    }

    /// Appends the canonical text of this value to `out`.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(text) => out.push_str(text),
            Self::String(text) => write_string(text, out),
            Self::Array(elements) => {
                let mut separator = "[";
                for element in elements {
                    out.push_str(separator);
                    element.write(out);
                    separator = ", ";
                }
                out.push_str(if elements.is_empty() { "[]" } else { "]" });
            }
            Self::Object(members) => {
                let mut separator = "{";
                for member in members {
                    out.push_str(separator);
                    write_string(&member.key, out);
                    out.push_str(": ");
                    member.value.write(out);
                    separator = ", ";
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }
}

/// Sorts members by key and keeps the last of those with the same key.
fn sort_members(members: &mut Vec<Member<'_>>) {
    // A stable sort leaves members with the same key in the order they were written; `dedup_by` passes the later of two neighbours
    // first and drops it, so the later one is swapped to where it stays.
    members.sort_by(|left, right| compare_keys(&left.key, &right.key));
    members.dedup_by(|later, earlier| {
        let same = later.key == earlier.key;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

/// Appends a JSON string with as few escapes as `escape_json` of PostgreSQL uses.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut written = 0;
    loop {
        let special = find_special(text.as_bytes(), written);
        out.push_str(text.get(written..special).unwrap_or_default());
        match text.as_bytes().get(special).copied() {
            None => break,
            Some(b'"') => out.push_str("\\\""),
            Some(b'\\') => out.push_str("\\\\"),
            Some(0x08) => out.push_str("\\b"),
            Some(0x0c) => out.push_str("\\f"),
            Some(b'\n') => out.push_str("\\n"),
            Some(b'\r') => out.push_str("\\r"),
            Some(b'\t') => out.push_str("\\t"),
            Some(control) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        written = special + 1;
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        JsonNode::parse(text).expect(text).write(&mut out);
        out
    }

    #[test]
    fn members_are_sorted_by_length_then_bytes_and_the_last_wins() {
        assert_eq!(
            written(r#"{"bb":1,"a":2,"c":3,"aa":4,"":5}"#),
            r#"{"": 5, "a": 2, "c": 3, "aa": 4, "bb": 1}"#
        );
        assert_eq!(
            written(r#"{"a":1,"b":2,"a":3,"a":4}"#),
            r#"{"a": 4, "b": 2}"#
        );
        assert_eq!(written(r#"{"a":1,"\u0061":2}"#), r#"{"a": 2}"#);
    }

    #[test]
    fn numbers_keep_their_text() {
        assert_eq!(
            written("[1.0,1e2,-0,12345678901234567890.123,1E+5]"),
            "[1.0, 1e2, -0, 12345678901234567890.123, 1E+5]"
        );
    }

    #[test]
    fn strings_are_escaped_as_postgresql_does() {
        assert_eq!(
            written(
                "\"\\u0022\\u005c\\/\\u0008\\u000c\\u000a\\u000d\\u0009\\u001F\\u007f\\u00e9\""
            ),
            "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\u{7f}é\""
        );
    }

    #[test]
    fn members_are_found() {
        let node = JsonNode::parse(r#"{"a":1,"bb":[2]}"#).expect("valid");
        assert_eq!(node.member("a"), Some(&JsonNode::Number("1")));
        assert_eq!(node.member("b"), None);
        assert_eq!(JsonNode::Null.member("a"), None);
    }
}
