//! Removing the stored rows and files of tables that nothing names any more.

use std::collections::HashSet;
use std::sync::Arc;

use super::files::{closed_folder, points_folder, snapshot_folder};
use super::{Catalog, by_storage};
use crate::columnar_store::{CLOSED, ColumnarStore, POINTS, SNAPSHOTS};
use crate::definitions::{Relation, StorageId};
use crate::error::Result;
use crate::row_store::{Space, meta_key};
use crate::sequence::Position;
use crate::transaction::Retired;

impl Catalog {
    /// Storages that nothing names since `csn`. They go once no transaction can read them, which is
    /// looked at whenever something is retired; the last ones go at the next start.
    pub(crate) async fn retire(&self, csn: u64, storages: Vec<Retired>) {
        let gone: Vec<Retired> = {
            let mut retired = self.retired.lock();
            retired.extend(storages.into_iter().map(|storage| (csn, storage)));
            let oldest = self.active.oldest(csn);
            let gone = retired.extract_if(.., |(retired_at, _)| *retired_at <= oldest);
            gone.map(|(_, gone)| gone).collect()
        };
        for gone in gone {
            // Boxed: most commits retire nothing.
            Box::pin(self.remove(gone)).await;
        }
    }

    async fn remove(&self, gone: Retired) {
        // The rows are unreachable either way; the next start sweeps what could not be removed.
        if let Err(error) = self.drop_storage(gone.storage) {
            tracing::warn!(storage = gone.storage, %error, "dropped table's rows stay on disk");
        }
        if let Err(error) = self.forget_sequence(gone.storage).await {
            tracing::warn!(storage = gone.storage, %error, "a dropped sequence's position stays");
        }
        let removal = remove_folders(Arc::clone(&self.columnar), gone);
        // Nobody should wait for a store that is far away, or does not answer.
        if self.columnar.is_local() {
            removal.await;
        } else {
            tokio::spawn(removal);
        }
    }

    fn drop_storage(&self, storage: StorageId) -> Result<()> {
        self.closed_tables.lock().remove(&storage);
        self.snapshots.lock().remove(&storage);
        self.shadow_logs.forget(Space::Fresh(storage));
        self.shadow_logs.forget(Space::ShadowClosed(storage));
        self.row_numbers.lock().remove(&storage);
        self.rewriters.lock().remove(&storage);
        self.store.drop_storage(storage)
    }

    /// Removes storages that a crash left behind between making them and naming them in a
    /// definition, or between dropping a table and removing its rows.
    pub(super) async fn sweep_storages(&self) -> Result<()> {
        let snapshot = self.store.snapshot();
        let mut named = HashSet::new();
        let mut folders = HashSet::new();
        for database in self.globals()?.databases() {
            for relation in self.definitions_at(&snapshot, database)?.relations() {
                if let Relation::Sequence(def) = relation {
                    named.insert(def.storage);
                }
                if let Relation::Table(table) = relation {
                    named.insert(table.def.storage);
                    named.extend(table.indexes.iter().map(|index| index.def.storage));
                    folders.insert(snapshot_folder(table.def.storage));
                    folders.insert(points_folder(table.def.storage));
                    folders.extend(closed_folder(table));
                }
            }
        }
        let sequences = by_storage::<Position>(&snapshot, meta_key::SEQUENCES)?;
        let sequences: Vec<_> = sequences.into_iter().map(|(at, _)| at).collect();
        drop(snapshot);
        for storage in self.store.storages() {
            if !named.contains(&storage) {
                self.drop_storage(storage)?;
            }
        }
        for storage in sequences {
            if !named.contains(&storage) {
                self.forget_sequence(storage).await?;
            }
        }
        for root in [CLOSED, SNAPSHOTS, POINTS] {
            for name in self.columnar.folders(root).await? {
                let folder = format!("{root}/{name}");
                if !folders.contains(&folder) {
                    self.columnar.remove(&folder).await?;
                }
            }
        }
        Ok(())
    }
}

/// Removes a dropped table's columnar files.
async fn remove_folders(columnar: Arc<ColumnarStore>, gone: Retired) {
    let storage = gone.storage;
    let folders = gone.closed_folder.into_iter();
    for folder in folders.chain([snapshot_folder(storage), points_folder(storage)]) {
        if let Err(error) = columnar.remove(&folder).await {
            tracing::warn!(storage, folder, %error, "a dropped table's files stay");
        }
    }
}
