//! Jobs that run by themselves, and their history over a restart.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("hybrid::schedules_run", schedules_run)]
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
