//! What ends with a transaction and with a statement, and how long a session waits for its client.

use std::time::Duration;

use super::{Session, State, TransactionStatus};
use crate::error::{PgError, Result, sqlstate};

impl Session {
    /// Commits the implicit block, if one is open.
    pub async fn commit_implicit(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Implicit { transaction, .. } => {
                let committed = self.commit(transaction).await;
                self.ended(committed.is_ok());
                Ok(committed?)
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// Something failed (a statement, a stream, a COPY): gives up the implicit block, or marks the
    /// transaction block as failed.
    pub fn fail(&mut self) {
        self.portals.statement_failed();
        match &mut self.state {
            State::Idle => {
                self.portals.end(false);
                self.backend.end_transaction(false);
            }
            State::Implicit { .. } => {
                self.state = State::Idle;
                self.ended(false);
            }
            State::Block(block) => block.failed = true,
        }
    }

    /// The transaction has ended.
    pub(super) fn ended(&mut self, committed: bool) {
        self.reads.clear();
        self.settings.end(committed);
        self.portals.end(committed);
        self.backend.end_transaction(committed);
    }

    /// The session waits for its client again. Outside a transaction, what statements by themselves have done is final.
    pub fn settle(&mut self) {
        if self.transaction_status() == TransactionStatus::Idle {
            self.reads.clear();
            self.portals.end(true);
            self.backend.end_transaction(true);
        }
    }

    /// How long the session may wait for its client in the state that it is in, and the error when it has.
    pub fn idle_limit(&self) -> Option<(Duration, PgError)> {
        if self.transaction_status() == TransactionStatus::Idle {
            let limit = self.settings.idle_session_timeout()?;
            let error = PgError::fatal(
                sqlstate::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
            );
            return Some((limit, error));
        }
        let limit = self.settings.idle_in_transaction_timeout()?;
        let error = PgError::fatal(
            sqlstate::IDLE_IN_TRANSACTION_TIMEOUT,
            "terminating connection due to idle-in-transaction timeout",
        );
        Some((limit, error))
    }
}
