//! CREATE, REFRESH and ALTER MATERIALIZED VIEW.
//!
//! A materialized view is a table that only REFRESH writes to: its rows go into a storage of their own, which is shown by the same
//! commit that takes the old one away. So readers see the rows of one query or of the next, never a mixture, and nobody waits:
//! CONCURRENTLY is what happens anyway. It can have indexes, and is read like any table.

use std::sync::Arc;

use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, ColumnDef, Oid, Relation, Table};
use nyala_catalog::types::SqlType;
use nyala_catalog::{NewMaterialized, NewTable, Part, TableEdit, Transaction};
use sqlparser::ast::{CreateTableOptions, CreateView, Ident, ObjectName, Query};

use super::{Defined, insert_rows_of, place, query_columns, renamed, temporary};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::planner::Planner;
use crate::sql::{names, parse, query};

/// Runs CREATE MATERIALIZED VIEW.
pub(super) async fn create(
    planner: &mut Planner,
    transaction: &mut Transaction,
    create: &CreateView,
) -> Result<Defined> {
    if create.or_replace || create.temporary {
        return Err(PgError::syntax("syntax error at or near \"MATERIALIZED\""));
    }
    if create.options != CreateTableOptions::None || !create.cluster_by.is_empty() {
        return Err(PgError::unsupported(
            "options of materialized views are not supported",
        ));
    }
    let given = (&create.name, create.if_not_exists);
    let (schema, name) = match place(planner, transaction, given.0, given.1, false)? {
        Ok(place) => place,
        Err(skipped) => return Ok(skipped.with_tag("CREATE MATERIALIZED VIEW")),
    };
    planner.open_relations(create.query.as_ref()).await?;
    let source: &Query = &create.query;
    if crate::sql::parameters::any(source) {
        return Err(PgError::new(
            sqlstate::UNDEFINED_PARAMETER,
            "there is no parameter $1",
        ));
    }
    let depends_on = planner.relations_of(source);
    if temporary::of_any(transaction.definitions(), &depends_on).is_some() {
        return Err(PgError::unsupported(
            "materialized views must not use temporary tables or views",
        ));
    }
    let plan = planner.plan(source, Vec::new())?;
    let output = query::output_schema(&plan);
    if create.columns.len() > output.fields().len() {
        return Err(PgError::syntax("too many column names were specified"));
    }
    let column_names: Vec<_> = create.columns.iter().map(|column| &column.name).collect();
    let columns = query_columns(&renamed(&output, &column_names))?;
    // What the parser has no other place for.
    let with_data = !create.with_no_schema_binding;
    let new = NewTable {
        materialized: Some(NewMaterialized {
            query: create.query.to_string(),
            depends_on,
            populated: with_data,
        }),
        ..plain_table(schema, name, columns)
    };
    let table = transaction.create_table(new).await?;
    if !with_data {
        return Ok(Defined::tag("CREATE MATERIALIZED VIEW"));
    }
    let rows = fill(planner, transaction, &table, source).await?;
    Ok(Defined::tag(&format!("SELECT {rows}")))
}

fn plain_table(schema: Oid, name: String, columns: Vec<ColumnDef>) -> NewTable {
    NewTable {
        schema,
        name,
        owner: BOOTSTRAP_ROLE_OID,
        columns,
        primary_key: None,
        closed_when: None,
        partition_by: Vec::new(),
        closed_location: None,
        schedules: nyala_catalog::definitions::Schedules::default(),
        retention_s: None,
        indexes: Vec::new(),
        checks: Vec::new(),
        on_commit: nyala_catalog::definitions::OnCommit::default(),
        materialized: None,
    }
}

/// Runs REFRESH MATERIALIZED VIEW.
pub(super) async fn refresh(
    planner: &mut Planner,
    transaction: &mut Transaction,
    name: &ObjectName,
    concurrently: bool,
    with_data: bool,
) -> Result<Defined> {
    let defined = Defined::tag("REFRESH MATERIALIZED VIEW");
    if concurrently && !with_data {
        return Err(PgError::syntax(
            "REFRESH options CONCURRENTLY and WITH NO DATA cannot be used together",
        ));
    }
    let table = find(planner, transaction, name).map_err(|error| match error.code {
        // As in PostgreSQL, which has another code for it in DROP.
        sqlstate::WRONG_OBJECT_TYPE => PgError::unsupported(error.message),
        _ => error,
    })?;
    let Some(materialized) = table.def.materialized.as_ref() else {
        return Err(not_materialized(&table.def.name));
    };
    if concurrently {
        let schema = transaction.definitions().schema_by_oid(table.def.schema);
        let schema = schema.map_or("", |schema| schema.name.as_str());
        let qualified = format!("\"{schema}.{}\"", table.def.name);
        if !materialized.populated {
            return Err(PgError::unsupported(
                "CONCURRENTLY cannot be used when the materialized view is not populated",
            ));
        }
        let unique = table.indexes.iter();
        if !unique
            .clone()
            .any(|index| index.def.unique && index.is_ready())
        {
            return Err(PgError::new(
                sqlstate::NOT_IN_PREREQUISITE_STATE,
                format!("cannot refresh materialized view {qualified} concurrently"),
            )
            .with_hint("Create a unique index with no WHERE clause on one or more columns of the materialized view."));
        }
    }
    let source = parse::parse_query(&materialized.view.query)?;
    planner.open_relations(source.as_ref()).await?;
    check_meaning(planner, &table, &source, &materialized.view.depends_on)?;
    let table = transaction.refresh(&table, with_data).await?;
    if with_data {
        fill(planner, transaction, &table, &source).await?;
    }
    Ok(defined)
}

/// The text has to mean what it meant: the same relations, under this search path, and the same columns.
fn check_meaning(
    planner: &Planner,
    table: &Table,
    source: &Query,
    depends_on: &[Oid],
) -> Result<()> {
    let mut now = planner.relations_of(source);
    let mut then = depends_on.to_vec();
    now.sort_unstable();
    then.sort_unstable();
    let output = query::output_schema(&planner.plan(source, Vec::new())?);
    let columns = &table.def.columns;
    let types = output.fields().iter().map(|field| SqlType::of_field(field));
    if now == then && types.eq(columns.iter().map(|column| column.ty.clone())) {
        return Ok(());
    }
    let name = &table.def.name;
    Err(PgError::new(
        sqlstate::NOT_IN_PREREQUISITE_STATE,
        format!("the query of materialized view \"{name}\" does not mean what it meant"),
    )
    .with_detail(
        "It finds other relations, or has columns of other types, than when the view was created.",
    )
    .with_hint("Set search_path as it was then, or create the view again."))
}

/// Writes the query's rows to the empty table; returns how many.
async fn fill(
    planner: &mut Planner,
    transaction: &mut Transaction,
    table: &Arc<Table>,
    source: &Query,
) -> Result<usize> {
    let plan = planner.plan(source, Vec::new())?;
    let count = insert_rows_of(planner, transaction, table, &plan).await?;
    planner.view = transaction.view().clone();
    Ok(count)
}

/// Runs ALTER MATERIALIZED VIEW … RENAME TO.
pub(super) fn rename(
    planner: &Planner,
    transaction: &mut Transaction,
    name: &ObjectName,
    if_exists: bool,
    to: &Ident,
) -> Result<Defined> {
    let defined = Defined::tag("ALTER MATERIALIZED VIEW");
    let table = match find(planner, transaction, name) {
        Err(error) if if_exists && error.code == sqlstate::UNDEFINED_TABLE => {
            return Ok(defined.with_notice(format!("{}, skipping", error.message)));
        }
        other => other?,
    };
    let to = names::fold(to);
    if Part::split(&to).1 != Part::All {
        return Err(super::part_name(&to));
    }
    if to == table.def.name {
        return Err(PgError::new(
            sqlstate::DUPLICATE_TABLE,
            format!("relation \"{to}\" already exists"),
        ));
    }
    let mut views = transaction.definitions().dependents(table.def.oid);
    if let Some(view) = views.next() {
        let name = &table.def.name;
        return Err(PgError::unsupported(format!(
            "cannot rename materialized view \"{name}\" because the meaning of a view would change"
        ))
        .with_detail(format!(
            "The text of view {} refers to it by name.",
            view.name
        ))
        .with_hint("Drop the view and create it again after the change."));
    }
    drop(views);
    let mut edit = TableEdit::new(&table.def);
    edit.rename(to);
    transaction.alter_table(&table, edit, false)?;
    Ok(defined)
}

fn find(planner: &Planner, transaction: &Transaction, name: &ObjectName) -> Result<Arc<Table>> {
    let name = names::relation_name(name, &planner.database)?;
    match names::find(transaction.definitions(), &planner.search_path, &name)? {
        Some(Relation::Table(table)) if table.def.materialized.is_some() => Ok(Arc::clone(table)),
        Some(_) => Err(not_materialized(&name.name)),
        None => Err(names::undefined_relation(&name)),
    }
}

fn not_materialized(name: &str) -> PgError {
    PgError::new(
        sqlstate::WRONG_OBJECT_TYPE,
        format!("\"{name}\" is not a materialized view"),
    )
}
