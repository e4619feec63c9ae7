//! Checks the functions, operators and the aggregate as SQL sees them, through DataFusion's planner, optimizer and execution.

use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::pg_type::{jsonb_field, pg_type};
use crate::random_json::RandomJson;
use crate::{JsonError, register_all};

fn session() -> SessionContext {
    let mut config = SessionConfig::new()
        .with_target_partitions(4)
        .with_batch_size(64);
    config.options_mut().sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    let mut session = SessionContext::new_with_config(config);
    register_all(&mut session).expect("registers");
    session
}

/// Rows as text, NULL as `-`, in the order they come.
async fn rows(session: &SessionContext, sql: &str) -> Result<Vec<String>> {
    let batches = session.sql(sql).await?.collect().await?;
    let options = FormatOptions::new().with_null("-");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect::<Vec<_>>()
                    .join(" | "),
            );
        }
    }
    Ok(rows)
}

async fn value(session: &SessionContext, expression: &str) -> String {
    rows(session, &format!("SELECT {expression}"))
        .await
        .expect(expression)
        .join(";")
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no catalog here, only functions"
)]
fn register(
    session: &SessionContext,
    name: &str,
    schema: Arc<Schema>,
    partitions: Vec<Vec<RecordBatch>>,
) -> Result<()> {
    session.register_table(name, Arc::new(MemTable::try_new(schema, partitions)?))?;
    Ok(())
}

fn documents(session: &SessionContext) -> Result<()> {
    let texts = [
        Some(
            r#"{"a": {"b": [1, {"c": "deep value"}]}, "n": null, "name": "a \"quoted\" name", "tags": ["x", "y"]}"#,
        ),
        Some(r#"{"a": 7}"#),
        None,
    ];
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        jsonb_field("body", true),
        Field::new("raw", DataType::Utf8, true),
        Field::new("key", DataType::Utf8, true),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(texts.into_iter().collect::<StringViewArray>()),
            Arc::new(texts.into_iter().collect::<StringArray>()),
            Arc::new(StringArray::from(vec![Some("name"), Some("a"), Some("a")])),
        ],
    )?;
    register(session, "documents", schema, vec![vec![batch]])
}

#[tokio::test]
async fn operators_on_columns() -> Result<()> {
    let session = session();
    documents(&session)?;
    for column in ["body", "raw"] {
        for (expression, expected) in [
            (
                "{} -> 'a'",
                ["{\"b\": [1, {\"c\": \"deep value\"}]}", "7", "-"],
            ),
            ("{} -> 'a' -> 'b' -> 1 ->> 'c'", ["deep value", "-", "-"]),
            ("{} -> 'a' -> 'b' -> -2", ["1", "-", "-"]),
            ("{} ->> 'name'", ["a \"quoted\" name", "-", "-"]),
            ("{} -> 'name'", ["\"a \\\"quoted\\\" name\"", "-", "-"]),
            ("{} -> key", ["\"a \\\"quoted\\\" name\"", "7", "-"]),
            ("{} -> 'n'", ["null", "-", "-"]),
            ("{} ->> 'n'", ["-", "-", "-"]),
            ("{} #> '{a,b,1}'", ["{\"c\": \"deep value\"}", "-", "-"]),
            ("{} #>> ARRAY['a','b','-1','c']", ["deep value", "-", "-"]),
            ("{} #>> ARRAY[key]", ["a \"quoted\" name", "7", "-"]),
            ("{} #> '{}'  IS NOT NULL", ["true", "true", "false"]),
            ("{} @> '{\"a\": 7.0}'", ["false", "true", "-"]),
            (
                "{} @> '{\"a\": {\"b\": [{\"c\": \"deep value\"}]}, \"tags\": [\"y\"]}'",
                ["true", "false", "-"],
            ),
            ("'{\"a\": 7}' <@ {}", ["false", "true", "-"]),
            ("{} ? 'tags'", ["true", "false", "-"]),
            ("({} -> 'tags') ? 'x'", ["true", "-", "-"]),
            ("{} ? key", ["true", "true", "-"]),
            ("{} ?| ARRAY['a', 'zz']", ["true", "true", "-"]),
            ("{} ?| '{zz}'", ["false", "false", "-"]),
            ("{} ?& ARRAY['a', 'tags']", ["true", "false", "-"]),
            ("{} ?& '{}'", ["true", "true", "-"]),
        ] {
            let column = expression.replacen("{}", column, 1);
            let actual = rows(
                &session,
                &format!("SELECT {column} FROM documents ORDER BY id"),
            )
            .await
            .expect(&column);
            assert_eq!(actual, expected, "{column}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn operators_on_constants() {
    let session = session();
    for (expression, expected) in [
        (
            r#"jsonb_in('{"b":1,"a":[1,2]}')"#,
            r#"{"a": [1, 2], "b": 1}"#,
        ),
        (r#"json_in('{"b":1,"a":[1,2]}')"#, r#"{"b":1,"a":[1,2]}"#),
        (r#"jsonb_in('{"a":{"b":1.0}}') -> 'a' ->> 'b'"#, "1.0"),
        (r#"'{"a": [1,2]}' -> 'a' -> -1"#, "2"),
        (r#"'[1,2]' -> 2"#, "-"),
        ("jsonb_in(NULL)", "-"),
        ("jsonb_in('{}') -> NULL", "-"),
        (r#"'["foo","bar"]' @> '"bar"'"#, "true"),
        ("'1.0' @> '1'", "true"),
        (r#"'"foo"' ? 'foo'"#, "true"),
        ("'[1]' #> ARRAY[NULL]", "-"),
        ("ARRAY[1,2] @> ARRAY[1]", "true"),
        ("ARRAY[1] <@ ARRAY[1,2]", "true"),
        (
            r#"json_merge_patch('{"a":1,"b":{"c":2}}', '{"b":{"c":null},"d":[null]}')"#,
            r#"{"a": 1, "b": {}, "d": [null]}"#,
        ),
        (r#"json_merge_patch(NULL, '{"a":null}')"#, "{}"),
        (
            r#"json_merge_patch('{"b":1,"a":2}', NULL)"#,
            r#"{"a": 2, "b": 1}"#,
        ),
        ("json_merge_patch(NULL, NULL)", "-"),
    ] {
        assert_eq!(value(&session, expression).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn a_chain_is_one_call() -> Result<()> {
    let session = session();
    documents(&session)?;
    let plan = session
        .sql("SELECT body -> 'a' -> 'b' -> 1 ->> 'c' FROM documents")
        .await?
        .into_optimized_plan()?;
    let plan = plan.to_string();
    assert_eq!(
        plan.matches("json_get").count(),
        plan.matches("json_get_text").count(),
        "{plan}"
    );
    Ok(())
}

#[tokio::test]
async fn fields_are_marked() -> Result<()> {
    let session = session();
    documents(&session)?;
    for (expression, expected) in [
        ("body -> 'a'", Some("jsonb")),
        ("body #> '{a}'", Some("jsonb")),
        ("raw -> 'a'", Some("json")),
        ("jsonb_in(raw)", Some("jsonb")),
        ("jsonb_in(raw) -> 'a'", Some("jsonb")),
        ("jsonb_in('{\"a\": {\"b\": 1}}') -> 'a'", Some("jsonb")),
        ("json_in(raw)", Some("json")),
        ("body ->> 'a'", None),
        ("body #>> '{a}'", None),
        ("json_merge_patch(body, raw)", Some("jsonb")),
        ("json_merge_agg(body)", Some("jsonb")),
        ("json_merge_agg(raw ORDER BY id)", Some("jsonb")),
        ("json_merge_agg(body) OVER ()", Some("jsonb")),
    ] {
        let frame = session
            .sql(&format!("SELECT {expression} AS x FROM documents"))
            .await
            .expect(expression);
        assert_eq!(
            pg_type(frame.schema().field(0)),
            expected,
            "planned {expression}"
        );
        let batches = frame.collect().await.expect(expression);
        assert_eq!(
            pg_type(batches[0].schema().field(0)),
            expected,
            "executed {expression}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn errors_keep_their_sqlstate_and_row() -> Result<()> {
    let session = session();
    documents(&session)?;
    for (sql, sqlstate) in [
        ("SELECT jsonb_in('{\"a\": x}')", "22P02"),
        ("SELECT jsonb_in(raw || '}') FROM documents", "22P02"),
        ("SELECT jsonb_in('\"\\u0000\"')", "22P05"),
        ("SELECT '{\"a\":' -> 'a'", "22P02"),
        ("SELECT raw || ']' -> 'a' FROM documents", "22P02"),
        ("SELECT '{}' #> 'a,b'", "22P02"),
        ("SELECT json_merge_agg(raw || '}') FROM documents", "22P02"),
        (
            "SELECT id, json_merge_agg(raw || '}') FROM documents GROUP BY id",
            "22P02",
        ),
    ] {
        let error = rows(&session, sql).await.expect_err(sql);
        assert_eq!(
            JsonError::find(&error).map(|error| error.sqlstate),
            Some(sqlstate),
            "{sql}: {error}"
        );
    }
    let error = rows(
        &session,
        "SELECT jsonb_in(raw || repeat('}', id - 1)) FROM documents",
    )
    .await
    .expect_err("row 2");
    let detail = JsonError::find(&error).map(|error| error.detail.clone());
    assert_eq!(
        detail.as_deref(),
        Some("Expected end of input, but found \"}\". JSON data, row 2: {\"a\": 7}}")
    );
    for sql in [
        "SELECT json_merge_agg(DISTINCT body) FROM documents",
        "SELECT json_get(body) FROM documents",
    ] {
        assert!(session.sql(sql).await.is_err(), "{sql}");
    }
    Ok(())
}

/// A table `feed` of several partitions with its rows shuffled: profile, place in the order, source, body.
fn feed(
    session: &SessionContext,
    seed: u64,
    profiles: usize,
    count: usize,
) -> Result<Vec<(i64, i64, String, String)>> {
    let mut random = RandomJson::new(seed);
    let mut rows: Vec<(i64, i64, String, String)> = (0..count)
        .map(|_| {
            let profile = i64::try_from(random.below(profiles)).expect("small");
            let ts = i64::try_from(random.below(20)).expect("small");
            (
                profile,
                ts,
                random.pick(&["crm", "web", "app"]).to_string(),
                random.patch(),
            )
        })
        .collect();
    for position in (1..rows.len()).rev() {
        rows.swap(position, random.below(position + 1));
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("profile", DataType::Int64, false),
        Field::new("ts", DataType::Int64, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("body", DataType::Utf8View, true),
    ]));
    let partitions = rows
        .chunks(count.div_ceil(5).max(1))
        .map(|rows| {
            let batch = RecordBatch::try_new(
                Arc::clone(&schema),
                vec![
                    Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
                    Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
                    Arc::new(
                        rows.iter()
                            .map(|row| Some(row.2.as_str()))
                            .collect::<StringArray>(),
                    ),
                    Arc::new(
                        rows.iter()
                            .map(|row| Some(row.3.as_str()))
                            .collect::<StringViewArray>(),
                    ),
                ],
            )?;
            Ok((0..batch.num_rows())
                .step_by(50)
                .map(|at| batch.slice(at, 50.min(batch.num_rows() - at)))
                .collect())
        })
        .collect::<Result<Vec<Vec<RecordBatch>>>>()?;
    register(session, "feed", schema, partitions)?;
    Ok(rows)
}

fn folded(mut rows: Vec<(i64, i64, String, String)>, profiles: usize) -> Vec<String> {
    rows.sort_by(|left, right| {
        (right.1, left.2.as_str(), left.3.as_str()).cmp(&(
            left.1,
            right.2.as_str(),
            right.3.as_str(),
        ))
    });
    (0..i64::try_from(profiles).expect("small"))
        .filter_map(|profile| {
            let patches = rows
                .iter()
                .filter(|row| row.0 == profile)
                .map(|row| row.3.as_str());
            let mut out = String::new();
            let any = crate::json_merge_patch::fold_patches(patches, &mut out).expect("valid");
            any.then(|| format!("{profile} | {out}"))
        })
        .collect()
}

#[tokio::test]
async fn profiles_are_the_sequential_fold_whatever_the_plan() -> Result<()> {
    let sql = "SELECT profile, json_merge_agg(body ORDER BY ts DESC, source) FROM feed GROUP BY profile ORDER BY profile";
    for (seed, profiles, count) in [(1, 20, 1000), (2, 900, 1000), (3, 1, 300)] {
        let session = session();
        let expected = folded(feed(&session, seed, profiles, count)?, profiles);
        assert_eq!(rows(&session, sql).await?, expected);

        // The same with grouping given up early in the partial stage, with the input sorted, and in a single stage.
        for setting in [
            "SET datafusion.execution.skip_partial_aggregation_probe_rows_threshold = 10",
            "SET datafusion.execution.skip_partial_aggregation_probe_ratio_threshold = 0.01",
        ] {
            session.sql(setting).await?.collect().await?;
        }
        assert_eq!(rows(&session, sql).await?, expected);
        let sorted = sql.replace(
            "FROM feed",
            "FROM (SELECT * FROM feed ORDER BY profile LIMIT 100000)",
        );
        assert_eq!(rows(&session, &sorted).await?, expected);
        session
            .sql("SET datafusion.execution.target_partitions = 1")
            .await?
            .collect()
            .await?;
        assert_eq!(rows(&session, sql).await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn whole_tables_filters_and_windows() -> Result<()> {
    let session = session();
    let all = feed(&session, 9, 1, 200)?;
    let expected = folded(all, 1);
    let sql = "SELECT 0, json_merge_agg(body ORDER BY ts DESC, source) FROM feed";
    assert_eq!(rows(&session, sql).await?, expected);

    let values = "(VALUES (1, '{\"a\":1}'), (2, '{\"b\":2}'), (3, NULL), (4, '{\"a\":null,\"c\":4}')) AS t(ts, body)";
    for (select, expected) in [
        (
            "json_merge_agg(body ORDER BY ts)",
            vec![r#"{"b": 2, "c": 4}"#],
        ),
        (
            "json_merge_agg(body ORDER BY ts DESC)",
            vec![r#"{"a": 1, "b": 2, "c": 4}"#],
        ),
        (
            "json_merge_agg(body ORDER BY ts) FILTER (WHERE ts < 4)",
            vec![r#"{"a": 1, "b": 2}"#],
        ),
        (
            "json_merge_agg(body ORDER BY ts) FILTER (WHERE ts > 4)",
            vec!["-"],
        ),
        (
            "json_merge_agg(body ORDER BY ts) FILTER (WHERE ts = 3)",
            vec!["-"],
        ),
        (
            "json_merge_agg(body) OVER (ORDER BY ts)",
            vec![
                r#"{"a": 1}"#,
                r#"{"a": 1, "b": 2}"#,
                r#"{"a": 1, "b": 2}"#,
                r#"{"b": 2, "c": 4}"#,
            ],
        ),
        (
            "json_merge_agg(body ORDER BY ts) -> 'b', json_merge_agg(body ORDER BY ts DESC) ->> 'a', count(*)",
            vec!["2 | 1 | 4"],
        ),
    ] {
        assert_eq!(
            rows(&session, &format!("SELECT {select} FROM {values}"))
                .await
                .expect(select),
            expected,
            "{select}"
        );
    }
    assert_eq!(
        rows(
            &session,
            &format!("SELECT json_merge_agg(body) FROM {values} WHERE false")
        )
        .await?,
        ["-"]
    );
    Ok(())
}

#[tokio::test]
async fn a_bounded_pool_is_kept_to() -> Result<()> {
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(1 << 20, 1.0)
        .build_arc()?;
    let mut session =
        SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(1), runtime);
    register_all(&mut session)?;
    // 4 MiB of documents cannot be held in 1 MiB.
    let sql = "SELECT json_merge_agg(repeat('1', 4096)) FROM generate_series(1, 1000)";
    let error = rows(&session, sql).await.expect_err("out of memory");
    assert!(
        matches!(
            error.find_root(),
            datafusion::error::DataFusionError::ResourcesExhausted(_)
        ),
        "{error}"
    );
    Ok(())
}
