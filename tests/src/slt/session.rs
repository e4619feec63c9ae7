//! One connection of a script, and how its answers are compared with the script's text.

use sqllogictest::{ColumnType, DB, DBOutput, Normalizer};

use crate::harness::values;
use crate::harness::wire::{Format, Login, Reply, Wire, WireError};

/// A column's letter in a `query` line; see [`values::kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind(char);

impl ColumnType for Kind {
    fn from_char(letter: char) -> Option<Self> {
        (letter == '?' || values::KINDS.contains(letter)).then_some(Self(letter))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

/// A connection that prints values in the scripts' notation.
pub struct Session {
    wire: Wire,
    engine: &'static str,
    /// `None` sends simple queries.
    extended: Option<Format>,
}

impl Session {
    /// Logs in.
    pub fn connect(
        login: &Login,
        engine: &'static str,
        extended: Option<Format>,
    ) -> Result<Self, WireError> {
        Ok(Self {
            wire: Wire::connect(login)?,
            engine,
            extended,
        })
    }

    fn execute(&mut self, sql: &str) -> Result<Reply, WireError> {
        match self.extended {
            None => self.wire.query(sql),
            Some(format) => self.wire.extended(sql, &[], format),
        }
    }
}

impl DB for Session {
    type Error = WireError;
    type ColumnType = Kind;

    fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, WireError> {
        let reply = self.execute(sql)?;
        let count = reply.count();
        let Some(columns) = reply.columns else {
            return Ok(DBOutput::StatementComplete(count));
        };
        let types = columns
            .iter()
            .map(|column| Kind(values::kind(column.type_oid)))
            .collect();
        let mut rows = Vec::with_capacity(reply.rows.len());
        for row in &reply.rows {
            if row.len() != columns.len() {
                let text = format!("{} columns described, {} sent", columns.len(), row.len());
                return Err(WireError::Protocol(text));
            }
            let cells = columns.iter().zip(row).map(|(column, value)| match value {
                None => Ok("NULL".to_string()),
                Some(bytes) => values::print(column, bytes).map(|text| match text.as_str() {
                    "" => "(empty)".to_string(),
                    text => text.replace('\n', "\\n"),
                }),
            });
            let cells = cells.collect::<Result<Vec<_>, _>>();
            rows.push(cells.map_err(WireError::Protocol)?);
        }
        Ok(DBOutput::Rows { types, rows })
    }

    fn engine_name(&self) -> &str {
        self.engine
    }

    fn error_sql_state(error: &WireError) -> Option<String> {
        error.code().map(str::to_string)
    }
}

/// Only trailing blanks are ignored: everything else is part of a value.
#[allow(
    clippy::ptr_arg,
    reason = "the runner's Normalizer type takes a &String"
)]
pub fn normalize(text: &String) -> String {
    text.trim_end().to_string()
}

/// Rows as the scripts write them, compared line by line.
pub fn same_rows(normalize: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    let actual: Vec<String> = actual.iter().map(|row| normalize(&row.join("|"))).collect();
    let expected: Vec<String> = expected.iter().map(normalize).collect();
    actual == expected
}

/// Strict, but `?` in the script matches any type.
#[allow(
    clippy::ptr_arg,
    reason = "the runner's ColumnTypeValidator type takes &Vec"
)]
pub fn same_kinds(actual: &Vec<Kind>, expected: &Vec<Kind>) -> bool {
    actual.len() == expected.len()
        && actual
            .iter()
            .zip(expected)
            .all(|(actual, expected)| expected.0 == '?' || actual == expected)
}
