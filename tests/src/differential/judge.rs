//! Sends a statement to both sides and compares the answers.

use std::fmt::{self, Display};
use std::time::Duration;

use libtest_mimic::Failed;
use rand::Rng;
use rand::rngs::StdRng;

use super::tables::Step;
use super::tree::Tree;
use crate::harness::shared::Engine;
use crate::harness::values;
use crate::harness::wire::{Format, Login, Reply, Wire, WireError};

/// PostgreSQL ends what takes longer; such a statement says nothing.
const STATEMENT_TIMEOUT: &str = "3s";
/// Nyala must have answered by then what PostgreSQL answered within its own limit.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Trees tried while a finding is cut down.
const REDUCTIONS_MAX: usize = 600;
const ROWS_SHOWN: usize = 6;
/// Characters of a difference that are shown.
const MESSAGE_SHOWN: usize = 400;
/// Digits of a number that are compared, behind the first: the last ones depend on the order of additions.
const DIGITS: usize = 9;

/// How the query is sent to Nyala.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    Simple,
    /// Binary results.
    Extended,
    /// Constants as parameters, binary results.
    Parameters,
}

impl Sending {
    pub fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..4) {
            0 => Self::Extended,
            1 => Self::Parameters,
            _ => Self::Simple,
        }
    }
}

/// What came out of a statement.
pub enum Verdict {
    Equal,
    BothRefused,
    ValueRefused,
    Slow,
    Finding(Finding),
}

/// A difference.
pub struct Finding {
    pub kind: &'static str,
    what: String,
    sql: String,
    sending: Sending,
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({:?})", self.kind, self.sending)?;
        writeln!(f, "{};", self.sql)?;
        let shown: String = self.what.chars().take(MESSAGE_SHOWN).collect();
        write!(f, "{shown}")
    }
}

/// Both connections.
pub struct Judge {
    nyala: Wire,
    postgres: Wire,
    login: Login,
}

/// A result: types of the columns, and rows as text.
#[derive(Debug)]
struct Answer {
    types: Vec<u32>,
    rows: Vec<Vec<String>>,
}

impl Judge {
    /// Databases of their own on the shared servers.
    pub fn start() -> Result<Self, Failed> {
        let login = Engine::Nyala.create_database("differential")?;
        let oracle = Engine::Postgres.create_database("differential")?;
        let nyala = Wire::connect_within(&login, ANSWER_LIMIT)?;
        let mut postgres = Wire::connect(&oracle)?;
        postgres.simple(&format!("SET statement_timeout = '{STATEMENT_TIMEOUT}'"))?;
        Ok(Self {
            nyala,
            postgres,
            login,
        })
    }

    /// Runs what makes the tables.
    pub fn load(&mut self, steps: &[Step]) -> Result<(), Failed> {
        for step in steps {
            let (nyala, postgres) = match step {
                Step::Both(sql) => (Some(sql), Some(sql)),
                Step::Each { nyala, postgres } => (Some(nyala), Some(postgres)),
                Step::Nyala(sql) => (Some(sql), None),
            };
            if let Some(sql) = postgres {
                let sent = self.postgres.simple(sql);
                sent.map_err(|error| format!("PostgreSQL: {sql}: {error}"))?;
            }
            if let Some(sql) = nyala {
                let sent = self.nyala.simple(sql);
                sent.map_err(|error| format!("Nyala: {sql}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Compares a query's answers; a finding is cut down first.
    pub fn query(&mut self, tree: &Tree, sending: Sending) -> Result<Verdict, Failed> {
        self.judge(tree, sending, |judge, tree| judge.compare(tree, sending))
    }

    /// Sends a change to both, and compares what it does to the table. It stays only where it does the same.
    pub fn change(&mut self, table: &str, tree: &Tree) -> Result<Verdict, Failed> {
        let verdict = self.judge(tree, Sending::Simple, |judge, tree| {
            judge.transaction("BEGIN")?;
            let outcome = judge.compare_change(table, tree);
            judge.transaction("ROLLBACK")?;
            outcome
        })?;
        if matches!(verdict, Verdict::Equal) {
            self.transaction(&tree.sql())?;
        }
        Ok(verdict)
    }

    fn transaction(&mut self, sql: &str) -> Result<(), Failed> {
        let postgres = self.postgres.simple(sql);
        postgres.map_err(|error| format!("PostgreSQL: {sql}: {error}"))?;
        let nyala = self.nyala.simple(sql);
        nyala.map_err(|error| format!("Nyala: {sql}: {error}"))?;
        Ok(())
    }

    fn judge(
        &mut self,
        tree: &Tree,
        sending: Sending,
        compare: impl Fn(&mut Self, &Tree) -> Result<Outcome, Failed>,
    ) -> Result<Verdict, Failed> {
        let (kind, mut what) = match compare(self, tree)? {
            Outcome::Verdict(verdict) => return Ok(verdict),
            Outcome::Differs(kind, what) => (kind, what),
        };
        let mut smallest = tree.clone();
        let mut candidates = smallest.smaller().into_iter();
        for _ in 0..REDUCTIONS_MAX {
            let Some(candidate) = candidates.next() else {
                break;
            };
            if let Outcome::Differs(found, how) = compare(self, &candidate)?
                && found == kind
                && (kind != "failed" || class(&how) == class(&what))
            {
                (smallest, what) = (candidate, how);
                candidates = smallest.smaller().into_iter();
            }
        }
        Ok(Verdict::Finding(Finding {
            kind,
            what,
            sql: smallest.sql(),
            sending,
        }))
    }

    fn compare(&mut self, tree: &Tree, sending: Sending) -> Result<Outcome, Failed> {
        let expected = self.postgres.query(&tree.sql());
        let expected = match expected {
            Err(error) if error.code() == Some("57014") => {
                return Ok(Outcome::Verdict(Verdict::Slow));
            }
            Err(error @ WireError::Db(_)) => Err(error),
            Err(error) => return Err(error.into()),
            Ok(reply) => Ok(answer(&reply)?),
        };
        let got = match sending {
            Sending::Simple => self.nyala.query(&tree.sql()),
            Sending::Extended => self.nyala.extended(&tree.sql(), &[], Format::Binary),
            Sending::Parameters => {
                let (sql, parameters) = tree.sql_with_parameters();
                let parameters: Vec<Option<&str>> = parameters
                    .iter()
                    .map(|value| Some(value.as_str()))
                    .collect();
                self.nyala.extended(&sql, &parameters, Format::Binary)
            }
        };
        let got = match got {
            Ok(reply) => Ok(answer(&reply)?),
            Err(error @ WireError::Db(_)) => Err(error),
            Err(error) => {
                self.nyala = Wire::connect_within(&self.login, ANSWER_LIMIT)?;
                return Ok(Outcome::Differs("no answer", error.to_string()));
            }
        };
        Ok(judged(expected, got, tree.is_ordered()))
    }

    fn compare_change(&mut self, table: &str, tree: &Tree) -> Result<Outcome, Failed> {
        let sql = tree.sql();
        let expected = match self.postgres.query(&sql) {
            Err(error) if error.code() == Some("57014") => {
                return Ok(Outcome::Verdict(Verdict::Slow));
            }
            Err(error @ WireError::Db(_)) => Err(error),
            Err(error) => return Err(error.into()),
            Ok(reply) => Ok(reply),
        };
        let got = match self.nyala.query(&sql) {
            Err(error @ WireError::Db(_)) => Err(error),
            Err(error) => {
                self.nyala = Wire::connect_within(&self.login, ANSWER_LIMIT)?;
                return Ok(Outcome::Differs("no answer", error.to_string()));
            }
            Ok(reply) => Ok(reply),
        };
        Ok(match (expected, got) {
            (Ok(expected), Ok(got)) if expected.tag != got.tag => Outcome::Differs(
                "other count",
                format!("PostgreSQL: {:?}, Nyala: {:?}", expected.tag, got.tag),
            ),
            (Ok(_), Ok(_)) => {
                let read = format!("SELECT * FROM {table}");
                let expected = answer(&self.postgres.query(&read)?)?;
                let got = answer(&self.nyala.query(&read)?)?;
                judged(Ok(expected), Ok(got), false)
            }
            (expected, got) => {
                let nothing = |_| Answer {
                    types: Vec::new(),
                    rows: Vec::new(),
                };
                judged(expected.map(nothing), got.map(nothing), false)
            }
        })
    }
}

enum Outcome {
    Verdict(Verdict),
    Differs(&'static str, String),
}

/// Errors about a value, which depend on whether the value is looked at.
fn is_value(error: &WireError) -> bool {
    error.code().is_some_and(|code| code.starts_with("22"))
}

/// An error message without what differs between statements of the same fault.
fn class(message: &str) -> String {
    message
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(50)
        .collect()
}

fn judged(
    expected: Result<Answer, WireError>,
    got: Result<Answer, WireError>,
    ordered: bool,
) -> Outcome {
    match (expected, got) {
        (Err(_), Err(error)) if error.code() == Some("XX000") => {
            Outcome::Differs("internal error", error.to_string())
        }
        (Err(_), Err(_)) => Outcome::Verdict(Verdict::BothRefused),
        (Err(error), Ok(_)) if is_value(&error) => Outcome::Verdict(Verdict::ValueRefused),
        (Err(error), Ok(_)) => Outcome::Differs("accepted", format!("PostgreSQL: {error}")),
        (Ok(_), Err(error)) => Outcome::Differs("failed", error.to_string()),
        (Ok(expected), Ok(got)) => {
            if expected.types != got.types {
                return Outcome::Differs(
                    "other types",
                    format!("PostgreSQL: {:?}, Nyala: {:?}", expected.types, got.types),
                );
            }
            match difference(&expected, &got, ordered) {
                None => Outcome::Verdict(Verdict::Equal),
                Some(what) => Outcome::Differs("other rows", what),
            }
        }
    }
}

fn answer(reply: &Reply) -> Result<Answer, Failed> {
    let columns = reply.columns.as_deref().unwrap_or_default();
    let mut rows = Vec::new();
    for row in &reply.rows {
        let mut texts = Vec::new();
        for (column, value) in columns.iter().zip(row) {
            texts.push(match value {
                None => "NULL".to_string(),
                Some(bytes) => values::print(column, bytes)?,
            });
        }
        rows.push(texts);
    }
    Ok(Answer {
        types: columns.iter().map(|column| column.type_oid).collect(),
        rows,
    })
}

/// Compares rows, as sets with multiplicity unless they have an order.
fn difference(expected: &Answer, got: &Answer, ordered: bool) -> Option<String> {
    let (left, right) = (normal(expected), normal(got));
    if sorted(&left) == sorted(&right) {
        return (ordered && left != right).then(|| {
            let first = left.iter().zip(&right).find(|(left, right)| left != right);
            format!("  another order: {first:?}")
        });
    }
    let only = |rows: &[Vec<String>], others: &[Vec<String>]| -> String {
        let mut rest = others.to_vec();
        let mut shown = Vec::new();
        for row in rows {
            match rest.iter().position(|other| other == row) {
                Some(number) => {
                    rest.swap_remove(number);
                }
                None => shown.push(row.join("|")),
            }
        }
        let more = shown.len().saturating_sub(ROWS_SHOWN);
        shown.truncate(ROWS_SHOWN);
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        shown.join("\n    ")
    };
    Some(format!(
        "  only PostgreSQL:\n    {}\n  only Nyala:\n    {}",
        only(&left, &right),
        only(&right, &left)
    ))
}

fn normal(answer: &Answer) -> Vec<Vec<String>> {
    let rows = answer.rows.iter().map(|row| {
        let cells = row.iter().zip(&answer.types);
        cells
            .map(|(cell, kind)| match (kind, cell.parse::<f64>()) {
                // Scales of computed numbers may differ, and so may a float's last digits.
                (701 | 1700, Ok(number)) => format!("{:.DIGITS$e}", number + 0.0),
                _ => cell.clone(),
            })
            .collect()
    });
    rows.collect()
}

fn sorted(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut rows = rows.to_vec();
    rows.sort();
    rows
}
