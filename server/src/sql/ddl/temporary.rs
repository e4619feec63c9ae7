//! Temporary relations: which schema a new one goes to, and what a commit does to it.
//!
//! They are relations like any other, in a schema that only the session's transactions have. Their rows lie in the row store until
//! the relation goes, at the end of the session at the latest; what a crash leaves is swept at the next start, since no
//! definition names it.

use nyala_catalog::Transaction;
use nyala_catalog::definitions::{Definitions, Oid, OnCommit, TEMPORARY_SCHEMA};
use sqlparser::ast::OnCommit as Syntax;

use crate::error::{PgError, Result, sqlstate};
use crate::sql::names::RelationName;
use crate::sql::planner::Planner;

/// The schema of a new relation that is to be temporary; `None` for all others.
pub(super) fn schema(
    planner: &Planner,
    transaction: &mut Transaction,
    name: &RelationName,
    temporary: bool,
) -> Result<Option<Oid>> {
    let named = match name.schema.as_deref() {
        None => false,
        Some(schema) if schema == TEMPORARY_SCHEMA || schema == planner.temporary_schema => true,
        Some(_) if temporary => {
            return Err(PgError::new(
                sqlstate::INVALID_TABLE_DEFINITION,
                "cannot create temporary relation in non-temporary schema",
            ));
        }
        Some(_) => false,
    };
    match named || temporary {
        true => Ok(Some(
            transaction.open_temporary_schema(&planner.temporary_schema)?,
        )),
        false => Ok(None),
    }
}

/// The schema of temporary relations, if any of some relations is there.
pub(super) fn of_any(definitions: &Definitions, oids: &[Oid]) -> Option<Oid> {
    let temporary = definitions.temporary_schema()?;
    let mut relations = oids
        .iter()
        .filter_map(|oid| definitions.relation_by_oid(*oid));
    let found = relations.any(|relation| relation.schema() == temporary);
    found.then_some(temporary)
}

/// What a commit is to do to a new table; `None` for one that is not temporary.
pub(super) fn on_commit(
    transaction: &Transaction,
    schema: Oid,
    given: Option<&Syntax>,
) -> Result<Option<OnCommit>> {
    let temporary = transaction.definitions().temporary_schema() == Some(schema);
    match (temporary, given) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(PgError::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            "ON COMMIT can only be used on temporary tables",
        )),
        (true, None | Some(Syntax::PreserveRows)) => Ok(Some(OnCommit::Preserve)),
        (true, Some(Syntax::DeleteRows)) => Ok(Some(OnCommit::Delete)),
        (true, Some(Syntax::Drop)) => Ok(Some(OnCommit::Drop)),
    }
}
