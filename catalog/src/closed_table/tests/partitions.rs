//! Files of one partition each, what they exclude, and merging small files.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use super::{
    ClosedTable, ClosedVersion, Fixture, contract_keys, contracts, contracts_schema, files_read,
    number, query, session,
};
use crate::partitioning::{PartitionField, Transform};

const CONTRACT_ID: usize = 0;
const VALID_FROM: usize = 1;
const VALID_TO: usize = 2;
const TARIFF: usize = 3;

async fn divided(fields: &[(Transform, usize)]) -> Fixture {
    let fields = fields.iter().map(|(transform, column)| PartitionField {
        column: *column,
        transform: *transform,
    });
    Fixture::divided(contracts_schema(), vec![0, 1], fields.collect()).await
}

fn tags(version: &ClosedVersion) -> BTreeSet<String> {
    let tags = version.files().iter().map(|file| {
        assert!(file.sorted(), "{}", file.path());
        file.partition()
            .expect("a partition")
            .to_tag()
            .expect("a tag")
    });
    tags.collect()
}

async fn all_ids(version: &Arc<ClosedVersion>) -> Vec<i64> {
    let context = session(version, &contracts_schema(), false);
    let (rows, _) = query(&context, "SELECT contract_id FROM t ORDER BY contract_id").await;
    rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[tokio::test]
async fn months_exclude_files_by_their_bounds() {
    let fixture = divided(&[(Transform::Month, VALID_FROM)]).await;
    let version = fixture.append(1, contracts(0..400)).await;
    // From 1 January 2024 to 3 February 2025.
    assert_eq!((version.file_count(), tags(&version).len()), (14, 14));
    assert_eq!(all_ids(&version).await, (0..400).collect::<Vec<_>>());
    let context = session(&version, &contracts_schema(), false);
    let march = "SELECT contract_id FROM t WHERE valid_from >= timestamptz '2024-03-01' AND valid_from < timestamptz '2024-04-01'";
    let (rows, plan) = query(&context, march).await;
    assert_eq!((rows.num_rows(), files_read(&plan)), (31, 1), "{plan}");
}

#[tokio::test]
async fn buckets_exclude_files_by_their_tags() {
    let fixture = divided(&[(Transform::Bucket(8), CONTRACT_ID)]).await;
    let version = fixture.append(1, contracts(0..400)).await;
    assert_eq!((version.file_count(), tags(&version).len()), (8, 8));
    let context = session(&version, &contracts_schema(), false);
    for id in 0..40 {
        let sql = format!("SELECT contract_id FROM t WHERE contract_id = {id}");
        let (rows, plan) = query(&context, &sql).await;
        assert_eq!((rows.num_rows(), files_read(&plan)), (1, 1), "{plan}");
    }
    let (rows, plan) = query(&context, "SELECT 1 FROM t WHERE contract_id IN (7, 8)").await;
    assert_eq!(rows.num_rows(), 2);
    assert!(files_read(&plan) <= 2, "{plan}");
    let others = "SELECT count(*) FROM t WHERE contract_id <> 7";
    assert_eq!(number(&context, others).await, 399);
    let others = "SELECT count(*) FROM t WHERE contract_id NOT IN (7, 8, 9)";
    assert_eq!(number(&context, others).await, 397);

    let found = fixture
        .table
        .contains_keys(&version, &contract_keys(390..410))
        .await;
    let found = found.expect("probed");
    assert_eq!(found.true_count(), 10);
    let positions = fixture
        .table
        .positions(&version, &contract_keys(390..410))
        .await;
    assert_eq!(positions.expect("found").iter().flatten().count(), 10);
}

#[tokio::test]
async fn buckets_of_text_and_of_nulls() {
    let fixture = divided(&[(Transform::Bucket(16), TARIFF)]).await;
    let version = fixture.append(1, contracts(0..80)).await;
    let context = session(&version, &contracts_schema(), false);
    let (rows, plan) = query(&context, "SELECT 1 FROM t WHERE tariff = 'tariff 3'").await;
    assert_eq!((rows.num_rows(), files_read(&plan)), (14, 1), "{plan}");
    let (rows, plan) = query(&context, "SELECT 1 FROM t WHERE tariff IS NULL").await;
    assert_eq!((rows.num_rows(), files_read(&plan)), (10, 1), "{plan}");
}

#[tokio::test]
async fn rows_with_null_are_a_partition() {
    for transform in [Transform::Year, Transform::Day, Transform::Identity] {
        let fixture = divided(&[(transform, VALID_TO)]).await;
        let version = fixture.append(1, contracts(0..64)).await;
        let of_null = tags(&version)
            .into_iter()
            .filter(|tag| tag.contains(":null"));
        assert_eq!(of_null.count(), 1, "{transform}");
        assert_eq!(all_ids(&version).await.len(), 64);
    }
}

#[tokio::test]
async fn several_transforms_together() {
    let fixture = divided(&[(Transform::Year, VALID_FROM), (Transform::Identity, TARIFF)]).await;
    let version = fixture.append(1, contracts(0..400)).await;
    // Two years of five tariffs and NULL.
    assert_eq!(tags(&version).len(), 12);
    assert_eq!(all_ids(&version).await.len(), 400);
    let context = session(&version, &contracts_schema(), false);
    let sql =
        "SELECT 1 FROM t WHERE tariff = 'tariff 1' AND valid_from >= timestamptz '2025-01-01'";
    let (_, plan) = query(&context, sql).await;
    assert_eq!(files_read(&plan), 1, "{plan}");
}

#[tokio::test]
async fn a_rewritten_file_stays_in_its_partition() {
    let fixture = divided(&[(Transform::Month, VALID_FROM)]).await;
    let base = fixture.append(1, contracts(0..90)).await;
    let before = tags(&base);
    let keys = contract_keys((0..90).step_by(2));
    let rewrite = fixture
        .table
        .rewrite_without(&base, &keys)
        .await
        .expect("rewritten");
    assert_eq!((rewrite.rows_dropped, rewrite.removed.len()), (45, 3));
    let version = fixture
        .table
        .commit(&base, "test", 2, Vec::new(), Some(rewrite))
        .await;
    let version = fixture
        .table
        .at_version(version.expect("committed"))
        .await
        .expect("loaded");
    assert_eq!(tags(&version), before);
    assert_eq!(
        all_ids(&version).await,
        (0..90).skip(1).step_by(2).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn files_of_another_division_are_divided_when_they_are_rewritten() {
    let fixture = Fixture::contracts().await;
    let base = fixture.append(1, contracts(0..90)).await;
    let mut spec = fixture.spec.clone();
    spec.partition = vec![PartitionField {
        column: VALID_FROM,
        transform: Transform::Month,
    }];
    let table = fixture.table.seen_as(spec).expect("another division");
    let base = table.at_version(base.version()).await.expect("loaded");
    let rewrite = table
        .rewrite_without(&base, &contract_keys(5..6))
        .await
        .expect("rewritten");
    assert_eq!((rewrite.rows_dropped, rewrite.written.len()), (1, 3));
    let version = table
        .commit(&base, "test", 2, Vec::new(), Some(rewrite))
        .await;
    let version = table
        .at_version(version.expect("committed"))
        .await
        .expect("loaded");
    assert_eq!(tags(&version).len(), 3);
    assert_eq!(all_ids(&version).await.len(), 89);
}

/// Merges what is to be merged, without some rows.
async fn merged(table: &ClosedTable, keys: Option<&RecordBatch>) -> (Arc<ClosedVersion>, u64) {
    let base = table.latest().await.expect("latest");
    let merges = table.merges(&base).expect("planned");
    let rewrite = table
        .rewrite(&base, keys, &merges)
        .await
        .expect("rewritten");
    let dropped = rewrite.rows_dropped;
    let txn = i64::try_from(base.version()).expect("small") + 1_000;
    let version = table
        .commit(&base, "test", txn, Vec::new(), Some(rewrite))
        .await;
    let version = version.expect("committed");
    (table.at_version(version).await.expect("loaded"), dropped)
}

#[tokio::test]
async fn small_files_are_merged_in_key_order() {
    let fixture = Fixture::contracts().await;
    for number in 0..5 {
        // Neighbours overlap.
        let rows = contracts((0..100).map(|id| id * 5 + number));
        fixture.append(number + 1, rows).await;
    }
    let (version, dropped) = merged(&fixture.table, None).await;
    assert_eq!((version.file_count(), dropped), (1, 0));
    assert!(version.files().iter().all(|file| file.sorted()));
    assert_eq!(all_ids(&version).await, (0..500).collect::<Vec<_>>());
    let log = fixture.spec.location.to_file_path().expect("a path");
    let log = log.join(format!("_delta_log/{:020}.json", version.version()));
    let entry = std::fs::read_to_string(log).expect("a log entry");
    assert!(!entry.contains("\"dataChange\":true"), "{entry}");

    // A large file is not written again for a few small ones.
    for number in 0..4 {
        fixture
            .append(
                number + 1_006,
                contracts(500 + number * 10..510 + number * 10),
            )
            .await;
    }
    let (version, _) = merged(&fixture.table, None).await;
    assert_eq!(version.file_count(), 2);
    assert_eq!(all_ids(&version).await, (0..540).collect::<Vec<_>>());
}

#[tokio::test]
async fn few_files_are_left_as_they_are() {
    let fixture = Fixture::contracts().await;
    for number in 0..3 {
        fixture
            .append(number + 1, contracts(number * 10..number * 10 + 10))
            .await;
    }
    let base = fixture.table.latest().await.expect("latest");
    assert_eq!(fixture.table.merges(&base).expect("planned").len(), 0);
}

#[tokio::test]
async fn merging_drops_rows_and_stays_within_partitions() {
    let fixture = divided(&[(Transform::Month, VALID_FROM)]).await;
    for number in 0..5 {
        fixture
            .append(number + 1, contracts((0..12).map(|at| at * 5 + number)))
            .await;
    }
    let base = fixture.table.latest().await.expect("latest");
    let before = tags(&base);
    assert_eq!((base.file_count(), before.len()), (10, 2));
    let (version, dropped) = merged(&fixture.table, Some(&contract_keys(7..9))).await;
    assert_eq!((version.file_count(), dropped), (2, 2));
    assert_eq!(tags(&version), before);
    let left: Vec<i64> = (0..60).filter(|id| !(7..9).contains(id)).collect();
    assert_eq!(all_ids(&version).await, left);
}
