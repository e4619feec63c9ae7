//! The table's columns in the Delta log, when the files to commit have ones that the log does not know.
//!
//! Columns are only added, and NOT NULL only taken away, so every reader of the table reads its older files as before: it finds
//! NULL where they lack a column.

use std::collections::HashMap;

use deltalake::kernel::{
    Action, DataType, MetadataExt, PrimitiveType, Protocol, StructField, StructType,
};
use deltalake::{DeltaTableError, TableProperty};

use super::{ClosedTableError, ClosedVersion, Layout, Result, schema};

/// The feature that a table with a `timestamp` column needs, as the log calls it.
const TIMESTAMP_NTZ: &str = "timestampNtz";

/// What every table can do whose protocol lists no features.
const LEGACY_WRITER_FEATURES: [&str; 2] = ["appendOnly", "invariants"];

/// Versions of a protocol that lists its features.
const READER_VERSION: i32 = 3;
const WRITER_VERSION: i32 = 7;

/// The log actions that make the table's columns those of the files to commit on top of `base`; none if they are.
pub(super) fn actions(layout: &Layout, base: &ClosedVersion) -> Result<Vec<Action>> {
    let logged = base.state().schema();
    let mut fields: Vec<StructField> = logged.fields().cloned().collect();
    let at: HashMap<String, usize> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| (field.name().clone(), at))
        .collect();
    let mut added = Vec::new();
    let mut changed = false;
    for wanted in schema::delta_fields(&layout.file_schema)? {
        match at.get(wanted.name()).and_then(|at| fields.get_mut(*at)) {
            Some(known) => {
                changed |= wanted.nullable && !known.nullable;
                known.nullable |= wanted.nullable;
            }
            None => added.push(wanted),
        }
    }
    if added.is_empty() && !changed {
        return Ok(Vec::new());
    }
    let needs_ntz = added
        .iter()
        .any(|field| *field.data_type() == DataType::Primitive(PrimitiveType::TimestampNtz));
    let names: Vec<&str> = added.iter().map(|field| field.name().as_str()).collect();
    let statistics = statistics_property(layout, base, &names);
    fields.extend(added);
    let evolved = StructType::try_new(fields).map_err(|error| ClosedTableError::Invalid {
        message: format!("columns of \"{}\": {error}", layout.spec.name),
    })?;
    let metadata = base.state().metadata().clone().with_schema(&evolved);
    let metadata = metadata.map_err(DeltaTableError::from)?;
    let key = TableProperty::DataSkippingStatsColumns.as_ref().to_string();
    let metadata = metadata.add_config_key(key, statistics);
    let metadata = metadata.map_err(DeltaTableError::from)?;
    let mut actions = vec![Action::Metadata(metadata)];
    if needs_ntz {
        actions.extend(with_timestamp_ntz(layout, base)?.map(Action::Protocol));
    }
    Ok(actions)
}

/// The columns with statistics: those before, and of the added ones those that have any.
fn statistics_property(layout: &Layout, base: &ClosedVersion, added: &[&str]) -> String {
    let configuration = base.state().metadata().configuration();
    let before = configuration.get(TableProperty::DataSkippingStatsColumns.as_ref());
    let fields = layout.file_schema.fields().iter();
    let fields: Vec<_> = fields
        .filter(|field| added.contains(&field.name().as_str()))
        .cloned()
        .collect();
    let added = schema::statistics_property(&arrow::datatypes::Schema::new(fields));
    let parts = before.into_iter().chain([&added]).map(String::as_str);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(",")
}

/// The table's protocol with the feature for timestamps without a zone; `None` if it has it.
fn with_timestamp_ntz(layout: &Layout, base: &ClosedVersion) -> Result<Option<Protocol>> {
    let invalid = |error: serde_json::Error| ClosedTableError::Invalid {
        message: format!("protocol of \"{}\": {error}", layout.spec.name),
    };
    let protocol = serde_json::to_value(base.state().protocol()).map_err(invalid)?;
    let listed = |name: &str| -> Option<Vec<String>> {
        let features = protocol.get(name)?.as_array()?.iter();
        Some(
            features
                .filter_map(|feature| Some(feature.as_str()?.to_string()))
                .collect(),
        )
    };
    let mut reader = listed("readerFeatures").unwrap_or_default();
    if reader.iter().any(|feature| feature == TIMESTAMP_NTZ) {
        return Ok(None);
    }
    let legacy = || LEGACY_WRITER_FEATURES.map(str::to_string).to_vec();
    let mut writer = listed("writerFeatures").unwrap_or_else(legacy);
    reader.push(TIMESTAMP_NTZ.to_string());
    writer.push(TIMESTAMP_NTZ.to_string());
    let protocol = serde_json::json!({
        "minReaderVersion": READER_VERSION,
        "minWriterVersion": WRITER_VERSION,
        "readerFeatures": reader,
        "writerFeatures": writer,
    });
    serde_json::from_value(protocol).map(Some).map_err(invalid)
}
