//! Functions that cut text into arrays: `string_to_array` and `parse_ident`.

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::functions::{Call, SystemFunction, lenient, strict};
use crate::pg_catalog::rows::Cell;

pub(super) const FUNCTIONS: &[SystemFunction] = &[
    strict("parse_ident", "text[]", parse_ident),
    lenient("string_to_array", "text[]", string_to_array),
];

/// `string_to_array(text, delimiter [, null])`: without a delimiter each character is an element, and an empty one does not cut.
fn string_to_array(call: &Call<'_>) -> Result<Cell> {
    if *call.cell(0) == Cell::Null {
        return Ok(Cell::Null);
    }
    let text = call.text(0)?;
    let null = match call.cell(2) {
        Cell::Null => None,
        _ => Some(call.text(2)?),
    };
    let element = |text: &str| match null == Some(text) {
        true => Cell::Null,
        false => Cell::from(text.to_string()),
    };
    if text.is_empty() {
        return Ok(Cell::List(Vec::new()));
    }
    Ok(Cell::List(match call.cell(1) {
        Cell::Null => text
            .chars()
            .map(|character| element(&character.to_string()))
            .collect(),
        _ => match call.text(1)? {
            "" => vec![element(text)],
            delimiter => text.split(delimiter).map(element).collect(),
        },
    }))
}

/// `parse_ident(name [, strict])`: the parts of a qualified name, folded unless they are quoted.
fn parse_ident(call: &Call<'_>) -> Result<Cell> {
    let name = call.text(0)?;
    let strict = match call.fields.len() {
        0 | 1 => true,
        _ => call.bool(1)?,
    };
    let invalid = || {
        PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("string is not a valid identifier: \"{name}\""),
        )
    };
    let mut rest = name.trim_start_matches(is_space);
    let mut parts: Vec<String> = Vec::new();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (part, after) = quoted_part(quoted)
                .ok_or_else(|| invalid().with_detail("String has unclosed double quotes."))?;
            if part.is_empty() {
                return Err(invalid().with_detail("Quoted identifier must not be empty."));
            }
            parts.push(part);
            rest = after;
        } else if rest.starts_with(starts_name) {
            let after = rest.trim_start_matches(continues_name);
            let part = rest.get(..rest.len() - after.len()).unwrap_or_default();
            parts.push(part.to_lowercase());
            rest = after;
        } else {
            return Err(if rest.starts_with('.') {
                invalid().with_detail("No valid identifier before \".\".")
            } else if parts.is_empty() {
                invalid()
            } else {
                invalid().with_detail("No valid identifier after \".\".")
            });
        }
        rest = rest.trim_start_matches(is_space);
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start_matches(is_space),
            None if rest.is_empty() || !strict => return Ok(parts.into()),
            None => return Err(invalid()),
        }
    }
}

/// Text up to the quote that closes it, two quotes read as one, and what follows.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Some((part, after)),
        }
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{c}' | '\r')
}

fn starts_name(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic() || !character.is_ascii()
}

fn continues_name(character: char) -> bool {
    starts_name(character) || character == '$' || character.is_ascii_digit()
}
