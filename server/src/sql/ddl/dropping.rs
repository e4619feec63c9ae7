//! DROP of relations and schemas; that of indexes is `index`'s.

use nyala_catalog::Transaction;
use nyala_catalog::definitions::{PUBLIC_SCHEMA_OID, Relation};
use sqlparser::ast::{ObjectName, ObjectType};

use super::{Defined, index};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::names::{self, RelationName};
use crate::sql::planner::Planner;

/// DROP TABLE, VIEW, SEQUENCE and SCHEMA.
pub(super) fn drop_all(
    planner: &Planner,
    transaction: &mut Transaction,
    object_type: ObjectType,
    if_exists: bool,
    names: &[ObjectName],
    cascade: bool,
) -> Result<Defined> {
    let mut defined = Defined::tag(&format!("DROP {object_type}"));
    if object_type == ObjectType::Table && names.len() > 1 {
        let mut together = Vec::with_capacity(names.len());
        for name in names {
            let name = names::relation_name(name, &planner.database)?;
            let found = find_to_drop(planner, transaction, &name, true)?;
            together.extend(found.map(|relation| relation.oid()));
        }
        transaction.drop_foreign_keys_among(&together)?;
    }
    for name in names {
        if object_type == ObjectType::Schema {
            let name = names::single_name(name)?;
            let found = transaction
                .definitions()
                .schema(&name)
                .map(|schema| schema.oid);
            match found {
                Some(PUBLIC_SCHEMA_OID) | None if names::system_schema(&name).is_some() => {
                    return Err(required_schema(&name));
                }
                Some(oid) => transaction.drop_schema(oid, cascade)?,
                None if if_exists => {
                    defined =
                        defined.with_notice(format!("schema \"{name}\" does not exist, skipping"));
                }
                None => return Err(names::undefined_schema(&name)),
            }
            continue;
        }
        let name = names::relation_name(name, &planner.database)?;
        let kind = object_type.to_string().to_lowercase();
        match find_to_drop(planner, transaction, &name, if_exists)? {
            Some(relation) => {
                let is_materialized = matches!(&relation,
                    Relation::Table(table) if table.def.materialized.is_some());
                let fits = match relation {
                    _ if is_materialized => object_type == ObjectType::MaterializedView,
                    Relation::View(_) => object_type == ObjectType::View,
                    Relation::Sequence(_) => object_type == ObjectType::Sequence,
                    _ => object_type == ObjectType::Table,
                };
                if !fits {
                    return Err(PgError::new(
                        sqlstate::WRONG_OBJECT_TYPE,
                        format!("\"{}\" is not a {kind}", name.name),
                    )
                    .with_hint(match relation {
                        _ if is_materialized => {
                            "Use DROP MATERIALIZED VIEW to remove a materialized view."
                        }
                        Relation::View(_) => "Use DROP VIEW to remove a view.",
                        Relation::Sequence(_) => "Use DROP SEQUENCE to remove a sequence.",
                        _ => "Use DROP TABLE to remove a table.",
                    }));
                }
                transaction.drop_relation(relation.oid(), cascade)?;
            }
            None if is_index(planner, transaction, &name)? => {
                return Err(PgError::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    format!("\"{}\" is not a {kind}", name.name),
                )
                .with_hint("Use DROP INDEX to remove an index."));
            }
            None if if_exists => {
                defined =
                    defined.with_notice(format!("{kind} \"{name}\" does not exist, skipping"));
            }
            None => {
                return Err(PgError::new(
                    sqlstate::UNDEFINED_TABLE,
                    format!("{kind} \"{name}\" does not exist"),
                ));
            }
        }
    }
    Ok(defined)
}

fn is_index(planner: &Planner, transaction: &Transaction, name: &RelationName) -> Result<bool> {
    match index::find_index(transaction.definitions(), &planner.search_path, name) {
        Err(error) if error.code == sqlstate::UNDEFINED_SCHEMA => Ok(false),
        found => Ok(found?.is_some()),
    }
}

fn required_schema(name: &str) -> PgError {
    PgError::new(
        sqlstate::DEPENDENT_OBJECTS,
        format!("cannot drop schema {name} because it is required by the database system"),
    )
}

fn find_to_drop(
    planner: &Planner,
    transaction: &Transaction,
    name: &RelationName,
    if_exists: bool,
) -> Result<Option<Relation>> {
    match names::find(transaction.definitions(), &planner.search_path, name) {
        Ok(relation) => Ok(relation.cloned()),
        Err(error) if if_exists && error.code == sqlstate::UNDEFINED_SCHEMA => Ok(None),
        Err(error) => Err(error),
    }
}
