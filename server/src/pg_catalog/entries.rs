//! Everything `pg_class` lists, in one shape: users' relations, their parts and keys, system relations.

use std::collections::HashMap;

use nyala_catalog::definitions::{
    BOOTSTRAP_ROLE_OID, ColumnDef, Definitions, ExternalFormat, INFORMATION_SCHEMA_OID,
    NYALA_SCHEMA_OID, Oid, PG_CATALOG_OID, PrimaryKeyDef, Relation,
};

use crate::pg_catalog::{INFORMATION_SCHEMA, NYALA, PG_CATALOG, shape};

/// Added to a table's OID for its open part.
const OPEN_PART_OID: Oid = 1 << 30;

/// Added to a table's OID for its closed part.
const CLOSED_PART_OID: Oid = 1 << 29;

/// What a line of `pg_class` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A table; whether it has a closed part.
    Table { hybrid: bool },
    /// One side of a hybrid table, and the OID of that table.
    Part { of: Oid },
    /// A view and its query.
    View { query: String },
    /// A read-only table over files.
    External {
        format: ExternalFormat,
        location: String,
    },
    /// The index of a primary key, and the OID of its table.
    Index { on: Oid },
    /// A system relation; whether PostgreSQL has it as a view.
    System { is_view: bool },
}

impl Kind {
    /// `relkind`.
    pub fn relkind(&self) -> &'static str {
        match self {
            Self::Table { .. } | Self::System { is_view: false } => "r",
            // A part is a view of one side of its table: it can be read, and not be written.
            Self::Part { .. } | Self::View { .. } | Self::System { is_view: true } => "v",
            Self::External { .. } => "f",
            Self::Index { .. } => "i",
        }
    }
}

/// A line of `pg_class`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Object identifier.
    pub oid: Oid,
    /// OID of the schema.
    pub schema: Oid,
    /// Name within the schema.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// What it is.
    pub kind: Kind,
    /// Columns in order.
    pub columns: Vec<ColumnDef>,
    /// Primary key of a table, or the one an index belongs to.
    pub key: Option<PrimaryKeyDef>,
}

impl Entry {
    /// Whether it is one of `pg_catalog` or `information_schema`.
    pub fn is_system(&self) -> bool {
        matches!(self.kind, Kind::System { .. })
    }

    /// The names of the key's columns, in key order.
    pub fn key_columns(&self) -> Vec<&str> {
        let Some(key) = &self.key else {
            return Vec::new();
        };
        match self.kind {
            Kind::Index { .. } => self
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect(),
            _ => {
                let columns = key
                    .columns
                    .iter()
                    .filter_map(|position| self.columns.get(*position));
                columns.map(|column| column.name.as_str()).collect()
            }
        }
    }
}

/// All lines of `pg_class`, with their names.
#[derive(Debug)]
pub struct Entries {
    list: Vec<Entry>,
    oids: HashMap<Oid, usize>,
    names: HashMap<(Oid, String), usize>,
    schemas: HashMap<Oid, String>,
}

impl Entries {
    /// Lists what a database holds and the system relations.
    pub fn new(definitions: &Definitions) -> Self {
        let mut list = Vec::new();
        for relation in definitions.relations() {
            list_relation(relation, &mut list);
        }
        for shape in shape::all() {
            let schema = match shape.schema {
                INFORMATION_SCHEMA => INFORMATION_SCHEMA_OID,
                NYALA => NYALA_SCHEMA_OID,
                _ => PG_CATALOG_OID,
            };
            list.push(Entry {
                oid: shape.oid,
                schema,
                name: shape.name.to_string(),
                owner: BOOTSTRAP_ROLE_OID,
                kind: Kind::System {
                    is_view: shape.is_view,
                },
                columns: shape.columns.clone(),
                key: None,
            });
        }
        let mut schemas: HashMap<_, _> = [
            (PG_CATALOG_OID, PG_CATALOG.to_string()),
            (INFORMATION_SCHEMA_OID, INFORMATION_SCHEMA.to_string()),
            (NYALA_SCHEMA_OID, NYALA.to_string()),
        ]
        .into();
        schemas.extend(
            definitions
                .schemas()
                .map(|schema| (schema.oid, schema.name.clone())),
        );
        let positions = || list.iter().enumerate();
        Self {
            oids: positions()
                .map(|(position, entry)| (entry.oid, position))
                .collect(),
            names: positions()
                .map(|(position, entry)| ((entry.schema, entry.name.clone()), position))
                .collect(),
            list,
            schemas,
        }
    }

    /// All lines: users' relations first, by OID.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    /// Lines of users' relations.
    pub fn users(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter().filter(|entry| !entry.is_system())
    }

    /// A line by OID.
    pub fn by_oid(&self, oid: Oid) -> Option<&Entry> {
        self.oids
            .get(&oid)
            .and_then(|position| self.list.get(*position))
    }

    /// A line by schema and name.
    pub fn by_name(&self, schema: Oid, name: &str) -> Option<&Entry> {
        let position = self.names.get(&(schema, name.to_string()))?;
        self.list.get(*position)
    }

    /// Names of schemas by OID, in order of OID.
    pub fn schemas(&self) -> Vec<(Oid, &str)> {
        let mut schemas: Vec<_> = self
            .schemas
            .iter()
            .map(|(oid, name)| (*oid, name.as_str()))
            .collect();
        schemas.sort_unstable();
        schemas
    }

    /// Name of a schema.
    pub fn schema_name(&self, oid: Oid) -> Option<&str> {
        self.schemas.get(&oid).map(String::as_str)
    }

    /// OID of a schema.
    pub fn schema_oid(&self, name: &str) -> Option<Oid> {
        self.schemas
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(oid, _)| *oid)
    }
}

fn list_relation(relation: &Relation, list: &mut Vec<Entry>) {
    let entry = |oid: Oid, name: String, kind: Kind| Entry {
        oid,
        schema: relation.schema(),
        name,
        owner: relation.owner(),
        kind,
        columns: relation.columns().to_vec(),
        key: None,
    };
    let (oid, name) = (relation.oid(), relation.name().to_string());
    match relation {
        Relation::View(view) => list.push(entry(
            oid,
            name,
            Kind::View {
                query: view.query.clone(),
            },
        )),
        Relation::External(def) => {
            let kind = Kind::External {
                format: def.format,
                location: def.location.clone(),
            };
            list.push(entry(oid, name, kind));
        }
        Relation::Table(table) => {
            let key = table.def.primary_key.clone();
            let kind = Kind::Table {
                hybrid: table.is_hybrid(),
            };
            list.push(Entry {
                key: key.clone(),
                ..entry(oid, name.clone(), kind)
            });
            if table.is_hybrid() {
                let part = Kind::Part { of: oid };
                list.push(entry(
                    oid + OPEN_PART_OID,
                    format!("{name}$open"),
                    part.clone(),
                ));
                list.push(entry(oid + CLOSED_PART_OID, format!("{name}$closed"), part));
            }
            if let Some(key) = key {
                let position = |position: &usize| table.def.columns.get(*position).cloned();
                let columns = key.columns.iter().filter_map(position);
                // PostgreSQL marks no column of an index as NOT NULL, and gives it no default.
                let columns = columns
                    .map(|column| ColumnDef {
                        not_null: false,
                        default: None,
                        ..column
                    })
                    .collect();
                let index = entry(key.index_oid, key.name.clone(), Kind::Index { on: oid });
                list.push(Entry {
                    columns,
                    key: Some(key),
                    ..index
                });
            }
        }
    }
}
