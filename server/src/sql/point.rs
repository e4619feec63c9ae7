//! Statements about one row, named by its whole primary key, about the rows of a short list of keys, or about the few that have
//! certain values in an index: compiled once, then run without planning.
//!
//! `SELECT … FROM t WHERE id = $1`, `… id IN ($1, $2)`, `… id = ANY ($1)`, `UPDATE … WHERE id = $1`, `DELETE … WHERE id = $1` and
//! `INSERT … VALUES (one row)` with or without ON CONFLICT are recognised by their syntax tree when they are prepared. Their
//! expressions become physical expressions over a row: the table's columns, then the parameters as columns `$1`, `$2`, …. To run
//! one is to evaluate the key, look the row up, and evaluate the rest over it. Everything else, and what a compiled form would get
//! wrong (functions of the time, subqueries, RETURNING of more than columns), goes through the planner; the answers are the same.
//!
//! A compiled statement is right as long as definitions and the settings it was compiled under stay the same
//! ([`PointStatement::is_of_epoch`], [`PointStatement::is_under`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use nyala_catalog::definitions::{Definitions, Table};
use nyala_catalog::{Catalog, OpenRow, Transaction};

use crate::error::{PgError, Result};
use crate::pgwire::decode::InputSettings;
use crate::pgwire::encode::FormatSettings;
use crate::sql::dml::{Changed, Target, quoted};

mod compile;
mod indexed;
mod listed;
mod returning;

pub use compile::compile;
use indexed::IndexAccess;
use listed::KeyList;
use returning::Returning;

/// A statement about one row.
pub struct PointStatement {
    table: Arc<Table>,
    kind: Kind,
    returning: Option<Returning>,
    /// Schema of the parameters as one row.
    parameters: SchemaRef,
    definitions: Arc<Definitions>,
    /// Epoch in which these definitions were the newest, if they were.
    epoch: Option<u64>,
    /// Version of the session's settings.
    settings: u64,
    input: InputSettings,
    format: FormatSettings,
}

impl std::fmt::Debug for PointStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PointStatement")
            .field("table", &self.table.def.name)
            .finish_non_exhaustive()
    }
}

enum Kind {
    Select {
        access: Access,
        row: RowExprs,
        /// Result columns, as the client is told.
        schema: SchemaRef,
    },
    Update {
        key: Key,
        row: RowExprs,
    },
    Delete {
        key: Key,
        row: RowExprs,
    },
    Insert {
        /// A value for each column, over the parameters.
        values: Vec<Arc<dyn PhysicalExpr>>,
        conflict: Conflict,
    },
}

/// What an INSERT does with a key that exists.
enum Conflict {
    Error,
    Nothing,
    /// For each column: where its new value comes from.
    Update(Vec<Source>),
}

enum Source {
    /// The existing row.
    Existing,
    /// The row proposed.
    Excluded(usize),
}

/// How a SELECT finds its rows.
enum Access {
    /// One row by its primary key.
    Key(Key),
    /// Some by their primary keys.
    Keys(KeyList),
    /// Some by an index.
    Index(IndexAccess),
}

/// Expressions for the columns that rows are found by, over the parameters.
struct Key {
    /// Positions of the columns.
    columns: Vec<usize>,
    values: Vec<Arc<dyn PhysicalExpr>>,
}

/// Expressions over the row and the parameters.
struct RowExprs {
    /// Columns of the table that they read.
    columns: Vec<usize>,
    /// Parameters that they read, by position.
    parameters: Vec<usize>,
    /// Schema of those columns, then of those parameters.
    schema: SchemaRef,
    /// Which row counts, besides its key.
    condition: Option<Arc<dyn PhysicalExpr>>,
    items: Vec<Arc<dyn PhysicalExpr>>,
}

impl PointStatement {
    /// Whether it was compiled over these definitions.
    pub fn is_over(&self, definitions: &Arc<Definitions>) -> bool {
        Arc::ptr_eq(&self.definitions, definitions)
    }

    /// Whether its definitions are still the newest.
    pub fn is_of_epoch(&self, epoch: u64) -> bool {
        self.epoch == Some(epoch)
    }

    /// Whether the settings are still those it was compiled under.
    pub fn is_under(&self, settings: u64) -> bool {
        self.settings == settings
    }

    /// Whether it only reads.
    pub fn is_select(&self) -> bool {
        matches!(self.kind, Kind::Select { .. })
    }

    /// The word that names the statement's kind.
    pub fn verb(&self) -> &'static str {
        match self.kind {
            Kind::Select { .. } => "SELECT",
            Kind::Update { .. } => "UPDATE",
            Kind::Delete { .. } => "DELETE",
            Kind::Insert { .. } => "INSERT",
        }
    }

    fn parameter_row(&self, values: &[ScalarValue]) -> Result<RecordBatch> {
        let columns = values
            .iter()
            .map(ScalarValue::to_array)
            .collect::<Result<Vec<_>, _>>()?;
        one_row(&self.parameters, columns)
    }

    /// Runs a SELECT as a transaction of its own, if the row store alone can answer it; else `None`.
    pub fn select_now(
        &self,
        catalog: &Catalog,
        values: &[ScalarValue],
    ) -> Result<Option<RecordBatch>> {
        let Kind::Select {
            access,
            row,
            schema,
        } = &self.kind
        else {
            return Err(PgError::internal("not a SELECT"));
        };
        let key = match access {
            Access::Key(key) => key,
            Access::Keys(list) => return self.listed_now(catalog, list, row, schema, values),
            Access::Index(index) => return self.find_now(catalog, index, row, schema, values),
        };
        let parameters = self.parameter_row(values)?;
        let Some(key) = key.evaluate(&self.table, &parameters)? else {
            return Ok(Some(RecordBatch::new_empty(Arc::clone(schema))));
        };
        match catalog.open_row(&self.table, &key, &row.columns)? {
            OpenRow::Found(found) => Ok(Some(row.result(schema, found.columns(), &parameters)?)),
            // The row may be closed.
            OpenRow::None if self.table.is_hybrid() => Ok(None),
            OpenRow::None => Ok(Some(RecordBatch::new_empty(Arc::clone(schema)))),
            // The table was altered since the statement was found to be right.
            OpenRow::Newer => Ok(None),
        }
    }

    /// Runs a SELECT in a transaction; `None` if it finds so many rows that it has to be planned.
    pub async fn select(
        &self,
        transaction: &Transaction,
        values: &[ScalarValue],
    ) -> Result<Option<RecordBatch>> {
        let Kind::Select {
            access,
            row,
            schema,
        } = &self.kind
        else {
            return Err(PgError::internal("not a SELECT"));
        };
        let key = match access {
            Access::Key(key) => key,
            Access::Keys(list) => {
                let rows = self.listed_in(transaction, list, row, schema, values);
                return rows.await;
            }
            Access::Index(index) => return self.find_in(transaction, index, row, schema, values),
        };
        let parameters = self.parameter_row(values)?;
        match self.existing(transaction, key, &parameters).await? {
            Some(found) => {
                let found = found.project(&row.columns)?;
                Ok(Some(row.result(schema, found.columns(), &parameters)?))
            }
            None => Ok(Some(RecordBatch::new_empty(Arc::clone(schema)))),
        }
    }

    /// Runs a writing statement.
    pub async fn write(
        &self,
        transaction: &mut Transaction,
        values: &[ScalarValue],
    ) -> Result<Changed> {
        let parameters = self.parameter_row(values)?;
        match &self.kind {
            Kind::Select { .. } => Err(PgError::internal("SELECT does not write")),
            Kind::Update { key, row } => {
                let Some(found) = self.existing(transaction, key, &parameters).await? else {
                    return self.changed("UPDATE 0", None);
                };
                let read = found.project(&row.columns)?;
                let Some(items) = row.evaluate(read.columns(), &parameters)? else {
                    return self.changed("UPDATE 0", None);
                };
                let new = self.rows(items)?;
                let addresses = self.table.codec.project_key(&found)?;
                transaction.replace(&self.table, &addresses, &new).await?;
                self.changed("UPDATE 1", Some(&new))
            }
            Kind::Delete { key, row } => {
                let Some(found) = self.existing(transaction, key, &parameters).await? else {
                    return self.changed("DELETE 0", None);
                };
                let read = found.project(&row.columns)?;
                if row.evaluate(read.columns(), &parameters)?.is_none() {
                    return self.changed("DELETE 0", None);
                }
                let addresses = self.table.codec.project_key(&found)?;
                transaction.delete(&self.table, &addresses)?;
                self.changed("DELETE 1", Some(&found))
            }
            Kind::Insert { values, conflict } => {
                let items = evaluate(values, &parameters)?;
                let new = self.rows(items)?;
                match self.insert(transaction, new, conflict).await? {
                    Some(row) => self.changed("INSERT 0 1", Some(&row)),
                    None => self.changed("INSERT 0 0", None),
                }
            }
        }
    }

    /// What a statement did that wrote or deleted a row, or none.
    fn changed(&self, tag: &str, row: Option<&RecordBatch>) -> Result<Changed> {
        Returning::changed(self.returning.as_ref(), tag.to_string(), row)
    }

    /// Inserts a row, or what ON CONFLICT makes of it; `None` if that is nothing.
    async fn insert(
        &self,
        transaction: &mut Transaction,
        new: RecordBatch,
        conflict: &Conflict,
    ) -> Result<Option<RecordBatch>> {
        let table = &self.table;
        let keys = table.key_columns().iter();
        let null_key = keys
            .filter_map(|at| new.columns().get(*at))
            .any(|column| column.null_count() > 0);
        // A NULL key is an error before it can conflict.
        if null_key || matches!(conflict, Conflict::Error) {
            transaction.insert(table, &new).await?;
            return Ok(Some(new));
        }
        let addresses = table.codec.project_key(&new)?;
        let existing = transaction.existing(table, &addresses).await?;
        if existing.rows.num_rows() == 0 {
            transaction.insert(table, &new).await?;
            return Ok(Some(new));
        }
        let Conflict::Update(sources) = conflict else {
            return Ok(None);
        };
        let column = |batch: &RecordBatch, at: usize| {
            let column = batch.columns().get(at).cloned();
            column.ok_or_else(|| PgError::internal("row without a column"))
        };
        let columns = sources
            .iter()
            .enumerate()
            .map(|(at, source)| match source {
                Source::Existing => column(&existing.rows, at),
                Source::Excluded(from) => column(&new, *from),
            })
            .collect::<Result<Vec<_>>>()?;
        let row = RecordBatch::try_new(new.schema(), columns)?;
        transaction.replace(table, &addresses, &row).await?;
        Ok(Some(row))
    }

    /// The row under the statement's key, if it exists.
    async fn existing(
        &self,
        transaction: &Transaction,
        key: &Key,
        parameters: &RecordBatch,
    ) -> Result<Option<RecordBatch>> {
        let Some(key) = key.evaluate(&self.table, parameters)? else {
            return Ok(None);
        };
        let addresses = RecordBatch::try_new(self.table.codec.address_schema(), key)?;
        let existing = transaction.existing(&self.table, &addresses).await?;
        Ok((existing.rows.num_rows() > 0).then_some(existing.rows))
    }

    /// A full row of the table from the values of its columns.
    fn rows(&self, items: Vec<ArrayRef>) -> Result<RecordBatch> {
        let fields: Vec<_> = items
            .iter()
            .zip(self.table.schema.fields())
            .map(
                |(values, field)| match values.data_type() == field.data_type() {
                    true => Arc::new(field.as_ref().clone().with_nullable(true)),
                    false => Arc::new(arrow::datatypes::Field::new(
                        field.name(),
                        values.data_type().clone(),
                        true,
                    )),
                },
            )
            .collect();
        let result = RecordBatch::try_new(Arc::new(Schema::new(fields)), items)?;
        let target = Target {
            table: Arc::clone(&self.table),
            alias: quoted(&self.table.def.name),
        };
        target.rows(&self.input, &self.format, &result, 0)
    }
}

impl Key {
    /// The columns of the rows meant, one value each; `None` if no row can have them.
    fn evaluate(&self, table: &Table, parameters: &RecordBatch) -> Result<Option<Vec<ArrayRef>>> {
        let mut columns = evaluate(&self.values, parameters)?;
        for (values, at) in columns.iter_mut().zip(&self.columns) {
            let Some(field) = table.schema.fields().get(*at) else {
                return Err(PgError::internal("key column outside the table"));
            };
            if values.data_type() != field.data_type() {
                // A number that the column cannot hold becomes NULL, and matches nothing.
                let cast = cast_with_options(values, field.data_type(), &CastOptions::default());
                *values = cast?;
            }
            if values.is_null(0) {
                return Ok(None);
            }
        }
        Ok(Some(columns))
    }
}

impl RowExprs {
    /// The items over one row; `None` if the row fails the condition.
    fn evaluate(
        &self,
        row: &[ArrayRef],
        parameters: &RecordBatch,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let given = parameters.columns();
        let given = self.parameters.iter().filter_map(|at| given.get(*at));
        let columns = row.iter().chain(given).cloned().collect();
        let input = one_row(&self.schema, columns)?;
        if let Some(condition) = &self.condition {
            let truth = condition.evaluate(&input)?.into_array(1)?;
            let holds = truth
                .as_boolean_opt()
                .is_some_and(|truth| truth.is_valid(0) && truth.value(0));
            if !holds {
                return Ok(None);
            }
        }
        Ok(Some(evaluate(&self.items, &input)?))
    }

    /// The result of a SELECT.
    fn result(
        &self,
        schema: &SchemaRef,
        row: &[ArrayRef],
        parameters: &RecordBatch,
    ) -> Result<RecordBatch> {
        let Some(mut items) = self.evaluate(row, parameters)? else {
            return Ok(RecordBatch::new_empty(Arc::clone(schema)));
        };
        for (item, field) in items.iter_mut().zip(schema.fields()) {
            if item.data_type() != field.data_type() {
                *item = arrow::compute::cast(item, field.data_type())?;
            }
        }
        one_row(schema, items)
    }

    /// The results over several rows.
    fn results(
        &self,
        schema: &SchemaRef,
        rows: &RecordBatch,
        parameters: &[ScalarValue],
    ) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        for value in self.parameters.iter().filter_map(|at| parameters.get(*at)) {
            columns.push(value.to_array_of_size(count)?);
        }
        let mut input = batch(&self.schema, columns, count)?;
        if let Some(condition) = &self.condition {
            let truth = condition.evaluate(&input)?.into_array(count)?;
            if let Some(truth) = truth.as_boolean_opt() {
                input = filter_record_batch(&input, truth)?;
            }
        }
        let count = input.num_rows();
        let mut items = Vec::with_capacity(self.items.len());
        for (item, field) in self.items.iter().zip(schema.fields()) {
            let item = item.evaluate(&input)?.into_array(count)?;
            items.push(match item.data_type() == field.data_type() {
                true => item,
                false => arrow::compute::cast(&item, field.data_type())?,
            });
        }
        batch(schema, items, count)
    }
}

fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], row: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs
        .iter()
        .map(|expr| Ok(expr.evaluate(row)?.into_array(1)?))
        .collect()
}

fn one_row(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    batch(schema, columns, 1)
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
