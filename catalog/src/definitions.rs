//! What exists: databases, roles, schemas, tables and views, as immutable values.
//!
//! A [`Definitions`] is everything one database holds at one commit sequence number. It is loaded
//! from the row store once per change and shared by all statements that see that state; a
//! transaction that runs DDL clones it and edits its own copy. Definitions hold SQL text (defaults,
//! `closed_when`, view queries) as text: the catalog never parses it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::closed_table::ColumnFiles;
use crate::column_history::ColumnHistory;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::foreign_key::ForeignKeyDef;
use crate::index::{self, Index, IndexDef};
use crate::materialized::MaterializedDef;
use crate::partitioning::PartitionField;
use crate::row_checks::{CheckDef, RowChecks};
use crate::row_codec::RowCodec;
use crate::sequence::SequenceDef;
use crate::types::SqlType;

/// Object identifier, unique over the whole server and stable across restarts.
pub type Oid = u32;

/// First OID given to users' objects, as in PostgreSQL.
pub const FIRST_USER_OID: Oid = 16_384;

/// OID of the bootstrap superuser.
pub const BOOTSTRAP_ROLE_OID: Oid = 10;

/// OID of schema `pg_catalog` in every database.
pub const PG_CATALOG_OID: Oid = 11;

/// OID of schema `public` in every database.
pub const PUBLIC_SCHEMA_OID: Oid = 2_200;

/// OID of schema `information_schema` in every database.
pub const INFORMATION_SCHEMA_OID: Oid = 13_000;

/// OID of schema `nyala` (system relations and procedures) in every database.
pub const NYALA_SCHEMA_OID: Oid = 13_001;

/// Name of the schema that new databases have.
pub const PUBLIC_SCHEMA: &str = "public";

/// Longest identifier in bytes; longer ones are cut as PostgreSQL does.
pub const IDENTIFIER_BYTES_MAX: usize = 63;

/// Most columns a table can have.
pub const COLUMNS_MAX: usize = 1_600;

/// Identifies the stored rows of a table. TRUNCATE gives a table a new one.
pub type StorageId = u64;

/// A database: a tenant. A connection is in exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseDef {
    /// Object identifier.
    pub oid: Oid,
    /// Name, unique in the server.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
}

/// A role that can log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDef {
    /// Object identifier.
    pub oid: Oid,
    /// Name, unique in the server.
    pub name: String,
    /// Whether all permission checks are bypassed.
    pub superuser: bool,
    /// SCRAM-SHA-256 verifier in PostgreSQL's `rolpassword` format.
    pub password: Option<String>,
}

/// A schema of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDef {
    /// Object identifier.
    pub oid: Oid,
    /// Name, unique in the database.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
}

/// Whether the values of a column come from a sequence that is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// Always: a statement has to say that it overrides them.
    Always,
    /// Where a statement gives none.
    Default,
}

/// What a commit does to a temporary table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCommit {
    /// Nothing.
    #[default]
    Preserve,
    /// Empties it.
    Delete,
    /// Drops it.
    Drop,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDef {
    /// Name, unique in the table.
    pub name: String,
    /// SQL type.
    #[serde(rename = "type")]
    pub ty: SqlType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// SQL text of the default, if any.
    pub default: Option<String>,
    /// Present on identity columns, whose default is the next value of their sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What COMMENT ON said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl ColumnDef {
    /// A column that can be NULL and has no default.
    pub fn new(name: impl Into<String>, ty: SqlType) -> Self {
        Self {
            name: name.into(),
            ty,
            not_null: false,
            default: None,
            identity: None,
            comment: None,
        }
    }
}

/// The primary key constraint of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryKeyDef {
    /// OID of the constraint.
    pub constraint_oid: Oid,
    /// OID of the index that `pg_index` shows for it.
    pub index_oid: Oid,
    /// Name of constraint and index.
    pub name: String,
    /// Positions of the key columns in the table, in key order.
    pub columns: Vec<usize>,
}

/// Files of others that are the closed part of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedLocation {
    /// Where they lie: a directory as a `file://` URL.
    pub location: String,
    /// Positions of the Delta table's partition columns.
    pub partition_columns: Vec<usize>,
    /// What the table's own commits are told by in a log that others have written to, perhaps with such names as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// How records of a hybrid table become closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingRule {
    /// SQL text of the predicate that makes a record closed.
    pub closed_when: String,
    /// Folder of the closed table below the data directory's `closed`; empty if it lies elsewhere.
    pub folder: String,
    /// Present if the closed table was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<AdoptedLocation>,
    /// How files that are written now are divided into partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<PartitionField>,
}

/// When a table's jobs run by themselves: cron patterns of five fields, in UTC, and what else starts one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedules {
    /// Offload.
    pub offload: Option<String>,
    /// Housekeeping.
    pub housekeeping: Option<String>,
    /// A snapshot is refreshed when its fresh rows are so many percent of its rows; 0: only when it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload_percent: Option<u8>,
}

/// [`Schedules::offload_percent`] of tables that do not say.
pub const OFFLOAD_PERCENT: u8 = 10;

/// A table with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDef {
    /// Object identifier.
    pub oid: Oid,
    /// OID of the schema.
    pub schema: Oid,
    /// Name, unique among the schema's relations.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// Where the rows are; changes with TRUNCATE.
    pub storage: StorageId,
    /// Columns in order.
    pub columns: Vec<ColumnDef>,
    /// Primary key, if any.
    pub primary_key: Option<PrimaryKeyDef>,
    /// Present on hybrid tables.
    pub closing: Option<ClosingRule>,
    /// When the table's jobs run by themselves.
    #[serde(default)]
    pub schedules: Schedules,
    /// How long restore points are kept, in seconds, if the table says so.
    #[serde(default)]
    pub retention_s: Option<u64>,
    /// What the columns have been, if they were altered since the storage was new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<ColumnHistory>,
    /// Secondary indexes, by OID.
    #[serde(default)]
    pub indexes: Vec<IndexDef>,
    /// CHECK constraints, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckDef>,
    /// FOREIGN KEY constraints, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKeyDef>,
    /// What a commit does to it, if it is temporary.
    #[serde(default)]
    pub on_commit: OnCommit,
    /// Present on materialized views.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materialized: Option<Box<MaterializedDef>>,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDef {
    /// Object identifier.
    pub oid: Oid,
    /// OID of the schema.
    pub schema: Oid,
    /// Name, unique among the schema's relations.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// SQL text of the query.
    pub query: String,
    /// Output columns.
    pub columns: Vec<ColumnDef>,
    /// OIDs of the relations that the query names.
    pub depends_on: Vec<Oid>,
}

/// Formats of external tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExternalFormat {
    /// Parquet files: one, a folder of them, or a Hive-partitioned folder.
    Parquet,
    /// A Delta table.
    Delta,
}

/// A read-only table over files that others own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTableDef {
    /// Object identifier.
    pub oid: Oid,
    /// OID of the schema.
    pub schema: Oid,
    /// Name, unique among the schema's relations.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// Format of the files.
    pub format: ExternalFormat,
    /// Absolute path or `file://` URL.
    pub location: String,
    /// Columns as they were when the table was created.
    pub columns: Vec<ColumnDef>,
}

/// Anything that has a name in a schema and can stand in FROM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RelationDef {
    /// A table with rows of its own.
    Table(Box<TableDef>),
    /// A view.
    View(ViewDef),
    /// A read-only table over files.
    External(ExternalTableDef),
    /// A sequence.
    Sequence(SequenceDef),
}

impl RelationDef {
    /// Object identifier.
    pub fn oid(&self) -> Oid {
        match self {
            Self::Table(def) => def.oid,
            Self::View(def) => def.oid,
            Self::External(def) => def.oid,
            Self::Sequence(def) => def.oid,
        }
    }

    /// OID of the schema.
    pub fn schema(&self) -> Oid {
        match self {
            Self::Table(def) => def.schema,
            Self::View(def) => def.schema,
            Self::External(def) => def.schema,
            Self::Sequence(def) => def.schema,
        }
    }

    /// Name within the schema.
    pub fn name(&self) -> &str {
        match self {
            Self::Table(def) => &def.name,
            Self::View(def) => &def.name,
            Self::External(def) => &def.name,
            Self::Sequence(def) => &def.name,
        }
    }

    /// OID of the owning role.
    pub fn owner(&self) -> Oid {
        match self {
            Self::Table(def) => def.owner,
            Self::View(def) => def.owner,
            Self::External(def) => def.owner,
            Self::Sequence(def) => def.owner,
        }
    }

    /// Columns in order.
    pub fn columns(&self) -> &[ColumnDef] {
        match self {
            Self::Table(def) => &def.columns,
            Self::View(def) => &def.columns,
            Self::External(def) => &def.columns,
            Self::Sequence(_) => SequenceDef::columns(),
        }
    }
}

/// The Arrow schema of a list of columns.
pub fn arrow_schema(columns: &[ColumnDef]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|column| column.ty.field(&column.name, !column.not_null))
        .collect();
    Arc::new(Schema::new(fields))
}

/// A table as statements use it: its definition with what is derived from it once.
#[derive(Debug)]
pub struct Table {
    /// The definition.
    pub def: TableDef,
    /// Arrow schema of all columns.
    pub schema: SchemaRef,
    /// Turns rows into keys and values and back.
    pub codec: RowCodec,
    /// How files hold the columns.
    pub files: Arc<[ColumnFiles]>,
    /// Secondary indexes, by OID.
    pub indexes: Vec<Arc<Index>>,
    /// Its CHECK constraints, ready to look at rows.
    pub checks: RowChecks,
}

impl Table {
    /// Derives schema and codec from a definition.
    pub fn new(def: TableDef) -> Result<Self> {
        let history = match &def.history {
            Some(history) => history.clone(),
            None => ColumnHistory::first(&def),
        };
        history.check(&def)?;
        let columns = def.columns.iter().enumerate();
        let fields = columns.map(|(at, column)| {
            let nullable = !column.not_null || history.may_lack(at);
            Arc::new(column.ty.field(&column.name, nullable))
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let key = def.primary_key.as_ref().map(|key| key.columns.as_slice());
        let codec = RowCodec::new(&schema, key, &history)?;
        let files = schema.fields().iter().enumerate();
        let files = files
            .map(|(at, field)| history.files(at, field))
            .collect::<Result<_>>()?;
        let indexes = index::derive(&def.indexes, &schema)?;
        let checks = RowChecks::default();
        Ok(Self {
            checks,
            def,
            schema,
            codec,
            files,
            indexes,
        })
    }

    /// Positions of the key columns, in key order; empty without a primary key.
    pub fn key_columns(&self) -> &[usize] {
        self.def
            .primary_key
            .as_ref()
            .map_or(&[], |key| key.columns.as_slice())
    }

    /// Names of its indexes, that of the primary key included.
    pub fn index_names(&self) -> impl Iterator<Item = &str> {
        let key = self.def.primary_key.iter().map(|key| key.name.as_str());
        key.chain(self.def.indexes.iter().map(|index| index.name.as_str()))
    }

    /// How its closed files are divided.
    pub fn partition_by(&self) -> &[PartitionField] {
        self.def
            .closing
            .as_ref()
            .map_or(&[], |closing| closing.partition_by.as_slice())
    }

    /// Whether the table has a closed part.
    pub fn is_hybrid(&self) -> bool {
        self.def.closing.is_some()
    }
}

/// A relation as statements use it.
#[derive(Debug, Clone)]
pub enum Relation {
    /// A table with rows of its own.
    Table(Arc<Table>),
    /// A view.
    View(Arc<ViewDef>),
    /// A read-only table over files.
    External(Arc<ExternalTableDef>),
    /// A sequence.
    Sequence(Arc<SequenceDef>),
}

impl Relation {
    /// Derives what statements need from a definition.
    pub fn new(def: RelationDef) -> Result<Self> {
        Ok(match def {
            RelationDef::Table(def) => Self::Table(Arc::new(Table::new(*def)?)),
            RelationDef::View(def) => Self::View(Arc::new(def)),
            RelationDef::External(def) => Self::External(Arc::new(def)),
            RelationDef::Sequence(def) => Self::Sequence(Arc::new(def)),
        })
    }

    /// The stored form.
    pub fn def(&self) -> RelationDef {
        match self {
            Self::Table(table) => RelationDef::Table(Box::new(table.def.clone())),
            Self::View(def) => RelationDef::View(def.as_ref().clone()),
            Self::External(def) => RelationDef::External(def.as_ref().clone()),
            Self::Sequence(def) => RelationDef::Sequence(def.as_ref().clone()),
        }
    }

    /// Object identifier.
    pub fn oid(&self) -> Oid {
        match self {
            Self::Table(table) => table.def.oid,
            Self::View(def) => def.oid,
            Self::External(def) => def.oid,
            Self::Sequence(def) => def.oid,
        }
    }

    /// OID of the schema.
    pub fn schema(&self) -> Oid {
        match self {
            Self::Table(table) => table.def.schema,
            Self::View(def) => def.schema,
            Self::External(def) => def.schema,
            Self::Sequence(def) => def.schema,
        }
    }

    /// Name within the schema.
    pub fn name(&self) -> &str {
        match self {
            Self::Table(table) => &table.def.name,
            Self::View(def) => &def.name,
            Self::External(def) => &def.name,
            Self::Sequence(def) => &def.name,
        }
    }

    /// OID of the owning role.
    pub fn owner(&self) -> Oid {
        match self {
            Self::Table(table) => table.def.owner,
            Self::View(def) => def.owner,
            Self::External(def) => def.owner,
            Self::Sequence(def) => def.owner,
        }
    }

    /// Columns in order.
    pub fn columns(&self) -> &[ColumnDef] {
        match self {
            Self::Table(table) => &table.def.columns,
            Self::View(def) => &def.columns,
            Self::External(def) => &def.columns,
            Self::Sequence(_) => SequenceDef::columns(),
        }
    }
}

/// Everything one database holds, at one commit sequence number.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The database itself.
    pub database: DatabaseDef,
    schemas: BTreeMap<Oid, SchemaDef>,
    relations: BTreeMap<Oid, Relation>,
    schema_names: HashMap<String, Oid>,
    relation_names: HashMap<(Oid, String), Oid>,
    /// The tables that indexes belong to, by schema and name of the index.
    index_names: HashMap<(Oid, String), Oid>,
    /// Tables that foreign keys reference, each with the tables that these are of.
    references: BTreeSet<(Oid, Oid)>,
    /// What COMMENT ON said of objects other than columns, by OID.
    comments: BTreeMap<Oid, String>,
    /// The schema of the session's temporary relations.
    temporary: Option<Oid>,
}

/// The name that each session has for the schema of its temporary relations.
pub const TEMPORARY_SCHEMA: &str = "pg_temp";

impl Definitions {
    /// An empty database.
    pub fn new(database: DatabaseDef) -> Self {
        Self {
            database,
            schemas: BTreeMap::new(),
            relations: BTreeMap::new(),
            schema_names: HashMap::new(),
            relation_names: HashMap::new(),
            index_names: HashMap::new(),
            references: BTreeSet::new(),
            comments: BTreeMap::new(),
            temporary: None,
        }
    }

    /// The same with a session's temporary relations.
    pub fn with_temporary(&self, schema: SchemaDef, relations: &[Relation]) -> Result<Self> {
        let mut all = self.clone();
        all.temporary = Some(schema.oid);
        all.put_schema(schema)?;
        for relation in relations {
            all.put_relation(relation.clone())?;
        }
        Ok(all)
    }

    /// OID of the schema of the session's temporary relations, if it has had any.
    pub fn temporary_schema(&self) -> Option<Oid> {
        self.temporary
    }

    /// What COMMENT ON said of an object.
    pub fn comment(&self, oid: Oid) -> Option<&str> {
        self.comments.get(&oid).map(String::as_str)
    }

    /// All comments on objects other than columns, by OID.
    pub fn comments(&self) -> impl Iterator<Item = (Oid, &str)> {
        let comments = self.comments.iter();
        comments.map(|(oid, comment)| (*oid, comment.as_str()))
    }

    /// The sequences that go with a table's columns.
    pub fn owned_sequences(&self, table: Oid) -> impl Iterator<Item = &Arc<SequenceDef>> {
        self.relations
            .values()
            .filter_map(move |relation| match relation {
                Relation::Sequence(def)
                    if def.owned_by.as_ref().is_some_and(|o| o.table == table) =>
                {
                    Some(def)
                }
                _ => None,
            })
    }

    /// Schemas that users made, and `public`, by OID.
    pub fn schemas(&self) -> impl Iterator<Item = &SchemaDef> {
        self.schemas.values()
    }

    /// Relations by OID.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    /// A schema by name.
    pub fn schema(&self, name: &str) -> Option<&SchemaDef> {
        if name == TEMPORARY_SCHEMA {
            return self.schemas.get(&self.temporary?);
        }
        self.schema_names
            .get(name)
            .and_then(|oid| self.schemas.get(oid))
    }

    /// A schema by OID.
    pub fn schema_by_oid(&self, oid: Oid) -> Option<&SchemaDef> {
        self.schemas.get(&oid)
    }

    /// A relation by schema and name.
    pub fn relation(&self, schema: Oid, name: &str) -> Option<&Relation> {
        let oid = self.relation_names.get(&(schema, name.to_string()))?;
        self.relations.get(oid)
    }

    /// A relation by OID.
    pub fn relation_by_oid(&self, oid: Oid) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    /// The table that an index of that name belongs to.
    pub fn table_of_index(&self, schema: Oid, name: &str) -> Option<&Arc<Table>> {
        let oid = self.index_names.get(&(schema, name.to_string()))?;
        match self.relations.get(oid) {
            Some(Relation::Table(table)) => Some(table),
            _ => None,
        }
    }

    /// Whether a relation or an index of that name exists.
    pub fn has_name(&self, schema: Oid, name: &str) -> bool {
        let name = (schema, name.to_string());
        self.relation_names.contains_key(&name) || self.index_names.contains_key(&name)
    }

    /// The views whose query names `oid`, materialized ones too.
    pub fn dependents(&self, oid: Oid) -> impl Iterator<Item = &ViewDef> {
        self.relations
            .values()
            .filter_map(move |relation| match relation {
                Relation::View(view) if view.depends_on.contains(&oid) => Some(view.as_ref()),
                Relation::Table(table) => {
                    let materialized = table.def.materialized.as_ref()?;
                    let view = &materialized.view;
                    view.depends_on.contains(&oid).then_some(view)
                }
                _ => None,
            })
    }

    /// The foreign keys that reference a table, each with the table that it is of.
    pub fn referencing(&self, oid: Oid) -> impl Iterator<Item = (&Arc<Table>, &ForeignKeyDef)> {
        let tables = self.references.range((oid, Oid::MIN)..=(oid, Oid::MAX));
        let tables = tables.filter_map(|(_, table)| match self.relations.get(table) {
            Some(Relation::Table(table)) => Some(table),
            _ => None,
        });
        tables.flat_map(move |table| {
            let keys = table.def.foreign_keys.iter();
            keys.filter(move |key| key.referenced == oid)
                .map(move |key| (table, key))
        })
    }

    pub(crate) fn put_comment(&mut self, oid: Oid, comment: Option<String>) {
        match comment {
            Some(comment) => self.comments.insert(oid, comment),
            None => self.comments.remove(&oid),
        };
    }

    pub(crate) fn put_schema(&mut self, schema: SchemaDef) -> Result<()> {
        if self.schema_names.contains_key(&schema.name) {
            return Err(CatalogError::new(
                ErrorKind::DuplicateSchema,
                format!("schema \"{}\" already exists", schema.name),
            ));
        }
        self.schema_names.insert(schema.name.clone(), schema.oid);
        self.schemas.insert(schema.oid, schema);
        Ok(())
    }

    pub(crate) fn remove_schema(&mut self, oid: Oid) {
        if let Some(schema) = self.schemas.remove(&oid) {
            self.schema_names.remove(&schema.name);
        }
    }

    /// Adds a relation, or replaces the one with the same OID.
    pub(crate) fn put_relation(&mut self, relation: Relation) -> Result<()> {
        let name = (relation.schema(), relation.name().to_string());
        if self
            .relation_names
            .get(&name)
            .is_some_and(|oid| *oid != relation.oid())
        {
            return Err(CatalogError::new(
                ErrorKind::DuplicateTable,
                format!("relation \"{}\" already exists", relation.name()),
            ));
        }
        self.remove_relation(relation.oid());
        self.relation_names.insert(name, relation.oid());
        if let Relation::Table(table) = &relation {
            for index in table.index_names() {
                let name = (relation.schema(), index.to_string());
                self.index_names.insert(name, relation.oid());
            }
            let of = |key: &ForeignKeyDef| (key.referenced, table.def.oid);
            self.references
                .extend(table.def.foreign_keys.iter().map(of));
        }
        self.relations.insert(relation.oid(), relation);
        Ok(())
    }

    pub(crate) fn remove_relation(&mut self, oid: Oid) {
        if let Some(old) = self.relations.remove(&oid) {
            self.relation_names
                .remove(&(old.schema(), old.name().to_string()));
            self.index_names.retain(|_, table| *table != oid);
            self.references.retain(|(_, table)| *table != oid);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table with the columns of a schema.
    pub(crate) fn table_of(schema: &Schema, key: Option<&[usize]>) -> Table {
        let columns = schema.fields().iter().map(|field| ColumnDef {
            not_null: !field.is_nullable(),
            ..ColumnDef::new(field.name(), SqlType::of_field(field))
        });
        Table::new(TableDef {
            oid: 1,
            schema: 2,
            name: "t".to_string(),
            owner: 10,
            storage: 1,
            columns: columns.collect(),
            primary_key: key.map(|key| PrimaryKeyDef {
                constraint_oid: 3,
                index_oid: 4,
                name: "t_pkey".to_string(),
                columns: key.to_vec(),
            }),
            closing: None,
            schedules: Schedules::default(),
            retention_s: None,
            history: None,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            on_commit: OnCommit::default(),
            materialized: None,
        })
        .unwrap()
    }
}
