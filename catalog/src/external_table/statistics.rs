//! Parquet files of others with what their footers say of the rows, known before a scan is planned.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::ListingTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

/// A listing of files, and statistics of all their rows.
#[derive(Debug)]
pub(super) struct CountedListing {
    files: ListingTable,
    /// `None` if they could not be read; the scan will say why.
    statistics: Option<Statistics>,
}

impl CountedListing {
    /// Reads the footers, which are cached and which a scan needs anyway.
    pub(super) async fn new(session: &dyn Session, files: ListingTable) -> Self {
        let listed = files.list_files_for_scan(session, &[], None).await;
        Self {
            statistics: listed.ok().map(|listed| listed.statistics),
            files,
        }
    }
}

#[async_trait]
impl TableProvider for CountedListing {
    fn schema(&self) -> SchemaRef {
        self.files.schema()
    }

    fn table_type(&self) -> TableType {
        self.files.table_type()
    }

    fn statistics(&self) -> Option<Statistics> {
        self.statistics.clone()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<std::sync::Arc<dyn ExecutionPlan>, DataFusionError> {
        self.files.scan(session, projection, filters, limit).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        self.files.supports_filters_pushdown(filters)
    }
}
