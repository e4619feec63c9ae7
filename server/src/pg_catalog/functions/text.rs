//! Functions over values that PostgreSQL has and DataFusion has not.

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::functions::{Call, SystemFunction, lenient, strict};
use crate::pg_catalog::names::{quote_ident, quote_literal};
use crate::pg_catalog::rows::Cell;
use nyala_catalog::types::SqlType;

pub(super) const FUNCTIONS: &[SystemFunction] = &[
    strict("array_lower", "int4", array_lower),
    strict("array_upper", "int4", array_upper),
    lenient("format", "text", format),
    strict("nyala_like_pattern", "text", like_pattern),
    strict("nyala_option_name", "text", |call| {
        Ok(option(call)?.0.to_string().into())
    }),
    strict("nyala_option_value", "text", |call| {
        Ok(option(call)?.1.to_string().into())
    }),
    strict("pg_size_pretty", "text", size_pretty),
    lenient("pg_typeof", "regtype", |call| {
        Ok(call
            .fields
            .first()
            .map(|field| match SqlType::of_field(field) {
                // A value has no length or precision of its own.
                SqlType::Numeric(_) => "numeric".to_string(),
                SqlType::Varchar(_) => "character varying".to_string(),
                SqlType::Bpchar(_) => "character".to_string(),
                ty => ty.to_string(),
            })
            .into())
    }),
    strict("quote_ident", "text", |call| {
        Ok(quote_ident(call.text(0)?).into_owned().into())
    }),
    strict("quote_literal", "text", |call| {
        Ok(quote_literal(&shown(call.cell(0))).into())
    }),
    lenient("quote_nullable", "text", |call| {
        Ok(literal(call.cell(0)).into())
    }),
    strict("uuid_in", "uuid", uuid_in),
];

/// Elements of an array argument, and the subscript of the first; a vector counts from 0.
fn elements(call: &Call<'_>) -> Result<(usize, i64)> {
    match call.cell(0) {
        Cell::List(elements) => Ok((elements.len(), 1)),
        _ => Ok((call.text(0)?.split_whitespace().count(), 0)),
    }
}

fn array_lower(call: &Call<'_>) -> Result<Cell> {
    let (count, first) = elements(call)?;
    Ok((count > 0 && call.int(1)? == 1).then_some(first).into())
}

fn array_upper(call: &Call<'_>) -> Result<Cell> {
    let (count, first) = elements(call)?;
    Ok((count > 0 && call.int(1)? == 1)
        .then_some(first + count as i64 - 1)
        .into())
}

/// A LIKE pattern that escapes with a backslash, from one that escapes with another character or with none.
fn like_pattern(call: &Call<'_>) -> Result<Cell> {
    let mut escapes = call.text(1)?.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        let message = "invalid escape string";
        return Err(PgError::new("22025", message)
            .with_hint("Escape string must be empty or one character."));
    }
    let mut pattern = String::new();
    let mut characters = call.text(0)?.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            let message = "LIKE pattern must not end with escape character";
            let escaped = characters
                .next()
                .ok_or_else(|| PgError::new("22025", message))?;
            pattern.extend(['\\', escaped]);
        } else if character == '\\' {
            pattern.push_str("\\\\");
        } else {
            pattern.push(character);
        }
    }
    Ok(pattern.into())
}

/// An entry of an option list, `name=value`.
fn option<'a>(call: &'a Call<'_>) -> Result<(&'a str, &'a str)> {
    let text = call.text(0)?;
    Ok(text.split_once('=').unwrap_or((text, "")))
}

/// A value as text, for functions that take any type.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Bool(value) => if *value { "t" } else { "f" }.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Text(text) => text.to_string(),
        Cell::List(list) => {
            let shown: Vec<_> = list.iter().map(shown).collect();
            format!("{{{}}}", shown.join(","))
        }
    }
}

fn literal(cell: &Cell) -> String {
    if *cell == Cell::Null {
        "NULL".to_string()
    } else {
        quote_literal(&shown(cell))
    }
}

/// `format`: `%s`, `%I`, `%L` and `%%`, each with an optional position (`%2$s`).
fn format(call: &Call<'_>) -> Result<Cell> {
    let invalid = |message: String| PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message);
    if *call.cell(0) == Cell::Null {
        return Ok(Cell::Null);
    }
    let mut output = String::new();
    let mut next = 1;
    let mut characters = call.text(0)?.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = characters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if !digits.is_empty() && characters.next_if_eq(&'$').is_some() {
            next = digits
                .parse()
                .map_err(|_| invalid("number is out of range".to_string()))?;
        } else if !digits.is_empty() {
            return Err(PgError::unsupported("width in format()"));
        }
        let conversion = characters.next();
        if conversion == Some('%') {
            output.push('%');
            continue;
        }
        let argument = call.arguments.get(next).filter(|_| next > 0);
        let argument =
            argument.ok_or_else(|| invalid("too few arguments for format()".to_string()))?;
        next += 1;
        match conversion {
            Some('s') => output.push_str(&shown(argument)),
            Some('L') => output.push_str(&literal(argument)),
            Some('I') if *argument == Cell::Null => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(invalid(message.to_string()));
            }
            Some('I') => output.push_str(&quote_ident(&shown(argument))),
            Some(other) => {
                return Err(invalid(format!(
                    "unrecognized format() type specifier \"{other}\""
                )));
            }
            None => return Err(invalid("unterminated format() type specifier".to_string())),
        }
    }
    Ok(output.into())
}

/// `pg_size_pretty`: PostgreSQL changes units at ten of the larger one and rounds halves up.
fn size_pretty(call: &Call<'_>) -> Result<Cell> {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    const LIMIT: u64 = 10 * 1024;
    let size = call.int(0)?;
    let sign = if size < 0 { "-" } else { "" };
    let bytes = size.unsigned_abs();
    if bytes < LIMIT {
        return Ok(format!("{sign}{bytes} bytes").into());
    }
    // Half units are kept until the end, so that rounding happens once.
    let mut halves = bytes >> 9;
    let mut units = UNITS.iter().peekable();
    while let Some(unit) = units.next() {
        if halves < LIMIT * 2 - 1 || units.peek().is_none() {
            return Ok(format!("{sign}{} {unit}", halves.div_ceil(2)).into());
        }
        halves >>= 10;
    }
    Ok(Cell::Null)
}

/// A uuid in its canonical form, from any of the forms PostgreSQL reads.
fn uuid_in(call: &Call<'_>) -> Result<Cell> {
    let text = call.text(0)?;
    let braced = text
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'));
    let inner = braced.unwrap_or(text);
    let digits: String = inner.chars().filter(|c| *c != '-').collect();
    let grouped = inner
        .split('-')
        .all(|group| !group.is_empty() && group.len().is_multiple_of(4));
    let valid = digits.len() == 32 && grouped && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !valid {
        let message = format!("invalid input syntax for type uuid: \"{text}\"");
        return Err(PgError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message));
    }
    let mut canonical = digits.to_ascii_lowercase();
    for position in [20, 16, 12, 8] {
        canonical.insert(position, '-');
    }
    Ok(canonical.into())
}
