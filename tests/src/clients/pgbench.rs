//! pgbench run for real: it makes its tables, gives them their keys, and runs its transaction like TPC-B.

use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::Login;
use crate::harness::{TestResult, expect_contains, expect_eq, process, trial};

/// A debug build makes the 100,000 rows of scale 1 and moves them to their key within this.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pgbench::by_the_client", by_the_client),
        trial("pgbench::by_the_server", by_the_server),
    ]
}

/// Rows come by COPY.
fn by_the_client() -> TestResult {
    initialised("dtgvp")
}

/// Rows come by INSERT … SELECT FROM generate_series.
fn by_the_server() -> TestResult {
    initialised("dtGvp")
}

fn initialised(steps: &str) -> TestResult {
    let mut server = Server::start(Options::default())?;
    let login = server.login(DATABASE);
    let made = pgbench(&login, &["-i", "-s", "1", "-I", steps])?;
    expect_contains("pgbench -i", &made, "done in")?;
    let mut wire = server.connect()?;
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conname LIKE 'pgbench%'";
    expect_eq("keys", &wire.number(keys)?, &3)?;
    // Whoever comes second to a branch begins again.
    let clients = [
        "-c",
        "2",
        "-t",
        "40",
        "--max-tries",
        "1000",
        "-M",
        "prepared",
    ];
    let ran = pgbench(&login, &clients)?;
    expect_contains("transactions", &ran, "actually processed: 80/80")?;
    expect_contains("failed", &ran, "failed transactions: 0")?;
    for _ in 0..2 {
        let mut wire = server.connect()?;
        expect_eq(
            "history",
            &wire.number("SELECT count(*) FROM pgbench_history")?,
            &80,
        )?;
        expect_eq(
            "accounts",
            &wire.number("SELECT count(*) FROM pgbench_accounts")?,
            &100_000,
        )?;
        let deltas = wire.number("SELECT sum(delta) FROM pgbench_history")?;
        for table in ["accounts a", "tellers t", "branches b"] {
            let (name, letter) = table.split_once(' ').ok_or("a name and a letter")?;
            let sum = format!("SELECT sum({letter}balance) FROM pgbench_{name}");
            expect_eq(&sum, &wire.number(&sum)?, &deltas)?;
        }
        let filler = wire.texts("SELECT filler FROM pgbench_accounts WHERE aid = 100000")?;
        expect_eq("filler", &filler.concat().concat().len(), &84)?;
        server.crash()?;
    }
    Ok(())
}

/// What pgbench prints; it has to succeed.
fn pgbench(login: &Login, arguments: &[&str]) -> Result<String, Failed> {
    let mut command = Command::new(process::require("pgbench", "postgresql-15")?);
    command
        .args(["-h", "127.0.0.1", "-p", &login.port.to_string()])
        .args(["-U", &login.user])
        .args(arguments)
        .arg(&login.database)
        .env("PGPASSWORD", &login.password)
        .env("LC_ALL", "C.UTF-8");
    let output = process::run(&mut command, b"", LIMIT)?;
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(format!("{out}{err}")),
        false => Err(format!("pgbench {arguments:?}: {}\n{out}\n{err}", output.status).into()),
    }
}
