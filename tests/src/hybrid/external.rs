//! The closed side is an ordinary Delta table of ordinary Parquet files: external tables over the
//! same files must show the same rows, and outsiders must be able to rely on the log.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::wire::{Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::external_tables", external_tables),
        trial("hybrid::delta_log_and_files", delta_log_and_files),
        trial("hybrid::external_errors", external_errors),
    ]
}

const ROWS: i64 = 500;
const CONTENT: &str = "SELECT id, at, price, note, doc FROM";

/// A hybrid table with closed rows in two commits.
fn fill(wire: &mut Wire) -> TestResult {
    wire.simple(
        "CREATE TABLE h (id bigint PRIMARY KEY, at timestamptz, done boolean, price numeric(12,2), \
         note text, doc jsonb) WITH (closed_when = 'done')",
    )?;
    for offset in [0, ROWS] {
        let sql = format!(
            "INSERT INTO h SELECT x, timestamptz '2024-01-01 00:00:00+00' + (x::text || ' hours')::interval, \
             x % 5 <> 0, x * 1.25, CASE WHEN x % 7 = 0 THEN NULL ELSE 'note ' || x END, \
             ('{{\"n\": ' || x || '}}')::jsonb FROM generate_series({}, {}) AS g(x)",
            offset + 1,
            offset + ROWS
        );
        wire.simple(&sql)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
    }
    Ok(())
}

/// Directories below `root` that hold a Delta log.
fn delta_tables(root: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        if directory.join("_delta_log").is_dir() {
            found.push(directory);
            continue;
        }
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    Ok(found)
}

fn only_delta_table(server: &Server) -> Result<PathBuf, Failed> {
    let tables = delta_tables(&server.data_dir())?;
    match tables.as_slice() {
        [one] => Ok(one.clone()),
        other => Err(format!("expected one Delta table in the data directory: {other:?}").into()),
    }
}

fn external_tables() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        fill(&mut wire)?;
        let location = only_delta_table(server)?;
        for (name, format, url) in [
            ("d", "DELTA", location.display().to_string()),
            ("d_url", "DELTA", format!("file://{}", location.display())),
            ("p", "PARQUET", location.display().to_string()),
        ] {
            let sql = format!("CREATE EXTERNAL TABLE {name} STORED AS {format} LOCATION '{url}'");
            let reply = wire.query(&sql)?;
            expect_eq(&sql, &reply.tag.as_deref(), &Some("CREATE TABLE"))?;
            let closed = wire.texts(&format!("{CONTENT} h$closed ORDER BY id"))?;
            let external = wire.texts(&format!("{CONTENT} {name} ORDER BY id"))?;
            expect_eq("closed rows", &closed.len(), &(ROWS as usize * 2 * 4 / 5))?;
            expect(external == closed, || {
                format!("{format} shows other rows than h$closed")
            })?;
            let filtered = format!("SELECT count(*) FROM {name} WHERE id BETWEEN 100 AND 199");
            expect_eq("with a filter", &wire.number(&filtered)?, &80)?;
            for sql in [
                format!("INSERT INTO {name} (id) VALUES (1)"),
                format!("DELETE FROM {name}"),
            ] {
                let error = wire.simple(&sql).err();
                let code = error.as_ref().and_then(WireError::code);
                expect_eq(&sql, &code, &Some("42809"))?;
            }
        }
        server.restart()?;
        let mut wire = server.connect()?;
        let count = wire.number("SELECT count(*) FROM d")?;
        expect_eq(
            "external tables survive a restart",
            &count,
            &(ROWS * 2 * 4 / 5),
        )?;
        wire.simple("DROP TABLE d; DROP TABLE p; DROP TABLE d_url")?;
        let count = wire.number("SELECT count(*) FROM h")?;
        expect_eq(
            "dropping an external table drops no files",
            &count,
            &(ROWS * 2),
        )
    })
}

/// Every housekeeping commit carries a `txn` (design, invariant 5), its files have statistics on
/// the key, and all data files lie where the log says.
fn delta_log_and_files() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        fill(&mut wire)?;
        let location = only_delta_table(server)?;
        let mut commits: Vec<PathBuf> = std::fs::read_dir(location.join("_delta_log"))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .collect();
        commits.sort();
        let (mut transactions, mut records) = (Vec::new(), 0);
        for commit in &commits {
            let mut added = false;
            let mut transaction = None;
            for line in std::fs::read_to_string(commit)?.lines() {
                let action: serde_json::Value = serde_json::from_str(line)?;
                if let Some(txn) = action.get("txn") {
                    transaction = txn["version"].as_i64();
                }
                if let Some(add) = action.get("add") {
                    added = true;
                    let path = add["path"].as_str().ok_or("an add without a path")?;
                    expect(location.join(path).is_file(), || {
                        format!("{path} is missing")
                    })?;
                    let stats = add["stats"].as_str().ok_or("an add without statistics")?;
                    let stats: serde_json::Value = serde_json::from_str(stats)?;
                    records += stats["numRecords"].as_i64().ok_or("no numRecords")?;
                    let minimum = stats["minValues"]["id"].as_i64();
                    expect(minimum.is_some(), || {
                        format!("no statistics on the key: {stats}")
                    })?;
                }
            }
            if added {
                let version = transaction
                    .ok_or_else(|| format!("{} adds files without a txn", commit.display()))?;
                transactions.push(version);
            }
        }
        expect_eq("rows in the log", &records, &(ROWS * 2 * 4 / 5))?;
        expect(transactions.len() >= 2, || {
            format!("too few commits: {transactions:?}")
        })?;
        expect(transactions.is_sorted_by(|a, b| a < b), || {
            format!("txn versions must grow: {transactions:?}")
        })
    })
}

fn external_errors() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let scratch = server.scratch().display().to_string();
        let empty = server.scratch().join("empty");
        std::fs::create_dir(&empty)?;
        for (format, location) in [
            ("PARQUET", format!("{scratch}/missing")),
            ("DELTA", format!("{scratch}/missing")),
            ("DELTA", empty.display().to_string()),
            ("NOSUCH", empty.display().to_string()),
        ] {
            let sql = format!("CREATE EXTERNAL TABLE e STORED AS {format} LOCATION '{location}'");
            let error = match wire.simple(&sql) {
                Ok(_) => return Err(format!("{sql} must fail").into()),
                Err(error) => error,
            };
            let code = error.code().unwrap_or("none");
            expect(!matches!(code, "none" | "XX000"), || {
                format!("{sql}: {error}")
            })?;
        }
        let error = wire.simple("SELECT * FROM e").err();
        expect_eq(
            "nothing was made",
            &error.as_ref().and_then(WireError::code),
            &Some("42P01"),
        )
    })
}
