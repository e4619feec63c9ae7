//! A Delta log for a directory of Parquet files that others wrote: one commit that names them all, with statistics from their
//! footers.
//!
//! Files below directories named `column=value` have that value in the column, as Hive has it; all files must be below
//! directories of the same columns. Names that begin with `_` or `.` are not looked at, as other engines do not.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use deltalake::kernel::{Action, Add};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::ParquetMetaData;

use super::adopt::{extra_column, missing_column, other_type};
use super::durable::LOG_DIRECTORY;
use super::read::Input;
use super::stats::{self, ColumnBounds};
use super::write::extreme;
use super::{Layout, partition, schema};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::types::SqlType;

/// Ending of data files.
const DATA_FILE: &str = ".parquet";

/// What Hive names the directory of rows whose partition column is null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Name of the file of version 0 of a log.
const FIRST_COMMIT: &str = "00000000000000000000.json";

/// Makes the log, version 0 of a Delta table.
pub(super) async fn make_log(layout: &Layout) -> Result<()> {
    let found: Vec<ObjectMeta> = layout
        .store
        .list(None)
        .try_collect()
        .await
        .map_err(super::ClosedTableError::from)?;
    let mut files: Vec<ObjectMeta> = found.into_iter().filter(is_data_file).collect();
    files.sort_by(|left, right| left.location.cmp(&right.location));
    let Some(first) = files.first() else {
        return Err(CatalogError::new(
            ErrorKind::UndefinedFile,
            format!(
                "closed_location \"{}\" has neither a Delta log nor Parquet files",
                layout.spec.location
            ),
        ));
    };
    let columns: Vec<String> = hive_values(&first.location)
        .into_iter()
        .map(|(column, _)| column)
        .collect();
    for column in &columns {
        if layout.file_schema.field_with_name(column).is_err() {
            return Err(extra_column(column));
        }
    }
    let mut actions = Vec::with_capacity(files.len());
    for file in &files {
        actions.push(Action::Add(described(layout, file, &columns).await?));
    }
    let created = CreateBuilder::new()
        .with_log_store(layout.log_store.clone())
        .with_table_name(layout.spec.name.clone())
        .with_save_mode(SaveMode::ErrorIfExists)
        .with_columns(schema::delta_fields(&layout.file_schema)?)
        .with_configuration(schema::properties(layout)?)
        .with_partition_columns(columns)
        .with_raise_if_key_not_exists(false)
        .with_actions(actions);
    created.await.map_err(super::ClosedTableError::from)?;
    layout.flush_log(0).await?;
    Ok(())
}

/// Takes the log that was made back: nobody has the table, and the directory is as it was.
pub(super) async fn remove_log(layout: &Layout) {
    let commit = Path::from_iter([LOG_DIRECTORY, FIRST_COMMIT]);
    let mut removed = layout
        .store
        .delete(&commit)
        .await
        .map_err(|e| e.to_string());
    if let (Ok(()), Some(directory)) = (&removed, &layout.directory) {
        let log = tokio::fs::remove_dir(directory.join(LOG_DIRECTORY)).await;
        removed = log.map_err(|error| error.to_string());
    }
    if let Err(error) = removed {
        let location = &layout.spec.location;
        tracing::warn!(%location, error, "the log of a refused closed_location stays");
    }
}

fn is_data_file(file: &ObjectMeta) -> bool {
    let mut parts = file.location.parts();
    let hidden =
        parts.any(|part| part.as_ref().starts_with(['_', '.']) && !part.as_ref().contains('='));
    !hidden && file.location.as_ref().ends_with(DATA_FILE)
}

/// The columns and values that the directories of a file name.
fn hive_values(path: &Path) -> Vec<(String, Option<String>)> {
    let mut directories: Vec<&str> = path.as_ref().split('/').collect();
    directories.pop();
    let values = directories.into_iter().filter_map(|directory| {
        let (column, value) = directory.split_once('=')?;
        let (column, value) = (decoded(column), decoded(value));
        Some((column, (value != NULL_PARTITION).then_some(value)))
    });
    values.collect()
}

/// A text in which `%` and two hexadecimal digits stand for a byte, as URLs and Hive's directories have it.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3);
        let escaped = digits.filter(|_| *byte == b'%');
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn described(layout: &Layout, file: &ObjectMeta, columns: &[String]) -> Result<Add> {
    let location = &file.location;
    let values = hive_values(location);
    if !values.iter().map(|(column, _)| column).eq(columns) {
        return Err(CatalogError::new(
            ErrorKind::InvalidLocation,
            format!(
                "file \"{location}\" of closed_location is not below directories of the columns ({})",
                columns.join(", ")
            ),
        ));
    }
    for (column, value) in &values {
        if let Ok(field) = layout.file_schema.field_with_name(column) {
            partition::parse(value.clone(), field).map_err(|_| {
                let text = value.clone().unwrap_or_default();
                other_type(column, &SqlType::of_field(field), &format!("\"{text}\""))
            })?;
        }
    }
    let footer = Input::at(layout, location.clone(), file.size)
        .footer()
        .await?;
    let held = held_columns(layout, &footer, columns)?;
    let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
    let bounds = held
        .iter()
        .map(|held| bounds(held, &footer))
        .collect::<Result<Vec<_>>>()?;
    let wanted: Vec<FieldRef> = held.into_iter().map(|held| held.wanted).collect();
    Ok(Add {
        path: location.to_string(),
        partition_values: values.into_iter().collect::<HashMap<_, _>>(),
        size: i64::try_from(file.size).unwrap_or(i64::MAX),
        modification_time: file.last_modified.timestamp_millis(),
        data_change: true,
        stats: Some(stats::encode(&Schema::new(wanted), rows, &bounds)),
        ..Add::default()
    })
}

/// A column of a file.
struct Held {
    wanted: FieldRef,
    file: Arc<Schema>,
}

/// The columns of a file, which are just those of the definition without the partition columns.
fn held_columns(
    layout: &Layout,
    footer: &ParquetMetaData,
    partitions: &[String],
) -> Result<Vec<Held>> {
    let metadata = footer.file_metadata();
    let file = parquet_to_arrow_schema(metadata.schema_descr(), metadata.key_value_metadata())?;
    let file = Arc::new(file);
    let mut held = Vec::new();
    for wanted in layout.file_schema.fields() {
        if partitions.contains(wanted.name()) {
            continue;
        }
        let Ok(found) = file.field_with_name(wanted.name()) else {
            return Err(missing_column(wanted.name()));
        };
        let sql_type = SqlType::of_field(wanted);
        let textual = matches!(
            sql_type,
            SqlType::Uuid
                | SqlType::Json
                | SqlType::Jsonb
                | SqlType::Varchar(Some(_))
                | SqlType::Bpchar(_)
        );
        if textual || !holds(found.data_type(), wanted.data_type()) {
            let found = found.data_type().to_string();
            return Err(other_type(wanted.name(), &sql_type, &found));
        }
        held.push(Held {
            wanted: Arc::clone(wanted),
            file: Arc::clone(&file),
        });
    }
    for found in file.fields() {
        if layout.file_schema.field_with_name(found.name()).is_err() {
            return Err(extra_column(found.name()));
        }
    }
    Ok(held)
}

/// Whether readers of a Delta table take values of a file's type as ones of the table's.
fn holds(file: &DataType, table: &DataType) -> bool {
    match (file, table) {
        (DataType::Utf8 | DataType::LargeUtf8, DataType::Utf8View)
        | (DataType::Binary | DataType::LargeBinary, DataType::BinaryView) => true,
        (DataType::Dictionary(_, value), _) => holds(value, table),
        (
            DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, file),
            DataType::Timestamp(_, table),
        ) => file.is_some() == table.is_some(),
        (file, table) => file == table,
    }
}

/// What the footer tells of a column.
fn bounds(held: &Held, footer: &ParquetMetaData) -> Result<ColumnBounds> {
    let unknown = ColumnBounds {
        nulls: None,
        ..ColumnBounds::default()
    };
    let field = &held.wanted;
    let descriptor = footer.file_metadata().schema_descr();
    let Ok(converter) = StatisticsConverter::try_new(field.name(), &held.file, descriptor) else {
        return Ok(unknown);
    };
    let groups = footer.row_groups();
    let nulls = converter.row_group_null_counts(groups)?;
    if nulls.null_count() > 0 {
        return Ok(unknown);
    }
    let total = nulls.values().iter().sum();
    let mut bounds = ColumnBounds {
        nulls: Some(total),
        ..ColumnBounds::default()
    };
    if !schema::has_bounds(field) || field.data_type().is_floating() {
        return Ok(bounds);
    }
    let (mins, maxes) = (
        converter.row_group_mins(groups)?,
        converter.row_group_maxes(groups)?,
    );
    // A row group without bounds must have no value.
    let told = groups
        .iter()
        .zip(nulls.values())
        .enumerate()
        .all(|(at, (group, nulls))| {
            let empty = u64::try_from(group.num_rows()).is_ok_and(|rows| rows == *nulls);
            empty || (mins.is_valid(at) && maxes.is_valid(at))
        });
    if told {
        let in_table = |values| arrow::compute::cast(values, field.data_type());
        bounds.min = extreme(&in_table(&mins)?, |new, old| new < old);
        bounds.max = extreme(&in_table(&maxes)?, |new, old| new > old);
    }
    Ok(bounds)
}
