//! Sequences that a transaction makes, changes and drops. Their values are [`crate::sequence`]'s.

use std::sync::Arc;

use super::{Retired, Transaction};
use crate::definitions::{Oid, Relation, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::sequence::{self, Position, SequenceDef, SequenceOwner, SequenceRule};

/// What CREATE SEQUENCE asks for.
#[derive(Debug, Clone)]
pub struct NewSequence {
    /// OID of the schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// OID of the owning role.
    pub owner: Oid,
    /// Which values it gives out.
    pub rule: SequenceRule,
}

impl Transaction {
    /// Makes a sequence; returns its OID.
    pub fn create_sequence(&mut self, new: NewSequence) -> Result<Oid> {
        let counters = Arc::clone(&self.view.catalog.counters);
        let def = SequenceDef {
            oid: counters.oid(),
            schema: new.schema,
            name: new.name,
            owner: new.owner,
            storage: counters.storage(),
            first: Position {
                last: new.rule.start,
                is_called: false,
            },
            rule: new.rule,
            owned_by: None,
        };
        let oid = def.oid;
        self.put_relation(Relation::Sequence(Arc::new(def)), true)?;
        Ok(oid)
    }

    /// Changes a sequence. With `restart` its next value is that one once the transaction is committed.
    pub fn alter_sequence(
        &mut self,
        old: &SequenceDef,
        mut new: SequenceDef,
        restart: Option<i64>,
    ) -> Result<()> {
        let position = self.view.catalog.position(old)?;
        if let Some(last) = restart {
            let is_called = false;
            self.retire_storage(old.storage);
            new.storage = self.view.catalog.counters.storage();
            new.first = Position { last, is_called };
        } else {
            let (min, max) = (new.rule.min, new.rule.max);
            let outside = match position.last {
                last if last < min => Some(("less than MINVALUE", min)),
                last if last > max => Some(("greater than MAXVALUE", max)),
                _ => None,
            };
            if let Some((how, bound)) = outside {
                return Err(CatalogError::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "RESTART value ({}) cannot be {how} ({bound})",
                        position.last
                    ),
                ));
            }
        }
        let renamed = new.name != old.name;
        let (schema, old_name) = (old.schema, old.name.clone());
        self.put_relation(Relation::Sequence(Arc::new(new)), renamed)?;
        if renamed {
            self.put_name(schema, &old_name, None);
        }
        Ok(())
    }

    /// Makes a sequence go with a column, or with none.
    pub fn own_sequence(&mut self, oid: Oid, owner: Option<SequenceOwner>) -> Result<()> {
        let Some(Relation::Sequence(def)) = self.definitions().relation_by_oid(oid).cloned() else {
            return Err(CatalogError::internal("no sequence to own"));
        };
        let mut def = def.as_ref().clone();
        def.owned_by = owner;
        self.put_relation(Relation::Sequence(Arc::new(def)), false)
    }

    /// Lets the sequences of a table begin again, once the transaction is committed.
    pub fn restart_owned_sequences(&mut self, table: Oid) -> Result<()> {
        let definitions = Arc::clone(self.definitions());
        for def in definitions.owned_sequences(table) {
            self.alter_sequence(def, def.as_ref().clone(), Some(def.rule.start))?;
        }
        Ok(())
    }

    /// Follows the columns of a table that was altered: sequences of columns that are gone go, and those of renamed ones stay.
    pub(super) fn follow_columns(
        &mut self,
        table: &Table,
        renamed: &[(String, String)],
    ) -> Result<()> {
        let definitions = Arc::clone(self.definitions());
        for def in definitions.owned_sequences(table.def.oid) {
            let Some(owner) = &def.owned_by else { continue };
            let new_name = renamed.iter().find(|(old, _)| *old == owner.column);
            if let Some((_, new)) = new_name {
                let column = new.clone();
                let owner = SequenceOwner {
                    column,
                    ..owner.clone()
                };
                self.own_sequence(def.oid, Some(owner))?;
            } else if !table.def.columns.iter().any(|c| c.name == owner.column) {
                self.drop_relation(def.oid, false)?;
            }
        }
        Ok(())
    }

    /// Takes a sequence out of the defaults that use it if `cascade`, else there may be none. Returns what was changed, in
    /// words.
    pub(super) fn free_sequence(&mut self, def: &SequenceDef, cascade: bool) -> Result<()> {
        let definitions = Arc::clone(self.definitions());
        let refused = |detail: Option<String>, message: String, hint: String| {
            let error = CatalogError::new(ErrorKind::DependentObjects, message).with_hint(hint);
            match detail {
                Some(detail) => error.with_detail(detail),
                None => error,
            }
        };
        let name = &def.name;
        if let Some(owner) = def.owned_by.as_ref().filter(|owner| owner.identity)
            && let Some(Relation::Table(table)) = definitions.relation_by_oid(owner.table)
            && table.def.columns.iter().any(|c| c.name == owner.column)
        {
            let of = format!("column {} of table {}", owner.column, table.def.name);
            return Err(refused(
                None,
                format!("cannot drop sequence {name} because {of} requires it"),
                format!("You can drop {of} instead."),
            ));
        }
        for relation in definitions.relations() {
            let Relation::Table(table) = relation else {
                continue;
            };
            let mut changed = table.def.clone();
            for column in &mut changed.columns {
                let default = column.default.as_deref();
                if !default.is_some_and(|text| sequence::is_used_by(text, def.oid)) {
                    continue;
                }
                if !cascade {
                    return Err(refused(
                        Some(format!(
                            "default value for column {} of table {} depends on sequence {name}",
                            column.name, table.def.name
                        )),
                        format!("cannot drop sequence {name} because other objects depend on it"),
                        "Use DROP ... CASCADE to drop the dependent objects too.".to_string(),
                    ));
                }
                column.default = None;
            }
            if changed != table.def {
                self.redefine(changed)?;
            }
        }
        Ok(())
    }

    pub(super) fn retire_storage(&mut self, storage: u64) {
        self.changes.retired.push(Retired {
            storage,
            closed_folder: None,
        });
    }
}
