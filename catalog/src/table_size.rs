//! How large a table is, as `pg_class`, `\dt+` and `pg_total_relation_size` tell: rows as an estimate, and bytes of every part.

use crate::definitions::Table;
use crate::error::Result;
use crate::index::Index;
use crate::row_store::Space;
use crate::transaction::ReadView;

/// How large a table or an index is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelationSize {
    /// Rows or entries, as an estimate.
    pub rows: u64,
    /// Bytes of all files, and of what is not yet in files.
    pub bytes: u64,
}

impl ReadView {
    /// Rows of the row store, as an estimate.
    pub(crate) fn estimated_open_rows(&self, table: &Table) -> Result<usize> {
        let rows = Space::Rows(table.def.storage);
        self.snapshot.estimated_rows(rows)
    }

    /// Whether it is sure, and found at once, that no row is open.
    pub(crate) fn has_no_open_rows(&self, table: &Table) -> Result<bool> {
        let storage = table.def.storage;
        let own = self.writes.table(storage);
        if own.is_some_and(|writes| !writes.rows.is_empty()) {
            return Ok(false);
        }
        self.snapshot.is_found_empty(Space::Rows(storage))
    }

    /// The size of a table without its indexes; `None` while the files that it has are not loaded
    /// ([`load_statistics`](crate::load_statistics) does).
    pub fn table_size(&self, table: &Table) -> Result<Option<RelationSize>> {
        let storage = table.def.storage;
        let mut size = RelationSize {
            rows: self.estimated_open_rows(table)? as u64,
            bytes: 0,
        };
        for space in [
            Space::Rows(storage),
            Space::ShadowClosed(storage),
            Space::Fresh(storage),
        ] {
            size.bytes += self.snapshot.bytes(space)?;
        }
        if let Some(manifest) = self.manifest(table)? {
            let closed = self.catalog.closed_table(table)?;
            let Some(version) = closed.loaded(manifest.closed_version) else {
                return Ok(None);
            };
            let shadow = self.snapshot.estimated_rows(Space::ShadowClosed(storage))?;
            let rows = version.rows().unwrap_or_default();
            size.rows += rows.saturating_sub(shadow as u64);
            size.bytes += version.bytes();
        }
        if let Some(manifest) = self.snapshot_manifest(table)? {
            let snapshot = self.catalog.opened_snapshot(table);
            let Some(version) = snapshot.and_then(|s| s.loaded(manifest.version)) else {
                return Ok(None);
            };
            size.bytes += version.bytes();
        }
        Ok(Some(size))
    }

    /// The size of an index.
    pub fn index_size(&self, index: &Index) -> Result<RelationSize> {
        let entries = Space::Index(index.def.storage);
        Ok(RelationSize {
            rows: self.snapshot.estimated_rows(entries)? as u64,
            bytes: self.snapshot.bytes(entries)?,
        })
    }
}
