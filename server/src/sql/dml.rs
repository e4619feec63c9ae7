//! INSERT, UPDATE, DELETE and MERGE, and SELECT that locks: each becomes a query for the rows to write, whose result goes to the
//! transaction.
//!
//! The query is built from the statement's own tree, so that subqueries, joins and WHERE mean what
//! they mean in SELECT; DataFusion's DML hooks are not used (they lose filters that hold subqueries).
//! The target stands in the query under an internal name that also shows the hidden row number of a
//! table without a key. All rows are read from the view that the statement began with.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use nyala_catalog::definitions::{Relation, Table};
use nyala_catalog::{Part, Transaction};
use sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, TableWithJoins,
};

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::decode::InputSettings;
use crate::pgwire::encode::FormatSettings;
use crate::sql::explain::Modification;
use crate::sql::names;
use crate::sql::parameters::{self, ParameterTypes};
use crate::sql::planner::Planner;
use crate::sql::{casts, parse, query};

pub(super) mod change;
pub(super) mod insert;
mod joined;
mod lock;
mod merge;
mod with;

use joined::Joined;
pub use lock::check_nested;
pub use with::{changing, main_statement};

/// Internal name of the target in the query for the rows to write.
const TARGET: &str = "target";

/// Internal name of the rows that RETURNING reads.
const RETURNED: &str = "returned";

/// What a statement did.
pub struct Changed {
    /// Command tag (`INSERT 0 3`).
    pub tag: String,
    /// Rows of RETURNING.
    pub returning: Option<(SchemaRef, Vec<RecordBatch>)>,
}

/// What is known of a statement before it runs.
pub struct Analysed {
    /// Its parameters, as far as their types are known.
    pub parameters: ParameterTypes,
    /// Columns of RETURNING.
    pub columns: Option<SchemaRef>,
}

/// Whether this file runs the statement.
pub fn is_dml(statement: &Statement) -> bool {
    match statement {
        Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_) => true,
        Statement::Query(query) => !query.locks.is_empty() || changing(query).is_some(),
        _ => false,
    }
}

/// The error of a query whose rows cannot be locked as it asks for.
pub fn check_locks(planner: &Planner, query: &Query) -> Result<()> {
    match query.locks.is_empty() {
        true => Ok(()),
        false => lock::check(planner, query),
    }
}

/// Runs a statement in a transaction.
pub async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    statement: &Statement,
) -> Result<Changed> {
    planner.open_relations(statement).await?;
    match statement {
        Statement::Insert(insert) => insert::run(planner, transaction, insert).await,
        Statement::Update(update) => change::update(planner, transaction, update).await,
        Statement::Delete(delete) => change::delete(planner, transaction, delete).await,
        Statement::Merge(merge) => merge::run(planner, transaction, merge).await,
        Statement::Query(query) if changing(query).is_some() => {
            with::run(planner, transaction, query).await
        }
        Statement::Query(query) => lock::run(planner, transaction, query).await,
        _ => Err(PgError::internal("not a data-changing statement")),
    }
}

/// Finds a statement's parameters and result columns.
pub async fn analyse(planner: &mut Planner, statement: &Statement) -> Result<Analysed> {
    planner.open_relations(statement).await?;
    if let Statement::Query(query) = statement {
        return with::analyse(planner, query).await;
    }
    if let Statement::Merge(merge) = statement {
        return merge::analyse(planner, merge);
    }
    let mut statement = statement.clone();
    let Reading {
        target,
        query,
        returning,
        joined,
    } = Reading::of(planner, &mut statement)?;
    let mut parameters = parameters::declared(&statement)?;
    parameters::infer(planner, &query, &mut parameters)?;
    // The query itself has to be right as well.
    let analysed = planner.analysed(&query, parameters::fields(&parameters))?;
    let columns = match returning {
        None => None,
        Some(items) => {
            let items = joined.rewrite(&target, &items);
            let schema = joined.schema(&target.table.schema, analysed.schema().fields());
            let query = returning_query(planner, &target, items, Vec::new(), schema)?;
            let plan = planner.plan(&query, parameters::fields(&parameters))?;
            Some(query::output_schema(&plan))
        }
    };
    Ok(Analysed {
        parameters,
        columns,
    })
}

/// What INSERT, UPDATE or DELETE reads.
struct Reading {
    target: Target,
    /// The query for the rows to write.
    query: Box<Query>,
    returning: Option<Vec<SelectItem>>,
    joined: Joined,
}

impl Reading {
    /// Gives parameters of the statement that stand for columns the types of those.
    fn of(planner: &mut Planner, statement: &mut Statement) -> Result<Self> {
        match statement {
            Statement::Insert(insert) => {
                let target = insert::target(planner, insert)?;
                insert::type_parameters(insert, &target.table)?;
                Ok(Self {
                    query: insert::source(planner, insert, &target.table)?,
                    target,
                    returning: insert.returning.clone(),
                    joined: Joined::default(),
                })
            }
            Statement::Update(update) => {
                let target = change::update_target(planner, update)?;
                change::type_parameters(&mut update.assignments, &target.table)?;
                let joined = change::joined_in_update(update, &target)?;
                Ok(Self {
                    query: change::update_query(planner, update, &target, &joined)?,
                    target,
                    returning: update.returning.clone(),
                    joined,
                })
            }
            Statement::Delete(delete) => {
                let target = change::delete_target(planner, delete)?;
                let joined = change::joined_in_delete(delete, &target)?;
                Ok(Self {
                    query: change::delete_query(planner, delete, &target, &joined)?,
                    target,
                    returning: delete.returning.clone(),
                    joined,
                })
            }
            _ => Err(PgError::internal("not a data-changing statement")),
        }
    }
}

/// What EXPLAIN tells of a statement: the query for the rows to write, and what becomes of them.
pub async fn explained(
    planner: &mut Planner,
    statement: &Statement,
) -> Result<(Modification, Box<Query>)> {
    planner.open_relations(statement).await?;
    let (operation, (target, query)) = match statement {
        Statement::Merge(merge) => ("Merge", merge::explained(planner, merge)?),
        changed => {
            let operation = match changed {
                Statement::Insert(_) => "Insert",
                Statement::Update(_) => "Update",
                Statement::Delete(_) => "Delete",
                _ => {
                    return Err(PgError::unsupported(
                        "EXPLAIN of this statement is not supported",
                    ));
                }
            };
            let reading = Reading::of(planner, &mut changed.clone())?;
            (operation, (reading.target, reading.query))
        }
    };
    let modification = Modification {
        operation,
        relation: target.table.def.name.clone(),
        alias: names::fold(&target.alias),
    };
    Ok((modification, query))
}

/// The table that a statement changes, and the name its columns are qualified with.
pub(super) struct Target {
    pub(super) table: Arc<Table>,
    pub(super) alias: Ident,
}

impl Target {
    /// A table under its own name.
    pub(super) fn of(table: &Arc<Table>) -> Self {
        Self {
            table: Arc::clone(table),
            alias: quoted(&table.def.name),
        }
    }

    pub(super) fn find(
        planner: &Planner,
        name: &ObjectName,
        alias: Option<&Ident>,
    ) -> Result<Self> {
        let relation_name = names::relation_name(name, &planner.database)?;
        let alias = alias
            .cloned()
            .unwrap_or_else(|| quoted(&relation_name.name));
        match planner.find_relation(&relation_name)? {
            Some((Relation::Table(table), _)) if table.def.materialized.is_some() => {
                Err(unchangeable(table))
            }
            Some((Relation::Table(table), Part::All)) => Ok(Self {
                table: Arc::clone(table),
                alias,
            }),
            Some((Relation::Table(table), _)) => Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("cannot change a part of table \"{}\"", table.def.name),
            )
            .with_hint("Change the table itself; each row goes to the right part.")),
            Some((Relation::View(view), _)) => Err(PgError::new(
                sqlstate::NOT_IN_PREREQUISITE_STATE,
                format!("cannot change view \"{}\"", view.name),
            )
            .with_detail("Views are not automatically updatable.")),
            Some((Relation::External(external), _)) => Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("cannot change external table \"{}\"", external.name),
            )
            .with_detail("External tables are read-only.")),
            Some((Relation::Sequence(def), _)) => Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("cannot change sequence \"{}\"", def.name),
            )),
            None => {
                let schema = relation_name.schema.as_deref();
                let schema = schema.unwrap_or(crate::pg_catalog::PG_CATALOG);
                if crate::pg_catalog::relation_schema(schema, &relation_name.name).is_some() {
                    return Err(PgError::new(
                        "42501",
                        format!("permission denied for table {}", relation_name.name),
                    ));
                }
                Err(names::undefined_relation(&relation_name))
            }
        }
    }

    /// Position of a column that the statement names.
    pub(super) fn column(&self, name: &str) -> Result<usize> {
        let columns = &self.table.def.columns;
        columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| {
                PgError::new(
                    sqlstate::UNDEFINED_COLUMN,
                    format!(
                        "column \"{name}\" of relation \"{}\" does not exist",
                        self.table.def.name
                    ),
                )
            })
    }

    /// `alias.column`.
    pub(super) fn reference(&self, column: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.alias.clone(), quoted(column)])
    }

    /// Select items for the address of a row.
    fn address_items(&self) -> Vec<SelectItem> {
        let schema = self.table.codec.address_schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names
            .enumerate()
            .map(|(at, name)| aliased(self.reference(&name), &format!("$address{at}")))
            .collect()
    }

    /// The address columns of a query's result, which come first.
    fn addresses(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let schema = self.table.codec.address_schema();
        let columns: Vec<_> = rows
            .columns()
            .iter()
            .take(schema.fields().len())
            .cloned()
            .collect();
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// Full rows of the table from columns of a query's result, from `first` on.
    pub(super) fn rows(
        &self,
        input: &InputSettings,
        format: &FormatSettings,
        result: &RecordBatch,
        first: usize,
    ) -> Result<RecordBatch> {
        let schema = result.schema();
        let mut columns = Vec::with_capacity(self.table.def.columns.len());
        for (at, definition) in self.table.def.columns.iter().enumerate() {
            let (Some(values), Some(field)) = (
                result.columns().get(first + at),
                schema.fields().get(first + at),
            ) else {
                return Err(PgError::internal("query for rows has too few columns"));
            };
            let field = field.as_ref().clone().with_name(&definition.name);
            columns.push(casts::assign(
                values,
                &field,
                &definition.ty,
                input,
                format,
            )?);
        }
        // Nullability is the constraint's business, whose error names the row.
        let fields: Vec<_> = self
            .table
            .schema
            .fields()
            .iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

/// 42809 for a materialized view, which only REFRESH writes to.
fn unchangeable(view: &Table) -> PgError {
    PgError::new(
        sqlstate::WRONG_OBJECT_TYPE,
        format!("cannot change materialized view \"{}\"", view.def.name),
    )
}

/// The query that RETURNING stands for, over `rows`.
fn returning_query(
    planner: &mut Planner,
    target: &Target,
    items: Vec<SelectItem>,
    rows: Vec<RecordBatch>,
    schema: SchemaRef,
) -> Result<Box<Query>> {
    planner.add_transient(RETURNED, rows, schema)?;
    let query = select(items, vec![internal_table(RETURNED, &target.alias)?], None)?;
    Ok(behind_with(planner, query))
}

/// Runs RETURNING, if the statement has it.
async fn returning(
    planner: &mut Planner,
    target: &Target,
    items: Option<&Vec<SelectItem>>,
    joined: &Joined,
    rows: Vec<RecordBatch>,
    schema: SchemaRef,
) -> Result<Option<(SchemaRef, Vec<RecordBatch>)>> {
    let Some(items) = items else { return Ok(None) };
    let schema = match rows.first() {
        Some(first) => first.schema(),
        None => schema,
    };
    let items = joined.rewrite(target, items);
    let query = returning_query(planner, target, items, rows, schema)?;
    Ok(Some(query::collect(planner, &query).await?))
}

/// The query with what stands in front of the statement that it is part of.
fn behind_with(planner: &Planner, mut query: Box<Query>) -> Box<Query> {
    query.with.clone_from(&planner.ctes);
    query
}

/// An identifier that is taken as it is.
pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

pub(super) fn aliased(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr,
        alias: quoted(alias),
    }
}

/// `SELECT items FROM tables WHERE condition`.
pub(super) fn select(
    items: Vec<SelectItem>,
    from: Vec<TableWithJoins>,
    condition: Option<Expr>,
) -> Result<Box<Query>> {
    let mut query = parse::parse_query("SELECT NULL")?;
    let select = select_of(&mut query)?;
    select.projection = items;
    select.from = from;
    select.selection = condition;
    Ok(query)
}

fn select_of(query: &mut Query) -> Result<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(PgError::internal("not a SELECT")),
    }
}

/// A transient or addressed table of the planner, under an alias.
pub(super) fn internal_table(name: &str, alias: &Ident) -> Result<TableWithJoins> {
    let mut query = parse::parse_query("SELECT NULL FROM x AS y")?;
    let mut from = std::mem::take(&mut select_of(&mut query)?.from);
    let mut table = from
        .pop()
        .ok_or_else(|| PgError::internal("parsed FROM without a table"))?;
    if let TableFactor::Table {
        name: table_name,
        alias: Some(table_alias),
        ..
    } = &mut table.relation
    {
        let internal = quoted(&Planner::transient_name(name));
        *table_name = ObjectName(vec![ObjectNamePart::Identifier(internal)]);
        table_alias.name = alias.clone();
    }
    Ok(table)
}
