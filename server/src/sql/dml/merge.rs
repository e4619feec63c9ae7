//! MERGE: rows of a source joined with a table, and for each what the first clause says whose condition holds.
//!
//! One query joins target and source, and tells for each pair which clause it falls under. Its rows are read in chunks; each clause
//! that has rows in a chunk becomes a query over them, with the two sides under their own names, for the rows that it writes. So a
//! clause's expressions are evaluated for its own rows alone, and a condition is evaluated once.
//!
//! Nothing is written before all rows are known: the join reads what was there when the statement began, and a row may take the
//! key of another that is deleted.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef};
use futures::TryStreamExt;
use nyala_catalog::Transaction;
use nyala_catalog::definitions::Identity;
use sqlparser::ast::{
    AssignmentTarget, BinaryOperator, CaseWhen, Expr, Ident, Join, JoinConstraint, JoinOperator,
    Merge, MergeAction, MergeClauseKind, MergeInsertExpr, MergeInsertKind, Query, SelectItem,
    SetExpr, TableFactor, TableWithJoins, Value,
};

use super::change::{assigned_columns, new_row_items, type_parameters};
use super::insert::{default_of, is_default, with_schema};
use super::{
    Analysed, Changed, TARGET, Target, aliased, behind_with, internal_table, quoted, select,
};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::normalize::calls_aggregate_or_set;
use crate::sql::parameters::{self, ParameterTypes};
use crate::sql::parse::merge::{DEFAULT_VALUES, NOTHING};
use crate::sql::planner::Planner;
use crate::sql::{checks, names, parse, query};

/// Rows of the join that are handled at once.
const CHUNK_ROWS: usize = 65_536;

/// Internal names of the two sides of the pairs of one clause.
const MATCHED: &str = "merge target";
const SOURCE: &str = "merge source";

/// Column that pairs the two sides.
const PAIR: &str = "$pair";

/// Column that tells rows of the source from what an outer join puts in their place.
const IN_SOURCE: &str = "$in source";

/// Which rows of the join a clause is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Of both sides.
    Both,
    /// Of the source, with none of the target.
    Source,
    /// Of the target, with none of the source.
    Target,
}

/// What a clause does.
enum Action {
    Nothing,
    Delete,
    /// Select items for the new row.
    Update(Vec<SelectItem>),
    Insert(Vec<SelectItem>),
}

struct Clause {
    of: Of,
    condition: Option<Expr>,
    action: Action,
}

/// A statement whose names are found.
struct Plan {
    target: Target,
    source: TableFactor,
    source_alias: Ident,
    /// The source's columns.
    columns: Fields,
    on: Expr,
    clauses: Vec<Clause>,
}

impl Plan {
    fn of(planner: &Planner, merge: &Merge) -> Result<Self> {
        if merge.output.is_some() {
            return Err(PgError::unsupported("RETURNING of MERGE is not supported"));
        }
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = &merge.table
        else {
            return Err(PgError::syntax("MERGE INTO takes a table"));
        };
        let target = Target::find(planner, name, alias.as_ref().map(|alias| &alias.name))?;
        let source_alias = source_alias(&merge.source)?;
        if names::fold(&source_alias) == names::fold(&target.alias) {
            let name = names::fold(&source_alias);
            return Err(PgError::new(
                sqlstate::DUPLICATE_ALIAS,
                format!("name \"{name}\" specified more than once"),
            )
            .with_detail("The name is used both as MERGE target table and data source."));
        }
        let mut plan = Self {
            columns: Fields::empty(),
            source: merge.source.clone(),
            source_alias,
            on: merge.on.as_ref().clone(),
            clauses: Vec::with_capacity(merge.clauses.len()),
            target,
        };
        // The kinds whose clauses so far take all their rows.
        let mut settled: Vec<Of> = Vec::new();
        for clause in &merge.clauses {
            let of = match clause.clause_kind {
                MergeClauseKind::Matched => Of::Both,
                MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Of::Source,
                MergeClauseKind::NotMatchedBySource => Of::Target,
            };
            if settled.contains(&of) {
                return Err(PgError::syntax(
                    "unreachable WHEN clause specified after unconditional WHEN clause",
                ));
            }
            match &clause.predicate {
                None => settled.push(of),
                Some(condition)
                    if calls_aggregate_or_set(condition) && !checks::holds_subquery(condition) =>
                {
                    return Err(PgError::new(
                        sqlstate::GROUPING_ERROR,
                        "aggregate functions are not allowed in MERGE WHEN conditions",
                    ));
                }
                Some(_) => {}
            }
            let action = plan.action(&clause.action)?;
            plan.clauses.push(Clause {
                of,
                condition: clause.predicate.clone(),
                action,
            });
        }
        let everything = select(vec![wildcard()], vec![alone(plan.source.clone())], None)?;
        let everything = planner.analysed(&behind_with(planner, everything), Vec::new())?;
        plan.columns = everything.schema().as_arrow().fields().clone();
        Ok(plan)
    }

    fn action(&self, action: &MergeAction) -> Result<Action> {
        match action {
            MergeAction::Delete { .. } => Ok(Action::Delete),
            MergeAction::Update(update) => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(PgError::syntax("UPDATE in MERGE takes no WHERE"));
                }
                if let [assignment] = update.assignments.as_slice()
                    && let AssignmentTarget::ColumnName(name) = &assignment.target
                    && names::single_name(name).is_ok_and(|name| name == NOTHING)
                {
                    return Ok(Action::Nothing);
                }
                let mut assignments = update.assignments.clone();
                type_parameters(&mut assignments, &self.target.table)?;
                let assigned = assigned_columns(&assignments, &self.target)?;
                let items = new_row_items(&self.target, &assignments, &assigned)?;
                Ok(Action::Update(items))
            }
            MergeAction::Insert(insert) => {
                if let [name] = insert.columns.as_slice()
                    && names::single_name(name).is_ok_and(|name| name == NOTHING)
                {
                    return Ok(Action::Nothing);
                }
                Ok(Action::Insert(self.inserted_items(insert)?))
            }
        }
    }

    /// Select items for a row to insert.
    fn inserted_items(&self, insert: &MergeInsertExpr) -> Result<Vec<SelectItem>> {
        if insert.insert_predicate.is_some() {
            return Err(PgError::syntax("INSERT in MERGE takes no WHERE"));
        }
        let MergeInsertKind::Values(values) = &insert.kind else {
            return Err(PgError::syntax("INSERT in MERGE takes VALUES"));
        };
        let [row] = values.rows.as_slice() else {
            return Err(PgError::syntax("INSERT in MERGE takes one row of VALUES"));
        };
        let table = &self.target.table;
        let mut cells = row.content.as_slice();
        let mut given: Vec<usize> = Vec::with_capacity(insert.columns.len());
        for name in &insert.columns {
            let name = names::single_name(name)?;
            if name == DEFAULT_VALUES {
                cells = &[];
                continue;
            }
            let at = self.target.column(&name)?;
            if given.contains(&at) {
                return Err(PgError::new(
                    sqlstate::DUPLICATE_COLUMN,
                    format!("column \"{name}\" specified more than once"),
                ));
            }
            given.push(at);
        }
        if insert.columns.is_empty() {
            given = (0..table.def.columns.len().min(cells.len())).collect();
        }
        if cells.len() > given.len() {
            return Err(PgError::syntax(
                "INSERT has more expressions than target columns",
            ));
        }
        if cells.len() < given.len() {
            return Err(PgError::syntax(
                "INSERT has more target columns than expressions",
            ));
        }
        let columns = table.def.columns.iter().enumerate();
        columns
            .map(|(at, column)| {
                let slot = given.iter().position(|given| *given == at);
                let cell = slot.and_then(|slot| cells.get(slot));
                let expr = match cell.filter(|cell| !is_default(cell)) {
                    None => default_of(table, at)?,
                    Some(_) if column.identity == Some(Identity::Always) => {
                        let name = &column.name;
                        return Err(PgError::new(
                            sqlstate::GENERATED_ALWAYS,
                            format!("cannot insert a non-DEFAULT value into column \"{name}\""),
                        )
                        .with_detail(format!(
                            "Column \"{name}\" is an identity column defined as GENERATED ALWAYS."
                        )));
                    }
                    Some(cell) => {
                        let mut cell = cell.clone();
                        parameters::cast_parameter(&mut cell, &column.ty)?;
                        cell
                    }
                };
                Ok(aliased(expr, &format!("$column{at}")))
            })
            .collect()
    }

    fn has(&self, of: Of) -> bool {
        self.clauses.iter().any(|clause| clause.of == of)
    }

    fn source_reference(&self, column: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.source_alias.clone(), quoted(column)])
    }

    /// The query that joins the two sides: a row's address, its columns, those of the source, and the number of the clause.
    fn join(&self, planner: &mut Planner) -> Result<Box<Query>> {
        planner.add_addressed(TARGET, &self.target.table)?;
        let mut items = self.target.address_items();
        let first_address = match items.first() {
            Some(SelectItem::ExprWithAlias { expr, .. }) => expr.clone(),
            _ => return Err(PgError::internal("rows have no address")),
        };
        for (at, column) in self.target.table.def.columns.iter().enumerate() {
            items.push(aliased(
                self.target.reference(&column.name),
                &format!("$column{at}"),
            ));
        }
        for (at, field) in self.columns.iter().enumerate() {
            items.push(aliased(
                self.source_reference(field.name()),
                &format!("$source{at}"),
            ));
        }
        let in_target = Expr::IsNotNull(Box::new(first_address.clone()));
        let no_target = Expr::IsNull(Box::new(first_address));
        let no_source = Expr::IsNull(Box::new(self.source_reference(IN_SOURCE)));
        let outer = self.has(Of::Target);
        let conditions = self.clauses.iter().enumerate().map(|(at, clause)| {
            let is = match clause.of {
                Of::Both if outer => and(
                    in_target.clone(),
                    Expr::IsNotNull(Box::new(self.source_reference(IN_SOURCE))),
                ),
                Of::Both => in_target.clone(),
                Of::Source => no_target.clone(),
                Of::Target => no_source.clone(),
            };
            let condition = match clause.condition.clone() {
                Some(condition) => and(is, Expr::Nested(Box::new(condition))),
                None => is,
            };
            Ok(CaseWhen {
                condition,
                result: number(at)?,
            })
        });
        let action = Expr::Case {
            case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
            end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: conditions.collect::<Result<_>>()?,
            else_result: None,
        };
        items.push(aliased(action, "$clause"));
        let on = JoinConstraint::On(self.on.clone());
        let operator = match (outer, self.has(Of::Source)) {
            (false, false) => JoinOperator::Inner(on),
            (false, true) => JoinOperator::RightOuter(on),
            (true, false) => JoinOperator::LeftOuter(on),
            (true, true) => JoinOperator::FullOuter(on),
        };
        let relation = match outer {
            true => self.marked_source()?,
            false => self.source.clone(),
        };
        let mut from = internal_table(TARGET, &self.target.alias)?;
        from.joins.push(Join {
            relation,
            global: false,
            join_operator: operator,
        });
        Ok(behind_with(planner, select(items, vec![from], None)?))
    }

    /// The source with a column that no row of it has NULL in.
    fn marked_source(&self) -> Result<TableFactor> {
        let mark = aliased(
            Expr::Value(Value::Boolean(true).with_empty_span()),
            IN_SOURCE,
        );
        let rows = select(
            vec![wildcard(), mark],
            vec![alone(self.source.clone())],
            None,
        )?;
        let mut derived = parse::parse_query("SELECT NULL FROM (SELECT NULL) AS x")?;
        if let SetExpr::Select(select) = derived.body.as_mut()
            && let Some(TableWithJoins { mut relation, .. }) = select.from.pop()
            && let TableFactor::Derived {
                subquery,
                alias: Some(alias),
                ..
            } = &mut relation
        {
            *subquery = rows;
            alias.name = self.source_alias.clone();
            return Ok(relation);
        }
        Err(PgError::internal("parsed FROM without a subquery"))
    }

    /// The query for the rows that a clause writes, over its pairs: addresses, if it changes rows, then the rows.
    fn clause_query(
        &self,
        planner: &mut Planner,
        clause: &Clause,
        pairs: &Pairs,
    ) -> Result<Option<Box<Query>>> {
        let (items, reads_target) = match &clause.action {
            Action::Nothing | Action::Delete => return Ok(None),
            Action::Update(items) => {
                let mut all = self.target.address_items();
                all.extend(items.iter().cloned());
                (all, true)
            }
            Action::Insert(items) => (items.clone(), false),
        };
        let mut from = Vec::new();
        let mut condition = None;
        if reads_target {
            let rows = &pairs.target;
            planner.add_transient(MATCHED, vec![rows.clone()], rows.schema())?;
            from.push(internal_table(MATCHED, &self.target.alias)?);
        }
        if clause.of != Of::Target {
            let rows = &pairs.source;
            planner.add_transient(SOURCE, vec![rows.clone()], rows.schema())?;
            from.push(internal_table(SOURCE, &self.source_alias)?);
        }
        if from.len() == 2 {
            condition = Some(Expr::BinaryOp {
                left: Box::new(self.target.reference(PAIR)),
                op: BinaryOperator::Eq,
                right: Box::new(self.source_reference(PAIR)),
            });
        }
        let query = select(items, from, condition)?;
        Ok(Some(behind_with(planner, query)))
    }

    /// Whether each name in the clauses is one that it may use, also where no row falls under the clause.
    fn check(&self, planner: &mut Planner, join: &Query) -> Result<()> {
        let joined = planner.analysed(join, Vec::new())?;
        let schema: SchemaRef = Arc::clone(joined.schema().inner());
        let pairs = self.pairs(&RecordBatch::new_empty(schema))?;
        for clause in &self.clauses {
            for query in self.queries_of(planner, clause, &pairs)? {
                let analysed = planner.analysed(&query, Vec::new());
                analysed.map_err(|error| self.out_of_reach(error))?;
            }
        }
        Ok(())
    }

    /// What a clause computes, over the side or sides that it is for.
    fn queries_of(
        &self,
        planner: &mut Planner,
        clause: &Clause,
        pairs: &Pairs,
    ) -> Result<Vec<Query>> {
        let mut queries: Vec<_> = self
            .clause_query(planner, clause, pairs)?
            .into_iter()
            .map(|query| *query)
            .collect();
        if let Some(condition) = &clause.condition
            && clause.of != Of::Both
        {
            let (name, rows, alias) = match clause.of {
                Of::Target => (MATCHED, &pairs.target, &self.target.alias),
                Of::Both | Of::Source => (SOURCE, &pairs.source, &self.source_alias),
            };
            planner.add_transient(name, vec![rows.clone()], rows.schema())?;
            let from = vec![internal_table(name, alias)?];
            let query = select(vec![aliased(condition.clone(), "$condition")], from, None)?;
            queries.push(*behind_with(planner, query));
        }
        Ok(queries)
    }

    /// PostgreSQL's words for a name of the side that a clause has no row of.
    fn out_of_reach(&self, error: PgError) -> PgError {
        for alias in [&self.target.alias, &self.source_alias] {
            let name = names::fold(alias);
            if error.message == format!("missing FROM-clause entry for table \"{name}\"") {
                return PgError::new(
                    sqlstate::UNDEFINED_TABLE,
                    format!("invalid reference to FROM-clause entry for table \"{name}\""),
                )
                .with_detail(format!(
                    "There is an entry for table \"{name}\", but it cannot be referenced from this part of the query."
                ));
            }
        }
        error
    }

    /// The two sides of rows of the join, under the names that their columns have.
    fn pairs(&self, joined: &RecordBatch) -> Result<Pairs> {
        let table = &self.target.table;
        let addresses = table.codec.address_schema();
        let (address_count, width) = (addresses.fields().len(), table.def.columns.len());
        let count = i64::try_from(joined.num_rows())
            .map_err(|_| PgError::internal("too many rows in one chunk"))?;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
        let pair = Arc::new(Field::new(PAIR, DataType::Int64, false));
        let schema = joined.schema();
        let fields: Vec<_> = schema.fields().iter().zip(joined.columns()).collect();
        let side = |range: std::ops::Range<usize>, names: &mut dyn Iterator<Item = String>| {
            let parts = fields.get(range).unwrap_or_default().iter().zip(names);
            let mut side: Vec<(Arc<Field>, ArrayRef)> = parts
                .map(|((field, column), name)| {
                    let field = field.as_ref().clone().with_name(name).with_nullable(true);
                    (Arc::new(field), Arc::clone(column))
                })
                .collect();
            side.push((Arc::clone(&pair), Arc::clone(&numbers)));
            side
        };
        let columns = table.def.columns.iter();
        let mut columns = columns.map(|column| column.name.clone());
        let mut target = side(address_count..address_count + width, &mut columns);
        // The number of a row without a key is no column.
        for (at, field) in addresses.fields().iter().enumerate() {
            if !target.iter().any(|(known, _)| known.name() == field.name())
                && let Some((_, column)) = fields.get(at)
            {
                let field = field.as_ref().clone().with_nullable(true);
                target.push((Arc::new(field), Arc::clone(column)));
            }
        }
        let mut names = self.columns.iter().map(|field| field.name().clone());
        let first = address_count + width;
        let source = side(first..first + self.columns.len(), &mut names);
        Ok(Pairs {
            target: batch_of(target)?,
            source: batch_of(source)?,
        })
    }
}

/// The two sides of some rows of the join.
struct Pairs {
    target: RecordBatch,
    source: RecordBatch,
}

fn batch_of(columns: Vec<(Arc<Field>, ArrayRef)>) -> Result<RecordBatch> {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

fn number(at: usize) -> Result<Expr> {
    parse::parse_expression(&at.to_string())
}

fn wildcard() -> SelectItem {
    SelectItem::Wildcard(sqlparser::ast::WildcardAdditionalOptions::default())
}

fn alone(relation: TableFactor) -> TableWithJoins {
    TableWithJoins {
        relation,
        joins: Vec::new(),
    }
}

/// The name that the source's columns are qualified with.
fn source_alias(source: &TableFactor) -> Result<Ident> {
    let alias = match source {
        TableFactor::Table { name, alias, .. } => match alias {
            Some(alias) => Some(alias.name.clone()),
            None => name.0.last().and_then(|part| part.as_ident()).cloned(),
        },
        TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::TableFunction { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.clone())
        }
        _ => None,
    };
    alias.ok_or_else(|| {
        PgError::syntax("the source of MERGE must have an alias")
            .with_hint("For example, USING (SELECT ...) AS source.")
    })
}

/// The target, and the query that joins it with the source.
pub(super) fn explained(planner: &mut Planner, merge: &Merge) -> Result<(Target, Box<Query>)> {
    let plan = Plan::of(planner, merge)?;
    let join = plan.join(planner)?;
    Ok((plan.target, join))
}

/// Finds a statement's parameters. It gives no rows.
pub(super) fn analyse(planner: &mut Planner, merge: &Merge) -> Result<Analysed> {
    let plan = Plan::of(planner, merge)?;
    let mut parameters: ParameterTypes = parameters::declared(merge)?;
    let join = plan.join(planner)?;
    let mut queries = vec![*join.clone()];
    parameters::infer(planner, &join, &mut parameters)?;
    let joined = planner.analysed(&join, parameters::fields(&parameters))?;
    let schema: SchemaRef = Arc::clone(joined.schema().inner());
    let pairs = plan.pairs(&RecordBatch::new_empty(schema))?;
    for clause in &plan.clauses {
        if let Action::Update(items) | Action::Insert(items) = &clause.action {
            let values = select(items.clone(), Vec::new(), None)?;
            let found = parameters::declared(&values)?;
            for (number, ty) in found {
                let known = parameters.entry(number).or_default();
                *known = known.take().or(ty);
            }
        }
        for query in plan.queries_of(planner, clause, &pairs)? {
            parameters::infer(planner, &query, &mut parameters)?;
            queries.push(query);
        }
    }
    for query in queries {
        let analysed = planner.analysed(&query, parameters::fields(&parameters));
        analysed.map_err(|error| plan.out_of_reach(error))?;
    }
    Ok(Analysed {
        parameters,
        columns: None,
    })
}

/// What the clauses write.
#[derive(Default)]
struct Writes {
    deleted: Vec<RecordBatch>,
    addresses: Vec<RecordBatch>,
    updated: Vec<RecordBatch>,
    inserted: Vec<RecordBatch>,
    /// Rows that were updated or deleted.
    seen: HashSet<Box<[u8]>>,
}

pub(super) async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    merge: &Merge,
) -> Result<Changed> {
    let plan = Plan::of(planner, merge)?;
    let table = Arc::clone(&plan.target.table);
    checks::prepare(planner, &table)?;
    let join = plan.join(planner)?;
    plan.check(planner, &join)?;
    let mut stream = query::run(planner, &join).await?;
    let mut writes = Writes::default();
    let mut chunk: Vec<RecordBatch> = Vec::new();
    loop {
        let batch = stream.try_next().await?;
        let done = batch.is_none();
        chunk.extend(batch);
        let rows: usize = chunk.iter().map(RecordBatch::num_rows).sum();
        if rows > 0 && (done || rows >= CHUNK_ROWS) {
            let joined = concat_batches(&stream.schema(), &std::mem::take(&mut chunk))?;
            plan.decide(planner, &joined, &mut writes).await?;
        }
        if done {
            break;
        }
    }
    drop(stream);
    let batches = [&writes.deleted, &writes.updated, &writes.inserted];
    let rows = batches.into_iter().flatten().map(RecordBatch::num_rows);
    let count: usize = rows.sum();
    for addresses in &writes.deleted {
        transaction.delete(&table, addresses)?;
    }
    if let (Some(first), Some(addresses)) = (writes.updated.first(), writes.addresses.first()) {
        let rows = concat_batches(&first.schema(), &writes.updated)?;
        let addresses = concat_batches(&addresses.schema(), &writes.addresses)?;
        transaction.replace(&table, &addresses, &rows).await?;
    }
    if !writes.inserted.is_empty() {
        let mut bulk = transaction.begin_insert(&table).await?;
        for rows in &writes.inserted {
            let rows = with_schema(rows, table.schema.fields())?;
            transaction.add_rows(&mut bulk, rows).await?;
        }
        transaction.finish_insert(bulk).await?;
    }
    Ok(Changed {
        tag: format!("MERGE {count}"),
        returning: None,
    })
}

impl Plan {
    /// Adds what the clauses do with some rows of the join.
    async fn decide(
        &self,
        planner: &mut Planner,
        joined: &RecordBatch,
        writes: &mut Writes,
    ) -> Result<()> {
        let chosen = joined.columns().last();
        let chosen = chosen.ok_or_else(|| PgError::internal("clauses are not numbered"))?;
        let chosen = cast(chosen, &DataType::Int64)?;
        let chosen = chosen.as_primitive::<Int64Type>();
        for (at, clause) in (0_i64..).zip(&self.clauses) {
            let own = chosen.iter().map(|chosen| Some(chosen == Some(at)));
            let own = BooleanArray::from_iter(own);
            if own.true_count() == 0 || matches!(clause.action, Action::Nothing) {
                continue;
            }
            let own = filter_record_batch(joined, &own)?;
            if clause.of != Of::Source {
                self.once(&own, writes)?;
            }
            if matches!(clause.action, Action::Delete) {
                writes.deleted.push(self.target.addresses(&own)?);
                continue;
            }
            let pairs = self.pairs(&own)?;
            let Some(query) = self.clause_query(planner, clause, &pairs)? else {
                continue;
            };
            let (_, batches) = query::collect(planner, &query).await?;
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                let rows = |first| {
                    self.target
                        .rows(&planner.input, &planner.format, batch, first)
                };
                if clause.of == Of::Source {
                    writes.inserted.push(rows(0)?);
                } else {
                    let addresses = self.target.addresses(batch)?;
                    writes.updated.push(rows(addresses.num_columns())?);
                    writes.addresses.push(addresses);
                }
            }
        }
        Ok(())
    }

    /// 21000 where a row would be changed again.
    fn once(&self, own: &RecordBatch, writes: &mut Writes) -> Result<()> {
        let addresses = self.target.addresses(own)?;
        let keys = self.target.table.codec.encode_keys(&addresses)?;
        match keys.into_iter().all(|key| writes.seen.insert(key)) {
            true => Ok(()),
            false => Err(PgError::new(
                sqlstate::CARDINALITY_VIOLATION,
                "MERGE command cannot affect row a second time",
            )
            .with_hint("Ensure that not more than one source row matches any one target row.")),
        }
    }
}
