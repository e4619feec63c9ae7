//! What is known of a table's rows before a scan of it is planned: their number and the bounds of columns, for the choice of
//! an order of joins. Guesses: rows that are fresh or shadowed count on both sides, and rows of the row store have no bounds.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};

use super::{Part, TableScan};
use crate::closed_table::ClosedVersion;
use crate::definitions::Table;
use crate::error::Result;
use crate::transaction::ReadView;

/// Loads the versions of a table's files that a view sees, so that [`TableScan`] knows their statistics.
pub async fn load_statistics(view: &ReadView, table: &Table) -> Result<()> {
    if let Some(manifest) = view.manifest(table)? {
        let closed = view.catalog.closed_table(table)?;
        closed.at_version(manifest.closed_version).await?;
    }
    if let Some(manifest) = view.snapshot_manifest(table)? {
        let snapshot = view.catalog.snapshot_table(table).await?;
        snapshot.at_version(manifest.version).await?;
    }
    Ok(())
}

impl TableScan {
    /// What is known of the rows; `None` if the files that hold them are not loaded.
    pub(super) fn estimates(&self) -> Result<Option<Statistics>> {
        let (view, table) = (&self.view, &self.table);
        let mut parts: Vec<Statistics> = Vec::with_capacity(2);
        if matches!(self.part, Part::All | Part::Closed)
            && let Some(manifest) = view.manifest(table)?
        {
            let closed = view.catalog.closed_table(table)?;
            match closed.loaded(manifest.closed_version) {
                Some(version) => parts.push(version.statistics()),
                None => return Ok(None),
            }
        }
        if self.part != Part::Closed {
            parts.push(match self.loaded_snapshot()? {
                Some(version) => version.statistics(),
                None => {
                    let rows = Precision::Inexact(view.estimated_open_rows(table)?);
                    Statistics::new_unknown(&table.schema).with_num_rows(rows)
                }
            });
        }
        Ok(parts.into_iter().reduce(together))
    }

    fn loaded_snapshot(&self) -> Result<Option<Arc<ClosedVersion>>> {
        let Some(manifest) = self.view.snapshot_manifest(&self.table)? else {
            return Ok(None);
        };
        let snapshot = self.view.catalog.opened_snapshot(&self.table);
        Ok(snapshot.and_then(|snapshot| snapshot.loaded(manifest.version)))
    }
}

/// The statistics of two parts. Bounds of one of them are taken for both where the other has none: the parts hold the same
/// kind of rows.
fn together(left: Statistics, right: Statistics) -> Statistics {
    let columns = left.column_statistics.iter().zip(&right.column_statistics);
    let columns = columns.map(|(left, right)| ColumnStatistics {
        null_count: left.null_count.add(&right.null_count),
        min_value: match (&left.min_value, &right.min_value) {
            (Precision::Absent, known) | (known, Precision::Absent) => known.clone(),
            (left, right) => left.min(right),
        },
        max_value: match (&left.max_value, &right.max_value) {
            (Precision::Absent, known) | (known, Precision::Absent) => known.clone(),
            (left, right) => left.max(right),
        },
        ..ColumnStatistics::new_unknown()
    });
    let column_statistics = columns.collect();
    Statistics {
        num_rows: left.num_rows.add(&right.num_rows),
        total_byte_size: left.total_byte_size.add(&right.total_byte_size),
        column_statistics,
    }
    .to_inexact()
}
