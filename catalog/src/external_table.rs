//! Tables that others write and Nyala reads: Parquet files and Delta tables at a location.
//!
//! What a statement sees is settled when it asks for the provider: a Delta table at its newest version
//! of that moment, a Parquet directory with the files that are then in it. Columns have the types
//! that [`SqlType`] gives them, whatever the files say; a struct or a map keeps its own.
//!
//! Directories of Parquet files are read with all their subdirectories. Where those are named
//! `column=value` the columns are part of the table: `bigint` if all values are integers, `date` if
//! all are dates, else `text`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake::logstore::{StorageConfig, logstore_for};
use deltalake::{DeltaTable, DeltaTableError};
use tokio::sync::Mutex;
use url::Url;

use crate::definitions::ExternalFormat;
use crate::types::SqlType;

mod statistics;

use statistics::CountedListing;

/// Ending of the files that make up a Parquet directory.
const PARQUET_EXTENSION: &str = ".parquet";

/// What other engines name the directory of rows whose partition column is null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Result of an operation on an external table.
pub type Result<T, E = ExternalTableError> = std::result::Result<T, E>;

/// An error of an external table.
#[derive(Debug, thiserror::Error)]
pub enum ExternalTableError {
    /// There is nothing at the location.
    #[error("could not open {what} \"{location}\": {reason}")]
    NotFound {
        /// `file`, `directory` or `Delta table`.
        what: &'static str,
        /// The location as it was given.
        location: String,
        /// What the system said.
        reason: String,
    },
    /// The location is none that can be read.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
    /// The files could not be read.
    #[error(transparent)]
    Read(Box<DataFusionError>),
    /// The Delta log could not be read.
    #[error("delta log: {0}")]
    Delta(#[source] Box<DeltaTableError>),
}

impl From<DataFusionError> for ExternalTableError {
    fn from(error: DataFusionError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl From<DeltaTableError> for ExternalTableError {
    fn from(error: DeltaTableError) -> Self {
        Self::Delta(Box::new(error))
    }
}

/// A table that others write, opened for reading.
pub struct ExternalTable {
    schema: SchemaRef,
    source: Source,
}

enum Source {
    Parquet(Arc<CountedListing>),
    /// The table at the version that was newest when it was last asked for.
    Delta(Mutex<DeltaTable>),
}

/// Opens the table at `location`: an absolute path or a `file://` URL.
pub async fn open_external(
    session: &dyn Session,
    format: ExternalFormat,
    location: &str,
) -> Result<ExternalTable> {
    let path = local_path(location)?;
    match format {
        ExternalFormat::Parquet => open_parquet(session, location, path).await,
        ExternalFormat::Delta => open_delta(location, &path).await,
    }
}

impl ExternalTable {
    /// The schema of the rows, with types that [`SqlType::of_field`] knows.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The table as it is now, for one statement.
    ///
    /// A Delta table whose columns changed since it was opened is refused: what was planned
    /// for the old columns does not fit the new ones.
    pub async fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        match &self.source {
            Source::Parquet(table) => Ok(Arc::clone(table) as _),
            Source::Delta(table) => {
                let mut table = table.lock().await;
                table.update_state().await?;
                let provider = delta_provider(&table)?;
                if provider.schema() != self.schema {
                    return Err(ExternalTableError::Invalid {
                        message: format!(
                            "the columns of Delta table \"{}\" have changed",
                            table.table_url()
                        ),
                    });
                }
                Ok(Arc::new(provider))
            }
        }
    }
}

/// The path that a location names. Relative ones would depend on where the server was started.
fn local_path(location: &str) -> Result<PathBuf> {
    let invalid = |message: String| ExternalTableError::Invalid { message };
    if Path::new(location).is_absolute() {
        return Ok(PathBuf::from(location));
    }
    match Url::parse(location) {
        Ok(url) if url.scheme() == "file" => url
            .to_file_path()
            .map_err(|()| invalid(format!("location \"{location}\" is not a local path"))),
        Ok(url) => Err(invalid(format!(
            "locations of kind \"{}://\" are not supported",
            url.scheme()
        ))),
        Err(_) => Err(invalid(format!(
            "location \"{location}\" is a relative path; use an absolute path or a file:// URL"
        ))),
    }
}

async fn open_parquet(
    session: &dyn Session,
    location: &str,
    path: PathBuf,
) -> Result<ExternalTable> {
    let not_found = |what, error: std::io::Error| ExternalTableError::NotFound {
        what,
        location: location.to_string(),
        reason: error.kind().to_string(),
    };
    let kind = tokio::fs::metadata(&path)
        .await
        .map_err(|error| not_found("directory", error))?;
    let partitions = if kind.is_dir() {
        let root = path.clone();
        tokio::task::spawn_blocking(move || partition_columns(&root))
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))?
            .map_err(|error| not_found("directory", error))?
    } else {
        Vec::new()
    };
    let url = if kind.is_dir() {
        Url::from_directory_path(&path)
    } else {
        Url::from_file_path(&path)
    };
    let url = url.map_err(|()| ExternalTableError::Invalid {
        message: format!("location \"{location}\" is not a local path"),
    })?;

    let root = ListingTableUrl::parse(url.as_str())?;
    let format = Arc::new(ParquetFormat::default());
    let extension = if kind.is_dir() { PARQUET_EXTENSION } else { "" };
    let options = ListingOptions::new(Arc::clone(&format) as Arc<dyn FileFormat>)
        .with_file_extension(extension)
        .with_table_partition_cols(
            partitions
                .iter()
                .map(|f| (f.name().clone(), f.data_type().clone()))
                .collect(),
        );
    let file_schema = options.infer_schema(session, &root).await?;
    let columns: Vec<Field> = file_schema
        .fields()
        .iter()
        .filter(|field| {
            partitions
                .iter()
                .all(|partition| partition.name() != field.name())
        })
        .map(|field| in_sql_types(field))
        .collect();
    let config = ListingTableConfig::new(root)
        .with_listing_options(options)
        .with_schema(Arc::new(Schema::new(columns)));
    let table = CountedListing::new(session, ListingTable::try_new(config)?).await;
    Ok(ExternalTable {
        schema: table.schema(),
        source: Source::Parquet(Arc::new(table)),
    })
}

async fn open_delta(location: &str, path: &Path) -> Result<ExternalTable> {
    let not_found = |reason: String| ExternalTableError::NotFound {
        what: "Delta table",
        location: location.to_string(),
        reason,
    };
    let kind = tokio::fs::metadata(path).await;
    kind.map_err(|error| not_found(error.kind().to_string()))?;
    let url = Url::from_directory_path(path).map_err(|()| ExternalTableError::Invalid {
        message: format!("location \"{location}\" is not a local path"),
    })?;
    let log_store = logstore_for(&url, StorageConfig::default())?;
    if !log_store.is_delta_table_location().await? {
        return Err(not_found("the directory has no Delta log".to_string()));
    }
    let mut table = DeltaTable::new(log_store);
    table.load().await?;
    let schema = delta_provider(&table)?.schema();
    Ok(ExternalTable {
        schema,
        source: Source::Delta(Mutex::new(table)),
    })
}

/// delta-rs' own provider of the loaded version: it knows deletion vectors and column mapping.
fn delta_provider(table: &DeltaTable) -> Result<DeltaProvider> {
    let snapshot = table.snapshot()?.snapshot();
    let config = DeltaScanConfig::new().with_wrap_partition_values(false);
    let own_schema = DeltaScanNext::new(snapshot.clone(), config.clone())?.schema();
    let columns: Vec<Field> = own_schema
        .fields()
        .iter()
        .map(|f| in_sql_types(f))
        .collect();
    let bytes = own_schema
        .fields()
        .iter()
        .filter(|field| *field.data_type() == DataType::Int8)
        .map(|field| field.name().clone())
        .collect();
    let config = config.with_schema(Arc::new(Schema::new(columns)));
    let scan = DeltaScanNext::new(snapshot.clone(), config)?;
    Ok(DeltaProvider { scan, bytes })
}

/// delta-rs' provider, without filters on columns of Delta's type `byte`.
///
/// SQL has no such type, so they are `smallint` here; the statistics in the log stay bytes, and the
/// Delta kernel fails to compare the two.
#[derive(Debug)]
struct DeltaProvider {
    scan: DeltaScanNext,
    bytes: HashSet<String>,
}

#[async_trait]
impl TableProvider for DeltaProvider {
    fn schema(&self) -> SchemaRef {
        self.scan.schema()
    }

    fn table_type(&self) -> TableType {
        self.scan.table_type()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.scan.scan(session, projection, filters, limit).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let mut supported = self.scan.supports_filters_pushdown(filters)?;
        for (filter, support) in filters.iter().zip(&mut supported) {
            if filter
                .column_refs()
                .iter()
                .any(|column| self.bytes.contains(&column.name))
            {
                *support = TableProviderFilterPushDown::Unsupported;
            }
        }
        Ok(supported)
    }
}

/// A field in the Arrow type that its SQL type has everywhere else.
fn in_sql_types(field: &Field) -> Field {
    if field.data_type().is_nested() && !is_list(field.data_type()) {
        return field.clone();
    }
    SqlType::of_field(field).field(field.name(), field.is_nullable())
}

fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
    )
}

/// The partition columns of a directory, from the names of the directories under it.
fn partition_columns(root: &Path) -> std::io::Result<Vec<Field>> {
    let mut columns: Vec<(String, BTreeSet<String>)> = Vec::new();
    let mut directories = vec![(root.to_path_buf(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name();
            let Some((column, value)) = name.to_str().and_then(|name| name.split_once('=')) else {
                continue;
            };
            if depth == columns.len() {
                columns.push((column.to_string(), BTreeSet::new()));
            }
            match columns.get_mut(depth) {
                Some((known, values)) if known == column => {
                    values.insert(value.to_string());
                    directories.push((entry.path(), depth + 1));
                }
                // Not the same columns everywhere: then the names are just names.
                _ => return Ok(Vec::new()),
            }
        }
    }
    let fields = columns.into_iter().map(|(column, values)| {
        let nullable = values.contains(NULL_PARTITION);
        let all = |test: fn(&str) -> bool| !nullable && values.iter().all(|value| test(value));
        let sql_type = if all(|value| value.parse::<i64>().is_ok()) {
            SqlType::Int8
        } else if all(|value| NaiveDate::parse_from_str(value, "%Y-%m-%d").is_ok()) {
            SqlType::Date
        } else {
            SqlType::Text
        };
        sql_type.field(&column, true)
    });
    Ok(fields.collect())
}

#[cfg(test)]
mod tests;
