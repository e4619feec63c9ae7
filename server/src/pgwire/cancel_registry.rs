//! Which connection a CancelRequest means, and whether it may.
//!
//! One entry per live connection. A request with a wrong key does nothing and tells nothing.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::entropy;
use crate::session::cancel::{CancelReason, Canceller};

/// Secret key of protocol 3.2.
const LONG_KEY_BYTES: usize = 32;

/// Secret key of protocol 3.0, which has room for no more.
const SHORT_KEY_BYTES: usize = 4;

/// All live connections by process id.
#[derive(Default)]
pub struct CancelRegistry {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_process: HashMap<i32, Entry>,
    last_process: i32,
}

struct Entry {
    secret: Vec<u8>,
    canceller: Canceller,
}

impl CancelRegistry {
    /// Enters a connection under a new process id.
    pub fn register(self: &Arc<Self>, long_key: bool) -> Registration {
        let secret = if long_key {
            entropy::bytes::<LONG_KEY_BYTES>().to_vec()
        } else {
            entropy::bytes::<SHORT_KEY_BYTES>().to_vec()
        };
        let canceller = Canceller::default();
        let mut entries = self.entries.lock();
        let process_id = entries.free_process_id();
        let entry = Entry {
            secret: secret.clone(),
            canceller: canceller.clone(),
        };
        entries.by_process.insert(process_id, entry);
        drop(entries);
        Registration {
            registry: Arc::clone(self),
            process_id,
            secret,
            canceller,
        }
    }

    /// Cancels what the connection runs, if the key is right.
    pub fn cancel(&self, process_id: i32, secret: &[u8]) {
        let entries = self.entries.lock();
        if let Some(entry) = entries.by_process.get(&process_id)
            && equal_in_constant_time(&entry.secret, secret)
        {
            entry.canceller.cancel(CancelReason::User);
        } else {
            tracing::info!(
                process_id,
                "cancel request with an unknown process id or a wrong key"
            );
        }
    }

    /// Cancels what every connection runs.
    pub fn cancel_all(&self, reason: CancelReason) {
        for entry in self.entries.lock().by_process.values() {
            entry.canceller.cancel(reason);
        }
    }
}

impl Entries {
    fn free_process_id(&mut self) -> i32 {
        // Process ids are positive, and far more than there can be connections.
        loop {
            self.last_process = self.last_process.checked_add(1).unwrap_or(1);
            if !self.by_process.contains_key(&self.last_process) {
                return self.last_process;
            }
        }
    }
}

/// A connection's entry; dropped, the entry goes.
pub struct Registration {
    registry: Arc<CancelRegistry>,
    /// Told to the client.
    pub process_id: i32,
    /// Told to the client.
    pub secret: Vec<u8>,
    /// Cancels this connection's statements.
    pub canceller: Canceller,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry
            .entries
            .lock()
            .by_process
            .remove(&self.process_id);
    }
}

/// Compares without telling by its time how many bytes agree. The length is no secret.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |sum, (one, other)| sum | (one ^ other));
    left.len() == right.len() && black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CancelRegistry, LONG_KEY_BYTES, SHORT_KEY_BYTES};
    use crate::session::cancel::CancelReason;

    #[tokio::test]
    async fn only_the_right_key_cancels() {
        let registry = Arc::new(CancelRegistry::default());
        let one = registry.register(false);
        let other = registry.register(true);
        assert_eq!(
            (one.secret.len(), other.secret.len()),
            (SHORT_KEY_BYTES, LONG_KEY_BYTES)
        );
        let token = one.canceller.start_statement(None);
        registry.cancel(one.process_id, &other.secret);
        registry.cancel(one.process_id, &one.secret[..3]);
        registry.cancel(other.process_id, &one.secret);
        tokio::select! {
            biased;
            _ = token.cancelled() => panic!("cancelled with a wrong key"),
            () = tokio::task::yield_now() => {}
        }
        registry.cancel(one.process_id, &one.secret);
        assert_eq!(token.cancelled().await, CancelReason::User);
    }

    #[test]
    fn an_entry_goes_with_its_connection() {
        let registry = Arc::new(CancelRegistry::default());
        let process_id = registry.register(true).process_id;
        assert!(registry.entries.lock().by_process.is_empty());
        assert_ne!(registry.register(true).process_id, process_id);
    }
}
