//! What the system relations look like: names, OIDs and columns, read once from `relations.tsv`.
//!
//! The file has one line per relation: schema, name, OID, kind (`r` or `v`) and its columns as
//! `name:type`, with `!` after the type of a column that is never NULL. Names and order of the columns
//! are those of PostgreSQL 15, because clients address some of them by position. OIDs of tables are
//! PostgreSQL's own; views have theirs from 12,000 (`pg_catalog`) and 13,100 (`information_schema`).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use nyala_catalog::definitions::{ColumnDef, Oid, arrow_schema};
use nyala_catalog::types::SqlType;

/// Columns and identity of a system relation.
#[derive(Debug)]
pub struct Shape {
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Name within the schema.
    pub name: &'static str,
    /// Object identifier.
    pub oid: Oid,
    /// Whether PostgreSQL has it as a view.
    pub is_view: bool,
    /// Columns in order.
    pub columns: Vec<ColumnDef>,
    /// Arrow schema of the columns.
    pub arrow: SchemaRef,
    positions: HashMap<&'static str, usize>,
}

impl Shape {
    /// Position of a column.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.positions.get(column).copied()
    }
}

/// All system relations, by schema and name.
pub fn all() -> &'static [Arc<Shape>] {
    &SHAPES.list
}

/// A system relation by schema and name.
pub fn find(schema: &str, name: &str) -> Option<&'static Arc<Shape>> {
    let names = SHAPES.names.get(schema)?;
    names
        .get(name)
        .and_then(|position| SHAPES.list.get(*position))
}

struct Shapes {
    list: Vec<Arc<Shape>>,
    names: HashMap<&'static str, HashMap<&'static str, usize>>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let list: Vec<_> = include_str!("relations.tsv")
        .lines()
        .filter_map(parse)
        .map(Arc::new)
        .collect();
    let mut names: HashMap<&'static str, HashMap<&'static str, usize>> = HashMap::new();
    for (position, shape) in list.iter().enumerate() {
        names
            .entry(shape.schema)
            .or_default()
            .insert(shape.name, position);
    }
    Shapes { list, names }
});

fn parse(line: &'static str) -> Option<Shape> {
    let mut fields = line.split('\t');
    let (schema, name, oid) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    let is_view = fields.next()? == "v";
    let mut columns = Vec::new();
    let mut positions = HashMap::new();
    for column in fields.next()?.split(',') {
        let (column, ty) = column.split_once(':')?;
        let not_null = ty.ends_with('!');
        let ty: SqlType = ty.trim_end_matches('!').parse().ok()?;
        positions.insert(column, columns.len());
        columns.push(ColumnDef {
            not_null,
            ..ColumnDef::new(column, ty)
        });
    }
    // Arrow refuses a NULL in a field that allows none; the rows are checked by tests instead.
    let nullable: Vec<_> = columns
        .iter()
        .map(|column| ColumnDef {
            not_null: false,
            ..column.clone()
        })
        .collect();
    Some(Shape {
        schema,
        name,
        oid,
        is_view,
        arrow: arrow_schema(&nullable),
        columns,
        positions,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{all, find};

    #[test]
    fn every_line_is_read_and_identities_are_unique() {
        assert_eq!(all().len(), include_str!("relations.tsv").lines().count());
        let oids: HashSet<_> = all().iter().map(|shape| shape.oid).collect();
        assert_eq!(oids.len(), all().len());
        for shape in all() {
            assert_eq!(
                find(shape.schema, shape.name).map(|found| found.oid),
                Some(shape.oid)
            );
        }
        assert_eq!(
            find("pg_catalog", "pg_class").map(|shape| shape.oid),
            Some(1259)
        );
    }
}
