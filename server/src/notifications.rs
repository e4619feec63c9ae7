//! LISTEN and NOTIFY: who listens to which channel, and what each listener has still to be told.
//!
//! A transaction's notifications are published when it has committed, all at once, so that every listener gets those of all
//! transactions in one order. What a session has not been sent yet waits in its queue. The queues together hold at most [`QUEUE_BYTES_MAX`];
//! when they are full, NOTIFY fails until listeners have read.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use nyala_catalog::definitions::Oid;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{PgError, Result, sqlstate};

/// Bytes of a payload, its terminator included, as in PostgreSQL.
const PAYLOAD_BYTES_MAX: usize = 8_000;

/// Bytes of a channel's name, its terminator included.
const CHANNEL_BYTES_MAX: usize = 64;

/// Channels and payloads that wait for their listeners.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A message to the listeners of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The session that sent it.
    pub process_id: i32,
    /// Channel.
    pub channel: Arc<str>,
    /// Payload; empty if there is none.
    pub payload: Arc<str>,
}

impl Notification {
    /// 22023 where PostgreSQL refuses the channel or the payload.
    pub fn new(process_id: i32, channel: &str, payload: &str) -> Result<Self> {
        let invalid = |message| Err(PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        if channel.is_empty() {
            return invalid("channel name cannot be empty");
        }
        if channel.len() >= CHANNEL_BYTES_MAX {
            return invalid("channel name too long");
        }
        if payload.len() >= PAYLOAD_BYTES_MAX {
            return invalid("payload string too long");
        }
        Ok(Self {
            process_id,
            channel: Arc::from(channel),
            payload: Arc::from(payload),
        })
    }

    fn bytes(&self) -> usize {
        self.channel.len() + self.payload.len() + size_of::<Self>()
    }
}

/// What LISTEN and UNLISTEN change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// LISTEN
    Start(String),
    /// UNLISTEN
    Stop(String),
    /// UNLISTEN *
    StopAll,
}

#[derive(Debug)]
struct Listener {
    database: Oid,
    channels: BTreeSet<String>,
    queue: VecDeque<Notification>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Listeners {
    by_process: HashMap<i32, Listener>,
    bytes: usize,
}

/// All listeners of a server.
#[derive(Debug, Default)]
pub struct Notifications {
    listeners: Mutex<Listeners>,
}

impl Notifications {
    /// 54000 if listeners have too much to read already.
    pub fn check_room(&self) -> Result<()> {
        if self.listeners.lock().bytes < QUEUE_BYTES_MAX {
            return Ok(());
        }
        Err(PgError::new(
            sqlstate::PROGRAM_LIMIT_EXCEEDED,
            "too many notifications in the NOTIFY queue",
        ))
    }

    /// How full the queues are, from 0 to 1.
    pub fn usage(&self) -> f64 {
        let used = self.listeners.lock().bytes as f64 / QUEUE_BYTES_MAX as f64;
        used.min(1.0)
    }

    /// Does what a transaction of `process_id` that has committed said. `wake` is told when the session has something to read.
    pub fn publish(
        &self,
        process_id: i32,
        database: Oid,
        wake: &Arc<Notify>,
        listening: Vec<Listening>,
        notifications: Vec<Notification>,
    ) {
        let mut listeners = self.listeners.lock();
        for change in listening {
            match change {
                Listening::Start(channel) => {
                    let listener = listeners.by_process.entry(process_id);
                    let listener = listener.or_insert_with(|| Listener {
                        database,
                        channels: BTreeSet::new(),
                        queue: VecDeque::new(),
                        wake: Arc::clone(wake),
                    });
                    listener.channels.insert(channel);
                }
                Listening::Stop(channel) => {
                    if let Some(listener) = listeners.by_process.get_mut(&process_id) {
                        listener.channels.remove(&channel);
                    }
                }
                Listening::StopAll => {
                    if let Some(listener) = listeners.by_process.get_mut(&process_id) {
                        listener.channels.clear();
                    }
                }
            }
        }
        let mut added = 0;
        for listener in listeners.by_process.values_mut() {
            if listener.database != database {
                continue;
            }
            let before = listener.queue.len();
            for notification in &notifications {
                if listener.channels.contains(notification.channel.as_ref()) {
                    added += notification.bytes();
                    listener.queue.push_back(notification.clone());
                }
            }
            if listener.queue.len() > before {
                listener.wake.notify_one();
            }
        }
        listeners.bytes += added;
    }

    /// Takes what a session is to be sent.
    pub fn take(&self, process_id: i32) -> Vec<Notification> {
        let mut listeners = self.listeners.lock();
        let Some(listener) = listeners.by_process.get_mut(&process_id) else {
            return Vec::new();
        };
        let taken: Vec<_> = listener.queue.drain(..).collect();
        if listener.channels.is_empty() {
            listeners.by_process.remove(&process_id);
        }
        let bytes: usize = taken.iter().map(Notification::bytes).sum();
        listeners.bytes = listeners.bytes.saturating_sub(bytes);
        taken
    }

    /// The channels that a session listens to.
    pub fn channels(&self, process_id: i32) -> Vec<String> {
        let listeners = self.listeners.lock();
        let listener = listeners.by_process.get(&process_id);
        listener.map_or_else(Vec::new, |one| one.channels.iter().cloned().collect())
    }

    /// The session has ended.
    pub fn end_session(&self, process_id: i32) {
        self.take(process_id);
        self.listeners.lock().by_process.remove(&process_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_the_database_get_what_was_published() {
        let all = Notifications::default();
        let wake = Arc::new(Notify::new());
        let listen = |process, database| {
            let start = vec![Listening::Start("c".into())];
            all.publish(process, database, &wake, start, Vec::new());
        };
        listen(1, 7);
        listen(2, 8);
        let one = Notification::new(3, "c", "x").unwrap();
        all.publish(3, 7, &wake, Vec::new(), vec![one.clone()]);
        assert!(all.usage() > 0.0);
        assert_eq!(all.take(1), [one]);
        assert_eq!(all.take(2), []);
        assert!(all.usage().abs() < f64::EPSILON);
        all.publish(1, 7, &wake, vec![Listening::StopAll], Vec::new());
        assert!(all.channels(1).is_empty());
    }

    #[test]
    fn limits_are_postgresqls() {
        assert!(Notification::new(1, "", "").is_err());
        assert!(Notification::new(1, &"c".repeat(63), &"x".repeat(7_999)).is_ok());
        assert!(Notification::new(1, &"c".repeat(64), "").is_err());
        assert!(Notification::new(1, "c", &"x".repeat(8_000)).is_err());
    }
}
