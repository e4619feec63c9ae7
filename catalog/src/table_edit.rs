//! A table's definition while ALTER TABLE changes it.
//!
//! Each method is one action, on the definition as the actions before have left it. Names are not looked up and views and
//! expressions not looked into here; what the stored rows and files cannot follow is refused.

use datafusion::common::ScalarValue;

use crate::column_history::ColumnHistory;
use crate::definitions::{COLUMNS_MAX, ColumnDef, Identity, Oid, Schedules, TableDef};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::foreign_key::can_reference;
use crate::index::IndexDef;
use crate::partitioning::{self, PartitionField, Transform};
use crate::row_checks::CheckDef;
use crate::types::SqlType;
use crate::widening::widens;

fn has_column(index: &IndexDef, at: usize) -> bool {
    index.columns.iter().any(|column| column.position == at)
}

/// A definition that is being changed.
#[derive(Debug, Clone)]
pub struct TableEdit {
    def: TableDef,
    history: ColumnHistory,
    /// Columns that have become NOT NULL, and may be NULL in rows that exist.
    perhaps_null: Vec<String>,
    /// Columns that were renamed: their old names and their new ones.
    renamed: Vec<(String, String)>,
}

impl TableEdit {
    /// Begins with a table's definition.
    pub fn new(def: &TableDef) -> Self {
        let history = match &def.history {
            Some(history) => history.clone(),
            None => ColumnHistory::first(def),
        };
        Self {
            def: def.clone(),
            history,
            perhaps_null: Vec::new(),
            renamed: Vec::new(),
        }
    }

    /// Whether anything differs from the definition that it began with.
    pub fn differs_from(&self, def: &TableDef) -> bool {
        let before = Self::new(def);
        self.def != before.def || self.history != before.history
    }

    /// Columns that are NOT NULL by this change, for which the rows that exist have to be looked at.
    pub fn perhaps_null(&self) -> &[String] {
        &self.perhaps_null
    }

    /// Columns that were renamed: their old names and their new ones.
    pub(crate) fn renamed_columns(&self) -> &[(String, String)] {
        &self.renamed
    }

    /// The definition so far.
    pub fn def(&self) -> &TableDef {
        &self.def
    }

    /// Adds a column behind the others. Rows that exist have `missing` in it, a value of the column's Arrow type.
    pub fn add_column(&mut self, column: ColumnDef, missing: &ScalarValue) -> Result<()> {
        if self.def.columns.len() >= COLUMNS_MAX {
            return Err(CatalogError::new(
                ErrorKind::LimitExceeded,
                format!("tables can have at most {COLUMNS_MAX} columns"),
            ));
        }
        if self.def.closing.is_some() {
            check_storable(&column.name, &column.ty)?;
        }
        self.history.add(&column, missing)?;
        if column.not_null && missing.is_null() {
            self.perhaps_null.push(column.name.clone());
        }
        self.def.columns.push(column);
        Ok(())
    }

    /// Drops the column at a position.
    pub fn drop_column(&mut self, at: usize) -> Result<()> {
        let Some(column) = self.def.columns.get(at) else {
            return Err(no_column());
        };
        let refused = |why: &str| {
            let (column, table) = (&column.name, &self.def.name);
            Err(CatalogError::new(
                ErrorKind::Unsupported,
                format!("cannot drop column \"{column}\" of table \"{table}\" because {why}"),
            ))
        };
        if self.in_key(at) {
            return refused("it is in the primary key");
        }
        if self.def.columns.len() == 1 {
            return refused("the table has no other");
        }
        if self.divides_by(at) {
            let (column, table) = (&column.name, &self.def.name);
            return Err(CatalogError::new(
                ErrorKind::DependentObjects,
                format!(
                    "cannot drop column {column} of table {table} because other objects depend on it"
                ),
            )
            .with_detail(format!(
                "closed_partition_by depends on column {column} of table {table}"
            ))
            .with_hint(
                "Change closed_partition_by with ALTER TABLE ... SET (closed_partition_by = ...) first.",
            ));
        }
        self.def.columns.remove(at);
        self.history.remove(at);
        if let Some(key) = &mut self.def.primary_key {
            for position in key.columns.iter_mut().filter(|position| **position > at) {
                *position -= 1;
            }
        }
        // As in PostgreSQL a constraint goes with any of its columns.
        let foreign_keys = &mut self.def.foreign_keys;
        foreign_keys.retain(|key| !key.columns.contains(&at));
        for position in foreign_keys.iter_mut().flat_map(|key| &mut key.columns) {
            if *position > at {
                *position -= 1;
            }
        }
        for adopted in self
            .def
            .closing
            .iter_mut()
            .filter_map(|c| c.adopted.as_mut())
        {
            let behind = adopted.partition_columns.iter_mut();
            for column in behind.filter(|column| **column > at) {
                *column -= 1;
            }
        }
        let fields = self.def.closing.iter_mut();
        for field in fields.flat_map(|closing| &mut closing.partition_by) {
            if field.column > at {
                field.column -= 1;
            }
        }
        // As in PostgreSQL an index goes with any of its columns.
        self.def.indexes.retain(|index| !has_column(index, at));
        for index in &mut self.def.indexes {
            let behind = index
                .columns
                .iter_mut()
                .filter(|column| column.position > at);
            for column in behind {
                column.position -= 1;
            }
        }
        Ok(())
    }

    /// Renames the column at a position.
    pub fn rename_column(&mut self, at: usize, name: String) -> Result<()> {
        let column = self.column_mut(at)?;
        let old = std::mem::replace(&mut column.name, name.clone());
        self.renamed.push((old, name));
        Ok(())
    }

    /// Gives the column at a position a type that has every value of its type.
    pub fn set_type(&mut self, at: usize, ty: SqlType) -> Result<()> {
        let in_key = self.in_key(at);
        let adopted = self.def.closing.as_ref().and_then(|c| c.adopted.as_ref());
        let of_delta = adopted.is_some_and(|adopted| adopted.partition_columns.contains(&at));
        let mut indexes = self.def.indexes.iter();
        let index = indexes.find(|index| has_column(index, at));
        let index = index.map(|index| index.name.clone());
        let mut foreign_keys = self.def.foreign_keys.iter();
        let referencing = foreign_keys.find(|key| key.columns.contains(&at));
        let referencing = referencing.map(|key| retyped_key(&self.def, at, &key.name));
        let column = self.column_mut(at)?;
        let from = column.ty.clone();
        let same_bytes = from.arrow_type() == ty.arrow_type();
        if !widens(&from, &ty) || (in_key && !same_bytes) {
            let name = &column.name;
            let why = match in_key {
                true => " because it is in the primary key",
                false => " without rewriting the table",
            };
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                format!("type of column \"{name}\" cannot be changed from {from} to {ty}{why}"),
            )
            .with_hint(
                "Add a column of the new type, fill it with UPDATE, drop the old one and rename the new one.",
            ));
        }
        if let Some(refused) = referencing
            && !can_reference(&from, &ty)
        {
            return Err(refused);
        }
        if let Some(index) = index
            && !same_bytes
        {
            let name = &column.name;
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                format!(
                    "type of column \"{name}\" cannot be changed because it is in index \"{index}\""
                ),
            )
            .with_hint("Drop the index and create it again behind the change."));
        }
        if !same_bytes && of_delta {
            let name = &column.name;
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                format!(
                    "type of column \"{name}\" cannot be changed because the Delta table in closed_location is partitioned by it"
                ),
            ));
        }
        column.ty = ty;
        let column = column.clone();
        if let Some(closing) = &self.def.closing {
            partitioning::check(&closing.partition_by, &self.def.columns)?;
        }
        self.history.widen(at, &from, &column)
    }

    /// Makes the column at a position NOT NULL, which the caller checks, or nullable.
    pub fn set_not_null(&mut self, at: usize, not_null: bool) -> Result<()> {
        let in_key = self.in_key(at);
        let column = self.column_mut(at)?;
        if in_key && !not_null {
            return Err(CatalogError::new(
                ErrorKind::InvalidDefinition,
                format!("column \"{}\" is in a primary key", column.name),
            ));
        }
        let becomes = not_null && !column.not_null;
        column.not_null = not_null;
        if becomes {
            let name = column.name.clone();
            self.perhaps_null.push(name);
            self.history.set_not_null(at);
        }
        Ok(())
    }

    /// Sets or drops the default, an SQL text, of the column at a position. Rows that exist stay as they are.
    pub fn set_default(&mut self, at: usize, default: Option<String>) -> Result<()> {
        self.column_mut(at)?.default = default;
        Ok(())
    }

    /// Makes the column at a position an identity column, or one like others.
    pub fn set_identity(&mut self, at: usize, identity: Option<Identity>) -> Result<()> {
        self.column_mut(at)?.identity = identity;
        Ok(())
    }

    /// Adds a CHECK constraint, which the caller has looked at the rows for, or will.
    pub fn add_check(&mut self, check: CheckDef) {
        self.def.checks.push(check);
        self.def.checks.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Gives the condition of a CHECK constraint another text.
    pub fn set_check_condition(&mut self, oid: Oid, condition: String) {
        let checks = self.def.checks.iter_mut();
        for check in checks.filter(|check| check.oid == oid) {
            check.condition.clone_from(&condition);
        }
    }

    /// Drops an index, and the UNIQUE constraint that it may belong to.
    pub fn drop_index(&mut self, oid: Oid) {
        self.def.indexes.retain(|index| index.oid != oid);
    }

    /// Drops a CHECK constraint.
    pub fn drop_check(&mut self, oid: Oid) {
        self.def.checks.retain(|check| check.oid != oid);
    }

    /// Drops the FOREIGN KEY constraints that reference a key of the table itself which it no longer has.
    pub fn drop_lost_self_references(&mut self, key_goes: bool) {
        let def = &mut self.def;
        let primary = def.primary_key.as_ref().filter(|_| !key_goes);
        let primary = primary.map(|key| key.index_oid);
        let kept: Vec<Oid> = def.indexes.iter().map(|index| index.oid).collect();
        let oid = def.oid;
        def.foreign_keys.retain(|key| {
            key.referenced != oid || Some(key.index) == primary || kept.contains(&key.index)
        });
    }

    /// Drops a FOREIGN KEY constraint.
    pub fn drop_foreign_key(&mut self, oid: Oid) {
        self.def.foreign_keys.retain(|key| key.oid != oid);
    }

    /// Sets when the table's jobs run.
    pub fn set_schedules(&mut self, schedules: Schedules) {
        self.def.schedules = schedules;
    }

    /// Sets how long restore points are kept, in seconds.
    pub fn set_retention_s(&mut self, retention_s: Option<u64>) {
        self.def.retention_s = retention_s;
    }

    /// Sets how closed files are divided that are written from now on. Files that exist stay as they are until they are
    /// rewritten.
    pub fn set_partition_by(&mut self, partition_by: Vec<PartitionField>) -> Result<()> {
        partitioning::check(&partition_by, &self.def.columns)?;
        let Some(closing) = &mut self.def.closing else {
            return Ok(());
        };
        let of_delta = closing.adopted.iter().flat_map(|a| &a.partition_columns);
        for column in of_delta {
            let field = PartitionField {
                column: *column,
                transform: Transform::Identity,
            };
            if !partition_by.contains(&field) {
                let name = self.def.columns.get(*column).map(|column| &column.name);
                let name = name.map_or("", String::as_str);
                return Err(CatalogError::new(
                    ErrorKind::InvalidDefinition,
                    format!("closed_partition_by must have column \"{name}\""),
                )
                .with_detail("The Delta table in closed_location is partitioned by it."));
            }
        }
        closing.partition_by = partition_by;
        Ok(())
    }

    /// Changes the closing rule of a hybrid table. Rows that are closed stay closed.
    pub fn set_closed_when(&mut self, closed_when: String) -> Result<()> {
        match &mut self.def.closing {
            Some(closing) => closing.closed_when = closed_when,
            None => {
                return Err(CatalogError::new(
                    ErrorKind::Unsupported,
                    "closed_when cannot be given to a table that was created without it",
                )
                .with_hint("Create a table with closed_when and copy the rows."));
            }
        }
        Ok(())
    }

    /// Gives the table another name.
    pub fn rename(&mut self, name: String) {
        if let Some(materialized) = &mut self.def.materialized {
            materialized.view.name.clone_from(&name);
        }
        self.def.name = name;
    }

    /// The definition with all changes.
    pub(crate) fn finish(mut self) -> Result<TableDef> {
        self.history.settle(&self.def)?;
        self.def.history = Some(self.history);
        Ok(self.def)
    }

    fn column_mut(&mut self, at: usize) -> Result<&mut ColumnDef> {
        self.def.columns.get_mut(at).ok_or_else(no_column)
    }

    fn divides_by(&self, at: usize) -> bool {
        let mut fields = self.def.closing.iter().flat_map(|c| &c.partition_by);
        fields.any(|field| field.column == at)
    }

    fn in_key(&self, at: usize) -> bool {
        let key = self.def.primary_key.as_ref();
        key.is_some_and(|key| key.columns.contains(&at))
    }
}

/// The refusal of another type for a column of a foreign key, or of the key that it references.
pub(crate) fn retyped_key(table: &TableDef, at: usize, key: &str) -> CatalogError {
    let column = table.columns.get(at).map_or("", |column| &column.name);
    CatalogError::new(
        ErrorKind::Unsupported,
        format!("type of column \"{column}\" cannot be changed because of foreign key \"{key}\""),
    )
    .with_hint("Drop the constraint and add it again behind the change.")
}

fn no_column() -> CatalogError {
    CatalogError::internal("column outside the table")
}

/// Refuses a column that a closed table cannot hold.
pub(crate) fn check_storable(name: &str, ty: &SqlType) -> Result<()> {
    if ty.storable_in_delta() {
        return Ok(());
    }
    Err(CatalogError::new(
        ErrorKind::Unsupported,
        format!("column \"{name}\" of type {ty} cannot be stored in a closed table"),
    ))
}
