//! Run-time parameters of a session: what SET, SHOW and RESET work on.
//!
//! Every parameter here has an effect or a single legal value; anything else is 42704. Changes
//! follow the transaction: ROLLBACK takes SET back, the end of the transaction takes SET LOCAL back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_catalog::OpenReads;

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::SettingRow;
use crate::pgwire::encode::{
    ByteaOutput, DateOrder, DateOutput, DateStyle, FormatSettings, IntervalStyle, TimeZone,
};
use crate::sql::names;

/// PostgreSQL release whose behaviour clients can expect.
pub const SERVER_VERSION: &str = "15.0";

/// What a parameter accepts.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Any text.
    Text,
    /// `on` or `off`.
    Bool,
    /// A whole number in a range.
    Integer(i64, i64),
    /// Milliseconds, bare or with a unit.
    Milliseconds,
    /// One of a list.
    Enum(&'static [&'static str]),
    /// A list of output forms and field orders.
    DateStyle,
    /// A zone name or offset.
    TimeZone,
    /// Only this value; setting it to that is allowed.
    Fixed,
    /// Never set by users.
    ReadOnly,
}

/// A parameter.
struct Parameter {
    name: &'static str,
    default: &'static str,
    kind: Kind,
    /// Clients are told of its value.
    reported: bool,
    category: &'static str,
    description: &'static str,
}

const ISOLATION: &str =
    "Transaction isolation; snapshot isolation serves every level but serializable.";
const LEVELS: &[&str] = &["read uncommitted", "read committed", "repeatable read"];
const CLIENT: &str = "Client Connection Defaults";
const LOCALE: &str = "Client Connection Defaults / Locale and Formatting";
const BEHAVIOUR: &str = "Client Connection Defaults / Statement Behavior";
const COMPATIBILITY: &str = "Version and Platform Compatibility";
const PRESET: &str = "Preset Options";
const RESOURCES: &str = "Resource Usage / Memory";
const REPORTING: &str = "Reporting and Logging / What to Log";

macro_rules! parameter {
    ($name:literal, $default:expr, $kind:expr, $reported:literal, $category:expr, $text:expr) => {
        Parameter {
            name: $name,
            default: $default,
            kind: $kind,
            reported: $reported,
            category: $category,
            description: $text,
        }
    };
}

/// All parameters, by name.
#[rustfmt::skip]
const PARAMETERS: &[Parameter] = &[
    parameter!("application_name", "", Kind::Text, true, REPORTING, "Name the client gives itself."),
    parameter!("bytea_output", "hex", Kind::Enum(&["hex", "escape"]), false, LOCALE, "Output format for bytea."),
    parameter!("client_encoding", "UTF8", Kind::Fixed, true, LOCALE, "The client's character set encoding."),
    parameter!("client_min_messages", "notice", Kind::Enum(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]), false, CLIENT, "Messages below this level are not sent."),
    parameter!("DateStyle", "ISO, MDY", Kind::DateStyle, true, LOCALE, "Display format of dates, and how ambiguous ones are read."),
    parameter!("default_transaction_isolation", "repeatable read", Kind::Enum(LEVELS), false, BEHAVIOUR, ISOLATION),
    parameter!("default_transaction_read_only", "off", Kind::Bool, true, BEHAVIOUR, "Whether new transactions refuse to write."),
    parameter!("extra_float_digits", "1", Kind::Integer(-15, 3), false, LOCALE, "Digits of floating-point output; above 0 the shortest exact form."),
    parameter!("in_hot_standby", "off", Kind::ReadOnly, true, PRESET, "Whether the server only follows another."),
    parameter!("integer_datetimes", "on", Kind::ReadOnly, true, PRESET, "Dates and times are integers."),
    parameter!("IntervalStyle", "postgres", Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), true, LOCALE, "Display format of intervals."),
    parameter!("is_superuser", "on", Kind::ReadOnly, true, PRESET, "Whether the user is a superuser."),
    parameter!("lc_collate", "C", Kind::ReadOnly, false, PRESET, "Collation order."),
    parameter!("lc_ctype", "C", Kind::ReadOnly, false, PRESET, "Character classification."),
    parameter!("max_index_keys", "32", Kind::ReadOnly, false, PRESET, "Columns of an index at most, as drivers ask for it."),
    parameter!("max_identifier_length", "63", Kind::ReadOnly, false, PRESET, "Bytes of an identifier."),
    parameter!("nyala.open_reads", "fresh", Kind::Enum(&["fresh", "snapshot"]), false, BEHAVIOUR, "Where queries read open rows from: as they are now, or as of the last offload."),
    parameter!("nyala.statement_memory_mb", "0", Kind::Integer(0, 1 << 30), false, RESOURCES, "Memory of a statement's sorts, joins and aggregates; 0 is what the server has left."),
    parameter!("search_path", "\"$user\", public", Kind::Text, false, BEHAVIOUR, "Schemas searched for names without one."),
    parameter!("server_encoding", "UTF8", Kind::ReadOnly, true, PRESET, "The server's character set encoding."),
    parameter!("server_version", SERVER_VERSION, Kind::ReadOnly, true, PRESET, "PostgreSQL release whose behaviour is served."),
    parameter!("server_version_num", "150000", Kind::ReadOnly, false, PRESET, "The release as a number."),
    parameter!("session_authorization", "", Kind::ReadOnly, true, PRESET, "The session's user."),
    parameter!("standard_conforming_strings", "on", Kind::Fixed, true, COMPATIBILITY, "Backslashes in '...' are ordinary characters."),
    parameter!("statement_timeout", "0", Kind::Milliseconds, false, BEHAVIOUR, "Longest time of a statement; 0 is no limit."),
    parameter!("TimeZone", "UTC", Kind::TimeZone, true, LOCALE, "Zone in which timestamptz is shown and read."),
    parameter!("transaction_isolation", "repeatable read", Kind::Enum(LEVELS), false, BEHAVIOUR, ISOLATION),
    parameter!("transaction_read_only", "off", Kind::Bool, false, BEHAVIOUR, "Whether this transaction refuses to write."),
];

fn find(name: &str) -> Option<&'static Parameter> {
    let name = match name.to_ascii_lowercase().as_str() {
        // `SET TIME ZONE` and `SET NAMES`, as PostgreSQL has it.
        "time zone" | "timezone" => "TimeZone".to_string(),
        "names" => "client_encoding".to_string(),
        other => other.to_string(),
    };
    PARAMETERS
        .iter()
        .find(|parameter| parameter.name.eq_ignore_ascii_case(&name))
}

fn unrecognized(name: &str) -> PgError {
    PgError::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

/// The parameters of one session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is in force.
    current: Arc<Values>,
    /// What is in force once the transaction commits: without SET LOCAL.
    session: Arc<Values>,
    /// What RESET goes back to.
    start: Arc<Values>,
    /// What ROLLBACK goes back to.
    saved: Option<Arc<Values>>,
    changed: Vec<&'static str>,
    /// What is derived from `current`, so that no statement reads text again.
    derived: Derived,
    /// Goes up whenever `current` changes.
    version: u64,
}

type Values = HashMap<&'static str, String>;

#[derive(Debug, Clone, Copy)]
struct Derived {
    format: FormatSettings,
    statement_timeout: Option<Duration>,
    read_only: bool,
}

impl Derived {
    fn of(values: &Values) -> Self {
        let text = |name| values.get(name).map_or("", String::as_str);
        let milliseconds = text("statement_timeout").parse().unwrap_or(0);
        Self {
            format: FormatSettings {
                date_style: date_style(text("DateStyle")).unwrap_or_default(),
                time_zone: TimeZone::parse(text("TimeZone")).unwrap_or_default(),
                interval_style: match text("IntervalStyle") {
                    "postgres_verbose" => IntervalStyle::PostgresVerbose,
                    "sql_standard" => IntervalStyle::SqlStandard,
                    "iso_8601" => IntervalStyle::Iso8601,
                    _ => IntervalStyle::Postgres,
                },
                extra_float_digits: text("extra_float_digits").parse().unwrap_or(1),
                bytea_output: match text("bytea_output") {
                    "escape" => ByteaOutput::Escape,
                    _ => ByteaOutput::Hex,
                },
            },
            statement_timeout: (milliseconds > 0).then(|| Duration::from_millis(milliseconds)),
            read_only: text("transaction_read_only") == "on",
        }
    }
}

impl Settings {
    /// The defaults, for a session of `user`.
    pub fn new(user: &str) -> Self {
        let mut start: HashMap<_, _> = PARAMETERS
            .iter()
            .map(|p| (p.name, p.default.to_string()))
            .collect();
        start.insert("session_authorization", user.to_string());
        let start = Arc::new(start);
        Self {
            derived: Derived::of(&start),
            current: Arc::clone(&start),
            session: Arc::clone(&start),
            start,
            saved: None,
            changed: Vec::new(),
            version: 0,
        }
    }

    /// A start-up parameter: sets the value that RESET goes back to.
    pub fn set_start(&mut self, name: &str, value: &str) -> Result<()> {
        let (name, value) = check(name, value)?;
        for values in [&mut self.current, &mut self.session, &mut self.start] {
            Arc::make_mut(values).insert(name, value.clone());
        }
        self.follow_defaults();
        self.derive();
        Ok(())
    }

    /// `SET [LOCAL] name = value`.
    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<()> {
        let (name, value) = check(name, value)?;
        if !local {
            Arc::make_mut(&mut self.session).insert(name, value.clone());
        }
        self.put(name, value);
        self.follow_defaults();
        Ok(())
    }

    /// `RESET name`, and `SET name TO DEFAULT`.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        let parameter = find(name).ok_or_else(|| unrecognized(name))?;
        if matches!(parameter.kind, Kind::ReadOnly) {
            return Err(cannot_change(parameter.name));
        }
        if let Some(value) = self.start.get(parameter.name).cloned() {
            Arc::make_mut(&mut self.session).insert(parameter.name, value.clone());
            self.put(parameter.name, value);
        }
        self.follow_defaults();
        Ok(())
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self) {
        for parameter in PARAMETERS {
            if let Some(value) = self.start.get(parameter.name).cloned() {
                Arc::make_mut(&mut self.session).insert(parameter.name, value.clone());
                self.put(parameter.name, value);
            }
        }
        self.follow_defaults();
    }

    /// `SHOW name`: the parameter's proper name and its value.
    pub fn show(&self, name: &str) -> Result<(&'static str, String)> {
        let parameter = find(name).ok_or_else(|| unrecognized(name))?;
        Ok((parameter.name, self.display(parameter)))
    }

    /// A transaction begins.
    pub fn begin(&mut self) {
        self.saved = Some(Arc::clone(&self.session));
    }

    /// The transaction ended; `committed` keeps what SET did.
    pub fn end(&mut self, committed: bool) {
        let saved = self.saved.take();
        if !committed && let Some(saved) = saved {
            self.session = saved;
        }
        if Arc::ptr_eq(&self.session, &self.current) {
            return;
        }
        for parameter in PARAMETERS {
            if let Some(value) = self.session.get(parameter.name).cloned()
                && self.current.get(parameter.name) != Some(&value)
            {
                self.put(parameter.name, value);
            }
        }
        self.follow_defaults();
        self.current = Arc::clone(&self.session);
        self.derive();
    }

    /// Outside a transaction, what the next one will have is what the defaults say.
    fn follow_defaults(&mut self) {
        if self.saved.is_some() {
            return;
        }
        for (transaction, default) in [
            ("transaction_isolation", "default_transaction_isolation"),
            ("transaction_read_only", "default_transaction_read_only"),
        ] {
            let value = self.text(default).to_string();
            Arc::make_mut(&mut self.session).insert(transaction, value.clone());
            self.put(transaction, value);
        }
    }

    /// Changes whenever a value in force does.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn derive(&mut self) {
        self.derived = Derived::of(&self.current);
        self.version += 1;
    }

    /// Reported parameters and their values.
    pub fn reported(&self) -> Vec<(String, String)> {
        PARAMETERS
            .iter()
            .filter(|parameter| parameter.reported)
            .map(|parameter| (parameter.name.to_string(), self.display(parameter)))
            .collect()
    }

    /// Reported parameters that changed since the last call.
    pub fn take_changes(&mut self) -> Vec<(String, String)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .filter_map(|name| find(name).filter(|parameter| parameter.reported))
            .map(|parameter| (parameter.name.to_string(), self.display(parameter)))
            .collect()
    }

    /// The rows of `pg_settings`.
    pub fn rows(&self) -> Vec<SettingRow> {
        PARAMETERS
            .iter()
            .map(|parameter| SettingRow {
                name: parameter.name.to_string(),
                value: self.text(parameter.name).to_string(),
                reset_value: self.start.get(parameter.name).cloned().unwrap_or_default(),
                unit: matches!(parameter.kind, Kind::Milliseconds).then_some("ms"),
                category: parameter.category,
                short_desc: parameter.description,
                vartype: match parameter.kind {
                    Kind::Bool => "bool",
                    Kind::Integer(..) | Kind::Milliseconds => "integer",
                    Kind::Enum(_) => "enum",
                    _ => "string",
                },
                context: match parameter.kind {
                    Kind::ReadOnly => "internal",
                    _ => "user",
                },
                source: match self.start.get(parameter.name) == self.current.get(parameter.name) {
                    true => "default",
                    false => "session",
                },
            })
            .collect()
    }

    /// Schemas to search, without `pg_catalog`, which always comes first unless it is named.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        split_list(self.text("search_path"))
            .into_iter()
            .map(|schema| if schema == "$user" { user.to_string() } else { schema })
            // `$user` is a schema that the user made, never one of the system's.
            .filter(|schema| names::system_schema(schema).is_none())
            .collect()
    }

    /// `statement_timeout`, if it limits anything.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.derived.statement_timeout
    }

    /// Whether the transaction may not write.
    pub fn is_read_only(&self) -> bool {
        self.derived.read_only
    }

    /// Where queries read open rows from.
    pub fn open_reads(&self) -> OpenReads {
        match self.text("nyala.open_reads") {
            "snapshot" => OpenReads::Snapshot,
            _ => OpenReads::Fresh,
        }
    }

    /// Bytes that a statement's operators may take, if they are limited.
    pub fn statement_memory(&self) -> Option<usize> {
        let megabytes: usize = self.text("nyala.statement_memory_mb").parse().ok()?;
        (megabytes > 0).then_some(megabytes << 20)
    }

    /// Whether notices are sent at all.
    pub fn sends_notices(&self) -> bool {
        !matches!(self.text("client_min_messages"), "warning" | "error")
    }

    /// How values are shown.
    pub fn format(&self) -> FormatSettings {
        self.derived.format
    }

    /// The session's time zone.
    pub fn time_zone(&self) -> TimeZone {
        self.derived.format.time_zone
    }

    fn text(&self, name: &'static str) -> &str {
        self.current.get(name).map_or("", String::as_str)
    }

    fn put(&mut self, name: &'static str, value: String) {
        if self.current.get(name) != Some(&value) {
            Arc::make_mut(&mut self.current).insert(name, value);
            self.changed.push(name);
            self.derive();
        }
    }

    fn display(&self, parameter: &Parameter) -> String {
        let value = self.text(parameter.name);
        match (parameter.kind, value.parse::<u64>()) {
            (Kind::Milliseconds, Ok(ms)) if ms > 0 => {
                let units = [
                    (86_400_000, "d"),
                    (3_600_000, "h"),
                    (60_000, "min"),
                    (1_000, "s"),
                ];
                match units.iter().find(|(size, _)| ms % size == 0) {
                    Some((size, unit)) => format!("{}{unit}", ms / size),
                    None => format!("{ms}ms"),
                }
            }
            _ => value.to_string(),
        }
    }
}

fn cannot_change(name: &str) -> PgError {
    PgError::new(
        sqlstate::CANT_CHANGE_RUNTIME_PARAM,
        format!("parameter \"{name}\" cannot be changed"),
    )
}

/// The parameter's proper name and the value in its canonical form.
fn check(name: &str, value: &str) -> Result<(&'static str, String)> {
    let parameter = find(name).ok_or_else(|| unrecognized(name))?;
    let invalid = || {
        PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!(
                "invalid value for parameter \"{}\": \"{value}\"",
                parameter.name
            ),
        )
    };
    let lower = value.trim().to_ascii_lowercase();
    let value = match parameter.kind {
        Kind::Text => value.to_string(),
        Kind::ReadOnly => return Err(cannot_change(parameter.name)),
        Kind::Bool => match lower.as_str() {
            "on" | "true" | "yes" | "1" | "t" | "y" => "on".to_string(),
            "off" | "false" | "no" | "0" | "f" | "n" => "off".to_string(),
            _ => {
                return Err(PgError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("parameter \"{}\" requires a Boolean value", parameter.name),
                ));
            }
        },
        Kind::Integer(low, high) => {
            let number: i64 = lower.parse().map_err(|_| invalid())?;
            if !(low..=high).contains(&number) {
                return Err(PgError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!(
                        "{number} is outside the valid range for parameter \"{}\" ({low} .. {high})",
                        parameter.name
                    ),
                ));
            }
            number.to_string()
        }
        Kind::Milliseconds => milliseconds(&lower).ok_or_else(invalid)?.to_string(),
        Kind::Enum(values) => {
            if parameter.name.ends_with("isolation") && lower == "serializable" {
                return Err(
                    PgError::unsupported("serializable transactions are not supported")
                        .with_hint("REPEATABLE READ is snapshot isolation."),
                );
            }
            let Some(known) = values.iter().find(|known| **known == lower) else {
                return Err(
                    invalid().with_hint(format!("Available values: {}.", values.join(", ")))
                );
            };
            (*known).to_string()
        }
        Kind::DateStyle => {
            let style = date_style(value).ok_or_else(invalid)?;
            date_style_text(style)
        }
        Kind::TimeZone => {
            let text = value.trim().trim_matches('\'');
            if lower == "default" || lower == "local" {
                "UTC".to_string()
            } else {
                TimeZone::parse(text).ok_or_else(invalid)?.name()
            }
        }
        Kind::Fixed => {
            // Names of encodings are their letters and digits: drivers quote them, too.
            let same = |text: &str| -> String {
                let letters = text.chars().filter(char::is_ascii_alphanumeric);
                letters.map(|c| c.to_ascii_lowercase()).collect()
            };
            let aliases = parameter.name == "client_encoding" && same(&lower) == "unicode";
            let truth = parameter.default == "on" && matches!(lower.as_str(), "true" | "1" | "yes");
            if same(&lower) != same(parameter.default) && !aliases && !truth {
                return Err(
                    invalid().with_detail(format!("Only \"{}\" is supported.", parameter.default))
                );
            }
            parameter.default.to_string()
        }
    };
    Ok((parameter.name, value))
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(factor)?;
    i32::try_from(milliseconds).is_ok().then_some(milliseconds)
}

fn date_style(text: &str) -> Option<DateStyle> {
    let mut style = DateStyle::default();
    for word in text.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "iso" => style.output = DateOutput::Iso,
            "sql" => style.output = DateOutput::Sql,
            "postgres" => style.output = DateOutput::Postgres,
            "german" => {
                style.output = DateOutput::German;
                style.order = DateOrder::Dmy;
            }
            "mdy" | "us" | "noneuro" | "noneuropean" => style.order = DateOrder::Mdy,
            "dmy" | "euro" | "european" => style.order = DateOrder::Dmy,
            "ymd" => style.order = DateOrder::Ymd,
            "default" => style = DateStyle::default(),
            _ => return None,
        }
    }
    Some(style)
}

fn date_style_text(style: DateStyle) -> String {
    let output = match style.output {
        DateOutput::Iso => "ISO",
        DateOutput::Sql => "SQL",
        DateOutput::Postgres => "Postgres",
        DateOutput::German => "German",
    };
    let order = match style.order {
        DateOrder::Mdy => "MDY",
        DateOrder::Dmy => "DMY",
        DateOrder::Ymd => "YMD",
    };
    format!("{output}, {order}")
}

/// Splits `a, "B c"` into names, folded unless quoted.
fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| {
            match item
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
            {
                Some(quoted) => quoted.replace("\"\"", "\""),
                None => item.to_lowercase(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
