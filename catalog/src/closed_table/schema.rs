//! The table's schema as Delta and as Parquet hold it.
//!
//! Delta has fewer types than Arrow: `Utf8View` is a `string` there, a `BinaryView` a `binary`. The
//! SQL type of a column travels in the field metadata, which Delta keeps, so a closed table
//! describes itself to anyone who finds it without its catalog.

use arrow::datatypes::{DataType, Field, Schema};
use deltalake::TableProperty;
use deltalake::kernel::StructField;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;

use super::{ClosedTableError, ClosedTableSpec, KEY_PROPERTY, Layout, Result};
use crate::types::SqlType;

/// Checks that rows of this table can be kept in Delta and have a key.
pub(super) fn check(spec: &ClosedTableSpec) -> Result<()> {
    let invalid = |message: String| Err(ClosedTableError::Invalid { message });
    if spec.columns.len() != spec.schema.fields().len() {
        return invalid(format!(
            "closed table \"{}\" does not tell what its columns are in files",
            spec.name
        ));
    }
    if spec.key.is_empty() {
        return invalid(format!("closed table \"{}\" has no key", spec.name));
    }
    for index in &spec.key {
        if *index >= spec.schema.fields().len() {
            return invalid(format!(
                "closed table \"{}\" has no column {index}",
                spec.name
            ));
        }
    }
    for field in spec.schema.fields() {
        let sql_type = SqlType::of_field(field);
        if !sql_type.storable_in_delta() {
            return Err(ClosedTableError::Unsupported {
                message: format!(
                    "column \"{}\" of type {sql_type} cannot be kept in a closed table",
                    field.name()
                ),
            });
        }
    }
    Ok(())
}

/// The Delta columns of a table.
pub(super) fn delta_fields(schema: &Schema) -> Result<Vec<StructField>> {
    let fields = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().try_into_kernel());
    Ok(fields.collect::<std::result::Result<_, _>>()?)
}

/// The Delta properties of a table.
pub(super) fn properties(layout: &Layout) -> Result<Vec<(String, Option<String>)>> {
    Ok(vec![
        (
            TableProperty::DataSkippingStatsColumns.as_ref().to_string(),
            Some(statistics_property(&layout.file_schema)),
        ),
        (KEY_PROPERTY.to_string(), Some(key_property(layout)?)),
    ])
}

/// The value of the property that names the columns with statistics.
pub(super) fn statistics_property(schema: &Schema) -> String {
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| has_statistics(field))
        // The property is a list of SQL identifiers, where a back-quote is doubled.
        .map(|field| format!("`{}`", field.name().replace('`', "``")))
        .collect();
    columns.join(",")
}

/// The value of the property that names the key columns.
pub(super) fn key_property(layout: &Layout) -> Result<String> {
    let names: Vec<&str> = key_fields(layout)
        .map(|field| field.name().as_str())
        .collect();
    serde_json::to_string(&names).map_err(|error| ClosedTableError::Invalid {
        message: format!("key of closed table \"{}\": {error}", layout.spec.name),
    })
}

/// The key columns of files, in key order. They are the same in all files: their types do not change.
pub(super) fn key_fields(layout: &Layout) -> impl Iterator<Item = &Field> {
    let fields = layout.file_schema.fields();
    let key = layout.spec.key.iter();
    key.filter_map(|index| fields.get(*index).map(AsRef::as_ref))
}

/// Whether the log keeps statistics of a column: of all but JSON documents, whose order means nothing.
pub(super) fn has_statistics(field: &Field) -> bool {
    !matches!(SqlType::of_field(field), SqlType::Json | SqlType::Jsonb)
}

/// Whether the log keeps the smallest and largest value of a column.
pub(super) fn has_bounds(field: &Field) -> bool {
    has_statistics(field)
        && matches!(
            field.data_type(),
            DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::Float32
                | DataType::Float64
                | DataType::Decimal128(_, _)
                | DataType::Date32
                | DataType::Timestamp(_, _)
                | DataType::Utf8View
        )
}
