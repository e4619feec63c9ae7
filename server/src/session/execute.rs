//! Running a statement: which kind it is, in which transaction it runs, and what it gives back.

use datafusion::common::ScalarValue;
use nyala_catalog::{CatalogError, ErrorKind};
use sqlparser::ast::{DiscardObject, ObjectType, SetExpr};

use super::{
    Outcome, Result, RowsTag, Scope, Session, Statement, Transaction, Tree, copy, dml, names,
    procedures, query,
};
use crate::error::{PgError, sqlstate};
use crate::notifications::{Listening, Notification};
use crate::pgwire::copy_format::Direction;
use crate::session::cancel::CancelToken;
use crate::sql::checks;
use crate::sql::copy::Copy;
use crate::sql::ddl;
use crate::sql::explain::{self, ExplainOptions};
use crate::sql::planner::Planner;
use crate::sql::point::PointStatement;

/// How often a statement that is a transaction of its own is run again after it lost to another
/// writer. Each time at least one other statement has won, so that work goes on.
pub(super) const RETRIES_MAX: usize = 100;

/// What a writing statement did inside its transaction.
pub(super) struct Written {
    tag: String,
    rows: Option<dml::Changed>,
    notices: Vec<PgError>,
}

impl From<ddl::Defined> for Written {
    fn from(defined: ddl::Defined) -> Self {
        Self {
            tag: defined.tag,
            rows: None,
            notices: defined.notices,
        }
    }
}

impl From<dml::Changed> for Written {
    fn from(changed: dml::Changed) -> Self {
        Self {
            tag: changed.tag.clone(),
            rows: Some(changed),
            notices: Vec::new(),
        }
    }
}

/// A writing statement.
#[derive(Clone, Copy)]
enum Work<'a> {
    /// To be planned.
    Tree(&'a Tree),
    /// Compiled, with its parameters.
    Point(&'a PointStatement, &'a [ScalarValue]),
}

impl Work<'_> {
    fn verb(&self) -> String {
        match self {
            Self::Tree(tree) => verb(tree),
            Self::Point(point, _) => point.verb().to_string(),
        }
    }

    /// Whether it is right in a transaction: what was compiled is so under the definitions it was compiled under only. A
    /// write by older ones would pass over an index, or go where the table's rows no longer are.
    fn is_over(&self, transaction: &Transaction) -> bool {
        match self {
            Self::Tree(_) => true,
            Self::Point(point, _) => point.is_over(transaction.definitions()),
        }
    }
}

impl Session {
    /// Runs a statement whose parameters are bound.
    pub(super) async fn run(
        &mut self,
        tree: &Tree,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        let statement = match tree {
            Tree::Sql(statement) => Some(statement.as_ref()),
            Tree::TwoPhase(statement) => return self.two_phase(statement),
            Tree::CreateExternalTable(_)
            | Tree::CreateLike(_)
            | Tree::Define(_)
            | Tree::Fetch(_)
            | Tree::Maintain(_)
            | Tree::SetConstraints(_) => None,
        };
        self.check_not_failed(statement)?;
        if let Tree::Maintain(maintenance) = tree {
            return self.maintain(maintenance, scope, cancel).await;
        }
        if let Tree::SetConstraints(set) = tree {
            return self.set_constraints(set, scope, cancel).await;
        }
        if let Tree::Fetch(fetch) = tree {
            return self.fetch(fetch, scope, cancel).await;
        }
        let Some(statement) = statement else {
            return self.write(tree, scope, cancel).await;
        };
        if let Some(outcome) = self.control(statement).await? {
            return Ok(outcome);
        }
        let idle = matches!(self.state, super::State::Idle);
        if is_discard_temp(statement) || (idle && is_discard_all(statement)) {
            self.discard_temporary().await?;
        }
        if let Some(outcome) = self.variable(statement)? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.prepared_statement(statement, scope, cancel).await? {
            return Ok(outcome);
        }
        self.note_reads(statement)?;
        match statement {
            Statement::Query(query) if dml::changing(query).is_some() => {
                self.write(tree, scope, cancel).await
            }
            Statement::Query(query) => {
                // Without a transaction that goes on a lock ends at once.
                let locks = !query.locks.is_empty()
                    && (scope != Scope::Alone || self.state.transaction().is_some());
                if locks {
                    return self.write(tree, scope, cancel).await;
                }
                if !query.locks.is_empty() {
                    self.refuse_read_only(&verb(tree))?;
                }
                check_query(query)?;
                // Planned with the settings as they were: `current_setting` beside `set_config` tells the old value.
                let mut planner = self.reading_planner(scope)?;
                dml::check_locks(&planner, query)?;
                let configured = self.set_config(query)?;
                let query = configured.as_ref().unwrap_or(query);
                let stream = cancel.run(query::run(&mut planner, query)).await?;
                Ok(Outcome::Rows {
                    stream,
                    tag: RowsTag::Select,
                })
            }
            Statement::Explain {
                statement: explained,
                ..
            } => {
                let options = ExplainOptions::of(statement)?;
                let mut planner = self.reading_planner(scope)?;
                let plan = cancel
                    .run(explain::explain_statement(&mut planner, explained, options))
                    .await?;
                let tag = RowsTag::Fixed("EXPLAIN".to_string());
                Ok(Outcome::Rows {
                    stream: query::stream_of(plan),
                    tag,
                })
            }
            Statement::CreateIndex(create)
                if scope == Scope::Alone && self.state.transaction().is_none() =>
            {
                self.build_index(create, cancel).await
            }
            Statement::Declare { stmts } => match stmts.as_slice() {
                [declare] => self.declare(declare, scope, cancel).await,
                _ => Err(PgError::syntax("DECLARE takes one cursor")),
            },
            Statement::Close { cursor } => self.close_cursor(cursor),
            Statement::LISTEN { channel } => {
                let channel = names::fold(channel);
                Notification::new(self.process_id, &channel, "")?;
                self.backend.listen(Listening::Start(channel));
                Ok(Outcome::Done("LISTEN".to_string()))
            }
            Statement::UNLISTEN { channel } => {
                self.backend.listen(match channel.value.as_str() {
                    "*" if channel.quote_style.is_none() => Listening::StopAll,
                    _ => Listening::Stop(names::fold(channel)),
                });
                Ok(Outcome::Done("UNLISTEN".to_string()))
            }
            Statement::NOTIFY { channel, payload } => {
                let payload = payload.as_deref().unwrap_or_default();
                self.backend.notify(&names::fold(channel), payload)?;
                Ok(Outcome::Done("NOTIFY".to_string()))
            }
            Statement::Copy { .. } => self.copy(statement, scope, cancel).await,
            Statement::CreateDatabase {
                db_name,
                if_not_exists,
                ..
            } => {
                self.refuse_in_block("CREATE DATABASE")?;
                self.create_database(&names::single_name(db_name)?, *if_not_exists)
                    .await?;
                Ok(Outcome::Done("CREATE DATABASE".to_string()))
            }
            Statement::Drop {
                object_type: ObjectType::Database,
                names,
                if_exists,
                ..
            } => {
                self.refuse_in_block("DROP DATABASE")?;
                for name in names {
                    self.drop_database(&names::single_name(name)?, *if_exists)
                        .await?;
                }
                Ok(Outcome::Done("DROP DATABASE".to_string()))
            }
            Statement::Call(function) => {
                // A procedure commits by itself, and before it what came earlier in its message.
                self.commit_implicit().await?;
                self.refuse_in_block("CALL")?;
                self.refuse_read_only("CALL")?;
                let planner = self.planner()?;
                // Not cancelled half way: a run is a protocol of several durable steps.
                let row = procedures::call(self, planner, function, &self.started_by).await?;
                let tag = RowsTag::Fixed("CALL".to_string());
                Ok(Outcome::Rows {
                    stream: query::stream_of(row),
                    tag,
                })
            }
            _ => self.write(tree, scope, cancel).await,
        }
    }

    /// A planner for a statement that only reads.
    pub(super) fn reading_planner(&mut self, scope: Scope) -> Result<Planner> {
        if scope != Scope::Alone {
            self.open_implicit()?;
        }
        self.planner()
    }

    /// Runs a compiled statement; `None` if it has to be planned after all.
    pub(super) async fn run_point(
        &mut self,
        point: &PointStatement,
        parameters: &[ScalarValue],
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Option<Outcome>> {
        self.check_not_failed(None)?;
        if !point.is_select() {
            let work = Work::Point(point, parameters);
            return self.write_work(work, scope, cancel).await;
        }
        if scope != Scope::Alone {
            self.open_implicit()?;
        }
        let rows = match self.state.transaction() {
            Some(transaction) => {
                let rows = Box::pin(point.select(transaction, parameters));
                cancel.run(rows).await?
            }
            None => match point.select_now(&self.server.catalog, parameters)? {
                Some(rows) => Some(rows),
                None => {
                    let transaction = self.begin_transaction()?;
                    if !point.is_over(transaction.definitions()) {
                        return Ok(None);
                    }
                    let rows = Box::pin(point.select(&transaction, parameters));
                    cancel.run(rows).await?
                }
            },
        };
        Ok(rows.map(|rows| Outcome::Rows {
            stream: query::stream_of(rows),
            tag: RowsTag::Select,
        }))
    }

    /// Runs a writing statement in the open transaction, or in one of its own.
    async fn write(&mut self, tree: &Tree, scope: Scope, cancel: &CancelToken) -> Result<Outcome> {
        let outcome = self.write_work(Work::Tree(tree), scope, cancel).await?;
        outcome.ok_or_else(|| PgError::internal("a statement was neither compiled nor planned"))
    }

    /// `None` for compiled work that other definitions hold for than it was compiled under.
    async fn write_work(
        &mut self,
        work: Work<'_>,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Option<Outcome>> {
        if self.settings.is_read_only() {
            self.refuse_read_only(&work.verb())?;
        }
        if scope != Scope::Alone {
            self.open_implicit()?;
        }
        let start_us = self.transaction_start();
        if self.state.transaction().is_some() {
            let mut state = std::mem::replace(&mut self.state, super::State::Idle);
            let written = match state.transaction_mut() {
                Some(transaction) if !work.is_over(transaction) => {
                    self.state = state;
                    return Ok(None);
                }
                Some(transaction) => {
                    let writing = Box::pin(self.write_in(work, transaction, start_us));
                    cancel.run(writing).await
                }
                None => Err(PgError::internal("the transaction is gone")),
            };
            self.state = state;
            return Ok(Some(self.written(written?)));
        }
        let mut retries = 0;
        loop {
            let mut transaction = self.begin_transaction()?;
            if !work.is_over(&transaction) {
                return Ok(None);
            }
            // Boxed, since each future around another has room for it twice.
            let writing = Box::pin(self.write_in(work, &mut transaction, start_us));
            let written = cancel.run(writing).await?;
            match self.commit(transaction).await {
                Ok(()) => return Ok(Some(self.written(written))),
                Err(CatalogError {
                    kind: ErrorKind::SerializationFailure,
                    ..
                }) if retries < RETRIES_MAX => {
                    retries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write_in(
        &self,
        work: Work<'_>,
        transaction: &mut Transaction,
        start_us: i64,
    ) -> Result<Written> {
        let tree = match work {
            Work::Tree(tree) => tree,
            Work::Point(point, parameters) => {
                let changed = point.write(transaction, parameters).await?;
                self.finish(transaction).await?;
                return Ok(changed.into());
            }
        };
        let mut planner = self.planner_for(transaction, start_us);
        let written = Box::pin(write_tree(&mut planner, transaction, tree)).await?;
        self.finish(transaction).await?;
        Ok(written)
    }

    /// What is to be done at the end of a statement that has written rows.
    pub(crate) async fn finish(&self, transaction: &mut Transaction) -> Result<()> {
        let reached = transaction.reached_by_actions();
        if !reached.is_empty() {
            let mut planner = self.planner_of(transaction);
            for table in &reached {
                checks::prepare(&mut planner, table)?;
            }
        }
        Ok(transaction.finish_statement().await?)
    }
    pub(super) fn written(&mut self, written: Written) -> Outcome {
        self.notices.extend(written.notices);
        match written.rows.and_then(|changed| changed.returning) {
            Some((schema, rows)) => Outcome::Rows {
                stream: query::stream_of_all(schema, rows),
                tag: RowsTag::Fixed(written.tag),
            },
            None => Outcome::Done(written.tag),
        }
    }

    async fn copy(
        &mut self,
        statement: &Statement,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        let mut planner = self.reading_planner(scope)?;
        match copy::analyse(&planner, statement)? {
            Copy::From(from) => {
                self.refuse_read_only("COPY FROM")?;
                Ok(Outcome::CopyIn(Box::new(self.copy_in(from, scope).await?)))
            }
            Copy::To(to) => {
                let stream = cancel.run(query::run(&mut planner, &to.query)).await?;
                let schema = stream.schema();
                let names: Vec<_> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .collect();
                to.options.validate(Direction::To, &names)?;
                Ok(Outcome::CopyOut {
                    options: to.options,
                    stream,
                })
            }
        }
    }

    async fn create_database(&mut self, name: &str, if_not_exists: bool) -> Result<()> {
        match self
            .server
            .catalog
            .create_database(name, self.user_oid)
            .await
        {
            Err(error) if if_not_exists && error.kind == ErrorKind::DuplicateDatabase => {
                let notice = format!("database \"{name}\" already exists, skipping");
                self.notices.push(PgError::notice(notice));
                Ok(())
            }
            other => Ok(other?),
        }
    }

    async fn drop_database(&mut self, name: &str, if_exists: bool) -> Result<()> {
        if name == self.database.name {
            return Err(PgError::new(
                sqlstate::OBJECT_IN_USE,
                "cannot drop the currently open database",
            ));
        }
        let globals = self.server.catalog.globals()?;
        if let Some(database) = globals.database(name) {
            let others = self.server.connections_to(database.oid);
            if others > 0 {
                return Err(PgError::new(
                    sqlstate::OBJECT_IN_USE,
                    format!("database \"{name}\" is being accessed by other users"),
                )
                .with_detail(format!(
                    "There are {others} other sessions using the database."
                )));
            }
        } else if if_exists {
            let notice = format!("database \"{name}\" does not exist, skipping");
            self.notices.push(PgError::notice(notice));
            return Ok(());
        }
        Ok(self.server.catalog.drop_database(name).await?)
    }

    pub(super) fn refuse_in_block(&self, what: &str) -> Result<()> {
        if self.state.transaction().is_some() {
            return Err(PgError::new(
                sqlstate::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            ));
        }
        Ok(())
    }

    pub(super) fn refuse_read_only(&self, what: &str) -> Result<()> {
        if self.settings.is_read_only() {
            return Err(PgError::new(
                sqlstate::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} in a read-only transaction"),
            ));
        }
        Ok(())
    }
}

/// Runs what is to be planned and writes.
async fn write_tree(
    planner: &mut Planner,
    transaction: &mut Transaction,
    tree: &Tree,
) -> Result<Written> {
    let statement = match tree {
        Tree::Sql(statement) => statement.as_ref(),
        Tree::CreateExternalTable(create) => {
            let defined = ddl::create_external_table(planner, transaction, create).await?;
            return Ok(defined.into());
        }
        Tree::CreateLike(like) => {
            let defined = ddl::like::create(planner, transaction, like).await?;
            return Ok(defined.into());
        }
        Tree::Define(definition) => {
            return Ok(ddl::define(planner, transaction, definition).await?.into());
        }
        Tree::Fetch(_) | Tree::TwoPhase(_) | Tree::Maintain(_) | Tree::SetConstraints(_) => {
            return Err(PgError::internal(format!("{} writes nothing", verb(tree))));
        }
    };
    if dml::is_dml(statement) {
        let changed = dml::run(planner, transaction, statement).await?;
        return Ok(changed.into());
    }
    match ddl::run(planner, transaction, statement).await? {
        Some(defined) => Ok(defined.into()),
        None => Err(PgError::unsupported(format!(
            "{} is not supported",
            verb(tree)
        ))),
    }
}

fn is_discard_temp(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Discard {
            object_type: DiscardObject::TEMP
        }
    )
}

fn is_discard_all(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Discard {
            object_type: DiscardObject::ALL
        }
    )
}

/// Parts of a query that the planner would pass over.
pub(super) fn check_query(query: &sqlparser::ast::Query) -> Result<()> {
    if dml::changing(query).is_some() {
        return Err(PgError::unsupported(
            "DECLARE CURSOR must not contain data-modifying statements in WITH",
        ));
    }
    match query.body.as_ref() {
        SetExpr::Select(select) if select.into.is_some() => {
            Err(PgError::syntax("SELECT ... INTO is not allowed here"))
        }
        SetExpr::Merge(_) => Err(PgError::unsupported("MERGE is not supported")),
        _ => Ok(()),
    }
}

/// The words that name a statement's kind.
fn verb(tree: &Tree) -> String {
    match tree {
        Tree::CreateExternalTable(_) => "CREATE EXTERNAL TABLE".to_string(),
        Tree::CreateLike(_) => "CREATE TABLE".to_string(),
        Tree::Define(definition) => definition.verb().to_string(),
        Tree::Fetch(_) => "FETCH".to_string(),
        Tree::TwoPhase(statement) => statement.verb().to_string(),
        Tree::Maintain(statement) => statement.verb().to_string(),
        Tree::SetConstraints(_) => "SET CONSTRAINTS".to_string(),
        Tree::Sql(statement) => {
            let mut statement = statement.as_ref();
            if let Statement::Query(query) = statement {
                statement = dml::main_statement(query).unwrap_or(statement);
            }
            if let Statement::Query(query) = statement
                && let Some(lock) = query.locks.first()
            {
                return format!("SELECT FOR {}", lock.lock_type);
            }
            if matches!(statement, Statement::Query(_)) {
                return "SELECT".to_string();
            }
            let text = statement.to_string();
            let words: Vec<_> = text
                .split_whitespace()
                .take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()))
                .take(2)
                .collect();
            let dml = ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "MERGE"];
            match words.first() {
                Some(first) if dml.contains(first) => (*first).to_string(),
                _ => words.join(" "),
            }
        }
    }
}
