//! Which entries of an index a query's filters can match.
//!
//! Equality, IN and IS NULL on leading columns, and one range on the column behind them; everything else is left to the
//! filter above the scan. The answer may be too wide and is never too narrow.

use std::collections::HashMap;
use std::ops::Bound;

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use crate::definitions::Table;
use crate::error::Result;
use crate::index::Index;
pub(crate) use crate::key_range::after_prefix;
use crate::key_range::{ColumnBounds, column_bounds};
use crate::row_codec::Bytes;

/// Ranges that one scan reads at the most.
const RANGES_MAX: usize = 1_024;

/// Entries between two bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryRange {
    pub start: Bound<Vec<u8>>,
    pub end: Bound<Vec<u8>>,
}

/// What filters say about the columns of a table.
pub(crate) struct FilterBounds<'a>(HashMap<&'a str, ColumnBounds>);

impl<'a> FilterBounds<'a> {
    /// Reads filters that all have to hold.
    pub(crate) fn new(filters: &'a [Expr]) -> Self {
        Self(column_bounds(filters))
    }

    /// The entries of `index` that rows matching the filters can have; `None` if these are all.
    pub(crate) fn ranges(&self, table: &Table, index: &Index) -> Result<Option<Vec<EntryRange>>> {
        let mut prefixes: Vec<Vec<ScalarValue>> = vec![Vec::new()];
        let mut matched = 0;
        for position in index.positions() {
            let Some(values) = self.values(table, position) else {
                break;
            };
            if prefixes.len() * values.len() > RANGES_MAX {
                break;
            }
            prefixes = prefixes
                .iter()
                .flat_map(|prefix| {
                    values.iter().map(|value| {
                        let mut longer = prefix.clone();
                        longer.push(value.clone());
                        longer
                    })
                })
                .collect();
            matched += 1;
        }
        let next = index.def.columns.get(matched);
        let (lower, upper) = match next {
            Some(column) => self.range(table, column.position),
            None => (None, None),
        };
        if matched == 0 && lower.is_none() && upper.is_none() {
            return Ok(None);
        }
        let starts = encode(index, &prefixes)?;
        let Some(column) = next.filter(|_| lower.is_some() || upper.is_some()) else {
            let mut starts = starts;
            starts.sort_unstable();
            starts.dedup();
            let ranges = starts.iter().map(|prefix| EntryRange::of_prefix(prefix));
            return Ok(Some(ranges.collect()));
        };
        // In a descending column the greater values come first.
        let (first, last) = match column.descending {
            false => (lower, upper),
            true => (upper, lower),
        };
        let with = |bound: &Option<(ScalarValue, bool)>| -> Result<Vec<Bytes>> {
            let null = || null_of(table, column.position);
            let value = match bound {
                Some((value, _)) => value.clone(),
                None => null()?,
            };
            let longer: Vec<_> = prefixes
                .iter()
                .map(|prefix| [prefix.as_slice(), std::slice::from_ref(&value)].concat())
                .collect();
            encode(index, &longer)
        };
        let (first_bytes, last_bytes) = (with(&first)?, with(&last)?);
        let mut ranges = Vec::with_capacity(prefixes.len());
        for ((prefix, first_bytes), last_bytes) in
            starts.into_iter().zip(first_bytes).zip(last_bytes)
        {
            let first_bytes = first_bytes.into_vec();
            let last_bytes = last_bytes.into_vec();
            let start = match (&first, column.nulls_first) {
                (Some((_, true)), _) => Bound::Included(first_bytes),
                // Behind the bound's own entries; without a bound, behind the NULLs, which no range holds.
                (Some((_, false)), _) | (None, true) => after_prefix(first_bytes, Bound::Included),
                (None, false) => Bound::Included(prefix.to_vec()),
            };
            let end = match (&last, column.nulls_first) {
                (Some((_, true)), _) => after_prefix(last_bytes, Bound::Excluded),
                (Some((_, false)), _) | (None, false) => Bound::Excluded(last_bytes),
                (None, true) => after_prefix(prefix.into_vec(), Bound::Excluded),
            };
            let empty = matches!((&start, &end),
                (Bound::Included(start), Bound::Excluded(end)) if start >= end);
            if !empty {
                ranges.push(EntryRange { start, end });
            }
        }
        // Values may repeat in a list; no entry may be found twice.
        ranges.sort_unstable_by(|a, b| order(a).cmp(order(b)));
        ranges.dedup();
        Ok(Some(ranges))
    }

    /// The values that a column has to have one of.
    fn values(&self, table: &Table, position: usize) -> Option<Vec<ScalarValue>> {
        let field = table.schema.fields().get(position)?;
        let values = self.0.get(field.name().as_str())?.values.as_ref()?;
        values
            .iter()
            .map(|value| match value {
                value if value.is_null() => ScalarValue::try_from(field.data_type()).ok(),
                value if value.data_type() == *field.data_type() => Some(value.clone()),
                _ => None,
            })
            .collect()
    }

    /// The range that a column has to lie in.
    #[allow(clippy::type_complexity)]
    fn range(
        &self,
        table: &Table,
        position: usize,
    ) -> (Option<(ScalarValue, bool)>, Option<(ScalarValue, bool)>) {
        let Some(field) = table.schema.fields().get(position) else {
            return (None, None);
        };
        let Some(bounds) = self.0.get(field.name().as_str()) else {
            return (None, None);
        };
        let usable = |bound: &Option<(ScalarValue, bool)>| {
            bound
                .clone()
                .filter(|(value, _)| !value.is_null() && value.data_type() == *field.data_type())
        };
        (usable(&bounds.lower), usable(&bounds.upper))
    }
}

fn order(range: &EntryRange) -> &[u8] {
    match &range.start {
        Bound::Included(start) | Bound::Excluded(start) => start,
        Bound::Unbounded => &[],
    }
}

fn null_of(table: &Table, position: usize) -> Result<ScalarValue> {
    let field = table.schema.field(position);
    Ok(ScalarValue::try_from(field.data_type())?)
}

/// The encodings of rows of leading values, all of one length.
fn encode(index: &Index, rows: &[Vec<ScalarValue>]) -> Result<Vec<Bytes>> {
    let width = rows.first().map_or(0, Vec::len);
    if width == 0 {
        return Ok(vec![Bytes::default(); rows.len()]);
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(width);
    for at in 0..width {
        let values = rows.iter().filter_map(|row| row.get(at).cloned());
        columns.push(ScalarValue::iter_to_array(values)?);
    }
    index.encode_prefix(&columns)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringViewArray};
    use datafusion::prelude::{col, lit};

    use super::*;
    use crate::definitions::{ColumnDef, Schedules, TableDef};
    use crate::index::{IndexColumn, IndexDef, IndexState};
    use crate::row_codec::row_number_key;
    use crate::types::SqlType;

    /// A table `(a bigint, b text)` with one index over both columns.
    fn table(a: (bool, bool), b: (bool, bool)) -> Table {
        let column = |name: &str, ty: SqlType| ColumnDef {
            not_null: false,
            ..ColumnDef::new(name, ty)
        };
        let index = |position, (descending, nulls_first)| IndexColumn {
            position,
            descending,
            nulls_first,
        };
        Table::new(TableDef {
            oid: 1,
            schema: 2,
            name: "t".to_string(),
            owner: 3,
            storage: 4,
            columns: vec![column("a", SqlType::Int8), column("b", SqlType::Text)],
            primary_key: None,
            closing: None,
            schedules: Schedules::default(),
            retention_s: None,
            history: None,
            indexes: vec![IndexDef {
                oid: 5,
                name: "i".to_string(),
                storage: 6,
                columns: vec![index(0, a), index(1, b)],
                unique: false,
                nulls_distinct: true,
                constraint_oid: None,
                state: IndexState::Ready,
            }],
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            on_commit: crate::definitions::OnCommit::default(),
            materialized: None,
        })
        .unwrap()
    }

    type Row = (Option<i64>, Option<&'static str>);

    const ROWS: [Row; 11] = [
        (None, None),
        (None, Some("m")),
        (Some(-3), Some("a")),
        (Some(-3), None),
        (Some(0), Some("")),
        (Some(5), Some("k")),
        (Some(5), Some("ka")),
        (Some(5), Some("z")),
        (Some(5), None),
        (Some(6), Some("k")),
        (Some(i64::MAX), Some("zz")),
    ];

    /// The rows whose entries lie in the ranges of some filters.
    fn found(table: &Table, filters: &[Expr]) -> Option<Vec<Row>> {
        let index = &table.indexes[0];
        let ranges = FilterBounds::new(filters).ranges(table, index).unwrap()?;
        let a: Int64Array = ROWS.iter().map(|row| row.0).collect();
        let b: StringViewArray = ROWS.iter().map(|row| row.1).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(a), Arc::new(b)];
        let rows = RecordBatch::try_new(Arc::clone(&table.schema), columns).unwrap();
        let keys: Vec<_> = (0..rows.num_rows() as i64).map(row_number_key).collect();
        let entries = index.entries(&rows, &keys).unwrap();
        let mut found = Vec::new();
        for (entry, row) in entries.iter().zip(ROWS) {
            let inside = |range: &&EntryRange| {
                use std::ops::RangeBounds;
                (range.start.clone(), range.end.clone()).contains(&entry.bytes().to_vec())
            };
            assert!(ranges.iter().filter(inside).count() <= 1, "nothing twice");
            if ranges.iter().any(|range| inside(&range)) {
                found.push(row);
            }
        }
        Some(found)
    }

    fn text(value: &str) -> Expr {
        lit(ScalarValue::Utf8View(Some(value.to_string())))
    }

    /// Filters with what they mean, in all orders of the columns.
    fn check(filters: &[Expr], holds: impl Fn(&Row) -> bool) {
        let orders = [(false, false), (false, true), (true, false), (true, true)];
        for a in orders {
            for b in orders {
                let expected: Vec<Row> = ROWS.iter().copied().filter(&holds).collect();
                let got = found(&table(a, b), filters);
                assert_eq!(got, Some(expected), "{filters:?} {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn values_and_lists_are_prefixes() {
        check(&[col("a").eq(lit(5i64))], |row| row.0 == Some(5));
        check(
            &[col("a").in_list(vec![lit(5i64), lit(-3i64), lit(5i64)], false)],
            |row| matches!(row.0, Some(5 | -3)),
        );
        check(&[col("a").is_null()], |row| row.0.is_none());
        check(&[col("a").eq(lit(5i64)), col("b").eq(text("k"))], |row| {
            *row == (Some(5), Some("k"))
        });
        check(&[col("a").eq(lit(5i64)), col("b").is_null()], |row| {
            *row == (Some(5), None)
        });
    }

    #[test]
    fn ranges_hold_no_nulls() {
        check(&[col("a").gt(lit(5i64))], |row| row.0 > Some(5));
        check(&[col("a").gt_eq(lit(5i64))], |row| row.0 >= Some(5));
        check(&[col("a").lt(lit(5i64))], |row| {
            row.0.is_some_and(|a| a < 5)
        });
        check(&[col("a").lt_eq(lit(5i64))], |row| {
            row.0.is_some_and(|a| a <= 5)
        });
        check(&[col("a").between(lit(0i64), lit(5i64))], |row| {
            row.0.is_some_and(|a| (0..=5).contains(&a))
        });
        check(&[col("a").gt(lit(5i64)), col("a").lt(lit(5i64))], |_| false);
        check(&[col("a").eq(lit(5i64)), col("b").gt(text("k"))], |row| {
            row.0 == Some(5) && row.1 > Some("k")
        });
        check(
            &[col("a").eq(lit(5i64)), col("b").lt_eq(text("ka"))],
            |row| row.0 == Some(5) && row.1.is_some_and(|b| b <= "ka"),
        );
        let either = col("a").in_list(vec![lit(5i64), lit(6i64)], false);
        check(&[either, col("b").lt(text("ka"))], |row| {
            matches!(row.0, Some(5 | 6)) && row.1.is_some_and(|b| b < "ka")
        });
    }

    #[test]
    fn other_filters_leave_all_entries() {
        let table = table((false, false), (false, false));
        for filter in [
            col("b").eq(text("k")),
            col("a").eq(lit(5i32)),
            col("a").not_eq(lit(5i64)),
            col("a").is_not_null(),
        ] {
            assert_eq!(found(&table, &[filter]), None);
        }
    }
}
