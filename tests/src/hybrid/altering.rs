//! ALTER TABLE in the middle of housekeeping and of offload: between any two of their steps, with and without a crash after.
//!
//! A server that pauses at a named step lets the change in; what the run then shows, undoes or finishes has to be read by the
//! new definition, and no row may be lost or doubled.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{Options, Server};
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect_eq, trial};

/// Steps at which the server pauses.
const STEPS: [&str; 5] = [
    "housekeeping::selected",
    "housekeeping::files_written",
    "housekeeping::delta_committed",
    "offload::files_written",
    "offload::delta_committed",
];

/// How long the server pauses, and when in it the table is altered.
const PAUSE_MS: u64 = 1_500;
const ALTER_AFTER: Duration = Duration::from_millis(500);

/// Pictures of the table before and after; those of the parts have to add up to it.
const BEFORE: &str = "SELECT count(*), count(DISTINCT id), sum(v), count(note) FROM t";
const AFTER: &str = "SELECT count(*), count(DISTINCT id), sum(v), count(memo), count(*) FILTER (WHERE r = 'r') FROM t";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("hybrid::altered_delta_table", altered_delta_table)];
    for crash in [false, true] {
        for step in STEPS {
            let end = if crash { "crash" } else { "end" };
            let name = format!("hybrid::altered_at::{}::{end}", step.replace("::", "_"));
            trials.push(trial(name, move || altered_at(step, crash)));
        }
    }
    trials
}

fn fill(wire: &mut Wire) -> Result<(), Failed> {
    wire.simple(
        "CREATE TABLE t (id bigint PRIMARY KEY, v integer, note text, closed boolean) \
         WITH (closed_when = 'closed')",
    )?;
    wire.simple(
        "INSERT INTO t SELECT x, x, 'note ' || x, x % 3 = 0 FROM generate_series(1, 300) AS g(x)",
    )?;
    wire.simple("CALL nyala.housekeeping('t')")?;
    wire.simple("CALL nyala.offload('t')")?;
    // Rows to move, one to fold, fresh ones.
    wire.simple("UPDATE t SET closed = true WHERE id % 3 = 1")?;
    wire.simple("UPDATE t SET closed = false WHERE id = 3")?;
    Ok(())
}

fn altered_at(step: &'static str, crash: bool) -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        fill(&mut wire)?;
        let before = wire.texts(BEFORE)?;
        server.kill();
        server.start_again(Options::failpoint(&format!("{step}=1*sleep({PAUSE_MS})")))?;

        let procedure = step.split("::").next().unwrap_or_default();
        let call = format!("CALL nyala.{procedure}('t')");
        let login = server.login(crate::harness::server::DATABASE);
        let running = std::thread::spawn(move || -> Result<(), String> {
            let mut wire = Wire::connect(&login).map_err(|error| error.to_string())?;
            // It may lose to the change, and dies with the server.
            wire.simple(&call).map(drop).or(Ok(()))
        });
        std::thread::sleep(ALTER_AFTER);
        let mut wire = server.connect()?;
        wire.simple("ALTER TABLE t ADD COLUMN r text DEFAULT 'r', ALTER v TYPE bigint")?;
        wire.simple("ALTER TABLE t RENAME COLUMN note TO memo")?;
        wire.simple("UPDATE t SET v = v WHERE id % 10 = 1")?;
        if crash {
            server.crash()?;
        }
        running.join().map_err(|_| "the caller panicked")??;

        let mut wire = server.connect()?;
        let expected: Vec<String> = before[0]
            .iter()
            .cloned()
            .chain(["300".to_string()])
            .collect();
        let check = |wire: &mut Wire, when: &str| -> TestResult {
            expect_eq(when, &wire.texts(AFTER)?, &vec![expected.clone()])?;
            let parts = "SELECT (SELECT count(*) FROM t$open) + (SELECT count(*) FROM t$closed)";
            expect_eq(when, &wire.number(parts)?, &300)
        };
        check(&mut wire, "after the change")?;
        wire.simple("CALL nyala.housekeeping('t')")?;
        check(&mut wire, "after another run of housekeeping")?;
        wire.simple("CALL nyala.offload('t')")?;
        check(&mut wire, "after another offload")?;
        let open = wire.number("SELECT count(*) FROM t$open WHERE closed")?;
        expect_eq("closed rows that are open", &open, &0)
    })
}

/// The files of an altered table are a Delta table that others read: columns were added, none has changed.
fn altered_delta_table() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        fill(&mut wire)?;
        wire.simple("ALTER TABLE t ALTER v TYPE bigint, ADD COLUMN at timestamp DEFAULT '2024-01-01'")?;
        wire.simple("ALTER TABLE t RENAME COLUMN note TO memo")?;
        wire.simple("ALTER TABLE t ADD COLUMN note integer DEFAULT 4")?;
        wire.simple("INSERT INTO t VALUES (1000, 5000000000, 'new', true, '2024-02-02', 9)")?;
        wire.simple("CALL nyala.housekeeping('t')")?;
        let closed = server.data_dir().join("closed");
        let folder = std::fs::read_dir(&closed)?.next().ok_or("no closed table")??.path();
        wire.simple(&format!(
            "CREATE EXTERNAL TABLE files STORED AS DELTA LOCATION '{}'",
            folder.display()
        ))?;
        let columns = "SELECT string_agg(attname || ' ' || atttypid::integer, ', ' ORDER BY attnum) \
                       FROM pg_attribute WHERE attrelid = 'files'::regclass AND attnum > 0";
        let expected = "id 20, v 23, note 25, closed 16, v_1 20, at 1114, note_5 23";
        expect_eq("columns", &wire.texts(columns)?, &vec![vec![expected.to_string()]])?;
        let new = "SELECT id, v, note, v_1, note_5 FROM files WHERE id = 1000";
        let expected = ["1000", "NULL", "new", "5000000000", "9"].map(str::to_string);
        expect_eq("the new row", &wire.texts(new)?, &vec![expected.to_vec()])?;
        let all = wire.number("SELECT count(*) FROM t$closed")?;
        expect_eq("rows", &wire.number("SELECT count(*) FROM files")?, &all)
    })
}
