//! Prints the binary form of a value as PostgreSQL's text output would.
//!
//! The extended-protocol run of every script asks for binary results and prints them here, so one
//! expected text checks both of a server's encoders. The time zone is always UTC.

mod numbers;
mod times;

use super::wire::Column;

/// The letters of `query` lines in the scripts; see [`kind`].
pub const KINDS: &str = "BIRTXDUJA";

/// What a column holds, as one letter: Boolean, Integer, Real (floats and numeric), Text, bytea
/// (X), Date and time, Uuid, Json, Array; `?` for all other types.
pub fn kind(type_oid: u32) -> char {
    match type_oid {
        16 => 'B',
        20 | 21 | 23 | 26 => 'I',
        700 | 701 | 1700 => 'R',
        18 | 19 | 25 | 705 | 1042 | 1043 => 'T',
        17 => 'X',
        1082 | 1083 | 1114 | 1184 | 1186 => 'D',
        2950 => 'U',
        114 | 3802 => 'J',
        oid if element_type(oid).is_some() => 'A',
        _ => '?',
    }
}

/// The element type of an array type.
fn element_type(array_oid: u32) -> Option<u32> {
    Some(match array_oid {
        1000 => 16,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1231 => 1700,
        1009 => 25,
        1015 => 1043,
        1014 => 1042,
        1001 => 17,
        1182 => 1082,
        1183 => 1083,
        1115 => 1114,
        1185 => 1184,
        1187 => 1186,
        2951 => 2950,
        199 => 114,
        3807 => 3802,
        _ => return None,
    })
}

/// Whether [`print`] knows the binary form of a type.
pub fn has_binary(type_oid: u32) -> bool {
    kind(type_oid) != '?'
}

/// The value as text, whichever format its column has.
pub fn print(column: &Column, bytes: &[u8]) -> Result<String, String> {
    if column.format == 0 {
        return String::from_utf8(bytes.to_vec())
            .map_err(|_| format!("column {}: text that is not UTF-8: {bytes:?}", column.name));
    }
    binary(column.type_oid, bytes).map_err(|error| {
        format!(
            "column {} of type {}: {error}",
            column.name, column.type_oid
        )
    })
}

fn binary(type_oid: u32, bytes: &[u8]) -> Result<String, String> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("not UTF-8: {bytes:?}"))
    };
    Ok(match type_oid {
        16 => match fixed::<1>(bytes)? {
            [0] => "f".into(),
            [1] => "t".into(),
            [other] => return Err(format!("boolean byte {other}")),
        },
        21 => i16::from_be_bytes(fixed(bytes)?).to_string(),
        23 => i32::from_be_bytes(fixed(bytes)?).to_string(),
        20 => i64::from_be_bytes(fixed(bytes)?).to_string(),
        26 => u32::from_be_bytes(fixed(bytes)?).to_string(),
        700 => numbers::float4(f32::from_be_bytes(fixed(bytes)?)),
        701 => numbers::float8(f64::from_be_bytes(fixed(bytes)?)),
        1700 => numbers::numeric(bytes)?,
        18 | 19 | 25 | 114 | 705 | 1042 | 1043 => text(bytes)?,
        3802 => match bytes.split_first() {
            Some((1, json)) => text(json)?,
            other => return Err(format!("jsonb version: {other:?}")),
        },
        17 => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("\\x{}", digits.collect::<String>())
        }
        1082 => times::date(i32::from_be_bytes(fixed(bytes)?)),
        1083 => times::time(i64::from_be_bytes(fixed(bytes)?)),
        1114 => times::timestamp(i64::from_be_bytes(fixed(bytes)?), ""),
        1184 => times::timestamp(i64::from_be_bytes(fixed(bytes)?), "+00"),
        1186 => times::interval(bytes)?,
        2950 => uuid(fixed(bytes)?),
        array => array_text(array, bytes)?,
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes
        .try_into()
        .map_err(|_| format!("expected {N} bytes, got {bytes:?}"))
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// Arrays of at most one dimension; the tables here have no others.
fn array_text(array_oid: u32, bytes: &[u8]) -> Result<String, String> {
    let element = element_type(array_oid).ok_or("no binary form known")?;
    let mut rest = bytes;
    let dimensions = take_int4(&mut rest)?;
    let has_null = take_int4(&mut rest)?;
    let declared = take_int4(&mut rest)?;
    if declared != element as i32 {
        return Err(format!(
            "array declares elements of type {declared}, expected {element}"
        ));
    }
    match dimensions {
        0 => {
            return if rest.is_empty() {
                Ok("{}".into())
            } else {
                Err("bytes left over".into())
            };
        }
        1 => {}
        other => return Err(format!("{other} dimensions")),
    }
    let length = take_int4(&mut rest)?;
    let lower_bound = take_int4(&mut rest)?;
    if lower_bound != 1 {
        return Err(format!("lower bound {lower_bound}"));
    }
    let mut items = Vec::new();
    for _ in 0..length {
        let size = take_int4(&mut rest)?;
        match usize::try_from(size) {
            Err(_) if has_null == 0 => return Err("a NULL, but the flag says there is none".into()),
            Err(_) => items.push("NULL".to_string()),
            Ok(size) => {
                let (value, after) = rest.split_at_checked(size).ok_or("element cut short")?;
                rest = after;
                items.push(quoted(&binary(element, value)?));
            }
        }
    }
    if rest.is_empty() {
        Ok(format!("{{{}}}", items.join(",")))
    } else {
        Err("bytes left".into())
    }
}

fn take_int4(rest: &mut &[u8]) -> Result<i32, String> {
    let (head, tail) = rest
        .split_first_chunk::<4>()
        .ok_or("array header cut short")?;
    *rest = tail;
    Ok(i32::from_be_bytes(*head))
}

/// Array elements are quoted when they are empty, look like NULL or hold a special character.
fn quoted(text: &str) -> String {
    let special = |c: char| c.is_ascii_whitespace() || "{},\"\\".contains(c);
    if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    } else {
        text.to_string()
    }
}
