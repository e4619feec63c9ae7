//! Entries of indexes as bytes.
//!
//! The key of an entry is the encoded value of the indexed columns followed by the row's key. Its value tells them apart: the
//! length of the former (u16, little-endian), and whether the entry is exclusive (one byte).

use std::borrow::Borrow;

use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_codec::Bytes;

/// Bytes of an entry: what a key of the row store can have.
const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// An entry of an index. Entries are the same, and in order, by their bytes.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    bytes: Bytes,
    value_bytes: u16,
    exclusive: bool,
}

impl Entry {
    /// The entry of a row. One that is too long is an error that names the index.
    pub(crate) fn new(index: &str, value: &[u8], key: &[u8], exclusive: bool) -> Result<Self> {
        let size = value.len() + key.len();
        let value_bytes = match u16::try_from(value.len()) {
            Ok(value_bytes) if size <= ENTRY_BYTES_MAX => value_bytes,
            _ => {
                return Err(CatalogError::new(
                    ErrorKind::LimitExceeded,
                    format!(
                        "index row size {size} exceeds maximum {ENTRY_BYTES_MAX} for index \"{index}\""
                    ),
                )
                .with_hint("Values this long cannot be indexed."));
            }
        };
        Ok(Self {
            bytes: [value, key].concat().into_boxed_slice(),
            value_bytes,
            exclusive,
        })
    }

    /// An entry as it is stored.
    pub(crate) fn stored(key: &[u8], value: &[u8]) -> Result<Self> {
        let (value_bytes, exclusive) = split_stored(value)?;
        if usize::from(value_bytes) > key.len() {
            return Err(corrupted());
        }
        Ok(Self {
            bytes: Bytes::from(key),
            value_bytes,
            exclusive,
        })
    }

    /// What is stored under the entry's bytes.
    pub(crate) fn stored_value(&self) -> [u8; 3] {
        let [low, high] = self.value_bytes.to_le_bytes();
        [low, high, u8::from(self.exclusive)]
    }

    /// All of it: value and row key.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded value of the indexed columns.
    pub(crate) fn value(&self) -> &[u8] {
        let end = usize::from(self.value_bytes);
        self.bytes.get(..end).unwrap_or_default()
    }

    /// The key of the row.
    pub(crate) fn row_key(&self) -> &[u8] {
        let start = usize::from(self.value_bytes);
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Whether no other row may have the value.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

/// The row key in a stored entry.
pub(crate) fn stored_row_key<'a>(key: &'a [u8], value: &[u8]) -> Result<&'a [u8]> {
    let (value_bytes, _) = split_stored(value)?;
    key.get(usize::from(value_bytes)..).ok_or_else(corrupted)
}

fn split_stored(value: &[u8]) -> Result<(u16, bool)> {
    match value {
        [low, high, exclusive] => Ok((u16::from_le_bytes([*low, *high]), *exclusive != 0)),
        _ => Err(corrupted()),
    }
}

fn corrupted() -> CatalogError {
    CatalogError::corrupted("index entry does not decode")
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl std::hash::Hash for Entry {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (*self.bytes).hash(state);
    }
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_their_parts() {
        let entry = Entry::new("i", b"value", b"key", true).unwrap();
        assert_eq!(
            (entry.value(), entry.row_key()),
            (&b"value"[..], &b"key"[..])
        );
        let stored = Entry::stored(entry.bytes(), &entry.stored_value()).unwrap();
        assert_eq!(
            (stored.value(), stored.row_key()),
            (&b"value"[..], &b"key"[..])
        );
        assert!(stored.is_exclusive());
        assert_eq!(
            stored_row_key(entry.bytes(), &entry.stored_value()).unwrap(),
            b"key"
        );
    }

    #[test]
    fn foreign_bytes_and_long_values_are_errors() {
        assert!(Entry::stored(b"ab", &[3, 0, 0]).is_err());
        assert!(Entry::stored(b"ab", &[1]).is_err());
        let long = vec![7; ENTRY_BYTES_MAX];
        assert!(Entry::new("i", &long, b"", false).is_ok());
        let error = Entry::new("i", &long, b"k", false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::LimitExceeded);
    }
}
