//! The views of `information_schema`, with the values PostgreSQL 15 gives them.

use arrow::record_batch::RecordBatch;
use nyala_catalog::types::SqlType;

use crate::error::Result;
use crate::pg_catalog::entries::{Entry, Kind};
use crate::pg_catalog::relations::{default_text, format_name, schema_name, view_definition};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{SystemView, keys, sequences, types};

/// The privileges on a table, in the order PostgreSQL lists them.
const TABLE_PRIVILEGES: [&str; 7] = [
    "INSERT",
    "SELECT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
];

/// The rows of a view; `None` where it is about something Nyala does not have.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    let mut rows = Rows::new(shape);
    let filled = match shape.name {
        "information_schema_catalog_name" => rows.push([("catalog_name", database(view))]),
        "schemata" => schemata(view, &mut rows),
        "tables" => tables(view, &mut rows),
        "columns" => columns(view, &mut rows),
        "views" => views(view, &mut rows),
        "foreign_tables" => foreign_tables(view, &mut rows),
        "table_constraints" => table_constraints(view, &mut rows),
        "key_column_usage" | "constraint_column_usage" => key_columns(view, shape, &mut rows),
        "referential_constraints" => referential_constraints(view, &mut rows),
        "constraint_table_usage" => constraint_tables(view, &mut rows),
        "table_privileges" | "role_table_grants" => table_privileges(view, &mut rows),
        "check_constraints" => check_constraints(view, &mut rows),
        "sequences" => sequences::of_standard(view, &mut rows),
        "character_sets" => character_sets(view, &mut rows),
        "enabled_roles" => rows.push([("role_name", Cell::from(&view.session.user))]),
        "routines" => routines(view, &mut rows),
        _ => return None,
    };
    Some(filled.and_then(|()| rows.finish()))
}

pub(super) fn database(view: &SystemView) -> Cell {
    Cell::from(&view.session.database)
}

pub(super) fn yes_no(value: bool) -> Cell {
    if value { "YES" } else { "NO" }.into()
}

/// Lines of `pg_class` that are tables to the SQL standard.
fn relations(view: &SystemView) -> impl Iterator<Item = &Entry> {
    view.entries().iter().filter(|entry| {
        !matches!(
            entry.kind,
            Kind::Index { .. } | Kind::Sequence(_) | Kind::Materialized { .. }
        )
    })
}

fn is_writable(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Table { .. })
}

fn schemata(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for (oid, name) in view.entries().schemas() {
        let owner = view
            .definitions
            .schema_by_oid(oid)
            .map(|schema| schema.owner);
        let owner = owner.unwrap_or(nyala_catalog::definitions::BOOTSTRAP_ROLE_OID);
        rows.push([
            ("catalog_name", database(view)),
            ("schema_name", name.to_string().into()),
            ("schema_owner", view.role_name(owner).into()),
        ])?;
    }
    Ok(())
}

fn tables(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for entry in relations(view) {
        let kind = match entry.kind.relkind() {
            "v" => "VIEW",
            "f" => "FOREIGN",
            _ if entry.temporary => "LOCAL TEMPORARY",
            _ => "BASE TABLE",
        };
        rows.push([
            ("table_catalog", database(view)),
            ("table_schema", schema_name(view, entry)),
            ("table_name", Cell::from(&entry.name)),
            ("table_type", kind.into()),
            ("is_insertable_into", yes_no(is_writable(entry))),
            ("is_typed", "NO".into()),
        ])?;
    }
    Ok(())
}

/// Precision, radix and scale of a numeric type.
fn numeric_facts(ty: &SqlType) -> Option<(i32, i32, Option<i32>)> {
    match ty {
        SqlType::Int2 => Some((16, 2, Some(0))),
        SqlType::Int4 => Some((32, 2, Some(0))),
        SqlType::Int8 => Some((64, 2, Some(0))),
        SqlType::Float4 => Some((24, 2, None)),
        SqlType::Float8 => Some((53, 2, None)),
        SqlType::Numeric(Some((precision, scale))) => {
            Some((i32::from(*precision), 10, Some(i32::from(*scale))))
        }
        _ => None,
    }
}

fn columns(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    // PostgreSQL counts the bytes of its longest character and of its longest text.
    const BYTES_PER_CHARACTER: i64 = 4;
    const TEXT_BYTES_MAX: i64 = 1 << 30;
    for entry in relations(view) {
        for (position, column) in entry.columns.iter().enumerate() {
            let (length, bytes) = match &column.ty {
                SqlType::Varchar(Some(length)) | SqlType::Bpchar(Some(length)) => (
                    Some(i64::from(*length)),
                    Some(i64::from(*length) * BYTES_PER_CHARACTER),
                ),
                SqlType::Text | SqlType::Varchar(None) => (None, Some(TEXT_BYTES_MAX)),
                _ => (None, None),
            };
            let numeric = numeric_facts(&column.ty);
            let datetime = match column.ty {
                SqlType::Date => Some(0),
                SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => {
                    Some(6)
                }
                _ => None,
            };
            let data_type = match &column.ty {
                SqlType::Array(_) => Some("ARRAY".to_string()),
                ty => types::display(ty.oid(), None),
            };
            rows.push([
                ("table_catalog", database(view)),
                ("table_schema", schema_name(view, entry)),
                ("table_name", Cell::from(&entry.name)),
                ("column_name", Cell::from(&column.name)),
                ("ordinal_position", Cell::Int(position as i64 + 1)),
                (
                    "column_default",
                    column
                        .default
                        .as_ref()
                        .filter(|_| column.identity.is_none())
                        .map(|default| default_text(view, default, &column.ty))
                        .into(),
                ),
                ("is_nullable", yes_no(!column.not_null)),
                ("data_type", data_type.into()),
                ("character_maximum_length", length.into()),
                ("character_octet_length", bytes.into()),
                ("numeric_precision", numeric.map(|facts| facts.0).into()),
                (
                    "numeric_precision_radix",
                    numeric.map(|facts| facts.1).into(),
                ),
                ("numeric_scale", numeric.and_then(|facts| facts.2).into()),
                ("datetime_precision", datetime.into()),
                ("udt_catalog", database(view)),
                ("udt_schema", "pg_catalog".into()),
                ("udt_name", types::name(column.ty.oid()).into()),
                ("dtd_identifier", (position + 1).to_string().into()),
                ("is_self_referencing", "NO".into()),
                ("is_identity", yes_no(column.identity.is_some())),
                ("identity_cycle", "NO".into()),
                ("is_generated", "NEVER".into()),
                ("is_updatable", yes_no(is_writable(entry))),
            ])?;
            if let Some(identity) = column.identity {
                for (name, cell) in sequences::identity_cells(view, entry.oid, column, identity) {
                    rows.set_last(name, cell)?;
                }
            }
        }
    }
    Ok(())
}

fn views(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for entry in relations(view).filter(|entry| entry.kind.relkind() == "v") {
        rows.push([
            ("table_catalog", database(view)),
            ("table_schema", schema_name(view, entry)),
            ("table_name", Cell::from(&entry.name)),
            ("view_definition", view_definition(entry).into()),
            ("check_option", "NONE".into()),
            ("is_updatable", "NO".into()),
            ("is_insertable_into", "NO".into()),
            ("is_trigger_updatable", "NO".into()),
            ("is_trigger_deletable", "NO".into()),
            ("is_trigger_insertable_into", "NO".into()),
        ])?;
    }
    Ok(())
}

fn foreign_tables(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for entry in view.entries().users() {
        if let Kind::External { format, .. } = entry.kind {
            rows.push([
                ("foreign_table_catalog", database(view)),
                ("foreign_table_schema", schema_name(view, entry)),
                ("foreign_table_name", Cell::from(&entry.name)),
                ("foreign_server_catalog", database(view)),
                ("foreign_server_name", format_name(format).into()),
            ])?;
        }
    }
    Ok(())
}

fn table_constraints(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    let mut push = |entry: &Entry, name: Cell, kind: &'static str, deferral: (bool, bool)| {
        rows.push([
            ("constraint_catalog", database(view)),
            ("constraint_schema", schema_name(view, entry)),
            ("constraint_name", name),
            ("table_catalog", database(view)),
            ("table_schema", schema_name(view, entry)),
            ("table_name", Cell::from(&entry.name)),
            ("constraint_type", kind.into()),
            ("is_deferrable", yes_no(deferral.0)),
            ("initially_deferred", yes_no(deferral.1)),
            ("enforced", "YES".into()),
        ])
    };
    for (entry, index) in keys::constraints(view) {
        let kind = if index.primary {
            "PRIMARY KEY"
        } else {
            "UNIQUE"
        };
        push(entry, Cell::from(&index.name), kind, (false, false))?;
    }
    for (entry, check) in keys::checks(view) {
        push(entry, Cell::from(&check.name), "CHECK", (false, false))?;
    }
    for key in keys::foreign_keys(view) {
        let deferral = (key.def.deferrable, key.def.initially_deferred);
        push(
            key.table,
            Cell::from(&key.def.name),
            "FOREIGN KEY",
            deferral,
        )?;
    }
    // The standard sees NOT NULL as a check; PostgreSQL makes its name up from OIDs.
    for entry in view.entries().users().filter(|entry| is_writable(entry)) {
        for (position, column) in entry.columns.iter().enumerate() {
            if column.not_null {
                let name = format!("{}_{}_{}_not_null", entry.schema, entry.oid, position + 1);
                push(entry, name.into(), "CHECK", (false, false))?;
            }
        }
    }
    Ok(())
}

fn check_constraints(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for (entry, check) in keys::checks(view) {
        let clause = crate::sql::checks::shown(&check.condition, &entry.columns, false);
        let clause = format!("({clause})");
        rows.push([
            ("constraint_catalog", database(view)),
            ("constraint_schema", schema_name(view, entry)),
            ("constraint_name", Cell::from(&check.name)),
            ("check_clause", Cell::from(&clause)),
        ])?;
    }
    for entry in view.entries().users().filter(|entry| is_writable(entry)) {
        for (position, column) in entry.columns.iter().enumerate() {
            if column.not_null {
                let name = format!("{}_{}_{}_not_null", entry.schema, entry.oid, position + 1);
                rows.push([
                    ("constraint_catalog", database(view)),
                    ("constraint_schema", schema_name(view, entry)),
                    ("constraint_name", name.into()),
                    (
                        "check_clause",
                        format!("{} IS NOT NULL", column.name).into(),
                    ),
                ])?;
            }
        }
    }
    Ok(())
}

fn key_columns(view: &SystemView, shape: &Shape, rows: &mut Rows<'_>) -> Result<()> {
    let numbered = shape.position("ordinal_position").is_some();
    for (entry, index) in keys::constraints(view) {
        for (position, column) in index.columns_of(entry).enumerate() {
            let cells = [
                ("constraint_catalog", database(view)),
                ("constraint_schema", schema_name(view, entry)),
                ("constraint_name", Cell::from(&index.name)),
                ("table_catalog", database(view)),
                ("table_schema", schema_name(view, entry)),
                ("table_name", Cell::from(&entry.name)),
                ("column_name", Cell::from(&column.name)),
            ];
            rows.push(cells)?;
            if numbered {
                rows.set_last("ordinal_position", Cell::Int(position as i64 + 1))?;
            }
        }
    }
    for key in keys::foreign_keys(view) {
        // One view tells of the columns that reference, the other of those that are referenced.
        let (entry, columns) = match numbered {
            true => (key.table, key.def.columns.clone()),
            false => (key.referenced, key.referenced_columns().collect()),
        };
        let columns = columns.into_iter().filter_map(|at| entry.columns.get(at));
        for ((position, column), place) in columns.enumerate().zip(&key.def.places) {
            rows.push([
                ("constraint_catalog", database(view)),
                ("constraint_schema", schema_name(view, key.table)),
                ("constraint_name", Cell::from(&key.def.name)),
                ("table_catalog", database(view)),
                ("table_schema", schema_name(view, entry)),
                ("table_name", Cell::from(&entry.name)),
                ("column_name", Cell::from(&column.name)),
            ])?;
            if numbered {
                rows.set_last("ordinal_position", Cell::Int(position as i64 + 1))?;
                rows.set_last(
                    "position_in_unique_constraint",
                    Cell::Int(*place as i64 + 1),
                )?;
            }
        }
    }
    Ok(())
}

/// What foreign keys reference, and how.
fn referential_constraints(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for key in keys::foreign_keys(view) {
        let def = key.def;
        rows.push([
            ("constraint_catalog", database(view)),
            ("constraint_schema", schema_name(view, key.table)),
            ("constraint_name", Cell::from(&def.name)),
            (
                "match_option",
                if def.match_full { "FULL" } else { "NONE" }.into(),
            ),
            ("update_rule", keys::action_words(def.on_update).into()),
            ("delete_rule", keys::action_words(def.on_delete).into()),
        ])?;
        // An index on its own is no constraint.
        if key.index.constraint_oid.is_some() {
            let schema = schema_name(view, key.referenced);
            rows.set_last("unique_constraint_catalog", database(view))?;
            rows.set_last("unique_constraint_schema", schema)?;
            rows.set_last("unique_constraint_name", Cell::from(&key.index.name))?;
        }
    }
    Ok(())
}

fn constraint_tables(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for key in keys::foreign_keys(view) {
        rows.push([
            ("table_catalog", database(view)),
            ("table_schema", schema_name(view, key.referenced)),
            ("table_name", Cell::from(&key.referenced.name)),
            ("constraint_catalog", database(view)),
            ("constraint_schema", schema_name(view, key.table)),
            ("constraint_name", Cell::from(&key.def.name)),
        ])?;
    }
    for (entry, index) in keys::constraints(view) {
        rows.push([
            ("table_catalog", database(view)),
            ("table_schema", schema_name(view, entry)),
            ("table_name", Cell::from(&entry.name)),
            ("constraint_catalog", database(view)),
            ("constraint_schema", schema_name(view, entry)),
            ("constraint_name", Cell::from(&index.name)),
        ])?;
    }
    Ok(())
}

/// An owner has all privileges on its tables; others have none until GRANT exists.
fn table_privileges(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for entry in view
        .entries()
        .users()
        .filter(|entry| !matches!(entry.kind, Kind::Index { .. } | Kind::Sequence(_)))
    {
        let privileges = TABLE_PRIVILEGES.into_iter();
        for privilege in privileges.filter(|name| is_writable(entry) || *name == "SELECT") {
            rows.push([
                ("grantor", view.role_name(entry.owner).into()),
                ("grantee", view.role_name(entry.owner).into()),
                ("table_catalog", database(view)),
                ("table_schema", schema_name(view, entry)),
                ("table_name", Cell::from(&entry.name)),
                ("privilege_type", privilege.into()),
                ("is_grantable", "YES".into()),
                ("with_hierarchy", yes_no(privilege == "SELECT")),
            ])?;
        }
    }
    Ok(())
}

fn character_sets(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    rows.push([
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", database(view)),
        ("default_collate_schema", "pg_catalog".into()),
        ("default_collate_name", "C".into()),
    ])
}

fn routines(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for procedure in crate::pg_catalog::procedures::all() {
        let schema = view
            .entries()
            .schema_name(procedure.schema)
            .map(str::to_string);
        // The standard's routines are functions and procedures, not aggregates.
        let kind = match procedure.kind {
            "p" => "PROCEDURE",
            "f" => "FUNCTION",
            _ => continue,
        };
        let result = types::display(procedure.result, None).filter(|_| kind == "FUNCTION");
        rows.push([
            ("specific_catalog", database(view)),
            ("specific_schema", schema.clone().into()),
            (
                "specific_name",
                format!("{}_{}", procedure.name, procedure.oid).into(),
            ),
            ("routine_catalog", database(view)),
            ("routine_schema", schema.into()),
            ("routine_name", procedure.name.into()),
            ("routine_type", kind.into()),
            ("data_type", result.into()),
            ("type_udt_catalog", database(view)),
            ("type_udt_schema", "pg_catalog".into()),
            ("type_udt_name", types::name(procedure.result).into()),
            ("routine_body", "EXTERNAL".into()),
            ("external_language", "INTERNAL".into()),
            ("parameter_style", "GENERAL".into()),
            ("is_deterministic", "NO".into()),
            ("security_type", "INVOKER".into()),
        ])?;
    }
    Ok(())
}
