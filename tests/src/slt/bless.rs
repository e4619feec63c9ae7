//! Writes PostgreSQL's answers into a script, so that nobody types expected results from memory.
//!
//! Only results and SQLSTATEs change; a statement that must fail or must succeed keeps saying so,
//! and the run fails when PostgreSQL disagrees.

use std::fmt::Write;
use std::path::Path;

use libtest_mimic::Failed;
use sqllogictest::{Condition, ExpectedError};
use sqllogictest::{
    MakeConnection, QueryExpect, Record, RecordOutput, Runner, StatementExpect, parse_file,
};

use super::session::{Kind, Session};
use crate::harness::wire::WireError;

/// Runs the script and rewrites the file with what came back.
pub fn rewrite(path: &Path, connect: impl MakeConnection<Conn = Session>) -> Result<(), Failed> {
    let mut runner = Runner::new(connect);
    runner.add_label("simple");
    let mut text = String::new();
    let mut failures = Vec::new();
    for record in parse_file::<Kind>(path)? {
        let only_elsewhere = is_conditional(&record);
        let output = futures::executor::block_on(runner.apply_record(record.clone()));
        let record = if only_elsewhere {
            record
        } else {
            match blessed(record.clone(), &output) {
                Ok(record) => record,
                Err(error) => {
                    failures.push(error);
                    record
                }
            }
        };
        if !matches!(record, Record::Injected(_)) {
            writeln!(text, "{record}")?;
        }
    }
    runner.shutdown();
    std::fs::write(path, format!("{}\n", text.trim_end()))?;
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n").into())
    }
}

/// Records under `onlyif` or `skipif` keep their text: their answers are not PostgreSQL's to give.
fn is_conditional(record: &Record<Kind>) -> bool {
    let conditions: &[Condition] = match record {
        Record::Statement { conditions, .. } | Record::Query { conditions, .. } => conditions,
        _ => &[],
    };
    !conditions.is_empty()
}

fn blessed(mut record: Record<Kind>, output: &RecordOutput<Kind>) -> Result<Record<Kind>, String> {
    match (&mut record, output) {
        (
            Record::Query {
                expected, sql, loc, ..
            },
            RecordOutput::Query { types, rows, error },
        ) => match (expected, error) {
            (
                QueryExpect::Results {
                    types: kinds,
                    results,
                    ..
                },
                None,
            ) => {
                *results = rows.iter().map(|row| row.join("|")).collect();
                if !super::session::same_kinds(types, kinds) {
                    *kinds = types.clone();
                }
            }
            (QueryExpect::Error(state), Some(error)) => *state = sql_state(error.as_ref())?,
            (_, error) => return Err(format!("{loc}: unexpected outcome {error:?}\n{sql}")),
        },
        (Record::Query { sql, loc, .. }, RecordOutput::Statement { error, .. }) => {
            return Err(format!("{loc}: not a query, or failed: {error:?}\n{sql}"));
        }
        (
            Record::Statement {
                expected, sql, loc, ..
            },
            RecordOutput::Statement { count, error },
        ) => match (expected, error) {
            (StatementExpect::Ok, None) => {}
            (StatementExpect::Count(expected), None) => *expected = *count,
            (StatementExpect::Error(state), Some(error)) => {
                *state = sql_state(error.as_ref())?;
            }
            (_, error) => return Err(format!("{loc}: unexpected outcome {error:?}\n{sql}")),
        },
        (
            Record::Statement {
                expected, sql, loc, ..
            },
            RecordOutput::Query { .. },
        ) => {
            if matches!(expected, StatementExpect::Error(_)) {
                return Err(format!("{loc}: succeeded\n{sql}"));
            }
        }
        _ => {}
    }
    Ok(record)
}

fn sql_state(error: &(dyn std::error::Error + 'static)) -> Result<ExpectedError, String> {
    let code = error
        .downcast_ref::<WireError>()
        .and_then(|error| error.code());
    match code {
        Some(code) => Ok(ExpectedError::SqlState(code.to_string())),
        None => Err(format!("no SQLSTATE in {error}")),
    }
}
