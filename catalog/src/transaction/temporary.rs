//! Temporary relations of one session, as its transactions see them.
//!
//! The session keeps them between its transactions and puts them in front of each one's definitions; here they are changed as
//! all others are, only that nothing of their definitions is stored.

use std::sync::Arc;

use super::{Retired, Transaction};
use crate::catalog::Catalog;
use crate::definitions::{BOOTSTRAP_ROLE_OID, Definitions, Oid, OnCommit, Relation, SchemaDef};
use crate::error::Result;

impl Transaction {
    /// Takes definitions that are those of its snapshot and the session's temporary relations.
    pub fn see_temporary(&mut self, definitions: Arc<Definitions>) {
        self.view.definitions = definitions;
    }

    /// Whether it changes temporary relations.
    pub fn changes_temporary(&self) -> bool {
        self.changes.temporary
    }

    /// The schema of the session's temporary relations, made if there is none yet.
    pub fn open_temporary_schema(&mut self, name: &str) -> Result<Oid> {
        if let Some(oid) = self.definitions().temporary_schema() {
            return Ok(oid);
        }
        let schema = SchemaDef {
            oid: self.new_oid(),
            name: name.to_string(),
            owner: BOOTSTRAP_ROLE_OID,
        };
        let oid = schema.oid;
        self.view.definitions = Arc::new(self.definitions().with_temporary(schema, &[])?);
        self.changes.temporary = true;
        Ok(oid)
    }

    /// Does what a commit is to do to temporary tables.
    pub async fn end_temporary(&mut self) -> Result<()> {
        let definitions = Arc::clone(self.definitions());
        let Some(schema) = definitions.temporary_schema() else {
            return Ok(());
        };
        let relations = definitions.relations();
        let temporary = relations.filter(|relation| relation.schema() == schema);
        for oid in temporary.map(Relation::oid) {
            // As it is by now: to drop one table may have changed another.
            let Some(Relation::Table(table)) = self.definitions().relation_by_oid(oid) else {
                continue;
            };
            let table = Arc::clone(table);
            match table.def.on_commit {
                OnCommit::Preserve => {}
                OnCommit::Drop => self.drop_relation(oid, true)?,
                OnCommit::Delete => {
                    if self.has_written(table.def.storage) {
                        self.truncate(&table).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Catalog {
    /// Removes the rows of temporary relations whose session is over.
    pub async fn drop_temporary(&self, relations: &[Relation]) {
        let mut storages = Vec::new();
        for relation in relations {
            match relation {
                Relation::Table(table) => {
                    storages.push(table.def.storage);
                    storages.extend(table.indexes.iter().map(|index| index.def.storage));
                }
                Relation::Sequence(def) => storages.push(def.storage),
                Relation::View(_) | Relation::External(_) => {}
            }
        }
        let retired = storages.into_iter().map(|storage| Retired {
            storage,
            closed_folder: None,
        });
        self.retire(self.counters.visible_csn(), retired.collect())
            .await;
    }

    /// Has all sessions look at their statements again: what a session sees has changed without a commit of definitions.
    pub fn note_definitions_changed(&self) {
        self.counters.definitions_changed();
    }
}
