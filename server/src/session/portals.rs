//! Portals of one session: those of Bind messages and the cursors of DECLARE, which share their names.
//!
//! A portal lives as long as the transaction that made it, a cursor WITH HOLD longer if that transaction commits. Nothing here
//! runs a statement.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;

use super::RowsTag;
use super::cursors::reader::SharedReader;
use super::prepared::Statement;
use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::CursorRow;
use crate::pgwire::encode::Format;

/// Portals of one session.
const PORTALS_MAX: usize = 1_000;

/// A statement with its parameters, before, in or after its run.
pub struct Portal {
    /// Result columns; `None` if there are none.
    pub columns: Option<SchemaRef>,
    /// Formats of the result columns, by Bind's rule.
    pub formats: Vec<Format>,
    /// How far it is.
    pub state: PortalState,
    /// What DECLARE said.
    pub declared: Declared,
}

/// What DECLARE said of a cursor, and where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The text that made it.
    pub statement: Arc<str>,
    /// Whether it outlives its transaction.
    pub hold: bool,
    /// Whether a simple FETCH has values in binary form.
    pub binary: bool,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
}

/// How far a portal is.
pub enum PortalState {
    /// Not run yet; the statement and its parameters.
    Bound(Arc<Statement>, Vec<ScalarValue>),
    /// Its rows are being read; how its command tag is made.
    Open(SharedReader, RowsTag),
    /// All rows were sent; how many, and the command tag when there are no more.
    Exhausted(u64, String),
    /// It returned no rows and cannot run again.
    Done,
}

/// A portal and its place in the session's history.
struct Entry {
    portal: Portal,
    /// Counts portals, so that those since a savepoint are known. `None` once its transaction has committed.
    number: Option<u64>,
}

/// Portals by name; the unnamed one has the empty name.
#[derive(Default)]
pub struct Portals {
    by_name: HashMap<String, Entry>,
    made: u64,
}

impl Portal {
    /// The portal of a Bind message.
    pub fn bound(
        name: &str,
        statement: Arc<Statement>,
        values: Vec<ScalarValue>,
        columns: Option<SchemaRef>,
        formats: Vec<Format>,
    ) -> Self {
        let declared = match &statement.prepared {
            // Nobody sees when the unnamed one was made.
            Some(prepared) if !name.is_empty() => Declared {
                statement: Arc::clone(&prepared.sql),
                created_us: clock::now_us(),
                ..Declared::default()
            },
            _ => Declared::default(),
        };
        Self {
            columns,
            formats,
            state: PortalState::Bound(statement, values),
            declared,
        }
    }

    /// What it runs, as long as it has not.
    pub fn statement(&self) -> Option<&Statement> {
        match &self.state {
            PortalState::Bound(statement, _) => Some(statement),
            _ => None,
        }
    }
}

impl Portals {
    /// 42P03 where a named portal exists, 53400 where there are too many.
    pub fn check_new(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.by_name.contains_key(name) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_CURSOR,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        if self.by_name.len() < PORTALS_MAX {
            return Ok(());
        }
        Err(PgError::new(
            sqlstate::LIMIT_EXCEEDED,
            format!("a connection can have at most {PORTALS_MAX} portals and cursors"),
        )
        .with_hint("Close those that are not needed any more."))
    }

    /// Adds a portal that the current transaction made; the unnamed one replaces its predecessor.
    pub fn insert(&mut self, name: String, portal: Portal) {
        self.made += 1;
        let number = Some(self.made);
        self.by_name.insert(name, Entry { portal, number });
    }

    /// Looks at a portal.
    pub fn get(&self, name: &str) -> Result<&Portal> {
        let entry = self.by_name.get(name);
        entry
            .map(|entry| &entry.portal)
            .ok_or_else(|| undefined("portal", name))
    }

    /// A portal that an SQL statement calls a cursor.
    pub fn cursor(&mut self, name: &str) -> Result<&mut Portal> {
        let entry = self.by_name.get_mut(name);
        entry
            .map(|entry| &mut entry.portal)
            .ok_or_else(|| undefined("cursor", name))
    }

    /// Takes a portal out to run it; an error on the way leaves it gone.
    pub fn take(&mut self, name: &str) -> Result<TakenPortal> {
        match self.by_name.remove(name) {
            Some(Entry { portal, number }) => Ok(TakenPortal { portal, number }),
            None => Err(undefined("portal", name)),
        }
    }

    /// Puts a portal back that was taken out.
    pub fn put_back(&mut self, name: String, taken: TakenPortal) {
        let TakenPortal { portal, number } = taken;
        self.by_name.insert(name, Entry { portal, number });
    }

    /// Forgets a portal, if it exists; whether it did.
    pub fn close(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Forgets all portals.
    pub fn clear(&mut self) {
        self.by_name.clear();
    }

    /// How many portals were made so far: those that come have higher numbers.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Forgets the portals of the open transaction that were made after the first `made`.
    pub fn roll_back_to(&mut self, made: u64) {
        self.by_name
            .retain(|_, entry| entry.number.is_none_or(|number| number <= made));
    }

    /// The transaction has ended: its portals go, but for cursors WITH HOLD of one that committed.
    pub fn end(&mut self, committed: bool) {
        self.by_name.retain(|_, entry| {
            if committed && entry.portal.declared.hold {
                entry.number = None;
            }
            entry.number.is_none()
        });
    }

    /// A statement has failed: what it was reading cannot be read on.
    pub fn statement_failed(&self) {
        for entry in self.by_name.values() {
            if let PortalState::Open(reader, _) = &entry.portal.state
                && let Ok(mut reader) = reader.try_lock()
            {
                reader.statement_failed();
            }
        }
    }

    /// The rows of `pg_cursors`.
    pub fn rows(&self) -> Vec<CursorRow> {
        let named = self.by_name.iter().filter(|(name, _)| !name.is_empty());
        let mut rows: Vec<_> = named
            .map(|(name, Entry { portal, .. })| CursorRow {
                name: name.clone(),
                statement: Arc::clone(&portal.declared.statement),
                is_holdable: portal.declared.hold,
                is_binary: portal.declared.binary,
                is_scrollable: match &portal.state {
                    PortalState::Open(reader, _) => {
                        reader.try_lock().is_ok_and(|reader| reader.scrolls())
                    }
                    _ => false,
                },
                created_us: portal.declared.created_us,
            })
            .collect();
        rows.sort_by(|left, right| left.name.cmp(&right.name));
        rows
    }
}

/// A portal that is running, so that nobody else finds it.
pub struct TakenPortal {
    /// The portal.
    pub portal: Portal,
    number: Option<u64>,
}

fn undefined(what: &str, name: &str) -> PgError {
    PgError::new(
        sqlstate::INVALID_CURSOR_NAME,
        format!("{what} \"{name}\" does not exist"),
    )
}
