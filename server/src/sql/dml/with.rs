//! WITH in front of INSERT, UPDATE and DELETE, and these inside WITH.
//!
//! `WITH moved AS (DELETE FROM a … RETURNING *) INSERT INTO b SELECT * FROM moved` runs as PostgreSQL has it: the statements in WITH
//! each once, in their order and to their end whether or not their rows are read, then the main one. All read what was there when
//! the statement began; of what another has changed they see the rows of its RETURNING alone.
//!
//! So a changing part of WITH is run first, and a query of what it returned takes its place. What is left of WITH holds queries only,
//! and stands in front of every query that the main statement becomes.

use std::mem;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use nyala_catalog::Transaction;
use sqlparser::ast::{Cte, Query, SelectItem, SetExpr, Statement, WildcardAdditionalOptions, With};

use super::{Analysed, Changed, internal_table, quoted, select};
use crate::error::{PgError, Result};
use crate::sql::parameters::{self, ParameterTypes};
use crate::sql::planner::Planner;
use crate::sql::{parse, query};

/// The data-changing statement behind WITH, if there is one.
pub fn main_statement(query: &Query) -> Option<&Statement> {
    match query.body.as_ref() {
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Some(statement),
        _ => None,
    }
}

/// The first statement of a query that changes data: in WITH, or behind it.
pub fn changing(query: &Query) -> Option<&Statement> {
    let parts = query.with.iter().flat_map(|with| &with.cte_tables);
    let mut parts = parts.filter_map(|part| main_statement(&part.query));
    parts.next().or_else(|| main_statement(query))
}

/// Runs a query that changes data.
pub(super) async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    query: &Query,
) -> Result<Changed> {
    let mut main = query.clone();
    let mut parts = Parts::of(&mut main);
    while let Some((part, statement)) = parts.next_changing() {
        planner.ctes = parts.before(&part);
        let statement = with_source(planner, statement)?;
        let changed = Box::pin(super::run(planner, transaction, &statement)).await?;
        parts.returned(planner, part, changed.returning)?;
    }
    let with = parts.left();
    if let Some(statement) = main_statement(&main) {
        planner.ctes = with;
        let statement = with_source(planner, statement.clone())?;
        return Box::pin(super::run(planner, transaction, &statement)).await;
    }
    check_no_locks(&main)?;
    main.with = with;
    let (schema, rows) = query::collect(planner, &main).await?;
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    Ok(Changed {
        tag: format!("SELECT {count}"),
        returning: Some((schema, rows)),
    })
}

/// Finds the parameters and result columns of a query that changes data.
pub(super) async fn analyse(planner: &mut Planner, query: &Query) -> Result<Analysed> {
    let mut parameters = parameters::declared(query)?;
    let mut main = query.clone();
    let mut parts = Parts::of(&mut main);
    while let Some((part, statement)) = parts.next_changing() {
        planner.ctes = parts.before(&part);
        let statement = with_source(planner, statement)?;
        let analysed = Box::pin(super::analyse(planner, &statement)).await?;
        add(&mut parameters, analysed.parameters);
        let nothing = analysed.columns.map(|columns| (columns, Vec::new()));
        parts.returned(planner, part, nothing)?;
    }
    let with = parts.left();
    if let Some(statement) = main_statement(&main) {
        planner.ctes = with;
        let statement = with_source(planner, statement.clone())?;
        let analysed = Box::pin(super::analyse(planner, &statement)).await?;
        add(&mut parameters, analysed.parameters);
        return Ok(Analysed {
            parameters,
            columns: analysed.columns,
        });
    }
    check_no_locks(&main)?;
    main.with = with;
    parameters::infer(planner, &main, &mut parameters)?;
    let plan = planner.plan(&main, parameters::fields(&parameters))?;
    Ok(Analysed {
        parameters,
        columns: Some(query::output_schema(&plan)),
    })
}

fn check_no_locks(main: &Query) -> Result<()> {
    match main.locks.is_empty() {
        true => Ok(()),
        false => Err(PgError::unsupported(
            "FOR UPDATE and FOR SHARE are not supported behind data-modifying statements in WITH",
        )),
    }
}

/// Takes over what is known of parameters.
fn add(parameters: &mut ParameterTypes, found: ParameterTypes) {
    for (number, ty) in found {
        let known = parameters.entry(number).or_default();
        *known = known.take().or(ty);
    }
}

/// The statement with what stands in front of it in front of its source.
fn with_source(planner: &Planner, mut statement: Statement) -> Result<Statement> {
    if let (Some(with), Statement::Insert(insert)) = (&planner.ctes, &mut statement)
        && let Some(source) = insert.source.take()
    {
        let mut source = source;
        if source.with.is_some() {
            // Its own WITH sees what stands in front of all.
            let mut around = parse::parse_query("SELECT NULL")?;
            *around.body = SetExpr::Query(source);
            source = around;
        }
        source.with = Some(with.clone());
        insert.source = Some(source);
    }
    Ok(statement)
}

/// What stands in WITH: what is settled, and what is still to be run.
struct Parts {
    /// Without its parts.
    with: Option<With>,
    settled: Vec<Cte>,
    rest: std::vec::IntoIter<Cte>,
}

impl Parts {
    /// Takes WITH from a query.
    fn of(query: &mut Query) -> Self {
        let mut with = query.with.take();
        let parts = with.as_mut().map(|with| mem::take(&mut with.cte_tables));
        Self {
            with,
            settled: Vec::new(),
            rest: parts.unwrap_or_default().into_iter(),
        }
    }

    /// The next part that changes data, with its statement.
    fn next_changing(&mut self) -> Option<(Cte, Statement)> {
        for part in self.rest.by_ref() {
            match main_statement(&part.query).cloned() {
                Some(statement) => return Some((part, statement)),
                None => self.settled.push(part),
            }
        }
        None
    }

    /// What a part sees: those before it, and its own WITH.
    fn before(&self, part: &Cte) -> Option<With> {
        let own = part.query.with.iter().flat_map(|with| &with.cte_tables);
        self.with_of(self.settled.iter().chain(own).cloned().collect())
    }

    /// Puts what a part returned in its place; one that returns nothing is gone.
    fn returned(
        &mut self,
        planner: &mut Planner,
        mut part: Cte,
        returned: Option<(SchemaRef, Vec<RecordBatch>)>,
    ) -> Result<()> {
        let Some((schema, rows)) = returned else {
            return Ok(());
        };
        let name = format!("with {}", self.settled.len());
        planner.add_transient(&name, rows, schema)?;
        let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
        part.query = select(
            vec![all],
            vec![internal_table(&name, &quoted(&name))?],
            None,
        )?;
        self.settled.push(part);
        Ok(())
    }

    /// What is left of WITH: queries.
    fn left(self) -> Option<With> {
        self.with_of(self.settled.clone())
    }

    fn with_of(&self, parts: Vec<Cte>) -> Option<With> {
        let with = self.with.as_ref().filter(|_| !parts.is_empty())?;
        Some(With {
            cte_tables: parts,
            ..with.clone()
        })
    }
}
