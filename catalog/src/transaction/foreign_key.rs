//! FOREIGN KEY constraints that a transaction makes and drops, and what they keep from being dropped.

use std::sync::Arc;

use super::{Rewritten, Transaction};
use crate::definitions::{Oid, Relation, Table, TableDef};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::foreign_key::{ForeignKeyDef, KeyOf};
use crate::table_edit::retyped_key;

impl Transaction {
    /// Adds a constraint to a table. The caller looks at the rows that exist; the commit fails if others write to one of the two
    /// tables meanwhile.
    pub fn add_foreign_key(&mut self, table: &Table, new: ForeignKeyDef) -> Result<Arc<Table>> {
        let mut def = table.def.clone();
        let referenced = new.referenced;
        def.foreign_keys.push(new);
        def.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
        let changed = self.redefine(def)?;
        self.rely_on_rows(&changed);
        if referenced != table.def.oid
            && let Some(Relation::Table(other)) = self.definitions().relation_by_oid(referenced)
        {
            let other = Arc::clone(other);
            self.rely_on_rows(&other);
            // Its writers do not know of the constraint yet: this makes them conflict.
            self.put_relation(Relation::Table(other), false)?;
        }
        Ok(changed)
    }

    /// Drops the constraints by which tables that are about to be dropped reference each other.
    pub fn drop_foreign_keys_among(&mut self, tables: &[Oid]) -> Result<()> {
        for oid in tables {
            let among = |key: &ForeignKeyDef| tables.contains(&key.referenced);
            self.drop_foreign_keys(*oid, among)?;
        }
        Ok(())
    }

    /// Drops the constraints of other tables that reference a relation which is dropped; refuses to without `cascade`.
    pub(super) fn drop_references(&mut self, relation: &Relation, cascade: bool) -> Result<()> {
        let oid = relation.oid();
        let referencing = self.definitions().referencing(oid);
        let others = referencing.filter(|(table, _)| table.def.oid != oid);
        let others: Vec<_> = others
            .map(|(table, key)| (table.def.oid, key.oid))
            .collect();
        for (table, key) in others {
            if !cascade {
                let name = format!("table {}", relation.name());
                return Err(self.still_referenced(&name, &name, table, key));
            }
            self.drop_foreign_keys(table, |known| known.oid == key)?;
        }
        Ok(())
    }

    fn drop_foreign_keys(
        &mut self,
        table: Oid,
        which: impl Fn(&ForeignKeyDef) -> bool,
    ) -> Result<()> {
        let Some(Relation::Table(table)) = self.definitions().relation_by_oid(table) else {
            return Ok(());
        };
        let mut def = table.def.clone();
        let gone: Vec<_> = def.foreign_keys.extract_if(.., |key| which(key)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        for key in gone {
            self.forget_comment(key.oid);
        }
        self.redefine(def).map(drop)
    }

    /// Drops the constraints of other tables that reference a key which a table's definition is about to lose.
    pub fn drop_lost_references(&mut self, def: &TableDef) -> Result<()> {
        let referencing = self.definitions().referencing(def.oid);
        let others = referencing.filter(|(table, _)| table.def.oid != def.oid);
        let lost = others.filter(|(_, key)| !has_key(def, key.index));
        let lost: Vec<_> = lost.map(|(table, key)| (table.def.oid, key.oid)).collect();
        for (table, key) in lost {
            self.drop_foreign_keys(table, |known| known.oid == key)?;
        }
        Ok(())
    }

    /// 2BP01 if a definition that a table is to get has no longer a key that others reference.
    pub(super) fn check_referenced_keys(&self, def: &TableDef) -> Result<()> {
        for (table, key) in self.definitions().referencing(def.oid) {
            let own = def.foreign_keys.iter().any(|kept| kept.oid == key.oid);
            if table.def.oid == def.oid && !own {
                continue;
            }
            if !has_key(def, key.index) {
                return Err(self.key_in_use(def.oid, table.def.oid, key));
            }
        }
        Ok(())
    }

    /// The keys of a table go to new key spaces: who references one in the old spaces has to see that first.
    pub(super) fn leave_key_spaces(&mut self, old: &Table) {
        let referencing = self.definitions().referencing(old.def.oid);
        let keys = referencing.filter_map(|(_, key)| KeyOf::of(old, key.index));
        let spaces: Vec<_> = keys.map(|key| key.space()).collect();
        for space in spaces {
            self.changes.references.marks.take_all_away(space);
        }
    }

    /// A key that others reference stays as it is when a table is written anew.
    pub(super) fn check_rewritable(&self, old: &Table, change: &Rewritten) -> Result<()> {
        for (table, key) in self.definitions().referencing(old.def.oid) {
            let Some(of) = KeyOf::of(old, key.index) else {
                continue;
            };
            if change.key.is_some() && matches!(of, KeyOf::Primary(_)) {
                return Err(self.key_in_use(old.def.oid, table.def.oid, key));
            }
            let retyped = |(at, _): &&(usize, _)| of.positions().contains(at);
            if let Some((at, _)) = change.types.iter().find(retyped) {
                return Err(retyped_key(&old.def, *at, &key.name));
            }
        }
        for key in &old.def.foreign_keys {
            let retyped = |(at, _): &&(usize, _)| key.columns.contains(at);
            if let Some((at, _)) = change.types.iter().find(retyped) {
                return Err(retyped_key(&old.def, *at, &key.name));
            }
        }
        Ok(())
    }

    fn key_in_use(&self, referenced: Oid, table: Oid, key: &ForeignKeyDef) -> CatalogError {
        let Some(Relation::Table(of)) = self.definitions().relation_by_oid(referenced) else {
            return CatalogError::internal("a referenced table is not there");
        };
        let primary = of.def.primary_key.as_ref();
        let primary = primary.filter(|primary| primary.index_oid == key.index);
        let mut indexes = of.def.indexes.iter();
        let index = indexes.find(|index| index.oid == key.index);
        let name = match (primary, index) {
            (Some(primary), _) => &primary.name,
            (None, Some(index)) => &index.name,
            (None, None) => &of.def.name,
        };
        let is_constraint =
            primary.is_some() || index.is_some_and(|index| index.constraint_oid.is_some());
        let what = match is_constraint {
            true => format!("constraint {name} on table {}", of.def.name),
            false => format!("index {name}"),
        };
        self.still_referenced(&what, &format!("index {name}"), table, key.oid)
    }

    /// 2BP01 for something that a constraint depends on.
    fn still_referenced(&self, what: &str, on: &str, table: Oid, key: Oid) -> CatalogError {
        let (mut name, mut of) = ("", "");
        if let Some(Relation::Table(table)) = self.definitions().relation_by_oid(table) {
            of = &table.def.name;
            let mut keys = table.def.foreign_keys.iter();
            name = keys.find(|known| known.oid == key).map_or("", |k| &k.name);
        }
        CatalogError::new(
            ErrorKind::DependentObjects,
            format!("cannot drop {what} because other objects depend on it"),
        )
        .with_detail(format!("constraint {name} on table {of} depends on {on}"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
    }
}

fn has_key(def: &TableDef, index: Oid) -> bool {
    let primary = def.primary_key.as_ref();
    primary.is_some_and(|primary| primary.index_oid == index)
        || def.indexes.iter().any(|known| known.oid == index)
}
