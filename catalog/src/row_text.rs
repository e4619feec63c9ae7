//! Rows as the text of an error's detail.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::types::SqlType;

/// One row for an error's detail, values as PostgreSQL prints them by default.
pub(crate) fn row_text(rows: &RecordBatch, at: usize) -> String {
    let options = FormatOptions::new()
        .with_null("null")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        // Stored instants are in UTC.
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f+00"));
    let schema = rows.schema();
    let values: Vec<String> = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(
            |(column, field)| match ArrayFormatter::try_new(column, &options) {
                Ok(formatter) => formatter
                    .value(at)
                    .try_to_string()
                    .map(|text| match SqlType::of_field(field) {
                        // All values have one scale in Arrow, and each its own in PostgreSQL.
                        SqlType::Numeric(None) if text.contains('.') => {
                            text.trim_end_matches('0').trim_end_matches('.').to_string()
                        }
                        _ => text,
                    })
                    .unwrap_or_else(|_| "?".to_string()),
                Err(_) => "?".to_string(),
            },
        )
        .collect();
    values.join(", ")
}
