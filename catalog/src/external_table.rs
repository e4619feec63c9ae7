//! Tables that others write and Nyala reads: Parquet files and Delta tables at a location.
//!
//! What a statement sees is settled when it asks for the provider: a Delta table at its newest version
//! of that moment, a Parquet directory with the files that are then in it. Columns have the types
//! that [`SqlType`] gives them, whatever the files say; a struct or a map keeps its own.
//!
//! A location is a path of this machine or `s3://BUCKET/PREFIX`; an object store has no directories, so there a location is one if
//! there are files below it.
//! Deletion vectors and columns mapped by name are followed. A Delta table with a feature that cannot be followed is refused
//! when it is opened.
//!
//! Directories of Parquet files are read with all their subdirectories. Where those are named
//! `column=value` the columns are part of the table: `bigint` if all values are integers, `date` if
//! all are dates, else `text`.

use std::collections::{BTreeSet, HashSet};
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
use deltalake::{DeltaTable, DeltaTableError};
use tokio::sync::Mutex;

use crate::definitions::ExternalFormat;
use crate::object_stores::{LocationError, ObjectStores};
use crate::types::SqlType;

mod place;
mod statistics;

use place::Place;
pub(crate) use place::local_path;
use statistics::CountedListing;

/// Ending of the files that make up a Parquet directory.
const PARQUET_EXTENSION: &str = ".parquet";

/// What other engines name the directory of rows whose partition column is null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Property of a Delta table that says how columns are found in its files. By id means by the field ids of the Parquet
/// schema, whatever the columns are called in a file; delta-rs goes by names then, too, and would find no values.
const MAPPING_MODE: &str = "delta.columnMapping.mode";
const MAPPING_BY_ID: &str = "id";

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
    /// The table needs something that Nyala cannot do.
    #[error("{message}")]
    Unsupported {
        /// What that is.
        message: String,
    },
    /// The files could not be read.
    #[error(transparent)]
    Read(Box<DataFusionError>),
    /// The store did not answer as it should.
    #[error("storage: {0}")]
    Store(#[from] object_store::Error),
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
        match unsupported_feature(&error) {
            Some(message) => Self::Unsupported { message },
            None => Self::Delta(Box::new(error)),
        }
    }
}

impl From<LocationError> for ExternalTableError {
    fn from(error: LocationError) -> Self {
        Self::Invalid {
            message: error.message,
        }
    }
}

/// What delta-rs says of a table whose protocol it cannot follow; `None` for other errors.
fn unsupported_feature(error: &DeltaTableError) -> Option<String> {
    let text = match error {
        DeltaTableError::KernelError(error) => error.to_string(),
        DeltaTableError::Kernel { source } => source.to_string(),
        _ => return None,
    };
    let what = text.strip_prefix("Unsupported: ")?;
    Some(format!("the Delta table cannot be read: {what}"))
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

/// Opens the table at `location`: an absolute path or a URL of one of the stores.
pub async fn open_external(
    session: &dyn Session,
    stores: &ObjectStores,
    format: ExternalFormat,
    location: &str,
) -> Result<ExternalTable> {
    let place = Place::find(stores, location).await?;
    match format {
        ExternalFormat::Parquet => open_parquet(session, stores, place).await,
        ExternalFormat::Delta => open_delta(session, stores, place).await,
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

async fn open_parquet(
    session: &dyn Session,
    stores: &ObjectStores,
    place: Place,
) -> Result<ExternalTable> {
    stores.register(session.runtime_env(), &place.url)?;
    let partitions = match place.is_directory {
        true => partition_columns(&place.data_files().await?),
        false => Vec::new(),
    };
    let root = ListingTableUrl::parse(place.url.as_str())?;
    let format = Arc::new(ParquetFormat::default());
    let extension = match place.is_directory {
        true => PARQUET_EXTENSION,
        false => "",
    };
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

async fn open_delta(
    session: &dyn Session,
    stores: &ObjectStores,
    place: Place,
) -> Result<ExternalTable> {
    let url = place.directory_url();
    stores.register(session.runtime_env(), &url)?;
    let log_store = stores.log_store(&url)?;
    if !log_store.is_delta_table_location().await? {
        return Err(place.not_found("Delta table", "the directory has no Delta log"));
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
    let state = table.snapshot()?;
    let mapping = state.metadata().configuration().get(MAPPING_MODE);
    if mapping.is_some_and(|mode| mode == MAPPING_BY_ID) {
        return Err(ExternalTableError::Unsupported {
            message: "the Delta table cannot be read: feature 'columnMapping' in mode 'id' is not supported"
                .to_string(),
        });
    }
    let snapshot = state.snapshot();
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

/// The partition columns of a directory, from the names of the directories that its files are in.
fn partition_columns(files: &[Vec<String>]) -> Vec<Field> {
    let mut columns: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for file in files {
        let directories = file.split_last().map_or(&[][..], |(_, above)| above);
        for (depth, name) in directories.iter().enumerate() {
            let Some((column, value)) = name.split_once('=') else {
                break;
            };
            if depth == columns.len() {
                columns.push((column, BTreeSet::new()));
            }
            match columns.get_mut(depth) {
                Some((known, values)) if *known == column => {
                    values.insert(value);
                }
                // Not the same columns everywhere: then the names are just names.
                _ => return Vec::new(),
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
        sql_type.field(column, true)
    });
    fields.collect()
}

#[cfg(test)]
mod tests;
