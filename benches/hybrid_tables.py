"""Hybrid tables against one Parquet file of the same rows: what the union of the parts costs."""

import harness
from datasets import RECORDS, write_parquet
from open_tables import against_one_file
from report import at_most

# One record in 21 is open.
ROWS = 21_000_000
# Rows of one INSERT; a transaction's writes are held in memory.
CHUNK_ROWS = 3_000_000

QUERIES = {
    "count": "SELECT count(*) FROM {}",
    "group by": "SELECT tariff, count(*), sum(price), max(usage) FROM {} GROUP BY tariff ORDER BY tariff",
    "group by many": "SELECT customer_id, sum(price) FROM {} GROUP BY customer_id ORDER BY 2 DESC, 1 LIMIT 5",
    "selective filter": "SELECT id, price FROM {} WHERE customer_id = 4711 ORDER BY id",
    "day of the key's order": "SELECT count(*), sum(price) FROM {} WHERE opened_at >= '2015-06-01' AND opened_at < '2015-06-02'",
    "range of keys": "SELECT count(*), sum(price) FROM {} WHERE id BETWEEN 100000 AND 200000",
    "min and max": "SELECT min(price), max(price), min(closed_at), max(closed_at), count(closed_at) FROM {}",
    "order by limit": "SELECT id, price, tariff FROM {} ORDER BY price DESC, id LIMIT 10",
    "first by key": "SELECT id, price, tariff FROM {} ORDER BY id LIMIT 10",
}


def union(report, size):
    rows = size.rows(ROWS)
    note = (
        f"{rows:,} rows, one in 21 of them open, median of {size.runs} in turns. Closed by `CALL nyala.housekeeping`, then "
        "`CALL nyala.offload`. The file has the same rows, also after the change, sorted by the key and encoded as Nyala does it, "
        "and is opened by the same server."
    )
    report.section("Union of closed and open rows", "one Parquet file", "s", note)
    with harness.scratch() as folder, harness.nyala() as server, server.connect() as connection:
        path = write_parquet(RECORDS, rows, folder / "records.parquet")
        fill(connection, path, rows)
        compare = lambda state, bar=None: against_one_file(report, connection, "records", path, QUERIES, state, size.runs, bar)
        connection.execute("CALL nyala.housekeeping('records')")
        server.settle()
        compare("open rows not offloaded")
        connection.execute("CALL nyala.offload('records')")
        server.settle()
        compare("empty shadow", at_most(1.03))
        connection.execute(RECORDS.update.format(table="records"))
        path = write_parquet(RECORDS, rows, folder / "changed.parquet", changed=True)
        compare("1% changed", at_most(1.15))


def fill(connection, path, rows):
    connection.execute(RECORDS.create("records", "WITH (closed_when = 'closed_at IS NOT NULL')"))
    connection.execute(f"CREATE EXTERNAL TABLE source STORED AS PARQUET LOCATION '{path}'")
    for start in range(1, rows + 1, CHUNK_ROWS):
        connection.execute(f"INSERT INTO records SELECT * FROM source WHERE id BETWEEN {start} AND {start + CHUNK_ROWS - 1}")
