//! Commits: one log entry with all added and removed files and the caller's transaction.
//!
//! A commit is based on one version and takes the next number or fails: if anyone else took it,
//! the caller's checks (uniqueness, which files hold a key) no longer stand, so nothing is
//! retried here. Order of steps: log entry, flush, checkpoint. An error before the log entry is in
//! place leaves the table as it was; after any error the entry is looked for, so an
//! error that is returned means "not committed" unless the look itself failed. Files of a commit that certainly failed are removed.

use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::checkpoints::create_checkpoint;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::get_actions;
use deltalake::protocol::{DeltaOperation, SaveMode};

use super::{ClosedTable, ClosedTableError, ClosedVersion, Result, Rewrite, WrittenFile, evolve};

/// Commits between two checkpoints, which bound how much of the log a fresh start must read.
const CHECKPOINT_COMMITS: u64 = 20;

/// How often the log is asked whether a failed commit is in it, and the pause between.
const LOOKUPS_MAX: u32 = 5;
const LOOKUP_PAUSE: Duration = Duration::from_millis(200);

impl ClosedTable {
    /// Commits files on top of `base`, which must be the newest version, and returns the new version.
    ///
    /// [`ClosedTableError::Conflict`] means that another writer committed since `base`; the caller starts again from the latest
    /// version. So is it if `base` already has transaction `txn`, or a later one, of `app_id`: these files are not in it.
    pub async fn commit(
        &self,
        base: &ClosedVersion,
        app_id: &str,
        txn: i64,
        adds: Vec<WrittenFile>,
        rewrite: Option<Rewrite>,
    ) -> Result<u64> {
        if self
            .transaction_version(base, app_id)
            .await?
            .is_some_and(|done| done >= txn)
        {
            self.discard(&adds).await;
            return Err(ClosedTableError::Conflict(format!(
                "closed table \"{}\" has transaction {txn} of \"{app_id}\" already in version {}",
                self.layout.spec.name,
                base.version()
            )));
        }
        let Rewrite {
            removed,
            merged,
            written: rewritten,
            ..
        } = rewrite.unwrap_or_default();
        let operation = if removed.is_empty() && merged.is_empty() {
            DeltaOperation::Write {
                mode: SaveMode::Append,
                partition_by: None,
                predicate: None,
            }
        } else {
            DeltaOperation::Update { predicate: None }
        };
        let mut removes = base.removes(&removed, true)?;
        removes.extend(base.removes(&merged, false)?);
        if removes.len() != removed.len() + merged.len() {
            return Err(ClosedTableError::Invalid {
                message: format!("a file to remove is not in version {}", base.version()),
            });
        }
        let written: Vec<WrittenFile> = adds.into_iter().chain(rewritten).collect();
        let adds = written.iter().map(|file| Action::Add(file.add.clone()));
        let actions = evolve::actions(&self.layout, base)?
            .into_iter()
            .chain(removes.into_iter().map(Action::Remove))
            .chain(adds)
            .collect();

        crate::crash_point!("closed_table::before_commit");
        let properties = CommitProperties::default()
            .with_application_transaction(Transaction::new(app_id, txn))
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let log_store = self.layout.log_store.clone();
        let prepared = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(base.state()), log_store, operation)
            .into_prepared_commit_future()
            .await?;
        // Not awaited to its end: that runs delta-rs' post-commit work, whose failure would hide
        // that the commit is in place.
        let version = match prepared.await {
            Ok(committed) => committed.version,
            Err(error) => match self.find_commit(base, app_id, txn, error).await? {
                Ok(version) => version,
                Err(error) => {
                    self.discard(&written).await;
                    return Err(error);
                }
            },
        };
        crate::crash_point!("closed_table::committed");
        self.layout.flush_log(version).await?;
        if version.is_multiple_of(CHECKPOINT_COMMITS) {
            self.checkpoint(version).await;
        }
        crate::crash_point!("closed_table::checkpointed");
        Ok(version)
    }

    /// Looks whether the commit that answered with `error` is in the log after all; the inner error is what to answer if it
    /// certainly is not. Only then may its files go.
    async fn find_commit(
        &self,
        base: &ClosedVersion,
        app_id: &str,
        txn: i64,
        error: DeltaTableError,
    ) -> Result<Result<u64>> {
        let version = base.version() + 1;
        for lookup in 1.. {
            match self.layout.log_store.read_commit_entry(version).await {
                Ok(None) => break,
                Ok(Some(entry)) => {
                    let ours = get_actions(version, &entry)?.iter().any(|action| {
                        matches!(action, Action::Txn(found)
                            if found.app_id == app_id && found.version == txn)
                    });
                    if ours {
                        return Ok(Ok(version));
                    }
                    return Ok(Err(self.conflict(base)));
                }
                Err(lookup_error) if lookup >= LOOKUPS_MAX => return Err(lookup_error.into()),
                Err(_) => tokio::time::sleep(LOOKUP_PAUSE).await,
            }
        }
        match error {
            DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source:
                    TransactionError::MaxCommitAttempts(_)
                    | TransactionError::CommitConflict(_)
                    | TransactionError::VersionAlreadyExists(_),
            } => Ok(Err(self.conflict(base))),
            error => Ok(Err(error.into())),
        }
    }

    fn conflict(&self, base: &ClosedVersion) -> ClosedTableError {
        ClosedTableError::Conflict(format!(
            "closed table \"{}\" was changed by another writer after version {}",
            self.layout.spec.name,
            base.version()
        ))
    }

    /// Writes a checkpoint. The log is complete without it, so a failure is only reported.
    async fn checkpoint(&self, version: u64) {
        let mut table = DeltaTable::new(self.layout.log_store.clone());
        let written = match table.load_version(version).await {
            Ok(()) => create_checkpoint(&table, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(table = %self.layout.spec.name, version, %error, "checkpoint failed");
        }
    }
}
