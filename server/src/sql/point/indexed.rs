//! SELECT of the few rows that have one value in an index, or one out of a list.
//!
//! More than a few are left to the planner, which streams them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use nyala_catalog::index::Index;
use nyala_catalog::{Catalog, Transaction};

use super::listed::KeyList;
use super::{Key, PointStatement, RowExprs};
use crate::error::Result;

/// Rows that are found without planning.
const ROWS_MAX: usize = 100;

/// The values that leading columns of an index are equal to.
pub(super) struct IndexAccess {
    pub(super) index: Arc<Index>,
    pub(super) values: IndexValues,
}

pub(super) enum IndexValues {
    One(Key),
    Listed(KeyList),
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
        let columns = match &access.values {
            IndexValues::One(key) => match key.evaluate(&self.table, &parameters)? {
                Some(columns) => columns,
                None => return Ok(Some(RecordBatch::new_empty(Arc::clone(schema)))),
            },
            IndexValues::Listed(list) => match list.evaluate(&self.table, &parameters)? {
                Some(columns) => columns,
                None => return Ok(None),
            },
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
