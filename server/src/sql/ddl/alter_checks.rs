//! CHECK constraints of tables that are made or altered: their names, and the rows that exist.

use std::sync::Arc;

use futures::TryStreamExt;
use nyala_catalog::definitions::{ColumnDef, Oid, Relation, Table, TableDef};
use nyala_catalog::{CatalogError, CheckDef, ErrorKind, NewTable, Transaction};
use sqlparser::ast::{CheckConstraint, Expr};

use super::index::free_name;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::dml::{self, internal_table, quoted};
use crate::sql::planner::Planner;
use crate::sql::{checks, names, parse, query};

/// Internal name of the table whose rows are looked at.
const EXAMINED: &str = "examined";

/// Name and condition of a constraint as it was written.
pub(super) fn given(check: &CheckConstraint) -> Result<(Option<String>, Expr)> {
    if check.enforced == Some(false) {
        return Err(PgError::unsupported("NOT ENFORCED is not supported"));
    }
    let name = check.name.as_ref().map(names::fold);
    Ok((name, check.expr.as_ref().clone()))
}

/// Names and texts of the constraints of a new table.
pub(super) fn of_new_table(
    planner: &mut Planner,
    transaction: &Transaction,
    new: &NewTable,
    given: Vec<(Option<String>, Expr)>,
) -> Result<Vec<(String, String)>> {
    let mut known: Vec<String> = new.indexes.iter().map(|index| index.name.clone()).collect();
    known.extend(new.primary_key.iter().map(|(name, _)| name.clone()));
    let mut named = Vec::with_capacity(given.len());
    // Names that were given are taken before any is made up.
    for name in given.iter().filter_map(|(name, _)| name.as_ref()) {
        take(&mut known, name, &new.name).map_err(|error| PgError {
            message: format!("check constraint \"{name}\" already exists"),
            ..error
        })?;
    }
    for (name, condition) in given {
        checks::check_condition(planner, &new.name, &new.columns, &condition)?;
        let name = match name {
            Some(name) => name,
            None => {
                let name = made_up(
                    transaction,
                    new.schema,
                    &new.name,
                    &new.columns,
                    &condition,
                    &known,
                );
                known.push(name.clone());
                name
            }
        };
        named.push((name, condition.to_string()));
    }
    Ok(named)
}

fn take(known: &mut Vec<String>, name: &str, table: &str) -> Result<()> {
    if known.iter().any(|known| known == name) {
        return Err(PgError::new(
            sqlstate::DUPLICATE_OBJECT,
            format!("constraint \"{name}\" for relation \"{table}\" already exists"),
        ));
    }
    known.push(name.to_string());
    Ok(())
}

/// The name that PostgreSQL gives: with the column's, if the condition is about one.
fn made_up(
    transaction: &Transaction,
    schema: Oid,
    table: &str,
    columns: &[ColumnDef],
    condition: &Expr,
    known: &[String],
) -> String {
    let named = checks::columns_of(condition, columns);
    let column = match named.as_slice() {
        [one] => vec![one.name.clone()],
        _ => Vec::new(),
    };
    let relations = || transaction.definitions().relations();
    let taken = |name: &str| {
        known.iter().any(|known| known == name)
            || relations()
                .filter(|relation| relation.schema() == schema)
                .any(|relation| match relation {
                    Relation::Table(table) => constraint_names(&table.def).any(|n| n == name),
                    _ => false,
                })
    };
    free_name(taken, table, &column, "check")
}

/// Names of a table's constraints.
pub(super) fn constraint_names(def: &TableDef) -> impl Iterator<Item = &str> {
    let key = def.primary_key.iter().map(|key| key.name.as_str());
    let unique = def
        .indexes
        .iter()
        .filter(|index| index.constraint_oid.is_some());
    let unique = unique.map(|index| index.name.as_str());
    let checks = def.checks.iter().map(|check| check.name.as_str());
    let foreign_keys = def.foreign_keys.iter().map(|key| key.name.as_str());
    key.chain(unique).chain(checks).chain(foreign_keys)
}

/// The constraint that ALTER TABLE adds.
pub(super) fn added(
    planner: &mut Planner,
    transaction: &Transaction,
    def: &TableDef,
    name: Option<String>,
    condition: &Expr,
) -> Result<CheckDef> {
    checks::check_condition(planner, &def.name, &def.columns, condition)?;
    let mut known: Vec<String> = constraint_names(def).map(str::to_string).collect();
    let name = match name {
        Some(name) => {
            take(&mut known, &name, &def.name)?;
            name
        }
        None => made_up(
            transaction,
            def.schema,
            &def.name,
            &def.columns,
            condition,
            &known,
        ),
    };
    Ok(CheckDef {
        oid: transaction.new_oid(),
        name,
        condition: condition.to_string(),
    })
}

/// 23514 if rows that exist violate a constraint.
pub(super) async fn examine(
    planner: &mut Planner,
    table: &Arc<Table>,
    check: &CheckDef,
) -> Result<()> {
    planner.add_addressed(EXAMINED, table)?;
    let from = vec![internal_table(EXAMINED, &quoted(&table.def.name))?];
    let holds = parse::parse_expression(&check.condition)?;
    let violated = Expr::IsFalse(Box::new(Expr::Nested(Box::new(holds))));
    let one = dml::aliased(
        Expr::Value(sqlparser::ast::Value::Number("1".to_string(), false).into()),
        "found",
    );
    let rows = dml::select(vec![one], from, Some(violated))?;
    let plan = planner.plan(&rows, Vec::new())?;
    let mut found = query::run_plan(planner, &plan).await?;
    while let Some(batch) = found.try_next().await? {
        if batch.num_rows() > 0 {
            let (name, of) = (&check.name, &table.def.name);
            let error = CatalogError::new(
                ErrorKind::CheckViolation,
                format!("check constraint \"{name}\" of relation \"{of}\" is violated by some row"),
            );
            return Err(error.with_table(of).with_constraint(name).into());
        }
    }
    Ok(())
}

/// Rows with a column that has just been added, each with a value of its default: what UPDATE … SET column = DEFAULT writes.
pub(super) async fn fill(
    planner: &mut Planner,
    transaction: &mut Transaction,
    table: &Table,
    column: &str,
) -> Result<()> {
    let schema = transaction.definitions().schema_by_oid(table.def.schema);
    let schema = schema.map_or("", |schema| schema.name.as_str());
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let sql = format!(
        "UPDATE {}.{} SET {} = DEFAULT",
        quote(schema),
        quote(&table.def.name),
        quote(column)
    );
    let trees = parse::parse(&sql)?;
    let [parse::Tree::Sql(statement)] = trees.as_slice() else {
        return Err(PgError::internal("an UPDATE is one statement"));
    };
    planner.view = transaction.view().clone();
    dml::run(planner, transaction, statement).await?;
    planner.view = transaction.view().clone();
    Ok(())
}
