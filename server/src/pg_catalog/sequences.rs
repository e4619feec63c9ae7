//! Sequences: `pg_sequence`, `pg_sequences`, what `pg_depend` knows of them, and how defaults show them.

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{ColumnDef, Identity, Oid};
use nyala_catalog::sequence::{SequenceDef, SequenceRule, is_used_by};

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::entries::{Entry, Kind};
use crate::pg_catalog::information_schema::{database, yes_no};
use crate::pg_catalog::names::quote_literal;
use crate::pg_catalog::relations::{default_oid, schema_name};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{PG_CATALOG, SystemView, relation_oid};

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_sequence" => pg_sequence(view, shape),
        "pg_sequences" => pg_sequences(view, shape),
        "pg_depend" => pg_depend(view, shape),
        _ => return None,
    })
}

/// All sequences.
fn sequences(view: &SystemView) -> impl Iterator<Item = (&Entry, &SequenceDef)> {
    view.entries()
        .users()
        .filter_map(|entry| match &entry.kind {
            Kind::Sequence(def) => Some((entry, def.as_ref())),
            _ => None,
        })
}

/// A default with the names of its sequences; `None` if it has none.
pub fn shown(view: &SystemView, default: &str) -> Option<String> {
    let mut shown: Option<String> = None;
    for (entry, def) in sequences(view).filter(|(_, def)| is_used_by(default, def.oid)) {
        let name = quote_literal(&view.relation_name(entry));
        let text = shown.as_deref().unwrap_or(default);
        let call = nyala_catalog::sequence::default_text(def.oid);
        shown = Some(text.replace(&call, &format!("nextval({name}::regclass)")));
    }
    shown
}

/// `pg_get_serial_sequence`
pub fn of_column(view: &SystemView, table: &str, column: &str) -> Result<Cell> {
    let entry = view.find_relation(table)?.ok_or_else(|| {
        PgError::new(
            sqlstate::UNDEFINED_TABLE,
            format!("relation \"{table}\" does not exist"),
        )
    })?;
    if !entry.columns.iter().any(|known| known.name == column) {
        return Err(PgError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!(
                "column \"{column}\" of relation \"{}\" does not exist",
                entry.name
            ),
        ));
    }
    let found = owned(view, entry.oid, column);
    Ok(found
        .map(|(sequence, _)| view.qualified_name(sequence))
        .into())
}

/// The sequence that goes with a column.
fn owned<'a>(
    view: &'a SystemView,
    table: Oid,
    column: &str,
) -> Option<(&'a Entry, &'a SequenceDef)> {
    sequences(view).find(|(_, def)| {
        let owner = def.owned_by.as_ref();
        owner.is_some_and(|owner| owner.table == table && owner.column == column)
    })
}

/// The rule of a sequence.
pub fn rule(view: &SystemView, oid: Oid) -> Option<&SequenceRule> {
    let entry = view.entries().by_oid(oid)?;
    match &entry.kind {
        Kind::Sequence(def) => Some(&def.rule),
        _ => None,
    }
}

/// A column of a sequence's row in `pg_sequence`.
pub fn field(view: &SystemView, oid: Oid, column: &str) -> Option<i64> {
    let rule = rule(view, oid)?;
    match column {
        "seqtypid" => Some(i64::from(rule.ty.oid())),
        "seqstart" => Some(rule.start),
        "seqincrement" => Some(rule.increment),
        "seqmax" => Some(rule.max),
        "seqmin" => Some(rule.min),
        "seqcache" => Some(rule.cache),
        _ => None,
    }
}

fn pg_sequence(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (_, def) in sequences(view) {
        let rule = &def.rule;
        rows.push([
            ("seqrelid", def.oid.into()),
            ("seqtypid", rule.ty.oid().into()),
            ("seqstart", rule.start.into()),
            ("seqincrement", rule.increment.into()),
            ("seqmax", rule.max.into()),
            ("seqmin", rule.min.into()),
            ("seqcache", rule.cache.into()),
            ("seqcycle", rule.cycle.into()),
        ])?;
    }
    rows.finish()
}

fn pg_sequences(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (entry, def) in sequences(view) {
        let rule = &def.rule;
        rows.push([
            ("schemaname", schema_name(view, entry)),
            ("sequencename", Cell::from(&def.name)),
            ("sequenceowner", view.role_name(def.owner).into()),
            ("data_type", rule.ty.to_string().into()),
            ("start_value", rule.start.into()),
            ("min_value", rule.min.into()),
            ("max_value", rule.max.into()),
            ("increment_by", rule.increment.into()),
            ("cycle", rule.cycle.into()),
            ("cache_size", rule.cache.into()),
            (
                "last_value",
                view.sequences.get(&def.oid).copied().flatten().into(),
            ),
        ])?;
    }
    rows.finish()
}

/// Number of a table's column, from 1.
fn number_of(view: &SystemView, table: Oid, column: &str) -> Option<usize> {
    let entry = view.entries().by_oid(table)?;
    let at = entry
        .columns
        .iter()
        .position(|known| known.name == column)?;
    Some(at + 1)
}

/// Columns that have sequences, and defaults that use them: what clients look up here.
fn pg_depend(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let catalog = |name: &str| relation_oid(PG_CATALOG, name).unwrap_or_default();
    let (classes, defaults) = (catalog("pg_class"), catalog("pg_attrdef"));
    for (_, def) in sequences(view) {
        if let Some(owner) = &def.owned_by
            && let Some(number) = number_of(view, owner.table, &owner.column)
        {
            rows.push([
                ("classid", classes.into()),
                ("objid", def.oid.into()),
                ("refclassid", classes.into()),
                ("refobjid", owner.table.into()),
                ("refobjsubid", Cell::Int(number as i64)),
                ("deptype", if owner.identity { "i" } else { "a" }.into()),
            ])?;
        }
    }
    for entry in view.entries().users() {
        for (number, column) in (1..).zip(&entry.columns) {
            let Some(default) = column
                .default
                .as_ref()
                .filter(|_| column.identity.is_none())
            else {
                continue;
            };
            let oid = default_oid(entry.oid, number);
            rows.push([
                ("classid", defaults.into()),
                ("objid", oid.into()),
                ("refclassid", classes.into()),
                ("refobjid", entry.oid.into()),
                ("refobjsubid", Cell::Int(number as i64)),
                ("deptype", "a".into()),
            ])?;
            for (_, def) in sequences(view).filter(|(_, def)| is_used_by(default, def.oid)) {
                rows.push([
                    ("classid", defaults.into()),
                    ("objid", oid.into()),
                    ("refclassid", classes.into()),
                    ("refobjid", def.oid.into()),
                    ("deptype", "n".into()),
                ])?;
            }
        }
    }
    rows.finish()
}

/// `information_schema.sequences`, which leaves out those of identity columns.
pub fn of_standard(view: &SystemView, rows: &mut Rows<'_>) -> Result<()> {
    for (entry, def) in sequences(view) {
        if def.owned_by.as_ref().is_some_and(|owner| owner.identity) {
            continue;
        }
        let rule = &def.rule;
        let bits = match SequenceRule::bounds(&rule.ty) {
            Some((_, max)) => 64 - max.leading_zeros() as i32 + 1,
            None => 0,
        };
        rows.push([
            ("sequence_catalog", database(view)),
            ("sequence_schema", schema_name(view, entry)),
            ("sequence_name", Cell::from(&def.name)),
            ("data_type", rule.ty.to_string().into()),
            ("numeric_precision", bits.into()),
            ("numeric_precision_radix", 2.into()),
            ("numeric_scale", 0.into()),
            ("start_value", rule.start.to_string().into()),
            ("minimum_value", rule.min.to_string().into()),
            ("maximum_value", rule.max.to_string().into()),
            ("increment", rule.increment.to_string().into()),
            ("cycle_option", yes_no(rule.cycle)),
        ])?;
    }
    Ok(())
}

/// What `information_schema.columns` tells of an identity column.
pub fn identity_cells(
    view: &SystemView,
    table: Oid,
    column: &ColumnDef,
    identity: Identity,
) -> Vec<(&'static str, Cell)> {
    let generation = match identity {
        Identity::Always => "ALWAYS",
        Identity::Default => "BY DEFAULT",
    };
    let mut cells = vec![("identity_generation", generation.into())];
    if let Some((_, def)) = owned(view, table, &column.name) {
        let rule = &def.rule;
        cells.extend([
            ("identity_start", rule.start.to_string().into()),
            ("identity_increment", rule.increment.to_string().into()),
            ("identity_maximum", rule.max.to_string().into()),
            ("identity_minimum", rule.min.to_string().into()),
            ("identity_cycle", yes_no(rule.cycle)),
        ]);
    }
    cells
}
