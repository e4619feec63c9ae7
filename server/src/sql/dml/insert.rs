//! INSERT, with defaults, ON CONFLICT and RETURNING.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, not, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::TryStreamExt;
use nyala_catalog::definitions::{Identity, Table};
use nyala_catalog::index::Index;
use nyala_catalog::types::SqlType;
use nyala_catalog::{Arbiter, Transaction};
use sqlparser::ast::{
    ConflictTarget, DoUpdate, Expr, Ident, Insert, ObjectName, OnConflict, OnConflictAction,
    OnInsert, Query, SelectItem, SetExpr, TableFactor, TableObject, Value, VisitMut, VisitorMut,
};

use super::change::{assigned_columns, new_row_items};
use super::joined::Joined;
use super::{
    Changed, Target, aliased, behind_with, internal_table, quoted, returning, select, select_of,
};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse::definitions::{OVERRIDING_SYSTEM, OVERRIDING_USER};
use crate::sql::planner::Planner;
use crate::sql::{checks, names, parameters, parse, query};

/// Rows that an INSERT collects before it writes them.
const BATCH_ROWS: usize = 65_536;

/// Internal names of the two sides of DO UPDATE.
const EXISTING: &str = "existing";
const EXCLUDED: &str = "excluded";

/// What statements call it.
const EXCLUDED_ALIAS: &str = "excluded";

/// Internal name of rows that are inserted in their order.
const ORDERED: &str = "ordered";

/// Column that pairs the two sides.
const PAIR: &str = "$pair";

pub(in crate::sql) fn target(planner: &Planner, insert: &Insert) -> Result<Target> {
    let TableObject::TableName(name) = &insert.table else {
        return Err(PgError::syntax("INSERT needs a table name"));
    };
    Target::find(
        planner,
        name,
        insert.table_alias.as_ref().map(|alias| &alias.alias),
    )
}

/// What an INSERT says of values for identity columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overriding {
    /// They are taken.
    System,
    /// They are left out.
    User,
}

fn overriding(insert: &Insert) -> Option<Overriding> {
    let last = insert.columns.last()?;
    match names::single_name(last).ok()?.as_str() {
        OVERRIDING_SYSTEM => Some(Overriding::System),
        OVERRIDING_USER => Some(Overriding::User),
        _ => None,
    }
}

/// The columns that the statement names.
fn named_columns(insert: &Insert) -> &[ObjectName] {
    match (overriding(insert), insert.columns.split_last()) {
        (Some(_), Some((_, columns))) => columns,
        _ => &insert.columns,
    }
}

/// Whether the statement names no columns.
pub(in crate::sql) fn has_no_columns(insert: &Insert) -> bool {
    named_columns(insert).is_empty()
}

/// Positions of the columns that the source gives, in its order.
pub(in crate::sql) fn given_columns(insert: &Insert, target: &Target) -> Result<Vec<usize>> {
    if has_no_columns(insert) {
        return Ok((0..target.table.def.columns.len()).collect());
    }
    let mut given = Vec::with_capacity(insert.columns.len());
    for name in named_columns(insert) {
        let name = names::single_name(name)?;
        let at = target.column(&name)?;
        if given.contains(&at) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        given.push(at);
    }
    Ok(given)
}

/// Gives parameters in VALUES and SET the types of their columns.
pub(super) fn type_parameters(insert: &mut Insert, table: &Arc<Table>) -> Result<()> {
    let target = Target::of(table);
    let given = given_columns(insert, &target)?;
    if let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|query| query.body.as_mut()) {
        for row in &mut values.rows {
            for (cell, at) in row.content.iter_mut().zip(&given) {
                if let Some(column) = table.def.columns.get(*at) {
                    parameters::cast_parameter(cell, &column.ty)?;
                }
            }
        }
    }
    if let Some(OnInsert::OnConflict(OnConflict {
        action: OnConflictAction::DoUpdate(update),
        ..
    })) = &mut insert.on
    {
        super::change::type_parameters(&mut update.assignments, table)?;
    }
    Ok(())
}

/// The expression of a column's default; NULL where it has none.
pub(in crate::sql) fn default_of(table: &Table, at: usize) -> Result<Expr> {
    match table
        .def
        .columns
        .get(at)
        .and_then(|column| column.default.as_ref())
    {
        Some(text) => parse::parse_expression(text),
        None => Ok(Expr::Value(Value::Null.with_empty_span())),
    }
}

/// Whether an expression is the keyword DEFAULT.
pub(in crate::sql) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A query for full rows of the table: the source's columns where it gives them, else defaults.
pub(super) fn source(planner: &Planner, insert: &Insert, table: &Arc<Table>) -> Result<Box<Query>> {
    let target = Target::of(table);
    let mut given = given_columns(insert, &target)?;
    let Some(source) = &insert.source else {
        let items = (0..table.def.columns.len())
            .map(|at| Ok(aliased(default_of(table, at)?, &format!("$column{at}"))))
            .collect::<Result<Vec<_>>>()?;
        return select(items, Vec::new(), None);
    };
    let mut source = source.clone();
    let overriding = overriding(insert);
    // Columns whose values are left out: all of them in VALUES are DEFAULT, or the statement says so.
    let mut defaulted: Vec<usize> = Vec::new();
    let is_identity = |at: usize| table.def.columns.get(at).and_then(|column| column.identity);
    let width = match source.body.as_mut() {
        SetExpr::Values(values) => {
            let width = values.rows.first().map_or(0, |row| row.content.len());
            for (cell, at) in given.iter().enumerate() {
                let mut cells = values.rows.iter().map(|row| row.content.get(cell));
                if cells.all(|cell| cell.is_some_and(is_default)) && is_identity(*at).is_some() {
                    defaulted.push(*at);
                }
            }
            for row in &mut values.rows {
                if row.content.len() != width {
                    return Err(PgError::syntax("VALUES lists must all be the same length"));
                }
                for (cell, at) in row.content.iter_mut().zip(&given) {
                    if defaulted.contains(at) {
                        *cell = Expr::Value(Value::Null.with_empty_span());
                    } else if is_default(cell) {
                        *cell = default_of(table, *at)?;
                    }
                    if let Some(column) = table.def.columns.get(*at)
                        && !matches!(column.ty, SqlType::Json | SqlType::Jsonb)
                    {
                        parameters::cast_literal(cell, &column.ty)?;
                    }
                }
            }
            width
        }
        // Columns of a query are known once it is planned.
        _ => planner
            .analysed(&source, Vec::new())?
            .schema()
            .fields()
            .len(),
    };
    if width > given.len() {
        return Err(PgError::syntax(
            "INSERT has more expressions than target columns",
        ));
    }
    if width < given.len() {
        if !has_no_columns(insert) {
            return Err(PgError::syntax(
                "INSERT has more target columns than expressions",
            ));
        }
        given.truncate(width);
    }
    for at in &given {
        match (is_identity(*at), overriding) {
            (Some(_), Some(Overriding::User)) => defaulted.push(*at),
            (Some(Identity::Always), None) if !defaulted.contains(at) => {
                let column = table.def.columns.get(*at).map_or("", |column| &column.name);
                return Err(PgError::new(
                    sqlstate::GENERATED_ALWAYS,
                    format!("cannot insert a non-DEFAULT value into column \"{column}\""),
                )
                .with_detail(format!(
                    "Column \"{column}\" is an identity column defined as GENERATED ALWAYS."
                ))
                .with_hint("Use OVERRIDING SYSTEM VALUE to override."));
            }
            _ => {}
        }
    }
    let names: Vec<String> = (0..width).map(|at| format!("\"$given{at}\"")).collect();
    let text = format!(
        "SELECT NULL FROM (SELECT NULL) AS \"$source\" ({})",
        names.join(", ")
    );
    let mut wrapper = parse::parse_query(&text)?;
    let select = select_of(&mut wrapper)?;
    if let Some(TableFactor::Derived { subquery, .. }) =
        select.from.first_mut().map(|from| &mut from.relation)
    {
        *subquery = source;
    }
    select.projection = (0..table.def.columns.len())
        .map(|at| {
            let slot = given.iter().position(|given| *given == at);
            let expr = match slot.filter(|_| !defaulted.contains(&at)) {
                Some(slot) => Expr::CompoundIdentifier(vec![
                    quoted("$source"),
                    quoted(&format!("$given{slot}")),
                ]),
                None => default_of(table, at)?,
            };
            Ok(aliased(expr, &format!("$column{at}")))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(wrapper)
}

pub(super) async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    insert: &Insert,
) -> Result<Changed> {
    let target = target(planner, insert)?;
    checks::prepare(planner, &target.table)?;
    let mut conflict = match &insert.on {
        None => None,
        Some(OnInsert::OnConflict(conflict)) => Some(Upsert {
            action: &conflict.action,
            arbiters: arbiters(conflict, &target.table)?,
            seen: HashSet::new(),
        }),
        Some(_) => {
            return Err(PgError::syntax(
                "ON DUPLICATE KEY is not PostgreSQL's syntax",
            ));
        }
    };
    let ordered = in_order(planner, insert, &target.table).await?;
    let query = source(planner, ordered.as_ref().unwrap_or(insert), &target.table)?;
    let partitions = planner.state.config().target_partitions();
    if ordered.is_some() {
        let config = planner.state.config_mut().options_mut();
        config.execution.target_partitions = 1;
    }
    let stream = query::run(planner, &query).await;
    let config = planner.state.config_mut().options_mut();
    config.execution.target_partitions = partitions;
    let mut stream = stream?;
    let mut bulk = transaction.begin_insert(&target.table).await?;
    let mut written = Vec::new();
    let mut count = 0;
    let mut pending: Vec<RecordBatch> = Vec::new();
    loop {
        let batch = stream.try_next().await?;
        let done = batch.is_none();
        if let Some(batch) = batch {
            pending.push(target.rows(&planner.input, &planner.format, &batch, 0)?);
        }
        let rows: usize = pending.iter().map(RecordBatch::num_rows).sum();
        if rows > 0 && (done || rows >= BATCH_ROWS) {
            let schema = Arc::clone(&target.table.schema);
            let batch = with_schema(&concat(&pending)?, schema.fields())?;
            pending.clear();
            let affected = match &mut conflict {
                None => {
                    transaction.add_rows(&mut bulk, batch.clone()).await?;
                    vec![batch]
                }
                Some(conflict) => upsert(planner, transaction, &target, conflict, batch).await?,
            };
            count += affected.iter().map(RecordBatch::num_rows).sum::<usize>();
            if insert.returning.is_some() {
                written.extend(affected);
            }
        }
        if done {
            break;
        }
    }
    transaction.finish_insert(bulk).await?;
    let (items, schema) = (insert.returning.as_ref(), Arc::clone(&target.table.schema));
    let joined = Joined::default();
    let returning = returning(planner, &target, items, &joined, written, schema).await?;
    Ok(Changed {
        tag: format!("INSERT 0 {count}"),
        returning,
    })
}

/// The statement with the rows of its source in the place of the source, if these have an order and values of sequences go
/// by it. The planner gives a subquery's order up.
async fn in_order(planner: &mut Planner, insert: &Insert, table: &Table) -> Result<Option<Insert>> {
    let Some(source) = &insert.source else {
        return Ok(None);
    };
    if source.order_by.is_none() || matches!(source.body.as_ref(), SetExpr::Values(_)) {
        return Ok(None);
    }
    let given = table
        .def
        .columns
        .iter()
        .filter_map(|column| column.default.as_ref());
    let mut volatile = false;
    for default in given {
        let expr = planner.expression(default, &datafusion::common::DFSchema::empty())?;
        volatile |= expr.is_volatile();
    }
    if !volatile {
        return Ok(None);
    }
    let (schema, rows) = query::collect(planner, source).await?;
    planner.add_transient(ORDERED, rows, schema)?;
    let all = SelectItem::Wildcard(sqlparser::ast::WildcardAdditionalOptions::default());
    let from = vec![internal_table(ORDERED, &quoted(ORDERED))?];
    let mut insert = insert.clone();
    insert.source = Some(select(vec![all], from, None)?);
    Ok(Some(insert))
}

fn concat(batches: &[RecordBatch]) -> Result<RecordBatch> {
    match batches {
        [one] => Ok(one.clone()),
        [first, ..] => Ok(arrow::compute::concat_batches(&first.schema(), batches)?),
        [] => Err(PgError::internal("no rows to write")),
    }
}

/// The batch with all columns nullable: constraints are checked where rows are written.
pub(super) fn with_schema(
    batch: &RecordBatch,
    fields: &arrow::datatypes::Fields,
) -> Result<RecordBatch> {
    let fields: Vec<_> = fields
        .iter()
        .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
        .collect();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        batch.columns().to_vec(),
    )?)
}

/// What decides about conflicts: the unique constraint or index that ON CONFLICT names; without a name all of the table's.
pub(in crate::sql) fn arbiters(conflict: &OnConflict, table: &Table) -> Result<Vec<Arbiter>> {
    let key = table.def.primary_key.as_ref();
    let unique = || table.indexes.iter().filter(|index| index.def.unique);
    let of_index = |index: &Arc<Index>| Arbiter::Index(Arc::clone(index));
    let no_match = || {
        PgError::new(
            sqlstate::INVALID_COLUMN_REFERENCE,
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        )
    };
    match &conflict.conflict_target {
        None => match conflict.action {
            OnConflictAction::DoNothing => {
                let key = key.map(|_| Arbiter::Key);
                Ok(key.into_iter().chain(unique().map(of_index)).collect())
            }
            OnConflictAction::DoUpdate(_) => Err(PgError::syntax(
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .with_hint("For example, ON CONFLICT (column_name).")),
        },
        Some(ConflictTarget::Columns(columns)) => {
            let mut named: Vec<usize> = Vec::with_capacity(columns.len());
            let target = |name: &str| table.def.columns.iter().position(|c| c.name == name);
            for column in columns {
                let name = names::fold(column);
                named.push(target(&name).ok_or_else(|| {
                    PgError::new(
                        sqlstate::UNDEFINED_COLUMN,
                        format!("column \"{name}\" does not exist"),
                    )
                })?);
            }
            let sorted = |mut columns: Vec<usize>| {
                columns.sort_unstable();
                columns.dedup();
                columns
            };
            let named = sorted(named);
            if key.is_some_and(|key| sorted(key.columns.clone()) == named) {
                return Ok(vec![Arbiter::Key]);
            }
            let fits = |index: &&Arc<Index>| {
                index.is_ready() && sorted(index.positions().collect()) == named
            };
            let index = unique().find(fits).ok_or_else(no_match)?;
            Ok(vec![of_index(index)])
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            let name = names::single_name(name)?;
            if key.is_some_and(|key| key.name == name) {
                return Ok(vec![Arbiter::Key]);
            }
            let mut constraints = unique().filter(|index| index.def.constraint_oid.is_some());
            match constraints.find(|index| index.def.name == name) {
                Some(index) => Ok(vec![of_index(index)]),
                None => Err(PgError::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!(
                        "constraint \"{name}\" for table \"{}\" does not exist",
                        table.def.name
                    ),
                )),
            }
        }
    }
}

/// An ON CONFLICT clause with what decides about conflicts.
struct Upsert<'a> {
    action: &'a OnConflictAction,
    arbiters: Vec<Arbiter>,
    /// What the arbiter compares of the rows that DO UPDATE has proposed.
    seen: HashSet<Box<[u8]>>,
}

/// Inserts the rows that conflict with nothing and does what ON CONFLICT says with the others. Returns the rows
/// inserted and updated.
async fn upsert(
    planner: &mut Planner,
    transaction: &mut Transaction,
    target: &Target,
    upsert: &mut Upsert<'_>,
    batch: RecordBatch,
) -> Result<Vec<RecordBatch>> {
    let table = Arc::clone(&target.table);
    for column in table.key_columns() {
        // A NULL key is an error before it can conflict.
        if batch
            .columns()
            .get(*column)
            .is_some_and(|keys| keys.null_count() > 0)
        {
            transaction.insert(&table, &batch).await?;
        }
    }
    match (upsert.action, upsert.arbiters.as_slice()) {
        (OnConflictAction::DoUpdate(update), [arbiter]) => {
            let seen = &mut upsert.seen;
            insert_or_update(planner, transaction, target, arbiter, update, seen, batch).await
        }
        (OnConflictAction::DoNothing, arbiters) => {
            insert_or_nothing(transaction, &table, arbiters, batch).await
        }
        _ => Err(PgError::internal("DO UPDATE without one arbiter")),
    }
}

async fn insert_or_nothing(
    transaction: &mut Transaction,
    table: &Table,
    arbiters: &[Arbiter],
    batch: RecordBatch,
) -> Result<Vec<RecordBatch>> {
    let mut wanted = vec![true; batch.num_rows()];
    let mut values = Vec::with_capacity(arbiters.len());
    for arbiter in arbiters {
        let conflicting = transaction.conflicting(table, arbiter, &batch).await?;
        for (wanted, found) in wanted.iter_mut().zip(conflicting.found.iter()) {
            *wanted &= found != Some(true);
        }
        values.push(transaction.arbiter_values(table, arbiter, &batch)?);
    }
    // Among the rows themselves the first one of a value is inserted.
    let mut taken: Vec<HashSet<Box<[u8]>>> = vec![HashSet::new(); arbiters.len()];
    for (at, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| **wanted) {
        let own: Vec<_> = values.iter().map(|values| values.get(at)).collect();
        let value = |at: usize| own.get(at).copied().flatten().and_then(Option::as_ref);
        let mut sets = taken.iter().enumerate();
        *wanted = !sets.any(|(at, taken)| value(at).is_some_and(|value| taken.contains(value)));
        if *wanted {
            for (at, taken) in taken.iter_mut().enumerate() {
                taken.extend(value(at).cloned());
            }
        }
    }
    let new_rows = filter_record_batch(&batch, &BooleanArray::from(wanted))?;
    if new_rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    transaction.insert(table, &new_rows).await?;
    Ok(vec![new_rows])
}

async fn insert_or_update(
    planner: &mut Planner,
    transaction: &mut Transaction,
    target: &Target,
    arbiter: &Arbiter,
    update: &DoUpdate,
    seen: &mut HashSet<Box<[u8]>>,
    batch: RecordBatch,
) -> Result<Vec<RecordBatch>> {
    let table = Arc::clone(&target.table);
    let values = transaction.arbiter_values(&table, arbiter, &batch)?;
    if !values.into_iter().flatten().all(|value| seen.insert(value)) {
        return Err(PgError::new(
            sqlstate::CARDINALITY_VIOLATION,
            "ON CONFLICT DO UPDATE command cannot affect row a second time",
        )
        .with_hint(
            "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
        ));
    }
    let existing = transaction.conflicting(&table, arbiter, &batch).await?;
    let new_rows = filter_record_batch(&batch, &not(&existing.found)?)?;
    // Rows written, each with its place in the batch.
    let mut affected = Vec::new();
    let mut places: Vec<u64> = Vec::new();
    let place_of = |found: bool| {
        let places = (0_u64..).zip(existing.found.iter());
        places.filter_map(move |(at, is)| (is == Some(found)).then_some(at))
    };
    if new_rows.num_rows() > 0 {
        transaction.insert(&table, &new_rows).await?;
        places.extend(place_of(false));
        affected.push(new_rows);
    }
    if existing.rows.num_rows() > 0 {
        let excluded = filter_record_batch(&batch, &existing.found)?;
        let rows = do_update(planner, target, update, &existing.rows, &excluded).await?;
        let existing_places: Vec<u64> = place_of(true).collect();
        for (pairs, addresses, rows) in rows {
            transaction.replace(&table, &addresses, &rows).await?;
            let places_of_pairs = pairs
                .values()
                .iter()
                .filter_map(|pair| existing_places.get(usize::try_from(*pair).ok()?));
            places.extend(places_of_pairs);
            affected.push(rows);
        }
    }
    let [first, _, ..] = affected.as_slice() else {
        return Ok(affected);
    };
    // RETURNING gives rows in the order they were proposed in.
    let rows = arrow::compute::concat_batches(&first.schema(), &affected)?;
    let order = sort_to_indices(&UInt64Array::from(places), None, None)?;
    Ok(vec![take_record_batch(&rows, &order)?])
}

/// The rows that DO UPDATE makes of existing rows and those proposed, with the numbers of the pairs they were made of
/// and their addresses.
async fn do_update(
    planner: &mut Planner,
    target: &Target,
    update: &DoUpdate,
    existing: &RecordBatch,
    excluded: &RecordBatch,
) -> Result<Vec<(Int64Array, RecordBatch, RecordBatch)>> {
    let as_it_is = |name: &str| name.to_string();
    let existing = numbered(existing, as_it_is)?;
    let excluded = numbered(excluded, excluded_name)?;
    for (name, rows) in [(EXISTING, existing), (EXCLUDED, excluded)] {
        planner.add_transient(name, vec![rows.clone()], rows.schema())?;
    }
    let excluded_alias = Ident::new(EXCLUDED_ALIAS);
    let from = vec![
        internal_table(EXISTING, &target.alias)?,
        internal_table(EXCLUDED, &excluded_alias)?,
    ];
    let mut update = update.clone();
    let mut rename = RenameExcluded { target };
    let assigned = assigned_columns(&update.assignments, target)?;
    for assignment in &mut update.assignments {
        let _ = assignment.value.visit(&mut rename);
    }
    let pair = Expr::BinaryOp {
        left: Box::new(target.reference(PAIR)),
        op: sqlparser::ast::BinaryOperator::Eq,
        right: Box::new(Expr::CompoundIdentifier(vec![excluded_alias, quoted(PAIR)])),
    };
    let condition = match update.selection.take() {
        None => pair,
        Some(mut condition) => {
            let _ = condition.visit(&mut rename);
            Expr::BinaryOp {
                left: Box::new(pair),
                op: sqlparser::ast::BinaryOperator::And,
                right: Box::new(Expr::Nested(Box::new(condition))),
            }
        }
    };
    let mut items: Vec<SelectItem> = target.address_items();
    let addresses = items.len();
    items.extend(new_row_items(target, &update.assignments, &assigned)?);
    items.push(aliased(target.reference(PAIR), PAIR));
    let query = behind_with(planner, select(items, from, Some(condition))?);
    let (_, batches) = query::collect(planner, &query).await?;
    batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .map(|batch| {
            let pairs = batch
                .columns()
                .last()
                .and_then(|column| column.as_primitive_opt::<Int64Type>())
                .ok_or_else(|| PgError::internal("pairs are not numbered"))?;
            Ok((
                pairs.clone(),
                target.addresses(batch)?,
                target.rows(&planner.input, &planner.format, batch, addresses)?,
            ))
        })
        .collect()
}

/// Rows with their numbers behind the columns, which get other names.
fn numbered(rows: &RecordBatch, name: impl Fn(&str) -> String) -> Result<RecordBatch> {
    let count = i64::try_from(rows.num_rows())
        .map_err(|_| PgError::internal("too many rows in one batch"))?;
    let schema = rows.schema();
    let fields = schema.fields().iter();
    let mut fields: Vec<Arc<Field>> = fields
        .map(|field| Arc::new(field.as_ref().clone().with_name(name(field.name()))))
        .collect();
    fields.push(Arc::new(Field::new(PAIR, DataType::Int64, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef);
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// What a column of `excluded` is called, so that a name without qualifier means that of a subquery's table, or the existing
/// row's, and never this.
fn excluded_name(column: &str) -> String {
    format!("$excluded {column}")
}

/// Gives the columns of `excluded` the names that they have in DO UPDATE.
struct RenameExcluded<'a> {
    target: &'a Target,
}

impl VisitorMut for RenameExcluded<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> std::ops::ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [relation, column] = parts.as_mut_slice()
            && names::fold(relation) == EXCLUDED_ALIAS
        {
            let name = names::fold(column);
            if self.target.column(&name).is_ok() {
                *column = quoted(&excluded_name(&name));
            }
        }
        std::ops::ControlFlow::Continue(())
    }
}
