//! The options of a table: its closing rule, how closed files are divided, when its jobs run, and how long its versions are kept.

use nyala_catalog::definitions::{ColumnDef, Schedules};
use nyala_catalog::partitioning::PartitionField;
use sqlparser::ast::{CreateTableOptions, Expr, SqlOption, Value};

use super::{closing_rule, partitioning};
use crate::error::{PgError, Result, sqlstate};
use crate::jobs;
use crate::pgwire::decode::parse_interval;
use crate::sql::names;
use crate::sql::parse::RESET_OPTION;
use crate::sql::planner::Planner;

/// PostgreSQL's storage parameters that say how its pages are laid out and kept; others begin with `autovacuum_`.
const PAGE_PARAMETERS: [&str; 6] = [
    "fillfactor",
    "log_autovacuum_min_duration",
    "parallel_workers",
    "toast_tuple_target",
    "vacuum_index_cleanup",
    "vacuum_truncate",
];

/// Options that a statement sets, and those that it resets.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// Text of the closing rule.
    pub(super) closed_when: Option<String>,
    /// How closed files are divided, where that is given; empty where it is reset.
    pub(super) partition_by: Option<Vec<PartitionField>>,
    /// Where files lie that are the closed part from the start.
    closed_location: Option<String>,
    /// Given, and `None` where it is reset.
    offload: Option<Option<String>>,
    housekeeping: Option<Option<String>>,
    offload_percent: Option<Option<u8>>,
    retention_s: Option<Option<u64>>,
    /// Parameters of PostgreSQL's pages and their upkeep, which there are none of here.
    without_meaning: Vec<String>,
}

impl Options {
    /// What the client is told of parameters that nothing was done with.
    pub(super) fn warnings(&self) -> impl Iterator<Item = PgError> {
        let names = self.without_meaning.iter();
        names.map(|name| {
            let message =
                format!("storage parameter \"{name}\" has no meaning here and is left out");
            PgError::warning(sqlstate::WARNING, message)
        })
    }

    /// The options in WITH.
    pub(super) fn read(
        planner: &Planner,
        options: &CreateTableOptions,
        columns: &[ColumnDef],
    ) -> Result<Self> {
        match options {
            CreateTableOptions::None => Ok(Self::default()),
            CreateTableOptions::With(options) => Self::read_list(planner, options, columns),
            other => Err(PgError::syntax(format!(
                "syntax error at or near \"{other}\""
            ))),
        }
    }

    /// The options in parentheses.
    pub(super) fn read_list(
        planner: &Planner,
        options: &[SqlOption],
        columns: &[ColumnDef],
    ) -> Result<Self> {
        let mut given = Self::default();
        for option in options {
            let SqlOption::KeyValue { key, value } = option else {
                return Err(PgError::syntax(format!(
                    "syntax error at or near \"{option}\""
                )));
            };
            let name = names::fold(key);
            let reset = matches!(value, Expr::Identifier(ident) if ident.value == RESET_OPTION);
            match name.as_str() {
                "closed_when" if reset => {
                    return Err(PgError::unsupported("closed_when cannot be reset")
                        .with_hint("Create a table without it and copy the rows."));
                }
                "closed_when" => {
                    let Some(text) = string(value) else {
                        return Err(invalid_option("closed_when", "a string with a condition"));
                    };
                    closing_rule(planner, text, columns)?;
                    given.closed_when = Some(text.to_string());
                }
                "offload_schedule" | "housekeeping_schedule" => {
                    let pattern = match (reset, string(value)) {
                        (true, _) => None,
                        (false, Some(pattern)) => Some(pattern.to_string()),
                        (false, None) => {
                            return Err(invalid_option(&name, "a string with a cron pattern"));
                        }
                    };
                    if let Some(pattern) = &pattern {
                        jobs::parse_schedule(&name, pattern)?;
                    }
                    match name.as_str() {
                        "offload_schedule" => given.offload = Some(pattern),
                        _ => given.housekeeping = Some(pattern),
                    }
                }
                "offload_percent" if reset => given.offload_percent = Some(None),
                "offload_percent" => {
                    let percent = number(value).and_then(|text| text.parse().ok());
                    let Some(percent) = percent.filter(|percent| *percent <= 100) else {
                        return Err(invalid_option(&name, "a whole number from 0 to 100"));
                    };
                    given.offload_percent = Some(Some(percent));
                }
                "retention" if reset => given.retention_s = Some(None),
                "retention" => {
                    let Some(text) = string(value) else {
                        return Err(invalid_option("retention", "a string with an interval"));
                    };
                    given.retention_s = Some(Some(retention(text)?));
                }
                "closed_partition_by" if reset => given.partition_by = Some(Vec::new()),
                "closed_partition_by" => {
                    let Some(text) = string(value) else {
                        return Err(invalid_option(&name, "a string with partition transforms"));
                    };
                    given.partition_by = Some(partitioning::parse(text, columns)?);
                }
                "closed_location" if reset => {
                    return Err(PgError::unsupported("closed_location cannot be reset"));
                }
                "closed_location" => {
                    let Some(text) = string(value) else {
                        return Err(invalid_option(&name, "a string with a path or URL"));
                    };
                    given.closed_location = Some(text.to_string());
                }
                name if PAGE_PARAMETERS.contains(&name) || name.starts_with("autovacuum_") => {
                    given.without_meaning.push(name.to_string());
                }
                _ => {
                    return Err(PgError::new(
                        sqlstate::INVALID_PARAMETER_VALUE,
                        format!("unrecognized parameter \"{name}\""),
                    ));
                }
            }
        }
        Ok(given)
    }

    /// How closed files are divided of a table that had `before`; `hybrid` says whether it has a closing rule.
    pub(super) fn partition_by(
        &self,
        before: &[PartitionField],
        hybrid: bool,
    ) -> Result<Vec<PartitionField>> {
        match &self.partition_by {
            Some(fields) if !fields.is_empty() && !hybrid => Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "parameter \"closed_partition_by\" requires closed_when",
            )),
            Some(fields) => Ok(fields.clone()),
            None => Ok(before.to_vec()),
        }
    }

    /// Where the closed part of a new table lies, if it is there already.
    pub(super) fn closed_location(&self) -> Result<Option<String>> {
        if self.closed_location.is_some() && self.closed_when.is_none() {
            return Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "parameter \"closed_location\" requires closed_when",
            ));
        }
        Ok(self.closed_location.clone())
    }

    /// Refuses what only CREATE TABLE can set.
    pub(super) fn check_alter(&self) -> Result<()> {
        match self.closed_location {
            Some(_) => Err(PgError::unsupported(
                "closed_location can only be given to a new table",
            )),
            None => Ok(()),
        }
    }

    /// The retention of a table that had `before`.
    pub(super) fn retention_s(&self, before: Option<u64>) -> Option<u64> {
        self.retention_s.unwrap_or(before)
    }

    /// The schedules of a table that had `before`; `hybrid` says whether it has a closing rule.
    pub(super) fn schedules(self, before: Schedules, hybrid: bool) -> Result<Schedules> {
        let schedules = Schedules {
            offload: self.offload.unwrap_or(before.offload),
            housekeeping: self.housekeeping.unwrap_or(before.housekeeping),
            offload_percent: self.offload_percent.unwrap_or(before.offload_percent),
        };
        if schedules.housekeeping.is_some() && !hybrid {
            return Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "parameter \"housekeeping_schedule\" requires closed_when",
            ));
        }
        Ok(schedules)
    }
}

/// Seconds of `retention = '7 days'`; a month has 30 days.
fn retention(text: &str) -> Result<u64> {
    const DAY_S: i64 = 24 * 60 * 60;
    let interval = parse_interval(text)?;
    let days = i64::from(interval.months) * 30 + i64::from(interval.days);
    let seconds = days * DAY_S + interval.nanoseconds / 1_000_000_000;
    u64::try_from(seconds).map_err(|_| {
        PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"retention\": \"{text}\""),
        )
        .with_detail("A retention must not be negative.")
    })
}

fn string(value: &Expr) -> Option<&str> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The text of a number, quoted or not.
fn number(value: &Expr) -> Option<&str> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn invalid_option(name: &str, wanted: &str) -> PgError {
    PgError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("parameter \"{name}\" requires {wanted}"),
    )
}
