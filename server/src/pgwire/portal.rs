//! Prepared statements and portals of one connection, by name and in bounded number.
//!
//! The unnamed ones have the empty name. Nothing here runs a statement.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::Format;
use crate::pgwire::statement::Rows;
use crate::session::Prepared;

/// Prepared statements of one connection.
const STATEMENTS_MAX: usize = 10_000;

/// Portals of one connection.
const PORTALS_MAX: usize = 1_000;

/// SQLSTATE `duplicate_cursor`.
const DUPLICATE_CURSOR: &str = "42P03";

/// A prepared statement.
pub struct Statement {
    /// `None` for an empty query string.
    pub prepared: Option<Prepared>,
}

/// A statement with its parameters, before, in or after its run.
pub struct Portal {
    /// What it runs.
    pub statement: Arc<Statement>,
    /// Formats of the result columns, by Bind's rule.
    pub formats: Vec<Format>,
    /// How far it is.
    pub state: PortalState,
}

/// How far a portal is.
pub enum PortalState {
    /// Not run yet; its parameters.
    Bound(Vec<ScalarValue>),
    /// Some rows were sent.
    Suspended(Box<Rows>),
    /// All rows were sent; the command tag when there are no more.
    Exhausted(String),
    /// It returned no rows and cannot run again.
    Done,
}

/// Prepared statements by name.
#[derive(Default)]
pub struct Statements(HashMap<String, Arc<Statement>>);

impl Statements {
    /// 42P05 where a named statement exists, 53400 where there are too many.
    pub fn check_new(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.0.contains_key(name) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        check_count(self.0.len(), STATEMENTS_MAX, "prepared statements")
    }

    /// Adds a statement; the unnamed one replaces its predecessor.
    pub fn insert(&mut self, name: String, statement: Statement) {
        self.0.insert(name, Arc::new(statement));
    }

    /// Finds a statement.
    pub fn get(&self, name: &str) -> Result<Arc<Statement>> {
        self.0.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            PgError::new(sqlstate::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Forgets a statement, if it exists.
    pub fn close(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Portals by name.
#[derive(Default)]
pub struct Portals(HashMap<String, Portal>);

impl Portals {
    /// 42P03 where a named portal exists, 53400 where there are too many.
    pub fn check_new(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.0.contains_key(name) {
            return Err(PgError::new(
                DUPLICATE_CURSOR,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        check_count(self.0.len(), PORTALS_MAX, "portals")
    }

    /// Adds a portal; the unnamed one replaces its predecessor.
    pub fn insert(&mut self, name: String, portal: Portal) {
        self.0.insert(name, portal);
    }

    /// Looks at a portal.
    pub fn get(&self, name: &str) -> Result<&Portal> {
        self.0.get(name).ok_or_else(|| undefined(name))
    }

    /// Takes a portal out to run it; an error on the way leaves it gone.
    pub fn take(&mut self, name: &str) -> Result<Portal> {
        self.0.remove(name).ok_or_else(|| undefined(name))
    }

    /// Forgets a portal, if it exists.
    pub fn close(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Forgets all portals: their transaction has ended.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn undefined(name: &str) -> PgError {
    PgError::new(
        sqlstate::INVALID_CURSOR_NAME,
        format!("portal \"{name}\" does not exist"),
    )
}

fn check_count(count: usize, max: usize, what: &str) -> Result<()> {
    if count < max {
        return Ok(());
    }
    Err(PgError::new(
        sqlstate::LIMIT_EXCEEDED,
        format!("a connection can have at most {max} {what}"),
    )
    .with_hint("Close those that are not needed any more."))
}
