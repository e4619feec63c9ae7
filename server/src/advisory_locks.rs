//! Advisory locks: who holds and who waits for the numbers that `pg_advisory_lock` and its like lock.
//!
//! A lock is held by a session, or by its transaction, as often as it was taken. Requests are granted in their order, but for those
//! of sessions that hold the lock already. A request that would close a circle of waiting sessions fails at once with 40P01, so there never is
//! one. Nothing here knows SQL or waits for anything: a request that has to wait gets a channel that tells when it is granted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use nyala_catalog::definitions::Oid;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock;
use crate::error::{PgError, Result, sqlstate};

/// Locks that are held or waited for at the same time, as a bound on memory.
const LOCKS_MAX: usize = 1 << 20;

/// What is locked. One number and a pair of numbers are never the same lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey {
    /// Database: sessions of others do not see the lock.
    pub database: Oid,
    /// The upper half of the number, or the first of the pair.
    pub class: u32,
    /// The lower half, or the second.
    pub object: u32,
    /// 1 for a number, 2 for a pair, as `pg_locks.objsubid` shows it.
    pub kind: u8,
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "advisory lock [{},{},{},{}]",
            self.database, self.class, self.object, self.kind
        )
    }
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Beside others of this mode.
    Shared,
    /// Alone.
    Exclusive,
}

impl LockMode {
    /// PostgreSQL's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "ShareLock",
            Self::Exclusive => "ExclusiveLock",
        }
    }

    fn conflicts(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

/// For how long a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockScope {
    /// Until it is unlocked, or the session ends.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// A row of `pg_locks`.
#[derive(Debug, Clone)]
pub struct LockRow {
    /// What is locked.
    pub key: LockKey,
    /// By which session.
    pub process_id: i32,
    /// How.
    pub mode: LockMode,
    /// Since when the session waits for it; `None` if it has it.
    pub waiting_since_us: Option<i64>,
}

#[derive(Debug)]
struct Holder {
    process_id: i32,
    mode: LockMode,
    scope: LockScope,
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    process_id: i32,
    mode: LockMode,
    scope: LockScope,
    since_us: i64,
    granted: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Lock {
    holders: Vec<Holder>,
    waiters: Vec<Waiter>,
}

#[derive(Debug, Default)]
struct Table {
    locks: BTreeMap<LockKey, Lock>,
    /// What transactions have taken, in order, by session.
    taken: HashMap<i32, Vec<(LockKey, LockMode)>>,
    last_ticket: u64,
}

/// All advisory locks of a server.
#[derive(Debug, Default)]
pub struct AdvisoryLocks {
    table: Mutex<Table>,
}

/// The answer to a request.
pub enum Requested {
    /// The lock is held.
    Granted,
    /// The session has to wait.
    Waiting(Ticket),
}

/// A place in the queue for a lock; dropped before [`Ticket::granted`] has returned, it is given up.
pub struct Ticket {
    locks: Arc<AdvisoryLocks>,
    key: LockKey,
    process_id: i32,
    mode: LockMode,
    scope: LockScope,
    number: u64,
    signal: oneshot::Receiver<()>,
    done: bool,
}

impl Ticket {
    /// Waits for the lock.
    pub async fn granted(mut self) {
        // The sender is there as long as the ticket is in the queue.
        if (&mut self.signal).await.is_ok() {
            self.done = true;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut table = self.locks.table.lock();
        let Some(lock) = table.locks.get_mut(&self.key) else {
            return;
        };
        let queued = lock.waiters.len();
        lock.waiters.retain(|waiter| waiter.ticket != self.number);
        if lock.waiters.len() == queued {
            // It was granted, and nobody has taken notice.
            table.release(self.key, self.process_id, self.mode, self.scope, 1);
        } else {
            table.grant(self.key);
        }
    }
}

impl Lock {
    fn is_held_by(&self, process_id: i32) -> bool {
        let mut holders = self.holders.iter();
        holders.any(|holder| holder.process_id == process_id)
    }

    /// Whom a request waits for: those who hold the lock, and those who wait before it.
    fn blockers(&self, process_id: i32, mode: LockMode, ticket: u64) -> Vec<i32> {
        let holders = self.holders.iter().map(|one| (one.process_id, one.mode));
        let before = |waiter: &&Waiter| waiter.ticket < ticket && !self.is_held_by(process_id);
        let waiters = self.waiters.iter().filter(before);
        holders
            .chain(waiters.map(|one| (one.process_id, one.mode)))
            .filter(|(other, held)| *other != process_id && held.conflicts(mode))
            .map(|(other, _)| other)
            .collect()
    }
}

impl Table {
    fn hold(&mut self, key: LockKey, process_id: i32, mode: LockMode, scope: LockScope) {
        let lock = self.locks.entry(key).or_default();
        let same = lock.holders.iter_mut().find(|holder| {
            holder.process_id == process_id && holder.mode == mode && holder.scope == scope
        });
        match same {
            Some(holder) => holder.count += 1,
            None => lock.holders.push(Holder {
                process_id,
                mode,
                scope,
                count: 1,
            }),
        }
        if scope == LockScope::Transaction {
            self.taken.entry(process_id).or_default().push((key, mode));
        }
    }

    /// Takes `count` off a holder; `false` if it does not hold the lock.
    fn release(
        &mut self,
        key: LockKey,
        process_id: i32,
        mode: LockMode,
        scope: LockScope,
        count: u64,
    ) -> bool {
        let Some(lock) = self.locks.get_mut(&key) else {
            return false;
        };
        let Some(holder) = lock.holders.iter_mut().find(|holder| {
            holder.process_id == process_id && holder.mode == mode && holder.scope == scope
        }) else {
            return false;
        };
        holder.count = holder.count.saturating_sub(count);
        lock.holders.retain(|holder| holder.count > 0);
        self.grant(key);
        true
    }

    /// Grants what can be granted now, in order.
    fn grant(&mut self, key: LockKey) {
        loop {
            let Some(lock) = self.locks.get_mut(&key) else {
                return;
            };
            if lock.holders.is_empty() && lock.waiters.is_empty() {
                self.locks.remove(&key);
                return;
            }
            let next = lock.waiters.iter().position(|waiter| {
                lock.blockers(waiter.process_id, waiter.mode, waiter.ticket)
                    .is_empty()
            });
            let Some(next) = next else { return };
            let waiter = lock.waiters.remove(next);
            self.hold(key, waiter.process_id, waiter.mode, waiter.scope);
            // A ticket that is being dropped gives the lock back itself.
            waiter.granted.send(()).ok();
        }
    }

    /// The sessions in a circle of waiting that a request of `process_id` would close.
    fn circle(&self, process_id: i32, blockers: &[i32]) -> bool {
        let mut waits: HashMap<i32, Vec<i32>> = HashMap::new();
        for lock in self.locks.values() {
            for waiter in &lock.waiters {
                let for_whom = lock.blockers(waiter.process_id, waiter.mode, waiter.ticket);
                waits.entry(waiter.process_id).or_default().extend(for_whom);
            }
        }
        let mut seen = HashSet::new();
        let mut open: Vec<i32> = blockers.to_vec();
        while let Some(process) = open.pop() {
            if process == process_id {
                return true;
            }
            if seen.insert(process) {
                open.extend(waits.get(&process).into_iter().flatten());
            }
        }
        false
    }
}

impl AdvisoryLocks {
    /// Takes a lock if it is free for the session.
    pub fn try_lock(
        &self,
        key: LockKey,
        process_id: i32,
        mode: LockMode,
        scope: LockScope,
    ) -> Result<bool> {
        let mut table = self.table.lock();
        check_room(&table)?;
        let free = match table.locks.get(&key) {
            Some(lock) => lock.blockers(process_id, mode, u64::MAX).is_empty(),
            None => true,
        };
        if free {
            table.hold(key, process_id, mode, scope);
        }
        Ok(free)
    }

    /// Takes a lock, or queues for it; 40P01 if waiting would never end.
    pub fn request(
        self: &Arc<Self>,
        key: LockKey,
        process_id: i32,
        mode: LockMode,
        scope: LockScope,
    ) -> Result<Requested> {
        if self.try_lock(key, process_id, mode, scope)? {
            return Ok(Requested::Granted);
        }
        let mut table = self.table.lock();
        table.last_ticket += 1;
        let number = table.last_ticket;
        let blockers = match table.locks.get(&key) {
            Some(lock) => lock.blockers(process_id, mode, number),
            None => Vec::new(),
        };
        if table.circle(process_id, &blockers) {
            let blocker = blockers.first().copied().unwrap_or_default();
            return Err(
                PgError::new(sqlstate::DEADLOCK_DETECTED, "deadlock detected").with_detail(
                    format!(
                        "Process {process_id} waits for {} on {key}; blocked by process {blocker}.",
                        mode.name()
                    ),
                ),
            );
        }
        let (granted, signal) = oneshot::channel();
        table.locks.entry(key).or_default().waiters.push(Waiter {
            ticket: number,
            process_id,
            mode,
            scope,
            since_us: clock::now_us(),
            granted,
        });
        // What held it may have gone since it was tried.
        table.grant(key);
        Ok(Requested::Waiting(Ticket {
            locks: Arc::clone(self),
            key,
            process_id,
            mode,
            scope,
            number,
            signal,
            done: false,
        }))
    }

    /// Unlocks once what the session holds; `false` if it does not.
    pub fn unlock(&self, key: LockKey, process_id: i32, mode: LockMode) -> bool {
        let mut table = self.table.lock();
        table.release(key, process_id, mode, LockScope::Session, 1)
    }

    /// Unlocks all that the session, and not its transaction, holds.
    pub fn unlock_all(&self, process_id: i32) {
        self.table
            .lock()
            .release_all(process_id, LockScope::Session);
    }

    /// How many locks the session's transaction has taken: a savepoint.
    pub fn mark(&self, process_id: i32) -> usize {
        let table = self.table.lock();
        table.taken.get(&process_id).map_or(0, Vec::len)
    }

    /// Gives up the locks that the transaction took since a savepoint; 0 for all of them.
    pub fn release_since(&self, process_id: i32, mark: usize) {
        let mut table = self.table.lock();
        let Some(taken) = table.taken.get_mut(&process_id) else {
            return;
        };
        let released = taken.split_off(mark.min(taken.len()));
        if taken.is_empty() {
            table.taken.remove(&process_id);
        }
        for (key, mode) in released {
            table.release(key, process_id, mode, LockScope::Transaction, 1);
        }
    }

    /// The session has ended.
    pub fn end_session(&self, process_id: i32) {
        self.release_since(process_id, 0);
        self.unlock_all(process_id);
    }

    /// The rows of `pg_locks`.
    pub fn rows(&self) -> Vec<LockRow> {
        let table = self.table.lock();
        let mut rows: Vec<LockRow> = Vec::new();
        for (key, lock) in &table.locks {
            let row = |process_id, mode, waiting_since_us| LockRow {
                key: *key,
                process_id,
                mode,
                waiting_since_us,
            };
            for holder in &lock.holders {
                // Held by the session and by its transaction, it still is one lock.
                let shown = rows.iter().any(|row| {
                    row.key == *key
                        && row.process_id == holder.process_id
                        && row.mode == holder.mode
                });
                if !shown {
                    rows.push(row(holder.process_id, holder.mode, None));
                }
            }
            let waiters = lock.waiters.iter();
            rows.extend(waiters.map(|one| row(one.process_id, one.mode, Some(one.since_us))));
        }
        rows
    }
}

impl Table {
    fn release_all(&mut self, process_id: i32, scope: LockScope) {
        let held: Vec<_> = self
            .locks
            .iter()
            .flat_map(|(key, lock)| lock.holders.iter().map(move |holder| (*key, holder)))
            .filter(|(_, holder)| holder.process_id == process_id && holder.scope == scope)
            .map(|(key, holder)| (key, holder.mode, holder.count))
            .collect();
        for (key, mode, count) in held {
            self.release(key, process_id, mode, scope, count);
        }
    }
}

fn check_room(table: &Table) -> Result<()> {
    if table.locks.len() < LOCKS_MAX {
        return Ok(());
    }
    Err(PgError::new(
        sqlstate::OUT_OF_MEMORY,
        format!("more than {LOCKS_MAX} advisory locks"),
    ))
}

#[cfg(test)]
mod tests;
