"""psqlODBC by pyodbc: catalog functions, parameters, cursors by DECLARE and FETCH, transactions."""

import datetime as dt
import os
import uuid
from decimal import Decimal

import pyodbc

from features import DATABASE, HOST, PASSWORD, PORT, USER, equal, feature, main, raises

DRIVER = os.environ.get("PSQLODBC", "/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so")


def connect(options="", autocommit=True):
    return pyodbc.connect(
        f"Driver={DRIVER};Server={HOST};Port={PORT};Database={DATABASE};Uid={USER};Pwd={PASSWORD};{options}",
        autocommit=autocommit,
    )


def table(connection, name, columns):
    connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.execute(f"CREATE TABLE {name} ({columns})")


@feature("connect and info")
def connecting():
    connection = connect()
    equal(connection.execute("SELECT 1").fetchval(), 1)
    equal(connection.getinfo(pyodbc.SQL_DBMS_NAME), "PostgreSQL")
    equal(connection.getinfo(pyodbc.SQL_DATABASE_NAME), DATABASE)
    assert connection.getinfo(pyodbc.SQL_DBMS_VER).startswith("15"), connection.getinfo(pyodbc.SQL_DBMS_VER)


VALUES = {
    "integer": 5, "bigint": 2**60, "smallint": -3, "double precision": 1.5, "numeric(10,3)": Decimal("12.345"),
    "text": "ü€", "varchar(20)": "abc", "boolean": True, "bytea": b"\x00\xff", "date": dt.date(2024, 2, 29),
    "time": dt.time(1, 2, 3), "timestamp": dt.datetime(2024, 1, 2, 3, 4, 5, 678000),
}  # fmt: skip


def round_trip(type_name, value):
    connection = connect("BoolsAsChar=0;ByteaAsLongVarBinary=1")
    table(connection, "od_type", f"id integer PRIMARY KEY, v {type_name}")
    connection.execute("INSERT INTO od_type VALUES (?, ?)", 1, value)
    connection.execute("INSERT INTO od_type VALUES (?, ?)", 2, None)
    equal([row[0] for row in connection.execute("SELECT v FROM od_type ORDER BY id").fetchall()], [value, None])


for _type, _value in VALUES.items():
    feature(f"type {_type}")(lambda kind=_type, value=_value: round_trip(kind, value))


@feature("type uuid, jsonb, timestamptz and arrays as text")
def others():
    connection = connect()
    row = connection.execute(
        "SELECT '6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d'::uuid, '{\"a\": 1}'::jsonb, '2024-01-01 00:00+00'::timestamptz, '{1,2}'::int4[]"
    ).fetchone()
    equal(str(uuid.UUID(str(row[0]))), "6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d")
    equal((row[1], row[2].year, row[3]), ('{"a": 1}', 2024, "{1,2}"))


@feature("description")
def description():
    connection = connect()
    table(connection, "od_desc", "a integer NOT NULL, b varchar(7), c numeric(9,2)")
    cursor = connection.execute("SELECT a, b, c FROM od_desc")
    equal([(d[0], d[1], d[4], d[5]) for d in cursor.description],
          [("a", int, 10, 0), ("b", str, 7, 0), ("c", Decimal, 9, 2)])  # fmt: skip


@feature("catalog: tables")
def tables():
    connection = connect()
    table(connection, "od_cat", "id integer PRIMARY KEY, n varchar(20) NOT NULL, p numeric(10,2) DEFAULT 1.5, t text")
    connection.execute("DROP VIEW IF EXISTS od_cat_view")
    connection.execute("CREATE VIEW od_cat_view AS SELECT 1 AS a")
    found = connection.cursor().tables(schema="public", table="od_cat%").fetchall()
    equal([(row.table_cat, row.table_schem, row.table_name, row.table_type) for row in found],
          [(DATABASE, "public", "od_cat", "TABLE"), (DATABASE, "public", "od_cat_view", "VIEW")])  # fmt: skip


@feature("catalog: columns")
def columns():
    connection = connect()
    table(connection, "od_cols", "id integer PRIMARY KEY, n varchar(20) NOT NULL, p numeric(10,2) DEFAULT 1.5, t text")
    found = connection.cursor().columns(table="od_cols").fetchall()
    equal([(r.column_name, r.data_type, r.type_name, r.column_size, r.nullable, r.column_def) for r in found],
          [("id", 4, "int4", 10, 0, None), ("n", -9, "varchar", 20, 0, None), ("p", 2, "numeric", 10, 1, "1.5"),
           ("t", -10, "text", 8190, 1, None)])  # fmt: skip


@feature("catalog: primary keys")
def primary_keys():
    connection = connect()
    table(connection, "od_pk", "a integer, b integer, PRIMARY KEY (a, b)")
    found = connection.cursor().primaryKeys("od_pk").fetchall()
    equal([(r.column_name, r.key_seq, r.pk_name) for r in found], [("a", 1, "od_pk_pkey"), ("b", 2, "od_pk_pkey")])


@feature("catalog: statistics (indexes)")
def statistics():
    connection = connect()
    table(connection, "od_stat", "a integer PRIMARY KEY, b integer")
    connection.execute("CREATE INDEX od_stat_b ON od_stat (b)")
    found = connection.cursor().statistics("od_stat").fetchall()
    equal(sorted((r.index_name, r.non_unique, r.column_name) for r in found if r.index_name),
          [("od_stat_b", 1, "b"), ("od_stat_pkey", 0, "a")])  # fmt: skip


@feature("catalog: foreign keys, none")
def foreign_keys():
    connection = connect()
    table(connection, "od_nofk", "a integer PRIMARY KEY")
    equal(connection.cursor().foreignKeys(foreignTable="od_nofk").fetchall(), [])
    equal(connection.cursor().foreignKeys(table="od_nofk").fetchall(), [])


@feature("catalog: special columns, procedures, type info")
def special():
    connection = connect()
    table(connection, "od_special", "a integer PRIMARY KEY")
    connection.cursor().rowIdColumns("od_special").fetchall()
    connection.cursor().rowVerColumns("od_special").fetchall()
    connection.cursor().procedures(schema="public").fetchall()
    assert "int4" in [row.type_name for row in connection.cursor().getTypeInfo().fetchall()]


@feature("transactions")
def transactions():
    connection = connect(autocommit=False)
    table(connection, "od_tx", "a integer")
    connection.commit()
    connection.execute("INSERT INTO od_tx VALUES (1)")
    connection.rollback()
    connection.execute("INSERT INTO od_tx VALUES (2)")
    connection.commit()
    equal([row[0] for row in connection.execute("SELECT a FROM od_tx").fetchall()], [2])


for _level in (0, 1, 2):

    @feature(f"statement rolled back alone or not (Protocol=7.4-{_level})")
    def rollback_level(level=_level):
        connection = connect(f"Protocol=7.4-{level}", autocommit=False)
        table(connection, "od_level", "a integer PRIMARY KEY")
        connection.commit()
        connection.execute("INSERT INTO od_level VALUES (1)")
        raises(pyodbc.IntegrityError, connection.execute, "INSERT INTO od_level VALUES (1)")
        if level == 2:
            connection.execute("INSERT INTO od_level VALUES (2)")
        else:
            connection.rollback()
        connection.commit()
        equal(connection.execute("SELECT count(*) FROM od_level").fetchval(), 2 if level == 2 else 0)


@feature("executemany and fast_executemany")
def executemany():
    connection = connect(autocommit=False)
    table(connection, "od_many", "a integer, b varchar(20)")
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO od_many VALUES (?, ?)", [(n, str(n)) for n in range(50)])
    cursor.fast_executemany = True
    cursor.executemany("INSERT INTO od_many VALUES (?, ?)", [(n, str(n)) for n in range(50)])
    connection.commit()
    equal(tuple(cursor.execute("SELECT count(*), sum(a) FROM od_many").fetchone()), (100, 2450))


@feature("UseDeclareFetch")
def declare_fetch():
    connection = connect("UseDeclareFetch=1;Fetch=100", autocommit=False)
    total = 0
    for row in connection.execute("SELECT g FROM generate_series(1, 1000) AS g"):
        total += row[0]
    equal(total, 500500)


@feature("UseServerSidePrepare=0")
def client_prepare():
    connection = connect("UseServerSidePrepare=0")
    equal(tuple(connection.execute("SELECT ? || 'x', ?::int + 1", "it's", 41).fetchone()), ("it'sx", 42))


@feature("errors")
def errors():
    connection = connect()
    table(connection, "od_err", "a integer PRIMARY KEY")
    connection.execute("INSERT INTO od_err VALUES (1)")
    equal(raises(pyodbc.IntegrityError, connection.execute, "INSERT INTO od_err VALUES (1)").args[0], "23505")
    equal(raises(pyodbc.ProgrammingError, connection.execute, "SELECT * FROM od_missing").args[0], "42P01")
    equal(raises(pyodbc.DataError, connection.execute, "SELECT 1/0").args[0], "22012")


if __name__ == "__main__":
    main("psqlODBC")
