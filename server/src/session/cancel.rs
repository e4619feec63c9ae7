//! Cancelling a running statement: one token per statement covers planning, running and streaming,
//! and serves CancelRequest, `statement_timeout`, a vanished client and shutdown alike.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{PgError, sqlstate};

/// Why a statement is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// A CancelRequest or `pg_cancel_backend`.
    User,
    /// `statement_timeout` ran out.
    Timeout,
    /// The client is gone; nobody reads the error.
    ClientGone,
    /// The server is shutting down.
    Shutdown,
}

impl From<CancelReason> for PgError {
    fn from(reason: CancelReason) -> Self {
        let message = match reason {
            CancelReason::User => "canceling statement due to user request",
            CancelReason::Timeout => "canceling statement due to statement timeout",
            CancelReason::ClientGone => {
                return Self::fatal(sqlstate::CONNECTION_FAILURE, "connection to client lost");
            }
            CancelReason::Shutdown => {
                return Self::fatal(
                    sqlstate::ADMIN_SHUTDOWN,
                    "terminating connection due to administrator command",
                );
            }
        };
        Self::new(sqlstate::QUERY_CANCELED, message)
    }
}

/// Cancels statements of one connection. A request that comes between statements does nothing, as
/// in PostgreSQL.
#[derive(Debug, Clone)]
pub struct Canceller {
    requests: Arc<watch::Sender<Option<CancelReason>>>,
    terminated: Arc<watch::Sender<bool>>,
}

impl Default for Canceller {
    fn default() -> Self {
        Self {
            requests: Arc::new(watch::Sender::new(None)),
            terminated: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Canceller {
    /// Asks the running statement to stop.
    pub fn cancel(&self, reason: CancelReason) {
        self.requests.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
    }

    /// Asks the connection to end, as `pg_terminate_backend` does.
    pub fn terminate(&self) {
        self.terminated.send_replace(true);
        self.cancel(CancelReason::Shutdown);
    }

    /// Waits until the connection is to end.
    pub async fn terminated(&self) {
        let mut terminated = self.terminated.subscribe();
        // The sender is `self`'s.
        terminated.wait_for(|terminated| *terminated).await.ok();
    }

    /// Whether the connection is to end.
    pub fn is_terminated(&self) -> bool {
        *self.terminated.borrow()
    }

    /// The token of a statement that starts now; forgets earlier requests, but for one to end the connection.
    pub fn start_statement(&self, timeout: Option<Duration>) -> CancelToken {
        self.requests.send_replace(None);
        if self.is_terminated() {
            self.cancel(CancelReason::Shutdown);
        }
        CancelToken {
            requests: self.requests.subscribe(),
            deadline: timeout.map(|timeout| tokio::time::Instant::now() + timeout),
        }
    }
}

/// Tells one statement when to stop.
#[derive(Debug, Clone)]
pub struct CancelToken {
    requests: watch::Receiver<Option<CancelReason>>,
    deadline: Option<tokio::time::Instant>,
}

impl CancelToken {
    /// Waits until the statement is to stop.
    pub async fn cancelled(&self) -> CancelReason {
        let mut requests = self.requests.clone();
        let requested = async {
            match requests.wait_for(Option::is_some).await {
                Ok(reason) => reason.unwrap_or(CancelReason::User),
                // The connection itself is gone with its canceller.
                Err(_) => CancelReason::ClientGone,
            }
        };
        match self.deadline {
            None => requested.await,
            Some(deadline) => tokio::select! {
                reason = requested => reason,
                () = tokio::time::sleep_until(deadline) => CancelReason::Timeout,
            },
        }
    }

    /// Whether the statement is to stop.
    pub fn is_cancelled(&self) -> bool {
        let requested = self.requests.borrow().is_some() || self.requests.has_changed().is_err();
        let late = |deadline: &tokio::time::Instant| *deadline <= tokio::time::Instant::now();
        requested || self.deadline.as_ref().is_some_and(late)
    }

    /// Runs `work` until it is done or the statement is to stop.
    pub async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T, PgError> {
        tokio::select! {
            biased;
            reason = self.cancelled() => Err(reason.into()),
            result = work => result,
        }
    }
}
