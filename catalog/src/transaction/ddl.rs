//! Definitions that a transaction makes, changes and drops. They commit in the same batch as rows.

use std::sync::Arc;

use super::{NewIndex, Retired, Transaction};
use crate::catalog::{FORMAT_CONSTRAINED, FORMAT_REFERENCES, adopted_key};
use crate::definitions::{
    AdoptedLocation, COLUMNS_MAX, ClosingRule, ColumnDef, Definitions, ExternalFormat,
    ExternalTableDef, Oid, OnCommit, PrimaryKeyDef, Relation, RelationDef, Schedules, SchemaDef,
    Table, TableDef, ViewDef,
};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::IndexState;
use crate::manifest::Manifest;
use crate::materialized::MaterializedDef;
use crate::partitioning::{self, PartitionField};
use crate::restore_point::RestorePoint;
use crate::row_checks::CheckDef;
use crate::row_store::meta_key;
use crate::table_edit::check_storable;

/// What CREATE TABLE asks for.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// OID of the schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// Columns in order.
    pub columns: Vec<ColumnDef>,
    /// Name of the primary key constraint and positions of its columns.
    pub primary_key: Option<(String, Vec<usize>)>,
    /// SQL text of the closing rule.
    pub closed_when: Option<String>,
    /// How its closed files are divided.
    pub partition_by: Vec<PartitionField>,
    /// Directory of files that are its closed part from the start.
    pub closed_location: Option<String>,
    /// When its jobs run.
    pub schedules: Schedules,
    /// How long restore points are kept, in seconds.
    pub retention_s: Option<u64>,
    /// Indexes of its UNIQUE constraints.
    pub indexes: Vec<NewIndex>,
    /// Names and SQL texts of its CHECK constraints.
    pub checks: Vec<(String, String)>,
    /// What a commit does to it, if it is temporary.
    pub on_commit: OnCommit,
    /// Present if it is to be a materialized view.
    pub materialized: Option<NewMaterialized>,
}

/// What makes a new table a materialized view.
#[derive(Debug, Clone)]
pub struct NewMaterialized {
    /// SQL text of the query.
    pub query: String,
    /// OIDs of the relations that the query names.
    pub depends_on: Vec<Oid>,
    /// Whether it gets its rows now.
    pub populated: bool,
}

/// What CREATE VIEW asks for.
#[derive(Debug, Clone)]
pub struct NewView {
    /// OID of the schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// SQL text of the query.
    pub query: String,
    /// Output columns.
    pub columns: Vec<ColumnDef>,
    /// OIDs of the relations that the query names.
    pub depends_on: Vec<Oid>,
    /// Whether an existing view of that name is replaced.
    pub replace: bool,
}

impl Transaction {
    /// Makes a schema.
    pub fn create_schema(&mut self, name: &str, owner: Oid) -> Result<Oid> {
        let schema = SchemaDef {
            oid: self.view.catalog.counters.oid(),
            name: name.to_string(),
            owner,
        };
        let oid = schema.oid;
        let database = self.database_oid();
        let bytes = serde_json::to_vec(&schema)?;
        self.edit().put_schema(schema)?;
        self.put_meta(meta_key::schema(database, oid), Some(bytes));
        self.put_meta(
            meta_key::name(database, 0, name),
            Some(oid.to_be_bytes().to_vec()),
        );
        Ok(oid)
    }

    /// Drops a schema; what it holds too if `cascade`, else it has to be empty.
    pub fn drop_schema(&mut self, oid: Oid, cascade: bool) -> Result<()> {
        let definitions = Arc::clone(self.definitions());
        let Some(schema) = definitions.schema_by_oid(oid) else {
            return Ok(());
        };
        let held: Vec<_> = definitions
            .relations()
            .filter(|relation| relation.schema() == oid)
            .collect();
        if let Some(first) = held.first()
            && !cascade
        {
            return Err(CatalogError::new(
                ErrorKind::DependentObjects,
                format!(
                    "cannot drop schema {} because other objects depend on it",
                    schema.name
                ),
            )
            .with_detail(format!(
                "{} {} depends on schema {}",
                kind_word(first),
                first.name(),
                schema.name
            ))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        for relation in held {
            self.drop_relation(relation.oid(), true)?;
        }
        let database = self.database_oid();
        self.edit().remove_schema(oid);
        self.put_meta(meta_key::schema(database, oid), None);
        self.put_meta(meta_key::name(database, 0, &schema.name), None);
        Ok(())
    }

    /// Makes a table, and the closed table of a hybrid one.
    pub async fn create_table(&mut self, new: NewTable) -> Result<Arc<Table>> {
        check_columns(&new.columns)?;
        let counters = Arc::clone(&self.view.catalog.counters);
        let oid = counters.oid();
        let storage = counters.storage();
        let mut columns = new.columns;
        let primary_key = match new.primary_key {
            None => None,
            Some((name, positions)) => {
                for at in &positions {
                    if let Some(column) = columns.get_mut(*at) {
                        column.not_null = true;
                    }
                }
                Some(PrimaryKeyDef {
                    constraint_oid: counters.oid(),
                    index_oid: counters.oid(),
                    name,
                    columns: positions,
                })
            }
        };
        let adopted = match &new.closed_location {
            Some(location) => Some(AdoptedLocation {
                location: self.view.catalog.adoptable(location)?.to_string(),
                partition_columns: Vec::new(),
                writer: Some(uuid::Uuid::new_v4().to_string()),
            }),
            None => None,
        };
        let closing = match new.closed_when {
            None => None,
            Some(closed_when) => {
                check_closing(&columns, primary_key.as_ref())?;
                partitioning::check(&new.partition_by, &columns)?;
                Some(ClosingRule {
                    closed_when,
                    folder: match adopted {
                        Some(_) => String::new(),
                        None => folder_name(&new.name, storage),
                    },
                    adopted,
                    partition_by: new.partition_by,
                })
            }
        };
        let mut def = TableDef {
            oid,
            schema: new.schema,
            name: new.name,
            owner: new.owner,
            storage,
            columns,
            primary_key,
            closing,
            schedules: new.schedules,
            retention_s: new.retention_s,
            history: None,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            on_commit: new.on_commit,
            materialized: None,
        };
        if let Some(materialized) = new.materialized {
            for dependency in &materialized.depends_on {
                self.rely_on_relation(*dependency);
            }
            def.materialized = Some(Box::new(MaterializedDef {
                view: ViewDef {
                    oid,
                    schema: def.schema,
                    name: def.name.clone(),
                    owner: def.owner,
                    query: materialized.query,
                    columns: def.columns.clone(),
                    depends_on: materialized.depends_on,
                },
                populated: materialized.populated,
            }));
        }
        for (name, condition) in new.checks {
            let oid = counters.oid();
            def.checks.push(CheckDef {
                oid,
                name,
                condition,
            });
        }
        def.checks.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(key) = def.primary_key.take() {
            self.claim_index_name(&def, &key.name)?;
            def.primary_key = Some(key);
        }
        for index in new.indexes {
            self.add_index(&mut def, index, IndexState::Ready)?;
        }
        let table = Arc::new(Table::new(def)?);
        // The name is checked before anything is made on disk.
        self.put_relation(Relation::Table(Arc::clone(&table)), true)?;
        match adopted_key(&table) {
            Some(key) => self.adopt(table, key).await,
            None => {
                self.make_closed_part(&table).await?;
                Ok(table)
            }
        }
    }

    /// Makes or replaces a view.
    pub fn create_view(&mut self, new: NewView) -> Result<()> {
        check_columns(&new.columns)?;
        let existing = self.definitions().relation(new.schema, &new.name).cloned();
        let oid = match existing {
            Some(Relation::View(old)) if new.replace => {
                let prefix = new.columns.get(..old.columns.len());
                let same = prefix.is_some_and(|prefix| {
                    prefix
                        .iter()
                        .zip(&old.columns)
                        .all(|(a, b)| a.name == b.name && a.ty == b.ty)
                });
                if !same {
                    return Err(CatalogError::new(
                        ErrorKind::InvalidDefinition,
                        "cannot drop or change columns of a view by replacing it",
                    ));
                }
                old.oid
            }
            Some(other) if new.replace => {
                return Err(CatalogError::new(
                    ErrorKind::WrongObjectType,
                    format!("\"{}\" is not a view", other.name()),
                ));
            }
            _ => self.view.catalog.counters.oid(),
        };
        for dependency in &new.depends_on {
            self.rely_on_relation(*dependency);
        }
        let view = ViewDef {
            oid,
            schema: new.schema,
            name: new.name,
            owner: new.owner,
            query: new.query,
            columns: new.columns,
            depends_on: new.depends_on,
        };
        self.put_relation(Relation::View(Arc::new(view)), true)
    }

    /// Makes a read-only table over files.
    pub fn create_external_table(
        &mut self,
        schema: Oid,
        name: &str,
        owner: Oid,
        format: ExternalFormat,
        location: &str,
        columns: Vec<ColumnDef>,
    ) -> Result<()> {
        check_columns(&columns)?;
        let def = ExternalTableDef {
            oid: self.view.catalog.counters.oid(),
            schema,
            name: name.to_string(),
            owner,
            format,
            location: location.to_string(),
            columns,
        };
        self.put_relation(Relation::External(Arc::new(def)), true)
    }

    /// Drops a relation; the views that name it too if `cascade`, else there may be none.
    pub fn drop_relation(&mut self, oid: Oid, cascade: bool) -> Result<()> {
        let definitions = Arc::clone(self.definitions());
        // A view that an earlier step of the same cascade has dropped.
        let Some(relation) = definitions.relation_by_oid(oid) else {
            return Ok(());
        };
        let dependents: Vec<_> = definitions.dependents(oid).collect();
        if let Some(view) = dependents.first()
            && !cascade
        {
            let kind = kind_word(relation);
            let name = relation.name();
            return Err(CatalogError::new(
                ErrorKind::DependentObjects,
                format!("cannot drop {kind} {name} because other objects depend on it"),
            )
            .with_detail(format!(
                "{} {} depends on {kind} {name}",
                definitions
                    .relation_by_oid(view.oid)
                    .map_or("view", kind_word),
                view.name
            ))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        // Before what depends on it, which it may depend on itself.
        self.edit().remove_relation(oid);
        for view in dependents {
            self.drop_relation(view.oid, true)?;
        }
        self.drop_references(relation, cascade)?;
        if let Relation::Sequence(def) = relation {
            self.free_sequence(def, cascade)?;
        }
        let database = self.database_oid();
        if Some(relation.schema()) == definitions.temporary_schema() {
            self.changes.temporary = true;
        } else {
            self.put_meta(meta_key::relation(database, oid), None);
            self.put_name(relation.schema(), relation.name(), None);
        }
        if let Relation::Table(table) = relation {
            for index in table.index_names() {
                self.put_name(relation.schema(), index, None);
            }
            self.retire(table)?;
        }
        for object in objects_of(relation) {
            self.forget_comment(object);
        }
        match relation {
            Relation::Sequence(def) => self.retire_storage(def.storage),
            _ => {
                for def in definitions.owned_sequences(oid) {
                    self.drop_relation(def.oid, cascade)?;
                }
            }
        }
        Ok(())
    }

    /// An identifier for an object that is about to be made.
    pub fn new_oid(&self) -> Oid {
        self.view.catalog.counters.oid()
    }

    /// Says what an object other than a column is, or no longer says it.
    pub fn comment_on(&mut self, oid: Oid, comment: Option<String>) {
        let database = self.database_oid();
        let bytes = comment.as_ref().map(|text| text.clone().into_bytes());
        self.edit().put_comment(oid, comment);
        self.put_meta(meta_key::comment(database, oid), bytes);
    }

    pub(super) fn forget_comment(&mut self, oid: Oid) {
        if self.definitions().comment(oid).is_some() {
            self.comment_on(oid, None);
        }
    }

    /// Says what a column of a relation is, or no longer says it.
    pub fn comment_on_column(
        &mut self,
        relation: &Relation,
        column: &str,
        comment: Option<String>,
    ) -> Result<()> {
        let mut def = relation.def();
        let columns = match &mut def {
            RelationDef::Table(def) => &mut def.columns,
            RelationDef::View(def) => &mut def.columns,
            RelationDef::External(def) => &mut def.columns,
            RelationDef::Sequence(_) => return Ok(()),
        };
        for found in columns.iter_mut().filter(|found| found.name == column) {
            found.comment.clone_from(&comment);
        }
        self.put_relation(Relation::new(def)?, false)
    }

    /// Empties a table: it gets a new storage, and the old one is removed once nobody reads it.
    pub async fn truncate(&mut self, table: &Table) -> Result<()> {
        let storage = self.view.catalog.counters.storage();
        let mut def = table.def.clone();
        def.storage = storage;
        def.history = None;
        for index in &mut def.indexes {
            index.storage = self.view.catalog.counters.storage();
        }
        if let Some(closing) = &mut def.closing {
            closing.folder = folder_name(&def.name, storage);
            // Files that were adopted stay as they are, and have no part in the table any more.
            closing.adopted = None;
        }
        let emptied = Arc::new(Table::new(def)?);
        self.retire(table)?;
        self.put_relation(Relation::Table(Arc::clone(&emptied)), false)?;
        self.make_closed_part(&emptied).await
    }

    /// Empties a materialized view, for rows that are as of now if it is `populated` by them.
    pub async fn refresh(&mut self, table: &Table, populated: bool) -> Result<Arc<Table>> {
        self.truncate(table).await?;
        let Some(Relation::Table(emptied)) = self.definitions().relation_by_oid(table.def.oid)
        else {
            return Err(CatalogError::internal("a materialized view is gone"));
        };
        let mut def = emptied.def.clone();
        if let Some(materialized) = &mut def.materialized {
            materialized.populated = populated;
        }
        self.redefine(def)
    }

    async fn make_closed_part(&mut self, table: &Table) -> Result<()> {
        if !table.is_hybrid() {
            return Ok(());
        }
        let closed_version = self.view.catalog.create_closed_table(table).await?;
        self.put_manifest(table, closed_version)
    }

    pub(super) fn put_manifest(&mut self, table: &Table, closed_version: u64) -> Result<()> {
        let manifest = Manifest {
            closed_version,
            csn: self.view.csn,
        };
        let storage = table.def.storage;
        Arc::make_mut(&mut self.view.manifests).insert(storage, manifest);
        let bytes = serde_json::to_vec(&manifest)?;
        self.put_meta(meta_key::manifest(storage), Some(bytes));
        Ok(())
    }

    pub(super) fn retire(&mut self, table: &Table) -> Result<()> {
        let storage = table.def.storage;
        self.view.writes.forget(storage);
        self.view.snapshot.unload(storage);
        let indexes = table.indexes.iter().map(|index| Retired {
            storage: index.def.storage,
            closed_folder: None,
        });
        self.changes.retired.extend(indexes);
        if Some(table.def.schema) == self.definitions().temporary_schema() {
            self.retire_storage(storage);
            return Ok(());
        }
        if table.is_hybrid() {
            Arc::make_mut(&mut self.view.manifests).remove(&storage);
            self.put_meta(meta_key::manifest(storage), None);
            self.put_meta(meta_key::generation(storage), None);
        }
        self.put_meta(meta_key::snapshot(storage), None);
        for point in RestorePoint::load_all(&self.view.snapshot, storage)? {
            self.put_meta(point.meta_key(storage), None);
        }
        if let Some(key) = adopted_key(table) {
            self.put_meta(key, None);
        }
        let closed_folder = crate::catalog::closed_folder(table);
        self.changes.retired.push(Retired {
            storage,
            closed_folder,
        });
        Ok(())
    }

    pub(super) fn put_relation(&mut self, relation: Relation, new_name: bool) -> Result<()> {
        let database = self.database_oid();
        let (oid, schema) = (relation.oid(), relation.schema());
        let name = relation.name().to_string();
        if new_name && self.definitions().table_of_index(schema, &name).is_some() {
            return Err(CatalogError::new(
                ErrorKind::DuplicateTable,
                format!("relation \"{name}\" already exists"),
            ));
        }
        let bytes = serde_json::to_vec(&relation.def())?;
        if Some(schema) == self.definitions().temporary_schema() {
            // Nobody else sees it, and no start finds it.
            self.changes.temporary = true;
            return self.edit().put_relation(relation);
        }
        match &relation {
            Relation::Table(table)
                if !table.def.foreign_keys.is_empty() || table.def.materialized.is_some() =>
            {
                self.need_format(FORMAT_REFERENCES)?;
            }
            _ if is_constrained(&relation) => self.need_format(FORMAT_CONSTRAINED)?,
            _ => {}
        }
        self.edit().put_relation(relation)?;
        self.changes
            .relies_on
            .insert(meta_key::schema(database, schema));
        self.put_meta(meta_key::relation(database, oid), Some(bytes));
        if new_name {
            self.put_name(schema, &name, Some(oid));
        }
        Ok(())
    }

    /// Keeps servers that do not know of what is stored now from opening the directory.
    pub(super) fn need_format(&mut self, needed: u64) -> Result<()> {
        let key = meta_key::FORMAT;
        let asked = self.changes.meta.iter().filter(|(known, _)| known == key);
        let asked = asked.filter_map(|(_, value)| value.as_deref()?.try_into().ok());
        let asked = asked.map(u64::from_be_bytes).max().unwrap_or_default();
        if self.view.snapshot.meta_number(key)?.max(asked) < needed {
            let format = needed.to_be_bytes().to_vec();
            self.put_meta(key.to_string(), Some(format));
        }
        Ok(())
    }

    /// Gives a name to a relation, or to an index of one, or frees it; two that do so at the same time conflict.
    pub(super) fn put_name(&mut self, schema: Oid, name: &str, oid: Option<Oid>) {
        if Some(schema) == self.definitions().temporary_schema() {
            return;
        }
        let key = meta_key::name(self.database_oid(), schema, name);
        self.put_meta(key, oid.map(|oid| oid.to_be_bytes().to_vec()));
    }

    /// The commit fails if the relation is dropped or changed by another transaction until then.
    pub(crate) fn rely_on_relation(&mut self, oid: Oid) {
        let key = meta_key::relation(self.database_oid(), oid);
        self.changes.relies_on.insert(key);
    }

    pub(super) fn database_oid(&self) -> Oid {
        self.view.definitions.database.oid
    }

    fn edit(&mut self) -> &mut Definitions {
        Arc::make_mut(&mut self.view.definitions)
    }

    pub(super) fn put_meta(&mut self, key: String, value: Option<Vec<u8>>) {
        self.changes.meta.push((key, value));
    }
}

fn kind_word(relation: &Relation) -> &'static str {
    match relation {
        Relation::Table(table) if table.def.materialized.is_some() => "materialized view",
        Relation::Table(_) => "table",
        Relation::View(_) => "view",
        Relation::External(_) => "foreign table",
        Relation::Sequence(_) => "sequence",
    }
}

fn is_constrained(relation: &Relation) -> bool {
    match relation {
        Relation::Sequence(_) => true,
        Relation::Table(table) => !table.def.checks.is_empty(),
        Relation::View(_) | Relation::External(_) => false,
    }
}

/// What goes with a relation and can have a comment of its own, the relation included.
fn objects_of(relation: &Relation) -> Vec<Oid> {
    let mut oids = vec![relation.oid()];
    if let Relation::Table(table) = relation {
        let def = &table.def;
        if let Some(key) = &def.primary_key {
            oids.extend([key.index_oid, key.constraint_oid]);
        }
        for index in &def.indexes {
            oids.push(index.oid);
            oids.extend(index.constraint_oid);
        }
        oids.extend(def.checks.iter().map(|check| check.oid));
        oids.extend(def.foreign_keys.iter().map(|key| key.oid));
    }
    oids
}

fn folder_name(name: &str, storage: u64) -> String {
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!("{safe}-{storage}")
}

fn check_columns(columns: &[ColumnDef]) -> Result<()> {
    if columns.len() > COLUMNS_MAX {
        return Err(CatalogError::new(
            ErrorKind::LimitExceeded,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        ));
    }
    Ok(())
}

fn check_closing(columns: &[ColumnDef], primary_key: Option<&PrimaryKeyDef>) -> Result<()> {
    if primary_key.is_none() {
        return Err(CatalogError::new(
            ErrorKind::InvalidDefinition,
            "a table with closed_when must have a primary key",
        )
        .with_hint("Rows move from the row store to the closed table by their key."));
    }
    columns
        .iter()
        .try_for_each(|column| check_storable(&column.name, &column.ty))
}
