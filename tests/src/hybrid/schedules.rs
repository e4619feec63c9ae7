//! Jobs that run by themselves, and their history over a restart.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::schedules_run", schedules_run),
        trial("hybrid::outgrown_snapshots", outgrown_snapshots),
    ]
}

/// A schedule of every second is heeded within this.
const DUE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const DONE: &str = "SELECT DISTINCT kind, table_name, status FROM nyala.jobs \
     WHERE started_by = 'schedule' AND finished IS NOT NULL ORDER BY kind";

fn schedules_run() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE \"It's due\" (id bigint PRIMARY KEY, closed_on date) \
             WITH (closed_when = 'closed_on IS NOT NULL', \
             offload_schedule = '* * * * * *', housekeeping_schedule = '* * * * * *')",
        )?;
        wire.simple(
            "INSERT INTO \"It's due\" SELECT x, CASE WHEN x % 2 = 0 THEN date '2024-01-01' END \
             FROM generate_series(1, 1000) AS g(x)",
        )?;
        let expected = vec![
            vec!["housekeeping".to_string(), "It's due".into(), "done".into()],
            vec!["offload".to_string(), "It's due".into(), "done".into()],
        ];
        wait_for(&mut wire, DONE, &expected)?;
        let parts = "SELECT (SELECT count(*) FROM \"It's due$closed\"), \
             (SELECT count(*) FROM \"It's due$snapshot\") > 0, count(*) FROM \"It's due\"";
        let settled = vec![vec!["500".to_string(), "t".into(), "1000".into()]];
        wait_for(&mut wire, parts, &settled)?;
        server.restart()?;
        let history = server.connect()?.texts(DONE)?;
        expect_eq("history after a restart", &history, &expected)
    })
}

/// A snapshot is refreshed by itself once a tenth of its rows has changed, where the table does not say otherwise.
fn outgrown_snapshots() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        for (table, options) in [
            ("kept", "WITH (offload_percent = 0)"),
            ("usual", ""),
            ("later", "WITH (offload_percent = 60)"),
            ("never_offloaded", ""),
        ] {
            wire.simple(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, v integer) {options}"))?;
            wire.simple(&format!("INSERT INTO {table} SELECT x, 0 FROM generate_series(1, 40000) AS g(x)"))?;
            if table != "never_offloaded" {
                wire.simple(&format!("CALL nyala.offload('{table}')"))?;
            }
            wire.simple(&format!("UPDATE {table} SET v = 1 WHERE id <= 20000"))?;
        }
        let run = "SELECT table_name, kind, status FROM nyala.jobs WHERE started_by = 'fresh rows' AND finished IS NOT NULL";
        let usual = vec![vec!["usual".to_string(), "offload".into(), "done".into()]];
        wait_for(&mut wire, run, &usual)?;
        let sums = "SELECT (SELECT sum(v) FROM usual$snapshot), (SELECT sum(v) FROM usual), \
             (SELECT sum(v) FROM kept$snapshot), (SELECT sum(v) FROM later$snapshot)";
        let expected = vec![vec!["20000".to_string(), "20000".into(), "0".into(), "0".into()]];
        expect_eq("snapshots", &wire.texts(sums)?, &expected)?;
        wire.simple("ALTER TABLE later SET (offload_percent = 50)")?;
        let both = "SELECT count(DISTINCT table_name) FROM nyala.jobs WHERE started_by = 'fresh rows' AND status = 'done'";
        wait_for(&mut wire, both, &[vec!["2".to_string()]])
    })
}

fn wait_for(wire: &mut Wire, sql: &str, expected: &[Vec<String>]) -> Result<(), Failed> {
    let start = Instant::now();
    loop {
        let got = wire.texts(sql)?;
        if got == expected {
            return Ok(());
        }
        if start.elapsed() > DUE_WITHIN {
            return Err(format!("{sql}\n  expected: {expected:?}\n  got:      {got:?}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
