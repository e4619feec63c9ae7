//! The one error type of the catalog: a kind that the server maps to a SQLSTATE, and the message,
//! detail and hint as PostgreSQL words them.

use std::fmt;

use datafusion::error::DataFusionError;

use crate::closed_table::ClosedTableError;
use crate::external_table::ExternalTableError;
use crate::object_stores::LocationError;
use crate::storage_failure;

/// What went wrong, independent of the wording. The server owns the mapping to SQLSTATEs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A database of that name does not exist.
    UndefinedDatabase,
    /// A schema of that name does not exist.
    UndefinedSchema,
    /// A relation of that name does not exist.
    UndefinedTable,
    /// A column of that name does not exist.
    UndefinedColumn,
    /// A role of that name does not exist.
    UndefinedRole,
    /// A database of that name exists.
    DuplicateDatabase,
    /// A schema of that name exists.
    DuplicateSchema,
    /// A relation of that name exists.
    DuplicateTable,
    /// The relation is of another kind than the statement needs.
    WrongObjectType,
    /// A version of a table that is not kept.
    UndefinedVersion,
    /// Something else depends on the object.
    DependentObjects,
    /// The object is in use by another connection.
    ObjectInUse,
    /// A key exists already.
    UniqueViolation,
    /// A NULL in a column that allows none.
    NotNullViolation,
    /// A row for which a CHECK constraint does not hold.
    CheckViolation,
    /// A reference to a row that is not there.
    ForeignKeyViolation,
    /// A constraint or other object of that name exists.
    DuplicateObject,
    /// A constraint or other object of that name does not exist.
    UndefinedObject,
    /// A sequence has no more values.
    SequenceLimit,
    /// A number is not in its range.
    OutOfRange,
    /// A text is longer than its type allows.
    ValueTooLong,
    /// A relation whose rows nobody has asked for yet.
    NotPopulated,
    /// A parameter has a value that it cannot have.
    InvalidParameter,
    /// Another transaction committed a write to the same key first.
    SerializationFailure,
    /// The definition is contradictory.
    InvalidDefinition,
    /// Something has another type than it must have.
    DatatypeMismatch,
    /// There are no files at a location.
    UndefinedFile,
    /// A location is none that can be read.
    InvalidLocation,
    /// Understood, and not supported.
    Unsupported,
    /// A named limit was reached.
    LimitExceeded,
    /// The data directory is in use by another server.
    Locked,
    /// There is no room for what is to be written.
    DiskFull,
    /// Reading or writing storage failed.
    Io,
    /// Stored bytes are not what they should be.
    Corrupted,
    /// Any other failure; the message says which.
    Internal,
}

/// An error of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Primary message, without a final full stop.
    pub message: String,
    /// A full sentence with the facts of this case.
    pub detail: Option<String>,
    /// A full sentence with what to do about it.
    pub hint: Option<String>,
    /// Schema of the table concerned.
    pub schema: Option<String>,
    /// The table concerned.
    pub table: Option<String>,
    /// The column concerned.
    pub column: Option<String>,
    /// The constraint concerned.
    pub constraint: Option<String>,
}

/// Result of catalog operations.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

impl CatalogError {
    /// An error with a primary message only.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
        }
    }

    /// Adds the detail line.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the hint line.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the table concerned.
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Names the schema of the table concerned.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Names the column concerned.
    #[must_use]
    pub fn with_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    /// Names the constraint concerned.
    #[must_use]
    pub fn with_constraint(mut self, constraint: impl Into<String>) -> Self {
        self.constraint = Some(constraint.into());
        self
    }

    /// A write-write conflict: the transaction that committed first has won.
    pub fn serialization_failure() -> Self {
        Self::new(
            ErrorKind::SerializationFailure,
            "could not serialize access due to concurrent update",
        )
        .with_hint("The transaction might succeed if retried.")
    }

    /// An error of storage, with what to do if it is full.
    pub(crate) fn of_storage(kind: ErrorKind, message: impl Into<String>) -> Self {
        let error = Self::new(kind, message);
        match kind {
            ErrorKind::DiskFull => error.with_hint("Make room where the server keeps its data."),
            _ => error,
        }
    }

    /// Stored bytes that do not decode.
    pub fn corrupted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupted, message)
    }

    /// A failure that no user input should cause.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CatalogError {}

impl From<fjall::Error> for CatalogError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::new(ErrorKind::Locked, "data directory is locked"),
            other => {
                let kind = storage_failure::kind(&other).unwrap_or(ErrorKind::Io);
                Self::of_storage(kind, format!("row store: {other}"))
            }
        }
    }
}

impl From<arrow::error::ArrowError> for CatalogError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<parquet::errors::ParquetError> for CatalogError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        let kind = storage_failure::kind(&error).unwrap_or(ErrorKind::Io);
        Self::of_storage(kind, error.to_string())
    }
}

impl From<serde_json::Error> for CatalogError {
    fn from(error: serde_json::Error) -> Self {
        Self::corrupted(format!("stored definition does not decode: {error}"))
    }
}

impl From<std::io::Error> for CatalogError {
    fn from(error: std::io::Error) -> Self {
        let kind = storage_failure::kind(&error).unwrap_or(ErrorKind::Io);
        Self::of_storage(kind, error.to_string())
    }
}

impl From<ClosedTableError> for CatalogError {
    fn from(error: ClosedTableError) -> Self {
        let kind = match error {
            ClosedTableError::Input(error) => return Self::from(*error),
            ClosedTableError::Conflict(_) => ErrorKind::SerializationFailure,
            ClosedTableError::Unsupported { .. } => ErrorKind::Unsupported,
            ClosedTableError::Corrupted { .. } => ErrorKind::Corrupted,
            ClosedTableError::Invalid { .. } => ErrorKind::InvalidDefinition,
            ClosedTableError::Location(_) => ErrorKind::InvalidLocation,
            // delta-rs does not always tell what caused its error, yet nearly all of them are failures to read or write.
            ClosedTableError::Delta(_) | ClosedTableError::Store(_) | ClosedTableError::Io(_) => {
                storage_failure::kind(&error).unwrap_or(ErrorKind::Io)
            }
            ClosedTableError::Parquet(_) | ClosedTableError::Arrow(_) => {
                storage_failure::kind(&error).unwrap_or(ErrorKind::Internal)
            }
        };
        Self::of_storage(kind, error.to_string())
    }
}

impl From<LocationError> for CatalogError {
    fn from(error: LocationError) -> Self {
        Self::new(ErrorKind::InvalidLocation, error.message)
    }
}

impl From<object_store::Error> for CatalogError {
    fn from(error: object_store::Error) -> Self {
        let kind = storage_failure::kind(&error).unwrap_or(ErrorKind::Io);
        Self::of_storage(kind, format!("storage: {error}"))
    }
}

impl From<ExternalTableError> for CatalogError {
    fn from(error: ExternalTableError) -> Self {
        let kind = match &error {
            ExternalTableError::NotFound { .. } => ErrorKind::UndefinedFile,
            ExternalTableError::Invalid { .. } => ErrorKind::InvalidLocation,
            ExternalTableError::Unsupported { .. } => ErrorKind::Unsupported,
            ExternalTableError::Read(_)
            | ExternalTableError::Delta(_)
            | ExternalTableError::Store(_) => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<DataFusionError> for CatalogError {
    fn from(error: DataFusionError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            if let Some(own) = found.downcast_ref::<Self>() {
                return own.clone();
            }
            cause = found.source();
        }
        match storage_failure::kind(&error) {
            Some(kind) => Self::of_storage(kind, error.strip_backtrace()),
            None => Self::internal(error.find_root().strip_backtrace()),
        }
    }
}

impl From<CatalogError> for DataFusionError {
    fn from(error: CatalogError) -> Self {
        Self::External(Box::new(error))
    }
}
