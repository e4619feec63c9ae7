//! CREATE INDEX as a statement of its own: several commits, between which writers go on.

use nyala_catalog::index::build::{self, Built};
use nyala_catalog::{CatalogError, ErrorKind};
use sqlparser::ast::CreateIndex;

use super::execute::RETRIES_MAX;
use super::{Outcome, Result, Session};
use crate::session::cancel::CancelToken;
use crate::sql::ddl::index::new_index;

impl Session {
    /// Makes an index, with or without CONCURRENTLY: no writer waits for it in either case.
    pub(super) async fn build_index(
        &mut self,
        create: &CreateIndex,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        self.refuse_read_only("CREATE INDEX")?;
        let start_us = self.transaction_start();
        let mut retries = 0;
        let index = loop {
            let mut transaction = self.begin_transaction()?;
            let planner = self.planner_for(&transaction, start_us);
            let (table, new) = match new_index(&planner, &transaction, create)? {
                Ok(new) => new,
                Err(skipped) => return Ok(self.written(skipped.into())),
            };
            if Some(table.def.schema) == transaction.definitions().temporary_schema() {
                // Nobody else writes to it.
                transaction.create_index(&table, new).await?;
                self.commit(transaction).await?;
                return Ok(Outcome::Done("CREATE INDEX".to_string()));
            }
            let index = build::begin(&mut transaction, &table, new)?;
            match transaction.commit().await {
                Ok(()) => break index,
                Err(CatalogError {
                    kind: ErrorKind::SerializationFailure,
                    ..
                }) if retries < RETRIES_MAX => retries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        // Not dropped half way: the build itself sees a cancel, and takes the index away before the client is told.
        let go_on = || !cancel.is_cancelled();
        match build::finish(&self.server.catalog, &self.database, index, &go_on).await? {
            Built::Ready => Ok(Outcome::Done("CREATE INDEX".to_string())),
            Built::Stopped => Err(cancel.cancelled().await.into()),
        }
    }
}
