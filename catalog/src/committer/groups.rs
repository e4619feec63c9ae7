//! Who makes groups of commit requests: the committer's thread, or for a small one nobody else waits with, its caller.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{CommitLog, CommitRequest, Waiting};

/// Rows that a transaction may write, and what groups may take of late, for it to be committed by the thread that asks for it.
const QUICK_ROWS_MAX: usize = 64;
const QUICK_GROUP_US: u64 = 1_000;

/// Requests that share one fsync at the most.
const GROUP_MAX: usize = 1_024;

/// What the thread shares with those who commit without it.
pub(super) struct Shared {
    /// Poisoned by a panic in the midst of a commit; then nobody commits any more.
    log: Mutex<CommitLog>,
    /// Requests that the thread was sent and has not begun.
    waiting: AtomicUsize,
    /// Whether the last group was of one request, and nobody had to wait for it.
    lonely: AtomicBool,
    /// What a group took of late, in microseconds.
    group_us: AtomicU64,
    /// Whether other threads take requests in while one of them commits. Were there none, nobody would ever be seen to wait, and each
    /// request would be a group of its own.
    others_go_on: bool,
}

impl Shared {
    pub(super) fn new(log: CommitLog) -> Self {
        let workers = Handle::try_current().map_or(0, |handle| handle.metrics().num_workers());
        Self {
            others_go_on: workers > 1,
            log: Mutex::new(log),
            waiting: AtomicUsize::new(0),
            lonely: AtomicBool::new(true),
            group_us: AtomicU64::new(0),
        }
    }

    /// Says that the thread is about to be sent a request.
    pub(super) fn sending(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a request may be committed by the thread that asks for it.
    fn is_quick(&self, request: &CommitRequest) -> bool {
        let rows = request.tables.iter().map(|(_, writes)| writes.rows.len());
        self.others_go_on
            && self.lonely.load(Ordering::Relaxed)
            && self.group_us.load(Ordering::Relaxed) <= QUICK_GROUP_US
            && self.waiting.load(Ordering::Acquire) == 0
            && request.row_move.is_none()
            && request.loads.is_empty()
            && request.fill.is_none()
            && rows.sum::<usize>() <= QUICK_ROWS_MAX
    }

    /// Commits on this thread, unless that may take long or others wait; then the request is given back.
    pub(super) fn commit_here(&self, waiting: Waiting) -> Option<Waiting> {
        if !self.is_quick(&waiting.request) {
            return Some(waiting);
        }
        let Ok(mut log) = self.log.try_lock() else {
            return Some(waiting);
        };
        self.commit(&mut log, vec![waiting]);
        None
    }

    fn commit(&self, log: &mut CommitLog, group: Vec<Waiting>) {
        let requests = group.len();
        let begun = Instant::now();
        log.commit_group(group);
        log.forget();
        let taken = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let before = self.group_us.load(Ordering::Relaxed);
        // One slow group is forgotten after some quick ones.
        let of_late = (before.saturating_mul(7).saturating_add(taken)) / 8;
        self.group_us.store(of_late, Ordering::Relaxed);
        let lonely = requests == 1 && self.waiting.load(Ordering::Acquire) == 0;
        self.lonely.store(lonely, Ordering::Relaxed);
    }
}

/// The thread: makes groups of the requests that wait.
pub(super) fn run(shared: &Shared, mut receiver: mpsc::Receiver<Waiting>) {
    let alone = |waiting: &Waiting| waiting.request.is_alone();
    let mut next = None;
    while let Some(first) = next.take().or_else(|| receiver.blocking_recv()) {
        // Who commits meanwhile without this thread, is soon done; more requests may come.
        let Ok(mut log) = shared.log.lock() else {
            return;
        };
        let mut open = !alone(&first);
        let mut group = vec![first];
        while open && group.len() < GROUP_MAX {
            match receiver.try_recv() {
                Ok(waiting) if alone(&waiting) => {
                    next = Some(waiting);
                    open = false;
                }
                Ok(waiting) => group.push(waiting),
                Err(_) => open = false,
            }
        }
        shared.waiting.fetch_sub(group.len(), Ordering::AcqRel);
        shared.commit(&mut log, group);
    }
}
