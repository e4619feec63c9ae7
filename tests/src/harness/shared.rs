//! The one server and the one PostgreSQL that tests share when they only need a database of their
//! own. Started by the first test that asks, stopped by `main`.

use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;

use super::oracle::Oracle;
use super::server::{DATABASE, Server};
use super::wire::{Login, Wire};

static SERVER: Mutex<Option<Result<Server, String>>> = Mutex::new(None);
static ORACLE: Mutex<Option<Result<Oracle, String>>> = Mutex::new(None);

/// Which of the two a test talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Nyala,
    Postgres,
}

impl Engine {
    /// The name that `onlyif` and `skipif` use in the scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nyala => "nyala",
            Self::Postgres => "postgresql",
        }
    }

    /// How to log in to one of its databases.
    pub fn login(self, database: &str) -> Result<Login, Failed> {
        match self {
            Self::Nyala => of(&SERVER, Server::fresh, |server| server.login(database)),
            Self::Postgres => of(&ORACLE, Oracle::start, |oracle| oracle.login(database)),
        }
    }

    /// Makes an empty database for one test.
    pub fn create_database(self, database: &str) -> Result<Login, Failed> {
        let first = match self {
            Self::Nyala => DATABASE,
            Self::Postgres => "postgres",
        };
        let mut connection = Wire::connect(&self.login(first)?)?;
        connection.simple(&format!("CREATE DATABASE {database}"))?;
        connection.terminate();
        self.login(database)
    }
}

/// Runs `read` on the shared process, starting it first; a failed start fails every test alike.
fn of<T, R>(
    cell: &Mutex<Option<Result<T, String>>>,
    start: impl FnOnce() -> Result<T, Failed>,
    read: impl FnOnce(&T) -> R,
) -> Result<R, Failed> {
    let mut guard = cell.lock().unwrap_or_else(PoisonError::into_inner);
    let started = guard.get_or_insert_with(|| {
        start().map_err(|failure| failure.message().unwrap_or("cannot start").to_string())
    });
    match started {
        Ok(process) => Ok(read(process)),
        Err(message) => Err(message.as_str().into()),
    }
}

/// The end of the shared server's log, for a failure message.
pub fn explain(failure: impl std::fmt::Display) -> Failed {
    let guard = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    match guard.as_ref() {
        Some(Ok(server)) => server.explain(failure),
        _ => failure.to_string().into(),
    }
}

/// Ends both; statics are never dropped, so `main` must call this.
pub fn stop_all() {
    SERVER.lock().unwrap_or_else(PoisonError::into_inner).take();
    ORACLE.lock().unwrap_or_else(PoisonError::into_inner).take();
}
