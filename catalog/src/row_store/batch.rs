//! What one write of the row store applies: a batch over all keyspaces, and sweeps below it.
//!
//! A **sweep** deletes keys of one keyspace, or gives all of them one value. As entries of the batch each of
//! them would go through the journal, a memtable and later a file, and every other commit would wait meanwhile; where they are
//! many and come in order, a sweep goes straight into a file of the LSM tree, with a tenth of the work.
//!
//! - **Readers** see sweeps and batch at once: all of them read copies of the snapshot that the store takes after the batch
//!   ([`super::RowStore::snapshot`]).
//! - **A crash** can fall between them: each sweep is on disk before the next one begins, and all before the batch is.
//!   So only what recovery does again or goes on with may be swept, and in the order it relies on.
//! - Entries of the batch are newer than the sweeps, whatever order they were added in.

use std::panic::resume_unwind;
use std::sync::mpsc;

use fjall::{Keyspace, OwnedWriteBatch};

use crate::row_codec::Bytes;

/// Keys from which on a sweep is worth a file of its own: making one flushes the memtable, and waits for the disk several times.
const SWEPT_KEYS_MIN: usize = 4_096;

/// Writes that become visible together.
pub(crate) struct StoreBatch {
    batch: OwnedWriteBatch,
    sweeps: Vec<Sweep>,
}

/// Deletes keys of a keyspace, or gives all of them one value.
pub(crate) struct Sweep {
    pub(crate) keyspace: Keyspace,
    /// In order, each once; if they are not, they go into the batch.
    pub(crate) keys: Vec<Bytes>,
    /// `None` deletes.
    pub(crate) value: Option<&'static [u8]>,
}

impl StoreBatch {
    pub(super) fn new(batch: OwnedWriteBatch) -> Self {
        Self {
            batch,
            sweeps: Vec::new(),
        }
    }

    /// Sets the value of a key.
    pub(crate) fn insert(
        &mut self,
        keyspace: &Keyspace,
        key: impl Into<fjall::Slice>,
        value: impl Into<fjall::Slice>,
    ) {
        self.batch.insert(keyspace, key, value);
    }

    /// Deletes a key.
    pub(crate) fn remove(&mut self, keyspace: &Keyspace, key: impl Into<fjall::Slice>) {
        self.batch.remove(keyspace, key);
    }

    /// Adds sweeps, which reach the disk in this order and before the rest, all of them as files or all with the batch.
    pub(crate) fn sweep(&mut self, sweeps: Vec<Sweep>) {
        if are_worth_files(&sweeps) {
            self.sweeps.extend(sweeps);
            return;
        }
        for Sweep {
            keyspace,
            keys,
            value,
        } in sweeps
        {
            for key in keys {
                match value {
                    Some(value) => self.batch.insert(&keyspace, &*key, value),
                    None => self.batch.remove(&keyspace, &*key),
                }
            }
        }
    }

    /// Applies all of it; what is applied is on disk.
    pub(super) fn commit(self) -> fjall::Result<()> {
        std::thread::scope(|scope| {
            // The files are filled at the same time, and finished one after the other.
            let mut filling = Vec::with_capacity(self.sweeps.len());
            for sweep in &self.sweeps {
                let (go, turn) = mpsc::channel();
                filling.push((go, scope.spawn(move || sweep.apply(&turn))));
            }
            for (go, thread) in filling {
                // One that has failed already does not wait for it.
                let _ = go.send(());
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                crate::crash_point!("row_store::swept");
            }
            Ok::<_, fjall::Error>(())
        })?;
        self.batch.commit()
    }
}

fn are_worth_files(sweeps: &[Sweep]) -> bool {
    let ordered = |sweep: &Sweep| sweep.keys.is_sorted_by(|before, after| before < after);
    // Tests sweep few keys too.
    fail::fail_point!("row_store::sweep_all", |_| sweeps.iter().all(ordered));
    sweeps
        .iter()
        .any(|sweep| sweep.keys.len() >= SWEPT_KEYS_MIN)
        && sweeps.iter().all(ordered)
}

impl Sweep {
    /// Writes its entries to a file, which becomes part of the keyspace when it is its turn. If that never comes, nobody ever
    /// knows of the file.
    fn apply(&self, turn: &mpsc::Receiver<()>) -> fjall::Result<()> {
        let mut file = self.keyspace.start_ingestion()?;
        for key in &self.keys {
            match self.value {
                Some(value) => file.write(&**key, value)?,
                None => file.write_tombstone(&**key)?,
            }
        }
        match turn.recv() {
            Ok(()) => file.finish(),
            Err(mpsc::RecvError) => Ok(()),
        }
    }
}
