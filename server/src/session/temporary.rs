//! The session's temporary relations: kept between its transactions, seen by all of them, gone with the session.

use std::sync::Arc;

use nyala_catalog::definitions::{Definitions, Relation, SchemaDef};
use nyala_catalog::{CatalogError, Transaction};
use parking_lot::Mutex;

use super::{Session, State};
use crate::error::Result;

/// Temporary relations as of the session's last commit.
#[derive(Default)]
pub(super) struct Temporary {
    schema: Option<SchemaDef>,
    relations: Vec<Relation>,
    /// Definitions of everybody, and the same with the session's: made once for each of the former.
    seen: Mutex<Option<(Arc<Definitions>, Arc<Definitions>)>>,
}

impl Temporary {
    /// Everybody's definitions with the session's.
    fn over(&self, base: &Arc<Definitions>) -> Result<Arc<Definitions>, CatalogError> {
        let Some(schema) = &self.schema else {
            return Ok(Arc::clone(base));
        };
        let mut seen = self.seen.lock();
        if let Some((known, all)) = seen.as_ref()
            && Arc::ptr_eq(known, base)
        {
            return Ok(Arc::clone(all));
        }
        let all = Arc::new(base.with_temporary(schema.clone(), &self.relations)?);
        *seen = Some((Arc::clone(base), Arc::clone(&all)));
        Ok(all)
    }

    /// Takes what a committed transaction has left.
    fn keep(&mut self, definitions: &Definitions) {
        let oid = definitions.temporary_schema();
        self.schema = oid.and_then(|oid| definitions.schema_by_oid(oid)).cloned();
        let relations = definitions.relations();
        self.relations = relations
            .filter(|relation| Some(relation.schema()) == oid)
            .cloned()
            .collect();
        *self.seen.lock() = None;
    }
}

impl Session {
    /// Starts a transaction that sees the session's temporary relations.
    pub(super) fn begin_transaction(&self) -> Result<Transaction> {
        let mut transaction = self.server.catalog.begin(&self.database)?;
        if self.temporary.schema.is_some() {
            let all = self.temporary.over(transaction.definitions())?;
            transaction.see_temporary(all);
        }
        Ok(transaction)
    }

    /// Commits a transaction, and keeps what it has left of temporary relations.
    pub(super) async fn commit(
        &mut self,
        mut transaction: Transaction,
    ) -> Result<(), CatalogError> {
        self.rely_on_reads(&mut transaction);
        if transaction.definitions().temporary_schema().is_none() {
            return transaction.commit().await;
        }
        transaction.end_temporary().await?;
        let changed = transaction.changes_temporary();
        let definitions = Arc::clone(transaction.definitions());
        transaction.commit().await?;
        if changed {
            self.temporary.keep(&definitions);
            self.server.catalog.note_definitions_changed();
        }
        Ok(())
    }

    /// Drops all temporary relations: DISCARD TEMP.
    pub(super) async fn discard_temporary(&mut self) -> Result<()> {
        if let Some(transaction) = self.state.transaction_mut() {
            return drop_all(transaction);
        }
        if self.temporary.schema.is_none() {
            return Ok(());
        }
        let mut transaction = self.begin_transaction()?;
        drop_all(&mut transaction)?;
        Ok(self.commit(transaction).await?)
    }

    /// Has what the session's temporary relations hold removed, when nobody waits for it any more.
    pub(super) fn leave_temporary(&mut self) {
        // What an open transaction has made has no rows that anybody stored.
        self.state = State::Idle;
        let relations = std::mem::take(&mut self.temporary.relations);
        let catalog = Arc::clone(&self.server.catalog);
        if !relations.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { catalog.drop_temporary(&relations).await });
        }
    }
}

fn drop_all(transaction: &mut Transaction) -> Result<()> {
    let definitions = Arc::clone(transaction.definitions());
    let schema = definitions.temporary_schema();
    let relations = definitions.relations();
    for relation in relations.filter(|relation| Some(relation.schema()) == schema) {
        transaction.drop_relation(relation.oid(), true)?;
    }
    Ok(())
}
