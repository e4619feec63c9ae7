//! Where the columnar files of tables lie, and the handles on them.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::{Catalog, TEMPORARY_FOLDER};
use crate::closed_table::{AdoptedFiles, ClosedTable, ClosedTableSpec};
use crate::columnar_store::{CLOSED, ColumnarStore, POINTS, SNAPSHOTS};
use crate::definitions::{StorageId, Table};
use crate::error::{CatalogError, Result};
use crate::object_stores::ObjectStores;
use crate::table_handles::Handles;

impl Catalog {
    /// The closed table of a hybrid table.
    pub(crate) fn closed_table(&self, table: &Table) -> Result<ClosedTable> {
        let mut cache = self.closed_tables.lock();
        let handles = cache.entry(table.def.storage).or_default();
        if let Some(known) = handles.of_definition(table) {
            return Ok(known);
        }
        let spec = self.closed_spec(table)?;
        handles.seen_as(spec, |spec| {
            Ok(ClosedTable::open(spec, &self.object_stores)?)
        })
    }

    /// Makes the (empty) closed table of a new hybrid table; returns its version.
    pub(crate) async fn create_closed_table(&self, table: &Table) -> Result<u64> {
        let (closed, version) =
            ClosedTable::create(self.closed_spec(table)?, &self.object_stores).await?;
        let handles = Handles::of(closed);
        self.closed_tables.lock().insert(table.def.storage, handles);
        Ok(version)
    }

    /// The snapshot of a table; made, empty, if it does not exist yet.
    pub(crate) async fn snapshot_table(&self, table: &Table) -> Result<ClosedTable> {
        let storage = table.def.storage;
        let spec = match self.snapshots.lock().get_mut(&storage) {
            Some(handles) => {
                if let Some(known) = handles.of_definition(table) {
                    return Ok(known);
                }
                let spec = self.snapshot_spec(table)?;
                return handles.seen_as(spec, |spec| {
                    Ok(ClosedTable::open(spec, &self.object_stores)?)
                });
            }
            None => self.snapshot_spec(table)?,
        };
        let snapshot = match ClosedTable::open(spec.clone(), &self.object_stores)? {
            known if known.exists().await? => known,
            _ => {
                ClosedTable::create(spec.clone(), &self.object_stores)
                    .await?
                    .0
            }
        };
        let mut snapshots = self.snapshots.lock();
        let handles = snapshots.entry(storage).or_default();
        handles.seen_as(spec, |_| Ok(snapshot))
    }

    /// The handle on a table's snapshot, if a statement has opened it.
    pub(crate) fn opened_snapshot(&self, table: &Table) -> Option<ClosedTable> {
        let mut snapshots = self.snapshots.lock();
        snapshots.get_mut(&table.def.storage)?.of_definition(table)
    }

    fn snapshot_spec(&self, table: &Table) -> Result<ClosedTableSpec> {
        Ok(ClosedTableSpec {
            location: self
                .columnar
                .location(&snapshot_folder(table.def.storage))?,
            name: format!("{}$snapshot", table.def.name),
            schema: Arc::clone(&table.schema),
            key: table.key_columns().to_vec(),
            columns: Arc::clone(&table.files),
            partition: Vec::new(),
            temporary: self.temporary_path(),
            adopted: None,
        })
    }

    /// Folder for what sorts write that does not fit into memory.
    fn temporary_path(&self) -> PathBuf {
        self.data_dir.join(TEMPORARY_FOLDER)
    }

    /// Where columnar files lie.
    pub(crate) fn columnar(&self) -> &Arc<ColumnarStore> {
        &self.columnar
    }

    /// The object stores that tables of others can lie in.
    pub(crate) fn object_stores(&self) -> &ObjectStores {
        &self.object_stores
    }

    pub(super) fn closed_spec(&self, table: &Table) -> Result<ClosedTableSpec> {
        let closing = table.def.closing.as_ref();
        let closing = closing.ok_or_else(|| CatalogError::internal("table has no closed part"))?;
        let location = match &closing.adopted {
            Some(adopted) => Url::parse(&adopted.location)
                .map_err(|error| CatalogError::corrupted(format!("closed_location: {error}")))?,
            None => {
                let folder = closed_folder(table)
                    .ok_or_else(|| CatalogError::internal("table has no closed part"))?;
                self.columnar.location(&folder)?
            }
        };
        let adopted = closing.adopted.as_ref().map(|adopted| AdoptedFiles {
            partition_columns: adopted.partition_columns.clone(),
        });
        Ok(ClosedTableSpec {
            location,
            adopted,
            name: table.def.name.clone(),
            schema: Arc::clone(&table.schema),
            key: table.key_columns().to_vec(),
            columns: Arc::clone(&table.files),
            partition: table.partition_by().to_vec(),
            temporary: self.temporary_path(),
        })
    }
}

/// Folder of a hybrid table's closed part, in the columnar store.
pub(crate) fn closed_folder(table: &Table) -> Option<String> {
    let closing = table.def.closing.as_ref()?;
    // What others made is not ours to remove.
    let own = closing.adopted.is_none() && !closing.folder.is_empty();
    own.then(|| format!("{CLOSED}/{}", closing.folder))
}

/// Folder of the snapshot of a storage.
pub(super) fn snapshot_folder(storage: StorageId) -> String {
    format!("{SNAPSHOTS}/{storage}")
}

/// Folder of the files of a storage's restore points.
pub(crate) fn points_folder(storage: StorageId) -> String {
    format!("{POINTS}/{storage}")
}
