//! SERIALIZABLE: a transaction is as if it ran alone, at the moment of its commit.
//!
//! The relations that its statements name are noted. At COMMIT the committer refuses the transaction, with 40001, if somebody
//! has written to one of them since the transaction's snapshot: then all that it read is still true when its writes become
//! visible. A transaction that writes nothing is as if it ran when its snapshot was taken, so it never fails, and DEFERRABLE has
//! nothing to wait for. Whole relations are coarse: transactions that could go side by side may have to be repeated.

use nyala_catalog::Transaction;
use nyala_catalog::definitions::Relation;
use sqlparser::ast::Statement;

use super::{Result, Session, State};

impl Session {
    /// Notes what a statement reads, if that matters.
    pub(super) fn note_reads(&mut self, statement: &Statement) -> Result<()> {
        if let State::Block(block) = &mut self.state {
            block.queried = true;
        }
        if !self.settings.is_serializable() {
            return Ok(());
        }
        let planner = self.planner()?;
        let mut read = match statement {
            // Rows that are only added do not depend on those that are there.
            Statement::Insert(insert) if insert.on.is_none() => match &insert.source {
                Some(source) => planner.relations_of(source),
                None => Vec::new(),
            },
            other => planner.relations_of(other),
        };
        let mut all = Vec::new();
        while let Some(oid) = read.pop() {
            if let Some(Relation::View(view)) = planner.view.definitions.relation_by_oid(oid) {
                read.extend(&view.depends_on);
            }
            all.push(oid);
        }
        self.reads.extend(all);
        Ok(())
    }

    /// Makes the commit depend on what was read.
    pub(super) fn rely_on_reads(&self, transaction: &mut Transaction) {
        for oid in &self.reads {
            if let Some(Relation::Table(table)) = transaction.definitions().relation_by_oid(*oid) {
                let table = std::sync::Arc::clone(table);
                transaction.rely_on_rows(&table);
            }
        }
    }
}
