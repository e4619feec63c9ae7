//! CREATE TABLE … (LIKE …): a table with the columns of another relation, and with what INCLUDING names of it.

use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, ColumnDef, Oid, Relation, Schedules};
use nyala_catalog::sequence::{SequenceDef, SequenceRule};
use nyala_catalog::{NewIndex, NewTable, Transaction};

use super::sequence::ColumnSequence;
use super::{Defined, index, place, sequence, temporary};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::names;
use crate::sql::parse::definitions::SequenceOptions;
use crate::sql::parse::like::CreateTableLike;
use crate::sql::planner::Planner;

/// Makes the table.
pub async fn create(
    planner: &mut Planner,
    transaction: &mut Transaction,
    like: &CreateTableLike,
) -> Result<Defined> {
    let create = &like.create;
    let (schema, name) = match place(
        planner,
        transaction,
        &create.name,
        create.if_not_exists,
        create.temporary,
    )? {
        Ok(place) => place,
        Err(skipped) => return Ok(skipped),
    };
    let on_commit = temporary::on_commit(transaction, schema, create.on_commit.as_ref())?;
    let source = source(planner, transaction, like)?;
    let including = like.including;
    let mut columns = Vec::new();
    let mut identities = Vec::new();
    for (at, column) in columns_of(&source)?.iter().enumerate() {
        let mut copy = ColumnDef {
            default: None,
            identity: None,
            comment: column.comment.clone().filter(|_| including.comments),
            ..column.clone()
        };
        match column.identity {
            Some(identity) if including.identity => {
                copy.identity = Some(identity);
                identities.push((at, options(transaction, source.oid(), &column.name)));
            }
            None if including.defaults => copy.default.clone_from(&column.default),
            _ => {}
        }
        columns.push(copy);
    }
    let mut new = NewTable {
        schema,
        name,
        owner: BOOTSTRAP_ROLE_OID,
        columns,
        primary_key: None,
        closed_when: None,
        partition_by: Vec::new(),
        closed_location: None,
        schedules: Schedules::default(),
        retention_s: None,
        indexes: Vec::new(),
        checks: Vec::new(),
        on_commit: on_commit.unwrap_or_default(),
        materialized: None,
    };
    if let Relation::Table(table) = &source {
        let def = &table.def;
        if including.constraints {
            let checks = def.checks.iter();
            new.checks = checks
                .map(|check| (check.name.clone(), check.condition.clone()))
                .collect();
        }
        if including.indexes {
            new.primary_key = def.primary_key.as_ref().map(|key| {
                let name = index::key_name(transaction, schema, &new.name);
                (name, key.columns.clone())
            });
            for copied in &def.indexes {
                let is_constraint = copied.constraint_oid.is_some();
                let label = if is_constraint { "key" } else { "idx" };
                let taken = |name: &str| {
                    let mut own = new.indexes.iter().map(|index| &index.name);
                    let key = new.primary_key.as_ref().map(|(key, _)| key);
                    transaction.definitions().has_name(schema, name)
                        || name == new.name
                        || key.into_iter().chain(own.by_ref()).any(|own| own == name)
                };
                let names = index::column_names(&new.columns, &copied.columns);
                let name = index::free_name(taken, &new.name, &names, label);
                new.indexes.push(NewIndex {
                    name,
                    columns: copied.columns.clone(),
                    unique: copied.unique,
                    nulls_distinct: copied.nulls_distinct,
                    is_constraint,
                });
            }
        }
    }
    let mut owned = Vec::with_capacity(identities.len());
    for (at, options) in identities {
        if let Some(column) = new.columns.get_mut(at) {
            let wanted = ColumnSequence {
                identity: true,
                options,
            };
            let made =
                sequence::create_for_column(transaction, schema, &new.name, column, &wanted)?;
            owned.push((made, column.name.clone()));
        }
    }
    let table = transaction.create_table(new).await?;
    for (made, column) in owned {
        sequence::own(transaction, made, table.def.oid, &column, true)?;
    }
    Ok(Defined::tag("CREATE TABLE"))
}

/// The relation that the new table is like.
fn source(
    planner: &Planner,
    transaction: &Transaction,
    like: &CreateTableLike,
) -> Result<Relation> {
    let name = names::relation_name(&like.source, &planner.database)?;
    let found = names::find(transaction.definitions(), &planner.search_path, &name)?;
    let found = found.ok_or_else(|| names::undefined_relation(&name))?;
    Ok(found.clone())
}

fn columns_of(source: &Relation) -> Result<&[ColumnDef]> {
    match source {
        Relation::Table(table) => Ok(&table.def.columns),
        Relation::View(view) => Ok(&view.columns),
        Relation::External(external) => Ok(&external.columns),
        Relation::Sequence(def) => Err(PgError::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("relation \"{}\" is invalid in LIKE clause", def.name),
        )
        .with_detail("This operation is not supported for sequences.")),
    }
}

/// How the sequence of an identity column counts, if it does not as it would anyway.
fn options(transaction: &Transaction, table: Oid, column: &str) -> SequenceOptions {
    let mut relations = transaction.definitions().relations();
    let owned = relations.find_map(|relation| match relation {
        Relation::Sequence(def) if goes_with(def, table, column) => Some(&def.rule),
        _ => None,
    });
    let Some(rule) = owned else {
        return SequenceOptions::default();
    };
    let SequenceRule {
        start,
        increment,
        min,
        max,
        cache,
        cycle,
        ..
    } = *rule;
    SequenceOptions {
        increment: Some(increment),
        min: Some(Some(min)),
        max: Some(Some(max)),
        start: Some(start),
        cache: Some(cache),
        cycle: Some(cycle),
        ..SequenceOptions::default()
    }
}

fn goes_with(def: &SequenceDef, table: Oid, column: &str) -> bool {
    let owner = def.owned_by.as_ref();
    owner.is_some_and(|owner| owner.table == table && owner.column == column)
}
