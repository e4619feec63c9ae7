//! Deletion vectors: rows of a file that the log says are not there. Nyala writes none; adopted tables may have them.
//!
//! The format is that of the Delta protocol, "Deletion Vector Format": a `RoaringBitmapArray` behind a magic number, in the log
//! as base85 text or at an offset in a file of its own. A vector that is not what its descriptor says is an error, since without
//! it rows would be read that are gone.

use std::sync::Arc;

use deltalake::kernel::{DeletionVectorDescriptor, StorageType};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::{RoaringBitmap, RoaringTreemap};
use uuid::Uuid;

use super::{ClosedTableError, Layout, Result};

const MAGIC: [u8; 4] = 1_681_511_377_u32.to_le_bytes();

/// Digits of base85 as ZeroMQ's Z85 has them.
const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Length of an encoded UUID.
const UUID_DIGITS: usize = 20;

/// What tells a vector from any other of the table.
pub(super) fn identity(vector: &DeletionVectorDescriptor) -> String {
    let offset = vector.offset.unwrap_or_default();
    format!(
        "{:?} {} {offset}",
        vector.storage_type, vector.path_or_inline_dv
    )
}

/// Reads a vector.
pub(super) async fn read(
    layout: &Layout,
    vector: &DeletionVectorDescriptor,
) -> Result<RoaringBitmap> {
    let size = usize::try_from(vector.size_in_bytes).map_err(|_| damaged(layout, "its size"))?;
    let bytes = match vector.storage_type {
        StorageType::Inline => {
            let mut bytes = decode(vector.path_or_inline_dv.as_bytes())
                .ok_or_else(|| damaged(layout, "its text"))?;
            // Base85 comes in groups of four bytes.
            bytes.truncate(size);
            bytes
        }
        StorageType::UuidRelativePath => {
            let path = relative_path(&vector.path_or_inline_dv)
                .ok_or_else(|| damaged(layout, "its path"))?;
            let start = u64::try_from(vector.offset.unwrap_or(1))
                .map_err(|_| damaged(layout, "its offset"))?;
            // The size stands in front, a checksum behind.
            let end = start + 4 + size as u64;
            let found = layout.store.get_range(&path, start..end).await?;
            let (length, data) = found.split_at_checked(4).unwrap_or_default();
            let length = <[u8; 4]>::try_from(length).map(u32::from_be_bytes);
            if length.ok() != u32::try_from(size).ok() {
                return Err(damaged(layout, "the size in its file"));
            }
            data.to_vec()
        }
        StorageType::AbsolutePath => {
            return Err(ClosedTableError::Unsupported {
                message: format!(
                    "closed table \"{}\" has a deletion vector outside its directory",
                    layout.spec.name
                ),
            });
        }
    };
    let bitmap = bytes
        .strip_prefix(&MAGIC)
        .ok_or_else(|| damaged(layout, "its magic number"))?;
    let rows = RoaringTreemap::deserialize_from(bitmap)
        .map_err(|error| damaged(layout, &error.to_string()))?;
    if i64::try_from(rows.len()) != Ok(vector.cardinality) {
        return Err(damaged(layout, "its number of rows"));
    }
    let rows: Option<RoaringBitmap> = rows.iter().map(|row| u32::try_from(row).ok()).collect();
    rows.ok_or_else(|| damaged(layout, "a row number"))
}

/// Reads the vectors of a version that were not read yet.
pub(super) async fn prefetch(
    layout: &Layout,
    vectors: impl Iterator<Item = DeletionVectorDescriptor>,
) -> Result<()> {
    let known = &layout.readers.deleted;
    for vector in vectors {
        let identity = identity(&vector);
        if known.lock().contains_key(&identity) {
            continue;
        }
        let rows = read(layout, &vector).await?;
        known.lock().insert(identity, Arc::new(rows));
    }
    Ok(())
}

fn damaged(layout: &Layout, what: &str) -> ClosedTableError {
    ClosedTableError::Corrupted {
        message: format!(
            "a deletion vector of closed table \"{}\" is damaged: {what}",
            layout.spec.name
        ),
    }
}

/// `<prefix><encoded uuid>` as `<prefix>/deletion_vector_<uuid>.bin`.
fn relative_path(encoded: &str) -> Option<Path> {
    let (prefix, digits) = encoded.split_at_checked(encoded.len().checked_sub(UUID_DIGITS)?)?;
    let uuid = Uuid::from_slice(&decode(digits.as_bytes())?).ok()?;
    let name = format!("deletion_vector_{uuid}.bin");
    match prefix {
        "" => Some(Path::from(name)),
        prefix => Some(Path::from(format!("{prefix}/{name}"))),
    }
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    for group in text.chunks(5) {
        let mut value = 0_u32;
        for digit in <&[u8; 5]>::try_from(group).ok()? {
            let digit = DIGITS.iter().position(|known| known == digit)?;
            value = value.checked_mul(85)?.checked_add(digit as u32)?;
        }
        bytes.extend(value.to_be_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_as_zeromq_says() {
        let bytes = [0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B];
        assert_eq!(decode(b"HelloWorld").as_deref(), Some(&bytes[..]));
        for wrong in [&b"Hell"[..], b"Hell ", b"#####"] {
            assert_eq!(decode(wrong), None);
        }
    }

    /// The examples of the protocol's text.
    #[test]
    fn paths_are_those_of_the_protocol() {
        let path = relative_path("ab^-aqEH.-t@S}K{vb[*k^").map(String::from);
        let expected = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
        assert_eq!(path.as_deref(), Some(expected));
        assert_eq!(relative_path("short"), None);
    }
}
