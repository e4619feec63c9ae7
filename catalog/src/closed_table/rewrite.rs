//! Rewriting files: without some rows, which is how an updated, deleted or reopened row leaves the closed table, and several
//! small files as one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::keys::{KeySet, probe_file};
use super::merge::Merge;
use super::read::FileReader;
use super::version::LiveFile;
use super::write::{in_file_schema, write_sorted};
use super::{ClosedTable, ClosedVersion, Result, WrittenFile, row_order};

/// Files to replace in one commit.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Paths of the files to remove, as the version calls them.
    pub removed: Vec<String>,
    /// Paths of other files to remove, whose rows are all in written ones: what the table holds does not change by them.
    pub merged: Vec<String>,
    /// The files that take their place.
    pub written: Vec<WrittenFile>,
    /// Rows that are in the removed files and not in the written ones.
    pub rows_dropped: u64,
}

impl ClosedTable {
    /// Rewrites each file of `base` that holds one of `keys` (the key columns, in key order) without
    /// the rows of these keys.
    ///
    /// Nothing changes until the result is committed on top of `base`. Files without a
    /// key are not touched; a file of which no row is left is only removed.
    pub async fn rewrite_without(
        &self,
        base: &ClosedVersion,
        keys: &RecordBatch,
    ) -> Result<Rewrite> {
        self.rewrite(base, Some(keys), &[]).await
    }

    /// As [`ClosedTable::rewrite_without`], and merges files as planned ([`ClosedTable::merges`]).
    pub(crate) async fn rewrite(
        &self,
        base: &ClosedVersion,
        keys: Option<&RecordBatch>,
        merges: &[Merge],
    ) -> Result<Rewrite> {
        let keys = match keys {
            Some(keys) => Some(Arc::new(KeySet::new(&self.layout, keys)?)),
            None => None,
        };
        let mut rewrite = Rewrite::default();
        let rewritten = self
            .rewrite_files(base, keys.as_ref(), merges, &mut rewrite)
            .await;
        match rewritten {
            Ok(()) => Ok(rewrite),
            Err(error) => {
                self.discard(&rewrite.written).await;
                Err(error)
            }
        }
    }

    async fn rewrite_files(
        &self,
        base: &ClosedVersion,
        keys: Option<&Arc<KeySet>>,
        merges: &[Merge],
        rewrite: &mut Rewrite,
    ) -> Result<()> {
        let mut merged: HashSet<&str> = HashSet::new();
        for merge in merges {
            merged.extend(merge.files.iter().map(|file| file.path()));
            self.replace(&merge.files, keys, rewrite).await?;
        }
        let Some(keys) = keys else {
            return Ok(());
        };
        for (file, candidates) in keys.files(base)? {
            if merged.contains(file.path()) {
                continue;
            }
            let layout = Arc::clone(&self.layout);
            let held = probe_file(layout, Arc::clone(&file), Arc::clone(keys), candidates).await?;
            if !held.is_empty() {
                self.replace(&[file], Some(keys), rewrite).await?;
            }
        }
        Ok(())
    }

    /// Writes files again, as one where they fit into one, without the rows of `keys`.
    async fn replace(
        &self,
        files: &[Arc<LiveFile>],
        keys: Option<&Arc<KeySet>>,
        rewrite: &mut Rewrite,
    ) -> Result<()> {
        let layout = &self.layout;
        let dropped = Arc::new(AtomicU64::new(0));
        let mut streams = Vec::with_capacity(files.len());
        for file in files {
            streams.push(self.kept_rows(file, keys, &dropped).await?);
        }
        let divided = !layout.spec.partition.is_empty();
        let in_order = files.iter().all(|file| {
            let of_partition = file.partition().is_some_and(|own| own.fits(&layout.spec));
            file.sorted() && (of_partition || !divided)
        });
        let rows = match (in_order, streams.len()) {
            (true, 1) => streams.pop(),
            (true, _) => Some(row_order::merged(layout, streams)?),
            (false, _) => Some(row_order::sorted(layout, streams)?),
        };
        let mut written = match rows {
            Some(rows) => write_sorted(layout, rows).await?,
            None => Vec::new(),
        };
        let dropped = dropped.load(Ordering::Relaxed);
        let paths = files.iter().map(|file| file.path().to_string());
        if dropped == 0 {
            for file in &mut written {
                file.add.data_change = false;
            }
            rewrite.merged.extend(paths);
        } else {
            rewrite.removed.extend(paths);
        }
        rewrite.written.extend(written);
        rewrite.rows_dropped += dropped;
        Ok(())
    }

    /// The rows of a file but those of `keys`, which are counted, in the names of new files.
    async fn kept_rows(
        &self,
        file: &Arc<LiveFile>,
        keys: Option<&Arc<KeySet>>,
        dropped: &Arc<AtomicU64>,
    ) -> Result<SendableRecordBatchStream> {
        let layout = Arc::clone(&self.layout);
        let columns: Vec<usize> = (0..layout.spec.schema.fields().len()).collect();
        let reader = FileReader::open(Arc::clone(&layout), Arc::clone(file)).await?;
        let rows = reader.read(&columns, None)?;
        let schema = Arc::clone(&layout.file_schema);
        let (keys, dropped) = (keys.cloned(), Arc::clone(dropped));
        let kept = rows.map(move |batch| {
            let mut batch = batch?;
            if let Some(keys) = &keys {
                let found = keys.lookup(&batch.project(&layout.spec.key)?)?;
                let keep: BooleanArray = found.iter().map(|id| Some(id.is_none())).collect();
                dropped.fetch_add(keep.false_count() as u64, Ordering::Relaxed);
                batch = filter_record_batch(&batch, &keep)?;
            }
            Ok(in_file_schema(&layout, &batch)?)
        });
        Ok(row_order::adapted(&schema, kept))
    }
}
