//! One connection's session: its settings, its transaction, and the execution of its statements.
//!
//! The wire layer parses messages and calls [`Session::parse`], [`Session::prepare`] and
//! [`Session::execute`]; simple and extended protocol share them. A session never touches a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use nyala_catalog::Transaction;
use nyala_catalog::definitions::{DatabaseDef, Oid, Relation};
use nyala_catalog::types::SqlType;
use parking_lot::Mutex;
use sqlparser::ast::{Query, Statement};

use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::{ActivityRow, JobSource, SessionFacts, SizeSource, SystemView};
use crate::pgwire::copy_format::CopyOptions;
use crate::pgwire::decode::InputSettings;
use crate::pgwire::encode::FormatSettings;
use crate::server::{Activity, Server};
use crate::session::backend::Backend;
use crate::session::cancel::{CancelToken, Canceller};
use crate::session::settings::Settings;
use crate::sql::explain::ExplainOptions;
use crate::sql::names::{self, RelationName};
use crate::sql::parse::{self, Tree};
use crate::sql::planner::Planner;
use crate::sql::point::{self, PointStatement};
use crate::sql::sequences::SequenceMemory;
use crate::sql::{casts, checks, copy, dml, origin, parameters, procedures, query};

pub mod backend;
pub mod cancel;
mod constraints;
mod copying;
pub mod cursors;
mod ending;
mod execute;
mod indexing;
mod located;
mod maintenance;
mod outdated;
pub mod portals;
pub mod prepared;
mod serializable;
pub mod settings;
mod temporary;
mod transaction;
mod variables;

pub use copying::CopyIn;
use located::located;
use outdated::NO_EPOCH;
use portals::Portals;
use prepared::Statements;
use temporary::Temporary;
use transaction::State;

/// Characters of a query that `pg_stat_activity` shows.
const ACTIVITY_QUERY_CHARS: usize = 1_024;

/// Who connects, to what, and with which start-up parameters.
pub struct SessionStart {
    /// Authenticated role name.
    pub user: String,
    /// Database name.
    pub database: String,
    /// Backend process id told to the client.
    pub process_id: i32,
    /// Cancels the session's statements, for other sessions; `None` if they cannot.
    pub canceller: Option<Canceller>,
    /// Start-up parameters other than user, database and replication.
    pub parameters: BTreeMap<String, String>,
}

/// State of the session's transaction, as ReadyForQuery tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction block is open.
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a transaction block that failed; only its end is accepted.
    Failed,
}

/// Whether a statement is a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Outside BEGIN the statement commits by itself before its outcome is returned.
    Alone,
    /// Outside BEGIN the statement joins the implicit block that [`Session::commit_implicit`] ends: a simple query of
    /// several statements.
    Block,
    /// The same for a pipeline up to Sync, which PostgreSQL takes for no block where it asks for one.
    Pipeline,
}

/// A parsed statement with its source text.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    tree: Tree,
    sql: Arc<str>,
}

/// A statement that is parsed, analysed and ready to run.
#[derive(Debug)]
pub struct Prepared {
    /// Types of `$1`, `$2`, …
    pub parameter_types: Vec<SqlType>,
    /// Result columns; `None` for statements that return no rows.
    pub columns: Option<SchemaRef>,
    /// Epoch of the definitions under which these columns were last found right.
    epoch: AtomicU64,
    tree: Tree,
    sql: Arc<str>,
    /// What `pg_stat_activity` shows.
    activity: Arc<str>,
    /// The statement compiled, if it is about one row; compiled again when definitions or settings have changed.
    point: Mutex<Option<Arc<PointStatement>>>,
}

/// What a statement gives back.
pub enum Outcome {
    /// Rows follow; the tag tells what to send after the last one.
    Rows {
        /// The rows. An error in it has to be followed by [`Session::fail`].
        stream: SendableRecordBatchStream,
        /// Completes the command tag from the number of rows sent.
        tag: RowsTag,
    },
    /// Done; the command tag.
    Done(String),
    /// The client is to send data.
    CopyIn(Box<CopyIn>),
    /// Data follows.
    CopyOut {
        /// How to write the rows.
        options: CopyOptions,
        /// The rows.
        stream: SendableRecordBatchStream,
    },
}

/// How the command tag of a statement with rows is made.
#[derive(Debug, Clone)]
pub enum RowsTag {
    /// `SELECT n`, n being the rows sent.
    Select,
    /// `FETCH n`, n being the rows sent.
    Fetch,
    /// A fixed tag (`INSERT 0 3`, `EXPLAIN`, `SHOW`).
    Fixed(String),
}

/// One connection's session.
pub struct Session {
    server: Arc<Server>,
    user: String,
    user_oid: Oid,
    database: DatabaseDef,
    process_id: i32,
    settings: Settings,
    state: State,
    notices: Vec<PgError>,
    /// Statements prepared by Parse messages and by PREPARE.
    pub statements: Statements,
    /// Portals of Bind messages and of DECLARE.
    pub portals: Portals,
    temporary: Temporary,
    sequences: Arc<Mutex<SequenceMemory>>,
    /// The text that the running statement stands in.
    statement_text: Arc<str>,
    /// For whom jobs are recorded.
    pub started_by: String,
    activity: Activity,
    /// What functions with effects work on.
    pub backend: Arc<Backend>,
    /// Relations that a serializable transaction has read.
    reads: BTreeSet<Oid>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave_temporary();
        self.backend.end();
        self.server.end_activity(self.process_id);
    }
}

impl Prepared {
    fn new(
        parameter_types: Vec<SqlType>,
        columns: Option<SchemaRef>,
        epoch: u64,
        tree: Tree,
        sql: Arc<str>,
    ) -> Self {
        let activity = match sql.char_indices().nth(ACTIVITY_QUERY_CHARS) {
            Some((end, _)) => Arc::from(sql.get(..end).unwrap_or_default()),
            None => Arc::clone(&sql),
        };
        Self {
            parameter_types,
            columns,
            epoch: AtomicU64::new(epoch),
            tree,
            sql,
            activity,
            point: Mutex::new(None),
        }
    }
}

impl Session {
    /// Starts a session: 3D000 where the database does not exist, 28000 where the role does not.
    pub async fn start(server: Arc<Server>, start: SessionStart) -> Result<Self> {
        let globals = server.catalog.globals()?;
        let role = globals.role(&start.user).ok_or_else(|| {
            PgError::fatal(
                sqlstate::INVALID_AUTHORIZATION,
                format!("role \"{}\" does not exist", start.user),
            )
        })?;
        let database = globals.database(&start.database).ok_or_else(|| {
            PgError::fatal(
                sqlstate::UNDEFINED_DATABASE,
                format!("database \"{}\" does not exist", start.database),
            )
        })?;
        let mut settings = Settings::new(&start.user);
        for (name, value) in server.workload.settings() {
            settings.set_start(name, &value)?;
        }
        for (name, value) in &start.parameters {
            settings.set_start(name, value)?;
        }
        let now_us = clock::now_us();
        let activity = server.set_activity(ActivityRow {
            process_id: start.process_id,
            database_oid: database.oid,
            database: database.name.clone(),
            user_oid: role.oid,
            user: role.name.clone(),
            application_name: settings.show("application_name")?.1,
            client_addr: None,
            backend_start_us: now_us,
            xact_start_us: None,
            query_start_us: None,
            state_change_us: Some(now_us),
            state: "idle",
            query: Arc::from(""),
        });
        if let Some(canceller) = start.canceller {
            server.set_canceller(start.process_id, canceller);
        }
        let backend = Backend::new(Arc::clone(&server), start.process_id, database.oid);
        Ok(Self {
            user: role.name.clone(),
            user_oid: role.oid,
            database: database.clone(),
            server,
            process_id: start.process_id,
            settings,
            state: State::Idle,
            notices: Vec::new(),
            statements: Statements::default(),
            portals: Portals::default(),
            temporary: Temporary::default(),
            sequences: Arc::default(),
            statement_text: Arc::from(""),
            started_by: role.name.clone(),
            activity,
            backend: Arc::new(backend),
            reads: BTreeSet::new(),
        })
    }

    /// The statements of a query string; none for an empty one.
    pub fn parse(&self, sql: &str) -> Result<Vec<ParsedStatement>> {
        let text: Arc<str> = Arc::from(sql);
        let trees = parse::parse(sql)?;
        Ok(trees
            .into_iter()
            .map(|tree| ParsedStatement {
                tree,
                sql: Arc::clone(&text),
            })
            .collect())
    }

    /// Analyses a statement. `types` are the OIDs the client gave its parameters (0: not given).
    ///
    /// Boxed, as is [`Session::execute`]: the future holds the state of all that a statement can be, and callers move it.
    pub fn prepare<'a>(
        &'a mut self,
        statement: ParsedStatement,
        types: &'a [u32],
    ) -> BoxFuture<'a, Result<Prepared>> {
        Box::pin(self.prepare_statement(statement, types))
    }

    async fn prepare_statement(
        &mut self,
        statement: ParsedStatement,
        types: &[u32],
    ) -> Result<Prepared> {
        let ParsedStatement { mut tree, sql } = statement;
        if let Tree::Sql(statement) = &mut tree {
            parameters::drop_void(statement.as_mut(), types);
        }
        // In a failed block nothing is planned; what may run there has no columns.
        if self.transaction_status() == TransactionStatus::Failed {
            let parameter_types = parameters::settle(BTreeMap::new(), types)?;
            return Ok(Prepared::new(parameter_types, None, NO_EPOCH, tree, sql));
        }
        let epoch = self.epoch_seen()?;
        match self.analyse(&tree, types).await {
            Ok((parameter_types, columns)) => {
                Ok(Prepared::new(parameter_types, columns, epoch, tree, sql))
            }
            Err(error) => Err(located(error, &sql)),
        }
    }

    /// Compiles a statement that is to run more than once, if it is about one row.
    pub fn compile(&mut self, prepared: &Prepared) -> Result<()> {
        if self.transaction_status() != TransactionStatus::Failed {
            *prepared.point.lock() = self.compiled(prepared)?;
        }
        Ok(())
    }

    fn compiled(&mut self, prepared: &Prepared) -> Result<Option<Arc<PointStatement>>> {
        let Tree::Sql(statement) = &prepared.tree else {
            return Ok(None);
        };
        let epoch = Some(self.epoch_seen()?).filter(|epoch| *epoch != NO_EPOCH);
        let version = self.settings.version();
        let mut planner = self.planner()?;
        let (types, columns) = (&prepared.parameter_types, prepared.columns.as_ref());
        let compiled = point::compile(&mut planner, statement, types, columns, epoch, version);
        Ok(compiled.map(Arc::new))
    }

    /// The compiled form of a statement, as of now.
    fn point_statement(&mut self, prepared: &Prepared) -> Result<Option<Arc<PointStatement>>> {
        let Some(compiled) = prepared.point.lock().clone() else {
            return Ok(None);
        };
        // Its columns have to be looked at first.
        if self.is_outdated(prepared) {
            return Ok(None);
        }
        // What it reads would not be noted.
        if self.settings.is_serializable() {
            return Ok(None);
        }
        // Definitions that this transaction has changed itself are nobody else's.
        if self.state.transaction().is_some_and(Transaction::defines) {
            return Ok(None);
        }
        let same_definitions = match self.state.transaction() {
            Some(transaction) => compiled.is_over(transaction.definitions()),
            None => compiled.is_of_epoch(self.server.catalog.definitions_epoch()),
        };
        if same_definitions && compiled.is_under(self.settings.version()) {
            return Ok(Some(compiled));
        }
        self.compile(prepared)?;
        if self.is_outdated(prepared) {
            return Ok(None);
        }
        Ok(prepared.point.lock().clone())
    }

    async fn analyse(
        &mut self,
        tree: &Tree,
        types: &[u32],
    ) -> Result<(Vec<SqlType>, Option<SchemaRef>)> {
        let none = || parameters::settle(BTreeMap::new(), types);
        let statement = match tree {
            Tree::Sql(statement) => statement,
            Tree::Fetch(fetch) => return Ok((none()?, self.fetched_columns(fetch))),
            Tree::CreateExternalTable(_)
            | Tree::CreateLike(_)
            | Tree::Define(_)
            | Tree::TwoPhase(_)
            | Tree::Maintain(_)
            | Tree::SetConstraints(_) => {
                return Ok((none()?, None));
            }
        };
        match statement.as_ref() {
            Statement::Query(query) if dml::changing(query).is_none() => {
                let (settled, columns) = self.analyse_query(query, types).await?;
                Ok((settled, Some(columns)))
            }
            Statement::Declare { stmts } => {
                match stmts.first().and_then(|one| one.for_query.as_ref()) {
                    Some(query) => Ok((self.analyse_query(query, types).await?.0, None)),
                    None => Ok((none()?, None)),
                }
            }
            statement if dml::is_dml(statement) => {
                let mut planner = self.planner()?;
                let analysed = dml::analyse(&mut planner, statement).await?;
                Ok((
                    parameters::settle(analysed.parameters, types)?,
                    analysed.columns,
                ))
            }
            Statement::Explain { .. } => {
                let columns = ExplainOptions::of(statement)?.schema();
                Ok((none()?, Some(columns)))
            }
            Statement::ShowVariable { variable } => {
                Ok((none()?, Some(self.show_columns(variable)?)))
            }
            Statement::Call(function) => {
                let columns = procedures::columns(function, &self.database.name)?;
                Ok((none()?, Some(columns)))
            }
            Statement::Execute { .. } => {
                let executed = self.executed(statement)?;
                let prepared = executed.prepared.as_ref();
                Ok((none()?, prepared.and_then(|one| one.columns.clone())))
            }
            _ => Ok((none()?, None)),
        }
    }

    /// Types of a query's parameters, and its columns.
    async fn analyse_query(
        &mut self,
        query: &Query,
        types: &[u32],
    ) -> Result<(Vec<SqlType>, SchemaRef)> {
        let mut planner = self.planner()?;
        planner.open_relations(query).await?;
        let mut found = parameters::declared(query)?;
        for (number, oid) in (1..).zip(types).filter(|(_, oid)| **oid != 0) {
            found.insert(number, SqlType::of_oid(*oid));
        }
        parameters::infer(&planner, query, &mut found)?;
        let settled = parameters::settle(found, types)?;
        let fields = settled
            .iter()
            .map(|ty| Some(Arc::new(ty.field("", true))))
            .collect();
        let plan = planner.plan(query, fields)?;
        Ok((settled, origin::described(&planner, &plan)))
    }

    /// Runs a prepared statement.
    pub fn execute<'a>(
        &'a mut self,
        prepared: &'a Prepared,
        parameters: Vec<ScalarValue>,
        scope: Scope,
        cancel: &'a CancelToken,
    ) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(self.execute_statement(prepared, parameters, scope, cancel))
    }

    /// Runs a prepared statement if that needs no waiting: one that reads an open row by its key, outside a transaction.
    pub fn execute_now(
        &mut self,
        prepared: &Prepared,
        parameters: &[ScalarValue],
        scope: Scope,
    ) -> Result<Option<RecordBatch>> {
        if scope != Scope::Alone || !matches!(self.state, State::Idle) {
            return Ok(None);
        }
        match self.point_statement(prepared)? {
            Some(point) if point.is_select() => {
                self.note_activity(prepared);
                point
                    .select_now(&self.server.catalog, parameters)
                    .map_err(|error| located(error, &prepared.sql))
            }
            _ => Ok(None),
        }
    }

    fn note_activity(&self, prepared: &Prepared) {
        let now_us = clock::now_us();
        let mut row = self.activity.lock();
        row.state = "active";
        row.query = Arc::clone(&prepared.activity);
        row.query_start_us = Some(now_us);
        row.state_change_us = Some(now_us);
    }

    async fn execute_statement(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        self.note_activity(prepared);
        self.backend
            .start_statement(cancel.clone(), self.settings.lock_timeout());
        let checked = cancel.run(self.check_columns(prepared)).await;
        checked.map_err(|error| located(error, &prepared.sql))?;
        if let Some(point) = self.point_statement(prepared)? {
            let outcome = self
                .run_point(&point, &parameters, scope, cancel)
                .await
                .map_err(|error| located(error, &prepared.sql))?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            cancel.run(self.check_columns(prepared)).await?;
        }
        let mut tree = prepared.tree.clone();
        if let Tree::Sql(statement) = &mut tree
            && !prepared.parameter_types.is_empty()
        {
            let format = self.settings.format();
            parameters::bind(
                statement.as_mut(),
                &prepared.parameter_types,
                &parameters,
                &format,
            )?;
        }
        self.statement_text = Arc::clone(&prepared.sql);
        // Boxed, so that compiled statements, which come often, have a small future.
        match Box::pin(self.run(&tree, scope, cancel)).await {
            Ok(Outcome::Rows { stream, tag }) => {
                // Constants are computed when the first rows are asked for.
                let sql = Arc::clone(&prepared.sql);
                let schema = stream.schema();
                let rows = stream.map_err(move |error| located(PgError::from(error), &sql).into());
                let stream = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
                Ok(Outcome::Rows { stream, tag })
            }
            other => other.map_err(|error| located(error, &prepared.sql)),
        }
    }

    /// Runs all statements of a text, each on its own; returns the rows of the last one.
    pub async fn run_script(&mut self, sql: &str) -> Result<Vec<RecordBatch>> {
        // Nobody cancels it, and it has to live as long as its tokens.
        let canceller = Canceller::default();
        let mut rows = Vec::new();
        for statement in self.parse(sql)? {
            let token = canceller.start_statement(None);
            let prepared = self.prepare(statement, &[]).await?;
            rows = match self
                .execute(&prepared, Vec::new(), Scope::Alone, &token)
                .await
            {
                Ok(Outcome::Rows { stream, .. }) => stream.try_collect().await?,
                Ok(Outcome::Done(_)) => Vec::new(),
                Ok(_) => return Err(PgError::unsupported("COPY is not supported in a script")),
                Err(error) => {
                    self.fail();
                    return Err(error);
                }
            };
        }
        Ok(rows)
    }

    /// Inserts rows that have all columns of a table, in one transaction.
    pub async fn insert_batch(&mut self, table: &str, batch: RecordBatch) -> Result<()> {
        let name = RelationName {
            schema: None,
            name: table.to_string(),
        };
        let mut transaction = self.begin_transaction()?;
        let search_path = self.settings.search_path(&self.user);
        let table = match names::find(transaction.definitions(), &search_path, &name)? {
            Some(Relation::Table(table)) => Arc::clone(table),
            _ => return Err(names::undefined_relation(&name)),
        };
        checks::prepare(&mut self.planner_for(&transaction, clock::now_us()), &table)?;
        transaction.insert(&table, &batch).await?;
        Ok(self.commit(transaction).await?)
    }

    /// State of the transaction.
    pub fn transaction_status(&self) -> TransactionStatus {
        match &self.state {
            State::Idle | State::Implicit { .. } => TransactionStatus::Idle,
            State::Block(block) if block.failed => TransactionStatus::Failed,
            State::Block(_) => TransactionStatus::InTransaction,
        }
    }

    /// `statement_timeout`; `None` for no limit.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.settings.statement_timeout()
    }

    /// How values are printed for this session.
    pub fn format_settings(&self) -> FormatSettings {
        self.settings.format()
    }

    /// How values are read for this session.
    pub fn input_settings(&self) -> InputSettings {
        InputSettings {
            time_zone: self.settings.time_zone(),
            date_order: self.settings.format().date_style.order,
            json: casts::json_input,
            now_us: Some(self.transaction_start()),
        }
    }

    /// Notices since the last call, to send before the statement's completion.
    pub fn take_notices(&mut self) -> Vec<PgError> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.backend.take_notices());
        if self.settings.sends_notices() {
            notices
        } else {
            Vec::new()
        }
    }

    /// Parameters that clients are told of, at start.
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    /// Reported parameters that changed since the last call, to send as ParameterStatus. Called when
    /// the session waits for its client again.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        let state = match self.transaction_status() {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InTransaction => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
        let changes = self.settings.take_changes();
        let name = changes.iter().find(|(name, _)| name == "application_name");
        let mut row = self.activity.lock();
        row.state = state;
        row.state_change_us = Some(clock::now_us());
        if let Some((_, name)) = name {
            row.application_name.clone_from(name);
        }
        drop(row);
        changes
    }

    /// A planner for what a statement sees that starts now.
    fn planner(&mut self) -> Result<Planner> {
        let now_us = self.transaction_start();
        match self.state.transaction() {
            Some(transaction) => {
                let view = transaction.view().clone();
                Ok(self.planner_over(view, now_us))
            }
            None => {
                let transaction = self.begin_transaction()?;
                Ok(self.planner_over(transaction.view().clone(), now_us))
            }
        }
    }

    /// What all sessions share.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A transaction that is not the session's.
    pub fn begin(&self) -> Result<Transaction> {
        Ok(self.server.catalog.begin(&self.database)?)
    }

    /// A planner for a statement in such a transaction.
    pub fn planner_of(&self, transaction: &Transaction) -> Planner {
        self.planner_for(transaction, clock::now_us())
    }

    fn planner_for(&self, transaction: &Transaction, now_us: i64) -> Planner {
        self.planner_over(transaction.view().clone(), now_us)
    }

    fn planner_over(&self, view: nyala_catalog::ReadView, now_us: i64) -> Planner {
        let search_path = self.settings.search_path(&self.user);
        let facts = SessionFacts {
            user: self.user.clone(),
            user_oid: self.user_oid,
            database: self.database.name.clone(),
            process_id: self.process_id,
            search_path: search_path.clone(),
            client_addr: None,
            server_addr: None,
            server_start_us: self.server.started_us,
        };
        let (server, settings) = (Arc::clone(&self.server), self.settings.clone());
        let seen = view.clone();
        let (cursors, statements) = (self.portals.rows(), self.statements.clone());
        let backend = Arc::clone(&self.backend);
        let system = move || -> Result<SystemView> {
            let globals = server.catalog.globals()?;
            let mut system = SystemView::new(
                Arc::clone(&seen.definitions),
                globals.databases().to_vec(),
                globals.roles().to_vec(),
                facts.clone(),
            );
            system.settings = settings.rows();
            system.activity = server.activity();
            system.cursors.clone_from(&cursors);
            system.statements = statements.rows();
            system.backend = Some(Arc::clone(&backend));
            let (catalog, database) = (Arc::clone(&server.catalog), seen.definitions.database.oid);
            system.jobs = JobSource::new(move || {
                let mut jobs = catalog.jobs()?;
                jobs.retain(|job| job.database == database);
                Ok(jobs)
            });
            system.sizes = SizeSource::of(seen.clone());
            for relation in seen.definitions.relations() {
                if let Relation::Sequence(def) = relation {
                    let position = server.catalog.position(def)?;
                    let last = position.is_called.then_some(position.last);
                    system.sequences.insert(def.oid, last);
                }
            }
            Ok(system)
        };
        let open_reads = self.settings.open_reads();
        let mut planner = Planner::new(
            view,
            self.server.engine_state(now_us),
            search_path,
            InputSettings {
                now_us: Some(now_us),
                ..self.input_settings()
            },
            self.settings.format(),
            Box::new(system),
            Arc::clone(&self.server.workload),
            Arc::clone(&self.server.catalog),
            Arc::clone(&self.sequences),
        );
        planner.read_only = self.settings.is_read_only();
        planner.temporary_schema = format!("pg_temp_{}", self.process_id.unsigned_abs());
        planner.open_reads = open_reads;
        planner.statement_memory = self.settings.statement_memory();
        planner.operator_memory = self.settings.operator_memory();
        let threads = self.settings.query_threads();
        // The options are copied when they are changed.
        if planner.state.config().target_partitions() != threads {
            let options = planner.state.config_mut().options_mut();
            options.execution.target_partitions = threads;
        }
        planner
    }
}

#[cfg(test)]
pub(crate) mod tests;
