//! Portals of one connection, by name and in bounded number.
//!
//! The unnamed ones have the empty name. Nothing here runs a statement.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::Format;
use crate::pgwire::statement::Rows;
use crate::session::prepared::Statement;

/// Portals of one connection.
const PORTALS_MAX: usize = 1_000;

/// SQLSTATE `duplicate_cursor`.
const DUPLICATE_CURSOR: &str = "42P03";

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
        check_count(self.0.len())
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

fn check_count(count: usize) -> Result<()> {
    if count < PORTALS_MAX {
        return Ok(());
    }
    Err(PgError::new(
        sqlstate::LIMIT_EXCEEDED,
        format!("a connection can have at most {PORTALS_MAX} portals"),
    )
    .with_hint("Close those that are not needed any more."))
}
