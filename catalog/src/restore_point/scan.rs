//! Reads a table as it was at a restore point.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use super::{RestorePoint, file};
use crate::closed_table::ClosedTable;
use crate::definitions::Table;
use crate::error::Result;
use crate::row_codec::Bytes;
use crate::shadow_log::rows_of;
use crate::transaction::ReadView;

/// A table at a restore point.
#[derive(Debug)]
pub struct PointScan {
    /// Keeps the point's files while the plan lives.
    view: ReadView,
    table: Arc<Table>,
    point: RestorePoint,
}

impl PointScan {
    /// The rows of `table` at `point`, which the view has.
    pub fn new(view: ReadView, table: Arc<Table>, point: RestorePoint) -> Self {
        Self { view, table, point }
    }

    async fn content(&self) -> Result<file::Content> {
        let (columnar, storage) = (self.view.catalog.columnar(), self.table.def.storage);
        file::read(columnar, storage, &self.point.file).await
    }

    /// The rows of one version of files without those of some keys.
    async fn files(
        &self,
        session: &dyn Session,
        files: &ClosedTable,
        version: u64,
        without: &[Bytes],
        pushed: Pushed<'_>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let version = files.at_version(version).await?;
        if version.file_count() == 0 {
            return Ok(None);
        }
        let left_out = match without {
            [] => Vec::new(),
            keys => rows_of(&self.table, files, &version, keys).await?,
        };
        let Pushed {
            projection,
            filters,
            limit,
        } = pushed;
        let plan = version.scan_without(session, Some(projection), filters, limit, &left_out)?;
        Ok(Some(plan))
    }
}

/// What a query pushes down.
#[derive(Clone, Copy)]
struct Pushed<'a> {
    projection: &'a Vec<usize>,
    filters: &'a [Expr],
    limit: Option<usize>,
}

#[async_trait]
impl TableProvider for PointScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.table.schema.fields().len()).collect();
        let pushed = Pushed {
            projection: projection.unwrap_or(&all),
            filters,
            limit,
        };
        let (catalog, table) = (&self.view.catalog, &self.table);
        let content = self.content().await?;
        let mut sides: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(3);
        if let Some(version) = self.point.closed_version {
            let closed = catalog.closed_table(table)?;
            let closed = self.files(session, &closed, version, &content.shadow, pushed);
            sides.extend(closed.await?);
        }
        let (keys, values) = &content.rows;
        let fresh: Vec<Bytes> = keys.iter().chain(&content.deleted).cloned().collect();
        let snapshot = catalog.snapshot_table(table).await?;
        let version = self.point.snapshot_version;
        let snapshot = self.files(session, &snapshot, version, &fresh, pushed);
        sides.extend(snapshot.await?);
        let schema = table.codec.projected_schema(pushed.projection)?;
        if !keys.is_empty() {
            let rows = table.codec.decode(pushed.projection, keys, values)?;
            let rows = MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?;
            sides.push(rows);
        } else if sides.is_empty() {
            sides.push(Arc::new(EmptyExec::new(schema)));
        }
        match sides.len() {
            1 => Ok(sides.swap_remove(0)),
            _ => UnionExec::try_new(sides),
        }
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
