//! `CALL nyala.restore('t', version)`: makes a table's rows those of an earlier version again.
//!
//! One transaction of two statements, which write what differs and nothing else: rows whose keys the version does not have are
//! deleted, and rows that differ from the version's are written. So readers see the change at once, writers of the same rows
//! conflict as with any transaction, and the versions since stay: a restore can itself be undone.

use nyala_catalog::Transaction;
use nyala_catalog::definitions::Table;
use nyala_catalog::restore_point::AsOf;

use crate::error::{PgError, Result, sqlstate};
use crate::session::Session;
use crate::sql::dml;
use crate::sql::parse::{self, Tree};
use crate::sql::planner::Planner;

/// A restore that is about to run.
pub struct Restore {
    delete: String,
    write: String,
}

impl Restore {
    /// The statements that restore a table to a version that exists.
    pub fn new(planner: &Planner, table: &Table, version: u64) -> Result<Self> {
        planner.view.restore_point(table, AsOf::Version(version))?;
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut schemas = planner.view.definitions.schemas();
        let schema = schemas
            .find(|schema| schema.oid == table.def.schema)
            .ok_or_else(|| PgError::internal("a table without a schema"))?;
        let name = format!("{}.{}", quoted(&schema.name), quoted(&table.def.name));
        let columns: Vec<String> = table
            .def
            .columns
            .iter()
            .map(|column| quoted(&column.name))
            .collect();
        let key: Vec<&String> = table
            .key_columns()
            .iter()
            .filter_map(|at| columns.get(*at))
            .collect();
        if key.is_empty() {
            return Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("table \"{}\" has no primary key", table.def.name),
            ));
        }
        let same_key: Vec<String> = key
            .iter()
            .map(|column| format!("was.{column} = cur.{column}"))
            .collect();
        let same_key = same_key.join(" AND ");
        // A key column is never NULL, so it tells whether the other side has a row.
        let differs: Vec<String> = columns
            .iter()
            .map(|column| format!("was.{column} IS DISTINCT FROM cur.{column}"))
            .collect();
        let assignments: Vec<String> = columns
            .iter()
            .filter(|column| !key.contains(column))
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let action = match assignments.is_empty() {
            true => "NOTHING".to_string(),
            false => format!("UPDATE SET {}", assignments.join(", ")),
        };
        let all: Vec<String> = columns
            .iter()
            .map(|column| format!("was.{column}"))
            .collect();
        let key_list: Vec<&str> = key.iter().map(|column| column.as_str()).collect();
        Ok(Self {
            delete: format!(
                "DELETE FROM {name} AS cur WHERE NOT EXISTS \
                 (SELECT 1 FROM {name} VERSION AS OF {version} AS was WHERE {same_key})"
            ),
            write: format!(
                "INSERT INTO {name} SELECT {} FROM {name} VERSION AS OF {version} AS was \
                 LEFT JOIN {name} AS cur ON {same_key} WHERE {} \
                 ON CONFLICT ({}) DO {action}",
                all.join(", "),
                differs.join(" OR "),
                key_list.join(", "),
            ),
        })
    }

    /// Runs it as a transaction of its own; returns how many rows it deleted and wrote.
    pub async fn run(&self, session: &Session) -> Result<Vec<u64>> {
        let mut transaction = session.begin()?;
        let deleted = execute(session, &mut transaction, &self.delete).await?;
        let written = execute(session, &mut transaction, &self.write).await?;
        transaction.commit().await?;
        Ok(vec![deleted, written])
    }
}

/// Runs one of the statements; returns the number of rows of its command tag.
async fn execute(session: &Session, transaction: &mut Transaction, sql: &str) -> Result<u64> {
    let trees = parse::parse(sql)?;
    let [Tree::Sql(statement)] = trees.as_slice() else {
        return Err(PgError::internal("a restore is one statement"));
    };
    let mut planner = session.planner_of(transaction);
    let changed = dml::run(&mut planner, transaction, statement).await?;
    session.finish(transaction).await?;
    let rows = changed
        .tag
        .rsplit(' ')
        .next()
        .and_then(|rows| rows.parse().ok());
    rows.ok_or_else(|| PgError::internal("a command tag without a number"))
}
