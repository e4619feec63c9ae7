//! Tells failures of storage from other failures, however deep in an error's chain of causes they are.
//!
//! Errors of files and object stores reach us through Parquet, Arrow, DataFusion and delta-rs, each of which wraps
//! them in its own. What a client has to know is the same for all: the disk is full, or storage did not do what it should.

use std::error::Error;
use std::io;

use crate::error::ErrorKind;

/// Causes that are looked at; longer chains are not made.
const DEPTH_MAX: usize = 32;

/// The kind of a storage failure, if an error or anything that caused it is one: [`ErrorKind::DiskFull`] or
/// [`ErrorKind::Io`].
pub fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut found = None;
    let mut current = Some(error);
    for _ in 0..DEPTH_MAX {
        let Some(cause) = current else { break };
        current = cause.source();
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if is_full(io) {
                return Some(ErrorKind::DiskFull);
            }
            found = Some(ErrorKind::Io);
            // Its source is that of the error it wraps, not that error.
            current = io
                .get_ref()
                .map(|wrapped| wrapped as &(dyn Error + 'static));
        } else if cause.is::<object_store::Error>() {
            found = Some(ErrorKind::Io);
        }
    }
    found
}

/// Whether there was no room: on the disk, in a quota, or within the limit of the process.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use arrow::error::ArrowError;
    use datafusion::error::DataFusionError;
    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn the_cause_is_found_below_its_wrappers() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let in_store = object_store::Error::Generic {
            store: "local",
            source: Box::new(full()),
        };
        let in_writer = io::Error::other(in_store);
        let in_file = ParquetError::External(Box::new(in_writer));
        let in_plan = DataFusionError::ParquetError(Box::new(in_file));
        assert_eq!(kind(&in_plan), Some(ErrorKind::DiskFull));

        let gone = io::Error::from(io::ErrorKind::ConnectionRefused);
        let in_arrow = ArrowError::ExternalError(Box::new(gone));
        assert_eq!(kind(&in_arrow), Some(ErrorKind::Io));

        let other = DataFusionError::Execution("division by zero".to_string());
        assert_eq!(kind(&other), None);
    }
}
