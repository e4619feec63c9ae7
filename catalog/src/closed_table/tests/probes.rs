//! Key probes and rewrites.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array};
use arrow::datatypes::{Schema, SchemaRef};

use super::{
    BooleanArray, ClosedTable, ClosedTableError, ClosedVersion, Fixture, RecordBatch, SqlType,
    StringViewArray, contract_keys, contracts, contracts_schema, number, query, session,
};

async fn contains(table: &ClosedTable, at: &ClosedVersion, keys: &RecordBatch) -> Vec<bool> {
    let found: BooleanArray = table.contains_keys(at, keys).await.expect("probed");
    assert_eq!(found.null_count_of_answers(), 0);
    found.values().iter().collect()
}

/// Counts the answers that are none.
trait Answers {
    fn null_count_of_answers(&self) -> usize;
}

impl Answers for BooleanArray {
    fn null_count_of_answers(&self) -> usize {
        arrow::array::Array::null_count(self)
    }
}

#[tokio::test]
async fn single_keys_are_found() {
    let fixture = Fixture::contracts().await;
    for file in 0..4 {
        let ids = (0..30_000).map(|i| i * 8 + file * 2);
        fixture.append(file + 1, contracts(ids)).await;
    }
    let version = fixture.table.latest().await.expect("latest");
    for id in [0, 2, 4, 6, 8, 119_998, 239_992, 239_998] {
        let found = contains(&fixture.table, &version, &contract_keys([id].into_iter())).await;
        assert_eq!(found, [true], "{id}");
    }
    for id in [-1, 1, 3, 239_999, 1_000_000] {
        let found = contains(&fixture.table, &version, &contract_keys([id].into_iter())).await;
        assert_eq!(found, [false], "{id}");
    }
    // The same contract from another day is another key.
    let (ids, days) = (contract_keys(8..9), contract_keys(16..17));
    let columns = vec![ids.column(0).clone(), days.column(1).clone()];
    let mixed = RecordBatch::try_new(ids.schema(), columns).expect("a key");
    assert_eq!(contains(&fixture.table, &version, &mixed).await, [false]);
    // Equal keys get equal answers; no keys get none.
    let twice = contract_keys([8, 1, 8].into_iter());
    assert_eq!(
        contains(&fixture.table, &version, &twice).await,
        [true, false, true]
    );
    assert!(
        contains(&fixture.table, &version, &contract_keys(0..0))
            .await
            .is_empty()
    );
    let empty = fixture.table.at_version(0).await.expect("loaded");
    assert_eq!(
        contains(&fixture.table, &empty, &twice).await,
        [false, false, false]
    );
}

#[tokio::test]
async fn many_keys_are_found() {
    let fixture = Fixture::contracts().await;
    fixture
        .append(1, contracts((0..60_000).map(|i| i * 2)))
        .await;
    fixture
        .append(2, contracts((60_000..120_000).map(|i| i * 2)))
        .await;
    let version = fixture.table.latest().await.expect("latest");
    let found = contains(&fixture.table, &version, &contract_keys(50_000..150_000)).await;
    assert_eq!(found.len(), 100_000);
    assert!(
        found
            .iter()
            .zip(50_000..)
            .all(|(found, id)| *found == (id % 2 == 0))
    );
}

#[tokio::test]
async fn keys_of_text_and_dates_are_found() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        SqlType::Int4.field("value", true),
        SqlType::Date.field("day", false),
        SqlType::Text.field("name", false),
    ]));
    let fixture = Fixture::new(schema.clone(), vec![2, 1]).await;
    let long = "x".repeat(200);
    let names = |suffixes: &[&str]| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(
            suffixes.iter().map(|s| format!("{long}{s}")),
        ))
    };
    let days = || -> ArrayRef { Arc::new(Date32Array::from(vec![1, 2, 3])) };
    let values: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(2), Some(3)]));
    let rows = vec![values, days(), names(&["a", "b", "c"])];
    let version = fixture
        .append(1, RecordBatch::try_new(schema.clone(), rows).expect("rows"))
        .await;
    let key_schema = Arc::new(schema.project(&[2, 1]).expect("projected"));
    let keys = RecordBatch::try_new(key_schema, vec![names(&["a", "c", "c"]), days()]);
    let keys = keys.expect("keys");
    assert_eq!(
        contains(&fixture.table, &version, &keys).await,
        [true, false, true]
    );

    let reversed = keys.project(&[1, 0]).expect("projected");
    let refused = fixture.table.contains_keys(&version, &reversed).await;
    assert!(
        matches!(refused, Err(ClosedTableError::Invalid { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_rewrite_drops_the_rows_and_touches_no_other_file() {
    let fixture = Fixture::contracts().await;
    for file in 0..4 {
        fixture
            .append(file + 1, contracts(file * 100..(file + 1) * 100))
            .await;
    }
    let base = fixture.table.latest().await.expect("latest");
    // Two of file 0, all of file 2, none of file 3, and one that is nowhere.
    let ids = [5, 7].into_iter().chain(200..300).chain([9999]);
    let rewrite = fixture
        .table
        .rewrite_without(&base, &contract_keys(ids))
        .await
        .expect("rewritten");
    assert_eq!(
        (
            rewrite.removed.len(),
            rewrite.written.len(),
            rewrite.rows_dropped
        ),
        (2, 1, 102)
    );
    assert_eq!(
        fixture.table.latest().await.expect("latest").version(),
        base.version()
    );

    let version = fixture
        .table
        .commit(&base, "test", 9, Vec::new(), Some(rewrite))
        .await;
    let version = fixture
        .table
        .at_version(version.expect("committed"))
        .await
        .expect("loaded");
    assert_eq!((version.rows(), version.file_count()), (Some(298), 3));
    let context = session(&version, &contracts_schema(), false);
    assert_eq!(
        number(&context, "select count(*) from t where contract_id = 7").await,
        0
    );
    assert_eq!(
        number(&context, "select count(*) from t where contract_id < 10").await,
        8
    );
    let (_, plan) = query(&context, "select contract_id from t order by contract_id").await;
    assert!(!plan.contains("SortExec"), "{plan}");
    // The older version still has them.
    let context = session(&base, &contracts_schema(), false);
    assert_eq!(
        number(&context, "select count(*) from t where contract_id % 1 = 0").await,
        400
    );

    let nothing = fixture
        .table
        .rewrite_without(&version, &contract_keys(5..6))
        .await;
    let nothing = nothing.expect("nothing to do");
    assert!(nothing.removed.is_empty() && nothing.written.is_empty());
}
