//! Rounds of load, end, restart and comparison on one data directory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libtest_mimic::Failed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::ledger::{Ledger, Row};
use super::load::{self, DEFINITION, FIXTURE, FIXTURE_ROWS, INDEX, KEYS_PER_WRITER};
use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::Wire;

const WRITERS: i64 = 4;
const READERS: usize = 2;
/// A named step is reached within this, or the server has no such step.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// Faults shown; the rest are only counted.
const FAULTS_SHOWN: usize = 10;

/// How a round ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// kill -9 this long after the load started.
    KillAfter(Duration),
    /// The server aborts by itself at a named step, after passing it this often.
    AtStep { step: &'static str, passes: u32 },
}

/// What all rounds together did.
#[derive(Debug, Default)]
pub struct Totals {
    rounds: u64,
    pub acknowledged: u64,
    rows: usize,
    reads: u64,
    housekeeping: u64,
    built: u64,
    lost: u64,
    doubled: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} acknowledged row writes checked against {} rows, {} lost, {} doubled, \
             {} consistent reads, {} housekeeping runs, {} indexes built",
            self.rounds,
            self.acknowledged,
            self.rows,
            self.lost,
            self.doubled,
            self.reads,
            self.housekeeping,
            self.built
        )
    }
}

/// How housekeeping takes rows out of the row store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// One by one; the table has indexes, and more are built meanwhile.
    Deleted,
    /// By a copy of the rows that stay.
    Copied,
}

impl Moves {
    /// The server's options with a failpoint, if any.
    fn options(self, step: Option<&str>) -> Options {
        let copies = (self == Self::Copied).then_some("housekeeping::copies=return");
        let points: Vec<&str> = step.into_iter().chain(copies).collect();
        match points.is_empty() {
            true => Options::default(),
            false => Options::failpoint(&points.join(";")),
        }
    }
}

/// The state that lasts from round to round.
pub struct Rounds {
    moves: Moves,
    server: Server,
    random: StdRng,
    ledgers: Vec<Ledger>,
    totals: Totals,
}

type Task<T> = JoinHandle<Result<T, String>>;

impl Rounds {
    /// A server with the table and its fixture rows.
    pub fn start(seed: u64, moves: Moves) -> Result<Self, Failed> {
        let server = Server::start(moves.options(None))?;
        let mut wire = server.connect()?;
        wire.simple(DEFINITION)?;
        if moves == Moves::Deleted {
            wire.simple(INDEX)?;
        }
        wire.simple(&format!(
            "INSERT INTO crash SELECT -x, {FIXTURE}, 1, 'fixture', NULL \
             FROM generate_series(1, {FIXTURE_ROWS}) AS g(x)"
        ))?;
        let ledgers = (0..WRITERS).map(|_| Ledger::default()).collect();
        let random = StdRng::seed_from_u64(seed);
        Ok(Self {
            moves,
            server,
            random,
            ledgers,
            totals: Totals::default(),
        })
    }

    /// A number from the rounds' own generator.
    pub fn draw(&mut self, range: Range<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// What was done so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Load until the end, restart, compare.
    pub fn round(&mut self, end: End) -> Result<(), Failed> {
        self.totals.rounds += 1;
        let round = self.totals.rounds;
        let outcome = self.load_and_end(end).and_then(|()| {
            self.server.start_again(self.moves.options(None))?;
            self.compare()
        });
        outcome.map_err(|failure| {
            let message = failure.message().unwrap_or_default();
            self.server
                .explain(format!("round {round}, {end:?}: {message}"))
        })
    }

    fn load_and_end(&mut self, end: End) -> Result<(), Failed> {
        if let End::AtStep { step, passes } = end {
            let action = match passes {
                0 => format!("{step}=return"),
                passes => format!("{step}={passes}*off->return"),
            };
            self.server.kill();
            self.server.start_again(self.moves.options(Some(&action)))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let login = self.server.login(DATABASE);
        let mut writers: Vec<JoinHandle<(Ledger, Result<(), String>)>> = Vec::new();
        for (writer, mut ledger) in std::mem::take(&mut self.ledgers).into_iter().enumerate() {
            let (login, stop) = (login.clone(), Arc::clone(&stop));
            let seed = self.random.random_range(0..u64::MAX);
            writers.push(std::thread::spawn(move || {
                let result = load::write(&login, writer as i64 + 1, seed, &mut ledger, &stop);
                (ledger, result)
            }));
        }
        let readers: Vec<Task<u64>> = (0..READERS)
            .map(|_| {
                let (login, stop) = (login.clone(), Arc::clone(&stop));
                std::thread::spawn(move || load::read(&login, &stop))
            })
            .collect();
        let seed = self.random.random_range(0..u64::MAX);
        let (index_login, index_stop) = (login.clone(), Arc::clone(&stop));
        let builds = self.moves == Moves::Deleted;
        let indexes: Option<Task<u64>> = builds.then(|| {
            std::thread::spawn(move || load::build_indexes(&index_login, seed, &index_stop))
        });
        let (house_login, house_stop) = (login, Arc::clone(&stop));
        let house: Task<u64> =
            std::thread::spawn(move || load::keep_house(&house_login, seed, &house_stop));

        let ended = match end {
            End::KillAfter(wait) => {
                std::thread::sleep(wait);
                self.server.kill();
                Ok(())
            }
            End::AtStep { .. } => self.server.wait_for_end(STEP_LIMIT).map(|_| ()),
        };
        stop.store(true, Ordering::Relaxed);
        if ended.is_err() {
            self.server.kill();
        }
        let mut faults = Vec::new();
        for writer in writers {
            let (ledger, result) = writer.join().map_err(|_| "writer panicked")?;
            self.ledgers.push(ledger);
            faults.extend(result.err().map(|error| format!("writer: {error}")));
        }
        for reader in readers {
            match reader.join().map_err(|_| "reader panicked")? {
                Ok(checks) => self.totals.reads += checks,
                Err(error) => faults.push(format!("reader: {error}")),
            }
        }
        match house.join().map_err(|_| "housekeeping panicked")? {
            Ok(runs) => self.totals.housekeeping += runs,
            Err(error) => faults.push(format!("housekeeping: {error}")),
        }
        if let Some(indexes) = indexes {
            match indexes.join().map_err(|_| "builder of indexes panicked")? {
                Ok(built) => self.totals.built += built,
                Err(error) => faults.push(format!("indexes: {error}")),
            }
        }
        ended?;
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n").into())
        }
    }

    /// The whole table against all ledgers.
    fn compare(&mut self) -> Result<(), Failed> {
        let mut wire = Wire::connect(&self.server.login(DATABASE))?;
        let twice = wire.texts("SELECT id, count(*) FROM crash GROUP BY id HAVING count(*) > 1")?;
        self.totals.doubled += twice.len() as u64;
        let sql = format!(
            "SELECT id, version, body, closed_at IS NOT NULL FROM crash WHERE writer <> {FIXTURE}"
        );
        let mut found: Vec<BTreeMap<i64, Row>> = vec![BTreeMap::new(); WRITERS as usize];
        let mut rows = 0;
        for row in wire.texts(&sql)? {
            let [id, version, body, closed] = row.as_slice() else {
                return Err(format!("a row of {} columns", row.len()).into());
            };
            let (id, version): (i64, i64) = (id.parse()?, version.parse()?);
            let row = Row {
                version,
                body: body.clone(),
                closed: closed == "t",
            };
            let owner = usize::try_from(id / KEYS_PER_WRITER - 1)?;
            found
                .get_mut(owner)
                .ok_or("a key of no writer")?
                .insert(id, row);
            rows += 1;
        }
        self.totals.rows = rows;
        let mut faults: Vec<String> = twice
            .iter()
            .map(|row| format!("key {} is there {} times", row[0], row[1]))
            .collect();
        for (ledger, found) in self.ledgers.iter_mut().zip(&found) {
            let lost = ledger.settle(found);
            self.totals.lost += lost.len() as u64;
            faults.extend(lost);
        }
        let parts = "SELECT count(*) FROM (SELECT id FROM crash$open UNION ALL \
                     SELECT id FROM crash$closed) parts";
        let whole = wire.number("SELECT count(*) FROM crash")?;
        if wire.number(parts)? != whole {
            faults.push(format!(
                "the parts together do not hold the table's {whole} rows"
            ));
        }
        faults.extend(index_faults(&mut wire)?);
        let fixture = format!("SELECT count(*) FROM crash WHERE writer = {FIXTURE}");
        if wire.number(&fixture)? != FIXTURE_ROWS {
            faults.push("fixture rows are missing".into());
        }
        self.totals.acknowledged = self.ledgers.iter().map(|ledger| ledger.writes).sum();
        if faults.is_empty() {
            return Ok(());
        }
        let count = faults.len();
        faults.truncate(FAULTS_SHOWN);
        Err(format!("{count} faults: {}\n{}", self.totals, faults.join("\n")).into())
    }

    /// One more housekeeping after all rounds, and one more comparison.
    pub fn settle(&mut self) -> Result<(), Failed> {
        let mut wire = Wire::connect(&self.server.login(DATABASE))?;
        wire.simple("CALL nyala.housekeeping('crash')")?;
        let wrong = "SELECT (SELECT count(*) FROM crash$open WHERE closed_at IS NOT NULL) + \
                     (SELECT count(*) FROM crash$closed WHERE closed_at IS NULL)";
        let left = wire.number(wrong)?;
        if left != 0 {
            return Err(format!("{left} rows on the wrong side after housekeeping").into());
        }
        self.compare()
    }
}

/// Where the index and the open rows disagree; and indexes that are neither there nor gone.
fn index_faults(wire: &mut Wire) -> Result<Vec<String>, Failed> {
    let mut faults = Vec::new();
    let scanned = "SELECT length(body), count(*), sum(id) FROM crash$open GROUP BY 1";
    for row in wire.texts(scanned)? {
        let [length, count, sum] = row.as_slice() else {
            return Err("three columns were asked for".into());
        };
        // The fixture's rows are many.
        let length: usize = length.parse()?;
        if length == "fixture".len() {
            continue;
        }
        let body = "x".repeat(length);
        let sql = format!("SELECT count(*), sum(id) FROM crash$open WHERE body = '{body}'");
        let found = wire.texts(&sql)?;
        if found != [[count.clone(), sum.clone()]] {
            faults.push(format!(
                "{length} letters: scanned {row:?}, by the index {found:?}"
            ));
        }
    }
    let unfinished = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    if wire.number(unfinished)? != 0 {
        faults.push("an index is half made".into());
    }
    Ok(faults)
}
