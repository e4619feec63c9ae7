//! Which statements are compiled, and that what is compiled runs without planning.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use nyala_catalog::{Catalog, CatalogConfig, TEMPORARY_FOLDER};
use tokio::runtime::Handle;

use super::{Prepared, Scope, Session, SessionStart};
use crate::server::Server;
use crate::workload::{Limits, Workload};

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

const TABLES: &str = "
    CREATE TABLE t (id integer PRIMARY KEY, v bigint, note text DEFAULT 'x', n numeric(6,2));
    CREATE INDEX t_v ON t (v, note);
    CREATE TABLE c (a integer, b text, v integer, PRIMARY KEY (a, b));
    CREATE TABLE h (id bigint PRIMARY KEY, v integer, done boolean) WITH (closed_when = 'done');
    CREATE TABLE bare (id integer);
    INSERT INTO t VALUES (1, 10, 'a', 1), (2, 20, 'b', 2), (3, 20, 'c', 3);
    INSERT INTO c VALUES (1, 'x', 11), (1, 'y', 12), (2, 'x', 21);
    INSERT INTO h VALUES (1, 1, false), (2, 2, true), (3, 3, true)";

/// A session on a new data directory, which the caller removes.
pub(crate) async fn session() -> (Session, PathBuf) {
    let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
    let name = format!("nyala-session-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let config = CatalogConfig {
        data_dir: directory.clone(),
        ..CatalogConfig::default()
    };
    let catalog = Catalog::open(config).await.expect("an empty catalog");
    catalog.bootstrap(None).await.expect("a new catalog");
    let start = SessionStart {
        user: "nyala".into(),
        database: "nyala".into(),
        process_id: 1,
        canceller: None,
        parameters: Default::default(),
    };
    let limits = Limits {
        memory: 1 << 30,
        temporary: directory.join(TEMPORARY_FOLDER),
    };
    let workload = Workload::new(Handle::current(), &limits).expect("a folder");
    let server = Arc::new(Server::new(catalog, workload).expect("a server"));
    let session = Session::start(server, start).await.expect("a session");
    (session, directory)
}

/// A session with the tables.
struct Own {
    session: Session,
    directory: PathBuf,
}

impl Own {
    async fn start() -> Self {
        let (mut session, directory) = session().await;
        session.run_script(TABLES).await.expect("tables");
        Self { session, directory }
    }

    /// A statement as Parse leaves it.
    async fn prepared(&mut self, sql: &str) -> Prepared {
        let mut parsed = self.session.parse(sql).expect(sql);
        let statement = parsed.pop().expect(sql);
        let prepared = self.session.prepare(statement, &[]).await.expect(sql);
        self.session.compile(&prepared).expect(sql);
        prepared
    }

    async fn is_compiled(&mut self, sql: &str) -> bool {
        let prepared = self.prepared(sql).await;
        let compiled = prepared.point.lock();
        compiled.is_some()
    }

    /// The rows of a statement that is run without planning and without waiting.
    async fn rows(&mut self, sql: &str, values: &[ScalarValue]) -> Option<RecordBatch> {
        let prepared = self.prepared(sql).await;
        self.session
            .execute_now(&prepared, values, Scope::Alone)
            .expect(sql)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn integers(values: impl IntoIterator<Item = Option<i32>>) -> ScalarValue {
    let values: Vec<ScalarValue> = values.into_iter().map(ScalarValue::Int32).collect();
    let element = arrow::datatypes::DataType::Int32;
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &element))
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_about_few_keys_are_compiled() {
    let mut own = Own::start().await;
    for sql in [
        "SELECT * FROM t WHERE id = $1",
        "SELECT * FROM t WHERE id IN ($1, $2)",
        "SELECT v FROM t AS x WHERE x.id IN (1, 2, NULL) AND note > 'a'",
        "SELECT v + $2 FROM t WHERE id = ANY ($1)",
        "SELECT v FROM t WHERE id = ANY (ARRAY[1, $1])",
        "SELECT v FROM t WHERE id = ANY ('{1,2}')",
        "SELECT v FROM t WHERE id = ANY ($1::bigint[])",
        "SELECT v FROM c WHERE a = $1 AND b IN ('x', $2)",
        "SELECT v FROM c WHERE b = $1 AND a = ANY ($2) AND v > 0",
        "SELECT v FROM h WHERE id IN (1, 2)",
        "SELECT id FROM t WHERE v IN ($1, $2)",
        "SELECT id FROM t WHERE note = ANY ($1) AND v = 20",
        "INSERT INTO t VALUES ($1, $2) RETURNING *",
        "INSERT INTO t VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING id, t.v AS value",
        "INSERT INTO bare VALUES ($1) RETURNING id",
        "UPDATE t SET v = v + 1 WHERE id = $1 RETURNING v, v, note",
        "UPDATE h AS x SET v = 0 WHERE id = $1 RETURNING x.*",
        "DELETE FROM c WHERE a = $1 AND b = $2 RETURNING c.v",
    ] {
        assert!(own.is_compiled(sql).await, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_statements_are_planned() {
    let mut own = Own::start().await;
    let long: Vec<String> = (0..101).map(|id| id.to_string()).collect();
    let long = format!("SELECT v FROM t WHERE id IN ({})", long.join(", "));
    for sql in [
        long.as_str(),
        "SELECT v FROM t WHERE id NOT IN (1, 2)",
        "SELECT v FROM t WHERE id IN (1, 2) OR v = 3",
        "SELECT v FROM t WHERE id IN (1, v)",
        "SELECT v FROM t WHERE id IN (1, 2.5)",
        "SELECT v FROM t WHERE id IN (SELECT 1)",
        "SELECT v FROM t WHERE id = ANY (SELECT 1)",
        "SELECT v FROM t WHERE id <> ANY ($1)",
        "SELECT v FROM t WHERE id = ALL ($1)",
        "SELECT v FROM t WHERE id IN (1, 2) LIMIT 1",
        "SELECT v FROM t WHERE id IN (1, 2) ORDER BY v",
        "SELECT count(*) FROM t WHERE id IN (1, 2)",
        "SELECT v FROM c WHERE a IN (1, 2)",
        "SELECT v FROM c WHERE a IN (1, 2) AND b IN ('x', 'y')",
        "SELECT id FROM h WHERE v IN (1, 2)",
        "SELECT id FROM bare WHERE id IN (1, 2)",
        "INSERT INTO t VALUES ($1, $2) RETURNING id + 1",
        "INSERT INTO t VALUES ($1, $2), (9, 9) RETURNING id",
        "UPDATE t SET v = 1 WHERE id IN (1, 2) RETURNING id",
        "DELETE FROM t WHERE id = $1 RETURNING upper(note)",
    ] {
        assert!(!own.is_compiled(sql).await, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_run_without_planning() {
    const ANY: &str = "SELECT v FROM t WHERE id = ANY ($1)";
    let mut own = Own::start().await;
    let rows = |batch: Option<RecordBatch>| batch.map(|batch| batch.num_rows());
    let list = integers([Some(1), Some(3), None, Some(3), Some(99)]);
    // The second time from the row cache.
    for _ in 0..2 {
        assert_eq!(
            rows(own.rows(ANY, std::slice::from_ref(&list)).await),
            Some(2)
        );
    }
    assert_eq!(rows(own.rows(ANY, &[integers([])]).await), Some(0));
    let null = ScalarValue::try_from(&list.data_type()).expect("a NULL array");
    assert_eq!(rows(own.rows(ANY, &[null]).await), Some(0));
    assert_eq!(
        rows(own.rows(ANY, &[integers((0..101).map(Some))]).await),
        None
    );
    let found = own.rows("SELECT id FROM t WHERE v = ANY ('{20,10,20}')", &[]);
    assert_eq!(rows(found.await), Some(3));
    let found = own.rows("SELECT v FROM c WHERE a = 1 AND b IN ('x', 'y', 'z')", &[]);
    assert_eq!(rows(found.await), Some(2));
    let found = own.rows("SELECT v FROM h WHERE id IN (1, 2)", &[]);
    assert_eq!(rows(found.await), Some(2));
    // A row that the row store does not have may be closed: that takes a transaction.
    own.session
        .run_script("CALL nyala.housekeeping('h')")
        .await
        .expect("a run");
    let found = own.rows("SELECT v FROM h WHERE id IN (1, 3)", &[]);
    assert_eq!(rows(found.await), None);
}
