//! Owns the figures of the kernels: `cargo test --release -p nyala-udfs -- --ignored --nocapture measure` prints them.
//!
//! They are no tests of correctness; each only fails where it misses by far what it was designed for, on one core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, ArrayRef, Int64Array, StringViewArray};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::canonical::jsonb_in;
use crate::json_path::{JsonForm, PathStep, find};
use crate::random_json::RandomJson;

const RECORDS: usize = 500_000;
const PROFILES: usize = 100_000;

/// Change records of about 300 bytes, keys in the order a sender may write them.
fn records() -> Vec<String> {
    let mut random = RandomJson::new(41);
    (0..RECORDS)
        .map(|record| {
            let field = random.below(40);
            let value = random.below(1_000_000);
            format!(
                concat!(
                    r#"{{"source":"crm","record_type":"contact","id":"c-{:08}","#,
                    r#""name":{{"first":"Maria {}","last":"Testperson"}},"#,
                    r#""emails":["person{}@example.org"],"consent":{{"mail":true,"f{}":null}},"#,
                    r#""address":{{"street":"Some Street {}","city":"Graz","zip":"80{:02}"}},"#,
                    r#""attributes":{{"f{}":{}.50,"g{}":"value {}"}},"updated":"2024-05-{:02}T10:00:00Z"}}"#
                ),
                record, field, value, field, value, field, field, value, field, value, 1 + field % 28
            )
        })
        .collect()
}

fn report(what: &str, bytes: usize, took: Duration) {
    let rate = bytes as f64 / took.as_secs_f64() / 1e6;
    println!("{what}: {:.3} s, {rate:.0} MB/s", took.as_secs_f64());
}

#[test]
#[ignore = "prints figures, wants an optimised build"]
fn measure_canonical_text_and_paths() {
    let texts: StringViewArray = records().iter().map(|text| Some(text.as_str())).collect();
    let bytes: usize = texts.iter().flatten().map(str::len).sum();
    println!("{RECORDS} records of {} bytes", bytes / RECORDS);

    let start = Instant::now();
    let canonical = jsonb_in(&texts).expect("valid");
    report("jsonb_in of text as sent", bytes, start.elapsed());
    let start = Instant::now();
    assert_eq!(jsonb_in(&canonical).expect("valid").len(), RECORDS);
    report("jsonb_in of canonical text", bytes, start.elapsed());

    let path = [PathStep::Key("attributes"), PathStep::Key("f7")];
    for (what, texts, form) in [
        ("path in canonical text", &canonical, JsonForm::Canonical),
        ("path in unchecked text", &texts, JsonForm::Unchecked),
    ] {
        let start = Instant::now();
        let found = texts
            .iter()
            .flatten()
            .filter(|text| matches!(find(text, &path, form), Ok(Some(_))))
            .count();
        report(what, bytes, start.elapsed());
        assert!(found > 0);
    }
}

#[tokio::test]
#[ignore = "prints figures, wants an optimised build"]
async fn measure_merging_records_into_profiles() {
    let mut random = RandomJson::new(43);
    let texts: StringViewArray = records().iter().map(|text| Some(text.as_str())).collect();
    let bytes: usize = texts.iter().flatten().map(str::len).sum();
    let number = |limit: usize, random: &mut RandomJson| -> ArrayRef {
        let numbers = (0..RECORDS).map(|_| i64::try_from(random.below(limit)).ok());
        Arc::new(numbers.collect::<Int64Array>())
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("profile", number(PROFILES, &mut random)),
        ("ts", number(1_000_000, &mut random)),
        ("body", Arc::new(jsonb_in(&texts).expect("valid"))),
    ];
    let batch = datafusion::arrow::array::RecordBatch::try_from_iter(columns).expect("columns");
    for partitions in [1, 2] {
        let config = SessionConfig::new().with_target_partitions(partitions);
        let mut session = SessionContext::new_with_config(config);
        crate::register_all(&mut session).expect("registers");
        session
            .register_batch("feed", batch.clone())
            .expect("registers");
        let sql = "SELECT count(*), sum(length(p)) FROM \
                   (SELECT json_merge_agg(body ORDER BY ts) AS p FROM feed GROUP BY profile) AS x";
        let start = Instant::now();
        let frame = session.sql(sql).await.expect("planned");
        assert_eq!(frame.collect().await.expect("merged").len(), 1);
        report(
            &format!("json_merge_agg, {partitions} partitions"),
            bytes,
            start.elapsed(),
        );
    }
}
