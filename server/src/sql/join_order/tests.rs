//! Orders of joins, and that answers do not depend on them.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::{MemTable, TableType};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::rules;

/// Rows in memory that claim to be more.
#[derive(Debug)]
struct Claimed {
    rows: MemTable,
    statistics: Option<Statistics>,
}

#[async_trait]
impl TableProvider for Claimed {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        self.statistics.clone()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        self.rows.scan(session, projection, filters, limit).await
    }
}

/// A table whose columns go from 0 to 9 in memory; in its statistics from 0 to what is given.
fn table(columns: &[(&str, i64)], rows: Option<usize>) -> Arc<Claimed> {
    let fields = columns.iter();
    let fields = fields.map(|(name, _)| Field::new(*name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let values = columns.iter().map(|_| {
        let values = Int64Array::from_iter((0..10).map(|at| (at != 7).then_some(at)));
        Arc::new(values) as _
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), values.collect()).unwrap();
    let statistics = rows.map(|rows| {
        let bounds = columns.iter().map(|(_, max)| ColumnStatistics {
            min_value: Precision::Exact(ScalarValue::Int64(Some(0))),
            max_value: Precision::Exact(ScalarValue::Int64(Some(*max))),
            null_count: Precision::Exact(0),
            ..ColumnStatistics::new_unknown()
        });
        Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Absent,
            column_statistics: bounds.collect(),
        }
    });
    Arc::new(Claimed {
        rows: MemTable::try_new(schema, vec![vec![batch]]).unwrap(),
        statistics,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no catalog in this test"
)]
fn context(with_rule: bool) -> SessionContext {
    let builder = SessionStateBuilder::new().with_default_features();
    let builder = match with_rule {
        true => builder.with_optimizer_rules(rules()),
        false => builder,
    };
    let context = SessionContext::new_with_state(builder.build());
    let star = [
        (
            "sales",
            table(
                &[("product", 9_999), ("shop", 999), ("day", 364)],
                Some(1_000_000),
            ),
        ),
        (
            "products",
            table(&[("id", 9_999), ("kind", 19)], Some(10_000)),
        ),
        ("shops", table(&[("id", 999), ("town", 49)], Some(1_000))),
        ("towns", table(&[("id", 49), ("country", 4)], Some(50))),
        ("unknown", table(&[("id", 9)], None)),
    ];
    for (name, table) in star {
        context.register_table(name, table).unwrap();
    }
    context
}

async fn plan(sql: &str) -> LogicalPlan {
    let plan = context(true).sql(sql).await.unwrap();
    plan.into_optimized_plan().unwrap()
}

/// The tables of a plan in the order in which its joins reach them, joins in parentheses.
fn order(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::TableScan(scan) => scan.table_name.to_string(),
        LogicalPlan::Join(join) => format!("({} {})", order(&join.left), order(&join.right)),
        other => other.inputs().iter().map(|input| order(input)).collect(),
    }
}

/// Rows as text, sorted, from a query with and without the rule.
async fn both(sql: &str) -> [Vec<String>; 2] {
    let mut answers = [Vec::new(), Vec::new()];
    for (answer, with_rule) in answers.iter_mut().zip([true, false]) {
        let batches = context(with_rule).sql(sql).await.unwrap().collect().await;
        let text = arrow::util::pretty::pretty_format_batches(&batches.unwrap());
        *answer = text
            .unwrap()
            .to_string()
            .lines()
            .map(str::to_string)
            .collect();
        answer.sort();
    }
    answers
}

const STAR: &str = "FROM sales, products, shops, towns \
    WHERE sales.product = products.id AND sales.shop = shops.id AND shops.town = towns.id";

#[tokio::test]
async fn selective_tables_come_first() {
    let all = plan(&format!("SELECT count(*) {STAR} AND country = 3")).await;
    // The shops of one country are found before any sale is read.
    assert_eq!(order(&all), "(products ((towns shops) sales))");
    let kinds = plan(&format!("SELECT count(*) {STAR} AND kind = 3")).await;
    assert_eq!(order(&kinds), "((towns shops) (products sales))");
}

#[tokio::test]
async fn what_is_not_known_stays_as_it_was_written() {
    let sql = "SELECT count(*) FROM sales, unknown, products \
        WHERE sales.day = unknown.id AND sales.product = products.id";
    assert_eq!(order(&plan(sql).await), "((sales unknown) products)");
    let two = "SELECT count(*) FROM sales, products WHERE sales.product = products.id";
    assert_eq!(order(&plan(two).await), "(sales products)");
}

#[tokio::test]
async fn outer_joins_do_not_move() {
    let sql = "SELECT count(*) FROM sales LEFT JOIN products ON sales.product = products.id \
        JOIN shops ON sales.shop = shops.id JOIN towns ON shops.town = towns.id";
    assert_eq!(order(&plan(sql).await), "((towns shops) (sales products))");
}

#[tokio::test]
async fn answers_are_the_same() {
    for sql in [
        format!("SELECT * {STAR}"),
        format!("SELECT towns.*, sales.day, day + kind AS x {STAR} AND kind + country > 4 AND day + 1 > town"),
        format!("SELECT country, count(*), sum(day) {STAR} GROUP BY country"),
        "SELECT * FROM towns t, sales s, products p, towns u WHERE s.day = t.id".into(),
        "SELECT * FROM sales s, products p, shops h WHERE s.product = p.id AND s.shop = p.kind AND s.shop = h.id AND (p.kind = 3 OR h.town = 5)".into(),
        "SELECT a.id, b.id, c.id FROM towns a JOIN towns b ON a.id = b.country JOIN towns c ON c.id = a.id + b.id WHERE a.id < 5".into(),
        "SELECT * FROM towns a, towns b, towns c, towns d, towns e, towns f, towns g, towns h, towns i, towns j, towns k, towns l \
         WHERE a.id = b.id AND b.id = c.id AND c.id = d.id AND d.id = e.id AND e.id = f.id AND f.id = g.id AND g.id = h.id AND h.id = i.id AND i.id = j.id AND j.id = k.id AND k.id = l.id".into(),
        "SELECT * FROM sales s JOIN products p ON s.product = p.id JOIN (SELECT town, count(*) AS n FROM shops GROUP BY town) x ON x.town = s.shop WHERE s.day > 2".into(),
        "SELECT id, (SELECT count(*) FROM sales, shops h, towns WHERE shop = h.id AND h.town = towns.id AND product = p.id) FROM products p".into(),
    ] {
        let [with, without] = both(&sql).await;
        assert_eq!(with, without, "{sql}");
        assert!(with.len() > 4, "{sql} has no rows");
    }
}
