//! One history: a server, a table, and a random sequence of what can happen to it.

use std::collections::BTreeSet;
use std::fmt;

use libtest_mimic::Failed;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::check;
use super::flat::Flat;
use super::step::Dml;
use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::{Format, Reply, Wire, WireError};

/// The table under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Open,
    Hybrid,
}

impl Kind {
    fn definition(self, random: &mut StdRng) -> String {
        let options = match self {
            Self::Open => String::new(),
            Self::Hybrid => {
                let rule = "closed_when = 'closed_on IS NOT NULL'";
                match DIVISIONS.choose(random).copied().flatten() {
                    Some(division) => {
                        format!(" WITH ({rule}, closed_partition_by = '{division}')")
                    }
                    None => format!(" WITH ({rule})"),
                }
            }
        };
        format!(
            "CREATE TABLE m (k1 integer, k2 text, v bigint NOT NULL, note text, closed_on date, \
             PRIMARY KEY (k1, k2)){options}"
        )
    }
}

/// How closed files are divided.
const DIVISIONS: [Option<&str>; 6] = [
    None,
    Some("bucket(3, k1)"),
    Some("day(closed_on)"),
    Some("k2, bucket(2, k1)"),
    Some("month(closed_on), bucket(4, k2)"),
    Some("v"),
];

/// Indexes that come and go. The unique one repeats the key, so that it refuses what the key refuses.
const INDEXES: [(&str, &str); 5] = [
    ("m_v", "(v)"),
    ("m_note", "(note, v DESC)"),
    ("m_closed", "(closed_on DESC NULLS LAST, k1)"),
    ("m_k2", "(k2, note NULLS FIRST)"),
    ("m_unique", "UNIQUE (k2, k1)"),
];

/// How often what happened.
#[derive(Debug, Default)]
pub struct Done {
    statements: u64,
    refused: u64,
    commits: u64,
    rollbacks: u64,
    housekeeping: u64,
    offloads: u64,
    indexes: u64,
    divisions: u64,
    restarts: u64,
    kills: u64,
    rows: usize,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} statements ({} refused as they must), {} commits, {} rollbacks, \
             {} housekeeping runs, {} offloads, {} indexes made or dropped, {} divisions, {} restarts, {} kills, {} rows at the end",
            self.statements,
            self.refused,
            self.commits,
            self.rollbacks,
            self.housekeeping,
            self.offloads,
            self.indexes,
            self.divisions,
            self.restarts,
            self.kills,
            self.rows
        )
    }
}

/// How a statement goes to the server.
type Send = fn(&mut Wire, &str) -> Result<Reply, WireError>;

/// Something that happens to the table.
#[derive(Debug, Clone, Copy)]
enum Event {
    Statement,
    /// A statement as drivers send it: parsed, bound, executed.
    Prepared,
    Transaction,
    Housekeeping,
    Offload,
    Truncate,
    /// An index is made, or dropped.
    Index,
    /// Closed files are divided in another way.
    Divide,
    Restart,
    Kill,
    /// kill -9 with a transaction open: all of it must be gone.
    KillInTransaction,
}

impl Event {
    fn draw(random: &mut StdRng, kind: Kind) -> Self {
        match random.random_range(0..1000) {
            0..=349 => Self::Statement,
            350..=549 => Self::Prepared,
            550..=749 => Self::Transaction,
            750..=789 => Self::Offload,
            790..=829 => Self::Index,
            830..=839 if kind == Kind::Hybrid => Self::Divide,
            830..=929 if kind == Kind::Hybrid => Self::Housekeeping,
            830..=929 => Self::Statement,
            930..=934 => Self::Truncate,
            935..=959 => Self::Restart,
            960..=984 => Self::Kill,
            _ => Self::KillInTransaction,
        }
    }

    /// Whether it is one statement of a client.
    fn is_plain(self) -> bool {
        matches!(self, Self::Statement | Self::Prepared)
    }
}

struct History<'a> {
    server: &'a mut Server,
    wire: Wire,
    kind: Kind,
    random: StdRng,
    flat: Flat,
    /// Indexes that there are.
    indexes: BTreeSet<&'static str>,
    done: Done,
    /// What was done, newest last, for the failure message.
    log: Vec<String>,
}

/// Statements shown with a failure.
const LOG_SHOWN: usize = 25;

/// Runs a history of `steps` events; a failure names the seed and the last statements.
pub fn run(kind: Kind, seed: u64, steps: u64) -> Result<Done, Failed> {
    // Housekeeping as it does it for a few rows, for many in rounds, and for most of a table; inserts as of a few rows, and of many.
    let moves = match seed % 3 {
        0 => "",
        1 => "housekeeping::round_rows=return(5)",
        _ => "housekeeping::copies=return",
    };
    let inserts = match seed / 3 % 2 {
        0 => "",
        _ => "bulk_load::rows_min=return(1);bulk_load::round_bytes=return(1)",
    };
    let points: Vec<&str> = [moves, inserts]
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect();
    let options = match points.is_empty() {
        true => Options::default(),
        false => Options::failpoint(&points.join(";")),
    };
    Server::start(options)?.scope(|server| {
        let mut wire = server.connect()?;
        let mut random = StdRng::seed_from_u64(seed);
        wire.simple(&kind.definition(&mut random))?;
        let (flat, done, log) = (Flat::default(), Done::default(), Vec::new());
        let indexes = BTreeSet::new();
        let mut history = History {
            server,
            wire,
            kind,
            random,
            flat,
            indexes,
            done,
            log,
        };
        for step in 0..steps {
            let event = Event::draw(&mut history.random, kind);
            let outcome = history.happen(event).and_then(|()| match event.is_plain() {
                true => history.glance(),
                false => history.check(),
            });
            outcome.map_err(|failure| {
                let at = format!("step {step} ({event:?})");
                history.failure(seed, &at, &failure)
            })?;
        }
        let end = history.check();
        end.map_err(|failure| history.failure(seed, "the end", &failure))?;
        history.done.rows = history.flat.rows.len();
        Ok(history.done)
    })
}

impl History<'_> {
    fn happen(&mut self, event: Event) -> Result<(), Failed> {
        match event {
            Event::Statement => self.statement(Wire::query).map(|_| ()),
            Event::Prepared => self
                .statement(|wire, sql| wire.extended(sql, &[], Format::Text))
                .map(|_| ()),
            Event::Offload => {
                self.run("CALL nyala.offload('m')")?;
                self.done.offloads += 1;
                Ok(())
            }
            Event::Transaction => self.transaction(),
            Event::Housekeeping => {
                self.run("CALL nyala.housekeeping('m')")?;
                self.done.housekeeping += 1;
                check::settled(&mut self.wire, &self.flat)
            }
            Event::Truncate => {
                self.run("TRUNCATE m")?;
                self.flat.rows.clear();
                Ok(())
            }
            Event::Index => self.index(),
            Event::Divide => {
                let sql = match DIVISIONS.choose(&mut self.random).copied().flatten() {
                    Some(division) => {
                        format!("ALTER TABLE m SET (closed_partition_by = '{division}')")
                    }
                    None => "ALTER TABLE m RESET (closed_partition_by)".to_string(),
                };
                self.run(&sql)?;
                self.done.divisions += 1;
                Ok(())
            }
            Event::Restart => {
                self.log.push("-- restart".into());
                self.server.restart()?;
                self.done.restarts += 1;
                self.reconnect()
            }
            Event::Kill => self.kill(),
            Event::KillInTransaction => {
                let before = self.flat.clone();
                self.run("BEGIN")?;
                self.statement(Wire::query)?;
                self.flat = before;
                self.kill()
            }
        }
    }

    /// Makes an index that there is not, or drops one that there is.
    fn index(&mut self) -> Result<(), Failed> {
        let (name, definition) = INDEXES[self.random.random_range(0..INDEXES.len())];
        // Only the primary key of a hybrid table is unique.
        let (unique, columns) = match definition.strip_prefix("UNIQUE ") {
            Some(columns) if self.kind == Kind::Open => ("UNIQUE ", columns),
            Some(columns) => ("", columns),
            None => ("", definition),
        };
        if self.indexes.remove(name) {
            self.run(&format!("DROP INDEX {name}"))?;
        } else {
            self.run(&format!("CREATE {unique}INDEX {name} ON m {columns}"))?;
            self.indexes.insert(name);
        }
        self.done.indexes += 1;
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Failed> {
        self.log.push("-- kill -9".into());
        self.server.crash()?;
        self.done.kills += 1;
        self.reconnect()
    }

    fn reconnect(&mut self) -> Result<(), Failed> {
        self.wire = Wire::connect(&self.server.login(DATABASE))?;
        Ok(())
    }

    fn run(&mut self, sql: &str) -> Result<u64, WireError> {
        self.send(sql, Wire::query)
    }

    fn send(&mut self, sql: &str, send: Send) -> Result<u64, WireError> {
        self.log.push(format!("{sql};"));
        Ok(send(&mut self.wire, sql)?.count())
    }

    /// One random statement; whether it succeeded, as it or its refusal must.
    fn statement(&mut self, send: Send) -> Result<bool, Failed> {
        let dml = Dml::draw(&mut self.random, &self.flat);
        let expected = dml.apply(&mut self.flat);
        let got = self.send(&dml.sql(), send);
        self.done.statements += 1;
        match (expected, got) {
            (Ok(expected), Ok(got)) if expected == got => Ok(true),
            (Err(refusal), Err(error)) if error.code() == Some(refusal.0) => {
                self.done.refused += 1;
                Ok(false)
            }
            (expected, got) => Err(format!("expected {expected:?}, got {got:?}").into()),
        }
    }

    fn transaction(&mut self) -> Result<(), Failed> {
        let (before, indexes_before) = (self.flat.clone(), self.indexes.clone());
        self.run("BEGIN")?;
        let mut savepoint = None;
        for _ in 0..self.random.random_range(1..6) {
            if self.random.random_bool(0.1) {
                self.index()?;
            }
            if savepoint.is_none() && self.random.random_bool(0.3) {
                self.run("SAVEPOINT s")?;
                savepoint = Some((self.flat.clone(), self.indexes.clone()));
            }
            if !self.statement(Wire::query)? {
                let Some(state) = savepoint.clone() else {
                    self.run("ROLLBACK")?;
                    self.done.rollbacks += 1;
                    self.flat = before;
                    self.indexes = indexes_before;
                    return Ok(());
                };
                self.run("ROLLBACK TO SAVEPOINT s")?;
                (self.flat, self.indexes) = state;
            }
            // A transaction reads its own writes.
            self.glance()?;
        }
        if self.random.random_bool(0.7) {
            self.run("COMMIT")?;
            self.done.commits += 1;
        } else {
            self.run("ROLLBACK")?;
            self.done.rollbacks += 1;
            self.flat = before;
            self.indexes = indexes_before;
        }
        Ok(())
    }

    /// Compares the whole table.
    fn check(&mut self) -> Result<(), Failed> {
        check::check(&mut self.wire, self.kind, &self.flat, &mut self.random)
    }

    /// Compares some of it.
    fn glance(&mut self) -> Result<(), Failed> {
        check::glance(&mut self.wire, self.kind, &self.flat, &mut self.random)
    }

    /// A failure with what is needed to repeat it.
    fn failure(&self, seed: u64, at: &str, failure: &Failed) -> Failed {
        let shown = self.log.len().saturating_sub(LOG_SHOWN);
        format!(
            "{:?} table, seed {seed}, {at}: {}\nlast statements:\n{}",
            self.kind,
            failure.message().unwrap_or_default(),
            self.log[shown..].join("\n")
        )
        .into()
    }
}
