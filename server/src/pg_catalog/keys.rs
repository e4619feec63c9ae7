//! Primary keys: `pg_index`, `pg_constraint`, `pg_indexes`, and the texts that describe them.

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{Oid, PrimaryKeyDef};
use nyala_catalog::types::SqlType;

use crate::error::Result;
use crate::pg_catalog::entries::{Entry, Kind};
use crate::pg_catalog::names::quote_ident;
use crate::pg_catalog::relations::{DEFAULT_COLLATION_OID, schema_name};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{SystemView, objects};

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_index" => pg_index(view, shape),
        "pg_constraint" => pg_constraint(view, shape),
        "pg_indexes" => pg_indexes(view, shape),
        _ => return None,
    })
}

/// Tables that have a primary key, with it.
pub fn keyed_tables(view: &SystemView) -> impl Iterator<Item = (&Entry, &PrimaryKeyDef)> {
    let tables = view
        .entries()
        .users()
        .filter(|entry| matches!(entry.kind, Kind::Table { .. }));
    tables.filter_map(|entry| entry.key.as_ref().map(|key| (entry, key)))
}

/// `pg_get_constraintdef`.
pub fn constraint_definition(view: &SystemView, oid: Oid) -> Option<String> {
    let (entry, _) = keyed_tables(view).find(|(_, key)| key.constraint_oid == oid)?;
    Some(format!("PRIMARY KEY ({})", column_list(entry)))
}

/// `pg_get_indexdef`: the whole definition, or that of one column, counted from 1.
pub fn index_definition(view: &SystemView, oid: Oid, column: i64) -> Option<String> {
    let entry = view.entries().by_oid(oid)?;
    let Kind::Index { on } = entry.kind else {
        return None;
    };
    if column > 0 {
        let name = usize::try_from(column - 1)
            .ok()
            .and_then(|at| entry.columns.get(at));
        return Some(name.map_or(String::new(), |column| {
            quote_ident(&column.name).into_owned()
        }));
    }
    let table = view.entries().by_oid(on)?;
    Some(format!(
        "CREATE UNIQUE INDEX {} ON {} USING btree ({})",
        quote_ident(&entry.name),
        view.qualified_name(table),
        column_list(entry),
    ))
}

fn column_list(entry: &Entry) -> String {
    let names: Vec<_> = entry.key_columns().into_iter().map(quote_ident).collect();
    names.join(", ")
}

fn key_numbers(key: &PrimaryKeyDef) -> Vec<i64> {
    key.columns
        .iter()
        .map(|position| *position as i64 + 1)
        .collect()
}

fn vector(numbers: impl IntoIterator<Item = i64>) -> Cell {
    let texts: Vec<_> = numbers
        .into_iter()
        .map(|number| number.to_string())
        .collect();
    texts.join(" ").into()
}

fn collation(ty: &SqlType) -> Oid {
    match ty {
        SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) => DEFAULT_COLLATION_OID,
        _ => 0,
    }
}

fn pg_index(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (entry, key) in keyed_tables(view) {
        let types = key
            .columns
            .iter()
            .filter_map(|at| entry.columns.get(*at))
            .map(|c| &c.ty);
        let collations = types.clone().map(|ty| i64::from(collation(ty)));
        let classes = types.map(|ty| i64::from(objects::operator_class(ty)));
        rows.push([
            ("indexrelid", key.index_oid.into()),
            ("indrelid", entry.oid.into()),
            ("indnatts", Cell::Int(key.columns.len() as i64)),
            ("indnkeyatts", Cell::Int(key.columns.len() as i64)),
            ("indisunique", true.into()),
            ("indisprimary", true.into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", vector(key_numbers(key))),
            ("indcollation", vector(collations)),
            ("indclass", vector(classes)),
            ("indoption", vector(key.columns.iter().map(|_| 0))),
        ])?;
    }
    rows.finish()
}

fn pg_constraint(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (entry, key) in keyed_tables(view) {
        rows.push([
            ("oid", key.constraint_oid.into()),
            ("conname", Cell::from(&key.name)),
            ("connamespace", entry.schema.into()),
            ("contype", "p".into()),
            ("convalidated", true.into()),
            ("conrelid", entry.oid.into()),
            ("conindid", key.index_oid.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", key_numbers(key).into()),
        ])?;
    }
    rows.finish()
}

fn pg_indexes(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (entry, key) in keyed_tables(view) {
        rows.push([
            ("schemaname", schema_name(view, entry)),
            ("tablename", Cell::from(&entry.name)),
            ("indexname", Cell::from(&key.name)),
            ("indexdef", index_definition(view, key.index_oid, 0).into()),
        ])?;
    }
    rows.finish()
}
