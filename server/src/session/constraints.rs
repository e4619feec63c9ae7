//! SET CONSTRAINTS: when the foreign keys of a transaction are checked.

use nyala_catalog::definitions::Oid;

use super::{Outcome, Result, Scope, Session, names};
use crate::error::{PgError, sqlstate};
use crate::session::cancel::CancelToken;
use crate::sql::parse::constraints::SetConstraints;
use crate::sql::planner::Planner;

impl Session {
    /// Runs SET CONSTRAINTS.
    pub(super) async fn set_constraints(
        &mut self,
        statement: &SetConstraints,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        let planner = self.reading_planner(scope)?;
        let mut oids = Vec::new();
        for name in &statement.names {
            oids.extend(deferrable(
                &planner,
                &names::relation_name(name, &planner.database)?,
            )?);
        }
        let only = (!statement.names.is_empty()).then_some(oids.as_slice());
        match self.state.transaction_mut() {
            Some(transaction) => {
                let set = transaction.set_constraints(only, statement.deferred);
                cancel.run(async { Ok(set.await?) }).await?;
            }
            None => self.notices.push(PgError::warning(
                sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                "SET CONSTRAINTS can only be used in transaction blocks",
            )),
        }
        Ok(Outcome::Done("SET CONSTRAINTS".to_string()))
    }
}

/// The constraints of a name, in the first schema of the search path that has some.
fn deferrable(planner: &Planner, name: &names::RelationName) -> Result<Vec<Oid>> {
    let definitions = &planner.view.definitions;
    let schemas: Vec<&str> = match &name.schema {
        Some(schema) => vec![schema.as_str()],
        None => planner.search_path.iter().map(String::as_str).collect(),
    };
    for schema in schemas {
        let Some(schema) = definitions.schema(schema) else {
            continue;
        };
        let tables = definitions
            .relations()
            .filter_map(|relation| match relation {
                nyala_catalog::definitions::Relation::Table(table) => Some(table),
                _ => None,
            });
        let keys = tables
            .filter(|table| table.def.schema == schema.oid)
            .flat_map(|table| &table.def.foreign_keys)
            .filter(|key| key.name == name.name);
        let mut oids = Vec::new();
        for key in keys {
            if !key.deferrable {
                return Err(PgError::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    format!("constraint \"{}\" is not deferrable", name.name),
                ));
            }
            oids.push(key.oid);
        }
        if !oids.is_empty() {
            return Ok(oids);
        }
    }
    Err(PgError::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("constraint \"{}\" does not exist", name.name),
    ))
}
