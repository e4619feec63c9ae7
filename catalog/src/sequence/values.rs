//! Giving out the values of sequences.
//!
//! Values are reserved in ranges: the position behind the range is on disk before the first value of it is given out, so none
//! is given out twice, whenever the process ends; what was reserved and not used is skipped then, as in PostgreSQL. A server
//! that is stopped stores where its sequences really stand. The sequence's lock is held while a range is written, and nothing
//! that holds it waits for anything but the committer.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{Position, SequenceDef, check_bounds, exhausted};
use crate::catalog::Catalog;
use crate::committer::CommitRequest;
use crate::definitions::StorageId;
use crate::error::Result;
use crate::row_store::{Space, meta_key};

/// Values that are reserved at a time, at the least.
const RESERVED_MIN: u64 = 32;

/// Values that are reserved at a time for a sequence that is asked often, beyond those that one statement takes.
const RESERVED_MAX: u64 = 1_024;

/// A range that was used up sooner than this is followed by one of twice its size.
const RESERVED_LASTS: Duration = Duration::from_millis(200);

/// Where the sequences stand whose values were asked for since the start.
#[derive(Default)]
pub(crate) struct Sequences {
    states: Mutex<HashMap<StorageId, Arc<Mutex<State>>>>,
}

struct State {
    position: Position,
    /// Values behind the position that are reserved, for this step.
    reserved: u64,
    increment: i64,
    /// Size of the last range, and when it was reserved.
    range: u64,
    since: Option<Instant>,
}

impl State {
    fn at(position: Position) -> Self {
        Self {
            position,
            reserved: 0,
            increment: 0,
            range: RESERVED_MIN,
            since: None,
        }
    }
}

impl Catalog {
    /// The next values of a sequence, in the order it gives them out: no other call ever gets one of them.
    pub fn next_values(&self, def: &SequenceDef, count: usize) -> Result<Vec<i64>> {
        let state = self.sequence(def)?;
        let mut state = state.lock();
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            // A range of another step is given up: what it holds may not be what comes next now.
            if state.reserved == 0 || state.increment != def.rule.increment {
                let wanted = (count - values.len()) as u64;
                self.reserve(def, &mut state, wanted)?;
            }
            let Position { last, is_called } = state.position;
            let value = match is_called {
                true => def.rule.next(last).ok_or_else(|| exhausted(def))?,
                false => last,
            };
            state.position = Position {
                last: value,
                is_called: true,
            };
            state.reserved -= 1;
            values.push(value);
        }
        Ok(values)
    }

    /// Sets where a sequence stands.
    pub fn set_position(&self, def: &SequenceDef, position: Position) -> Result<()> {
        check_bounds(def, position.last)?;
        let state = self.sequence(def)?;
        let mut state = state.lock();
        self.store_position(def.storage, position)?;
        *state = State::at(position);
        Ok(())
    }

    /// Where a sequence stands.
    pub fn position(&self, def: &SequenceDef) -> Result<Position> {
        let state = self.sequence(def)?;
        let position = state.lock().position;
        Ok(position)
    }

    /// Stores where all sequences stand, so that the next start goes on there. For a server that is being stopped.
    pub fn settle_sequences(&self) -> Result<()> {
        let states: Vec<_> = {
            let states = self.sequences.states.lock();
            let states = states.iter();
            states.map(|(at, state)| (*at, Arc::clone(state))).collect()
        };
        for (storage, state) in states {
            let mut state = state.lock();
            if state.reserved > 0 {
                self.store_position(storage, state.position)?;
                state.reserved = 0;
            }
        }
        Ok(())
    }

    /// Forgets the position of a sequence that is gone.
    pub(crate) async fn forget_sequence(&self, storage: StorageId) -> Result<()> {
        self.sequences.states.lock().remove(&storage);
        let key = meta_key::sequence(storage);
        if self.snapshot().contains(Space::Meta, &key)? {
            self.commit(of_position(key, None)).await?;
        }
        Ok(())
    }

    fn sequence(&self, def: &SequenceDef) -> Result<Arc<Mutex<State>>> {
        let mut states = self.sequences.states.lock();
        if let Some(state) = states.get(&def.storage) {
            return Ok(Arc::clone(state));
        }
        let stored = self
            .snapshot()
            .get(Space::Meta, meta_key::sequence(def.storage))?;
        let position = match stored {
            Some(json) => serde_json::from_slice(&json)?,
            None => def.first,
        };
        let state = Arc::new(Mutex::new(State::at(position)));
        states.insert(def.storage, Arc::clone(&state));
        Ok(state)
    }

    /// Reserves the next values, at least one.
    fn reserve(&self, def: &SequenceDef, state: &mut State, wanted: u64) -> Result<()> {
        let rule = &def.rule;
        let Position { last, is_called } = state.position;
        let first = match is_called {
            false => last,
            true => match rule.next(last) {
                Some(next) => next,
                None if rule.cycle => rule.again(),
                None => return Err(exhausted(def)),
            },
        };
        let soon = |since: Instant| since.elapsed() < RESERVED_LASTS;
        let range = match state.since.is_some_and(soon) {
            true => state.range.saturating_mul(2).min(RESERVED_MAX),
            false => RESERVED_MIN,
        };
        let count = range.max(wanted).min(rule.left(first));
        // No value beyond the bounds: `left` has counted them.
        let steps = i64::try_from(count - 1).unwrap_or(i64::MAX);
        let stored = Position {
            last: first.saturating_add(rule.increment.saturating_mul(steps)),
            is_called: true,
        };
        self.store_position(def.storage, stored)?;
        *state = State {
            position: Position {
                last: first,
                is_called: false,
            },
            reserved: count,
            increment: rule.increment,
            range,
            since: Some(Instant::now()),
        };
        Ok(())
    }

    fn store_position(&self, storage: StorageId, position: Position) -> Result<()> {
        let json = serde_json::to_vec(&position)?;
        let request = of_position(meta_key::sequence(storage), Some(json));
        wait(self.commit(request))?;
        Ok(())
    }
}

/// A commit of a position. It conflicts with nothing: the sequence's lock orders them.
fn of_position(key: String, value: Option<Vec<u8>>) -> CommitRequest {
    CommitRequest {
        snapshot_csn: u64::MAX,
        meta: vec![(key, value)],
        ..CommitRequest::default()
    }
}

/// Waits for the committer's thread where nothing can be awaited: values are asked for in the middle of an expression. Other
/// tasks of this thread go on elsewhere meanwhile.
fn wait<T>(commit: impl Future<Output = T>) -> T {
    // Inside a task that has used up its budget, nothing would ever be ready.
    let blocking = || futures::executor::block_on(tokio::task::unconstrained(commit));
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(blocking),
        _ => blocking(),
    }
}
