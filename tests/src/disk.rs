//! What happens when the disk is full: an error that says so, tables that can be read, and nothing half done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{Options, Server};
use crate::harness::small_disk::SmallDisk;
use crate::harness::wire::{Wire, WireError};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, process, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disk::full_and_emptied", full_and_emptied),
        trial("disk::full_journal", full_journal),
        trial("disk::file_size_limit", file_size_limit),
    ]
}

/// Size of the disk.
const DISK_MB: u32 = 160;

/// Rows whose Parquet files are larger than the room that is left. The row store keeps them in memory: to write them out may be under
/// way when the disk fills, and that fails for good.
const ROWS: i64 = 250_000;
const LEFT_BYTES: usize = 3 << 20;

const TOOL_LIMIT: Duration = Duration::from_secs(30);

/// A server whose data directory is a small disk.
fn on_small_disk(reserve_mb: u32) -> Result<(SmallDisk, Server), Failed> {
    let scratch = tempfile::Builder::new().prefix("nyala-test-").tempdir()?;
    let mut server = Server::prepared(scratch);
    let disk = SmallDisk::mount(&server.data_dir(), DISK_MB)?;
    let reserve = reserve_mb.to_string();
    let mut options = Options::default().with_arguments(&["--disk-reserve-mb", &reserve]);
    options.runner = disk.enter();
    server.start_again(options)?;
    Ok((disk, server))
}

fn expect_full(what: &str, outcome: Result<impl Sized, WireError>) -> Result<WireError, Failed> {
    let Err(error) = outcome else {
        return Err(format!("{what} succeeds on a full disk").into());
    };
    expect_eq(what, &error.code(), &Some("53100"))?;
    Ok(error)
}

fn load(wire: &mut Wire) -> TestResult {
    wire.simple(
        "CREATE TABLE t (id bigint PRIMARY KEY, done boolean, v text) WITH (closed_when = 'done')",
    )?;
    let sql = format!(
        "INSERT INTO t SELECT x, x % 2 = 0, md5(x::text) || md5((-x)::text) FROM generate_series(1, {ROWS}) AS g(x)"
    );
    wire.simple(&sql)?;
    Ok(())
}

/// Parquet files of closed tables and snapshots.
fn data_files(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    if folder.exists() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                files.extend(data_files(&path)?);
            } else if !path.to_string_lossy().contains("_delta_log") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Commits are refused before the disk is full, runs that write files fail on it; all goes on once there is room.
fn full_and_emptied() -> TestResult {
    let (disk, mut server) = on_small_disk(8)?;
    server.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire)?;
        let sum = "SELECT count(*), sum(id) FROM t";
        let before = wire.texts(sum)?;
        let filler = disk.fill(LEFT_BYTES)?;

        let error = expect_full(
            "INSERT",
            wire.simple("INSERT INTO t VALUES (-1, false, 'x')"),
        )?;
        expect_contains("INSERT", &error.to_string(), "no space left")?;
        let mut rows = String::new();
        for id in 0..1000 {
            rows.push_str(&format!("{}\tf\tx\n", -id));
        }
        expect_full("COPY", wire.copy_in("COPY t FROM STDIN", rows.as_bytes()))?;
        expect_full("offload", wire.simple("CALL nyala.offload('t')"))?;
        expect_full("housekeeping", wire.simple("CALL nyala.housekeeping('t')"))?;
        expect_eq("rows on a full disk", &wire.texts(sum)?, &before)?;
        for folder in ["closed", "snapshots"] {
            let left = data_files(&disk.root().join(folder))?;
            expect_eq("files of runs that failed", &left, &Vec::new())?;
        }

        std::fs::remove_file(filler)?;
        expect_eq("rows with room", &wire.texts(sum)?, &before)?;
        wire.simple("INSERT INTO t VALUES (-1, false, 'x')")?;
        wire.simple("DELETE FROM t WHERE id = -1")?;
        wire.simple("CALL nyala.housekeeping('t')")?;
        wire.simple("CALL nyala.offload('t')")?;
        expect_eq("rows after the runs", &wire.texts(sum)?, &before)?;
        let closed = wire.number("SELECT count(*) FROM t$closed")?;
        expect_eq("closed rows", &closed, &(ROWS / 2))?;
        server.crash()?;
        let mut wire = server.connect()?;
        expect_eq("rows after a crash", &wire.texts(sum)?, &before)
    })
}

/// A journal that cannot be written: no more writes until a restart, no acknowledged row lost, no failed one kept.
fn full_journal() -> TestResult {
    let (disk, mut server) = on_small_disk(0)?;
    server.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("CREATE TABLE t (id bigint PRIMARY KEY, v text)")?;
        wire.simple("INSERT INTO t SELECT x, md5(x::text) FROM generate_series(1, 1000) AS g(x)")?;
        let filler = disk.fill(0)?;
        let mut acknowledged = 1000;
        let error = loop {
            let sql = format!(
                "INSERT INTO t SELECT x, md5(x::text) FROM generate_series({}, {}) AS g(x)",
                acknowledged + 1,
                acknowledged + 10
            );
            match wire.simple(&sql) {
                Ok(_) => acknowledged += 10,
                Err(error) => break error,
            }
            expect(acknowledged < 1_000_000, || {
                "the disk is never full".to_string()
            })?;
        };
        expect_eq("a failed write", &error.code(), &Some("53100"))?;
        let count = "SELECT count(*) FROM t";
        expect_eq("rows on a full disk", &wire.number(count)?, &acknowledged)?;

        std::fs::remove_file(filler)?;
        let error = expect_full(
            "a later write",
            wire.simple("INSERT INTO t VALUES (-1, 'x')"),
        )?;
        expect_contains("a later write", &error.to_string(), "takes no more writes")?;
        expect_eq("rows with room", &wire.number(count)?, &acknowledged)?;
        server.restart()?;
        let mut wire = server.connect()?;
        expect_eq(
            "rows after the restart",
            &wire.number(count)?,
            &acknowledged,
        )?;
        wire.simple("INSERT INTO t VALUES (-1, 'x')")?;
        expect_eq("rows at last", &wire.number(count)?, &(acknowledged + 1))
    })
}

/// A limit on the size of files is an error as a full disk is, and ends no process.
fn file_size_limit() -> TestResult {
    let prlimit = process::require("prlimit", "util-linux")?;
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("CREATE TABLE t (id bigint PRIMARY KEY, v text)")?;
        wire.simple("INSERT INTO t SELECT x, md5(x::text) FROM generate_series(1, 1000) AS g(x)")?;
        let mut limit = Command::new(prlimit);
        limit
            .arg(format!("--pid={}", server.id()?))
            .arg("--fsize=1024:");
        let limited = process::run(&mut limit, b"", TOOL_LIMIT)?;
        expect(limited.status.success(), || format!("{limited:?}"))?;
        expect_full("INSERT", wire.simple("INSERT INTO t VALUES (-1, 'x')"))?;
        expect_eq("rows", &wire.number("SELECT count(*) FROM t")?, &1000)?;
        server.crash()?;
        let mut wire = server.connect()?;
        expect_eq(
            "rows after a restart",
            &wire.number("SELECT count(*) FROM t")?,
            &1000,
        )?;
        wire.simple("INSERT INTO t VALUES (-1, 'x')")?;
        Ok(())
    })
}
