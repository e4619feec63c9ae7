//! How the closed rows of a table are divided into partitions: `closed_partition_by`.
//!
//! A partition is what a list of transforms makes of some columns: their values, the year, month, day or hour of a time, or one
//! of a number of buckets. They mean what they mean in Apache Iceberg's specification, so a partition can be told by anyone.
//!
//! Partitions are no columns of the Delta table. Each closed file has the rows of one partition, sorted by the key, and holds
//! all columns; its tag says which partition it is. Why:
//!
//! - The bounds of the source column in the log exclude just the files that a partition value would, for values, years, months,
//!   days and hours. Every Delta reader prunes by them, with the condition that its user wrote; a hidden partition column would
//!   have to be known and asked for.
//! - Delta cannot change the partition columns of a table. Files of another division, or of none, stand beside new ones here, so
//!   the division can be changed, and a source column renamed or widened, as any column can.
//! - The readers of files (scans, probes, rewrites, restore points) see the same files as without partitions.
//!
//! Buckets have no bounds; there the tag excludes files, for conditions `column = value` and `column IN (values)`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::definitions::ColumnDef;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::types::SqlType;

/// Most buckets of one column.
pub const BUCKETS_MAX: u32 = 65_536;

/// What is made of a column's value to tell its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Years since 1970, in UTC.
    Year,
    /// Months since January 1970, in UTC.
    Month,
    /// Days since 1 January 1970, in UTC.
    Day,
    /// Hours since 1 January 1970, in UTC.
    Hour,
    /// One of so many buckets, by the hash of the value.
    Bucket(u32),
}

/// A transform of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionField {
    /// Position of the column in the table.
    pub column: usize,
    /// What is made of its value.
    pub transform: Transform,
}

impl fmt::Display for Transform {
    /// As Iceberg writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(count) => write!(f, "bucket[{count}]"),
        }
    }
}

impl Transform {
    /// Whether it is defined for values of a type.
    pub fn applies_to(self, ty: &SqlType) -> bool {
        use SqlType::{
            Bool, Bpchar, Bytea, Date, Float4, Float8, Int2, Int4, Int8, Numeric, Text, Timestamp,
            Timestamptz, Uuid, Varchar,
        };
        let hashed = matches!(
            ty,
            Int2 | Int4
                | Int8
                | Numeric(_)
                | Text
                | Varchar(_)
                | Bpchar(_)
                | Bytea
                | Date
                | Timestamp
                | Timestamptz
                | Uuid
        );
        match self {
            Self::Identity => hashed || matches!(ty, Bool | Float4 | Float8),
            Self::Bucket(_) => hashed,
            Self::Year | Self::Month | Self::Day => matches!(ty, Date | Timestamp | Timestamptz),
            Self::Hour => matches!(ty, Timestamp | Timestamptz),
        }
    }
}

/// The division as `closed_partition_by` says it. `quoted` writes an identifier as SQL does.
pub fn to_text(
    fields: &[PartitionField],
    columns: &[ColumnDef],
    quoted: impl Fn(&str) -> String,
) -> String {
    let parts = fields.iter().filter_map(|field| {
        let column = quoted(&columns.get(field.column)?.name);
        Some(match field.transform {
            Transform::Identity => column,
            Transform::Bucket(count) => format!("bucket({count}, {column})"),
            other => format!("{other}({column})"),
        })
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Checks that the transforms are defined for the columns.
pub(crate) fn check(fields: &[PartitionField], columns: &[ColumnDef]) -> Result<()> {
    for field in fields {
        let column = columns
            .get(field.column)
            .ok_or_else(|| CatalogError::internal("partition by a column outside the table"))?;
        if !field.transform.applies_to(&column.ty) {
            let (name, ty) = (&column.name, &column.ty);
            return Err(CatalogError::new(
                ErrorKind::DatatypeMismatch,
                format!(
                    "closed_partition_by cannot use column \"{name}\" of type {ty} in this way"
                ),
            )
            .with_detail(format!(
                "The transform {} is not defined for type {ty}.",
                field.transform
            ))
            .with_column(name));
        }
        if matches!(field.transform, Transform::Bucket(count) if count == 0 || count > BUCKETS_MAX)
        {
            return Err(CatalogError::internal("number of buckets out of range"));
        }
    }
    Ok(())
}
