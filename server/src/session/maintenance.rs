//! VACUUM and ANALYZE.
//!
//! VACUUM removes the files of tables that nobody needs any more, as `CALL nyala.vacuum` does; dead rows are merged away in the
//! background without being asked for. What ANALYZE is to find out is always known: closed files and snapshots carry their
//! statistics, and open rows are counted as they are written. So it only looks at the names that it is given.

use std::sync::Arc;

use nyala_catalog::definitions::{Relation, Table};
use nyala_catalog::{ErrorKind, Part, vacuum};

use super::{Outcome, Result, Scope, Session, names};
use crate::clock;
use crate::error::{PgError, sqlstate};
use crate::pg_catalog;
use crate::session::cancel::CancelToken;
use crate::sql::parse::maintenance::Maintenance;
use crate::sql::planner::Planner;

impl Session {
    /// Runs VACUUM or ANALYZE.
    pub(super) async fn maintain(
        &mut self,
        statement: &Maintenance,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        let verb = statement.verb();
        self.refuse_read_only(verb)?;
        if statement.vacuum {
            self.refuse_in_block(verb)?;
        }
        let planner = self.reading_planner(scope)?;
        let mut notices = Vec::new();
        let mut tables = Vec::new();
        for (name, columns) in &statement.tables {
            if statement.vacuum && !statement.analyze && !columns.is_empty() {
                return Err(PgError::unsupported(
                    "ANALYZE option must be specified when a column list is provided",
                ));
            }
            let name = names::relation_name(name, &planner.database)?;
            match planner.find_relation(&name)? {
                Some((Relation::Table(table), Part::All)) => {
                    for column in columns {
                        check_column(table, &names::fold(column))?;
                    }
                    tables.push(Arc::clone(table));
                }
                Some(_) => notices.push(PgError::warning(
                    sqlstate::WARNING,
                    format!(
                        "skipping \"{}\" --- cannot {} non-tables or special system tables",
                        name.name,
                        verb.to_lowercase()
                    ),
                )),
                None => {
                    let schema = name.schema.as_deref().unwrap_or(pg_catalog::PG_CATALOG);
                    if pg_catalog::relation_schema(schema, &name.name).is_none() {
                        return Err(names::undefined_relation(&name));
                    }
                }
            }
        }
        if statement.vacuum {
            if statement.tables.is_empty() {
                tables = all_tables(&planner);
            }
            let temporary = planner.view.definitions.temporary_schema();
            let database = planner.view.definitions.database.clone();
            // What is removed waits for no transaction of its own caller.
            drop(planner);
            for table in tables {
                if Some(table.def.schema) == temporary {
                    continue;
                }
                let (catalog, database) = (Arc::clone(&self.server.catalog), database.clone());
                let oid = table.def.oid;
                let work = async move {
                    match vacuum::run(&catalog, &database, oid, clock::now_us()).await {
                        // It was dropped meanwhile.
                        Err(error) if error.kind == ErrorKind::UndefinedTable => Ok(None),
                        other => Ok(Some(other?)),
                    }
                };
                let done = cancel.run(self.server.workload.job(work)).await?;
                if let Some(done) = done.filter(|_| statement.verbose) {
                    notices.push(PgError::notice(format!(
                        "table \"{}\": removed {} files of {} bytes, and {} old versions",
                        table.def.name,
                        done.files_removed,
                        done.bytes_removed,
                        done.versions_dropped
                    )));
                }
            }
        }
        self.notices.extend(notices);
        Ok(Outcome::Done(verb.to_string()))
    }
}

fn all_tables(planner: &Planner) -> Vec<Arc<Table>> {
    let relations = planner.view.definitions.relations();
    let tables = relations.filter_map(|relation| match relation {
        Relation::Table(table) => Some(Arc::clone(table)),
        _ => None,
    });
    tables.collect()
}

fn check_column(table: &Table, column: &str) -> Result<()> {
    let mut columns = table.def.columns.iter();
    if columns.any(|known| known.name == column) {
        return Ok(());
    }
    Err(PgError::new(
        sqlstate::UNDEFINED_COLUMN,
        format!(
            "column \"{column}\" of relation \"{}\" does not exist",
            table.def.name
        ),
    ))
}
