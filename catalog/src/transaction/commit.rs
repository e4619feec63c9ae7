//! The end of a transaction: its writes, and what it has loaded, become everybody's.

use std::sync::Arc;

use super::{Changes, ReadView, Transaction};
use crate::catalog::{Catalog, FORMAT_GENERATIONS};
use crate::committer::CommitRequest;
use crate::definitions::StorageId;
use crate::error::{ErrorKind, Result};
use crate::row_codec::Bytes;
use crate::row_store::generation::{Generation, Staged};
use crate::row_store::{Space, meta_key};

impl Transaction {
    /// Makes the writes durable and visible. Returns when they are on disk.
    ///
    /// Fails with a serialization failure if another transaction committed a conflicting write
    /// after this one's snapshot; then nothing is written.
    pub async fn commit(mut self) -> Result<()> {
        self.finish_references().await?;
        let is_read_only = self.is_read_only();
        let Self { mut view, changes } = self;
        let catalog = Arc::clone(&view.catalog);
        if is_read_only {
            if !changes.retired.is_empty() {
                let csn = view.csn;
                drop(view);
                catalog.retire(csn, changes.retired).await;
            }
            return Ok(());
        }
        let changing = match changes.meta.is_empty() {
            true => None,
            false => Some(catalog.change_definitions().await),
        };
        let csn = match Loads::of(&view)? {
            None => catalog.commit(request(&view, &changes)).await?,
            Some(loads) => Box::pin(loads.commit_with(&mut view, &changes)).await?,
        };
        drop(changing);
        drop(view);
        catalog.retire(csn, changes.retired).await;
        Ok(())
    }
}

/// What a transaction asks of the committer, beside its loads.
fn request(view: &ReadView, changes: &Changes) -> CommitRequest {
    let defines = !changes.meta.is_empty();
    let version = || meta_key::definitions_version(view.definitions.database.oid);
    let tables = view.writes.tables();
    CommitRequest {
        snapshot_csn: view.csn,
        tables: tables
            .map(|(storage, writes)| (storage, Arc::clone(writes)))
            .collect(),
        meta: changes.meta.clone(),
        stamps: defines.then(version).into_iter().collect(),
        unchanged: changes.relies_on.iter().cloned().collect(),
        untouched: changes.untouched.iter().copied().collect(),
        marks: changes.references.marks.clone(),
        ..CommitRequest::default()
    }
}

/// What a transaction has loaded.
struct Loads {
    catalog: Arc<Catalog>,
    staged: Vec<Arc<Staged>>,
    /// The generations in whose place they come.
    replaced: Vec<(StorageId, Generation)>,
}

impl Loads {
    fn of(view: &ReadView) -> Result<Option<Self>> {
        let staged: Vec<_> = view.snapshot.loaded().cloned().collect();
        let store = view.catalog.store();
        let replaced = staged.iter().map(|staged| {
            let storage = staged.storage();
            Ok((storage, store.hold_generation(storage)?))
        });
        let replaced = replaced.collect::<Result<Vec<_>>>()?;
        Ok((!staged.is_empty()).then_some(Self {
            catalog: Arc::clone(&view.catalog),
            staged,
            replaced,
        }))
    }

    /// Commits them with what else the transaction writes; one by one where another transaction has written to what they replace.
    async fn commit_with(&self, view: &mut ReadView, changes: &Changes) -> Result<u64> {
        match self.commit(request(view, changes)).await {
            Err(error) if error.kind == ErrorKind::SerializationFailure => {
                self.write_rows(view)?;
                self.catalog.commit(request(view, changes)).await
            }
            committed => committed,
        }
    }

    /// Commits a request that they are part of, as a whole or not at all.
    async fn commit(&self, mut request: CommitRequest) -> Result<u64> {
        for staged in &self.staged {
            let (storage, generation) = (staged.storage(), staged.generation());
            let key = meta_key::generation(storage);
            request.meta.push((key, Some(generation.to_bytes())));
            request.loads.push((storage, generation));
            // Before the commit, which may succeed although nobody waits for it any more.
            staged.keep();
        }
        let format = self.catalog.snapshot().meta_number(meta_key::FORMAT)?;
        let asked = |(key, _): &(String, _)| key == meta_key::FORMAT;
        // What the transaction defines may need a later one, which is asked for already.
        if format < FORMAT_GENERATIONS && !request.meta.iter().any(asked) {
            let format = FORMAT_GENERATIONS.to_be_bytes().to_vec();
            request
                .meta
                .push((meta_key::FORMAT.to_string(), Some(format)));
        }
        let committed = self.catalog.commit(request).await;
        match &committed {
            Ok(csn) => {
                for (storage, generation) in &self.replaced {
                    self.catalog.rows_replaced(*storage, *generation, *csn);
                }
            }
            Err(error) if error.kind == ErrorKind::SerializationFailure => {
                self.staged.iter().for_each(|staged| staged.refused());
            }
            // Whether they were taken the next start sees.
            Err(_) => {}
        }
        committed
    }

    /// Makes them rows that the transaction writes one by one, under those it has written since.
    fn write_rows(&self, view: &mut ReadView) -> Result<()> {
        for staged in &self.staged {
            let storage = staged.storage();
            let mut rows = Vec::new();
            for entry in view.snapshot.range(Space::Rows(storage), ..)? {
                let (key, value) = entry.into_inner()?;
                let written = view.writes.table(storage);
                if written.is_none_or(|writes| !writes.rows.contains_key(&*key)) {
                    rows.push((Bytes::from(&*key), Some(Bytes::from(&*value))));
                }
            }
            view.writes.write(storage, rows)?;
            view.snapshot.unload(storage);
        }
        Ok(())
    }
}
