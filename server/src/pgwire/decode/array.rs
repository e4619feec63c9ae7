//! Text input of arrays: `{1,NULL,"a b"}`.
//!
//! Owns the grammar of array literals of one dimension; elements go to the parser of their type as they
//! are found.

use super::{ColumnParser, ValueError};

fn malformed(text: &str, detail: &str) -> ValueError {
    ValueError::new("22P02", format!("malformed array literal: \"{text}\"")).with_detail(detail)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Appends the elements of the literal `text` to `elements`.
///
/// # Errors
/// 22P02 for a malformed literal, 0A000 for more than one dimension or explicit bounds, and those of
/// the elements.
pub fn parse_array(text: &str, elements: &mut ColumnParser) -> Result<(), ValueError> {
    let body = super::number::trim(text);
    if body.starts_with('[') {
        return Err(ValueError::new(
            "0A000",
            "array literals with explicit bounds are not supported",
        ));
    }
    let Some(body) = body.strip_prefix('{') else {
        return Err(malformed(
            text,
            "Array value must start with \"{\" or dimension information.",
        ));
    };
    let mut rest = body.trim_start_matches(is_space);
    if let Some(after) = rest.strip_prefix('}') {
        return expect_end(text, after);
    }
    let mut buffer = String::new();
    loop {
        rest = parse_element(
            text,
            rest.trim_start_matches(is_space),
            &mut buffer,
            elements,
        )?;
        rest = rest.trim_start_matches(is_space);
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if let Some(after) = rest.strip_prefix('}') {
            return expect_end(text, after);
        } else {
            return Err(malformed(text, unexpected(rest)));
        }
    }
}

fn unexpected(rest: &str) -> &'static str {
    if rest.is_empty() {
        "Unexpected end of input."
    } else {
        "Unexpected array element."
    }
}

fn expect_end(text: &str, rest: &str) -> Result<(), ValueError> {
    if rest.trim_start_matches(is_space).is_empty() {
        return Ok(());
    }
    Err(malformed(text, "Junk after closing right brace."))
}

/// Appends the element that `rest` starts with; returns what follows it.
fn parse_element<'a>(
    text: &str,
    rest: &'a str,
    buffer: &mut String,
    elements: &mut ColumnParser,
) -> Result<&'a str, ValueError> {
    buffer.clear();
    let mut characters = rest.char_indices();
    if let Some((_, '"')) = characters.clone().next() {
        characters.next();
        while let Some((_, c)) = characters.next() {
            match c {
                '"' => {
                    elements.append_text(buffer)?;
                    return Ok(characters.as_str());
                }
                '\\' => match characters.next() {
                    Some((_, escaped)) => buffer.push(escaped),
                    None => break,
                },
                _ => buffer.push(c),
            }
        }
        return Err(malformed(text, "Unexpected end of input."));
    }
    // Escaped blanks at the end belong to the element, bare ones do not.
    let mut kept = 0;
    let mut escaped_any = false;
    let mut end = rest.len();
    while let Some((at, c)) = characters.next() {
        match c {
            ',' | '}' => {
                end = at;
                break;
            }
            '{' if buffer.is_empty() => {
                return Err(ValueError::new(
                    "0A000",
                    "arrays of several dimensions are not supported",
                ));
            }
            '{' => return Err(malformed(text, "Unexpected \"{\" character.")),
            '"' => return Err(malformed(text, "Unexpected array element.")),
            '\\' => {
                let Some((_, escaped)) = characters.next() else {
                    break;
                };
                buffer.push(escaped);
                kept = buffer.len();
                escaped_any = true;
            }
            _ => {
                buffer.push(c);
                if !is_space(c) {
                    kept = buffer.len();
                }
            }
        }
    }
    let after = rest.get(end..).unwrap_or_default();
    buffer.truncate(kept);
    if buffer.is_empty() {
        return Err(malformed(text, unexpected(after)));
    }
    if !escaped_any && buffer.eq_ignore_ascii_case("NULL") {
        elements.append_null();
    } else {
        elements.append_text(buffer)?;
    }
    Ok(after)
}
