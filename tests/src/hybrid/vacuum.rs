//! Files on disk: replaced ones go, but not under a transaction, a version that is kept, or another start.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::{TestResult, expect, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::vacuum_waits_for_readers", waits_for_readers),
        trial("hybrid::versions_survive_a_restart", versions_survive),
    ]
}

/// Names of the data files below a folder; none if there is no folder.
fn data_files(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            found.extend(data_files(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            found.push(path);
        }
    }
    Ok(found)
}

fn waits_for_readers() -> TestResult {
    Server::fresh()?.scope(|server| {
        let snapshots = server.data_dir().join("snapshots");
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE t (id bigint PRIMARY KEY, v bigint) WITH (retention = '0 seconds')",
        )?;
        wire.simple("INSERT INTO t SELECT x, x FROM generate_series(1, 5000) AS g(x)")?;
        wire.simple("CALL nyala.offload('t')")?;
        let before = data_files(&snapshots)?;
        expect_eq("files of the first snapshot", &before.len(), &1)?;

        let mut reader = server.connect()?;
        reader.simple("BEGIN")?;
        let sum = "SELECT sum(v) FROM t";
        expect_eq("sum", &reader.number("SELECT count(*) FROM t")?, &5000)?;
        wire.simple("UPDATE t SET v = 0")?;
        wire.simple("CALL nyala.offload('t')")?;
        expect_eq("sum now", &wire.number(sum)?, &0)?;
        let during = data_files(&snapshots)?;
        let all_there = before.iter().all(|file| during.contains(file));
        expect(all_there, || {
            format!("files that the transaction reads: {before:?}, there are: {during:?}")
        })?;
        expect_eq("sum of the transaction", &reader.number(sum)?, &12_502_500)?;
        reader.simple("COMMIT")?;

        // What a crash leaves: a file that nothing names.
        let storage = before
            .first()
            .and_then(|file| file.parent())
            .ok_or("a file without a folder")?;
        std::fs::write(storage.join("part-orphan.parquet"), b"half written")?;
        let removed = wire.texts("CALL nyala.vacuum('t')")?;
        let removed = removed.first().and_then(|row| row.get(1)).cloned();
        expect_eq("files removed", &removed, &Some("2".to_string()))?;
        let after = data_files(&snapshots)?;
        expect_eq("files left", &after.len(), &1)?;
        let any_left = before.iter().any(|file| after.contains(file));
        expect(!any_left, || {
            format!("old files: {before:?}, there are: {after:?}")
        })?;
        expect_eq("sum after vacuum", &wire.number(sum)?, &0)
    })
}

fn versions_survive() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE h (id bigint PRIMARY KEY, v bigint, done boolean) \
             WITH (closed_when = 'done')",
        )?;
        wire.simple("INSERT INTO h SELECT x, x, x % 2 = 0 FROM generate_series(1, 5000) AS g(x)")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        wire.simple("CALL nyala.offload('h')")?;
        wire.simple("UPDATE h SET v = -1, done = true WHERE id <= 10")?;
        wire.simple("DELETE FROM h WHERE id = 12")?;
        wire.simple("CALL nyala.offload('h')")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        wire.simple("UPDATE h SET v = 0")?;
        server.crash()?;
        let mut wire = server.connect()?;
        let of = |version: u64| format!("SELECT count(*), sum(v) FROM h VERSION AS OF {version}");
        let first = vec![vec!["5000".to_string(), "12502500".into()]];
        expect_eq("first version", &wire.texts(&of(1))?, &first)?;
        // 55 + 10 less of the ten, 12 less of the one deleted.
        let second = vec![vec!["4999".to_string(), "12502423".into()]];
        expect_eq("second version", &wire.texts(&of(2))?, &second)?;
        wire.simple("CALL nyala.restore('h', 2)")?;
        let now = wire.texts("SELECT count(*), sum(v) FROM h")?;
        expect_eq("restored", &now, &second)?;

        wire.simple("DROP TABLE h")?;
        drop(wire);
        server.restart()?;
        let points = data_files(&server.data_dir().join("points"))?;
        expect_eq("files of a dropped table's versions", &points.len(), &0)
    })
}
