//! Sequences: numbers that are given out once and never again, whatever becomes of the transaction that asked.
//!
//! A sequence's definition is a relation like any other: made, changed and dropped in transactions. Its position is not. It
//! belongs to the definition's *storage*, lies in the `meta` keyspace under that number, and is written by commits of
//! its own (`values`). ALTER SEQUENCE RESTART and TRUNCATE RESTART IDENTITY give the sequence another storage, as TRUNCATE does
//! with a table, so that they can be rolled back; all other changes keep it.
//!
//! A default that takes its value from a sequence names it by OID ([`default_text`]), so that both can be renamed.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::definitions::{ColumnDef, Oid, StorageId};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::types::SqlType;

pub(crate) mod values;

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last value given out, or the first one to be.
    pub last: i64,
    /// Whether `last` was given out.
    pub is_called: bool,
}

/// The column that a sequence goes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceOwner {
    /// OID of the table.
    pub table: Oid,
    /// Name of the column.
    pub column: String,
    /// Whether it is the column's identity, and cannot be without it.
    pub identity: bool,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceDef {
    /// Object identifier.
    pub oid: Oid,
    /// OID of the schema.
    pub schema: Oid,
    /// Name, unique among the schema's relations.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// What its position is stored under.
    pub storage: StorageId,
    /// Position of a storage that has none yet.
    pub first: Position,
    /// What can be changed about it.
    #[serde(flatten)]
    pub rule: SequenceRule,
    /// The column that it goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<SequenceOwner>,
}

/// Which values a sequence gives out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceRule {
    /// `smallint`, `integer` or `bigint`.
    #[serde(rename = "type")]
    pub ty: SqlType,
    /// The first value, and that of RESTART.
    pub start: i64,
    /// Step from one value to the next; never 0.
    pub increment: i64,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
    /// What CACHE said. All sessions take their values from one place, so that it is only shown.
    pub cache: i64,
    /// Whether it begins again behind its last value.
    pub cycle: bool,
}

/// Columns that a sequence shows when it is read as a table.
static COLUMNS: LazyLock<Vec<ColumnDef>> = LazyLock::new(|| {
    let columns = [
        ("last_value", SqlType::Int8),
        ("log_cnt", SqlType::Int8),
        ("is_called", SqlType::Bool),
    ];
    let columns = columns.map(|(name, ty)| ColumnDef {
        not_null: true,
        ..ColumnDef::new(name, ty)
    });
    columns.into()
});

impl SequenceDef {
    /// Columns that it shows when it is read as a table.
    pub fn columns() -> &'static [ColumnDef] {
        &COLUMNS
    }
}

impl SequenceRule {
    /// Least and greatest value of a type that sequences can have; `None` for all others.
    pub fn bounds(ty: &SqlType) -> Option<(i64, i64)> {
        match ty {
            SqlType::Int2 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
            SqlType::Int4 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            SqlType::Int8 => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }

    /// The value behind another one; `None` where the sequence ends.
    fn next(&self, last: i64) -> Option<i64> {
        let next = last.checked_add(self.increment);
        next.filter(|next| (self.min..=self.max).contains(next))
    }

    /// The value behind the end of a sequence that cycles.
    fn again(&self) -> i64 {
        match self.increment > 0 {
            true => self.min,
            false => self.max,
        }
    }

    /// How many values there are from one value to the end.
    fn left(&self, from: i64) -> u64 {
        let room = match self.increment > 0 {
            true => self.max.abs_diff(from),
            false => from.abs_diff(self.min),
        };
        (room / self.increment.unsigned_abs()).saturating_add(1)
    }
}

/// The default of a column that takes its values from a sequence.
pub fn default_text(sequence: Oid) -> String {
    format!("nextval({sequence})")
}

/// Whether a default takes its value from a sequence.
pub fn is_used_by(default: &str, sequence: Oid) -> bool {
    default.contains(&default_text(sequence))
}

/// 2200H.
fn exhausted(def: &SequenceDef) -> CatalogError {
    let (end, value) = match def.rule.increment > 0 {
        true => ("maximum", def.rule.max),
        false => ("minimum", def.rule.min),
    };
    CatalogError::new(
        ErrorKind::SequenceLimit,
        format!(
            "nextval: reached {end} value of sequence \"{}\" ({value})",
            def.name
        ),
    )
}

/// 22003 for a value that a sequence cannot be set to.
fn check_bounds(def: &SequenceDef, value: i64) -> Result<()> {
    let (min, max) = (def.rule.min, def.rule.max);
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(CatalogError::new(
        ErrorKind::OutOfRange,
        format!(
            "setval: value {value} is out of bounds for sequence \"{}\" ({min}..{max})",
            def.name
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(increment: i64, min: i64, max: i64) -> SequenceRule {
        SequenceRule {
            ty: SqlType::Int8,
            start: min,
            increment,
            min,
            max,
            cache: 1,
            cycle: false,
        }
    }

    #[test]
    fn values_end_at_the_bounds_without_overflow() {
        let up = rule(3, 1, 10);
        assert_eq!(up.next(7), Some(10));
        assert_eq!(up.next(8), None);
        assert_eq!((up.left(1), up.left(2), up.left(10)), (4, 3, 1));
        let down = rule(-4, -10, -1);
        assert_eq!(down.next(-5), Some(-9));
        assert_eq!(down.next(-9), None);
        assert_eq!((down.left(-1), down.again()), (3, -1));
        let all = rule(i64::MAX, i64::MIN, i64::MAX);
        assert_eq!(all.next(1), None);
        assert_eq!(all.left(i64::MIN), 3);
        assert_eq!(rule(1, i64::MIN, i64::MAX).left(i64::MIN), u64::MAX);
    }

    #[test]
    fn a_default_names_its_sequence_by_number() {
        assert!(is_used_by("nextval(17) + 1", 17));
        assert!(!is_used_by("nextval(170)", 17));
        assert!(!is_used_by("'nextval'", 17));
    }
}
