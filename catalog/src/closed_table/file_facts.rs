//! What a version needs to know of files beyond the log: the rows that deletion vectors take out, and how many rows a file has
//! whose entry does not tell. Only tables that others wrote to have such files.

use deltalake::table::state::DeltaTableState;
use object_store::path::Path;

use super::read::Input;
use super::{Layout, Result, deletion_vector};

/// Reads what is not known yet of the files of a version.
pub(super) async fn read(layout: &Layout, state: &DeltaTableState) -> Result<()> {
    if layout.spec.adopted.is_none() {
        return Ok(());
    }
    let (vectors, unknown) = {
        let log = state.snapshot().try_log_data()?;
        let vectors: Vec<_> = log
            .iter()
            .filter_map(|view| view.deletion_vector_descriptor())
            .collect();
        let unknown: Vec<(String, Path, i64)> = log
            .iter()
            .filter(|view| view.num_records().is_none())
            .map(|view| {
                let path = view.path().into_owned();
                (path, view.object_store_path(), view.size())
            })
            .collect();
        (vectors, unknown)
    };
    deletion_vector::prefetch(layout, vectors.into_iter()).await?;
    for (path, relative, bytes) in unknown {
        if layout.readers.row_counts.lock().contains_key(&path) {
            continue;
        }
        let bytes = u64::try_from(bytes).unwrap_or_default();
        let footer = Input::at(layout, relative, bytes).footer().await?;
        let rows = footer.file_metadata().num_rows();
        let rows = usize::try_from(rows).unwrap_or_default();
        layout.readers.row_counts.lock().insert(path, rows);
    }
    Ok(())
}
