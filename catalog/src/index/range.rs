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
