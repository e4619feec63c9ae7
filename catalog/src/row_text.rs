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
    let unlimited = SqlType::Numeric(None).arrow_type();
    let values: Vec<String> = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(
            |(column, field)| match ArrayFormatter::try_new(column, &options) {
                Ok(formatter) => formatter
                    .value(at)
                    .try_to_string()
                    .map(
                        |text| match *field.data_type() == unlimited && text.contains('.') {
                            // All values have one scale in Arrow, and each its own in PostgreSQL.
                            true => trimmed(&text),
                            false => text,
                        },
                    )
                    .unwrap_or_else(|_| "?".to_string()),
                Err(_) => "?".to_string(),
            },
        )
        .collect();
    values.join(", ")
}

/// A decimal without the zeros at its end.
fn trimmed(text: &str) -> String {
    let digits = text.trim_end_matches('0');
    digits.trim_end_matches('.').to_string()
}
