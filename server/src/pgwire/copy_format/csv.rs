//! COPY's CSV format: PostgreSQL's dialect, in which an empty field without quotes is NULL and one with
//! quotes is the empty string.
//!
//! Owns the end of records (newlines in quotes are data), the splitting of fields and the quoting of
//! output; knows no types.

use bytes::BytesMut;

use super::Dialect;
use super::text::Field;
use crate::pgwire::append::Append;

/// How far the search for a record's end came; kept between chunks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Search {
    /// Bytes seen.
    pub seen: usize,
    /// Whether they end inside quotes.
    pub in_quotes: bool,
    /// Whether the last byte was an escape that may belong to a quote behind it.
    escape_pending: bool,
    /// Newlines inside quotes.
    pub quoted_newlines: u64,
}

/// Finds the newline that ends the record at the start of `buffer`, going on where `search` ended.
pub fn record_end(buffer: &[u8], dialect: &Dialect, search: &mut Search) -> Option<usize> {
    loop {
        let unseen = buffer.get(search.seen..)?;
        if search.escape_pending {
            search.escape_pending = false;
            match unseen.first() {
                Some(next) if *next == dialect.quote || *next == dialect.escape => {
                    search.seen += 1;
                    continue;
                }
                Some(_) => {}
                None => {
                    search.escape_pending = true;
                    return None;
                }
            }
        }
        let Some(at) = memchr::memchr3(dialect.quote, dialect.escape, b'\n', unseen) else {
            search.seen = buffer.len();
            return None;
        };
        let byte = unseen.get(at).copied().unwrap_or_default();
        let position = search.seen + at;
        search.seen = position + 1;
        if byte == b'\n' {
            if !search.in_quotes {
                return Some(position);
            }
            search.quoted_newlines += 1;
        } else if byte == dialect.quote {
            // A doubled quote closes and opens again, which comes to the same.
            search.in_quotes = !search.in_quotes;
        } else {
            search.escape_pending = search.in_quotes;
        }
    }
}

/// Takes the next field of a record off `rest`; `rest` is `None` behind the last one. `scratch` holds the
/// field where it had quotes.
pub fn next_field<'f, 'a: 'f>(
    rest: &mut Option<&'a [u8]>,
    dialect: &Dialect,
    scratch: &'f mut Vec<u8>,
) -> Option<Field<'f>> {
    let record = rest.take()?;
    let end = memchr::memchr2(dialect.delimiter, dialect.quote, record).unwrap_or(record.len());
    if record.get(end) != Some(&dialect.quote) {
        let value = record.get(..end).unwrap_or_default();
        *rest = record.get(end + 1..).filter(|_| end < record.len());
        return Some(Field {
            value,
            null: value == dialect.null.as_bytes(),
        });
    }
    scratch.clear();
    let mut bytes = record.iter();
    let mut in_quotes = false;
    while let Some(byte) = bytes.next() {
        if !in_quotes {
            if *byte == dialect.delimiter {
                *rest = Some(bytes.as_slice());
                break;
            }
            if *byte == dialect.quote {
                in_quotes = true;
            } else {
                scratch.push(*byte);
            }
            continue;
        }
        let next = bytes.as_slice().first();
        let escapes = next.is_some_and(|next| *next == dialect.quote || *next == dialect.escape);
        if *byte == dialect.escape && escapes {
            scratch.extend(bytes.next());
        } else if *byte == dialect.quote {
            in_quotes = false;
        } else {
            scratch.push(*byte);
        }
    }
    // Quotes make it a value even where it reads like the NULL marker.
    Some(Field {
        value: scratch,
        null: false,
    })
}

/// Puts what was appended to `out` since `start` in quotes where it needs them or `force` says so.
pub fn quote_from(
    start: usize,
    force: bool,
    only_column: bool,
    dialect: &Dialect,
    scratch: &mut Vec<u8>,
    out: &mut BytesMut,
) {
    let value = out.get(start..).unwrap_or_default();
    let special = |byte: &u8| {
        *byte == dialect.delimiter || *byte == dialect.quote || matches!(byte, b'\n' | b'\r')
    };
    // A lone `\.` would end the data.
    let needs = force
        || value == dialect.null.as_bytes()
        || (only_column && value == b"\\.")
        || value.iter().any(special);
    if !needs {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(value);
    out.truncate(start);
    out.put_u8(dialect.quote);
    for byte in scratch.iter() {
        if *byte == dialect.quote || *byte == dialect.escape {
            out.put_u8(dialect.escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(dialect.quote);
}
