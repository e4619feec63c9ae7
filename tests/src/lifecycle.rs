//! The server as a process: first start, refusals, drain, configuration, durability over restarts.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::harness::process;
use crate::harness::server::{DATABASE, Options, PASSWORD, Server, USER};
use crate::harness::wire::{Login, Wire, WireError};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

/// A server that is to end by itself does so within this.
const LIMIT: Duration = Duration::from_secs(60);

/// Tests of the process itself.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("lifecycle::generated_password", generated_password),
        trial(
            "lifecycle::second_server_is_refused",
            second_server_is_refused,
        ),
        trial(
            "lifecycle::trust_off_loopback_is_refused",
            trust_off_loopback_is_refused,
        ),
        trial("lifecycle::bad_arguments", bad_arguments),
        trial("lifecycle::configuration_order", configuration_order),
        trial("lifecycle::terminate_drains", terminate_drains),
        trial(
            "lifecycle::restart_keeps_everything",
            restart_keeps_everything,
        ),
        trial(
            "lifecycle::crash_keeps_what_was_acknowledged",
            crash_keeps_acknowledged,
        ),
        trial("lifecycle::databases_are_separate", databases_are_separate),
    ]
}

fn refused(arguments: &[&str], expected: &[&str]) -> TestResult {
    let mut command = Server::command()?;
    command
        .arg("serve")
        .args(arguments)
        .env("NYALA_PASSWORD", PASSWORD);
    let output = process::run(&mut command, b"", LIMIT)?;
    let error = String::from_utf8_lossy(&output.stderr);
    expect(!output.status.success(), || {
        format!("nyala serve {arguments:?} must be refused")
    })?;
    expect(output.status.code().is_some(), || {
        format!("killed by a signal: {error}")
    })?;
    for text in expected {
        expect_contains(
            &format!("stderr of nyala serve {arguments:?}"),
            &error,
            text,
        )?;
    }
    expect(!error.contains("panicked"), || {
        format!("a panic is no message: {error}")
    })
}

/// Without `NYALA_PASSWORD` the first start writes one to a file only its owner can read.
fn generated_password() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    let log = scratch.path().join("log");
    let file = std::fs::File::create(&log)?;
    let mut command = Server::command()?;
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data);
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut child = command.spawn()?;
    let outcome = generated_password_of(&log);
    process::signal(child.id(), "TERM")?;
    let status = process::wait(&mut child, LIMIT)?;
    if status.is_none() {
        child.kill()?;
    }
    outcome?;
    expect(status.is_some_and(|s| s.success()), || {
        format!("SIGTERM ended with {status:?}")
    })
}

fn generated_password_of(log: &std::path::Path) -> TestResult {
    let start = std::time::Instant::now();
    let (port, text) = loop {
        let text = std::fs::read_to_string(log)?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("listening on 127.0.0.1:"));
        if let Some(port) = line.and_then(|port| port.trim().parse().ok()) {
            break (port, text);
        }
        if start.elapsed() > LIMIT {
            return Err(format!("the server did not listen:\n{text}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let path = text
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| "\"'`.,:()".contains(c)))
        .find(|word| word.starts_with('/') && std::fs::metadata(word).is_ok_and(|m| m.is_file()))
        .ok_or_else(|| format!("no path of a password file was printed:\n{text}"))?;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    expect_eq("mode of the password file", &mode, &0o600)?;
    let password = std::fs::read_to_string(path)?.trim().to_string();
    expect(password.len() >= 16, || {
        "the generated password is short".into()
    })?;
    expect(!text.contains(&password), || {
        "the password itself was printed".into()
    })?;
    let mut wire = Wire::connect(&Login::new(port, USER, &password, DATABASE))?;
    expect_eq("login", &wire.number("SELECT 1")?, &1)
}

fn second_server_is_refused() -> TestResult {
    Server::fresh()?.scope(|server| {
        let data = server.data_dir().display().to_string();
        refused(&["--listen", "127.0.0.1:0", "--data-dir", &data], &[&data])?;
        expect_eq(
            "the first still serves",
            &server.connect()?.number("SELECT 1")?,
            &1,
        )?;
        // The port of the first, another directory.
        let other = server.scratch().join("other").display().to_string();
        let listen = format!("127.0.0.1:{}", server.port());
        refused(&["--listen", &listen, "--data-dir", &other], &[&listen])
    })
}

fn trust_off_loopback_is_refused() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data").display().to_string();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        refused(
            &["--listen", listen, "--data-dir", &data, "--auth", "trust"],
            &["trust"],
        )?;
    }
    Ok(())
}

fn bad_arguments() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data").display().to_string();
    let missing = scratch.path().join("missing").display().to_string();
    let listen = ["--listen", "127.0.0.1:0", "--data-dir", &data];
    let with = |more: &[&'static str]| [&listen[..], more].concat();
    refused(&with(&["--auth", "nosuch"]), &["nosuch"])?;
    refused(&with(&["--no-such-flag"]), &["--no-such-flag"])?;
    refused(
        &["--listen", "nonsense", "--data-dir", &data],
        &["nonsense"],
    )?;
    refused(
        &[&listen[..], &["--config", &missing]].concat(),
        &[&missing],
    )?;
    refused(
        &[
            &listen[..],
            &["--tls-cert", &missing, "--tls-key", &missing],
        ]
        .concat(),
        &[&missing],
    )?;
    refused(
        &[&listen[..], &["--tls-cert", &missing]].concat(),
        &["--tls-key"],
    )?;
    let config = scratch.path().join("bad.toml");
    std::fs::write(&config, "nosuch_setting = 1\n")?;
    let config = config.display().to_string();
    refused(
        &[&listen[..], &["--config", &config]].concat(),
        &["nosuch_setting"],
    )
}

/// Flags over `NYALA_*` over the configuration file.
fn configuration_order() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let config = scratch.path().join("nyala.toml");
    std::fs::write(&config, "auth = \"trust\"\n")?;
    let file = config.display().to_string();
    let open = |arguments: &[&str], environment: &[(&str, &str)]| -> Result<bool, Failed> {
        let mut options = Options::default().with_arguments(&["--config", &file]);
        options = options.with_arguments(arguments);
        let pairs = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        options.environment.extend(pairs);
        let server = Server::start(options)?;
        let login = Login {
            password: "not it".into(),
            ..server.login(DATABASE)
        };
        match Wire::connect(&login) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("28P01") => Ok(false),
            Err(error) => Err(server.explain(error)),
        }
    };
    expect_eq("the file says trust", &open(&[], &[])?, &true)?;
    expect_eq(
        "the environment says scram",
        &open(&[], &[("NYALA_AUTH", "scram")])?,
        &false,
    )?;
    let flag = open(&["--auth", "trust"], &[("NYALA_AUTH", "scram")])?;
    expect_eq("the flag says trust", &flag, &true)
}

fn terminate_drains() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut busy = server.connect()?;
        let idle = server.connect()?;
        busy.simple("CREATE TABLE t (n bigint)")?;
        let writer = std::thread::spawn(move || {
            let sql = "INSERT INTO t SELECT count(*) FROM generate_series(1, 3000000)";
            busy.query(sql).map(|reply| reply.count())
        });
        std::thread::sleep(Duration::from_millis(300));
        let status = server.terminate()?;
        expect(status.success(), || {
            format!("SIGTERM must end with status 0, got {status}")
        })?;
        drop(idle);
        let acknowledged = match writer.join().map_err(|_| "writer panicked")? {
            Ok(count) => count,
            Err(WireError::Db(error)) if error.code == "57P01" => 0,
            Err(error) => return Err(format!("a drained statement ended with: {error}").into()),
        };
        expect(Wire::connect(&server.login(DATABASE)).is_err(), || {
            "it still listens".into()
        })?;
        server.start_again(Options::default())?;
        let rows = server.connect()?.number("SELECT count(*) FROM t")?;
        expect_eq(
            "rows of the drained statement",
            &(rows as u64),
            &acknowledged,
        )
    })
}

const FILL: &str = "
    CREATE DATABASE second;
    CREATE SCHEMA s;
    CREATE TABLE s.plain (id integer PRIMARY KEY, v text DEFAULT 'd', doc jsonb);
    INSERT INTO s.plain (id, doc) SELECT x, '{\"n\": 1.10}' FROM generate_series(1, 100) AS g(x);
    CREATE TABLE hybrid (id integer PRIMARY KEY, done boolean, note text) WITH (closed_when = 'done');
    INSERT INTO hybrid SELECT x, x % 2 = 0, 'n' || x FROM generate_series(1, 100) AS g(x);
    CREATE TABLE keyless (a integer);
    INSERT INTO keyless VALUES (1), (1);
    CREATE VIEW w AS SELECT count(*) AS n FROM hybrid;
    CREATE TABLE dropped (id integer);
    DROP TABLE dropped";

fn fill(wire: &mut Wire) -> TestResult {
    for statement in FILL.split(';') {
        wire.simple(statement)?;
    }
    wire.simple("CALL nyala.housekeeping('hybrid')")?;
    wire.simple("UPDATE hybrid SET note = 'changed' WHERE id IN (1, 2)")?;
    wire.simple("DELETE FROM hybrid WHERE id IN (3, 4)")?;
    Ok(())
}

/// Everything a client could ask about the filled server.
fn picture(wire: &mut Wire) -> Result<Vec<Vec<Vec<String>>>, WireError> {
    [
        "SELECT datname FROM pg_database ORDER BY 1",
        "SELECT table_schema, table_name, table_type FROM information_schema.tables \
         WHERE table_schema IN ('public', 's') ORDER BY 1, 2",
        "SELECT count(*), min(v), max(doc::text) FROM s.plain",
        "SELECT id, done, note FROM hybrid ORDER BY id",
        "SELECT (SELECT count(*) FROM hybrid$open), (SELECT count(*) FROM hybrid$closed)",
        "SELECT a, count(*) FROM keyless GROUP BY a",
        "SELECT n FROM w",
    ]
    .iter()
    .map(|sql| wire.texts(sql))
    .collect()
}

fn after(restart: fn(&mut Server) -> TestResult) -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        fill(&mut wire)?;
        let before = picture(&mut wire)?;
        drop(wire);
        for _ in 0..2 {
            restart(server)?;
            let mut wire = server.connect()?;
            expect_eq("after the restart", &picture(&mut wire)?, &before)?;
            let insert = wire.simple("INSERT INTO s.plain (id) VALUES (1)").err();
            let code = insert.as_ref().and_then(WireError::code);
            expect_eq("the key still holds", &code, &Some("23505"))?;
        }
        let mut wire = server.connect()?;
        wire.simple("INSERT INTO s.plain (id) VALUES (101); CALL nyala.housekeeping('hybrid')")?;
        expect_eq(
            "default",
            &wire.texts("SELECT v FROM s.plain WHERE id = 101")?,
            &vec![vec!["d".into()]],
        )?;
        let twice = wire.texts("SELECT id FROM hybrid GROUP BY id HAVING count(*) > 1")?;
        expect_eq("keys seen twice", &twice, &vec![])?;
        expect_eq("rows", &wire.number("SELECT count(*) FROM hybrid")?, &98)
    })
}

fn restart_keeps_everything() -> TestResult {
    after(Server::restart)
}

fn crash_keeps_acknowledged() -> TestResult {
    after(Server::crash)
}

fn databases_are_separate() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut first = server.connect()?;
        first.simple("CREATE DATABASE second")?;
        let mut second = Wire::connect(&server.login("second"))?;
        first.simple("CREATE TABLE t (id integer PRIMARY KEY)")?;
        first.simple("INSERT INTO t VALUES (1)")?;
        let error = second.simple("SELECT * FROM t").err();
        expect_eq(
            "unseen",
            &error.as_ref().and_then(WireError::code),
            &Some("42P01"),
        )?;
        second.simple("CREATE TABLE t (other text)")?;
        expect_eq("own rows", &second.number("SELECT count(*) FROM t")?, &0)?;
        let tables = "SELECT count(*) FROM pg_class WHERE relname = 't'";
        expect_eq("own catalog", &second.number(tables)?, &1)?;
        let error = first.simple("DROP DATABASE second").err();
        let code = error.as_ref().and_then(WireError::code);
        expect_eq("a database in use stays", &code, &Some("55006"))?;
        second.terminate();
        // The server may need a moment to notice that the session is gone.
        let start = std::time::Instant::now();
        while let Err(error) = first.simple("DROP DATABASE second") {
            if error.code() != Some("55006") || start.elapsed() > LIMIT {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = Wire::connect(&server.login("second")).err();
        expect_eq(
            "gone",
            &error.as_ref().and_then(WireError::code),
            &Some("3D000"),
        )?;
        expect_eq(
            "the other stays",
            &first.number("SELECT count(*) FROM t")?,
            &1,
        )
    })
}
