//! Functions in FROM that return rows of several columns, the same for everybody: `pg_get_keywords`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use arrow::datatypes::Schema;
use nyala_catalog::types::SqlType;

use crate::error::Result;

/// The rows of a function in FROM; `None` where there is no such function here.
pub fn rows(name: &str) -> Option<Result<RecordBatch>> {
    (name == "pg_get_keywords").then(keywords)
}

/// PostgreSQL 15's keywords, from `keywords.tsv`: the word, its category, whether it can be a label without AS.
fn keywords() -> Result<RecordBatch> {
    let lines: Vec<Vec<&str>> = include_str!("keywords.tsv")
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let field = |line: &Vec<&'static str>, at: usize| line.get(at).copied().unwrap_or_default();
    let texts = |text: &dyn Fn(&Vec<&'static str>) -> &'static str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(lines.iter().map(text)))
    };
    let category = |line: &Vec<&'static str>| match field(line, 1) {
        "C" => "unreserved (cannot be function or type name)",
        "R" => "reserved",
        "T" => "reserved (can be function or type name)",
        _ => "unreserved",
    };
    let bare = |line: &Vec<&'static str>| match field(line, 2) {
        "t" => "can be bare label",
        _ => "requires AS",
    };
    let labels: BooleanArray = lines
        .iter()
        .map(|line| Some(field(line, 2) == "t"))
        .collect();
    let schema = Schema::new(vec![
        SqlType::Text.field("word", true),
        SqlType::Char.field("catcode", true),
        SqlType::Bool.field("barelabel", true),
        SqlType::Text.field("catdesc", true),
        SqlType::Text.field("baredesc", true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        texts(&|line| field(line, 0)),
        texts(&|line| field(line, 1)),
        Arc::new(labels),
        texts(&category),
        texts(&bare),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
