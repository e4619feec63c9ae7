//! Owns the mark that tells a JSON column from a text column: the `nyala.pg_type` entry of an Arrow field's metadata.
//!
//! Arrow has no JSON type here: a `jsonb` value is canonical JSON text (see [`crate::canonical`]) and a `json` value is any
//! valid JSON text, both in string columns. A function that returns one of them says so with these fields; a function that returns
//! text must not.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Field};

/// Key of the field metadata that names the PostgreSQL type of a column, for instance `jsonb`, `json` or `uuid`.
pub const PG_TYPE_KEY: &str = "nyala.pg_type";

/// Value of [`PG_TYPE_KEY`] for a column of canonical JSON text.
pub const JSONB: &str = "jsonb";

/// Value of [`PG_TYPE_KEY`] for a column of valid JSON text, kept as it was written.
pub const JSON: &str = "json";

/// A `Utf8View` field marked as `jsonb`: every value in it is canonical JSON text.
pub fn jsonb_field(name: impl Into<String>, nullable: bool) -> Field {
    marked_field(name, nullable, JSONB)
}

/// A `Utf8View` field marked as `json`: every value in it is valid JSON text.
pub fn json_field(name: impl Into<String>, nullable: bool) -> Field {
    marked_field(name, nullable, JSON)
}

/// The PostgreSQL type a field is marked with, if it is marked at all.
pub fn pg_type(field: &Field) -> Option<&str> {
    field.metadata().get(PG_TYPE_KEY).map(String::as_str)
}

/// Whether a field is marked as `jsonb`, so that its values may be read as canonical text.
pub fn is_jsonb(field: &Field) -> bool {
    pg_type(field) == Some(JSONB)
}

/// Whether a field is marked as `jsonb` or `json`.
pub fn is_json(field: &Field) -> bool {
    matches!(pg_type(field), Some(JSONB | JSON))
}

fn marked_field(name: impl Into<String>, nullable: bool, pg_type: &str) -> Field {
    Field::new(name, DataType::Utf8View, nullable).with_metadata(HashMap::from([(
        PG_TYPE_KEY.to_string(),
        pg_type.to_string(),
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart() {
        assert!(is_jsonb(&jsonb_field("a", true)) && is_json(&jsonb_field("a", true)));
        assert!(!is_jsonb(&json_field("a", true)) && is_json(&json_field("a", true)));
        assert!(!is_json(&Field::new("a", DataType::Utf8View, true)));
    }
}
