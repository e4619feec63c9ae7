//! `pg_description`, and what it is looked up for.

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::Oid;

use crate::error::Result;
use crate::pg_catalog::objects::DESCRIPTIONS;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{PG_CATALOG, SystemView, descriptions, keys, relation_oid};

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_description" => pg_description(view, shape),
        "pg_shdescription" => pg_shdescription(view, shape),
        _ => return None,
    })
}

/// The catalog that an object with a comment is in.
fn catalog_of(view: &SystemView, oid: Oid) -> &'static str {
    if view.entries().by_oid(oid).is_some() {
        "pg_class"
    } else if view.definitions.schema_by_oid(oid).is_some() {
        "pg_namespace"
    } else if keys::constraint_definition(view, oid, false).is_some() {
        "pg_constraint"
    } else {
        "pg_database"
    }
}

/// Comments on objects other than columns: catalog, OID and text.
fn objects(view: &SystemView) -> Vec<(&'static str, Oid, String)> {
    let users = view.definitions.comments();
    let users = users.map(|(oid, text)| (catalog_of(view, oid), oid, text.to_string()));
    let users: Vec<_> = users.collect();
    let own = DESCRIPTIONS.into_iter();
    let own = own.filter(|(_, oid, _)| users.iter().all(|(_, user, _)| user != oid));
    let own: Vec<_> = own
        .map(|(catalog, oid, text)| (catalog, oid, text.to_string()))
        .collect();
    own.into_iter().chain(users).collect()
}

/// `obj_description`; without a catalog it is the first that has the OID.
pub fn of_object(view: &SystemView, oid: Oid, catalog: Option<&str>) -> Option<String> {
    let mut objects = objects(view).into_iter();
    let found = objects.find(|(known, described, _)| {
        *described == oid
            && *known != "pg_database"
            && catalog.is_none_or(|wanted| wanted == *known)
    });
    let found = found.map(|(_, _, text)| text);
    found.or_else(|| descriptions::find(oid, catalog).map(str::to_string))
}

fn pg_description(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (catalog, oid, text) in objects(view) {
        if catalog != "pg_database" {
            rows.push([
                ("objoid", oid.into()),
                (
                    "classoid",
                    relation_oid(PG_CATALOG, catalog).unwrap_or_default().into(),
                ),
                ("description", text.into()),
            ])?;
        }
    }
    for known in descriptions::all() {
        let catalog = relation_oid(PG_CATALOG, known.catalog);
        rows.push([
            ("objoid", known.oid.into()),
            ("classoid", catalog.unwrap_or_default().into()),
            ("description", known.text.into()),
        ])?;
    }
    let classes = relation_oid(PG_CATALOG, "pg_class").unwrap_or_default();
    for entry in view.entries().users() {
        for (number, column) in (1_i64..).zip(&entry.columns) {
            if let Some(comment) = &column.comment {
                rows.push([
                    ("objoid", entry.oid.into()),
                    ("classoid", classes.into()),
                    ("objsubid", Cell::Int(number)),
                    ("description", Cell::from(comment)),
                ])?;
            }
        }
    }
    rows.finish()
}

fn pg_shdescription(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (catalog, oid, text) in objects(view) {
        if catalog == "pg_database" {
            rows.push([
                ("objoid", oid.into()),
                (
                    "classoid",
                    relation_oid(PG_CATALOG, catalog).unwrap_or_default().into(),
                ),
                ("description", text.into()),
            ])?;
        }
    }
    rows.finish()
}
