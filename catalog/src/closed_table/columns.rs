//! How files hold the columns of a table that was altered since they were written.
//!
//! A file has the columns that the table had when it was written, under names that only ever stood for one column of one
//! type. So for each column of the table a file has one of a list of columns, or none if it is older than the column; then
//! all its rows have the column's missing value.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::{ClosedTableSpec, Result};
use crate::widening::widened;

/// How files hold one column of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnFiles {
    /// The column in files that are written now: of the table's type, under its name there.
    pub written: FieldRef,
    /// What it was in older files, newest first.
    pub older: Vec<FieldRef>,
    /// The value of rows in files that have none of these.
    pub missing: ScalarValue,
}

impl ColumnFiles {
    /// The columns of a table that was never altered.
    pub fn unaltered(schema: &Schema) -> Result<Arc<[Self]>> {
        let fields = schema.fields().iter();
        fields
            .map(|field| {
                Ok(Self {
                    written: Arc::clone(field),
                    older: Vec::new(),
                    missing: ScalarValue::try_from(field.data_type())?,
                })
            })
            .collect()
    }

    /// All columns of files that may hold the column, newest first.
    pub(super) fn fields(&self) -> impl Iterator<Item = &FieldRef> {
        std::iter::once(&self.written).chain(&self.older)
    }
}

impl ClosedTableSpec {
    /// The schema of files that are written now.
    pub(super) fn file_schema(&self) -> SchemaRef {
        let fields = self
            .columns
            .iter()
            .map(|column| Arc::clone(&column.written));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The columns of files that are written now, in the order that scans have them.
    pub(super) fn scan_order(&self) -> Vec<usize> {
        let behind = self.delta_partitions();
        let files = (0..self.columns.len()).filter(|at| !behind.contains(at));
        files.chain(behind.iter().copied()).collect()
    }

    /// Indexes of the Delta table's partition columns.
    pub(super) fn delta_partitions(&self) -> &[usize] {
        self.adopted
            .as_ref()
            .map_or(&[], |adopted| adopted.partition_columns.as_slice())
    }

    /// Rows as read from a file, in the table's own names and types. `constants` are the columns that the log tells of the
    /// file.
    pub(super) fn rows_of_table(
        &self,
        columns: &[usize],
        constants: &[(usize, ScalarValue)],
        read: &RecordBatch,
    ) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for at in columns {
            let Some(column) = self.columns.get(*at) else {
                continue;
            };
            if let Some((_, value)) = constants.iter().find(|(of, _)| of == at) {
                arrays.push(value.to_array_of_size(read.num_rows())?);
                continue;
            }
            let held = column
                .fields()
                .find_map(|field| read.column_by_name(field.name()));
            arrays.push(match held {
                Some(array) => widened(array, column.written.data_type())?,
                None => column.missing.to_array_of_size(read.num_rows())?,
            });
        }
        let schema = Arc::new(self.schema.project(columns)?);
        Ok(RecordBatch::try_new(schema, arrays)?)
    }

    /// A filter on the table's columns, in the names of files.
    pub(super) fn filter_on_files(&self, filter: Expr) -> DataFusionResult<Expr> {
        let renamed = |expr| {
            let Expr::Column(mut column) = expr else {
                return Ok(Transformed::no(expr));
            };
            if let Ok(at) = self.schema.index_of(&column.name)
                && let Some(files) = self.columns.get(at)
            {
                column.name.clone_from(files.written.name());
            }
            Ok(Transformed::yes(Expr::Column(column)))
        };
        filter.transform_up(renamed).data()
    }

    /// A plan of files with the columns of `projection`, in the table's names.
    pub(super) fn in_table_names(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        projection: &[usize],
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = plan.schema();
        let mut differs = false;
        let mut items: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::with_capacity(projection.len());
        for (position, (in_file, at)) in schema.fields().iter().zip(projection).enumerate() {
            let name = self
                .schema
                .fields()
                .get(*at)
                .map_or(in_file.name(), |field| field.name());
            differs |= name != in_file.name();
            let column = Column::new(in_file.name(), position);
            items.push((Arc::new(column), name.clone()));
        }
        match differs {
            true => Ok(Arc::new(ProjectionExec::try_new(items, plan)?)),
            false => Ok(plan),
        }
    }

    /// What adapts expressions over the files' newest columns to what a file has; `None` if
    /// DataFusion's own way, NULL for what is missing, is right.
    pub(super) fn adapter(&self) -> Option<Arc<dyn PhysicalExprAdapterFactory>> {
        let columns = self.columns.iter();
        let evolved: HashMap<String, ColumnFiles> = columns
            .filter(|column| !column.older.is_empty() || !column.missing.is_null())
            .map(|column| (column.written.name().clone(), column.clone()))
            .collect();
        match evolved.is_empty() {
            true => None,
            false => Some(Arc::new(AdapterFactory(Arc::new(evolved)))),
        }
    }
}

/// Adapts expressions over the files' newest columns to older files.
#[derive(Debug)]
struct AdapterFactory(Arc<HashMap<String, ColumnFiles>>);

#[derive(Debug)]
struct Adapter {
    columns: Arc<HashMap<String, ColumnFiles>>,
    file: SchemaRef,
    present: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapterFactory for AdapterFactory {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> DataFusionResult<Arc<dyn PhysicalExprAdapter>> {
        let file = Arc::clone(&physical_file_schema);
        let present =
            DefaultPhysicalExprAdapterFactory.create(logical_file_schema, physical_file_schema)?;
        Ok(Arc::new(Adapter {
            columns: Arc::clone(&self.0),
            file,
            present,
        }))
    }
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        let adapted = expr.transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let files = match self.file.index_of(column.name()) {
                Ok(_) => None,
                Err(_) => self.columns.get(column.name()),
            };
            let Some(files) = files else {
                return Ok(Transformed::yes(self.present.rewrite(expr)?));
            };
            let older = files.older.iter().find_map(|field| {
                let at = self.file.index_of(field.name()).ok()?;
                Some(Column::new(field.name(), at))
            });
            let held: Arc<dyn PhysicalExpr> = match older {
                Some(older) => {
                    let to = files.written.data_type().clone();
                    Arc::new(CastExpr::new(Arc::new(older), to, None))
                }
                None => Arc::new(Literal::new(files.missing.clone())),
            };
            Ok(Transformed::yes(held))
        });
        adapted.data()
    }
}
