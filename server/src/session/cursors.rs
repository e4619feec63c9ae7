//! Cursors: DECLARE, FETCH, MOVE and CLOSE, and the same on portals that a Bind message made.
//!
//! A cursor is a portal whose query runs already. Its rows come from the query as they are fetched: no cursor has its whole result,
//! but one that was declared to SCROLL keeps what was read. A cursor sees what its transaction saw at DECLARE, also WITH
//! HOLD after COMMIT: the running query has the snapshot, and keeps the files that it reads.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use sqlparser::ast::{CloseCursor, Declare, Statement};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::execute::check_query;
use super::portals::{Declared, Portal, PortalState};
use super::{Outcome, Prepared, RowsTag, Scope, Session, State, Tree};
use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::Format;
use crate::session::cancel::CancelToken;
use crate::sql::parse::cursors::{ALL, Direction, Fetch};
use crate::sql::{names, query};

pub mod reader;

use reader::{Keeping, Reader, SharedReader};

impl Session {
    /// DECLARE.
    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        let (Some(name), Some(query)) = (declare.names.first(), &declare.for_query) else {
            return Err(PgError::syntax("DECLARE takes a cursor and its query"));
        };
        let name = names::fold(name);
        let hold = declare.hold == Some(true);
        // Several statements in one message are a block as well; a pipeline is none.
        let in_block = matches!(self.state, State::Block(_)) || scope == Scope::Block;
        if !hold && !in_block {
            return Err(PgError::new(
                sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if !query.locks.is_empty() {
            return Err(PgError::unsupported(
                "cursors with FOR UPDATE and FOR SHARE are not supported",
            )
            .with_hint("Lock the rows with a query before the cursor is declared."));
        }
        check_query(query)?;
        self.portals.check_new(&name)?;
        let mut planner = self.reading_planner(scope)?;
        let stream = cancel.run(query::run(&mut planner, query)).await?;
        let memory = || {
            let limit = planner.statement_memory;
            self.server.workload.reserve("cursor", limit)
        };
        let keeping = match declare.scroll {
            Some(true) => Keeping::All(memory()),
            Some(false) => Keeping::Nothing,
            None => Keeping::Few(memory()),
        };
        let portal = Portal {
            columns: Some(stream.schema()),
            formats: Vec::new(),
            state: PortalState::Open(shared(Reader::new(stream, keeping)), RowsTag::Select),
            declared: Declared {
                statement: Arc::clone(&self.statement_text),
                hold,
                binary: declare.binary == Some(true),
                created_us: clock::now_us(),
            },
        };
        self.portals.insert(name, portal);
        Ok(Outcome::Done("DECLARE CURSOR".to_string()))
    }

    /// FETCH and MOVE.
    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        let name = names::fold(&fetch.name);
        self.start_portal(&name, scope, cancel).await?;
        let portal = self.portals.cursor(&name)?;
        let mut reader = match &portal.state {
            PortalState::Open(reader, _) => lock(reader, &name)?,
            PortalState::Exhausted(rows, _) => {
                let schema = portal.columns.clone().unwrap_or_else(no_columns);
                lock(&shared(Reader::at_end(schema, *rows)), &name)?
            }
            PortalState::Bound(..) | PortalState::Done => return Err(cannot_run(&name)),
        };
        if fetch.moves {
            let count = cancel.run(reader.go(fetch.direction)).await?;
            return Ok(Outcome::Done(format!("MOVE {count}")));
        }
        let stream = cancel.run(Reader::rows(reader, fetch.direction)).await?;
        Ok(Outcome::Rows {
            stream,
            tag: RowsTag::Fetch,
        })
    }

    /// Runs a portal that is bound and has not run, so that it can be read as a cursor.
    async fn start_portal(&mut self, name: &str, scope: Scope, cancel: &CancelToken) -> Result<()> {
        let portal = self.portals.cursor(name)?;
        let (statement, values) = match &portal.state {
            PortalState::Bound(statement, values) => (Arc::clone(statement), values.clone()),
            _ => return Ok(()),
        };
        let prepared = match &statement.prepared {
            Some(prepared) if prepared.is_query() => prepared,
            _ => return Err(cannot_run(name)),
        };
        let outcome = self.execute(prepared, values, scope, cancel).await?;
        let Outcome::Rows { stream, tag } = outcome else {
            return Err(cannot_run(name));
        };
        let reader = shared(Reader::new(stream, Keeping::Nothing));
        self.portals.cursor(name)?.state = PortalState::Open(reader, tag);
        Ok(())
    }

    /// CLOSE.
    pub(super) fn close_cursor(&mut self, cursor: &CloseCursor) -> Result<Outcome> {
        let tag = match cursor {
            CloseCursor::All => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            CloseCursor::Specific { name } => {
                let name = names::fold(name);
                self.portals.cursor(&name)?;
                self.portals.close(&name);
                "CLOSE CURSOR"
            }
        };
        Ok(Outcome::Done(tag.to_string()))
    }

    /// The columns that a statement has when it runs now: those of FETCH are its cursor's.
    pub fn columns_now(&self, prepared: &Prepared) -> Option<SchemaRef> {
        match &prepared.tree {
            Tree::Fetch(fetch) => self.fetched_columns(fetch),
            _ => prepared.columns.clone(),
        }
    }

    /// Columns of a FETCH; as in PostgreSQL there are none as long as there is no such cursor.
    pub(super) fn fetched_columns(&self, fetch: &Fetch) -> Option<SchemaRef> {
        let portal = self.portals.get(&names::fold(&fetch.name)).ok()?;
        portal.columns.clone().filter(|_| !fetch.moves)
    }

    /// Formats of the values that a simple query has: text, but for a FETCH from a BINARY cursor.
    pub fn simple_formats(&self, prepared: &Prepared) -> &'static [Format] {
        match &prepared.tree {
            Tree::Fetch(fetch) => match self.portals.get(&names::fold(&fetch.name)) {
                Ok(portal) if portal.declared.binary => &[Format::Binary],
                _ => &[],
            },
            _ => &[],
        }
    }
}

impl Prepared {
    /// Whether it is a query, whose rows can be read in pieces.
    fn is_query(&self) -> bool {
        let Tree::Sql(statement) = &self.tree else {
            return false;
        };
        matches!(statement.as_ref(), Statement::Query(_))
    }
}

/// A reader for a portal whose rows are sent in pieces.
pub fn shared(reader: Reader) -> SharedReader {
    Arc::new(Mutex::new(reader))
}

/// The next rows of a portal, for an Execute message: at most `rows_max`, or all.
pub async fn next_rows(
    reader: &SharedReader,
    name: &str,
    rows_max: Option<u64>,
) -> Result<SendableRecordBatchStream> {
    let count = rows_max.and_then(|rows| i64::try_from(rows).ok());
    let direction = Direction::Forward(count.unwrap_or(ALL));
    Reader::rows(lock(reader, name)?, direction).await
}

/// A reader for itself: 55006 while another portal has rows of it to send.
fn lock(reader: &SharedReader, name: &str) -> Result<OwnedMutexGuard<Reader>> {
    let reader = Arc::clone(reader).try_lock_owned().map_err(|_| {
        PgError::new(
            sqlstate::OBJECT_IN_USE,
            format!("cursor \"{name}\" is being read"),
        )
        .with_hint("Read the FETCH that was begun to its end, or close its portal.")
    })?;
    match reader.is_failed() {
        true => Err(cannot_run(name)),
        false => Ok(reader),
    }
}

/// 55000 for a portal that has run and cannot again.
pub fn cannot_run(name: &str) -> PgError {
    PgError::new(
        sqlstate::NOT_IN_PREREQUISITE_STATE,
        format!("portal \"{name}\" cannot be run"),
    )
}

fn no_columns() -> SchemaRef {
    Arc::new(arrow::datatypes::Schema::empty())
}
