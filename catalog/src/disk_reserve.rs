//! Room on the data directory's disk that commits leave free.
//!
//! A row store whose journal cannot be written takes no more writes until it is opened again: whether the last batch is on
//! disk is not known any more. So a commit that might not fit is refused before anything of it is written. That is an
//! error like any other: reads go on, and so do commits once there is room.
//!
//! The reserve is for what the row store writes by itself (memtables, merged files), half of it for what makes room (DROP,
//! TRUNCATE) and for notes of jobs, and all of it for the last steps of offload and housekeeping.

use std::path::PathBuf;

use crate::committer::{CommitRequest, Move};
use crate::error::{CatalogError, ErrorKind, Result};

/// A row is written to the journal, and to a file when its memtable is full.
const COPIES: u64 = 2;

/// The reserve of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct DiskReserve {
    directory: PathBuf,
    bytes: u64,
}

/// What a group of commits may still take.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes that are free; `None` if it does not matter, or cannot be told.
    free: Option<u64>,
    reserve: u64,
}

impl DiskReserve {
    pub(crate) fn new(directory: PathBuf, bytes: u64) -> Self {
        Self { directory, bytes }
    }

    /// What is free now.
    pub(crate) fn room(&self) -> Room {
        let free = match self.bytes {
            0 => None,
            // What cannot be told must not stop a server that has room.
            _ => rustix::fs::statvfs(&self.directory)
                .ok()
                .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        };
        Room {
            free,
            reserve: self.bytes,
        }
    }
}

impl Room {
    /// Takes the room for a request, or refuses it.
    pub(crate) fn take(&mut self, request: &CommitRequest) -> Result<()> {
        let Some(free) = self.free else {
            return Ok(());
        };
        let bytes = COPIES.saturating_mul(bytes_of(request));
        let writes_rows = !request.tables.is_empty() || request.fill.is_some();
        let ends = request.row_move.as_ref().is_some_and(Move::is_end);
        let reserve = match (writes_rows, ends) {
            (true, _) => self.reserve,
            (false, false) => self.reserve / 2,
            // The files are there already: to give up now would leave them to the next start.
            (false, true) => 0,
        };
        self.take_bytes(free, bytes, reserve)
    }

    /// Takes the room for rows that are about to be written to files, or refuses it.
    pub(crate) fn take_files(&mut self, bytes: u64) -> Result<()> {
        match self.free {
            Some(free) => self.take_bytes(free, bytes, self.reserve),
            None => Ok(()),
        }
    }

    fn take_bytes(&mut self, free: u64, bytes: u64, reserve: u64) -> Result<()> {
        match free.checked_sub(bytes).filter(|left| *left >= reserve) {
            Some(left) => {
                self.free = Some(left);
                Ok(())
            }
            None => Err(refused(free, bytes, reserve)),
        }
    }
}

fn refused(free: u64, bytes: u64, reserve: u64) -> CatalogError {
    CatalogError::new(
        ErrorKind::DiskFull,
        "could not commit: no space left on the data directory's disk",
    )
    .with_detail(format!(
        "The commit needs {} kB, {} kB are free, and {} kB of them are kept free (disk_reserve_mb).",
        bytes >> 10,
        free >> 10,
        reserve >> 10
    ))
    .with_hint("Nothing was written. Make room, and try again.")
}

/// Bytes of keys and values that a request writes.
fn bytes_of(request: &CommitRequest) -> u64 {
    let mut bytes = 0;
    for (_, writes) in &request.tables {
        for (key, value) in &writes.rows {
            bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        }
    }
    bytes as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::write_buffer::TableWrites;

    fn row(bytes: usize) -> CommitRequest {
        let mut writes = TableWrites::default();
        let value = vec![0; bytes].into_boxed_slice();
        writes.rows.insert(Default::default(), Some(value));
        CommitRequest {
            tables: vec![(1, Arc::new(writes))],
            ..CommitRequest::default()
        }
    }

    #[test]
    fn rows_leave_the_reserve_and_other_commits_half_of_it() {
        let mut room = Room {
            free: Some(1_000),
            reserve: 600,
        };
        room.take(&row(100)).expect("200 of 400");
        room.take(&row(100)).expect("the rest");
        let error = room.take(&row(1)).expect_err("no room");
        assert_eq!(error.kind, ErrorKind::DiskFull);
        room.take(&CommitRequest::default()).expect("half");
        room.free = Some(299);
        room.take(&CommitRequest::default()).expect_err("less");
        let end = CommitRequest {
            row_move: Some(Move::Abandon(1)),
            ..CommitRequest::default()
        };
        room.take(&end).expect("the last step");
    }

    #[test]
    fn without_a_reserve_nothing_is_asked() {
        let reserve = DiskReserve::new(PathBuf::from("/nonexistent"), 0);
        reserve.room().take(&row(1)).expect("no limit");
    }
}
