//! Run-time parameters of a session: what SET, SHOW and RESET work on.
//!
//! Every parameter here has an effect or a single legal value; anything else is 42704, but for names with a dot, which are the
//! user's own and mean nothing here. Changes
//! follow the transaction: ROLLBACK takes SET back, the end of the transaction takes SET LOCAL back.

use std::borrow::Cow;
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

mod parameters;

use parameters::{Kind, PARAMETERS, Parameter, custom_name, find};

/// PostgreSQL release whose behaviour clients can expect.
pub const SERVER_VERSION: &str = "15.0";

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
    changed: Vec<Cow<'static, str>>,
    /// What is derived from `current`, so that no statement reads text again.
    derived: Derived,
    /// Goes up whenever `current` changes.
    version: u64,
}

type Values = HashMap<Cow<'static, str>, String>;

#[derive(Debug, Clone, Copy)]
struct Derived {
    format: FormatSettings,
    statement_timeout: Option<Duration>,
    lock_timeout: Option<Duration>,
    idle_session_timeout: Option<Duration>,
    idle_in_transaction_timeout: Option<Duration>,
    read_only: bool,
    serializable: bool,
}

impl Derived {
    fn of(values: &Values) -> Self {
        let text = |name| values.get(name).map_or("", String::as_str);
        let timeout = |name| {
            let milliseconds = text(name).parse().unwrap_or(0);
            (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
        };
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
            statement_timeout: timeout("statement_timeout"),
            lock_timeout: timeout("lock_timeout"),
            idle_session_timeout: timeout("idle_session_timeout"),
            idle_in_transaction_timeout: timeout("idle_in_transaction_session_timeout"),
            read_only: text("transaction_read_only") == "on",
            serializable: text("transaction_isolation") == "serializable",
        }
    }
}

impl Settings {
    /// The defaults, for a session of `user`.
    pub fn new(user: &str) -> Self {
        let mut start: HashMap<_, _> = PARAMETERS
            .iter()
            .map(|p| (Cow::Borrowed(p.name), p.default.to_string()))
            .collect();
        start.insert(Cow::Borrowed("session_authorization"), user.to_string());
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
            Arc::make_mut(values).insert(name.clone(), value.clone());
        }
        self.follow_defaults();
        self.derive();
        Ok(())
    }

    /// `SET [LOCAL] name = value`.
    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<()> {
        let (name, value) = check(name, value)?;
        self.make_known(&name);
        if !local {
            Arc::make_mut(&mut self.session).insert(name.clone(), value.clone());
        }
        self.put(name, value);
        self.follow_defaults();
        Ok(())
    }

    /// A name of the user's own is known from its first SET on; without a value it is empty, as in PostgreSQL.
    fn make_known(&mut self, name: &str) {
        if self.start.contains_key(name) {
            return;
        }
        let values = [&mut self.current, &mut self.session, &mut self.start];
        for values in values.into_iter().chain(&mut self.saved) {
            Arc::make_mut(values).insert(Cow::Owned(name.to_string()), String::new());
        }
    }

    /// `RESET name`, and `SET name TO DEFAULT`.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        let name = match (find(name), custom_name(name)) {
            (Some(parameter), _) if matches!(parameter.kind, Kind::ReadOnly) => {
                return Err(cannot_change(parameter.name));
            }
            (Some(parameter), _) => Cow::Borrowed(parameter.name),
            (None, Some(custom)) => Cow::Owned(custom),
            (None, None) => return Err(unrecognized(name)),
        };
        self.make_known(&name);
        if let Some(value) = self.start.get(&name).cloned() {
            Arc::make_mut(&mut self.session).insert(name.clone(), value.clone());
            self.put(name, value);
        }
        self.follow_defaults();
        Ok(())
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self) {
        let start = Arc::clone(&self.start);
        for (name, value) in start.iter() {
            Arc::make_mut(&mut self.session).insert(name.clone(), value.clone());
            self.put(name.clone(), value.clone());
        }
        self.follow_defaults();
    }

    /// `SHOW name`: the parameter's proper name and its value.
    pub fn show(&self, name: &str) -> Result<(Cow<'static, str>, String)> {
        if let Some(parameter) = find(name) {
            return Ok((Cow::Borrowed(parameter.name), self.display(parameter)));
        }
        let custom = custom_name(name).map(Cow::Owned);
        let known = custom.and_then(|custom| self.current.get_key_value(&custom));
        match known {
            Some((name, value)) => Ok((name.clone(), value.clone())),
            None => Err(unrecognized(name)),
        }
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
        let session = Arc::clone(&self.session);
        for (name, value) in session.iter() {
            self.put(name.clone(), value.clone());
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
            ("transaction_deferrable", "default_transaction_deferrable"),
        ] {
            let value = self.text(default).to_string();
            Arc::make_mut(&mut self.session).insert(Cow::Borrowed(transaction), value.clone());
            self.put(Cow::Borrowed(transaction), value);
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
            .filter_map(|name| find(&name).filter(|parameter| parameter.reported))
            .map(|parameter| (parameter.name.to_string(), self.display(parameter)))
            .collect()
    }

    /// The rows of `pg_settings`.
    pub fn rows(&self) -> Vec<SettingRow> {
        let mut rows: Vec<_> = PARAMETERS
            .iter()
            .map(|parameter| SettingRow {
                name: parameter.name.to_string(),
                is_custom: false,
                shown: self.display(parameter),
                value: self.text(parameter.name).to_string(),
                reset_value: self.start.get(parameter.name).cloned().unwrap_or_default(),
                unit: match parameter.kind {
                    Kind::Milliseconds => Some("ms"),
                    Kind::Kilobytes => Some("kB"),
                    _ => None,
                },
                category: parameter.category,
                short_desc: parameter.description,
                vartype: match parameter.kind {
                    Kind::Bool => "bool",
                    Kind::Integer(..) | Kind::Milliseconds | Kind::Kilobytes => "integer",
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
            .collect();
        let custom = self.current.iter().filter(|(name, _)| name.contains('.'));
        rows.extend(
            custom
                .filter(|(name, _)| find(name).is_none())
                .map(|(name, value)| SettingRow {
                    name: name.to_string(),
                    is_custom: true,
                    shown: value.clone(),
                    value: value.clone(),
                    reset_value: self.start.get(name).cloned().unwrap_or_default(),
                    unit: None,
                    category: "Customized Options",
                    short_desc: "",
                    vartype: "string",
                    context: "user",
                    source: "session",
                }),
        );
        rows
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

    /// `lock_timeout`, if it limits anything.
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.derived.lock_timeout
    }

    /// `idle_session_timeout`, if it limits anything.
    pub fn idle_session_timeout(&self) -> Option<Duration> {
        self.derived.idle_session_timeout
    }

    /// `idle_in_transaction_session_timeout`, if it limits anything.
    pub fn idle_in_transaction_timeout(&self) -> Option<Duration> {
        self.derived.idle_in_transaction_timeout
    }

    /// Whether the transaction has to be as if no other ran beside it.
    pub fn is_serializable(&self) -> bool {
        self.derived.serializable
    }

    /// Threads that a query may have.
    pub fn query_threads(&self) -> usize {
        let more = self
            .text("max_parallel_workers_per_gather")
            .parse::<usize>();
        more.unwrap_or_default() + 1
    }

    /// Bytes from which on an operator that can writes to temporary files.
    pub fn operator_memory(&self) -> usize {
        let kilobytes: usize = self.text("work_mem").parse().unwrap_or(usize::MAX >> 10);
        kilobytes.saturating_mul(1 << 10)
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

    fn put(&mut self, name: Cow<'static, str>, value: String) {
        if self.current.get(&name) != Some(&value) {
            Arc::make_mut(&mut self.current).insert(name.clone(), value);
            self.changed.push(name);
            self.derive();
        }
    }

    fn display(&self, parameter: &Parameter) -> String {
        let value = self.text(parameter.name);
        match (parameter.kind, value.parse::<u64>()) {
            (Kind::Kilobytes, Ok(kb)) => {
                let units = [(1_u64 << 30, "TB"), (1 << 20, "GB"), (1 << 10, "MB")];
                match units.iter().find(|(size, _)| kb % size == 0) {
                    Some((size, unit)) => format!("{}{unit}", kb / size),
                    None => format!("{kb}kB"),
                }
            }
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
fn check(name: &str, value: &str) -> Result<(Cow<'static, str>, String)> {
    let Some(parameter) = find(name) else {
        return match custom_name(name) {
            Some(custom) => Ok((Cow::Owned(custom), value.to_string())),
            None => Err(unrecognized(name)),
        };
    };
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
        Kind::Kilobytes => {
            let kilobytes = kilobytes(value.trim()).ok_or_else(invalid)?;
            if !(WORK_MEMORY_KB_MIN..=WORK_MEMORY_KB_MAX).contains(&kilobytes) {
                return Err(PgError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!(
                        "{kilobytes} kB is outside the valid range for parameter \"{}\" ({WORK_MEMORY_KB_MIN} .. {WORK_MEMORY_KB_MAX})",
                        parameter.name
                    ),
                ));
            }
            kilobytes.to_string()
        }
        Kind::Enum(values) => {
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
            let truth = match parameter.default {
                "on" => matches!(lower.as_str(), "true" | "1" | "yes"),
                "off" => matches!(lower.as_str(), "false" | "0" | "no"),
                _ => false,
            };
            if same(&lower) != same(parameter.default) && !aliases && !truth {
                return Err(
                    invalid().with_detail(format!("Only \"{}\" is supported.", parameter.default))
                );
            }
            parameter.default.to_string()
        }
    };
    Ok((Cow::Borrowed(parameter.name), value))
}

/// PostgreSQL's lower bound of `work_mem`.
const WORK_MEMORY_KB_MIN: u64 = 64;

/// The upper one.
const WORK_MEMORY_KB_MAX: u64 = i32::MAX as u64;

fn kilobytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    match unit.trim() {
        "B" => Some(number.div_ceil(1 << 10)),
        "" | "kB" => Some(number),
        "MB" => number.checked_mul(1 << 10),
        "GB" => number.checked_mul(1 << 20),
        "TB" => number.checked_mul(1 << 30),
        _ => None,
    }
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
