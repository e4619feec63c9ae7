//! psql run for real: several statements, errors with their position, `\x`, `\timing`, `\copy`.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::harness::process::{self, Running};
use crate::harness::shared::Engine;
use crate::harness::wire::Login;
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

/// Nothing a test asks of psql takes longer, even on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("psql::statements", statements),
        trial("psql::script_from_stdin", script_from_stdin),
        trial("psql::error_position", error_position),
        trial("psql::expanded_and_timing", expanded_and_timing),
        trial("psql::variables_and_gexec", variables_and_gexec),
        trial("psql::copy_csv_both_ways", copy_csv_both_ways),
        trial("psql::copy_text_both_ways", copy_text_both_ways),
        trial("psql::transaction_prompt_and_single", single_transaction),
    ]
}

/// psql with nothing of the caller's configuration.
pub(super) fn psql(login: &Login, arguments: &[&str]) -> Result<Command, String> {
    let mut command = Command::new(process::require("psql", "postgresql-client")?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
        .args(["-X", "-h", "127.0.0.1", "-p", &login.port.to_string()])
        .args(["-U", &login.user, "-d", &login.database])
        .args(arguments)
        .env("PGPASSWORD", &login.password)
        .env("PGCONNECT_TIMEOUT", "60")
        .env("LC_ALL", "C.UTF-8")
        .env("PAGER", "cat");
    Ok(command)
}

/// What psql printed.
pub(super) struct Printed {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

/// Runs psql to its end.
pub(super) fn run(login: &Login, arguments: &[&str], input: &str) -> Result<Printed, Failed> {
    let output = process::run(&mut psql(login, arguments)?, input.as_bytes(), LIMIT)?;
    Ok(output.into())
}

/// Runs psql and fails when it fails; returns its standard output.
pub(super) fn run_ok(login: &Login, arguments: &[&str], input: &str) -> Result<String, Failed> {
    let printed = run(login, arguments, input)?;
    if printed.code == Some(0) && printed.err.is_empty() {
        return Ok(printed.out);
    }
    let Printed { out, err, code } = printed;
    Err(format!("psql {arguments:?} ended with {code:?}\nstdout:\n{out}\nstderr:\n{err}").into())
}

/// Starts psql without waiting for it.
pub(super) fn start(login: &Login, arguments: &[&str]) -> Result<Running, Failed> {
    Ok(Running::start(&mut psql(login, arguments)?, b"")?)
}

/// The same psql call on Nyala and on PostgreSQL must print the same.
pub(super) fn same_output(nyala: &Login, postgres: &Login, arguments: &[&str]) -> TestResult {
    let expected = run(postgres, arguments, "")?;
    let got = run(nyala, arguments, "")?;
    let what = format!("psql {arguments:?}");
    if got.out != expected.out || got.err != expected.err {
        return Err(format!(
            "{what} differs\n--- PostgreSQL\n{}{}\n--- Nyala\n{}{}",
            expected.out, expected.err, got.out, got.err
        )
        .into());
    }
    expect_eq(&what, &got.code, &expected.code)
}

/// A database of this name on both engines, prepared by the same statements.
pub(super) fn both(database: &str, setup: &str) -> Result<(Login, Login), Failed> {
    let nyala = Engine::Nyala.create_database(database)?;
    let postgres = Engine::Postgres.create_database(database)?;
    for login in [&nyala, &postgres] {
        run_ok(login, &["-q", "-v", "ON_ERROR_STOP=1", "-f", "-"], setup)?;
    }
    Ok((nyala, postgres))
}

const PEOPLE: &str = "
    CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL, born date, score numeric(6,2));
    INSERT INTO people VALUES
      (1, 'Ann', '1990-01-31', 12.50), (2, 'Böb, \"the\" 2nd', NULL, NULL), (3, E'tab\\tand\\nline', '2001-12-01', -0.05);
";

fn statements() -> TestResult {
    let (nyala, postgres) = both("psql_statements", PEOPLE)?;
    for arguments in [
        &["-c", "SELECT * FROM people ORDER BY id"][..],
        &[
            "-c",
            "SELECT 1 AS one; SELECT 2 AS two, 'x' AS x; INSERT INTO people VALUES (4, 'Dua')",
        ],
        &[
            "-c",
            "SELECT count(*) FROM people",
            "-c",
            "DELETE FROM people WHERE id = 4",
        ],
        &[
            "-At",
            "-F",
            ";",
            "-c",
            "SELECT id, name, born FROM people ORDER BY id",
        ],
        &[
            "-c",
            "BEGIN; UPDATE people SET score = 1; ROLLBACK; SELECT sum(score) FROM people",
        ],
        // Statements of one query string are one transaction: the first INSERT must not stay.
        &[
            "-c",
            "INSERT INTO people VALUES (9, 'gone'); SELECT 1/0; SELECT 'not reached'",
        ],
        &["-Atc", "SELECT count(*) FROM people WHERE id = 9"],
        &["-c", ""],
        &["-c", ";;"],
        &["-c", "-- only a comment"],
    ] {
        same_output(&nyala, &postgres, arguments)?;
    }
    Ok(())
}

fn script_from_stdin() -> TestResult {
    let login = Engine::Nyala.create_database("psql_stdin")?;
    let script = format!("{PEOPLE}\nSELECT name FROM people WHERE id = 1;\nSELECT broken;\n");
    let printed = run(
        &login,
        &["-q", "-At", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        &script,
    )?;
    expect_eq("output before the error", &printed.out.as_str(), &"Ann\n")?;
    expect_contains(
        "error",
        &printed.err,
        "ERROR:  column \"broken\" does not exist",
    )?;
    expect_eq("psql's status for a script error", &printed.code, &Some(3))
}

fn error_position() -> TestResult {
    let (nyala, postgres) = both("psql_position", PEOPLE)?;
    let missing = run(&nyala, &["-c", "SELECT * FROM x"], "")?;
    expect_contains(
        "missing table",
        &missing.err,
        "ERROR:  relation \"x\" does not exist\n",
    )?;
    for statement in [
        "SELECT * FROM x",
        "SELECT id,\n  nosuch\nFROM people",
        "SELECT p.nosuch FROM people p",
        "SELECT id FROM people WHERE nosuch > 1",
        "INSERT INTO people (id, nosuch) VALUES (1, 2)",
        "DROP TABLE nosuch",
        "SELECT 1/0",
        "INSERT INTO people VALUES (1, 'dup')",
        "INSERT INTO people VALUES (7, NULL)",
        "SELECT 'abc'::integer",
        "SET nosuch = 1",
        "CREATE TABLE people (id integer)",
    ] {
        same_output(&nyala, &postgres, &["-c", statement])?;
    }
    // The wording of a syntax error is the parser's own; its place in the text must be right.
    let syntax = run(
        &nyala,
        &["-v", "VERBOSITY=verbose", "-c", "SELECT 1 FORM people"],
        "",
    )?;
    expect_contains("syntax error", &syntax.err, "42601")
}

fn expanded_and_timing() -> TestResult {
    let (nyala, postgres) = both("psql_expanded", PEOPLE)?;
    same_output(
        &nyala,
        &postgres,
        &["-x", "-c", "SELECT * FROM people ORDER BY id"],
    )?;
    same_output(
        &nyala,
        &postgres,
        &["-x", "-c", "SELECT * FROM people WHERE false"],
    )?;
    let timed = run_ok(&nyala, &["-f", "-"], "\\timing on\nSELECT 42 AS answer;\n")?;
    expect_contains("timing is announced", &timed, "Timing is on.")?;
    expect_contains("the answer", &timed, "42")?;
    expect_contains("a time is shown", &timed, "Time: ")
}

fn variables_and_gexec() -> TestResult {
    let login = Engine::Nyala.create_database("psql_variables")?;
    let script = "\\set word 'it''s'\nSELECT :'word' AS w \\gset\n\\echo :w\n\
        SELECT 'CREATE TABLE made_' || g || ' (id integer)' FROM generate_series(1, 3) g \\gexec\n\
        SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'made%';\n\
        \\if :{?w}\n\\echo yes\n\\endif\nSELECT 7 AS seven \\gx\n";
    let out = run_ok(
        &login,
        &["-q", "-At", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        script,
    )?;
    expect_eq("output", &out.as_str(), &"it's\n3\nyes\nseven|7\n")
}

/// Rows that need every quoting rule of a format.
const AWKWARD: &str = "
    CREATE TABLE awkward (id integer PRIMARY KEY, t text, n numeric(8,3), at timestamptz, doc jsonb, bits bytea, list text[]);
    INSERT INTO awkward VALUES
      (1, 'plain', 1.5, '2024-01-01 00:00:00+00', '{\"a\": \"x,y\"}', '\\x00ff', '{a,\"b c\"}'),
      (2, 'comma, \"quote\" and ''single''', NULL, NULL, NULL, NULL, NULL),
      (3, E'line\\nbreak\\ttab\\\\backslash', -0.001, '1999-12-31 23:59:59.999999+00', '[1, null]', '\\x', '{}'),
      (4, '', 0, NULL, 'null', NULL, '{NULL,\"\"}'),
      (5, '\\N', NULL, NULL, NULL, NULL, NULL),
      (6, 'NULL', NULL, NULL, NULL, NULL, NULL),
      (7, 'ünï ✓ \\.', NULL, NULL, NULL, NULL, NULL);
";

fn copy_csv_both_ways() -> TestResult {
    let (nyala, postgres) = both("psql_copy_csv", AWKWARD)?;
    let scratch = tempfile::tempdir()?;
    for (number, options) in [
        "csv",
        "csv, header",
        "csv, delimiter ';', null 'nil'",
        "csv, quote '!', escape '#', force_quote (t)",
        "csv, header, null '<none>', force_quote *",
    ]
    .iter()
    .enumerate()
    {
        round_trip(
            &nyala,
            &postgres,
            scratch.path(),
            number,
            &format!("format {options}"),
        )?;
    }
    let columns = "\\copy awkward (t, id) TO STDOUT (format csv)";
    same_output(&nyala, &postgres, &["-c", columns])?;
    let query = "\\copy (SELECT id, t FROM awkward WHERE id < 3 ORDER BY id) TO STDOUT csv header";
    same_output(&nyala, &postgres, &["-c", query])
}

fn copy_text_both_ways() -> TestResult {
    let (nyala, postgres) = both("psql_copy_text", AWKWARD)?;
    let scratch = tempfile::tempdir()?;
    for (number, options) in [
        "format text",
        "delimiter '|'",
        "null 'nil'",
        "format text, header",
    ]
    .iter()
    .enumerate()
    {
        round_trip(&nyala, &postgres, scratch.path(), number, options)?;
    }
    Ok(())
}

/// Exports from both (equal bytes), imports Nyala's export into Nyala, and compares the tables.
fn round_trip(
    nyala: &Login,
    postgres: &Login,
    scratch: &Path,
    number: usize,
    options: &str,
) -> TestResult {
    let file = |engine: &str| scratch.join(format!("{engine}-{number}.txt"));
    let export = |login: &Login, engine: &str| -> Result<Vec<u8>, Failed> {
        let path = file(engine);
        let query = "(SELECT * FROM awkward ORDER BY id)";
        let copy = format!("\\copy {query} TO '{}' ({options})", path.display());
        expect_eq(
            "tag",
            &run_ok(login, &["-c", &copy], "")?.as_str(),
            &"COPY 7\n",
        )?;
        Ok(std::fs::read(path)?)
    };
    let expected = String::from_utf8_lossy(&export(postgres, "postgres")?).into_owned();
    let got = String::from_utf8_lossy(&export(nyala, "nyala")?).into_owned();
    expect_eq(&format!("COPY TO with ({options})"), &got, &expected)?;

    let target = format!("back_{number}");
    let create = format!(
        "CREATE TABLE {target} (id integer PRIMARY KEY, t text, n numeric(8,3), at timestamptz, \
         doc jsonb, bits bytea, list text[])"
    );
    run_ok(nyala, &["-q", "-c", &create], "")?;
    // Forced quotes are an instruction to the writer only.
    let options_in = options.split(", force_quote").next().unwrap_or(options);
    let source = file("nyala").display().to_string();
    let copy = format!("\\copy {target} FROM '{source}' ({options_in})");
    expect_eq(
        "tag",
        &run_ok(nyala, &["-c", &copy], "")?.as_str(),
        &"COPY 7\n",
    )?;
    let rows = |table: &str| {
        run_ok(
            nyala,
            &[
                "-At",
                "-P",
                "null=<null>",
                "-c",
                &format!("TABLE {table} ORDER BY id"),
            ],
            "",
        )
    };
    let (original, back) = (rows("awkward")?, rows(&target)?);
    expect_eq(
        &format!("rows after a round trip with ({options})"),
        &back,
        &original,
    )
}

fn single_transaction() -> TestResult {
    let login = Engine::Nyala.create_database("psql_single")?;
    run_ok(
        &login,
        &["-q", "-c", "CREATE TABLE t (id integer PRIMARY KEY)"],
        "",
    )?;
    let script =
        "INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2);\nINSERT INTO t VALUES (1);\n";
    let printed = run(&login, &["-1", "-v", "ON_ERROR_STOP=1", "-f", "-"], script)?;
    expect(printed.code == Some(3), || {
        format!("psql -1 ended with {:?}", printed.code)
    })?;
    expect_contains(
        "duplicate",
        &printed.err,
        "duplicate key value violates unique constraint",
    )?;
    expect_eq(
        "rows after the rollback",
        &run_ok(&login, &["-Atc", "SELECT count(*) FROM t"], "")?.as_str(),
        &"0\n",
    )
}
