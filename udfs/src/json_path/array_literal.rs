//! Owns the reading of a PostgreSQL `text[]` literal such as `{a,0,"b c"}`, the form paths and key lists are written in.
//!
//! The rules are those of "Array Input and Output Syntax" in PostgreSQL's manual, for one dimension.

use crate::json_error::JsonError;

/// The elements of a one-dimensional array literal; an unquoted `NULL` is none.
///
/// # Errors
/// SQLSTATE 22P02 if the text is no such literal.
pub(crate) fn parse(literal: &str) -> Result<Vec<Option<String>>, JsonError> {
    let malformed = |detail: &str| JsonError::array_literal(literal, detail);
    let Some(body) = literal.trim_matches(is_space).strip_prefix('{') else {
        return Err(malformed("Array value must start with \"{\"."));
    };
    let mut characters = body.chars().peekable();
    let mut elements = Vec::new();
    skip_space(&mut characters);
    if characters.peek() == Some(&'}') {
        characters.next();
        return finish(characters, elements)
            .ok_or_else(|| malformed("Junk after closing right brace."));
    }
    loop {
        skip_space(&mut characters);
        let quoted = characters.next_if_eq(&'"').is_some();
        let element = if quoted {
            read_quoted(&mut characters)
        } else {
            read_bare(&mut characters)
        };
        let Some(element) = element else {
            return Err(malformed("Unexpected end of input."));
        };
        if !quoted && element.is_empty() {
            return Err(malformed("Unexpected array element."));
        }
        let is_null = !quoted && element.eq_ignore_ascii_case("null");
        elements.push(if is_null { None } else { Some(element) });
        skip_space(&mut characters);
        match characters.next() {
            Some(',') => {}
            Some('}') => {
                return finish(characters, elements)
                    .ok_or_else(|| malformed("Junk after closing right brace."));
            }
            Some(_) => return Err(malformed("Incorrectly quoted array element.")),
            None => return Err(malformed("Unexpected end of input.")),
        }
    }
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

fn skip_space(characters: &mut Characters<'_>) {
    while characters
        .next_if(|character| is_space(*character))
        .is_some()
    {}
}

fn finish(mut rest: Characters<'_>, elements: Vec<Option<String>>) -> Option<Vec<Option<String>>> {
    rest.next().is_none().then_some(elements)
}

/// Reads up to and with the closing quote.
fn read_quoted(characters: &mut Characters<'_>) -> Option<String> {
    let mut element = String::new();
    loop {
        match characters.next()? {
            '"' => return Some(element),
            '\\' => element.push(characters.next()?),
            other => element.push(other),
        }
    }
}

/// Reads up to, but without, what ends an element outside quotes; white space at its end is not part of it.
fn read_bare(characters: &mut Characters<'_>) -> Option<String> {
    let mut element = String::new();
    let mut kept = 0;
    while let Some(character) = characters.next_if(|next| !matches!(next, ',' | '}' | '{' | '"')) {
        if character == '\\' {
            element.push(characters.next()?);
            kept = element.len();
        } else {
            element.push(character);
            if !is_space(character) {
                kept = element.len();
            }
        }
    }
    element.truncate(kept);
    Some(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_elements() {
        for (literal, expected) in [
            ("{}", vec![]),
            (" { a , 0,b c } ", vec![Some("a"), Some("0"), Some("b c")]),
            (
                "{\"a,b\",\"q\\\"\",\"\",\"null\"}",
                vec![Some("a,b"), Some("q\""), Some(""), Some("null")],
            ),
            ("{NULL,x\\,y}", vec![None, Some("x,y")]),
        ] {
            let parsed = parse(literal).expect(literal);
            let parsed: Vec<Option<&str>> = parsed.iter().map(Option::as_deref).collect();
            assert_eq!(parsed, expected, "{literal}");
        }
    }

    #[test]
    fn refuses_what_is_no_literal() {
        for literal in [
            "", "a", "{a", "{a,}", "{,a}", "{\"a}", "{a}b", "{\"a\"b}", "{{a}}", "{a\\",
        ] {
            assert_eq!(
                parse(literal).expect_err(literal).sqlstate,
                "22P02",
                "{literal}"
            );
        }
    }
}
