//! Behaviour of closed tables on a real directory: commits, crashes, scans, probes, rewrites.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream;
use tempfile::TempDir;
use url::Url;

use super::{ClosedTable, ClosedTableError, ClosedTableSpec, ClosedVersion, ColumnFiles};
use crate::object_stores::ObjectStores;
use crate::partitioning::PartitionField;
use crate::types::SqlType;

mod commits;
mod evolved;
mod partitions;
mod probes;
mod scans;
mod types;

/// The stores of a server that was told nothing of S3.
fn local_stores() -> ObjectStores {
    ObjectStores::new(&Default::default()).expect("no options")
}

/// A table in a directory of its own.
struct Fixture {
    _directory: TempDir,
    spec: ClosedTableSpec,
    table: ClosedTable,
}

impl Fixture {
    async fn new(schema: SchemaRef, key: Vec<usize>) -> Self {
        Self::divided(schema, key, Vec::new()).await
    }

    async fn divided(schema: SchemaRef, key: Vec<usize>, partition: Vec<PartitionField>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let location = Url::from_directory_path(directory.path().join("closed")).expect("a URL");
        let spec = ClosedTableSpec {
            location,
            name: "contracts".to_string(),
            columns: ColumnFiles::unaltered(&schema).expect("columns"),
            schema,
            key,
            partition,
            temporary: directory.path().join("temporary"),
            adopted: None,
        };
        let (table, version) = ClosedTable::create(spec.clone(), &local_stores())
            .await
            .expect("created");
        assert_eq!(version, 0);
        Self {
            _directory: directory,
            spec,
            table,
        }
    }

    async fn contracts() -> Self {
        Self::new(contracts_schema(), vec![0, 1]).await
    }

    /// Writes and commits rows on top of the newest version.
    async fn append(&self, txn: i64, rows: RecordBatch) -> Arc<ClosedVersion> {
        let base = self.table.latest().await.expect("latest");
        let files = self
            .table
            .write_files(stream_of(vec![rows]))
            .await
            .expect("written");
        let version = self
            .table
            .commit(&base, "test", txn, files, None)
            .await
            .expect("committed");
        self.table.at_version(version).await.expect("loaded")
    }
}

fn contracts_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::Int8.field("contract_id", false),
        SqlType::Timestamptz.field("valid_from", false),
        SqlType::Timestamptz.field("valid_to", true),
        SqlType::Text.field("tariff", true),
        SqlType::Numeric(Some((12, 2))).field("price", true),
        SqlType::Jsonb.field("attrs", true),
    ]))
}

/// Start of 2024 in microseconds since 1970.
const YEAR_2024_US: i64 = 1_704_067_200_000_000;
const DAY_US: i64 = 86_400_000_000;

/// One contract for each id; each eighth is without an end and a tariff.
fn contracts(ids: impl Iterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let starts = ids.iter().map(|id| Some(YEAR_2024_US + id * DAY_US + 7));
    let ends = ids
        .iter()
        .map(|id| (id % 8 != 0).then_some(YEAR_2024_US + (id + 1) * DAY_US));
    let tariffs = ids
        .iter()
        .map(|id| (id % 8 != 0).then(|| format!("tariff {}", id % 5)));
    let prices = ids.iter().map(|id| Some(i128::from(id * 101)));
    let prices = prices
        .collect::<Decimal128Array>()
        .with_precision_and_scale(12, 2);
    let attrs = ids.iter().map(|id| Some(format!(r#"{{"id": {id}}}"#)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.clone())),
        Arc::new(
            starts
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(
            ends.collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(tariffs.collect::<StringViewArray>()),
        Arc::new(prices.expect("fits")),
        Arc::new(attrs.collect::<StringViewArray>()),
    ];
    RecordBatch::try_new(contracts_schema(), columns).expect("a batch")
}

/// The key columns of contracts with these ids.
fn contract_keys(ids: impl Iterator<Item = i64>) -> RecordBatch {
    contracts(ids).project(&[0, 1]).expect("key columns")
}

fn stream_of(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches[0].schema();
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        stream::iter(batches.into_iter().map(Ok)),
    ))
}

/// The thinnest provider over a version, to plan SQL with.
#[derive(Debug)]
struct Provider(Arc<ClosedVersion>, SchemaRef);

#[async_trait::async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.1)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn datafusion::catalog::Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit)
    }
}

/// A session with the version as table `t`.
#[allow(
    clippy::disallowed_methods,
    reason = "the test is about the scan alone, without a catalog"
)]
fn session(version: &Arc<ClosedVersion>, schema: &SchemaRef, pushdown: bool) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .set_bool("datafusion.execution.parquet.pushdown_filters", pushdown);
    let context = SessionContext::new_with_config(config);
    let provider = Provider(Arc::clone(version), Arc::clone(schema));
    context
        .register_table("t", Arc::new(provider))
        .expect("registered");
    context
}

/// The rows and the plan of a query.
async fn query(context: &SessionContext, sql: &str) -> (RecordBatch, String) {
    let frame = context.sql(sql).await.expect("planned");
    let plan = frame.create_physical_plan().await.expect("a plan");
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let schema = plan.schema();
    let batches = datafusion::physical_plan::collect(plan, context.task_ctx())
        .await
        .expect("collected");
    (concat_batches(&schema, &batches).expect("one batch"), text)
}

/// The one number a query returns.
async fn number(context: &SessionContext, sql: &str) -> i64 {
    let (rows, plan) = query(context, sql).await;
    assert_eq!(rows.num_rows(), 1, "{plan}");
    rows.column(0).as_primitive::<Int64Type>().value(0)
}

/// How many files a plan reads.
fn files_read(plan: &str) -> usize {
    plan.matches(".parquet").count()
}
