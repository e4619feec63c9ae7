//! Making files that others wrote the closed part of a table, without copying rows: `closed_location`.
//!
//! A Delta table is taken as it is; for a directory of Parquet files a log is made that names them (`convert`). Then:
//!
//! 1. **features**: what asks more of a writer than to add and remove files is refused (column mapping, change data feed,
//!    constraints, generated columns, append-only tables).
//! 2. **columns**: the files have just the columns of the definition, of the same types: what a file has beyond them would be
//!    lost when it is rewritten.
//! 3. **rows**: keys are unique and columns that are NOT NULL have no NULL. All files are read for this, once, with bounded
//!    memory.
//!
//! Nothing here changes a file. The Delta table belongs to the table from then on: another writer's commit is a conflict, and
//! the next housekeeping run is refused. Of the files only own ones are ever removed ([`super::vacuum`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, FieldRef, Schema};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use deltalake::kernel::transaction::PROTOCOL;
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt, stream};

use super::read::FileReader;
use super::{AdoptedFiles, ClosedTable, ClosedTableSpec, Layout, convert, row_order, schema};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::object_stores::ObjectStores;
use crate::types::{PG_TYPE_KEY, SqlType};

/// Properties of a Delta table, with the feature that they turn on. A table that merely could have them is taken.
const REFUSED_PROPERTIES: [(&str, &str); 4] = [
    ("delta.columnMapping.mode", "columnMapping"),
    ("delta.enableChangeDataFeed", "changeDataFeed"),
    ("delta.appendOnly", "appendOnly"),
    ("delta.enableRowTracking", "rowTracking"),
];

/// Prefix of the properties that hold CHECK constraints.
const CONSTRAINT_PROPERTY: &str = "delta.constraints.";

/// Metadata of columns whose values a writer has to make or check.
const REFUSED_COLUMN_METADATA: [(&str, &str); 3] = [
    ("delta.generationExpression", "generatedColumns"),
    ("delta.invariants", "invariants"),
    ("delta.identity.", "identityColumns"),
];

/// What adoption found.
pub(crate) struct Adoption {
    /// The Delta version that is visible first.
    pub(crate) version: u64,
    /// Indexes of the Delta table's partition columns in the schema.
    pub(crate) partition_columns: Vec<usize>,
}

impl ClosedTable {
    /// Takes over the files at the location of `spec`.
    pub(crate) async fn take_over(
        spec: ClosedTableSpec,
        stores: &ObjectStores,
    ) -> Result<Adoption> {
        let mut spec = ClosedTableSpec {
            adopted: Some(AdoptedFiles::default()),
            ..spec
        };
        let found = Self::open(spec.clone(), stores)?;
        let layout = &found.layout;
        check_directory(layout).await?;
        if found.exists().await? {
            return Self::check_adopted(layout, &mut spec, stores).await;
        }
        convert::make_log(layout).await?;
        let checked = Self::check_adopted(layout, &mut spec, stores).await;
        if checked.is_err() {
            convert::remove_log(layout).await;
        }
        checked
    }

    async fn check_adopted(
        layout: &Layout,
        spec: &mut ClosedTableSpec,
        stores: &ObjectStores,
    ) -> Result<Adoption> {
        let log_store = layout.log_store.as_ref();
        let state = DeltaTableState::try_new(log_store, None).await;
        let state = state.map_err(|error| unreadable(spec, &error))?;
        check_features(spec, &state)?;
        let partition_columns = check_columns(layout, &state)?;
        spec.adopted = Some(AdoptedFiles {
            partition_columns: partition_columns.clone(),
        });
        check_rows(spec, state.version(), stores).await?;
        Ok(Adoption {
            version: state.version(),
            partition_columns,
        })
    }
}

fn unreadable(spec: &ClosedTableSpec, error: &deltalake::DeltaTableError) -> CatalogError {
    let text = error.to_string();
    let kind = match text.contains("Unsupported") {
        true => ErrorKind::Unsupported,
        false => ErrorKind::Io,
    };
    let location = &spec.location;
    CatalogError::new(kind, format!("could not adopt \"{location}\": {text}"))
}

async fn check_directory(layout: &Layout) -> Result<()> {
    let location = &layout.spec.location;
    let found = match &layout.directory {
        Some(path) => path.is_dir(),
        // In an object store nothing but its files says that a directory is there.
        None => {
            let first = layout.store.list(None).try_next().await;
            first.map_err(super::ClosedTableError::from)?.is_some()
        }
    };
    if found {
        return Ok(());
    }
    Err(CatalogError::new(
        ErrorKind::UndefinedFile,
        format!("closed_location \"{location}\" is not a directory"),
    ))
}

/// Step 1.
fn check_features(spec: &ClosedTableSpec, state: &DeltaTableState) -> Result<()> {
    let refused = |feature: &str| {
        let location = &spec.location;
        Err(CatalogError::new(
            ErrorKind::Unsupported,
            format!(
                "could not adopt the Delta table \"{location}\": feature '{feature}' is not supported"
            ),
        )
        .with_hint("CREATE EXTERNAL TABLE reads it; copy its rows from there."))
    };
    let configuration = state.metadata().configuration();
    for (property, feature) in REFUSED_PROPERTIES {
        let value = configuration.get(property).map(String::as_str);
        if value.is_some_and(|value| !matches!(value, "none" | "false")) {
            return refused(feature);
        }
    }
    let mut properties = configuration.keys();
    if properties.any(|property| property.starts_with(CONSTRAINT_PROPERTY)) {
        return refused("checkConstraints");
    }
    for field in state.schema().fields() {
        for (key, feature) in REFUSED_COLUMN_METADATA {
            let mut metadata = field.metadata().keys();
            if metadata.any(|name| name.starts_with(key)) {
                return refused(feature);
            }
        }
    }
    let writable = PROTOCOL.can_write_to(state.snapshot());
    writable.or_else(|error| refused(&error.to_string()))
}

/// Step 2; gives the partition columns of the Delta table.
fn check_columns(layout: &Layout, state: &DeltaTableState) -> Result<Vec<usize>> {
    let spec = &layout.spec;
    let logged = state.schema();
    let wanted = schema::delta_fields(&layout.file_schema)?;
    for (wanted, field) in wanted.iter().zip(spec.schema.fields()) {
        let name = field.name();
        let Some(found) = logged.field(name) else {
            return Err(missing_column(name));
        };
        let sql_type = SqlType::of_field(field);
        let own_type = found.metadata().get(PG_TYPE_KEY).map(ToString::to_string);
        // A text of others need not be one that the type takes.
        let told = field.metadata().get(PG_TYPE_KEY);
        let is_text = matches!(sql_type, SqlType::Text | SqlType::Varchar(None));
        let same_meaning = told.is_none() || is_text || told == own_type.as_ref();
        if found.data_type() != wanted.data_type() || !same_meaning {
            let found = found.data_type().to_string();
            return Err(other_type(name, &sql_type, &found));
        }
    }
    let known: BTreeSet<&String> = wanted.iter().map(|field| field.name()).collect();
    if let Some(extra) = logged.fields().find(|field| !known.contains(field.name())) {
        return Err(extra_column(extra.name()));
    }
    let partitions = state.metadata().partition_columns().iter();
    partitions
        .map(|name| {
            let at = wanted.iter().position(|field| field.name() == name);
            at.ok_or_else(|| missing_column(name))
        })
        .collect()
}

/// 42703 for a column that the files lack.
pub(super) fn missing_column(name: &str) -> CatalogError {
    CatalogError::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{name}\" does not exist in the files of closed_location"),
    )
    .with_column(name)
}

/// 42703 for a column that the definition lacks.
pub(super) fn extra_column(name: &str) -> CatalogError {
    CatalogError::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{name}\" of the files of closed_location is not in the definition"),
    )
    .with_detail("It would be lost when a file is rewritten.")
    .with_column(name)
}

/// 42804 for a column that has another type in files.
pub(super) fn other_type(name: &str, wanted: &SqlType, found: &str) -> CatalogError {
    CatalogError::new(
        ErrorKind::DatatypeMismatch,
        format!(
            "column \"{name}\" has type {wanted}, but the files of closed_location have {found}"
        ),
    )
    .with_column(name)
}

/// Step 3.
async fn check_rows(spec: &ClosedTableSpec, version: u64, stores: &ObjectStores) -> Result<()> {
    // Readers of a column that cannot be NULL do not look whether it is.
    let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
    let fields: Vec<FieldRef> = spec.schema.fields().iter().map(nullable).collect();
    let columns = spec.columns.iter().map(|column| {
        let mut column = column.clone();
        column.written = nullable(&column.written);
        column
    });
    let checked = ClosedTableSpec {
        schema: Arc::new(Schema::new(fields)),
        columns: columns.collect(),
        partition: Vec::new(),
        ..spec.clone()
    };
    let checked = ClosedTable::open(checked, stores)?;
    let layout = &checked.layout;
    let at = checked.at_version(version).await?;
    let key = &spec.key;
    let fields = spec.schema.fields().iter().enumerate();
    let not_null = fields.filter(|(at, field)| !field.is_nullable() && !key.contains(at));
    let columns: Vec<usize> = key
        .iter()
        .copied()
        .chain(not_null.map(|(at, _)| at))
        .collect();
    let required: Vec<FieldRef> = columns
        .iter()
        .filter_map(|at| spec.schema.fields().get(*at).cloned())
        .collect();

    let files = at.files().to_vec();
    let (of_file, wanted) = (Arc::clone(layout), columns.clone());
    let batches = stream::iter(files)
        .then(move |file| {
            let (layout, columns) = (Arc::clone(&of_file), wanted.clone());
            async move { FileReader::open(layout, file).await?.read(&columns, None) }
        })
        .try_flatten();
    let width = key.len();
    let keys = batches.map(move |batch| {
        let batch = batch?;
        for (field, column) in required.iter().zip(batch.columns()) {
            if column.logical_null_count() > 0 {
                return Err(DataFusionError::from(null_in(field)));
            }
        }
        let key: Vec<usize> = (0..width).collect();
        Ok(batch.project(&key)?)
    });
    let schema = Arc::new(layout.spec.schema.project(key)?);
    let keys = row_order::adapted(&schema, keys);
    let mut sorted = row_order::sorted_by_all(layout, &schema, keys)?;
    let sorts = schema.fields().iter();
    let sorts = sorts.map(|field| SortField::new(field.data_type().clone()));
    let converter = RowConverter::new(sorts.collect())?;
    let mut last = None;
    while let Some(batch) = sorted.try_next().await? {
        let rows = converter.convert_columns(batch.columns())?;
        for at in 0..rows.num_rows() {
            let row = rows.row(at);
            let before = match at.checked_sub(1) {
                Some(before) => Some(rows.row(before)),
                None => last.as_ref().map(arrow::row::OwnedRow::row),
            };
            if before == Some(row) {
                return Err(twice(spec, &batch, at)?);
            }
        }
        if let Some(end) = rows.num_rows().checked_sub(1) {
            last = Some(rows.row(end).owned());
        }
    }
    Ok(())
}

fn null_in(field: &Field) -> CatalogError {
    let name = field.name();
    CatalogError::new(
        ErrorKind::NotNullViolation,
        format!("column \"{name}\" of the files of closed_location contains null values"),
    )
    .with_column(name)
}

fn twice(spec: &ClosedTableSpec, keys: &RecordBatch, at: usize) -> Result<CatalogError> {
    let schema = keys.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let text = |column: &ArrayRef| -> Result<String> {
        let options = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        Ok(formatter.value(at).try_to_string()?)
    };
    let values: Vec<String> = keys.columns().iter().map(text).collect::<Result<_>>()?;
    Ok(CatalogError::new(
        ErrorKind::UniqueViolation,
        format!(
            "could not adopt the files of table \"{}\": a key is there twice",
            spec.name
        ),
    )
    .with_detail(format!(
        "Key ({})=({}) is duplicated.",
        names.join(", "),
        values.join(", ")
    )))
}
