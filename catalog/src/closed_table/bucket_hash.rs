//! The hash of bucket partitions: that of Apache Iceberg's specification ("Appendix B: 32-bit Hash Requirements"), Murmur3 for
//! x86 with 32 bits and seed 0 of a value's bytes.
//!
//! | type | bytes |
//! | --- | --- |
//! | integers | as 64 bits, little-endian, so that a wider type has the same hash |
//! | `date` | days since 1970, as an integer |
//! | `timestamp`, `timestamptz` | microseconds since 1970, as an integer |
//! | `numeric` | the unscaled value, big-endian two's complement, as few bytes as hold it |
//! | `uuid` | its 16 bytes, big-endian |
//! | text | UTF-8; `character(n)` without trailing blanks |
//! | `bytea` | its bytes |
//!
//! The bucket is the hash without its sign bit, modulo the number of buckets. It is in tags of files: it must never change.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use uuid::Uuid;

use super::{ClosedTableError, Result};
use crate::types::SqlType;

/// The bucket of each value, NULL for NULL.
pub(super) fn buckets(values: &ArrayRef, ty: &SqlType, count: u32) -> Result<Int64Array> {
    let hashes: Vec<Option<u32>> = match (values.data_type(), ty) {
        (DataType::Int16, _) => {
            let values = values.as_primitive::<Int16Type>().iter();
            values.map(|v| v.map(|v| of_integer(v.into()))).collect()
        }
        (DataType::Int32, _) => {
            let values = values.as_primitive::<Int32Type>().iter();
            values.map(|v| v.map(|v| of_integer(v.into()))).collect()
        }
        (DataType::Int64, _) => {
            let values = values.as_primitive::<Int64Type>().iter();
            values.map(|v| v.map(of_integer)).collect()
        }
        (DataType::Date32, _) => {
            let values = values.as_primitive::<Date32Type>().iter();
            values.map(|v| v.map(|v| of_integer(v.into()))).collect()
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), _) => {
            let values = values.as_primitive::<TimestampMicrosecondType>().iter();
            values.map(|v| v.map(of_integer)).collect()
        }
        (DataType::Decimal128(_, _), _) => {
            let values = values.as_primitive::<Decimal128Type>().iter();
            values.map(|v| v.map(of_unscaled)).collect()
        }
        (DataType::Utf8View, SqlType::Uuid) => {
            let values = values.as_string_view().iter();
            values.map(|v| v.map(of_uuid)).collect()
        }
        (DataType::Utf8View, _) => {
            let values = values.as_string_view().iter();
            values.map(|v| v.map(|v| murmur3(v.as_bytes()))).collect()
        }
        (DataType::BinaryView, _) => {
            let values = values.as_binary_view().iter();
            values.map(|v| v.map(murmur3)).collect()
        }
        (other, _) => {
            return Err(ClosedTableError::Unsupported {
                message: format!("values of type {other} have no buckets"),
            });
        }
    };
    let bucket = |hash: u32| i64::from((hash & (u32::MAX >> 1)) % count.max(1));
    Ok(hashes.into_iter().map(|hash| hash.map(bucket)).collect())
}

fn of_integer(value: i64) -> u32 {
    murmur3(&value.to_le_bytes())
}

fn of_unscaled(value: i128) -> u32 {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xFF } else { 0 };
    // Leading bytes that only repeat the sign are left out, as long as the next one has it.
    let redundant = bytes
        .windows(2)
        .take_while(|pair| match pair {
            [first, next] => *first == sign && (next ^ sign) & 0x80 == 0,
            _ => false,
        })
        .count();
    murmur3(bytes.get(redundant..).unwrap_or_default())
}

fn of_uuid(text: &str) -> u32 {
    match Uuid::parse_str(text) {
        Ok(uuid) => murmur3(uuid.as_bytes()),
        // Columns hold canonical text only; what is not has the hash of its text.
        Err(_) => murmur3(text.as_bytes()),
    }
}

/// MurmurHash3_x86_32 by Austin Appleby, with seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mixed = |block: u32| block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0_u32;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        let block = <[u8; 4]>::try_from(block).map_or(0, u32::from_le_bytes);
        hash = (hash ^ mixed(block)).rotate_left(13);
        hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = blocks.remainder();
    if !tail.is_empty() {
        let block = tail
            .iter()
            .rev()
            .fold(0_u32, |block, byte| (block << 8) | u32::from(*byte));
        hash ^= mixed(block);
    }
    // The protocol hashes the length modulo 2^32.
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Iceberg's specification.
    #[test]
    fn hashes_are_those_of_the_specification() {
        assert_eq!(of_integer(34), 2_017_239_379);
        assert_eq!(of_unscaled(1420) as i32, -500_754_589);
        // 2017-11-16
        assert_eq!(of_integer(17_486) as i32, -653_330_422);
        // 2017-11-16T22:31:08
        assert_eq!(of_integer(1_510_871_468_000_000) as i32, -2_047_944_441);
        assert_eq!(murmur3(b"iceberg"), 1_210_000_089);
        assert_eq!(
            of_uuid("f79c3e09-677c-4bbd-a479-3f349cb785e7"),
            1_488_055_340
        );
        assert_eq!(murmur3(&[0, 1, 2, 3]) as i32, -188_683_207);
    }

    #[test]
    fn unscaled_values_take_as_few_bytes_as_hold_them() {
        for (value, bytes) in [
            (0, &[0_u8][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (-1, &[255]),
            (-128, &[128]),
            (-129, &[255, 127]),
        ] {
            assert_eq!(of_unscaled(value), murmur3(bytes), "{value}");
        }
    }
}
