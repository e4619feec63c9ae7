//! SELECT of the rows whose keys are in a list: `id IN ($1, $2)`, `id = ANY ($1)`, `a = $1 AND b IN (1, 2)`.
//!
//! A key that comes twice in the list is looked for once, and NULL is nobody's key. Long lists are left to the planner.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options, concat, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use nyala_catalog::definitions::Table;
use nyala_catalog::{Catalog, Transaction};

use super::{Key, PointStatement, RowExprs, evaluate};
use crate::error::{PgError, Result};

/// Keys that are looked for one by one.
pub(super) const KEYS_MAX: usize = 100;

/// Values of the columns of a key or an index, one of them out of a list.
pub(super) struct KeyList {
    /// The columns that have one value.
    pub(super) key: Key,
    /// The other column.
    pub(super) column: usize,
    /// Its place among the columns.
    pub(super) slot: usize,
    pub(super) list: List,
}

/// Expressions for the values in the list, over the parameters.
pub(super) enum List {
    /// `IN (…)`.
    Values(Vec<Arc<dyn PhysicalExpr>>),
    /// `= ANY (…)`.
    Array(Arc<dyn PhysicalExpr>),
}

impl KeyList {
    /// The columns of the keys meant, none of which comes twice; `None` if they are too many.
    pub(super) fn evaluate(
        &self,
        table: &Table,
        parameters: &RecordBatch,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let wanted = data_type(table, self.column)?;
        let Some(listed) = self.list.evaluate(wanted, parameters)? else {
            return Ok(None);
        };
        let one = match self.key.columns.is_empty() {
            true => Some(Vec::new()),
            false => self.key.evaluate(table, parameters)?,
        };
        let Some(one) = one else {
            let others = self.key.columns.iter();
            let mut columns = others
                .map(|at| Ok(new_empty_array(data_type(table, *at)?)))
                .collect::<Result<Vec<_>>>()?;
            columns.insert(self.slot, new_empty_array(wanted));
            return Ok(Some(columns));
        };
        let always_first = UInt64Array::from_value(0, listed.len());
        let mut columns = one
            .iter()
            .map(|values| take(values, &always_first, None))
            .collect::<Result<Vec<_>, _>>()?;
        columns.insert(self.slot, listed);
        Ok(Some(columns))
    }
}

impl List {
    /// The values, none of which is NULL or comes twice; `None` if they are too many.
    fn evaluate(&self, wanted: &DataType, parameters: &RecordBatch) -> Result<Option<ArrayRef>> {
        let values = match self {
            Self::Values(values) => {
                let values = evaluate(values, parameters)?;
                let values = values.iter().map(|value| cast(value, wanted));
                let values = values.collect::<Result<Vec<_>>>()?;
                concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>())?
            }
            Self::Array(array) => {
                let array = array.evaluate(parameters)?.into_array(1)?;
                match array.as_list_opt::<i32>().filter(|list| list.is_valid(0)) {
                    Some(list) => list.value(0),
                    None => new_empty_array(wanted),
                }
            }
        };
        if values.len() > KEYS_MAX {
            return Ok(None);
        }
        let values = cast(&values, wanted)?;
        let mut seen = HashSet::with_capacity(values.len());
        let mut first = Vec::with_capacity(values.len());
        for at in (0..values.len()).filter(|at| values.is_valid(*at)) {
            if seen.insert(ScalarValue::try_from_array(&values, at)?) {
                first.push(at as u64);
            }
        }
        match first.len() == values.len() {
            true => Ok(Some(values)),
            false => Ok(Some(take(&values, &UInt64Array::from(first), None)?)),
        }
    }
}

/// A number that the column cannot hold becomes NULL, and matches nothing.
fn cast(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match values.data_type() == wanted {
        true => Ok(Arc::clone(values)),
        false => Ok(cast_with_options(values, wanted, &CastOptions::default())?),
    }
}

fn data_type(table: &Table, column: usize) -> Result<&DataType> {
    let field = table.schema.fields().get(column);
    let field = field.ok_or_else(|| PgError::internal("key column outside the table"))?;
    Ok(field.data_type())
}

impl PointStatement {
    /// Runs a SELECT by a list of keys as a transaction of its own, if the row store alone can answer it.
    pub(super) fn listed_now(
        &self,
        catalog: &Catalog,
        list: &KeyList,
        row: &RowExprs,
        schema: &SchemaRef,
        values: &[ScalarValue],
    ) -> Result<Option<RecordBatch>> {
        let Some(addresses) = self.addresses(list, values)? else {
            return Ok(None);
        };
        let found = catalog.open_rows(&self.table, &addresses, &row.columns)?;
        // A table that was emptied meanwhile may have lost some of its rows already.
        match found.filter(|_| self.is_of_epoch(catalog.definitions_epoch())) {
            Some(found) => Ok(Some(row.results(schema, &found, values)?)),
            None => Ok(None),
        }
    }

    /// The same in a transaction.
    pub(super) async fn listed_in(
        &self,
        transaction: &Transaction,
        list: &KeyList,
        row: &RowExprs,
        schema: &SchemaRef,
        values: &[ScalarValue],
    ) -> Result<Option<RecordBatch>> {
        let Some(addresses) = self.addresses(list, values)? else {
            return Ok(None);
        };
        let existing = transaction.existing(&self.table, &addresses).await?;
        let found = existing.rows.project(&row.columns)?;
        Ok(Some(row.results(schema, &found, values)?))
    }

    fn addresses(&self, list: &KeyList, values: &[ScalarValue]) -> Result<Option<RecordBatch>> {
        let parameters = self.parameter_row(values)?;
        match list.evaluate(&self.table, &parameters)? {
            Some(columns) => {
                let schema = self.table.codec.address_schema();
                Ok(Some(RecordBatch::try_new(schema, columns)?))
            }
            None => Ok(None),
        }
    }
}
