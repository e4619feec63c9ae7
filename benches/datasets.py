"""The rows the benches load, made by DuckDB from the row number alone, so that every run and every
side has the same ones.

A data set is a query; changes to it are a query as well, so the flat Parquet file that a changed
table is compared with is made without asking the table.
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

# As Nyala writes its own files, so that a flat file differs from a table in nothing but the table.
ROW_GROUP_ROWS = 1 << 18
PAGE_ROWS = 8_192
DICTIONARY_BYTES = 64 << 10


@dataclass(frozen=True)
class Dataset:
    """Rows keyed by `id`, from 1 on."""

    definition: str
    query: str
    # Columns as they are after 1% of the keys, id % 100 = 7, have been changed by `update`.
    update: str
    changed: str

    def create(self, table, options=""):
        return f"CREATE TABLE {table} ({self.definition}) {options}"

    def sql(self, rows, changed=False):
        query = self.query.format(rows=rows)
        return f"SELECT * REPLACE ({self.changed}) FROM ({query})" if changed else query


# Short rows as a bank or a shop keeps them; the update of a row changes one number.
ACCOUNTS = Dataset(
    definition="id bigint PRIMARY KEY, owner bigint, balance bigint, note text",
    query="""
        SELECT i AS id, i % 1000 AS owner, (hash(i) % 100000)::bigint AS balance,
               'an account of the bench with a note of about sixty bytes in it' AS note
        FROM range(1, {rows} + 1) AS numbers(i)""",
    update="UPDATE {table} SET balance = balance + 1 WHERE id % 100 = 7",
    changed="CASE WHEN id % 100 = 7 THEN balance + 1 ELSE balance END AS balance",
)

# Records of which one in 21 is open, spread over all keys.
RECORDS = Dataset(
    definition="""id bigint PRIMARY KEY, opened_at timestamptz, closed_at timestamptz, customer_id bigint,
        tariff text, price numeric(12,2), usage double precision""",
    query="""
        SELECT i AS id,
               make_timestamptz(1420070400000000 + i * 15000000) AS opened_at,
               CASE WHEN i % 21 <> 0 THEN opened_at + to_seconds((hash(i) % 10000000)::bigint) END AS closed_at,
               (hash(i + 1) % 1000000)::bigint AS customer_id,
               'tariff ' || (hash(i + 2) % 12)::varchar AS tariff,
               ((hash(i + 3) % 20000)::bigint / 100)::decimal(12,2) AS price,
               (hash(i + 4) % 1000000)::double / 7 AS usage
        FROM range(1, {rows} + 1) AS numbers(i)""",
    update="UPDATE {table} SET price = price + 1 WHERE id % 100 = 7",
    changed="CASE WHEN id % 100 = 7 THEN price + 1 ELSE price END::decimal(12,2) AS price",
)

# Eight columns of the types that results mostly have.
MIXED = Dataset(
    definition="""id bigint PRIMARY KEY, kind integer, ratio double precision, amount numeric(12,2),
        name text, day date, at timestamptz, flag boolean""",
    query="""
        SELECT i AS id, (i % 100)::integer AS kind, (hash(i) % 1000000)::double / 7 AS ratio,
               ((hash(i + 1) % 10000000)::bigint / 100)::decimal(12,2) AS amount,
               'customer number ' || i::varchar AS name, date '2015-01-01' + (i % 4000)::integer AS day,
               make_timestamptz(1420070400000000 + i * 1000003) AS at, i % 3 = 0 AS flag
        FROM range(1, {rows} + 1) AS numbers(i)""",
    update="UPDATE {table} SET kind = kind + 1 WHERE id % 100 = 7",
    changed="CASE WHEN id % 100 = 7 THEN kind + 1 ELSE kind END AS kind",
)


def write_csv(dataset, rows, path):
    """Rows in random order of keys within blocks, as a feed brings them; returns the path."""
    query = f"SELECT * FROM ({dataset.sql(rows)}) ORDER BY id // 100000, hash(id)"
    session().execute(f"COPY ({query}) TO '{path}' (FORMAT csv, HEADER false)")
    return path


def write_parquet(dataset, rows, path, changed=False):
    """One file, sorted by key; returns the path."""
    connection = session()
    batches = connection.sql(dataset.sql(rows, changed)).to_arrow_reader(ROW_GROUP_ROWS)
    text = {field.name for field in batches.schema if pa.types.is_string(field.type)}
    names = batches.schema.names
    options = {
        "compression": {name: "zstd" if name in text else "lz4" for name in names},
        "compression_level": {name: 1 for name in text},
        "use_dictionary": [name for name in names if name != "id"],
        "column_encoding": {"id": "DELTA_BINARY_PACKED"},
        "sorting_columns": [pq.SortingColumn(0)],
        "write_page_index": True,
        "max_rows_per_page": PAGE_ROWS,
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
        "store_schema": False,
    }
    with pq.ParquetWriter(path, batches.schema, **options) as writer:
        for table in row_groups(batches):
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return path


def row_groups(batches):
    """Tables of as many rows as a row group has."""
    waiting = []
    for batch in batches:
        while batch.num_rows:
            room = ROW_GROUP_ROWS - sum(part.num_rows for part in waiting)
            waiting.append(batch.slice(0, room))
            batch = batch.slice(room)
            if sum(part.num_rows for part in waiting) == ROW_GROUP_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def session():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection
