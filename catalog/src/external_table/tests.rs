//! Parquet files, directories and Delta tables that were written elsewhere.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
    UInt64Array,
};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::DeltaTable;
use deltalake::operations::write::WriteBuilder;
use deltalake::protocol::SaveMode;
use parquet::arrow::ArrowWriter;
use url::Url;

use super::{ExternalFormat, ExternalTable, ExternalTableError, open_external};
use crate::object_stores::ObjectStores;
use crate::types::SqlType;

/// The stores of a server that was told nothing of S3.
fn local_stores() -> ObjectStores {
    ObjectStores::new(&Default::default()).expect("no options")
}

/// A session that lists directories anew for each statement.
fn session() -> SessionContext {
    let runtime = RuntimeEnvBuilder::new()
        .with_object_list_cache_limit(0)
        .build_arc();
    let config = SessionConfig::new().set_bool(
        "datafusion.execution.listing_table_ignore_subdirectory",
        false,
    );
    SessionContext::new_with_config_rt(config, runtime.expect("a runtime"))
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                ids.iter().map(|i| format!("n{i}")),
            )),
        ),
        (
            "at",
            Arc::new(TimestampNanosecondArray::from(ids.clone()).with_timezone("+02:00")),
        ),
        (
            "small",
            Arc::new(Int8Array::from_iter_values(ids.iter().map(|_| 1))),
        ),
        (
            "count",
            Arc::new(UInt64Array::from_iter_values(ids.iter().map(|_| 2))),
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

fn write(path: &Path, rows: &RecordBatch) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
    let file = File::create(path).expect("created");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
    writer.write(rows).expect("written");
    writer.close().expect("closed");
}

async fn open(context: &SessionContext, path: &Path) -> ExternalTable {
    let location = path.to_str().expect("a path");
    open_external(
        &context.state(),
        &local_stores(),
        ExternalFormat::Parquet,
        location,
    )
    .await
    .expect("opened")
}

#[allow(
    clippy::disallowed_methods,
    reason = "the test is about the provider alone, without a catalog"
)]
async fn number(context: &SessionContext, table: &ExternalTable, sql: &str) -> i64 {
    let provider = table.provider().await.expect("a provider");
    context.deregister_table("t").expect("deregistered");
    context.register_table("t", provider).expect("registered");
    let batches = context
        .sql(sql)
        .await
        .expect("planned")
        .collect()
        .await
        .expect("collected");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn types(schema: &SchemaRef) -> Vec<String> {
    let shown = schema.fields().iter().map(|field| {
        let sql_type = SqlType::of_field(field);
        assert_eq!(field.data_type(), &sql_type.arrow_type(), "{field}");
        format!("{} {sql_type}", field.name())
    });
    shown.collect()
}

#[tokio::test]
async fn a_file_and_a_directory_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.parquet");
    write(&file, &rows(0..10));
    write(&directory.path().join("deep/er/b.parquet"), &rows(10..30));
    let context = session();

    let one = open(&context, &file).await;
    let expected = [
        "id bigint",
        "name text",
        "at timestamp with time zone",
        "small smallint",
        "count bigint",
    ];
    assert_eq!(types(&one.schema()), expected);
    assert_eq!(
        number(&context, &one, "select count(*) from t where name = 'n3'").await,
        1
    );
    assert_eq!(
        number(&context, &one, "select sum(count) + sum(small) from t").await,
        30
    );

    let all = open(&context, directory.path()).await;
    assert_eq!(number(&context, &all, "select count(*) from t").await, 30);
    write(&directory.path().join("later.parquet"), &rows(30..31));
    assert_eq!(number(&context, &all, "select max(id) from t").await, 30);

    let url = Url::from_file_path(&file).expect("a URL");
    let by_url = open_external(
        &context.state(),
        &local_stores(),
        ExternalFormat::Parquet,
        url.as_str(),
    )
    .await;
    assert_eq!(
        number(&context, &by_url.expect("opened"), "select count(*) from t").await,
        10
    );
}

#[tokio::test]
async fn partitions_are_columns() {
    let directory = tempfile::tempdir().expect("a directory");
    for (index, path) in [
        "year=2023/day=2023-12-31/kind=x",
        "year=2024/day=2024-01-01/kind=7",
    ]
    .into_iter()
    .enumerate()
    {
        let from = index as i64 * 10;
        write(
            &directory.path().join(path).join("p.parquet"),
            &rows(from..from + 10),
        );
    }
    let context = session();
    let table = open(&context, directory.path()).await;
    assert_eq!(
        types(&table.schema())[5..],
        ["year bigint", "day date", "kind text"]
    );
    assert_eq!(
        number(&context, &table, "select max(id) from t where year = 2023").await,
        9
    );
    assert_eq!(
        number(&context, &table, "select count(*) from t where kind = '7'").await,
        10
    );
    let sql = "select count(*) from t where day >= date '2024-01-01' and year > 2000";
    assert_eq!(number(&context, &table, sql).await, 10);
}

#[tokio::test]
async fn a_delta_table_is_read_at_its_newest_version() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("delta");
    std::fs::create_dir(&path).expect("created");
    let url = Url::from_directory_path(&path).expect("a URL");
    let append = async |batch: RecordBatch| {
        let log_store = deltalake::logstore::logstore_for(&url, Default::default());
        let mut table = DeltaTable::new(log_store.expect("a log store"));
        let snapshot = match table.load().await {
            Ok(()) => Some(table.snapshot().expect("loaded").snapshot().clone()),
            Err(_) => None,
        };
        WriteBuilder::new(table.log_store(), snapshot)
            .with_save_mode(SaveMode::Append)
            .with_partition_columns(["name"])
            .with_input_batches([batch])
            .await
            .expect("written")
    };
    let plain = |ids| rows(ids).project(&[0, 1, 3]).expect("projected");
    append(plain(0..10)).await;
    let context = session();
    let location = path.to_str().expect("a path");
    let table = open_external(
        &context.state(),
        &local_stores(),
        ExternalFormat::Delta,
        location,
    )
    .await;
    let table = table.expect("opened");
    assert_eq!(
        types(&table.schema()),
        ["id bigint", "name text", "small smallint"]
    );
    assert_eq!(
        number(&context, &table, "select count(*) from t where name = 'n3'").await,
        1
    );
    assert_eq!(
        number(&context, &table, "select sum(small) from t where small = 1").await,
        10
    );
    append(plain(10..15)).await;
    assert_eq!(number(&context, &table, "select count(*) from t").await, 15);
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let missing = missing.to_str().expect("a path");
    let context = session();
    let state = context.state();
    for format in [ExternalFormat::Parquet, ExternalFormat::Delta] {
        let error = open_external(&state, &local_stores(), format, missing)
            .await
            .err()
            .expect("refused");
        assert!(
            matches!(error, ExternalTableError::NotFound { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(missing), "{error}");
    }
    let here = directory.path().to_str().expect("a path");
    let error = open_external(&state, &local_stores(), ExternalFormat::Delta, here)
        .await
        .err()
        .expect("refused");
    assert!(error.to_string().contains("has no Delta log"), "{error}");
    let error = open_external(&state, &local_stores(), ExternalFormat::Parquet, here)
        .await
        .err();
    assert!(
        error
            .expect("refused")
            .to_string()
            .contains("No files found")
    );
    let error = open_external(&state, &local_stores(), ExternalFormat::Parquet, "data/x")
        .await
        .err();
    assert!(
        error
            .expect("refused")
            .to_string()
            .contains("relative path")
    );
    let error = open_external(&state, &local_stores(), ExternalFormat::Parquet, "gs://b/x")
        .await
        .err();
    assert!(
        error
            .expect("refused")
            .to_string()
            .contains("not supported")
    );
}
