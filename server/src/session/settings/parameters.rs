//! The parameters that there are: their names, defaults, and what they accept.

use super::SERVER_VERSION;

/// What a parameter accepts.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// `on` or `off`.
    Bool,
    /// A whole number in a range.
    Integer(i64, i64),
    /// Milliseconds, bare or with a unit.
    Milliseconds,
    /// Memory in kB, bare or with a unit.
    Kilobytes,
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
pub struct Parameter {
    /// Name.
    pub name: &'static str,
    /// Value without SET.
    pub default: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Clients are told of its value.
    pub reported: bool,
    /// Group in `pg_settings`.
    pub category: &'static str,
    /// One sentence.
    pub description: &'static str,
}

const ISOLATION: &str =
    "Transaction isolation; a transaction block has one snapshot at every level.";
const LEVELS: &[&str] = &[
    "serializable",
    "repeatable read",
    "read committed",
    "read uncommitted",
];
const PLANNER: &str = "Query Tuning / Planner Method Configuration";
const TUNING: &str = "Query Tuning / Other Planner Options";
const PARALLEL: &str = "Resource Usage / Asynchronous Behavior";
const DURABILITY: &str = "Write-Ahead Log / Settings";
const DEFERRABLE: &str =
    "Whether a serializable read-only transaction may wait to be safe; here each is safe at once.";
const STATISTICS: &str = "Statistics / Cumulative Query and Index Statistics";
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
pub const PARAMETERS: &[Parameter] = &[
    parameter!("application_name", "", Kind::Text, true, REPORTING, "Name the client gives itself."),
    parameter!("bytea_output", "hex", Kind::Enum(&["hex", "escape"]), false, LOCALE, "Output format for bytea."),
    parameter!("client_encoding", "UTF8", Kind::Fixed, true, LOCALE, "The client's character set encoding."),
    parameter!("client_min_messages", "notice", Kind::Enum(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]), false, CLIENT, "Messages below this level are not sent."),
    parameter!("DateStyle", "ISO, MDY", Kind::DateStyle, true, LOCALE, "Display format of dates, and how ambiguous ones are read."),
    parameter!("array_nulls", "on", Kind::Fixed, false, COMPATIBILITY, "NULL in array input is a null element."),
    parameter!("backslash_quote", "safe_encoding", Kind::Fixed, false, COMPATIBILITY, "Whether \\' stands for a quote in string literals."),
    parameter!("check_function_bodies", "on", Kind::Bool, false, BEHAVIOUR, "Whether bodies of new functions are checked; there are no such functions."),
    parameter!("constraint_exclusion", "partition", Kind::Fixed, false, TUNING, "Whether constraints exclude tables."),
    parameter!("default_tablespace", "", Kind::Fixed, false, BEHAVIOUR, "Tablespace of new tables; there is one."),
    parameter!("default_transaction_deferrable", "off", Kind::Bool, false, BEHAVIOUR, DEFERRABLE),
    parameter!("default_transaction_isolation", "read committed", Kind::Enum(LEVELS), false, BEHAVIOUR, ISOLATION),
    parameter!("default_transaction_read_only", "off", Kind::Bool, true, BEHAVIOUR, "Whether new transactions refuse to write."),
    parameter!("enable_hashagg", "on", Kind::Fixed, false, PLANNER, "Plans hashed aggregates."),
    parameter!("enable_hashjoin", "on", Kind::Fixed, false, PLANNER, "Plans hash joins."),
    parameter!("enable_indexscan", "on", Kind::Fixed, false, PLANNER, "Plans index scans."),
    parameter!("enable_nestloop", "on", Kind::Fixed, false, PLANNER, "Plans nested loops."),
    parameter!("enable_seqscan", "on", Kind::Fixed, false, PLANNER, "Plans scans of whole tables."),
    parameter!("enable_sort", "on", Kind::Fixed, false, PLANNER, "Plans sorts."),
    parameter!("escape_string_warning", "off", Kind::Fixed, false, COMPATIBILITY, "Warns of backslashes in string literals."),
    parameter!("extra_float_digits", "1", Kind::Integer(-15, 3), false, LOCALE, "Digits of floating-point output; above 0 the shortest exact form."),
    parameter!("geqo", "off", Kind::Fixed, false, PLANNER, "Genetic search for the order of joins."),
    parameter!("idle_in_transaction_session_timeout", "0", Kind::Milliseconds, false, BEHAVIOUR, "Longest wait for the client in a transaction; 0 is no limit."),
    parameter!("idle_session_timeout", "0", Kind::Milliseconds, false, BEHAVIOUR, "Longest wait for the client outside a transaction; 0 is no limit."),
    parameter!("in_hot_standby", "off", Kind::ReadOnly, true, PRESET, "Whether the server only follows another."),
    parameter!("integer_datetimes", "on", Kind::ReadOnly, true, PRESET, "Dates and times are integers."),
    parameter!("IntervalStyle", "postgres", Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), true, LOCALE, "Display format of intervals."),
    parameter!("is_superuser", "on", Kind::ReadOnly, true, PRESET, "Whether the user is a superuser."),
    parameter!("jit", "off", Kind::Fixed, false, TUNING, "Compiles expressions of queries to machine code."),
    parameter!("lc_collate", "C.UTF-8", Kind::ReadOnly, false, PRESET, "Collation order."),
    parameter!("lc_ctype", "C", Kind::ReadOnly, false, PRESET, "Character classification."),
    parameter!("lock_timeout", "0", Kind::Milliseconds, false, BEHAVIOUR, "Longest wait for a lock; 0 is no limit."),
    parameter!("max_index_keys", "32", Kind::ReadOnly, false, PRESET, "Columns of an index at most, as drivers ask for it."),
    parameter!("max_identifier_length", "63", Kind::ReadOnly, false, PRESET, "Bytes of an identifier."),
    parameter!("max_parallel_workers_per_gather", "0", Kind::Integer(0, 1_024), false, PARALLEL, "Threads of a query beside its first."),
    parameter!("nyala.open_reads", "fresh", Kind::Enum(&["fresh", "snapshot"]), false, BEHAVIOUR, "Where queries read open rows from: as they are now, or as of the last offload."),
    parameter!("nyala.statement_memory_mb", "0", Kind::Integer(0, 1 << 30), false, RESOURCES, "Memory of a statement's sorts, joins and aggregates; 0 is what the server has left."),
    parameter!("plan_cache_mode", "auto", Kind::Enum(&["auto", "force_custom_plan"]), false, TUNING, "How prepared statements are planned: for the parameters that they have."),
    parameter!("quote_all_identifiers", "off", Kind::Fixed, false, COMPATIBILITY, "Quotes all names in definitions that are shown."),
    parameter!("row_security", "on", Kind::Bool, false, BEHAVIOUR, "Whether policies filter rows or are an error; there are no policies."),
    parameter!("search_path", "\"$user\", public", Kind::Text, false, BEHAVIOUR, "Schemas searched for names without one."),
    parameter!("server_encoding", "UTF8", Kind::ReadOnly, true, PRESET, "The server's character set encoding."),
    parameter!("server_version", SERVER_VERSION, Kind::ReadOnly, true, PRESET, "PostgreSQL release whose behaviour is served."),
    parameter!("server_version_num", "150000", Kind::ReadOnly, false, PRESET, "The release as a number."),
    parameter!("session_authorization", "", Kind::ReadOnly, true, PRESET, "The session's user."),
    parameter!("session_replication_role", "origin", Kind::Fixed, false, BEHAVIOUR, "Which triggers and rules fire."),
    parameter!("standard_conforming_strings", "on", Kind::Fixed, true, COMPATIBILITY, "Backslashes in '...' are ordinary characters."),
    parameter!("statement_timeout", "0", Kind::Milliseconds, false, BEHAVIOUR, "Longest time of a statement; 0 is no limit."),
    parameter!("synchronous_commit", "on", Kind::Enum(&["local", "remote_write", "remote_apply", "on"]), false, DURABILITY, "When a commit is acknowledged: when it is on disk; there are no standbys."),
    parameter!("TimeZone", "UTC", Kind::TimeZone, true, LOCALE, "Zone in which timestamptz is shown and read."),
    parameter!("track_activities", "on", Kind::Fixed, false, STATISTICS, "Collects what sessions run."),
    parameter!("transaction_deferrable", "off", Kind::Bool, false, BEHAVIOUR, DEFERRABLE),
    parameter!("transaction_isolation", "read committed", Kind::Enum(LEVELS), false, BEHAVIOUR, ISOLATION),
    parameter!("transaction_read_only", "off", Kind::Bool, false, BEHAVIOUR, "Whether this transaction refuses to write."),
    parameter!("transform_null_equals", "off", Kind::Fixed, false, COMPATIBILITY, "Whether x = NULL means x IS NULL."),
    parameter!("work_mem", "4096", Kind::Kilobytes, false, RESOURCES, "Memory of a sort or aggregate, from which on it writes to temporary files."),
    parameter!("xmloption", "content", Kind::Enum(&["content", "document"]), false, BEHAVIOUR, "How XML is read; there is no XML."),
];

/// A parameter by name; case does not matter.
pub fn find(name: &str) -> Option<&'static Parameter> {
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

/// A name of the user's own: two or more words with dots between them.
pub fn custom_name(name: &str) -> Option<String> {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    let lower = name.to_lowercase();
    let own = lower.starts_with("nyala.");
    (!own && lower.contains('.') && lower.split('.').all(word)).then_some(lower)
}
