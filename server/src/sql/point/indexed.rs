//! SELECT of the few rows that have one value in an index.
//!
//! More than a few are left to the planner, which streams them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use nyala_catalog::index::Index;
use nyala_catalog::{Catalog, Transaction};

use super::{Key, PointStatement, RowExprs};
use crate::error::Result;

/// Rows that are found without planning.
const ROWS_MAX: usize = 100;

/// The values that leading columns of an index are equal to.
pub(super) struct IndexAccess {
    pub(super) index: Arc<Index>,
    pub(super) key: Key,
}

impl PointStatement {
    /// Runs a SELECT by an index as a transaction of its own.
    pub(super) fn find_now(
        &self,
        catalog: &Catalog,
        access: &IndexAccess,
        row: &RowExprs,
        schema: &SchemaRef,
        values: &[ScalarValue],
    ) -> Result<Option<RecordBatch>> {
        self.find(access, row, schema, values, |columns| {
            let (table, index) = (&self.table, &access.index);
            let rows = catalog.open_rows_by_index(table, index, columns, &row.columns, ROWS_MAX)?;
            // An index that was dropped meanwhile may have had no entries any more.
            Ok(rows.filter(|_| self.is_of_epoch(catalog.definitions_epoch())))
        })
    }

    /// The same in a transaction.
    pub(super) fn find_in(
        &self,
        transaction: &Transaction,
        access: &IndexAccess,
        row: &RowExprs,
        schema: &SchemaRef,
        values: &[ScalarValue],
    ) -> Result<Option<RecordBatch>> {
        self.find(access, row, schema, values, |columns| {
            let (table, index) = (&self.table, &access.index);
            let view = transaction.view();
            Ok(view.open_rows_by_index(table, index, columns, &row.columns, ROWS_MAX)?)
        })
    }

    fn find(
        &self,
        access: &IndexAccess,
        row: &RowExprs,
        schema: &SchemaRef,
        values: &[ScalarValue],
        rows: impl FnOnce(&[ArrayRef]) -> Result<Option<RecordBatch>>,
    ) -> Result<Option<RecordBatch>> {
        let parameters = self.parameter_row(values)?;
        let Some(columns) = access.key.evaluate(&self.table, &parameters)? else {
            return Ok(Some(RecordBatch::new_empty(Arc::clone(schema))));
        };
        let Some(found) = rows(&columns)? else {
            return Ok(None);
        };
        if found.num_rows() == 1 {
            return Ok(Some(row.result(schema, found.columns(), &parameters)?));
        }
        row.results(schema, &found, values).map(Some)
    }
}

impl RowExprs {
    /// The results over several rows.
    fn results(
        &self,
        schema: &SchemaRef,
        rows: &RecordBatch,
        parameters: &[ScalarValue],
    ) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        for value in parameters {
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

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}
