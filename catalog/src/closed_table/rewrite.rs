//! Rewriting files without some rows: how an updated, deleted or reopened row leaves the closed table.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;

use super::keys::{KeySet, probe_file};
use super::read::FileReader;
use super::version::LiveFile;
use super::write::RowWriter;
use super::{ClosedTable, ClosedVersion, Result, WrittenFile};

/// Files to replace in one commit.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Paths of the files to remove, as the version calls them.
    pub removed: Vec<String>,
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
        let keys = Arc::new(KeySet::new(&self.layout, keys)?);
        let mut rewrite = Rewrite::default();
        for (file, candidates) in keys.files(base)? {
            let rewritten = self
                .rewrite_file(&keys, file, candidates, &mut rewrite)
                .await;
            if let Err(error) = rewritten {
                self.discard(&rewrite.written).await;
                return Err(error);
            }
        }
        Ok(rewrite)
    }

    async fn rewrite_file(
        &self,
        keys: &Arc<KeySet>,
        file: Arc<LiveFile>,
        candidates: Vec<u32>,
        rewrite: &mut Rewrite,
    ) -> Result<()> {
        let layout = &self.layout;
        let held = probe_file(layout.clone(), file.clone(), Arc::clone(keys), candidates).await?;
        if held.is_empty() {
            return Ok(());
        }
        let mut dropped = 0;
        let mut writer = RowWriter::new(layout.clone())?;
        let copied = async {
            let columns: Vec<usize> = (0..layout.spec.schema.fields().len()).collect();
            let reader = FileReader::open(layout.clone(), file.clone()).await?;
            let mut batches = reader.read(&columns, None)?;
            while let Some(batch) = batches.try_next().await? {
                let found = keys.lookup(&batch.project(&layout.spec.key)?)?;
                let keep: BooleanArray = found.iter().map(|id| Some(id.is_none())).collect();
                dropped += keep.false_count() as u64;
                let kept = filter_record_batch(&batch, &keep)?;
                writer.write(&kept).await?;
            }
            Ok(())
        }
        .await;
        rewrite.written.extend(writer.close(copied).await?);
        rewrite.removed.push(file.path().to_string());
        rewrite.rows_dropped += dropped;
        Ok(())
    }
}
