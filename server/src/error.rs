//! The one error type that reaches a client, and the one place that maps every other error to a SQLSTATE.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, SchemaError};
use nyala_catalog::error::{CatalogError, ErrorKind};
use nyala_catalog::storage_failure;
use nyala_catalog::types::SqlType;
use nyala_udfs::JsonError;
use sqlparser::parser::ParserError;

/// SQLSTATEs that Nyala raises, by PostgreSQL's names for them.
pub mod sqlstate {
    /// `successful_completion`
    pub const SUCCESSFUL_COMPLETION: &str = "00000";
    /// `warning`
    pub const WARNING: &str = "01000";
    /// `connection_failure`
    pub const CONNECTION_FAILURE: &str = "08006";
    /// `protocol_violation`
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// `feature_not_supported`
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// `cardinality_violation`
    pub const CARDINALITY_VIOLATION: &str = "21000";
    /// `numeric_value_out_of_range`
    pub const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
    /// `sequence_generator_limit_exceeded`
    pub const SEQUENCE_LIMIT: &str = "2200H";
    /// `null_value_not_allowed`
    pub const NULL_VALUE_NOT_ALLOWED: &str = "22004";
    /// `invalid_argument_for_power_function`
    pub const INVALID_ARGUMENT_FOR_POWER_FUNCTION: &str = "2201F";
    /// `character_not_in_repertoire`
    pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
    /// `array_subscript_error`
    pub const ARRAY_SUBSCRIPT_ERROR: &str = "2202E";
    /// `invalid_tablesample_argument`
    pub const INVALID_TABLESAMPLE_ARGUMENT: &str = "2202H";
    /// `invalid_regular_expression`
    pub const INVALID_REGULAR_EXPRESSION: &str = "2201B";
    /// `invalid_datetime_format`
    pub const INVALID_DATETIME_FORMAT: &str = "22007";
    /// `datetime_field_overflow`
    pub const DATETIME_FIELD_OVERFLOW: &str = "22008";
    /// `invalid_time_zone_displacement_value`
    pub const INVALID_TIME_ZONE_DISPLACEMENT: &str = "22009";
    /// `division_by_zero`
    pub const DIVISION_BY_ZERO: &str = "22012";
    /// `invalid_parameter_value`
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    /// `invalid_text_representation`
    pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
    /// `not_null_violation`
    pub const NOT_NULL_VIOLATION: &str = "23502";
    /// `check_violation`
    pub const CHECK_VIOLATION: &str = "23514";
    /// A reference to a row that is not there.
    pub const FOREIGN_KEY_VIOLATION: &str = "23503";
    /// `unique_violation`
    pub const UNIQUE_VIOLATION: &str = "23505";
    /// `active_sql_transaction`
    pub const ACTIVE_SQL_TRANSACTION: &str = "25001";
    /// `idle_in_transaction_session_timeout`
    pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
    /// `no_active_sql_transaction`
    pub const NO_ACTIVE_SQL_TRANSACTION: &str = "25P01";
    /// `read_only_sql_transaction`
    pub const READ_ONLY_SQL_TRANSACTION: &str = "25006";
    /// `in_failed_sql_transaction`
    pub const IN_FAILED_SQL_TRANSACTION: &str = "25P02";
    /// `invalid_sql_statement_name`
    pub const INVALID_SQL_STATEMENT_NAME: &str = "26000";
    /// `invalid_authorization_specification`
    pub const INVALID_AUTHORIZATION: &str = "28000";
    /// `invalid_password`
    pub const INVALID_PASSWORD: &str = "28P01";
    /// `dependent_objects_still_exist`
    pub const DEPENDENT_OBJECTS: &str = "2BP01";
    /// `invalid_cursor_name`
    pub const INVALID_CURSOR_NAME: &str = "34000";
    /// `invalid_savepoint_specification`
    pub const INVALID_SAVEPOINT: &str = "3B001";
    /// `invalid_catalog_name`
    pub const UNDEFINED_DATABASE: &str = "3D000";
    /// `invalid_schema_name`
    pub const UNDEFINED_SCHEMA: &str = "3F000";
    /// `generated_always`
    pub const GENERATED_ALWAYS: &str = "428C9";
    /// `duplicate_object`
    pub const DUPLICATE_OBJECT: &str = "42710";
    /// `serialization_failure`
    pub const SERIALIZATION_FAILURE: &str = "40001";
    /// `deadlock_detected`
    pub const DEADLOCK_DETECTED: &str = "40P01";
    /// `syntax_error`
    pub const SYNTAX_ERROR: &str = "42601";
    /// `ambiguous_column`
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    /// `undefined_column`
    pub const UNDEFINED_COLUMN: &str = "42703";
    /// `undefined_object`
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// `duplicate_alias`
    pub const DUPLICATE_ALIAS: &str = "42712";
    /// `grouping_error`
    pub const GROUPING_ERROR: &str = "42803";
    /// `datatype_mismatch`
    pub const DATATYPE_MISMATCH: &str = "42804";
    /// `wrong_object_type`
    pub const WRONG_OBJECT_TYPE: &str = "42809";
    /// `undefined_function`
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// `undefined_table`
    pub const UNDEFINED_TABLE: &str = "42P01";
    /// `undefined_parameter`
    pub const UNDEFINED_PARAMETER: &str = "42P02";
    /// `duplicate_column`
    pub const DUPLICATE_COLUMN: &str = "42701";
    /// `duplicate_cursor`
    pub const DUPLICATE_CURSOR: &str = "42P03";
    /// `duplicate_database`
    pub const DUPLICATE_DATABASE: &str = "42P04";
    /// `duplicate_prepared_statement`
    pub const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
    /// `duplicate_schema`
    pub const DUPLICATE_SCHEMA: &str = "42P06";
    /// `duplicate_table`
    pub const DUPLICATE_TABLE: &str = "42P07";
    /// `invalid_column_reference`
    pub const INVALID_COLUMN_REFERENCE: &str = "42P10";
    /// `invalid_cursor_definition`
    pub const INVALID_CURSOR_DEFINITION: &str = "42P11";
    /// `invalid_table_definition`
    pub const INVALID_TABLE_DEFINITION: &str = "42P16";
    /// `disk_full`
    pub const DISK_FULL: &str = "53100";
    /// `too_many_connections`
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    /// `configuration_limit_exceeded`
    pub const LIMIT_EXCEEDED: &str = "53400";
    /// `program_limit_exceeded`
    pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
    /// `out_of_memory`
    pub const OUT_OF_MEMORY: &str = "53200";
    /// `object_not_in_prerequisite_state`
    pub const NOT_IN_PREREQUISITE_STATE: &str = "55000";
    /// `object_in_use`
    pub const OBJECT_IN_USE: &str = "55006";
    /// `lock_not_available`
    pub const LOCK_NOT_AVAILABLE: &str = "55P03";
    /// `cant_change_runtime_param`
    pub const CANT_CHANGE_RUNTIME_PARAM: &str = "55P02";
    /// `query_canceled`
    pub const QUERY_CANCELED: &str = "57014";
    /// `admin_shutdown`
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    /// `idle_session_timeout`
    pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
    /// `io_error`
    pub const IO_ERROR: &str = "58030";
    /// `undefined_file`
    pub const UNDEFINED_FILE: &str = "58P01";
    /// `internal_error`
    pub const INTERNAL_ERROR: &str = "XX000";
    /// `data_corrupted`
    pub const DATA_CORRUPTED: &str = "XX001";
}

/// How bad a message to the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// The statement succeeded and the user should look.
    Warning,
    /// The statement succeeded.
    Notice,
}

impl Severity {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// An error or notice as the client sees it; the fields are those of PostgreSQL's ErrorResponse.
#[derive(Debug, Clone)]
pub struct PgError {
    /// How bad it is.
    pub severity: Severity,
    /// Five-character SQLSTATE.
    pub code: &'static str,
    /// Primary message.
    pub message: String,
    /// Facts of this case.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Character position in the query text, from 1.
    pub position: Option<usize>,
    /// Where it happened (COPY line and column).
    pub context: Option<String>,
    /// Schema of the table concerned.
    pub schema: Option<String>,
    /// Table concerned.
    pub table: Option<String>,
    /// Column concerned.
    pub column: Option<String>,
    /// Constraint concerned.
    pub constraint: Option<String>,
    /// The place in PostgreSQL that gives this error, where drivers ask for it.
    pub routine: Option<&'static str>,
}

/// Result of everything between the socket and the catalog.
pub type Result<T, E = PgError> = std::result::Result<T, E>;

impl PgError {
    /// An error with a primary message only.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
            routine: None,
        }
    }

    /// An error that ends the connection.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fatal,
            ..Self::new(code, message)
        }
    }

    /// A notice.
    pub fn notice(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Notice,
            ..Self::new(sqlstate::SUCCESSFUL_COMPLETION, message)
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::new(code, message)
        }
    }

    /// A feature that is understood and not supported.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
    }

    /// A syntax error.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(sqlstate::SYNTAX_ERROR, message)
    }

    /// A failure that no input should cause.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL_ERROR, message)
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

    /// Adds the position in the query text, in characters from 1.
    #[must_use]
    pub fn with_position(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// Adds the place in PostgreSQL that gives this error.
    #[must_use]
    pub fn with_routine(mut self, routine: &'static str) -> Self {
        self.routine = Some(routine);
        self
    }

    /// Adds the context line.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:  {} ({})",
            self.severity.as_str(),
            self.message,
            self.code
        )
    }
}

impl std::error::Error for PgError {}

/// A `PgError` may travel through DataFusion (planning callbacks, functions) and come out unchanged.
impl From<PgError> for DataFusionError {
    fn from(error: PgError) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<CatalogError> for PgError {
    fn from(error: CatalogError) -> Self {
        let code = match error.kind {
            ErrorKind::UndefinedDatabase => sqlstate::UNDEFINED_DATABASE,
            ErrorKind::UndefinedSchema => sqlstate::UNDEFINED_SCHEMA,
            ErrorKind::UndefinedTable => sqlstate::UNDEFINED_TABLE,
            ErrorKind::UndefinedColumn => sqlstate::UNDEFINED_COLUMN,
            ErrorKind::UndefinedRole | ErrorKind::UndefinedVersion => sqlstate::UNDEFINED_OBJECT,
            ErrorKind::DuplicateDatabase => sqlstate::DUPLICATE_DATABASE,
            ErrorKind::DuplicateSchema => sqlstate::DUPLICATE_SCHEMA,
            ErrorKind::DuplicateTable => sqlstate::DUPLICATE_TABLE,
            ErrorKind::WrongObjectType => sqlstate::WRONG_OBJECT_TYPE,
            ErrorKind::DependentObjects => sqlstate::DEPENDENT_OBJECTS,
            ErrorKind::ObjectInUse => sqlstate::OBJECT_IN_USE,
            ErrorKind::UniqueViolation => sqlstate::UNIQUE_VIOLATION,
            ErrorKind::NotNullViolation => sqlstate::NOT_NULL_VIOLATION,
            ErrorKind::CheckViolation => sqlstate::CHECK_VIOLATION,
            ErrorKind::ValueTooLong => "22001",
            ErrorKind::NotPopulated => sqlstate::NOT_IN_PREREQUISITE_STATE,
            ErrorKind::ForeignKeyViolation => sqlstate::FOREIGN_KEY_VIOLATION,
            ErrorKind::DuplicateObject => sqlstate::DUPLICATE_OBJECT,
            ErrorKind::UndefinedObject => sqlstate::UNDEFINED_OBJECT,
            ErrorKind::SequenceLimit => sqlstate::SEQUENCE_LIMIT,
            ErrorKind::OutOfRange => sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            ErrorKind::InvalidParameter => sqlstate::INVALID_PARAMETER_VALUE,
            ErrorKind::SerializationFailure => sqlstate::SERIALIZATION_FAILURE,
            ErrorKind::InvalidDefinition => sqlstate::INVALID_TABLE_DEFINITION,
            ErrorKind::DatatypeMismatch => sqlstate::DATATYPE_MISMATCH,
            ErrorKind::UndefinedFile => sqlstate::UNDEFINED_FILE,
            ErrorKind::InvalidLocation => sqlstate::INVALID_PARAMETER_VALUE,
            ErrorKind::Unsupported => sqlstate::FEATURE_NOT_SUPPORTED,
            ErrorKind::LimitExceeded => sqlstate::PROGRAM_LIMIT_EXCEEDED,
            ErrorKind::Locked => sqlstate::OBJECT_IN_USE,
            ErrorKind::DiskFull => sqlstate::DISK_FULL,
            ErrorKind::Io => sqlstate::IO_ERROR,
            ErrorKind::Corrupted => sqlstate::DATA_CORRUPTED,
            ErrorKind::Internal => sqlstate::INTERNAL_ERROR,
        };
        Self {
            detail: error.detail,
            hint: error.hint,
            schema: error.schema,
            table: error.table,
            column: error.column,
            constraint: error.constraint,
            ..Self::new(code, error.message)
        }
    }
}

impl From<JsonError> for PgError {
    fn from(error: JsonError) -> Self {
        Self {
            detail: Some(error.detail),
            ..Self::new(error.sqlstate, error.message)
        }
    }
}

impl From<arrow::error::ArrowError> for PgError {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError;
        match error {
            ArrowError::DivideByZero => Self::new(sqlstate::DIVISION_BY_ZERO, "division by zero"),
            ArrowError::ArithmeticOverflow(message) => Self::new(
                sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                overflow_message(&message),
            ),
            // Arrow reports both malformed text and values out of range as cast errors.
            ArrowError::CastError(message) | ArrowError::ParseError(message) => {
                match message.strip_prefix("Can't cast value ") {
                    Some(rest) => match rest.rsplit_once(" to type ") {
                        Some((_, ty)) if ty.starts_with("Int") => {
                            Self::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, overflow_message(ty))
                        }
                        _ => Self::new(cast_code(&message), message),
                    },
                    None => Self::new(cast_code(&message), message),
                }
            }
            ArrowError::InvalidArgumentError(message) if message.contains("too large to store") => {
                Self::new(
                    sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                    "numeric field overflow",
                )
                .with_detail(message)
            }
            ArrowError::ExternalError(source) => {
                from_source(source.as_ref()).unwrap_or_else(|| Self::internal(source.to_string()))
            }
            ArrowError::ComputeError(message) if message.contains("overflow on abs") => Self::new(
                sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                overflow_message(&message),
            ),
            ArrowError::ComputeError(message) if message.contains(NEGATIVE_ROOT) => {
                Self::new(sqlstate::INVALID_ARGUMENT_FOR_POWER_FUNCTION, NEGATIVE_ROOT)
            }
            other => Self::internal(other.to_string()),
        }
    }
}

/// As DataFusion words it, and PostgreSQL.
const NEGATIVE_ROOT: &str = "cannot take square root of a negative number";

fn cast_code(message: &str) -> &'static str {
    if message.contains("overflow")
        || message.contains("out of range")
        || message.contains("Can't cast value")
    {
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE
    } else {
        sqlstate::INVALID_TEXT_REPRESENTATION
    }
}

fn overflow_message(message: &str) -> String {
    // PostgreSQL names the type; Arrow names the operation.
    if message.contains("i32") || message.contains("Int32") {
        "integer out of range".to_string()
    } else if message.contains("i16") || message.contains("Int16") {
        "smallint out of range".to_string()
    } else {
        "bigint out of range".to_string()
    }
}

impl From<ParserError> for PgError {
    fn from(error: ParserError) -> Self {
        match error {
            ParserError::RecursionLimitExceeded => Self::new("54001", "stack depth limit exceeded"),
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                Self::syntax(message)
            }
        }
    }
}

/// Finds one of Nyala's own errors in a chain of sources.
fn from_source(error: &(dyn std::error::Error + 'static)) -> Option<PgError> {
    let mut current = Some(error);
    while let Some(source) = current {
        if let Some(own) = source.downcast_ref::<PgError>() {
            return Some(own.clone());
        }
        if let Some(catalog) = source.downcast_ref::<CatalogError>() {
            return Some(catalog.clone().into());
        }
        if let Some(json) = source.downcast_ref::<JsonError>() {
            return Some(json.clone().into());
        }
        current = source.source();
    }
    None
}

impl From<DataFusionError> for PgError {
    fn from(error: DataFusionError) -> Self {
        if let Some(own) = from_source(&error) {
            return own;
        }
        if storage_failure::kind(&error).is_some() {
            return CatalogError::from(error).into();
        }
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                Self::from(*inner)
            }
            DataFusionError::Shared(inner) => match inner.as_ref() {
                DataFusionError::Execution(message) => execution_error(message.clone()),
                DataFusionError::ResourcesExhausted(message) => {
                    Self::new(sqlstate::OUT_OF_MEMORY, "out of memory").with_detail(message)
                }
                DataFusionError::ArrowError(arrow, _) => arrow_message(arrow),
                other => Self::internal(other.strip_backtrace()),
            },
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => Self::from(first),
                None => Self::internal("unknown error"),
            },
            DataFusionError::ArrowError(arrow, _) => Self::from(*arrow),
            DataFusionError::SQL(parser, _) => Self::from(*parser),
            DataFusionError::SchemaError(schema, _) => schema_error(&schema),
            DataFusionError::ResourcesExhausted(message) => {
                Self::new(sqlstate::OUT_OF_MEMORY, "out of memory").with_detail(message)
            }
            DataFusionError::NotImplemented(message) => Self::unsupported(message),
            DataFusionError::Plan(message) => plan_error(message),
            DataFusionError::Execution(message) => execution_error(message),
            other => Self::internal(other.strip_backtrace()),
        }
    }
}

fn arrow_message(error: &arrow::error::ArrowError) -> PgError {
    use arrow::error::ArrowError;
    match error {
        ArrowError::DivideByZero => PgError::new(sqlstate::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => PgError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            overflow_message(message),
        ),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            PgError::new(cast_code(message), message.clone())
        }
        other => PgError::internal(other.to_string()),
    }
}

fn schema_error(error: &SchemaError) -> PgError {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            if let Some(relation) = &field.relation
                && !valid_fields
                    .iter()
                    .any(|valid| valid.relation.as_ref() == Some(relation))
            {
                return PgError::new(
                    sqlstate::UNDEFINED_TABLE,
                    format!("missing FROM-clause entry for table \"{relation}\""),
                );
            }
            // PostgreSQL prints a qualified name without quotes, a bare one with.
            let message = match &field.relation {
                Some(relation) => format!("column {relation}.{} does not exist", field.name),
                None => format!("column \"{}\" does not exist", field.name),
            };
            PgError::new(sqlstate::UNDEFINED_COLUMN, message)
        }
        SchemaError::AmbiguousReference { field } => PgError::new(
            sqlstate::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        ),
        SchemaError::DuplicateQualifiedField { qualifier, .. } => PgError::new(
            sqlstate::DUPLICATE_ALIAS,
            format!("table name \"{qualifier}\" specified more than once"),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => PgError::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{name}\" specified more than once"),
        ),
    }
}

/// 42804 for a condition of another type.
pub fn not_boolean(place: &str, ty: &str) -> PgError {
    PgError::new(
        sqlstate::DATATYPE_MISMATCH,
        format!("argument of {place} must be type boolean, not type {ty}"),
    )
}

/// The SQL name of an Arrow type that an error message names.
fn sql_name(arrow: Option<&str>) -> String {
    let arrow = arrow.unwrap_or_default().trim();
    match arrow.parse::<DataType>() {
        Ok(ty) => SqlType::of_arrow(&ty).to_string(),
        Err(_) => arrow.to_lowercase(),
    }
}

/// DataFusion's planner has one variant for most mistakes of a user; the text tells them apart.
fn plan_error(message: String) -> PgError {
    let first_line = message.lines().next().unwrap_or_default().to_string();
    if let Some(rest) = message.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        return PgError::new(
            sqlstate::UNDEFINED_FUNCTION,
            format!("function {name} does not exist"),
        )
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.");
    }
    if message.contains("No function matches the given name and argument types")
        || message.contains("Failed to coerce arguments")
        || message.contains("does not support zero arguments")
    {
        return PgError::new(sqlstate::UNDEFINED_FUNCTION, first_line);
    }
    if message.contains("must appear in the GROUP BY clause")
        || message.contains("must be part of GROUP BY clause")
        || message.contains("must be part of GROUP BY")
    {
        return PgError::new(sqlstate::GROUPING_ERROR, first_line);
    }
    if message.contains("Aggregate functions are not allowed")
        || message.contains("Aggregate function calls cannot be nested")
    {
        return PgError::new(sqlstate::GROUPING_ERROR, first_line);
    }
    if message.contains("Order by column out of bounds") {
        return PgError::new(sqlstate::INVALID_COLUMN_REFERENCE, first_line);
    }
    if message.contains("LIMIT must be >= 0") {
        return PgError::new("2201W", "LIMIT must not be negative");
    }
    if message.contains("OFFSET must be >= 0") {
        return PgError::new("2201X", "OFFSET must not be negative");
    }
    // HAVING has the same error; which of the two it was, is not told.
    if message.contains("Cannot create filter with non-boolean predicate") {
        return not_boolean("WHERE", &sql_name(message.rsplit(' ').next()));
    }
    if message.contains("Unary operator 'NOT' requires a boolean expression") {
        return not_boolean("NOT", &sql_name(message.rsplit(' ').next()));
    }
    if message.contains("Join condition must be boolean type") {
        return not_boolean("JOIN/ON", &sql_name(message.rsplit(' ').next()));
    }
    if let Some((_, operands)) = message.split_once("logical boolean operation ") {
        let mut words = operands.split(' ');
        let (left, op, right) = (words.next(), words.next(), words.next());
        let wrong = if left == Some("Boolean") { right } else { left };
        return not_boolean(op.unwrap_or_default(), &sql_name(wrong));
    }
    if let Some(error) = subscript_error(&message) {
        return error;
    }
    if message.contains("Cannot coerce") || message.contains("Cannot infer common") {
        return PgError::new(sqlstate::UNDEFINED_FUNCTION, first_line);
    }
    if message.contains("number of columns") || message.contains("same number of columns") {
        return PgError::syntax(first_line);
    }
    PgError::syntax(first_line)
}

/// What a subscript that fits no array, and nothing else either, is answered with.
fn subscript_error(message: &str) -> Option<PgError> {
    let (_, ty) = message.split_once("Cannot access field at argument 1: type ")?;
    let arrow = ty.split(" is not ").next().unwrap_or_default();
    let message = match arrow.starts_with("List(") {
        true => "array subscript must have type integer".to_string(),
        false => {
            let ty = sql_name(Some(arrow));
            format!("cannot subscript type {ty} because it does not support subscripting")
        }
    };
    Some(PgError::new(sqlstate::DATATYPE_MISMATCH, message))
}

fn execution_error(message: String) -> PgError {
    if let Some(error) = subscript_error(&message) {
        return error;
    }
    let code =
        if message.contains("more than one row") || message.contains("returned more than one") {
            return PgError::new(
                sqlstate::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            );
        } else if message.contains(NEGATIVE_ROOT) {
            return PgError::new(sqlstate::INVALID_ARGUMENT_FOR_POWER_FUNCTION, NEGATIVE_ROOT);
        } else if message.contains("Overflow") || message.contains("overflow") {
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE
        } else if message.contains("parsing") || message.contains("Cannot cast") {
            sqlstate::INVALID_TEXT_REPRESENTATION
        } else {
            sqlstate::INTERNAL_ERROR
        };
    PgError::new(code, message)
}
