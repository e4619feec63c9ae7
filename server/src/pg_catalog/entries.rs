//! Everything `pg_class` lists, in one shape: users' relations, their parts and indexes, system relations.

use std::collections::HashMap;
use std::sync::Arc;

use nyala_catalog::definitions::{
    BOOTSTRAP_ROLE_OID, ColumnDef, Definitions, ExternalFormat, INFORMATION_SCHEMA_OID,
    NYALA_SCHEMA_OID, Oid, PG_CATALOG_OID, Relation, TEMPORARY_SCHEMA, Table,
};
use nyala_catalog::foreign_key::ForeignKeyDef;
use nyala_catalog::index::IndexColumn;
use nyala_catalog::sequence::SequenceDef;
use nyala_catalog::{CheckDef, partitioning};

use crate::pg_catalog::names::quote_ident;
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
    /// A materialized view, its query, and whether it has rows.
    Materialized { query: String, populated: bool },
    /// A read-only table over files.
    External {
        format: ExternalFormat,
        location: String,
    },
    /// An index, and the OID of its table.
    Index { on: Oid },
    /// A sequence.
    Sequence(Arc<SequenceDef>),
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
            Self::Materialized { .. } => "m",
            Self::External { .. } => "f",
            Self::Index { .. } => "i",
            Self::Sequence(_) => "S",
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
    /// Indexes of a table, that of its primary key first.
    pub indexes: Vec<TableIndex>,
    /// Options of a table, each as `name=value`.
    pub options: Vec<String>,
    /// CHECK constraints of a table.
    pub checks: Vec<CheckDef>,
    /// FOREIGN KEY constraints of a table.
    pub foreign_keys: Vec<ForeignKeyDef>,
    /// Whether it is only the session's.
    pub temporary: bool,
}

impl Entry {
    /// Whether it is one of `pg_catalog` or `information_schema`.
    pub fn is_system(&self) -> bool {
        matches!(self.kind, Kind::System { .. })
    }
}

/// An index of a table, as the catalogs show it.
#[derive(Debug, Clone)]
pub struct TableIndex {
    /// Object identifier.
    pub oid: Oid,
    /// Name of the index, and of its constraint.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<IndexColumn>,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether it is the primary key's.
    pub primary: bool,
    /// Whether NULLs differ from each other.
    pub nulls_distinct: bool,
    /// Whether queries can use it.
    pub valid: bool,
    /// OID of the constraint it belongs to.
    pub constraint_oid: Option<Oid>,
}

impl TableIndex {
    fn of_table(table: &Table) -> Vec<Self> {
        let key = table.def.primary_key.iter().map(|key| Self {
            oid: key.index_oid,
            name: key.name.clone(),
            columns: key
                .columns
                .iter()
                .copied()
                .map(IndexColumn::ascending)
                .collect(),
            unique: true,
            primary: true,
            nulls_distinct: true,
            valid: true,
            constraint_oid: Some(key.constraint_oid),
        });
        let others = table.indexes.iter().map(|index| Self {
            oid: index.def.oid,
            name: index.def.name.clone(),
            columns: index.def.columns.clone(),
            unique: index.def.unique,
            primary: false,
            nulls_distinct: index.def.nulls_distinct,
            valid: index.is_ready(),
            constraint_oid: index.def.constraint_oid,
        });
        key.chain(others).collect()
    }

    /// Its columns as the table defines them.
    pub fn columns_of<'a>(&'a self, table: &'a Entry) -> impl Iterator<Item = &'a ColumnDef> {
        let columns = self.columns.iter();
        columns.filter_map(|column| table.columns.get(column.position))
    }
}

/// All lines of `pg_class`, with their names.
#[derive(Debug)]
pub struct Entries {
    list: Vec<Entry>,
    oids: HashMap<Oid, usize>,
    names: HashMap<(Oid, String), usize>,
    schemas: HashMap<Oid, String>,
    temporary: Option<Oid>,
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
                indexes: Vec::new(),
                options: Vec::new(),
                checks: Vec::new(),
                foreign_keys: Vec::new(),
                temporary: false,
            });
        }
        for entry in &mut list {
            entry.temporary = Some(entry.schema) == definitions.temporary_schema();
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
            temporary: definitions.temporary_schema(),
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
        if name == TEMPORARY_SCHEMA {
            return self.temporary;
        }
        self.schemas
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(oid, _)| *oid)
    }
}

/// The options of a table as WITH takes them.
fn options(table: &Table) -> Vec<String> {
    let def = &table.def;
    let mut options = Vec::new();
    if let Some(closing) = &def.closing {
        options.push(format!("closed_when={}", closing.closed_when));
        if let Some(adopted) = &closing.adopted {
            options.push(format!("closed_location={}", adopted.location));
        }
        if !closing.partition_by.is_empty() {
            let quoted = |name: &str| quote_ident(name).into_owned();
            let text = partitioning::to_text(&closing.partition_by, &def.columns, quoted);
            options.push(format!("closed_partition_by={text}"));
        }
    }
    let schedules = [
        ("offload_schedule", &def.schedules.offload),
        ("housekeeping_schedule", &def.schedules.housekeeping),
    ];
    for (name, pattern) in schedules {
        options.extend(pattern.iter().map(|pattern| format!("{name}={pattern}")));
    }
    let retention = def.retention_s.iter();
    options.extend(retention.map(|seconds| format!("retention={seconds} seconds")));
    options
}

fn list_relation(relation: &Relation, list: &mut Vec<Entry>) {
    let entry = |oid: Oid, name: String, kind: Kind| Entry {
        oid,
        schema: relation.schema(),
        name,
        owner: relation.owner(),
        kind,
        columns: relation.columns().to_vec(),
        indexes: Vec::new(),
        options: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        temporary: false,
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
        Relation::Sequence(def) => {
            list.push(entry(oid, name, Kind::Sequence(Arc::clone(def))));
        }
        Relation::Table(table) => {
            let kind = match &table.def.materialized {
                Some(materialized) => Kind::Materialized {
                    query: materialized.view.query.clone(),
                    populated: materialized.populated,
                },
                None => Kind::Table {
                    hybrid: table.is_hybrid(),
                },
            };
            let indexes = TableIndex::of_table(table);
            let of_table = Entry {
                indexes: indexes.clone(),
                options: options(table),
                checks: table.def.checks.clone(),
                foreign_keys: table.def.foreign_keys.clone(),
                ..entry(oid, name.clone(), kind)
            };
            list.push(of_table.clone());
            if table.is_hybrid() {
                let part = Kind::Part { of: oid };
                list.push(entry(
                    oid + OPEN_PART_OID,
                    format!("{name}$open"),
                    part.clone(),
                ));
                list.push(entry(oid + CLOSED_PART_OID, format!("{name}$closed"), part));
            }
            for index in &indexes {
                // PostgreSQL marks no column of an index as NOT NULL, and gives it no default.
                let columns = index.columns_of(&of_table).map(|column| ColumnDef {
                    comment: None,
                    default: None,
                    identity: None,
                    not_null: false,
                    ..column.clone()
                });
                let kind = Kind::Index { on: oid };
                list.push(Entry {
                    columns: columns.collect(),
                    ..entry(index.oid, index.name.clone(), kind)
                });
            }
        }
    }
}
