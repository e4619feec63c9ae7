//! Creating, committing, reopening, and what a crash leaves behind.

use super::{
    Array, ClosedTable, ClosedTableError, ClosedTableSpec, ColumnFiles, Fixture, SqlType,
    contracts, contracts_schema, local_stores, number, session, stream_of,
};
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;

#[tokio::test]
async fn rows_are_there_after_reopening() {
    let fixture = Fixture::contracts().await;
    let first = fixture.append(1, contracts(0..100)).await;
    assert_eq!(
        (first.version(), first.rows(), first.file_count()),
        (1, Some(100), 1)
    );
    let second = fixture.append(2, contracts(100..150)).await;
    assert_eq!(
        (second.version(), second.rows(), second.file_count()),
        (2, Some(150), 2)
    );
    assert!(second.bytes() > first.bytes());
    assert!(second.committed_at_ms().is_some());

    let reopened = ClosedTable::open(fixture.spec.clone(), &local_stores()).expect("opened");
    let latest = reopened.latest().await.expect("latest");
    assert_eq!((latest.version(), latest.rows()), (2, Some(150)));
    let older = reopened.at_version(1).await.expect("older");
    assert_eq!(older.rows(), Some(100));
    let context = session(&latest, &contracts_schema(), false);
    assert_eq!(
        number(&context, "select count(*) from t where contract_id >= 140").await,
        10
    );
    assert!(reopened.at_version(7).await.is_err());
}

#[tokio::test]
async fn a_created_table_is_adopted_but_no_other() {
    let fixture = Fixture::contracts().await;
    let (_, version) = ClosedTable::create(fixture.spec.clone(), &local_stores())
        .await
        .expect("adopted");
    assert_eq!(version, 0);

    let other_schema = Arc::new(Schema::new(vec![
        SqlType::Int8.field("contract_id", false),
        SqlType::Text.field("valid_from", false),
    ]));
    let other = ClosedTableSpec {
        columns: ColumnFiles::unaltered(&other_schema).expect("columns"),
        schema: other_schema,
        ..fixture.spec.clone()
    };
    let refused = ClosedTable::create(other, &local_stores()).await;
    assert!(
        matches!(refused, Err(ClosedTableError::Conflict(_))),
        "{refused:?}"
    );
    let other_key = ClosedTableSpec {
        key: vec![0],
        ..fixture.spec.clone()
    };
    let refused = ClosedTable::create(other_key, &local_stores()).await;
    assert!(
        matches!(refused, Err(ClosedTableError::Conflict(_))),
        "{refused:?}"
    );

    fixture.append(1, contracts(0..10)).await;
    let refused = ClosedTable::create(fixture.spec.clone(), &local_stores()).await;
    assert!(
        matches!(refused, Err(ClosedTableError::Conflict(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn files_without_a_commit_are_not_seen() {
    let fixture = Fixture::contracts().await;
    let files = fixture
        .table
        .write_files(stream_of(vec![contracts(0..10)]))
        .await;
    assert_eq!(files.expect("written").len(), 1);

    let reopened = ClosedTable::open(fixture.spec.clone(), &local_stores()).expect("opened");
    let latest = reopened.latest().await.expect("latest");
    assert_eq!((latest.version(), latest.rows()), (0, Some(0)));
    let done = reopened
        .transaction_version(&latest, "test")
        .await
        .expect("looked up");
    assert_eq!(done, None);
}

#[tokio::test]
async fn a_commit_that_the_caller_forgot_is_found_and_not_repeated() {
    let fixture = Fixture::contracts().await;
    fixture.append(41, contracts(0..10)).await;

    let reopened = ClosedTable::open(fixture.spec.clone(), &local_stores()).expect("opened");
    let latest = reopened.latest().await.expect("latest");
    let done = reopened
        .transaction_version(&latest, "test")
        .await
        .expect("looked up");
    assert_eq!(done, Some(41));
    assert_eq!(
        reopened
            .transaction_version(&latest, "else")
            .await
            .expect("looked up"),
        None
    );

    let files = reopened
        .write_files(stream_of(vec![contracts(0..10)]))
        .await
        .expect("written");
    let again = reopened.commit(&latest, "test", 41, files, None).await;
    assert!(
        matches!(again, Err(ClosedTableError::Conflict(_))),
        "rows would be taken for moved: {again:?}"
    );
    assert_eq!(reopened.latest().await.expect("latest").rows(), Some(10));
}

#[tokio::test]
async fn a_commit_on_an_older_version_conflicts() {
    let fixture = Fixture::contracts().await;
    let base = fixture.table.latest().await.expect("latest");
    fixture.append(1, contracts(0..10)).await;

    let files = fixture
        .table
        .write_files(stream_of(vec![contracts(20..30)]))
        .await
        .expect("written");
    let refused = fixture
        .table
        .commit(&base, "test", 2, files.clone(), None)
        .await;
    assert!(
        matches!(refused, Err(ClosedTableError::Conflict(_))),
        "{refused:?}"
    );
    // The first commit again, as if its answer had been lost: it is in the log.
    let found = fixture
        .table
        .commit(&base, "test", 1, files, None)
        .await
        .expect("found");
    assert_eq!(found, 1);
    assert_eq!(
        fixture.table.latest().await.expect("latest").rows(),
        Some(10)
    );
}

#[tokio::test]
async fn checkpoints_are_written_and_read() {
    let fixture = Fixture::contracts().await;
    for txn in 1..=22 {
        fixture
            .append(txn, contracts(txn * 10..txn * 10 + 10))
            .await;
    }
    let log = fixture
        .spec
        .location
        .to_file_path()
        .expect("a path")
        .join("_delta_log");
    assert!(log.join("_last_checkpoint").exists());

    let reopened = ClosedTable::open(fixture.spec.clone(), &local_stores()).expect("opened");
    let latest = reopened.latest().await.expect("latest");
    assert_eq!((latest.version(), latest.rows()), (22, Some(220)));
    assert_eq!(
        reopened
            .transaction_version(&latest, "test")
            .await
            .expect("read"),
        Some(22)
    );
    assert!(latest.files().iter().all(|file| file.sorted()));
    let statistics = latest.statistics();
    let known = fixture.table.latest().await.expect("latest").statistics();
    assert_eq!(statistics, known);
}

#[tokio::test]
async fn unsorted_rows_and_wrong_rows_are_refused() {
    let fixture = Fixture::contracts().await;
    let backwards = fixture
        .table
        .write_files(stream_of(vec![contracts((0..10).rev())]))
        .await;
    assert!(
        matches!(backwards, Err(ClosedTableError::Invalid { .. })),
        "{backwards:?}"
    );
    let across = vec![contracts(5..10), contracts(0..5)];
    let across = fixture.table.write_files(stream_of(across)).await;
    assert!(
        matches!(across, Err(ClosedTableError::Invalid { .. })),
        "{across:?}"
    );
    let narrow = contracts(0..10).project(&[0, 1]).expect("projected");
    let narrow = fixture.table.write_files(stream_of(vec![narrow])).await;
    assert!(
        matches!(narrow, Err(ClosedTableError::Invalid { .. })),
        "{narrow:?}"
    );

    // What was begun is gone.
    let directory = fixture.spec.location.to_file_path().expect("a path");
    let left = std::fs::read_dir(directory).expect("listed").count();
    assert_eq!(left, 1, "only the log");
}

#[tokio::test]
async fn a_type_that_delta_lacks_is_refused() {
    let schema = Arc::new(Schema::new(vec![SqlType::Interval.field("i", false)]));
    let fixture = Fixture::contracts().await;
    let refused = ClosedTable::open(
        ClosedTableSpec {
            columns: ColumnFiles::unaltered(&schema).expect("columns"),
            schema,
            key: vec![0],
            ..fixture.spec
        },
        &local_stores(),
    );
    assert!(
        matches!(refused, Err(ClosedTableError::Unsupported { .. })),
        "{refused:?}"
    );
    assert_eq!(contracts(0..1).column(0).len(), 1);
}

#[tokio::test]
async fn old_log_entries_go_behind_a_checkpoint_that_no_needed_version_precedes() {
    /// A time after all files of the test.
    const LATER_MS: i64 = 4_000_000_000_000;
    let fixture = Fixture::contracts().await;
    for txn in 1..=45 {
        fixture.append(txn, contracts(txn * 10..txn * 10 + 2)).await;
    }
    let log = fixture.spec.location.to_file_path().expect("a path");
    let log = log.join("_delta_log");
    let entries = || {
        let names = std::fs::read_dir(&log).expect("a log");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        let names = names.filter_map(|name| {
            let number = name.to_str()?.strip_suffix(".json")?;
            number.parse::<u64>().ok()
        });
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(entries(), (0..=45).collect());
    for (needed, left) in [
        (vec![3, 45], 0..=45),
        (vec![23, 45], 20..=45),
        (vec![45], 40..=45),
    ] {
        let needed = needed.into_iter().collect();
        let done = fixture.table.vacuum(&needed, LATER_MS).await;
        assert_eq!(done.expect("vacuumed").files, 0);
        assert_eq!(entries(), left.collect());
    }
    let reopened = ClosedTable::open(fixture.spec.clone(), &local_stores()).expect("opened");
    let latest = reopened.latest().await.expect("latest");
    assert_eq!((latest.version(), latest.rows()), (45, Some(90)));
    fixture.append(46, contracts(1_000..1_002)).await;
}
