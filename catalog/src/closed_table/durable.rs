//! Flushing to disk what a store wrote: the store itself never does.
//!
//! A local file is safe once it and the directory entries that lead to it are flushed. Other stores
//! answer a write when it is safe, so there is nothing to do for them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{ClosedTableError, Layout, Result};

/// Name of the directory that holds a Delta table's log.
const LOG_DIRECTORY: &str = "_delta_log";

impl Layout {
    /// Flushes the named files of the table, and the directory they are in.
    pub(super) async fn flush_files(&self, names: Vec<String>) -> Result<()> {
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        flush(move || {
            for name in names {
                flush_path(&directory.join(name))?;
            }
            flush_path(&directory)
        })
        .await
    }

    /// Flushes the log entry of `version` and the directories that lead to it.
    pub(super) async fn flush_log(&self, version: u64) -> Result<()> {
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        flush(move || {
            let log: PathBuf = directory.join(LOG_DIRECTORY);
            let entry = log.join(format!("{version:020}.json"));
            // Old entries are removed once a checkpoint covers them.
            if entry.exists() {
                flush_path(&entry)?;
            }
            flush_path(&log)?;
            flush_path(&directory)?;
            directory.parent().map_or(Ok(()), flush_path)
        })
        .await
    }
}

/// Runs blocking flushes away from the runtime's own threads.
async fn flush(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}

fn flush_path(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| {
            let message = format!("\"{}\": {error}", path.display());
            ClosedTableError::Io(std::io::Error::new(error.kind(), message))
        })
}
