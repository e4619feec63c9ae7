//! `pg_catalog` and `information_schema`: what clients ask to learn what exists.
//!
//! A [`SystemView`] is the immutable state one statement sees. [`relation`] computes a system relation
//! from it, [`function`] binds a system function to it. Everything here tells the truth about Nyala or
//! is empty; nothing here reads storage, checks access or keeps state between statements.
//!
//! OIDs of things that are derived from a definition are derived from its OID, so they are as stable as
//! it is. Users' OIDs are taken to stay below 2^28:
//!
//! | object | OID |
//! | --- | --- |
//! | `t$open` | that of `t` + 2^30 |
//! | `t$closed` | that of `t` + 2^29 |
//! | rule `_RETURN` of a view, entry in `pg_attrdef` | 2^28 and above |
//! | functions of schema `nyala` | 13,201 and above |

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{DatabaseDef, Definitions, Oid, Relation, RoleDef};
use nyala_catalog::types::SqlType;
use nyala_catalog::{JobRecord, ReadView, RelationSize};

use crate::error::Result;
use crate::session::backend::Backend;

mod activity;
mod comments;
mod descriptions;
mod entries;
mod functions;
mod information_schema;
mod keys;
pub mod names;
mod objects;
mod operators;
mod ordered_set;
pub mod procedures;
mod relations;
mod rows;
mod sequences;
mod sets;
mod shape;
pub mod single_value;
mod time_zones;
mod types;

pub use functions::{array_literal, function, function_names};
pub use procedures::aggregates;
pub use sets::rows as set;

/// Schema of the system relations and functions.
pub const PG_CATALOG: &str = "pg_catalog";

/// Schema of the SQL standard's views.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// Schema of Nyala's own procedures and functions.
pub const NYALA: &str = "nyala";

/// What the functions about the connection answer.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Name of the role that logged in.
    pub user: String,
    /// Its OID.
    pub user_oid: Oid,
    /// Name of the database connected to.
    pub database: String,
    /// Backend process id told to the client.
    pub process_id: i32,
    /// Schemas searched for unqualified names, as `search_path` says, without `pg_catalog`.
    pub search_path: Vec<String>,
    /// The client's end of the connection.
    pub client_addr: Option<SocketAddr>,
    /// The server's end of the connection.
    pub server_addr: Option<SocketAddr>,
    /// When the server started, in microseconds since 1970.
    pub server_start_us: i64,
}

/// A row of `pg_settings`.
#[derive(Debug, Clone)]
pub struct SettingRow {
    /// Name.
    pub name: String,
    /// Whether it is the user's own, which lists do not show.
    pub is_custom: bool,
    /// Current value as SHOW shows it, with its unit.
    pub shown: String,
    /// Current value.
    pub value: String,
    /// Value after RESET.
    pub reset_value: String,
    /// Unit of a bare number (`ms`).
    pub unit: Option<&'static str>,
    /// Group of settings.
    pub category: &'static str,
    /// One sentence.
    pub short_desc: &'static str,
    /// `bool`, `string`, `integer`, `real` or `enum`.
    pub vartype: &'static str,
    /// Who can change it when: `user`, `internal`, …
    pub context: &'static str,
    /// Where the value comes from: `default`, `session`, `client`, …
    pub source: &'static str,
}

/// A row of `pg_stat_activity`. Times are microseconds since 1970.
#[derive(Debug, Clone)]
pub struct ActivityRow {
    /// Backend process id.
    pub process_id: i32,
    /// OID of the database.
    pub database_oid: Oid,
    /// Name of the database.
    pub database: String,
    /// OID of the role.
    pub user_oid: Oid,
    /// Name of the role.
    pub user: String,
    /// `application_name`.
    pub application_name: String,
    /// The client's address.
    pub client_addr: Option<SocketAddr>,
    /// Start of the connection.
    pub backend_start_us: i64,
    /// Start of the transaction.
    pub xact_start_us: Option<i64>,
    /// Start of the statement.
    pub query_start_us: Option<i64>,
    /// Last change of the state.
    pub state_change_us: Option<i64>,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: &'static str,
    /// Text of the current or last statement.
    pub query: Arc<str>,
}

/// A row of `pg_cursors`.
#[derive(Debug, Clone)]
pub struct CursorRow {
    /// Name.
    pub name: String,
    /// The text that made it.
    pub statement: Arc<str>,
    /// Whether it outlives its transaction.
    pub is_holdable: bool,
    /// Whether it was declared BINARY.
    pub is_binary: bool,
    /// Whether rows can be fetched backward.
    pub is_scrollable: bool,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
}

/// A row of `pg_prepared_statements`.
#[derive(Debug, Clone)]
pub struct StatementRow {
    /// Name.
    pub name: String,
    /// The text that made it.
    pub statement: Arc<str>,
    /// When it was made, in microseconds since 1970.
    pub prepared_us: i64,
    /// Types of its parameters.
    pub parameter_types: Vec<SqlType>,
    /// Whether PREPARE made it, and not a Parse message.
    pub from_sql: bool,
}

/// Reads the history of jobs, for the one relation that shows it.
pub struct JobSource(Box<dyn Fn() -> Result<Vec<JobRecord>> + Send + Sync>);

impl JobSource {
    /// A source that is asked when the relation is.
    pub fn new(read: impl Fn() -> Result<Vec<JobRecord>> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }
}

impl Default for JobSource {
    fn default() -> Self {
        Self::new(|| Ok(Vec::new()))
    }
}

impl std::fmt::Debug for JobSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobSource")
    }
}

/// Measures the tables and indexes of a database, for statements that ask for sizes.
pub struct SizeSource(Box<dyn Fn() -> HashMap<Oid, RelationSize> + Send + Sync>);

impl SizeSource {
    /// The sizes of what a view sees. What cannot be measured is left out, which is told as unknown.
    pub fn of(seen: ReadView) -> Self {
        Self(Box::new(move || {
            let mut sizes = HashMap::new();
            for relation in seen.definitions.relations() {
                let Relation::Table(table) = relation else {
                    continue;
                };
                if let Ok(Some(size)) = seen.table_size(table) {
                    sizes.insert(table.def.oid, size);
                }
                for index in &table.indexes {
                    if let Ok(size) = seen.index_size(index) {
                        sizes.insert(index.def.oid, size);
                    }
                }
            }
            sizes
        }))
    }
}

impl Default for SizeSource {
    fn default() -> Self {
        Self(Box::new(HashMap::new))
    }
}

impl std::fmt::Debug for SizeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SizeSource")
    }
}

/// Everything the system relations and functions of one statement know.
#[derive(Debug)]
pub struct SystemView {
    /// The current database.
    pub definitions: Arc<Definitions>,
    /// All databases.
    pub databases: Vec<DatabaseDef>,
    /// All roles.
    pub roles: Vec<RoleDef>,
    /// The connection.
    pub session: SessionFacts,
    /// All settings.
    pub settings: Vec<SettingRow>,
    /// All connections the user may see.
    pub activity: Vec<ActivityRow>,
    /// The session's cursors.
    pub cursors: Vec<CursorRow>,
    /// The session's prepared statements.
    pub statements: Vec<StatementRow>,
    /// Measures tables and indexes.
    pub sizes: SizeSource,
    measured: OnceLock<HashMap<Oid, RelationSize>>,
    /// The last values of sequences that have given out any, by OID.
    pub sequences: HashMap<Oid, Option<i64>>,
    /// The history of jobs.
    pub jobs: JobSource,
    /// What functions with effects work on.
    pub backend: Option<Arc<Backend>>,
    entries: OnceLock<entries::Entries>,
}

impl SystemView {
    /// A view of a database for a connection; settings, activity and sizes are filled in by the caller.
    pub fn new(
        definitions: Arc<Definitions>,
        databases: Vec<DatabaseDef>,
        roles: Vec<RoleDef>,
        session: SessionFacts,
    ) -> Self {
        Self {
            definitions,
            databases,
            roles,
            session,
            settings: Vec::new(),
            activity: Vec::new(),
            cursors: Vec::new(),
            statements: Vec::new(),
            sizes: SizeSource::default(),
            measured: OnceLock::new(),
            sequences: HashMap::new(),
            jobs: JobSource::default(),
            backend: None,
            entries: OnceLock::new(),
        }
    }

    /// Sizes of tables and of their indexes by OID, of those that are known. They are measured when first asked for.
    pub fn sizes(&self) -> &HashMap<Oid, RelationSize> {
        self.measured.get_or_init(|| (self.sizes.0)())
    }

    fn entries(&self) -> &entries::Entries {
        self.entries
            .get_or_init(|| entries::Entries::new(&self.definitions))
    }
}

/// The rows of a system relation; `None` where there is no relation of that name.
pub fn relation(view: &SystemView, schema: &str, name: &str) -> Option<Result<RecordBatch>> {
    let shape = shape::find(schema, name)?;
    let rows = if schema == INFORMATION_SCHEMA {
        information_schema::rows(view, shape)
    } else {
        None.or_else(|| relations::rows(view, shape))
            .or_else(|| keys::rows(view, shape))
            .or_else(|| sequences::rows(view, shape))
            .or_else(|| comments::rows(view, shape))
            .or_else(|| objects::rows(view, shape))
            .or_else(|| types::rows(shape))
            .or_else(|| time_zones::rows(shape))
            .or_else(|| operators::rows(shape))
            .or_else(|| procedures::rows(shape))
            .or_else(|| activity::rows(view, shape))
    };
    // A relation that nobody fills is about things that Nyala does not have.
    Some(rows.unwrap_or_else(|| rows::Rows::new(shape).finish()))
}

/// The columns of a system relation; `None` where there is no relation of that name.
pub fn relation_schema(schema: &str, name: &str) -> Option<SchemaRef> {
    shape::find(schema, name).map(|shape| shape.arrow.clone())
}

/// Schema, name and OID of every system relation.
#[cfg(test)]
fn relation_names() -> impl Iterator<Item = (&'static str, &'static str, Oid)> {
    shape::all()
        .iter()
        .map(|shape| (shape.schema, shape.name, shape.oid))
}

/// OID of a system relation.
pub fn relation_oid(schema: &str, name: &str) -> Option<Oid> {
    shape::find(schema, name).map(|shape| shape.oid)
}

/// OID of what is a table of `pg_catalog` in PostgreSQL, and not a view.
pub fn table_oid(name: &str) -> Option<Oid> {
    let shape = shape::find(PG_CATALOG, name)?;
    (!shape.is_view).then_some(shape.oid)
}

/// Whether a relation of `pg_catalog` is about things that Nyala does not have, so that it never has rows.
pub fn is_always_empty(name: &str) -> bool {
    NEVER_FILLED.contains(&name)
}

/// Relations whose emptiness statements may be planned with.
const NEVER_FILLED: [&str; 13] = [
    "pg_auth_members",
    "pg_default_acl",
    "pg_event_trigger",
    "pg_extension",
    "pg_inherits",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_trigger",
];

/// Whether a function of that name aggregates, or returns a set.
pub fn is_aggregate_or_set(name: &str) -> bool {
    procedures::all()
        .iter()
        .any(|procedure| procedure.name == name && (procedure.kind != "f" || procedure.returns_set))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, DatabaseDef, Definitions};

    use super::{NEVER_FILLED, PG_CATALOG, SessionFacts, SystemView};
    use super::{function, function_names, relation, relation_names, relation_schema};

    fn empty_database() -> SystemView {
        let database = DatabaseDef {
            oid: 16_384,
            name: "d".into(),
            owner: BOOTSTRAP_ROLE_OID,
        };
        let session = SessionFacts {
            user: "nyala".into(),
            user_oid: BOOTSTRAP_ROLE_OID,
            database: "d".into(),
            process_id: 1,
            search_path: vec!["public".into()],
            client_addr: None,
            server_addr: None,
            server_start_us: 0,
        };
        let definitions = Arc::new(Definitions::new(database.clone()));
        SystemView::new(definitions, vec![database], Vec::new(), session)
    }

    #[test]
    fn every_relation_gives_rows_of_its_schema() {
        let view = empty_database();
        for (schema, name, _) in relation_names() {
            let rows = relation(&view, schema, name).unwrap().unwrap();
            assert_eq!(Some(rows.schema()), relation_schema(schema, name), "{name}");
        }
        assert!(relation(&view, PG_CATALOG, "nothing").is_none());
    }

    #[test]
    fn relations_planned_as_empty_are_empty() {
        let view = empty_database();
        for name in NEVER_FILLED {
            assert_eq!(
                relation(&view, PG_CATALOG, name)
                    .unwrap()
                    .unwrap()
                    .num_rows(),
                0,
                "{name}"
            );
        }
    }

    #[test]
    fn every_function_is_found_by_its_name() {
        let view = Arc::new(empty_database());
        for name in function_names() {
            assert_eq!(function(&view, name).unwrap().name(), name);
        }
    }
}
