//! The session's transaction: BEGIN, COMMIT, ROLLBACK, savepoints, and the implicit block.

use nyala_catalog::{Savepoint, Transaction};
use sqlparser::ast::{
    Ident, Statement, TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};

use super::backend::BackendMark;
use super::{Outcome, Session, TransactionStatus};
use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse::two_phase::TwoPhase;
use crate::sql::{names, parse};

/// Savepoints open at the same time in one block.
const SAVEPOINTS_MAX: usize = 1_024;

/// What transaction the session is in.
pub(super) enum State {
    /// None.
    Idle,
    /// One that the protocol opened: several statements in one message, or a pipeline.
    Implicit {
        /// The transaction.
        transaction: Transaction,
        /// Its start, in microseconds since 1970.
        start_us: i64,
    },
    /// One that BEGIN opened.
    Block(Block),
}

/// A transaction block.
pub(super) struct Block {
    /// The transaction.
    pub transaction: Transaction,
    /// Its start, in microseconds since 1970.
    pub start_us: i64,
    /// Whether a statement has seen rows, so that the isolation level stands.
    pub queried: bool,
    /// Whether a statement failed: only the end, or a rollback to a savepoint, is accepted.
    pub failed: bool,
    savepoints: Vec<Mark>,
}

/// A savepoint.
struct Mark {
    name: String,
    savepoint: Savepoint,
    /// Portals made before it.
    portals: u64,
    /// Locks and notifications before it.
    backend: BackendMark,
}

impl State {
    /// The open transaction.
    pub fn transaction(&self) -> Option<&Transaction> {
        match self {
            Self::Idle => None,
            Self::Implicit { transaction, .. } => Some(transaction),
            Self::Block(block) => Some(&block.transaction),
        }
    }

    /// The open transaction, to write in.
    pub fn transaction_mut(&mut self) -> Option<&mut Transaction> {
        match self {
            Self::Idle => None,
            Self::Implicit { transaction, .. } => Some(transaction),
            Self::Block(block) => Some(&mut block.transaction),
        }
    }
}

impl Session {
    /// Start of the current transaction, or now.
    pub(super) fn transaction_start(&self) -> i64 {
        match &self.state {
            State::Idle => clock::now_us(),
            State::Implicit { start_us, .. } => *start_us,
            State::Block(block) => block.start_us,
        }
    }

    /// Opens the implicit block, unless a transaction is open.
    pub(super) fn open_implicit(&mut self) -> Result<()> {
        if matches!(self.state, State::Idle) {
            let transaction = self.begin_transaction()?;
            self.settings.begin();
            self.state = State::Implicit {
                transaction,
                start_us: clock::now_us(),
            };
        }
        Ok(())
    }

    /// Two-phase commit is switched off, as it is in PostgreSQL unless `max_prepared_transactions` says otherwise.
    pub(super) fn two_phase(&mut self, statement: &TwoPhase) -> Result<Outcome> {
        match statement {
            TwoPhase::Prepare => {
                let State::Block(block) = &self.state else {
                    self.notices.push(PgError::warning(
                        sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                        "there is no transaction in progress",
                    ));
                    return Ok(Outcome::Done("ROLLBACK".to_string()));
                };
                let failed = block.failed;
                self.roll_back();
                if failed {
                    return Ok(Outcome::Done("ROLLBACK".to_string()));
                }
                Err(PgError::new(
                    sqlstate::NOT_IN_PREREQUISITE_STATE,
                    "prepared transactions are disabled",
                )
                .with_hint("Set max_prepared_transactions to a nonzero value."))
            }
            TwoPhase::Finish { verb, name } => {
                self.check_not_failed(None)?;
                self.refuse_in_block(verb)?;
                Err(PgError::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("prepared transaction with identifier \"{name}\" does not exist"),
                ))
            }
        }
    }

    /// Runs BEGIN, COMMIT, ROLLBACK and savepoint statements; `None` for all others.
    pub(super) async fn control(&mut self, statement: &Statement) -> Result<Option<Outcome>> {
        let tag = match statement {
            Statement::StartTransaction {
                modes,
                modifier,
                begin,
                statements,
                exception,
                has_end_keyword,
                ..
            } => {
                if !statements.is_empty() || exception.is_some() || *has_end_keyword {
                    return Err(PgError::syntax("BEGIN takes no statements"));
                }
                self.begin_block(modes)?;
                if *modifier == Some(parse::DEFERRABLE) {
                    self.settings.set("transaction_deferrable", "on", true)?;
                }
                if *begin { "BEGIN" } else { "START TRANSACTION" }
            }
            Statement::Commit { chain: true, .. } | Statement::Rollback { chain: true, .. } => {
                return Err(PgError::unsupported("AND CHAIN is not supported"));
            }
            Statement::Commit { .. } => self.commit_block().await?,
            Statement::Rollback {
                savepoint: None, ..
            } => {
                self.roll_back();
                "ROLLBACK"
            }
            Statement::Rollback {
                savepoint: Some(name),
                ..
            } => {
                self.roll_back_to(name)?;
                "ROLLBACK"
            }
            Statement::Savepoint { name } => {
                let portals = self.portals.made();
                let backend = self.backend.mark();
                let block = self.block_mut("SAVEPOINT")?;
                if block.savepoints.len() >= SAVEPOINTS_MAX {
                    return Err(PgError::new(
                        sqlstate::PROGRAM_LIMIT_EXCEEDED,
                        format!("more than {SAVEPOINTS_MAX} savepoints"),
                    ));
                }
                let savepoint = block.transaction.savepoint();
                block.savepoints.push(Mark {
                    name: names::fold(name),
                    savepoint,
                    portals,
                    backend,
                });
                "SAVEPOINT"
            }
            Statement::ReleaseSavepoint { name } => {
                let block = self.block_mut("RELEASE SAVEPOINT")?;
                let at = block.find(name)?;
                block.savepoints.truncate(at);
                "RELEASE"
            }
            _ => return Ok(None),
        };
        Ok(Some(Outcome::Done(tag.to_string())))
    }

    fn begin_block(&mut self, modes: &[TransactionMode]) -> Result<()> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let (transaction, start_us) = match state {
            State::Block(block) => {
                self.state = State::Block(block);
                self.notices.push(PgError::warning(
                    sqlstate::ACTIVE_SQL_TRANSACTION,
                    "there is already a transaction in progress",
                ));
                return Ok(());
            }
            State::Implicit {
                transaction,
                start_us,
            } => (transaction, start_us),
            State::Idle => {
                self.settings.begin();
                (self.begin_transaction()?, clock::now_us())
            }
        };
        let savepoints = Vec::new();
        self.state = State::Block(Block {
            transaction,
            start_us,
            queried: false,
            failed: false,
            savepoints,
        });
        self.set_modes(modes, true)
            .inspect_err(|_| self.roll_back())
    }

    /// Applies ISOLATION LEVEL and READ ONLY to the transaction, or to later ones.
    pub(super) fn set_modes(&mut self, modes: &[TransactionMode], local: bool) -> Result<()> {
        let prefix = if local {
            "transaction"
        } else {
            "default_transaction"
        };
        for mode in modes {
            let (name, value) = match mode {
                TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => ("read_only", "on"),
                TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => {
                    ("read_only", "off")
                }
                TransactionMode::IsolationLevel(level) => (
                    "isolation",
                    match level {
                        TransactionIsolationLevel::ReadUncommitted => "read uncommitted",
                        TransactionIsolationLevel::ReadCommitted => "read committed",
                        TransactionIsolationLevel::RepeatableRead => "repeatable read",
                        TransactionIsolationLevel::Serializable => "serializable",
                        TransactionIsolationLevel::Snapshot => {
                            return Err(PgError::syntax("unrecognized isolation level"));
                        }
                    },
                ),
            };
            let name = format!("{prefix}_{name}");
            if let State::Block(block) = &self.state
                && local
                && block.queried
                && name == "transaction_isolation"
                && self.settings.show(&name)?.1 != value
            {
                return Err(PgError::new(
                    sqlstate::ACTIVE_SQL_TRANSACTION,
                    "SET TRANSACTION ISOLATION LEVEL must be called before any query",
                ));
            }
            self.settings.set(&name, value, local)?;
        }
        Ok(())
    }

    async fn commit_block(&mut self) -> Result<&'static str> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Block(block) if block.failed => {
                self.ended(false);
                Ok("ROLLBACK")
            }
            State::Block(Block { transaction, .. }) | State::Implicit { transaction, .. } => {
                let committed = self.commit(transaction).await;
                self.ended(committed.is_ok());
                committed?;
                Ok("COMMIT")
            }
            State::Idle => {
                self.notices.push(no_transaction());
                Ok("COMMIT")
            }
        }
    }

    fn roll_back(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => self.notices.push(no_transaction()),
            State::Implicit { .. } | State::Block(_) => self.ended(false),
        }
    }

    fn roll_back_to(&mut self, name: &Ident) -> Result<()> {
        let block = self.block_mut("ROLLBACK TO SAVEPOINT")?;
        let at = block.find(name)?;
        block.savepoints.truncate(at + 1);
        if let Some(mark) = block.savepoints.last() {
            block.transaction.rollback_to(&mark.savepoint);
            block.failed = false;
            let (portals, backend) = (mark.portals, mark.backend);
            self.portals.roll_back_to(portals);
            self.backend.roll_back_to(backend);
        }
        Ok(())
    }

    fn block_mut(&mut self, statement: &str) -> Result<&mut Block> {
        match &mut self.state {
            State::Block(block) => Ok(block),
            _ => Err(PgError::new(
                sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                format!("{statement} can only be used in transaction blocks"),
            )),
        }
    }

    /// 25P02 if the block has failed and the statement is not one that ends it.
    pub(super) fn check_not_failed(&self, statement: Option<&Statement>) -> Result<()> {
        let ends = matches!(
            statement,
            Some(Statement::Commit { .. } | Statement::Rollback { .. })
        );
        if self.transaction_status() == TransactionStatus::Failed && !ends {
            return Err(PgError::new(
                sqlstate::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }
}

impl Block {
    fn find(&self, name: &Ident) -> Result<usize> {
        let name = names::fold(name);
        self.savepoints
            .iter()
            .rposition(|mark| mark.name == name)
            .ok_or_else(|| {
                PgError::new(
                    sqlstate::INVALID_SAVEPOINT,
                    format!("savepoint \"{name}\" does not exist"),
                )
            })
    }
}

fn no_transaction() -> PgError {
    PgError::warning(
        sqlstate::NO_ACTIVE_SQL_TRANSACTION,
        "there is no transaction in progress",
    )
}
