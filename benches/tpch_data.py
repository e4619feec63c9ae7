"""TPC-H: its files, tables, queries, and where each side gets them from. Compares answers, not times.

`tpch/` holds the queries as the specification words them, with its validation parameters.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import duckdb

import harness

FOLDER = harness.BENCHES / "tpch"
TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")
QUERIES = tuple(range(1, 23))
# Rows of a table, by its first key column, that one transaction loads.
CHUNK_KEYS = 1_500_000


def files(scale, folder):
    """Generates the Parquet files, one a table."""
    generator = Path(sys.executable).parent / "tpchgen-cli"
    subprocess.run([generator, "parquet", "-q", "-s", str(scale), "-o", folder], check=True)
    return folder


def query(number, scale):
    text = (FOLDER / f"q{number:02}.sql").read_text()
    return text.replace(":fraction", f"{0.0001 / scale:.12f}")


def schema(options=""):
    """The statements that create the tables."""
    statements = (FOLDER / "schema.sql").read_text().split(";")
    return [f"{statement.strip()} {options}" for statement in statements if statement.strip()]


def duck(folder):
    """DuckDB on the files, with two threads."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    for table in TABLES:
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM '{folder}/{table}.parquet'")
    return connection


def open_files(connection, folder, schema="public"):
    """Makes the files external tables of a Nyala server."""
    for table in TABLES:
        connection.execute(
            f"CREATE EXTERNAL TABLE {schema}.{table} STORED AS PARQUET LOCATION '{folder}/{table}.parquet'"
        )


def load_nyala(connection, folder, options=""):
    """Loads the files into tables of the server's own; returns how many rows, and in how many seconds."""
    connection.execute("CREATE SCHEMA files")
    open_files(connection, folder, "files")
    for statement in schema(options):
        connection.execute(statement)
    rows = 0
    began = time.perf_counter()
    for table in TABLES:
        key = re.search(rf"CREATE TABLE {table} \(\s*(\w+)", (FOLDER / "schema.sql").read_text()).group(1)
        last = connection.execute(f"SELECT max({key}) FROM files.{table}").fetchone()[0]
        for start in range(0, last + 1, CHUNK_KEYS):
            chunk = f"SELECT * FROM files.{table} WHERE {key} >= {start} AND {key} < {start + CHUNK_KEYS}"
            rows += connection.execute(f"INSERT INTO {table} {chunk}").rowcount
    return rows, time.perf_counter() - began


def load_postgres(server, folder):
    """Loads the files into PostgreSQL, by way of CSV."""
    source = duck(folder)
    server.execute(*schema())
    for table in TABLES:
        csv = folder / f"{table}.csv"
        source.execute(f"COPY {table} TO '{csv}' (FORMAT csv, HEADER false)")
        server.copy(table, csv)
        csv.unlink()
    server.execute("VACUUM ANALYZE", "CHECKPOINT")


def difference(ours, theirs):
    """What differs between two results, or nothing. Numbers may differ in the seventh digit."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, expected {len(theirs)}"
    for number, (row, expected) in enumerate(zip(ours, theirs), 1):
        if len(row) != len(expected) or not all(map(same, row, expected)):
            return f"row {number} is {shown(row)}, expected {shown(expected)}"
    return None


def same(ours, theirs):
    if ours is None or theirs is None or isinstance(theirs, str):
        return ours == theirs
    try:
        a, b = float(ours), float(theirs)
    except (TypeError, ValueError):
        return ours == theirs
    return abs(a - b) <= 1e-7 * max(abs(a), abs(b)) + 1e-9


def shown(row):
    return ", ".join(map(str, row))
