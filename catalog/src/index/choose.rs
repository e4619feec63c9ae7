//! Which index, if any, a scan of open rows goes by.
//!
//! There are no statistics. Instead the entries that match are read, up to a number at which the scan of the rows would
//! cost less; the keys found on the way are what the scan then fetches, so that nothing is read twice.

use datafusion::logical_expr::Expr;

use crate::definitions::Table;
use crate::error::Result;
use crate::index::range::FilterBounds;
use crate::key_range::KeyRange;
use crate::row_codec::Bytes;
use crate::row_store::Space;
use crate::transaction::ReadView;

/// Rows that a scan of the row store reads in the time in which one is fetched by its key.
const SCANNED_PER_FETCHED: usize = 16;

/// The same for a scan of a snapshot's files.
const SCANNED_PER_FETCHED_IN_FILES: usize = 256;

/// So few rows are fetched in any case.
const FETCHED_MIN: usize = 64;

/// So many are never fetched: their keys are in memory while the statement runs.
const FETCHED_MAX: usize = 65_536;

/// The index that a scan goes by.
pub(crate) struct Chosen {
    /// Name of the index.
    pub index: String,
    /// Keys of the rows that can match, in key order.
    pub keys: Vec<Bytes>,
}

/// Finds the index that leaves the fewest rows. `by_key` are the keys that the filters leave by the primary key, and
/// `from_files` says whether a scan would read a snapshot.
pub(crate) fn choose(
    view: &ReadView,
    table: &Table,
    filters: &[Expr],
    by_key: &KeyRange,
    from_files: bool,
) -> Result<Option<Chosen>> {
    if matches!(by_key, KeyRange::Keys(_)) || !table.indexes.iter().any(|index| index.is_ready()) {
        return Ok(None);
    }
    let bounds = FilterBounds::new(filters);
    let rows = view.estimated_open_rows(table)?;
    let per_fetched = match from_files {
        true => SCANNED_PER_FETCHED_IN_FILES,
        false => SCANNED_PER_FETCHED,
    };
    let mut max = (rows / per_fetched).clamp(FETCHED_MIN, FETCHED_MAX);
    let mut best: Option<Chosen> = None;
    for index in table.indexes.iter().filter(|index| index.is_ready()) {
        let Some(ranges) = bounds.ranges(table, index)? else {
            continue;
        };
        let mut keys = Vec::new();
        let mut whole = true;
        for range in &ranges {
            whole = view.index_entries(table, index, range, |_, row_key| {
                keys.push(Bytes::from(row_key));
                Ok(keys.len() <= max)
            })?;
            if !whole {
                break;
            }
        }
        if !whole {
            continue;
        }
        let few = keys.len();
        best = Some(Chosen {
            index: index.def.name.clone(),
            keys,
        });
        if few == 0 {
            break;
        }
        // Another one has to be better.
        max = few - 1;
    }
    let Some(mut chosen) = best else {
        return Ok(None);
    };
    if leaves_fewer(view, table, by_key, chosen.keys.len())? {
        return Ok(None);
    }
    chosen.keys.sort_unstable();
    Ok(Some(chosen))
}

/// Whether a range of the primary key holds fewer rows than `count`.
fn leaves_fewer(view: &ReadView, table: &Table, by_key: &KeyRange, count: usize) -> Result<bool> {
    let KeyRange::Range(start, end) = by_key else {
        return Ok(false);
    };
    if *by_key == KeyRange::all() {
        return Ok(false);
    }
    let rows = view
        .snapshot
        .range(Space::Rows(table.def.storage), (start.clone(), end.clone()))?;
    let mut left = count;
    for row in rows {
        row.key()?;
        match left.checked_sub(1) {
            Some(fewer) => left = fewer,
            None => return Ok(false),
        }
    }
    Ok(left > 0)
}
