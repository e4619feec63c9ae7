//! COPY's text format: one line a record, backslash escapes.
//!
//! Owns the end of records, the splitting and unescaping of fields, and the escaping of output; knows no
//! types.

use bytes::BytesMut;

use super::Dialect;
use crate::pgwire::append::Append;

/// Finds the newline that ends the record at the start of `buffer`; the search begins at `from`.
pub fn record_end(buffer: &[u8], from: usize) -> Option<usize> {
    let unseen = buffer.get(from..)?;
    memchr::memchr_iter(b'\n', unseen)
        .map(|at| from + at)
        .find(|at| {
            // A newline behind an odd number of backslashes is data.
            let before = buffer.get(..*at).unwrap_or_default();
            before
                .iter()
                .rev()
                .take_while(|byte| **byte == b'\\')
                .count()
                % 2
                == 0
        })
}

/// Whether the record has a carriage return that is not escaped.
pub fn has_bare_return(record: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', record).any(|at| {
        let before = record.get(..at).unwrap_or_default();
        before
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count()
            % 2
            == 0
    })
}

/// Takes the next field of a record off `rest`; `rest` is `None` behind the last one. `scratch` holds the
/// field where it had escapes.
pub fn next_field<'f, 'a: 'f>(
    rest: &mut Option<&'a [u8]>,
    dialect: &Dialect,
    scratch: &'f mut Vec<u8>,
) -> Option<Field<'f>> {
    let record = rest.take()?;
    let mut escaped = false;
    let mut from = 0;
    let end = loop {
        let unseen = record.get(from..).unwrap_or_default();
        match memchr::memchr2(dialect.delimiter, b'\\', unseen) {
            None => break record.len(),
            Some(at) if unseen.get(at) == Some(&b'\\') => {
                escaped = true;
                from += at + 2;
            }
            Some(at) => break from + at,
        }
    };
    let raw = record.get(..end).unwrap_or_default();
    *rest = record.get(end + 1..).filter(|_| end < record.len());
    if raw == dialect.null.as_bytes() {
        return Some(Field {
            value: raw,
            null: true,
        });
    }
    if !escaped {
        return Some(Field {
            value: raw,
            null: false,
        });
    }
    unescape(raw, scratch);
    Some(Field {
        value: scratch,
        null: false,
    })
}

/// A field without quotes and escapes.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its bytes.
    pub value: &'a [u8],
    /// Whether it is the NULL marker.
    pub null: bool,
}

fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(escaped) = bytes.next() else {
            out.push(b'\\');
            return;
        };
        let value = match escaped {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'0'..=b'7' => {
                let mut value = escaped - b'0';
                for _ in 0..2 {
                    match bytes.next_if(|digit| matches!(digit, b'0'..=b'7')) {
                        Some(digit) => value = (value << 3) | (digit - b'0'),
                        None => break,
                    }
                }
                value
            }
            b'x' => {
                let mut digit = || {
                    let digit = bytes.next_if(u8::is_ascii_hexdigit)?;
                    char::from(digit).to_digit(16).map(|digit| digit as u8)
                };
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high << 4) | low,
                    (Some(low), None) => low,
                    _ => b'x',
                }
            }
            other => other,
        };
        out.push(value);
    }
}

/// Escapes what was appended to `out` since `start`.
pub fn escape_from(start: usize, dialect: &Dialect, scratch: &mut Vec<u8>, out: &mut BytesMut) {
    let delimiter = dialect.delimiter;
    let special = |byte: &u8| matches!(byte, 0x08..=0x0d | b'\\') || *byte == delimiter;
    let value = out.get(start..).unwrap_or_default();
    if !value.iter().any(special) {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(value);
    out.truncate(start);
    for byte in scratch.iter() {
        let shown = match byte {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0b => b'v',
            0x0c => b'f',
            0x0d => b'r',
            other => *other,
        };
        if special(byte) {
            out.put_u8(b'\\');
        }
        out.put_u8(shown);
    }
}
