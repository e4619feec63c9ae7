//! Prepared statements and definitions that have changed since.
//!
//! A statement is prepared under an *epoch*, which every change of definitions ends. In another epoch it is analysed again before it
//! runs: what the client was told of its columns has to be true still. Definitions that only a transaction sees, or
//! an old snapshot, have no epoch; statements under them are analysed each time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nyala_catalog::Transaction;
use nyala_catalog::types::SqlType;

use super::{Prepared, Session, TransactionStatus};
use crate::error::{PgError, Result};
use crate::sql::parse::Tree;

/// Stands for definitions that are not the newest committed ones.
pub(super) const NO_EPOCH: u64 = u64::MAX;

impl Session {
    /// The epoch of the definitions that a statement sees, if they are the newest committed ones.
    pub(super) fn epoch_seen(&self) -> Result<u64> {
        let catalog = &self.server.catalog;
        // Read first: a change of definitions in between makes it differ.
        let epoch = catalog.definitions_epoch();
        let newest = match self.state.transaction() {
            None => true,
            Some(transaction) => {
                let now = self.begin_transaction()?;
                Arc::ptr_eq(now.definitions(), transaction.definitions())
            }
        };
        Ok(if newest { epoch } else { NO_EPOCH })
    }

    /// Whether definitions may have changed since the statement's columns were found right.
    pub(super) fn is_outdated(&self, prepared: &Prepared) -> bool {
        self.state.transaction().is_some_and(Transaction::defines)
            || prepared.epoch.load(Ordering::Acquire) != self.server.catalog.definitions_epoch()
    }

    /// 0A000 if a statement would now return other columns than those that the client was told of. FETCH has the columns of
    /// whatever cursor has the name when it runs.
    pub(super) async fn check_columns(&mut self, prepared: &Prepared) -> Result<()> {
        if matches!(prepared.tree, Tree::Fetch(_))
            || !self.is_outdated(prepared)
            || self.transaction_status() == TransactionStatus::Failed
        {
            return Ok(());
        }
        // Boxed: it plans, which a statement seldom needs.
        Box::pin(self.compare_columns(prepared)).await
    }

    async fn compare_columns(&mut self, prepared: &Prepared) -> Result<()> {
        let epoch = self.epoch_seen()?;
        let Some(told) = &prepared.columns else {
            prepared.epoch.store(epoch, Ordering::Release);
            return Ok(());
        };
        let types = prepared.parameter_types.iter();
        let types: Vec<u32> = types.map(SqlType::oid).collect();
        let (_, columns) = self.analyse(&prepared.tree, &types).await?;
        let same = columns.is_some_and(|now| {
            let (now, told) = (now.fields(), told.fields());
            let fields = now.iter().zip(told);
            now.len() == told.len()
                && fields.into_iter().all(|(now, told)| {
                    now.name() == told.name() && SqlType::of_field(now) == SqlType::of_field(told)
                })
        });
        if !same {
            // Drivers that see this routine prepare the statement again.
            return Err(
                PgError::unsupported("cached plan must not change result type")
                    .with_routine("RevalidateCachedQuery"),
            );
        }
        prepared.epoch.store(epoch, Ordering::Release);
        Ok(())
    }
}
