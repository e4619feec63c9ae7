//! What functions with effects see of the session that calls them: its locks, its notifications, its token, its notices.
//!
//! A function runs on a thread for queries, while the session waits for its rows; so everything here is shared and
//! behind short locks. A function that waits ([`Backend::wait`]) hands its other work to another thread first, and wakes when the statement is
//! cancelled.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nyala_catalog::definitions::Oid;
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

use crate::advisory_locks::{LockKey, LockMode, LockRow, LockScope, Requested};
use crate::error::{PgError, Result, sqlstate};
use crate::notifications::{Listening, Notification};
use crate::server::Server;
use crate::session::cancel::{CancelReason, CancelToken};

/// How often a waiting `pg_terminate_backend` looks whether the session is gone.
const TERMINATION_POLL: Duration = Duration::from_millis(10);

/// What a transaction will publish when it commits.
#[derive(Debug, Default)]
struct Pending {
    listening: Vec<Listening>,
    notifications: Vec<Notification>,
}

/// How much of it there was at a savepoint.
#[derive(Debug, Clone, Copy)]
pub struct BackendMark {
    locks: usize,
    listening: usize,
    notifications: usize,
}

/// A session as its functions see it.
pub struct Backend {
    server: Arc<Server>,
    process_id: i32,
    database: Oid,
    /// The running statement's token.
    token: Mutex<Option<CancelToken>>,
    /// `lock_timeout` in milliseconds; 0 for none.
    lock_timeout_ms: AtomicI64,
    pending: Mutex<Pending>,
    notices: Mutex<Vec<PgError>>,
    /// Told when there is something to send to an idle client.
    wake: Arc<Notify>,
    /// The transaction's number, once somebody has asked for it.
    transaction_id: Mutex<Option<i64>>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

impl Backend {
    /// A session that starts.
    pub fn new(server: Arc<Server>, process_id: i32, database: Oid) -> Self {
        Self {
            server,
            process_id,
            database,
            token: Mutex::default(),
            lock_timeout_ms: AtomicI64::new(0),
            pending: Mutex::default(),
            notices: Mutex::default(),
            wake: Arc::default(),
            transaction_id: Mutex::default(),
        }
    }

    /// A statement starts.
    pub fn start_statement(&self, token: CancelToken, lock_timeout: Option<Duration>) {
        *self.token.lock() = Some(token);
        let milliseconds = lock_timeout.map_or(0, |limit| limit.as_millis());
        let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
        self.lock_timeout_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Waits until `work` is done or the statement is to stop.
    pub fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let token = self.token.lock().clone();
        let work = async {
            match token {
                Some(token) => token.run(work).await,
                None => work.await,
            }
        };
        match Handle::try_current() {
            Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| handle.block_on(work))
            }
            _ => Err(PgError::internal("a function cannot wait here")),
        }
    }

    /// `pg_sleep`
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        self.wait(async {
            tokio::time::sleep(duration).await;
            Ok(())
        })
    }

    /// The lock of a number or of a pair.
    pub fn lock_key(&self, class: u32, object: u32, kind: u8) -> LockKey {
        LockKey {
            database: self.database,
            class,
            object,
            kind,
        }
    }

    /// Takes an advisory lock, waiting for it.
    pub fn lock(&self, key: LockKey, mode: LockMode, scope: LockScope) -> Result<()> {
        let locks = &self.server.advisory_locks;
        let ticket = match locks.request(key, self.process_id, mode, scope)? {
            Requested::Granted => return Ok(()),
            Requested::Waiting(ticket) => ticket,
        };
        let limit = self.lock_timeout_ms.load(Ordering::Relaxed);
        self.wait(async move {
            let Some(limit) = u64::try_from(limit).ok().filter(|limit| *limit > 0) else {
                ticket.granted().await;
                return Ok(());
            };
            let limit = Duration::from_millis(limit);
            let granted = tokio::time::timeout(limit, ticket.granted()).await;
            granted.map_err(|_| {
                PgError::new(
                    sqlstate::LOCK_NOT_AVAILABLE,
                    "canceling statement due to lock timeout",
                )
            })
        })
    }

    /// Takes an advisory lock if it is free.
    pub fn try_lock(&self, key: LockKey, mode: LockMode, scope: LockScope) -> Result<bool> {
        let locks = &self.server.advisory_locks;
        locks.try_lock(key, self.process_id, mode, scope)
    }

    /// Gives an advisory lock back; warns if the session does not have it.
    pub fn unlock(&self, key: LockKey, mode: LockMode) -> bool {
        let held = self
            .server
            .advisory_locks
            .unlock(key, self.process_id, mode);
        if !held {
            self.warn(format!("you don't own a lock of type {}", mode.name()));
        }
        held
    }

    /// Gives back all advisory locks of the session.
    pub fn unlock_all(&self) {
        self.server.advisory_locks.unlock_all(self.process_id);
    }

    /// All advisory locks of the server.
    pub fn locks(&self) -> Vec<LockRow> {
        self.server.advisory_locks.rows()
    }

    /// `pg_cancel_backend`
    pub fn cancel(&self, process_id: i32) -> bool {
        match self.server.canceller(process_id) {
            Some(canceller) => {
                canceller.cancel(CancelReason::User);
                true
            }
            None => self.warn_of_no_process(process_id),
        }
    }

    /// `pg_terminate_backend`; with a time it waits that long for the end.
    pub fn terminate(&self, process_id: i32, patience: Duration) -> Result<bool> {
        let Some(canceller) = self.server.canceller(process_id) else {
            return Ok(self.warn_of_no_process(process_id));
        };
        canceller.terminate();
        if patience.is_zero() || process_id == self.process_id {
            return Ok(true);
        }
        let gone = self.wait(async {
            let ended = async {
                while self.server.canceller(process_id).is_some() {
                    tokio::time::sleep(TERMINATION_POLL).await;
                }
            };
            Ok(tokio::time::timeout(patience, ended).await.is_ok())
        })?;
        if !gone {
            self.warn(format!(
                "backend with PID {process_id} did not terminate within {} milliseconds",
                patience.as_millis()
            ));
        }
        Ok(gone)
    }

    fn warn_of_no_process(&self, process_id: i32) -> bool {
        self.warn(format!(
            "PID {process_id} is not a PostgreSQL backend process"
        ));
        false
    }

    fn warn(&self, message: String) {
        let warning = PgError::warning(sqlstate::WARNING, message);
        self.notices.lock().push(warning);
    }

    /// Notices of functions since the last call.
    pub fn take_notices(&self) -> Vec<PgError> {
        std::mem::take(&mut *self.notices.lock())
    }

    /// NOTIFY: the same message twice in a transaction is one.
    pub fn notify(&self, channel: &str, payload: &str) -> Result<()> {
        let notification = Notification::new(self.process_id, channel, payload)?;
        self.server.notifications.check_room()?;
        let mut pending = self.pending.lock();
        if !pending.notifications.contains(&notification) {
            pending.notifications.push(notification);
        }
        Ok(())
    }

    /// LISTEN and UNLISTEN, from the end of the transaction on.
    pub fn listen(&self, change: Listening) {
        self.pending.lock().listening.push(change);
    }

    /// Channels listened to.
    pub fn channels(&self) -> Vec<String> {
        self.server.notifications.channels(self.process_id)
    }

    /// How full the queue of notifications is.
    pub fn notification_usage(&self) -> f64 {
        self.server.notifications.usage()
    }

    /// What the client is to be sent now.
    pub fn take_notifications(&self) -> Vec<Notification> {
        self.server.notifications.take(self.process_id)
    }

    /// Waits until there may be something to send.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }

    /// The transaction's number: of its own, growing, and given when it is first asked for.
    pub fn transaction_id(&self) -> i64 {
        let mut id = self.transaction_id.lock();
        *id.get_or_insert_with(|| self.server.next_transaction_id())
    }

    /// The number, if somebody has asked for it.
    pub fn transaction_id_if_assigned(&self) -> Option<i64> {
        *self.transaction_id.lock()
    }

    /// A savepoint.
    pub fn mark(&self) -> BackendMark {
        let pending = self.pending.lock();
        BackendMark {
            locks: self.server.advisory_locks.mark(self.process_id),
            listening: pending.listening.len(),
            notifications: pending.notifications.len(),
        }
    }

    /// Back to a savepoint.
    pub fn roll_back_to(&self, mark: BackendMark) {
        let mut pending = self.pending.lock();
        pending.listening.truncate(mark.listening);
        pending.notifications.truncate(mark.notifications);
        drop(pending);
        let locks = &self.server.advisory_locks;
        locks.release_since(self.process_id, mark.locks);
    }

    /// The transaction has ended: what it said is published or forgotten, its locks are free.
    pub fn end_transaction(&self, committed: bool) {
        let pending = std::mem::take(&mut *self.pending.lock());
        let says = !pending.listening.is_empty() || !pending.notifications.is_empty();
        if committed && says {
            self.server.notifications.publish(
                self.process_id,
                self.database,
                &self.wake,
                pending.listening,
                pending.notifications,
            );
        }
        *self.transaction_id.lock() = None;
        let locks = &self.server.advisory_locks;
        locks.release_since(self.process_id, 0);
    }

    /// The session has ended.
    pub fn end(&self) {
        self.server.advisory_locks.end_session(self.process_id);
        self.server.notifications.end_session(self.process_id);
    }
}
