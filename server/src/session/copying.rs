//! COPY FROM STDIN in progress: data goes from the client to the transaction in batches.

use nyala_catalog::{BulkInsert, Transaction};

use super::{Scope, Session};
use crate::error::{PgError, Result};
use crate::pgwire::copy_format::{CopyFormat, CopyReader};
use crate::sql::copy::{CopyFrom, Defaults};
use crate::sql::planner::Planner;

/// Rows that are decoded before they are written.
const BATCH_ROWS: usize = 65_536;

/// A COPY FROM STDIN in progress.
pub struct CopyIn {
    copy: CopyFrom,
    reader: CopyReader,
    planner: Planner,
    defaults: Defaults,
    /// The statement's own transaction; `None` inside a block.
    transaction: Option<Transaction>,
    insert: BulkInsert,
    rows: usize,
}

impl CopyIn {
    /// Number of columns expected, for CopyInResponse.
    pub fn column_count(&self) -> usize {
        self.copy.columns.len()
    }

    /// Form of the data.
    pub fn format(&self) -> CopyFormat {
        self.copy.options.format
    }
}

impl Session {
    /// Gets ready for the data of a COPY.
    pub(super) async fn copy_in(&mut self, copy: CopyFrom, scope: Scope) -> Result<CopyIn> {
        if scope != Scope::Alone {
            self.open_implicit()?;
        }
        let mut planner = self.planner()?;
        let own = match self.state.transaction() {
            Some(_) => None,
            None => Some(self.begin_transaction()?),
        };
        let transaction = own.as_ref().or(self.state.transaction());
        let transaction = transaction.ok_or_else(lost)?;
        let insert = transaction.begin_insert(&copy.table).await?;
        let defaults = Defaults::evaluate(&mut planner, &copy).await?;
        let input = self.input_settings();
        let name = &copy.table.def.name;
        let reader = CopyReader::new(&copy.options, name, &copy.columns(), &input, BATCH_ROWS);
        Ok(CopyIn {
            copy,
            reader,
            planner,
            defaults,
            transaction: own,
            insert,
            rows: 0,
        })
    }

    /// Data of a COPY FROM STDIN; any split of the bytes will do.
    pub async fn copy_data(&mut self, copy: &mut CopyIn, data: &[u8]) -> Result<()> {
        for batch in copy.reader.push(data)? {
            self.copy_batch(copy, &batch).await?;
        }
        Ok(())
    }

    /// The end of a COPY FROM STDIN: stores the rows, returns the command tag.
    pub async fn copy_done(&mut self, mut copy: Box<CopyIn>) -> Result<String> {
        if let Some(batch) = copy.reader.finish()? {
            self.copy_batch(&mut copy, &batch).await?;
        }
        let CopyIn {
            transaction: mut own,
            insert,
            rows,
            ..
        } = *copy;
        let transaction = own.as_mut().or(self.state.transaction_mut());
        let transaction = transaction.ok_or_else(lost)?;
        transaction.finish_insert(insert).await?;
        transaction.finish_statement().await?;
        if let Some(own) = own {
            self.commit(own).await?;
        }
        Ok(format!("COPY {rows}"))
    }

    async fn copy_batch(
        &mut self,
        copy: &mut CopyIn,
        batch: &arrow::record_batch::RecordBatch,
    ) -> Result<()> {
        let own = copy.transaction.as_mut();
        let transaction = own.or(self.state.transaction_mut()).ok_or_else(lost)?;
        copy.rows += batch.num_rows();
        let rows = copy.defaults.rows(&mut copy.planner, &copy.copy, batch);
        Ok(transaction.add_rows(&mut copy.insert, rows.await?).await?)
    }
}

fn lost() -> PgError {
    PgError::internal("COPY lost its transaction")
}
