//! Flushing to disk what a store wrote: the store itself never does.
//!
//! A local file is safe once it and the directory entries that lead to it are flushed. Other stores
//! answer a write when it is safe, so there is nothing to do for them.

use super::{Layout, Result};
use crate::durable::flush;

/// Name of the directory that holds a Delta table's log.
pub(super) const LOG_DIRECTORY: &str = "_delta_log";

impl Layout {
    /// Flushes the named files of the table, and the directory they are in.
    pub(super) async fn flush_files(&self, names: Vec<String>) -> Result<()> {
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        let files = names.iter().map(|name| directory.join(name)).collect();
        Ok(flush(files, directory, 1).await?)
    }

    /// Flushes the log entry of `version` and the directories that lead to it.
    pub(super) async fn flush_log(&self, version: u64) -> Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let log = directory.join(LOG_DIRECTORY);
        let entry = log.join(format!("{version:020}.json"));
        // Old entries are removed once a checkpoint covers them.
        let entries = if tokio::fs::try_exists(&entry).await? {
            vec![entry]
        } else {
            Vec::new()
        };
        Ok(flush(entries, log, 3).await?)
    }
}
