//! Keys and indexes: `pg_index`, `pg_constraint`, `pg_indexes`, and the texts that describe them.

use arrow::record_batch::RecordBatch;
use nyala_catalog::CheckDef;
use nyala_catalog::definitions::Oid;
use nyala_catalog::foreign_key::{ForeignKeyDef, ReferentialAction};
use nyala_catalog::index::IndexColumn;
use nyala_catalog::types::SqlType;

use crate::error::Result;
use crate::pg_catalog::entries::{Entry, Kind, TableIndex};
use crate::pg_catalog::names::quote_ident;
use crate::pg_catalog::relations::{DEFAULT_COLLATION_OID, schema_name};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{SystemView, objects};
use crate::sql::checks::{columns_of, shown};
use crate::sql::parse;

/// Bits of `indoption`.
const DESCENDING: i64 = 1;
const NULLS_FIRST: i64 = 2;

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_index" => pg_index(view, shape),
        "pg_constraint" => pg_constraint(view, shape),
        "pg_indexes" => pg_indexes(view, shape),
        _ => return None,
    })
}

/// All indexes, each with its table.
pub fn indexes(view: &SystemView) -> impl Iterator<Item = (&Entry, &TableIndex)> {
    let tables = view.entries().users();
    tables.flat_map(|entry| entry.indexes.iter().map(move |index| (entry, index)))
}

/// The indexes of primary keys and of UNIQUE constraints.
pub fn constraints(view: &SystemView) -> impl Iterator<Item = (&Entry, &TableIndex)> {
    indexes(view).filter(|(_, index)| index.constraint_oid.is_some())
}

/// All CHECK constraints, each with its table.
pub fn checks(view: &SystemView) -> impl Iterator<Item = (&Entry, &CheckDef)> {
    let tables = view.entries().users();
    tables.flat_map(|entry| entry.checks.iter().map(move |check| (entry, check)))
}

/// A FOREIGN KEY constraint with the tables and the key that it is about.
pub struct ForeignKey<'a> {
    /// The table that it is of.
    pub table: &'a Entry,
    /// The constraint.
    pub def: &'a ForeignKeyDef,
    /// The referenced table.
    pub referenced: &'a Entry,
    /// The index of the referenced key.
    pub index: &'a TableIndex,
}

impl<'a> ForeignKey<'a> {
    /// Positions of the referenced columns, in the order of those that reference them.
    pub fn referenced_columns(&self) -> impl Iterator<Item = usize> {
        let places = self.def.places.iter();
        places.filter_map(|place| Some(self.index.columns.get(*place)?.position))
    }

    fn names(entry: &'a Entry, positions: impl Iterator<Item = usize>) -> String {
        let columns = positions.filter_map(|position| entry.columns.get(position));
        let names: Vec<_> = columns.map(|column| quote_ident(&column.name)).collect();
        names.join(", ")
    }

    /// What `pg_get_constraintdef` says.
    fn definition(&self, view: &SystemView) -> String {
        let def = self.def;
        let referenced = view.relation_name(self.referenced);
        let mut text = format!(
            "FOREIGN KEY ({}) REFERENCES {referenced}({})",
            Self::names(self.table, def.columns.iter().copied()),
            Self::names(self.referenced, self.referenced_columns()),
        );
        if def.match_full {
            text.push_str(" MATCH FULL");
        }
        for (event, action) in [("UPDATE", def.on_update), ("DELETE", def.on_delete)] {
            if action != ReferentialAction::NoAction {
                text.push_str(&format!(" ON {event} {}", action_words(action)));
            }
        }
        if def.deferrable {
            text.push_str(" DEFERRABLE");
        }
        if def.initially_deferred {
            text.push_str(" INITIALLY DEFERRED");
        }
        text
    }
}

/// An action as SQL has it.
pub fn action_words(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
    }
}

/// An action as `pg_constraint` has it.
fn action_letter(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "a",
        ReferentialAction::Restrict => "r",
        ReferentialAction::Cascade => "c",
        ReferentialAction::SetNull => "n",
    }
}

/// All FOREIGN KEY constraints.
pub fn foreign_keys(view: &SystemView) -> impl Iterator<Item = ForeignKey<'_>> {
    let tables = view.entries().users();
    let all = tables.flat_map(|table| table.foreign_keys.iter().map(move |def| (table, def)));
    all.filter_map(|(table, def)| {
        let referenced = view.entries().by_oid(def.referenced)?;
        let mut indexes = referenced.indexes.iter();
        Some(ForeignKey {
            table,
            def,
            referenced,
            index: indexes.find(|index| index.oid == def.index)?,
        })
    })
}

/// Numbers of the columns that a condition names.
fn checked_columns(table: &Entry, check: &CheckDef) -> Vec<i64> {
    let Ok(condition) = parse::parse_expression(&check.condition) else {
        return Vec::new();
    };
    let named = columns_of(&condition, &table.columns);
    let columns = (1..).zip(&table.columns);
    columns
        .filter(|(_, column)| named.iter().any(|named| named.name == column.name))
        .map(|(number, _)| number)
        .collect()
}

/// `pg_get_constraintdef`; a pretty one has no parentheses that it can do without.
pub fn constraint_definition(view: &SystemView, oid: Oid, pretty: bool) -> Option<String> {
    if let Some((table, check)) = checks(view).find(|(_, check)| check.oid == oid) {
        let shown = shown(&check.condition, &table.columns, pretty);
        return Some(format!("CHECK ({shown})"));
    }
    if let Some(key) = foreign_keys(view).find(|key| key.def.oid == oid) {
        return Some(key.definition(view));
    }
    let (table, index) = constraints(view).find(|(_, i)| i.constraint_oid == Some(oid))?;
    let names: Vec<_> = index
        .columns_of(table)
        .map(|column| quote_ident(&column.name))
        .collect();
    let kind = match (index.primary, index.nulls_distinct) {
        (true, _) => "PRIMARY KEY",
        (false, true) => "UNIQUE",
        (false, false) => "UNIQUE NULLS NOT DISTINCT",
    };
    Some(format!("{kind} ({})", names.join(", ")))
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
    let index = table.indexes.iter().find(|index| index.oid == oid)?;
    let columns: Vec<_> = index
        .columns_of(table)
        .zip(&index.columns)
        .map(|(definition, column)| format!("{}{}", quote_ident(&definition.name), order(*column)))
        .collect();
    Some(format!(
        "CREATE {}INDEX {} ON {} USING btree ({}){}",
        if index.unique { "UNIQUE " } else { "" },
        quote_ident(&entry.name),
        view.qualified_name(table),
        columns.join(", "),
        if index.nulls_distinct {
            ""
        } else {
            " NULLS NOT DISTINCT"
        },
    ))
}

/// What differs from PostgreSQL's default order.
fn order(column: IndexColumn) -> &'static str {
    match (column.descending, column.nulls_first) {
        (false, false) => "",
        (false, true) => " NULLS FIRST",
        (true, true) => " DESC",
        (true, false) => " DESC NULLS LAST",
    }
}

fn column_numbers(index: &TableIndex) -> Vec<i64> {
    let columns = index.columns.iter();
    columns.map(|column| column.position as i64 + 1).collect()
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
        SqlType::Array(element) => collation(element),
        _ => 0,
    }
}

fn pg_index(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (table, index) in indexes(view) {
        let types: Vec<_> = index.columns_of(table).map(|column| &column.ty).collect();
        let collations = types.iter().map(|ty| i64::from(collation(ty)));
        let classes = types
            .iter()
            .map(|ty| i64::from(objects::operator_class(ty)));
        let options = index.columns.iter().map(|column| {
            i64::from(column.descending) * DESCENDING + i64::from(column.nulls_first) * NULLS_FIRST
        });
        rows.push([
            ("indexrelid", index.oid.into()),
            ("indrelid", table.oid.into()),
            ("indnatts", Cell::Int(index.columns.len() as i64)),
            ("indnkeyatts", Cell::Int(index.columns.len() as i64)),
            ("indisunique", index.unique.into()),
            ("indnullsnotdistinct", (!index.nulls_distinct).into()),
            ("indisprimary", index.primary.into()),
            ("indimmediate", true.into()),
            ("indisvalid", index.valid.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", vector(column_numbers(index))),
            ("indcollation", vector(collations)),
            ("indclass", vector(classes)),
            ("indoption", vector(options)),
        ])?;
    }
    rows.finish()
}

fn pg_constraint(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (table, index) in constraints(view) {
        let kind = if index.primary { "p" } else { "u" };
        rows.push([
            ("oid", index.constraint_oid.into()),
            ("conname", Cell::from(&index.name)),
            ("connamespace", table.schema.into()),
            ("contype", kind.into()),
            ("convalidated", true.into()),
            ("conrelid", table.oid.into()),
            ("conindid", index.oid.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", column_numbers(index).into()),
        ])?;
    }
    for (table, check) in checks(view) {
        rows.push([
            ("oid", check.oid.into()),
            ("conname", Cell::from(&check.name)),
            ("connamespace", table.schema.into()),
            ("contype", "c".into()),
            ("convalidated", true.into()),
            ("conrelid", table.oid.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("conkey", checked_columns(table, check).into()),
            (
                "conbin",
                Cell::from(&shown(&check.condition, &table.columns, false)),
            ),
        ])?;
    }
    for key in foreign_keys(view) {
        let def = key.def;
        let numbers = |positions: Vec<usize>| -> Vec<i64> {
            positions.into_iter().map(|at| at as i64 + 1).collect()
        };
        rows.push([
            ("oid", def.oid.into()),
            ("conname", Cell::from(&def.name)),
            ("connamespace", key.table.schema.into()),
            ("contype", "f".into()),
            ("condeferrable", def.deferrable.into()),
            ("condeferred", def.initially_deferred.into()),
            ("convalidated", true.into()),
            ("conrelid", key.table.oid.into()),
            ("conindid", key.index.oid.into()),
            ("confrelid", key.referenced.oid.into()),
            ("confupdtype", action_letter(def.on_update).into()),
            ("confdeltype", action_letter(def.on_delete).into()),
            (
                "confmatchtype",
                if def.match_full { "f" } else { "s" }.into(),
            ),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", numbers(def.columns.clone()).into()),
            (
                "confkey",
                numbers(key.referenced_columns().collect()).into(),
            ),
        ])?;
    }
    rows.finish()
}

fn pg_indexes(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (table, index) in indexes(view) {
        rows.push([
            ("schemaname", schema_name(view, table)),
            ("tablename", Cell::from(&table.name)),
            ("indexname", Cell::from(&index.name)),
            ("indexdef", index_definition(view, index.oid, 0).into()),
        ])?;
    }
    rows.finish()
}
