//! Runs the scripts of `tests/slt` over a real socket: once by the simple protocol (text results)
//! and once by the extended one (binary results, printed by [`crate::harness::values`]).
//!
//! A script whose first line is `# oracle` also runs against PostgreSQL 15, where it must pass
//! unchanged. `NYALA_SLT_BLESS=1` writes PostgreSQL's own answers into those scripts; read the diff.
//!
//! Results are written one row a line, values separated by `|`, NULL as `NULL`, the empty string as
//! `(empty)`, a line break as `\n`. The letters after `query` are checked strictly, `?` matches any.
//! All failing records of a script are reported, not only the first.

mod bless;
mod session;

use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};
use sqllogictest::{Record, Runner, parse_file};

use crate::harness::shared::{self, Engine};
use crate::harness::wire::{Format, Login, WireError};
use crate::harness::{self, gaps, trial};
use session::{Kind, Session};

/// Failing records shown per script; the rest are only counted.
const FAILURES_SHOWN: usize = 40;
/// First line of a script that PostgreSQL judges.
const ORACLE_MARK: &str = "# oracle";

/// Every script, by protocol and engine.
pub fn trials() -> Vec<Trial> {
    let scripts = match scripts() {
        Ok(scripts) => scripts,
        Err(failure) => return vec![trial("slt::scripts", || Err(failure))],
    };
    let bless = std::env::var_os("NYALA_SLT_BLESS").is_some();
    let mut trials = Vec::new();
    for script in scripts {
        let mut add = |engine: Engine, protocol: Protocol| {
            let script = script.clone();
            let name = format!(
                "slt::{}::{}::{}",
                engine.name(),
                protocol.name(),
                script.name
            );
            trials.push(trial(name, move || script.run(engine, protocol)));
        };
        if script.oracle {
            add(Engine::Postgres, Protocol::Simple);
            add(Engine::Postgres, Protocol::Extended);
        }
        if !bless {
            add(Engine::Nyala, Protocol::Simple);
            add(Engine::Nyala, Protocol::Extended);
        }
    }
    trials
}

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
        }
    }

    fn format(self) -> Option<Format> {
        match self {
            Self::Simple => None,
            Self::Extended => Some(Format::Binary),
        }
    }
}

#[derive(Debug, Clone)]
struct Script {
    name: String,
    path: PathBuf,
    oracle: bool,
}

fn scripts() -> Result<Vec<Script>, Failed> {
    let directory = harness::package_directory().join("slt");
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(name) = name.strip_suffix(".slt") else {
            continue;
        };
        let text = std::fs::read_to_string(&path)?;
        let oracle = text.lines().next() == Some(ORACLE_MARK);
        scripts.push(Script {
            name: name.to_string(),
            path: path.clone(),
            oracle,
        });
    }
    scripts.sort_by(|left, right| left.name.cmp(&right.name));
    if scripts.is_empty() {
        return Err(format!("no scripts in {}", directory.display()).into());
    }
    Ok(scripts)
}

impl Script {
    fn run(&self, engine: Engine, protocol: Protocol) -> Result<(), Failed> {
        let database = format!("slt_{}_{}", self.name, protocol.name());
        let login = engine.create_database(&database).map_err(|failure| {
            shared::explain(failure.message().unwrap_or("cannot create a database"))
        })?;
        if std::env::var_os("NYALA_SLT_BLESS").is_some() && protocol == Protocol::Simple {
            return bless::rewrite(&self.path, connector(login, engine, protocol));
        }
        let failures = self.failures(&login, engine, protocol)?;
        if failures.is_empty() {
            return Ok(());
        }
        let shown = failures
            .iter()
            .take(FAILURES_SHOWN)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        let report = format!("{} records failed\n{shown}", failures.len());
        Err(match engine {
            Engine::Nyala => shared::explain(report),
            Engine::Postgres => report.into(),
        })
    }

    fn failures(
        &self,
        login: &Login,
        engine: Engine,
        protocol: Protocol,
    ) -> Result<Vec<String>, Failed> {
        let records = parse_file::<Kind>(&self.path)?;
        let mut runner = Runner::new(connector(login.clone(), engine, protocol));
        runner.add_label(protocol.name());
        runner.with_normalizer(session::normalize);
        runner.with_validator(session::same_rows);
        runner.with_column_validator(session::same_kinds);
        runner.set_var("DATABASE".into(), login.database.clone());
        let gaps = gaps::of_script(&self.name, protocol.name());
        let mut failures = Vec::new();
        for record in records {
            if matches!(record, Record::Halt { .. }) {
                return Err(format!("{}: halt hides the rest of the script", self.name).into());
            }
            let line = line_of(&record);
            let expected = engine == Engine::Nyala && line.is_some_and(|l| gaps.contains(&l));
            match (
                futures::executor::block_on(runner.run_async(record)),
                expected,
            ) {
                (Ok(_), false) | (Err(_), true) => {}
                (Err(error), false) => failures.push(error.to_string()),
                (Ok(_), true) => failures.push(format!(
                    "{}.slt:{}: this gap is closed: take its line out of gaps.txt",
                    self.name,
                    line.unwrap_or_default()
                )),
            }
        }
        runner.shutdown();
        Ok(failures)
    }
}

/// The line of a record that has an outcome.
fn line_of(record: &Record<Kind>) -> Option<usize> {
    let location = match record {
        Record::Statement { loc, .. } | Record::Query { loc, .. } => loc,
        _ => return None,
    };
    usize::try_from(location.line()).ok()
}

/// Makes the named connections of a script; all go to the same database.
fn connector(
    login: Login,
    engine: Engine,
    protocol: Protocol,
) -> impl FnMut() -> std::future::Ready<Result<Session, WireError>> {
    move || {
        let session = Session::connect(&login, engine.name(), protocol.format());
        std::future::ready(session)
    }
}
