//! COMMENT ON.

use nyala_catalog::Transaction;
use nyala_catalog::definitions::{Oid, Relation};
use sqlparser::ast::{CommentObject, Ident, ObjectName};

use super::{Defined, index};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::names::{self, RelationName};
use crate::sql::planner::Planner;

/// Runs COMMENT ON a relation, a column, an index, a schema or the database.
pub(super) fn run(
    planner: &Planner,
    transaction: &mut Transaction,
    kind: CommentObject,
    name: &ObjectName,
    comment: Option<&str>,
) -> Result<Defined> {
    // As in PostgreSQL an empty text is none.
    let comment = comment.filter(|text| !text.is_empty()).map(str::to_string);
    let oid = match kind {
        CommentObject::Column => {
            on_column(planner, transaction, name, comment)?;
            return Ok(Defined::tag("COMMENT"));
        }
        CommentObject::Schema => {
            let name = names::single_name(name)?;
            let schema = transaction.definitions().schema(&name);
            match schema {
                Some(schema) => schema.oid,
                None if names::system_schema(&name).is_some() => {
                    return Err(PgError::new(
                        "42501",
                        format!("must be owner of schema {name}"),
                    ));
                }
                None => return Err(names::undefined_schema(&name)),
            }
        }
        CommentObject::Database => {
            let name = names::single_name(name)?;
            let database = &transaction.definitions().database;
            if database.name != name {
                return Err(PgError::unsupported(
                    "comments on databases other than the current one are not supported",
                ));
            }
            database.oid
        }
        CommentObject::Index => on_index(planner, transaction, name)?,
        CommentObject::Table
        | CommentObject::View
        | CommentObject::MaterializedView
        | CommentObject::Sequence => relation_of_kind(planner, transaction, kind, name)?,
        other => {
            return Err(PgError::unsupported(format!(
                "COMMENT ON {other} is not supported"
            )));
        }
    };
    transaction.comment_on(oid, comment);
    Ok(Defined::tag("COMMENT"))
}

fn relation_of_kind(
    planner: &Planner,
    transaction: &Transaction,
    kind: CommentObject,
    name: &ObjectName,
) -> Result<Oid> {
    let name = names::relation_name(name, &planner.database)?;
    let definitions = transaction.definitions();
    let relation = names::find(definitions, &planner.search_path, &name)?
        .ok_or_else(|| names::undefined_relation(&name))?;
    let (fits, word) = match kind {
        CommentObject::MaterializedView => {
            let fits =
                matches!(relation, Relation::Table(table) if table.def.materialized.is_some());
            (fits, "a materialized view")
        }
        CommentObject::View => (matches!(relation, Relation::View(_)), "a view"),
        CommentObject::Sequence => (matches!(relation, Relation::Sequence(_)), "a sequence"),
        _ => {
            let tables = match relation {
                Relation::Table(table) => table.def.materialized.is_none(),
                other => matches!(other, Relation::External(_)),
            };
            (tables, "a table")
        }
    };
    match fits {
        true => Ok(relation.oid()),
        false => Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not {word}", name.name),
        )),
    }
}

fn on_index(planner: &Planner, transaction: &Transaction, name: &ObjectName) -> Result<Oid> {
    let name = names::relation_name(name, &planner.database)?;
    let definitions = transaction.definitions();
    let Some(table) = index::find_index(definitions, &planner.search_path, &name)? else {
        return Err(names::undefined_relation(&name));
    };
    let key = table
        .def
        .primary_key
        .iter()
        .map(|key| (&key.name, key.index_oid));
    let others = table
        .def
        .indexes
        .iter()
        .map(|index| (&index.name, index.oid));
    let mut all = key.chain(others);
    let found = all.find(|(known, _)| **known == name.name);
    found
        .map(|(_, oid)| oid)
        .ok_or_else(|| names::undefined_relation(&name))
}

fn on_column(
    planner: &Planner,
    transaction: &mut Transaction,
    name: &ObjectName,
    comment: Option<String>,
) -> Result<()> {
    let mut parts = name.0.clone();
    let column = parts.pop();
    let column = column
        .as_ref()
        .and_then(|part| part.as_ident())
        .map(names::fold);
    let (Some(column), false) = (column, parts.is_empty()) else {
        return Err(PgError::syntax("column name must be qualified"));
    };
    let name = names::relation_name(&ObjectName(parts), &planner.database)?;
    let relation = names::find(transaction.definitions(), &planner.search_path, &name)?
        .cloned()
        .ok_or_else(|| names::undefined_relation(&name))?;
    if let Relation::Sequence(_) = relation {
        return Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("cannot set comment on relation \"{}\"", name.name),
        )
        .with_detail("This operation is not supported for sequences."));
    }
    if !relation.columns().iter().any(|known| known.name == column) {
        return Err(PgError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!(
                "column \"{column}\" of relation \"{}\" does not exist",
                name.name
            ),
        ));
    }
    Ok(transaction.comment_on_column(&relation, &column, comment)?)
}

/// COMMENT ON CONSTRAINT.
pub(super) fn on_constraint(
    planner: &Planner,
    transaction: &mut Transaction,
    constraint: &Ident,
    table: &ObjectName,
    comment: Option<&str>,
) -> Result<Defined> {
    let name: RelationName = names::relation_name(table, &planner.database)?;
    let relation = names::find(transaction.definitions(), &planner.search_path, &name)?;
    let table = match relation {
        Some(Relation::Table(table)) => table,
        Some(_) => {
            return Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a table", name.name),
            ));
        }
        None => return Err(names::undefined_relation(&name)),
    };
    let wanted = names::fold(constraint);
    let def = &table.def;
    let key = def
        .primary_key
        .iter()
        .map(|key| (&key.name, Some(key.constraint_oid)));
    let unique = def
        .indexes
        .iter()
        .map(|index| (&index.name, index.constraint_oid));
    let checks = def
        .checks
        .iter()
        .map(|check| (&check.name, Some(check.oid)));
    let foreign_keys = def
        .foreign_keys
        .iter()
        .map(|key| (&key.name, Some(key.oid)));
    let mut all = key.chain(unique).chain(checks).chain(foreign_keys);
    let found = all.find_map(|(name, oid)| oid.filter(|_| *name == wanted));
    let oid = found.ok_or_else(|| {
        PgError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!(
                "constraint \"{wanted}\" for table \"{}\" does not exist",
                def.name
            ),
        )
    })?;
    let comment = comment.filter(|text| !text.is_empty()).map(str::to_string);
    transaction.comment_on(oid, comment);
    Ok(Defined::tag("COMMENT"))
}
