//! A table whose columns change between its files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;

use super::{
    ClosedTableSpec, ColumnFiles, Fixture, files_read, local_stores, number, query, session,
    stream_of,
};
use crate::types::SqlType;

fn first() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::Int8.field("id", false),
        SqlType::Int4.field("a", false),
        SqlType::Text.field("b", true),
    ]))
}

/// `a` is wider, `b` has another name, another column the name `b`, and there is a `timestamp`.
fn second() -> SchemaRef {
    Arc::new(Schema::new(vec![
        SqlType::Int8.field("id", false),
        SqlType::Int8.field("a", true),
        SqlType::Text.field("c", true),
        SqlType::Int4.field("b", true),
        SqlType::Timestamp.field("t", true),
    ]))
}

fn columns() -> Arc<[ColumnFiles]> {
    let schema = second();
    let field =
        |at: usize, name: &str| -> FieldRef { Arc::new(schema.field(at).clone().with_name(name)) };
    let null = |at: usize| ScalarValue::try_from(schema.field(at).data_type()).expect("a null");
    let column = |at: usize, name: &str, older: Vec<FieldRef>, missing: ScalarValue| ColumnFiles {
        written: field(at, name),
        older,
        missing,
    };
    let narrow = Arc::new(SqlType::Int4.field("a", true));
    Arc::from(vec![
        column(0, "id", Vec::new(), null(0)),
        column(1, "a_2", vec![narrow], null(1)),
        column(2, "b", Vec::new(), null(2)),
        column(3, "b_4", Vec::new(), ScalarValue::Int32(Some(7))),
        column(4, "t", Vec::new(), null(4)),
    ])
}

fn old_rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let narrow = ids.clone().map(|id| i32::try_from(id * 10).expect("small"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int32Array::from_iter_values(narrow)),
        Arc::new(StringViewArray::from_iter_values(
            ids.map(|id| format!("old {id}")),
        )),
    ];
    RecordBatch::try_new(first(), columns).expect("a batch")
}

fn new_rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let count = usize::try_from(ids.end - ids.start).expect("small");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id << 40))),
        Arc::new(StringViewArray::from_iter_values(
            ids.map(|id| format!("new {id}")),
        )),
        Arc::new(Int32Array::from(vec![9; count])),
        ScalarValue::TimestampMicrosecond(Some(5), None)
            .to_array_of_size(count)
            .expect("an array"),
    ];
    RecordBatch::try_new(second(), columns).expect("a batch")
}

#[tokio::test]
async fn files_of_both_ages_are_read_as_the_table_is_now() {
    let fixture = Fixture::new(first(), vec![0]).await;
    let old = fixture.append(1, old_rows(0..100)).await;
    let spec = ClosedTableSpec {
        schema: second(),
        columns: columns(),
        ..fixture.spec.clone()
    };
    let table = fixture.table.seen_as(spec.clone()).expect("another view");
    assert!(table.is_seen_as(&spec) && !fixture.table.is_seen_as(&spec));

    // Before anything is written the log knows nothing of the change.
    let seen = table.at_version(old.version()).await.expect("loaded");
    let context = session(&seen, &second(), false);
    assert_eq!(
        number(&context, "SELECT count(*) FROM t WHERE b = 7").await,
        100
    );
    assert_eq!(number(&context, "SELECT sum(a) FROM t").await, 49_500);

    let files = table
        .write_files(stream_of(vec![new_rows(100..200)]))
        .await
        .expect("written");
    let version = table
        .commit(&seen, "test", 2, files, None)
        .await
        .expect("committed");
    let log = fixture
        .spec
        .location
        .to_file_path()
        .expect("a directory")
        .join("_delta_log");
    let entry = std::fs::read_to_string(log.join(format!("{version:020}.json"))).expect("an entry");
    assert!(entry.contains("b_4") && entry.contains("a_2"), "{entry}");
    assert!(entry.contains("timestampNtz"), "{entry}");

    let seen = table.at_version(version).await.expect("loaded");
    for pushdown in [false, true] {
        let context = session(&seen, &second(), pushdown);
        for (condition, expected) in [
            ("b = 7", 100),
            ("b = 9", 100),
            ("b IS NULL", 0),
            ("a = 500", 1),
            ("a = 164926744166400", 1),
            ("a < 1000", 100),
            ("c = 'old 3'", 1),
            ("c = 'new 103'", 1),
            ("t IS NULL", 100),
        ] {
            let sql = format!("SELECT count(*) FROM t WHERE {condition}");
            assert_eq!(number(&context, &sql).await, expected, "{sql}");
        }
        let (rows, plan) = query(&context, "SELECT b, c FROM t WHERE a > 1000 ORDER BY id").await;
        assert_eq!(rows.schema().field(0).name(), "b");
        assert_eq!(rows.num_rows(), 100);
        assert_eq!(
            files_read(&plan),
            1,
            "bounds of the narrower column count: {plan}"
        );
    }

    // A fresh start, and the handle from before, agree.
    let again = super::ClosedTable::open(spec, &local_stores()).expect("opened");
    let seen = again.latest().await.expect("loaded");
    let context = session(&seen, &second(), false);
    assert_eq!(
        number(&context, "SELECT count(*) FROM t WHERE b = 9").await,
        100
    );
    let old = fixture
        .table
        .at_version(old.version())
        .await
        .expect("loaded");
    let context = session(&old, &first(), false);
    assert_eq!(
        number(&context, "SELECT count(*) FROM t WHERE b = 'old 3'").await,
        1
    );
}

#[tokio::test]
async fn a_rewritten_file_has_the_new_columns() {
    let fixture = Fixture::new(first(), vec![0]).await;
    let old = fixture.append(1, old_rows(0..10)).await;
    let spec = ClosedTableSpec {
        schema: second(),
        columns: columns(),
        ..fixture.spec.clone()
    };
    let table = fixture.table.seen_as(spec).expect("another view");
    let base = table.at_version(old.version()).await.expect("loaded");
    let keys = old_rows(3..4).project(&[0]).expect("keys");
    let rewrite = table
        .rewrite_without(&base, &keys)
        .await
        .expect("rewritten");
    let committed = table
        .commit(&base, "test", 2, Vec::new(), Some(rewrite))
        .await;
    let seen = table
        .at_version(committed.expect("committed"))
        .await
        .expect("loaded");
    let context = session(&seen, &second(), false);
    assert_eq!(
        number(&context, "SELECT count(*) FROM t WHERE b = 7").await,
        9
    );
    assert_eq!(
        number(&context, "SELECT sum(a) FROM t WHERE c <> 'x'").await,
        420
    );
}

#[tokio::test]
async fn a_checkpoint_keeps_columns_of_all_ages() {
    let fixture = Fixture::new(first(), vec![0]).await;
    let old = fixture.append(1, old_rows(0..10)).await;
    let spec = ClosedTableSpec {
        schema: second(),
        columns: columns(),
        ..fixture.spec.clone()
    };
    let table = fixture.table.seen_as(spec.clone()).expect("another view");
    let mut base = table.at_version(old.version()).await.expect("loaded");
    for txn in 2..24 {
        let rows = stream_of(vec![new_rows(txn * 10..txn * 10 + 10)]);
        let files = table.write_files(rows).await.expect("written");
        let committed = table.commit(&base, "test", txn, files, None).await;
        base = table
            .at_version(committed.expect("committed"))
            .await
            .expect("loaded");
    }
    let log = fixture
        .spec
        .location
        .to_file_path()
        .expect("a directory")
        .join("_delta_log");
    assert!(log.join(format!("{:020}.checkpoint.parquet", 20)).exists());
    let again = super::ClosedTable::open(spec, &local_stores()).expect("opened");
    let seen = again.latest().await.expect("loaded");
    assert_eq!(seen.rows(), Some(230));
    let context = session(&seen, &second(), false);
    assert_eq!(
        number(&context, "SELECT count(*) FROM t WHERE b = 7").await,
        10
    );
    assert_eq!(
        number(&context, "SELECT count(*) FROM t WHERE b = 9").await,
        220
    );
    let (rows, plan) = query(&context, "SELECT c FROM t WHERE a = 50").await;
    assert_eq!(rows.num_rows(), 1);
    assert_eq!(
        files_read(&plan),
        1,
        "bounds come from the checkpoint: {plan}"
    );
}
