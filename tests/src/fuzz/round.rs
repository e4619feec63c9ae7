//! The server that is fuzzed, and what counts as a failure of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::corpus::{self, Script};
use crate::harness::process;
use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::{Wire, WireError};

/// A statement that takes longer is cancelled by the server itself.
pub(super) const STATEMENT_TIMEOUT_MS: u32 = 2000;
/// One that is not answered by then hangs: the statement's timeout, and what a busy machine adds.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Resident memory above which the server has grown without bound. Queries may take `--query-memory-mb`.
const MEMORY_MAX: u64 = 1536 << 20;
const QUERY_MEMORY: &str = "256";
/// Inputs shown of a round that failed.
const SHOWN: usize = 4;
/// Lines of the log in which a panic is told.
const PANIC_MARKS: &[&str] = &["panicked at", "a statement panicked", "stack overflow"];

/// A failure.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is, the same for the same fault.
    pub kind: String,
    /// What was sent before it was seen.
    pub sent: String,
}

/// A server, and what is kept of the run.
pub struct Target {
    pub scripts: Vec<Script>,
    pub inputs: u64,
    pub errors: u64,
    pub memory_most: u64,
    pub memory_now: u64,
    /// Answers with XX000 that are no panic, their number and one statement.
    pub internal: BTreeMap<String, (u64, String)>,
    server: Server,
    log_read: usize,
    /// The end of what was sent in this round.
    sent: Vec<String>,
}

impl Target {
    pub fn start() -> Result<Self, Failed> {
        Ok(Self {
            scripts: corpus::scripts()?,
            inputs: 0,
            errors: 0,
            memory_most: 0,
            memory_now: 0,
            internal: BTreeMap::new(),
            server: launch()?,
            log_read: 0,
            sent: Vec::new(),
        })
    }

    /// What a round draws from.
    pub fn random(seed: u64, number: u64) -> StdRng {
        StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number)
    }

    pub fn begin_round(&mut self) {
        self.sent.clear();
    }

    /// Notes an input before it is sent.
    pub fn sending(&mut self, input: &str) {
        self.inputs += 1;
        self.sent.push(input.to_string());
    }

    /// A connection to an own database of the round.
    pub fn connect(&self, database: &str) -> Result<Wire, WireError> {
        Wire::connect_within(&self.server.login(database), ANSWER_LIMIT)
    }

    /// Where the server listens.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// An empty database.
    pub fn make_database(&mut self, name: &str) -> Result<(), WireError> {
        let mut wire = self.connect(DATABASE)?;
        wire.simple(&format!("CREATE DATABASE {name}"))?;
        Ok(())
    }

    /// Takes a round's database away; the sessions in it may end a moment after their sockets.
    pub fn drop_database(&mut self, name: &str) -> Result<(), WireError> {
        let mut wire = self.connect(DATABASE)?;
        let start = Instant::now();
        loop {
            match wire.simple(&format!("DROP DATABASE {name}")) {
                Err(error) if error.code() == Some("55006") && start.elapsed() < ANSWER_LIMIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other.map(|_| ()),
            }
        }
    }

    /// Counts an error that the server answered. An internal error is noted, a panic is a failure.
    pub fn judge(&mut self, error: &WireError) -> Option<Finding> {
        self.errors += 1;
        match error {
            WireError::Db(error) if error.code == "XX000" => {
                if error.message.contains("failed unexpectedly") {
                    // Which panic it was, the log tells.
                    return self
                        .new_panic()
                        .or_else(|| Some(self.finding("a statement failed unexpectedly".into())));
                }
                let message: String = error.message.chars().take(160).collect();
                let input = self.sent.last().cloned().unwrap_or_default();
                let noted = self.internal.entry(general(&message)).or_insert((0, input));
                noted.0 += 1;
                None
            }
            WireError::Db(_) => None,
            WireError::Protocol(what) => Some(self.finding(format!("protocol: {}", general(what)))),
            WireError::Io(what) => Some(self.finding(format!("no answer: {what}"))),
            WireError::Closed => None,
        }
    }

    /// What came into the log since it was looked at the last time.
    pub fn new_panic(&mut self) -> Option<Finding> {
        let log = self.server.log();
        let new = log.get(self.log_read..).unwrap_or_default().to_string();
        self.log_read = log.len();
        let mut lines = new.lines();
        let line = lines.find(|line| PANIC_MARKS.iter().any(|mark| line.contains(mark)))?;
        // The place stands in one line, the message in the next.
        let message = lines.next().unwrap_or_default();
        let place = line.split("panicked at").nth(1).unwrap_or(line);
        Some(self.finding(format!("panic at {} {}", place.trim(), message.trim())))
    }

    /// At the end of a round: is the server there, did it panic, has it grown?
    pub fn end_round(&mut self) -> Result<Vec<Finding>, Failed> {
        let mut findings = Vec::new();
        findings.extend(self.new_panic());
        let answer = self
            .connect(DATABASE)
            .and_then(|mut wire| wire.number("SELECT 1"));
        let alive = self.server.wait_for_end(Duration::ZERO).is_err();
        if !alive || answer.is_err() {
            findings.extend(self.new_panic());
            let why = if alive {
                "the server does not answer".to_string()
            } else {
                "the server ended".to_string()
            };
            findings.push(self.finding(format!("{why}: {}", self.last_words())));
            self.restart()?;
            return Ok(findings);
        }
        let memory = process::resident_bytes(self.server.id()?)?;
        self.memory_now = memory;
        self.memory_most = self.memory_most.max(memory);
        if memory > MEMORY_MAX {
            findings.push(self.finding("the server has grown".into()));
            self.restart()?;
        }
        Ok(findings)
    }

    pub fn finding(&self, kind: String) -> Finding {
        let shown = self.sent.len().saturating_sub(SHOWN);
        Finding {
            kind,
            sent: self.sent[shown..].join("\n--- next\n"),
        }
    }

    fn last_words(&self) -> String {
        let log = self.server.log();
        let line = log.lines().rev().find(|line| {
            line.contains("overflow") || line.contains("panicked") || line.contains("allocation")
        });
        line.or_else(|| log.lines().next_back())
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect()
    }

    fn restart(&mut self) -> Result<(), Failed> {
        self.server = launch()?;
        self.log_read = 0;
        Ok(())
    }
}

fn launch() -> Result<Server, Failed> {
    Server::start(Options::default().with_arguments(&["--query-memory-mb", QUERY_MEMORY]))
}

/// A message without its numbers and quoted parts, so that the same fault has the same name.
fn general(message: &str) -> String {
    let mut text = String::new();
    let mut quoted = false;
    for c in message.chars() {
        if c == '"' {
            quoted = !quoted;
            text.push(c);
        } else if quoted {
        } else if c.is_ascii_digit() {
            if !text.ends_with('0') {
                text.push('0');
            }
        } else {
            text.push(c);
        }
    }
    text
}
