//! What can go wrong with a closed table. The crate's error type takes it over; nothing is lost.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use parquet::errors::ParquetError;

use crate::object_stores::LocationError;

/// Result of an operation on a closed table.
pub type Result<T, E = ClosedTableError> = std::result::Result<T, E>;

/// An error of a closed table.
#[derive(Debug, thiserror::Error)]
pub enum ClosedTableError {
    /// The Delta log could not be read or written.
    #[error("delta log: {0}")]
    Delta(#[source] Box<DeltaTableError>),
    /// A Parquet file could not be read or written.
    #[error("parquet file: {0}")]
    Parquet(#[from] ParquetError),
    /// Rows could not be converted or compared.
    #[error("closed rows: {0}")]
    Arrow(#[from] ArrowError),
    /// The store failed.
    #[error("storage: {0}")]
    Store(#[from] object_store::Error),
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The table's location is in no store.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The rows to write, or a plan, failed.
    #[error(transparent)]
    Input(Box<DataFusionError>),
    /// Another writer changed the table since the version the operation was based on.
    #[error("{0}")]
    Conflict(String),
    /// The table uses a Delta feature, or a column a type, that closed tables do not have.
    #[error("{message}")]
    Unsupported {
        /// What is not supported.
        message: String,
    },
    /// Stored bytes are not what the log says.
    #[error("{message}")]
    Corrupted {
        /// What is wrong with them.
        message: String,
    },
    /// The caller's request does not fit the table.
    #[error("{message}")]
    Invalid {
        /// What does not fit.
        message: String,
    },
}

impl From<ClosedTableError> for DataFusionError {
    fn from(error: ClosedTableError) -> Self {
        match error {
            ClosedTableError::Input(error) => *error,
            error => Self::External(Box::new(error)),
        }
    }
}

impl From<DeltaTableError> for ClosedTableError {
    fn from(error: DeltaTableError) -> Self {
        Self::Delta(Box::new(error))
    }
}

impl From<DataFusionError> for ClosedTableError {
    fn from(error: DataFusionError) -> Self {
        Self::Input(Box::new(error))
    }
}
