//! Scans: pruning, projection, ordering, late materialisation.

use std::sync::Arc;

use super::{ClosedVersion, concat_batches};
use super::{
    Fixture, contracts, contracts_schema, files_read, number, pretty_format_batches, query, session,
};

/// Ten files of a hundred contracts each, one after the other.
async fn ten_files() -> (Fixture, Arc<ClosedVersion>) {
    let fixture = Fixture::contracts().await;
    for file in 0..10 {
        fixture
            .append(file + 1, contracts(file * 100..(file + 1) * 100))
            .await;
    }
    let version = fixture.table.latest().await.expect("latest");
    (fixture, version)
}

#[tokio::test]
async fn filters_exclude_files() {
    let (_fixture, version) = ten_files().await;
    let cases = [
        ("contract_id = 250", 1, 1),
        ("contract_id between 190 and 210", 21, 2),
        ("contract_id in (5, 505, 905)", 3, 3),
        ("contract_id < 0", 0, 0),
        ("contract_id = 250 or contract_id = 990", 2, 2),
        // Contract 300 begins 300 days after the start of 2024.
        (
            "valid_from >= timestamptz '2024-10-27 00:00:00Z' and contract_id < 400",
            100,
            1,
        ),
        (
            "valid_from = timestamptz '2024-10-27 00:00:00.000007Z'",
            1,
            1,
        ),
        ("price >= 1000.00", 9, 1),
        ("price = 252.5", 1, 1),
        ("valid_to is null and contract_id < 100", 13, 1),
        ("valid_from is null", 0, 0),
        ("tariff = 'nothing'", 0, 0),
        ("tariff = 'tariff 3' and contract_id >= 900", 18, 1),
        ("tariff like 'tariff 3%' and contract_id >= 900", 18, 1),
    ];
    for pushdown in [false, true] {
        let context = session(&version, &contracts_schema(), pushdown);
        for (filter, rows, files) in cases {
            let (found, plan) = query(
                &context,
                &format!("select contract_id, attrs from t where {filter}"),
            )
            .await;
            assert_eq!(
                (found.num_rows(), files_read(&plan)),
                (rows, files),
                "{filter}\n{plan}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_read_where_nothing_matches() {
    let (_fixture, version) = ten_files().await;
    let context = session(&version, &contracts_schema(), false);
    let (_, plan) = query(&context, "select * from t where contract_id > 5000").await;
    assert!(
        plan.contains("EmptyExec") && !plan.contains("DataSourceExec"),
        "{plan}"
    );
    let (rows, plan) = query(&context, "select count(*) from t").await;
    assert!(
        !plan.contains("DataSourceExec"),
        "answered from statistics: {plan}"
    );
    assert_eq!(rows.num_rows(), 1);
    assert_eq!(number(&context, "select count(*) from t").await, 1000);
    assert_eq!(number(&context, "select count(tariff) from t").await, 875);
    assert_eq!(
        number(&context, "select max(contract_id) from t").await,
        999
    );
}

#[tokio::test]
async fn no_columns_and_few_rows_can_be_read() {
    let (_fixture, version) = ten_files().await;
    let context = session(&version, &contracts_schema(), false);
    // A filter that no statistics answer, so that rows without columns are counted.
    assert_eq!(
        number(&context, "select count(*) from t where contract_id % 2 = 0").await,
        500
    );
    let (rows, plan) = query(&context, "select 1 from t").await;
    assert_eq!(rows.num_rows(), 1000, "{plan}");
    let (rows, plan) = query(&context, "select contract_id from t limit 5").await;
    assert_eq!((rows.num_rows(), files_read(&plan)), (5, 1), "{plan}");
}

#[tokio::test]
async fn rows_come_back_as_the_table_has_them() {
    let fixture = Fixture::contracts().await;
    let rows = contracts(0..50);
    let version = fixture.append(1, rows.clone()).await;
    for pushdown in [false, true] {
        let context = session(&version, &contracts_schema(), pushdown);
        let (found, plan) = query(&context, "select * from t order by contract_id").await;
        assert_eq!(found.schema(), contracts_schema(), "{plan}");
        assert_eq!(
            found,
            concat_batches(&contracts_schema(), [&rows]).expect("one"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn order_is_declared_only_where_it_holds() {
    let (fixture, version) = ten_files().await;
    let sql = "select contract_id, valid_from from t order by contract_id, valid_from";
    let context = session(&version, &contracts_schema(), false);
    let (rows, plan) = query(&context, sql).await;
    assert!(!plan.contains("SortExec"), "{plan}");
    assert!(plan.contains("output_ordering=[contract_id"), "{plan}");
    assert_eq!(
        rows,
        contracts(0..1000).project(&[0, 1]).expect("projected")
    );

    // One more run over the same keys: two chains still make two groups.
    fixture
        .append(
            11,
            contracts((0..1000).step_by(7).map(|id| id + 10_000).take(0)),
        )
        .await;
    let version = fixture
        .append(12, contracts((0..100).map(|i| i * 10 + 5000)))
        .await;
    let context = session(&version, &contracts_schema(), false);
    let (_, plan) = query(&context, sql).await;
    assert!(!plan.contains("SortExec"), "{plan}");

    // Three files that overlap do not fit two groups.
    fixture
        .append(13, contracts((0..100).map(|i| i * 10 + 5001)))
        .await;
    let version = fixture
        .append(14, contracts((0..100).map(|i| i * 10 + 5002)))
        .await;
    let context = session(&version, &contracts_schema(), false);
    let (rows, plan) = query(&context, sql).await;
    assert!(plan.contains("SortExec"), "{plan}");
    let text = pretty_format_batches(std::slice::from_ref(&rows))
        .expect("printed")
        .to_string();
    assert_eq!(rows.num_rows(), 1300, "{text}");
    let keys = rows.column(0);
    let sorted = arrow::compute::sort(keys, None).expect("sorted");
    assert_eq!(keys, &sorted);
}
