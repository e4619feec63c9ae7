//! Flushing files and folders of the local disk: their writers never do.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Flushes files, then a folder and `parents` - 1 folders above it, so that the files' names last as well.
pub(crate) async fn flush(files: Vec<PathBuf>, folder: PathBuf, parents: usize) -> io::Result<()> {
    let work = move || {
        files.iter().try_for_each(|file| flush_path(file))?;
        folder.ancestors().take(parents).try_for_each(flush_path)
    };
    // Away from the runtime's own threads: a flush blocks.
    let flushed = tokio::task::spawn_blocking(work).await;
    flushed.map_err(io::Error::other)?
}

fn flush_path(path: &Path) -> io::Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| {
            let message = format!("could not flush \"{}\": {error}", path.display());
            io::Error::new(error.kind(), message)
        })
}
