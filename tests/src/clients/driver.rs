//! The tokio-postgres driver: typed binary values both ways, prepared statements, transactions,
//! pipelining. It knows nothing of Nyala, so what works here works for the drivers built like it.

use futures::future::try_join_all;
use futures::{TryStreamExt, pin_mut};
use libtest_mimic::{Failed, Trial};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};

use crate::harness::shared::{self, Engine};
use crate::harness::wire::Login;
use crate::harness::{TestResult, expect, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    let named = |name: &str, body: fn() -> TestResult| {
        trial(format!("driver::{name}"), move || {
            body().map_err(|failure| shared::explain(failure.message().unwrap_or("failed")))
        })
    };
    vec![
        named("typed_values", typed_values),
        named("parameters", parameters),
        named("inferred_parameter_types", inferred_parameter_types),
        named("prepared_statement_reuse", prepared_statement_reuse),
        named("transactions", transactions),
        named("pipelining", pipelining),
        named("row_stream", row_stream),
        named("portals", portals),
    ]
}

/// Runs a future on a runtime of its own.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(future)
}

/// Logs in; the connection's own task ends with the client.
pub(super) async fn connect(login: &Login) -> Result<Client, Failed> {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(login.port)
        .user(&login.user)
        .password(&login.password);
    config.dbname(&login.database);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn typed_values() -> TestResult {
    let login = Engine::Nyala.create_database("driver_types")?;
    block_on(async {
        let client = connect(&login).await?;
        client
            .batch_execute(
                "CREATE TABLE t (id integer PRIMARY KEY, a boolean, b smallint, c bigint, d real, \
                 e double precision, f text, g bytea, h text[], i bigint[])",
            )
            .await?;
        let texts = vec![Some("x".to_string()), None, Some(String::new())];
        let bytes = vec![0_u8, 255, 10];
        for (id, text) in [(1, Some("ünï")), (2, None)] {
            let changed = client
                .execute(
                    "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                    &[
                        &id,
                        &true,
                        &i16::MIN,
                        &i64::MAX,
                        &1.5_f32,
                        &f64::MIN_POSITIVE,
                        &text,
                        &bytes,
                        &texts,
                        &vec![1_i64, -1],
                    ],
                )
                .await?;
            expect_eq("rows inserted", &changed, &1)?;
        }
        let row = client
            .query_one("SELECT * FROM t WHERE id = $1", &[&1])
            .await?;
        expect_eq("boolean", &row.try_get::<_, bool>("a")?, &true)?;
        expect_eq("smallint", &row.try_get::<_, i16>("b")?, &i16::MIN)?;
        expect_eq("bigint", &row.try_get::<_, i64>("c")?, &i64::MAX)?;
        expect_eq("real", &row.try_get::<_, f32>("d")?, &1.5)?;
        expect_eq("double", &row.try_get::<_, f64>("e")?, &f64::MIN_POSITIVE)?;
        expect_eq(
            "text",
            &row.try_get::<_, Option<String>>("f")?,
            &Some("ünï".to_string()),
        )?;
        expect_eq("bytea", &row.try_get::<_, Vec<u8>>("g")?, &bytes)?;
        expect_eq(
            "text[]",
            &row.try_get::<_, Vec<Option<String>>>("h")?,
            &texts,
        )?;
        expect_eq("bigint[]", &row.try_get::<_, Vec<i64>>("i")?, &vec![1, -1])?;
        let types: Vec<Type> = row
            .columns()
            .iter()
            .map(|column| column.type_().clone())
            .collect();
        let expected = [
            Type::INT4,
            Type::BOOL,
            Type::INT2,
            Type::INT8,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::TEXT,
            Type::BYTEA,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
        ];
        expect_eq("column types", &types.as_slice(), &expected.as_slice())?;
        let null = client
            .query_one("SELECT f FROM t WHERE id = 2", &[])
            .await?;
        expect_eq("null text", &null.try_get::<_, Option<String>>(0)?, &None)
    })
}

fn parameters() -> TestResult {
    let login = Engine::Nyala.create_database("driver_parameters")?;
    block_on(async {
        let client = connect(&login).await?;
        client
            .batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, name text, n numeric(10,2))")
            .await?;
        let injection = "'); DROP TABLE t; --";
        client
            .execute(
                "INSERT INTO t (id, name) VALUES ($1, $2)",
                &[&1_i64, &injection],
            )
            .await?;
        let rows = client
            .query("SELECT id FROM t WHERE name = $1", &[&injection])
            .await?;
        expect_eq("rows", &rows.len(), &1)?;
        let rows = client
            .query(
                "SELECT id FROM t WHERE id = ANY ($1) ORDER BY id LIMIT $2",
                &[&vec![1_i64, 2, 3], &10_i64],
            )
            .await?;
        expect_eq("= ANY", &rows.len(), &1)?;
        let changed = client
            .execute(
                "UPDATE t SET name = $2 WHERE id = $1",
                &[&1_i64, &None::<String>],
            )
            .await?;
        expect_eq("update", &changed, &1)?;
        let returned = client
            .query_one(
                "INSERT INTO t VALUES ($1, $2, 1.5) ON CONFLICT (id) DO UPDATE SET name = excluded.name \
                 RETURNING name, $3::integer + 1",
                &[&1_i64, &"upserted", &41_i32],
            )
            .await?;
        expect_eq(
            "returning",
            &returned.try_get::<_, String>(0)?,
            &"upserted".to_string(),
        )?;
        expect_eq("computed", &returned.try_get::<_, i32>(1)?, &42)?;
        let deleted = client
            .execute("DELETE FROM t WHERE id > $1", &[&0_i64])
            .await?;
        expect_eq("deleted", &deleted, &1)
    })
}

fn inferred_parameter_types() -> TestResult {
    let login = Engine::Nyala.create_database("driver_inference")?;
    block_on(async {
        let client = connect(&login).await?;
        client
            .batch_execute(
                "CREATE TABLE t (id bigint PRIMARY KEY, day date, at timestamptz, doc jsonb, \
                 key uuid, small smallint, list integer[])",
            )
            .await?;
        for (sql, expected) in [
            ("SELECT * FROM t WHERE id = $1", vec![Type::INT8]),
            (
                "SELECT * FROM t WHERE $1 < day AND at >= $2",
                vec![Type::DATE, Type::TIMESTAMPTZ],
            ),
            (
                "INSERT INTO t (id, doc, key) VALUES ($1, $2, $3)",
                vec![Type::INT8, Type::JSONB, Type::UUID],
            ),
            (
                "UPDATE t SET small = $1, list = $2 WHERE id IN ($3, $4)",
                vec![Type::INT2, Type::INT4_ARRAY, Type::INT8, Type::INT8],
            ),
            (
                "SELECT $1::text, $2::double precision",
                vec![Type::TEXT, Type::FLOAT8],
            ),
            (
                "SELECT id FROM t LIMIT $1 OFFSET $2",
                vec![Type::INT8, Type::INT8],
            ),
            (
                "DELETE FROM t WHERE doc ->> $1 = $2",
                vec![Type::TEXT, Type::TEXT],
            ),
            ("SELECT 1", vec![]),
        ] {
            let statement = client.prepare(sql).await?;
            expect_eq(sql, &statement.params(), &expected.as_slice())?;
        }
        let error = client
            .prepare("SELECT * FROM nosuch WHERE id = $1")
            .await
            .err();
        let code = error.as_ref().and_then(|error| error.code());
        expect_eq("unknown table", &code, &Some(&SqlState::UNDEFINED_TABLE))
    })
}

fn prepared_statement_reuse() -> TestResult {
    let login = Engine::Nyala.create_database("driver_prepared")?;
    block_on(async {
        let client = connect(&login).await?;
        client
            .batch_execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
            .await?;
        let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await?;
        let select = client.prepare("SELECT v FROM t WHERE id = $1").await?;
        for id in 0..200 {
            client.execute(&insert, &[&id, &format!("v{id}")]).await?;
            let row = client.query_one(&select, &[&id]).await?;
            expect_eq("value", &row.try_get::<_, String>(0)?, &format!("v{id}"))?;
        }
        let duplicate = client.execute(&insert, &[&5, &"again"]).await.err();
        let code = duplicate.as_ref().and_then(|error| error.code());
        expect_eq("duplicate", &code, &Some(&SqlState::UNIQUE_VIOLATION))?;
        // A statement prepared before a column was there must answer or fail, never lie.
        client
            .batch_execute("DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, v text)")
            .await?;
        client
            .execute("INSERT INTO t VALUES (1, 'new table')", &[])
            .await?;
        match client.query(&select, &[&1]).await {
            Ok(rows) => {
                let value = rows
                    .first()
                    .map(|row| row.try_get::<_, String>(0))
                    .transpose()?;
                expect_eq(
                    "value of the new table",
                    &value.as_deref(),
                    &Some("new table"),
                )
            }
            Err(error) => {
                let allowed = [&SqlState::FEATURE_NOT_SUPPORTED, &SqlState::UNDEFINED_TABLE];
                expect(
                    error.code().is_some_and(|code| allowed.contains(&code)),
                    || format!("a stale plan failed with {error}"),
                )
            }
        }
    })
}

fn transactions() -> TestResult {
    let login = Engine::Nyala.create_database("driver_transactions")?;
    block_on(async {
        let mut client = connect(&login).await?;
        let observer = connect(&login).await?;
        client
            .batch_execute("CREATE TABLE t (id integer PRIMARY KEY)")
            .await?;
        let transaction = client.transaction().await?;
        transaction
            .execute("INSERT INTO t VALUES ($1)", &[&1])
            .await?;
        let seen = observer.query("SELECT id FROM t", &[]).await?.len();
        expect_eq("seen before the commit", &seen, &0)?;
        transaction.commit().await?;
        let seen = observer.query("SELECT id FROM t", &[]).await?.len();
        expect_eq("seen after the commit", &seen, &1)?;
        let mut transaction = client.transaction().await?;
        transaction.execute("INSERT INTO t VALUES (2)", &[]).await?;
        let nested = transaction.savepoint("inner").await?;
        nested.execute("INSERT INTO t VALUES (3)", &[]).await?;
        nested.rollback().await?;
        transaction.commit().await?;
        // Dropped without a commit: rolled back.
        let transaction = client.transaction().await?;
        transaction.execute("DELETE FROM t", &[]).await?;
        drop(transaction);
        let rows = client.query("SELECT id FROM t ORDER BY id", &[]).await?;
        let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        expect_eq("rows", &ids, &vec![1, 2])
    })
}

fn pipelining() -> TestResult {
    let login = Engine::Nyala.create_database("driver_pipeline")?;
    block_on(async {
        let client = connect(&login).await?;
        client
            .batch_execute("CREATE TABLE t (id integer PRIMARY KEY, v integer)")
            .await?;
        let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await?;
        let rows: Vec<(i32, i32)> = (0..500).map(|id| (id, id * 2)).collect();
        let counts = try_join_all(rows.iter().map(|(id, v)| {
            let insert = &insert;
            let client = &client;
            async move { client.execute(insert, &[id, v]).await }
        }))
        .await?;
        expect_eq("inserted", &counts.iter().sum::<u64>(), &500)?;
        let row = client
            .query_one("SELECT count(*), sum(v)::bigint FROM t", &[])
            .await?;
        expect_eq(
            "count and sum",
            &(row.get::<_, i64>(0), row.get::<_, i64>(1)),
            &(500, 249_500),
        )
    })
}

fn row_stream() -> TestResult {
    let login = Engine::Nyala.create_database("driver_stream")?;
    block_on(async {
        let client = connect(&login).await?;
        let sql = "SELECT x::bigint, repeat('p', 100) FROM generate_series(1, $1::integer) AS g(x)";
        let limit = 200_000_i32;
        let stream = client.query_raw(sql, [&limit]).await?;
        pin_mut!(stream);
        let (mut count, mut sum) = (0_i64, 0_i64);
        while let Some(row) = stream.try_next().await? {
            count += 1;
            sum += row.try_get::<_, i64>(0)?;
        }
        expect_eq(
            "rows and their sum",
            &(count, sum),
            &(200_000, 200_000 * 200_001 / 2),
        )
    })
}

fn portals() -> TestResult {
    let login = Engine::Nyala.create_database("driver_portals")?;
    block_on(async {
        let mut client = connect(&login).await?;
        let transaction = client.transaction().await?;
        let sql = "SELECT x FROM generate_series(1, 25) AS g(x) ORDER BY x";
        let statement = transaction.prepare(sql).await?;
        let first = transaction.bind(&statement, &[]).await?;
        let second = transaction.bind(&statement, &[]).await?;
        let mut sizes = Vec::new();
        // Two suspended portals at once, each with its own place.
        for _ in 0..3 {
            sizes.push(transaction.query_portal(&first, 10).await?.len());
            sizes.push(transaction.query_portal(&second, 7).await?.len());
        }
        expect_eq("rows per fetch", &sizes, &vec![10, 7, 10, 7, 5, 7])?;
        Ok(transaction.commit().await?)
    })
}
