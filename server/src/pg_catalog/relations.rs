//! `pg_class`, `pg_attribute`, `pg_attrdef`, `pg_rewrite` and the views over them.

use std::collections::HashSet;

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{ColumnDef, ExternalFormat, Identity, Oid};
use nyala_catalog::types::SqlType;

use crate::error::Result;
use crate::pg_catalog::entries::{Entry, Kind};
use crate::pg_catalog::objects::{BTREE_OID, HYBRID_OID, ROW_STORE_OID, server_oid};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{SystemView, keys, sequences, types};

/// OID of PostgreSQL's collation `default`, which all text columns have.
pub const DEFAULT_COLLATION_OID: Oid = 100;

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_class" => pg_class(view, shape),
        "pg_attribute" => pg_attribute(view, shape),
        "pg_attrdef" => pg_attrdef(view, shape),
        "pg_rewrite" => pg_rewrite(view, shape),
        "pg_tables" => pg_tables(view, shape),
        "pg_views" => pg_views(view, shape),
        "pg_matviews" => pg_matviews(view, shape),
        "pg_foreign_table" => pg_foreign_table(view, shape),
        _ => return None,
    })
}

/// The query of a view as `pg_get_viewdef` gives it.
pub fn view_definition(entry: &Entry) -> Option<String> {
    match &entry.kind {
        Kind::View { query } | Kind::Materialized { query, .. } => Some(format!(
            " {};",
            query.trim().trim_end_matches(';').trim_end()
        )),
        _ => None,
    }
}

/// OID of an entry of `pg_attrdef`. Two tables collide only when their OIDs are 2^17 apart.
pub fn default_oid(table: Oid, number: usize) -> Oid {
    const NUMBER_BITS: u32 = 11;
    let number = u32::try_from(number).unwrap_or_default();
    (1 << 28) | ((table << NUMBER_BITS | number) & ((1 << 28) - 1))
}

fn pg_class(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let constrained = constrained(view);
    for entry in view.entries().iter() {
        let estimate = view.sizes().get(&entry.oid);
        // -1: never counted.
        let tuples = estimate.map_or(-1.0, |size| size.rows as f64);
        let is_index = matches!(entry.kind, Kind::Index { .. });
        let is_view = matches!(entry.kind, Kind::View { .. });
        let is_materialized = matches!(entry.kind, Kind::Materialized { .. });
        let is_populated = !matches!(
            entry.kind,
            Kind::Materialized {
                populated: false,
                ..
            }
        );
        let access_method = match entry.kind {
            Kind::Table { hybrid: true } => HYBRID_OID,
            Kind::Table { hybrid: false } | Kind::Materialized { .. } => ROW_STORE_OID,
            Kind::Index { .. } => BTREE_OID,
            _ => 0,
        };
        rows.push([
            ("oid", entry.oid.into()),
            ("relname", Cell::from(&entry.name)),
            ("relnamespace", entry.schema.into()),
            ("relowner", entry.owner.into()),
            ("relam", access_method.into()),
            (
                "relfilenode",
                if access_method == 0 { 0 } else { entry.oid }.into(),
            ),
            // Clients share the pages of a table out to scans by `ctid`, which rows do not have here.
            ("relpages", Cell::Int(0)),
            ("reltuples", tuples.into()),
            ("relhasindex", (!entry.indexes.is_empty()).into()),
            (
                "relpersistence",
                if entry.temporary { "t" } else { "p" }.into(),
            ),
            ("relchecks", Cell::Int(entry.checks.len() as i64)),
            ("relkind", entry.kind.relkind().into()),
            ("relnatts", Cell::Int(entry.columns.len() as i64)),
            ("relhasrules", (is_view || is_materialized).into()),
            ("relhastriggers", constrained.contains(&entry.oid).into()),
            ("relispopulated", is_populated.into()),
            (
                "relreplident",
                if is_index || is_view { "n" } else { "d" }.into(),
            ),
            (
                "reloptions",
                match entry.options.is_empty() {
                    true => Cell::Null,
                    false => entry.options.clone().into(),
                },
            ),
        ])?;
    }
    rows.finish()
}

/// The tables on either side of foreign keys. PostgreSQL keeps these by triggers, and psql asks for no foreign key of a table
/// without.
fn constrained(view: &SystemView) -> HashSet<Oid> {
    let sides = keys::foreign_keys(view).flat_map(|key| [key.table.oid, key.referenced.oid]);
    sides.collect()
}

fn pg_attribute(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view.entries().iter() {
        for (position, column) in entry.columns.iter().enumerate() {
            let facts = types::physical(&column.ty);
            let dimensions = i64::from(matches!(column.ty, SqlType::Array(_)));
            rows.push([
                ("attrelid", entry.oid.into()),
                ("attname", Cell::from(&column.name)),
                ("atttypid", column.ty.oid().into()),
                ("attstattarget", (-1).into()),
                ("attlen", column.ty.wire_length().into()),
                ("attnum", Cell::Int(position as i64 + 1)),
                ("attndims", Cell::Int(dimensions)),
                ("attcacheoff", (-1).into()),
                ("atttypmod", column.ty.modifier().into()),
                ("attbyval", facts.by_value.into()),
                ("attalign", facts.align.into()),
                ("attstorage", facts.storage.into()),
                ("attnotnull", column.not_null.into()),
                (
                    "atthasdef",
                    (column.default.is_some() && column.identity.is_none()).into(),
                ),
                ("attidentity", identity_letter(column).into()),
                ("attislocal", true.into()),
                ("attcollation", facts.collation.into()),
            ])?;
        }
    }
    rows.finish()
}

/// `attidentity`
pub fn identity_letter(column: &ColumnDef) -> &'static str {
    match column.identity {
        Some(Identity::Always) => "a",
        Some(Identity::Default) => "d",
        None => "",
    }
}

/// A default as PostgreSQL shows it: a string literal is shown with its type.
pub fn default_text(view: &SystemView, default: &str, ty: &SqlType) -> String {
    if let Some(shown) = sequences::shown(view, default) {
        return shown;
    }
    let inner = default
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let is_literal = inner.is_some_and(|inner| !inner.replace("\'\'", "").contains('\''));
    if !is_literal {
        return default.to_string();
    }
    // The length of a character type is not repeated.
    let name = match ty {
        SqlType::Varchar(_) => "character varying".to_string(),
        SqlType::Bpchar(_) => "bpchar".to_string(),
        ty => ty.to_string(),
    };
    format!("{default}::{name}")
}

fn pg_attrdef(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view.entries().users() {
        for (position, column) in entry.columns.iter().enumerate() {
            if let Some(default) = column
                .default
                .as_ref()
                .filter(|_| column.identity.is_none())
            {
                rows.push([
                    ("oid", default_oid(entry.oid, position + 1).into()),
                    ("adrelid", entry.oid.into()),
                    ("adnum", Cell::Int(position as i64 + 1)),
                    (
                        "adbin",
                        Cell::from(&default_text(view, default, &column.ty)),
                    ),
                ])?;
            }
        }
    }
    rows.finish()
}

/// PostgreSQL keeps the query of a view as the rule `_RETURN`; clients look views up through it.
fn pg_rewrite(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view.entries().users() {
        if let Kind::View { query } | Kind::Materialized { query, .. } = &entry.kind {
            rows.push([
                ("oid", ((1 << 28) | entry.oid).into()),
                ("rulename", "_RETURN".into()),
                ("ev_class", entry.oid.into()),
                ("ev_type", "1".into()),
                ("ev_enabled", "O".into()),
                ("is_instead", true.into()),
                ("ev_qual", "<>".into()),
                ("ev_action", Cell::from(query)),
            ])?;
        }
    }
    rows.finish()
}

fn pg_tables(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let constrained = constrained(view);
    for entry in view
        .entries()
        .iter()
        .filter(|entry| entry.kind.relkind() == "r")
    {
        rows.push([
            ("schemaname", schema_name(view, entry)),
            ("tablename", Cell::from(&entry.name)),
            ("tableowner", view.role_name(entry.owner).into()),
            ("hasindexes", (!entry.indexes.is_empty()).into()),
            ("hasrules", false.into()),
            ("hastriggers", constrained.contains(&entry.oid).into()),
            ("rowsecurity", false.into()),
        ])?;
    }
    rows.finish()
}

fn pg_views(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view
        .entries()
        .iter()
        .filter(|entry| entry.kind.relkind() == "v")
    {
        rows.push([
            ("schemaname", schema_name(view, entry)),
            ("viewname", Cell::from(&entry.name)),
            ("viewowner", view.role_name(entry.owner).into()),
            ("definition", view_definition(entry).into()),
        ])?;
    }
    rows.finish()
}

fn pg_matviews(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view.entries().users() {
        if let Kind::Materialized { populated, .. } = entry.kind {
            rows.push([
                ("schemaname", schema_name(view, entry)),
                ("matviewname", Cell::from(&entry.name)),
                ("matviewowner", view.role_name(entry.owner).into()),
                ("hasindexes", (!entry.indexes.is_empty()).into()),
                ("ispopulated", populated.into()),
                ("definition", view_definition(entry).into()),
            ])?;
        }
    }
    rows.finish()
}

fn pg_foreign_table(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view.entries().users() {
        if let Kind::External { format, location } = &entry.kind {
            let options = vec![format!("location={location}")];
            rows.push([
                ("ftrelid", entry.oid.into()),
                ("ftserver", server_oid(*format).into()),
                ("ftoptions", options.into()),
            ])?;
        }
    }
    rows.finish()
}

/// Name of the format of an external table.
pub fn format_name(format: ExternalFormat) -> &'static str {
    match format {
        ExternalFormat::Parquet => "parquet",
        ExternalFormat::Delta => "delta",
    }
}

/// Name of the schema of a relation.
pub fn schema_name(view: &SystemView, entry: &Entry) -> Cell {
    view.entries()
        .schema_name(entry.schema)
        .map(str::to_string)
        .into()
}
