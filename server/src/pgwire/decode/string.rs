//! Text input of the types that are stored as strings or bytes: lengths, `uuid`, JSON and `bytea`.
//!
//! Owns the length rules of `varchar(n)` and `char(n)` and the grammars of `uuid` and `bytea`. JSON is
//! left to the kernel that the settings name.

use std::borrow::Cow;

use arrow::array::StringViewBuilder;
use nyala_catalog::types::SqlType;

use super::{JsonInput, ValueError};

/// Bytes that a `name` keeps (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

/// Appends `text` as a value of a string type.
pub fn append(
    text: &str,
    ty: &SqlType,
    json: JsonInput,
    builder: &mut StringViewBuilder,
) -> Result<(), ValueError> {
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(ValueError::new(
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    match ty {
        SqlType::Varchar(Some(limit)) => builder.append_value(limited(text, *limit, ty)?),
        SqlType::Bpchar(Some(limit)) => {
            builder.append_value(limited(text, *limit, ty)?.trim_end_matches(' '));
        }
        SqlType::Bpchar(None) => builder.append_value(text.trim_end_matches(' ')),
        SqlType::Name => builder.append_value(name(text)),
        SqlType::Char => {
            let end = text.chars().next().map_or(0, char::len_utf8);
            builder.append_value(text.get(..end).unwrap_or_default());
        }
        SqlType::Uuid => {
            let uuid = parse_uuid(text).ok_or_else(|| ValueError::syntax("uuid", text))?;
            builder.append_value(String::from_utf8_lossy(&uuid));
        }
        SqlType::Json => builder.append_value(json(text, false)?),
        SqlType::Jsonb => builder.append_value(json(text, true)?),
        _ => builder.append_value(text),
    }
    Ok(())
}

/// `text` if it has at most `limit` characters; excess blanks are cut.
fn limited<'a>(text: &'a str, limit: u32, ty: &SqlType) -> Result<&'a str, ValueError> {
    let limit = limit as usize;
    if text.len() <= limit {
        return Ok(text);
    }
    let Some((end, _)) = text.char_indices().nth(limit) else {
        return Ok(text);
    };
    let (kept, excess) = text.split_at(end);
    if excess.bytes().all(|byte| byte == b' ') {
        return Ok(kept);
    }
    Err(ValueError::new(
        "22001",
        format!("value too long for type {ty}"),
    ))
}

fn name(text: &str) -> &str {
    text.get(..text.floor_char_boundary(NAME_BYTES_MAX))
        .unwrap_or(text)
}

/// The canonical form of a UUID; PostgreSQL allows braces, either case and a hyphen after any group of
/// four digits.
pub fn parse_uuid(text: &str) -> Option<[u8; 36]> {
    let body = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut digits = [0_u8; 32];
    let mut count = 0;
    let mut after_hyphen = true;
    for byte in body.bytes() {
        if byte == b'-' {
            if after_hyphen || count % 4 != 0 || count == 32 {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        if !byte.is_ascii_hexdigit() {
            return None;
        }
        *digits.get_mut(count)? = byte.to_ascii_lowercase();
        count += 1;
        after_hyphen = false;
    }
    (count == 32).then(|| format_uuid(&digits))
}

/// Puts the hyphens between 32 hexadecimal digits.
pub fn format_uuid(digits: &[u8; 32]) -> [u8; 36] {
    let mut out = [b'-'; 36];
    let slots = (0..36).filter(|slot| !matches!(slot, 8 | 13 | 18 | 23));
    for (slot, digit) in slots.zip(digits) {
        if let Some(target) = out.get_mut(slot) {
            *target = *digit;
        }
    }
    out
}

/// The bytes of `\x00ff` or of the escape form `\000\377`.
pub fn parse_bytea(text: &str) -> Result<Cow<'_, [u8]>, ValueError> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return parse_hex(digits).map(Cow::Owned);
    }
    parse_escaped(text)
}

/// The bytes of the escape form alone.
pub fn parse_escaped(text: &str) -> Result<Cow<'_, [u8]>, ValueError> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let syntax = || ValueError::new("22P02", "invalid input syntax for type bytea");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(Cow::Owned(bytes)),
            [b'\\', b'\\', rest @ ..] => {
                bytes.push(b'\\');
                rest
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest
            }
            [b'\\', ..] => return Err(syntax()),
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

fn parse_hex(text: &str) -> Result<Vec<u8>, ValueError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut characters = text.chars();
    let value = |c: char| {
        c.to_digit(16)
            .map(|digit| digit as u8)
            .ok_or_else(|| ValueError::new("22023", format!("invalid hexadecimal digit: \"{c}\"")))
    };
    while let Some(c) = characters.next() {
        if matches!(c, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = value(c)?;
        let low = characters.next().ok_or_else(|| {
            ValueError::new("22023", "invalid hexadecimal data: odd number of digits")
        })?;
        bytes.push((high << 4) | value(low)?);
    }
    Ok(bytes)
}
