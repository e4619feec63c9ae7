"""Clients that fetch whole results in columns: ADBC, connectorx, polars, DuckDB."""

import datetime as dt
from decimal import Decimal

from features import DATABASE, HOST, PASSWORD, PORT, URI, USER, equal, feature, main

UTC = dt.timezone.utc
TABLE = """CREATE TABLE ar_all (i integer PRIMARY KEY, s smallint, l bigint, f real, d double precision, n numeric(12,3),
    t text, v varchar(9), b boolean, day date, tm time, ts timestamp, tz timestamptz, y bytea, u uuid, j jsonb, a integer[])"""
ROW = """INSERT INTO ar_all VALUES (1, 2, 3, 1.5, 2.5, 12.345, 'ü', 'v', true, '2024-02-29', '01:02:03', '2024-01-02 03:04:05',
    '2024-01-02 03:04:05+00', '\\x00ff', '6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d', '{"k": 1}', '{1,2}')"""
NUMBERS = "SELECT g::int AS id, g * 1.5::float8 AS x, 'n' || g AS name FROM generate_series(1, 1000) AS g"


def prepare():
    import psycopg

    with psycopg.connect(URI, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS ar_all")
        connection.execute(TABLE)
        connection.execute(ROW)
        connection.execute("INSERT INTO ar_all (i) VALUES (2)")


# ADBC


def adbc():
    import adbc_driver_postgresql.dbapi

    return adbc_driver_postgresql.dbapi.connect(URI, autocommit=True)


def adbc_value(expression, expected_type, expected):
    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {expression} AS v")
        table = cursor.fetch_arrow_table()
        equal((str(table.schema.field(0).type), table.column(0).to_pylist()), (expected_type, [expected]))


OPAQUE = "extension<arrow.opaque[storage_type=string, type_name=numeric, vendor_name=PostgreSQL]>"
ADBC_VALUES = {
    "integer": ("1::int4", "int32", 1),
    "literal of a VALUES list": ("(SELECT a FROM (VALUES (1)) AS t (a))", "int32", 1),
    "bigint": ("count(*)", "int64", 1),
    "smallint": ("1::int2", "int16", 1),
    "double": ("1.5::float8", "double", 1.5),
    "real": ("1.5::float4", "float", 1.5),
    "numeric": ("1.50::numeric(9,2)", OPAQUE, "1.50"),
    "text": ("'ü'::text", "string", "ü"),
    "varchar": ("'ü'::varchar(3)", "string", "ü"),
    "boolean": ("true", "bool", True),
    "bytea": ("'\\x00ff'::bytea", "binary", b"\x00\xff"),
    "date": ("'2024-02-29'::date", "date32[day]", dt.date(2024, 2, 29)),
    "time": ("'01:02:03'::time", "time64[us]", dt.time(1, 2, 3)),
    "timestamp": ("'2024-01-02 03:04:05'::timestamp", "timestamp[us]", dt.datetime(2024, 1, 2, 3, 4, 5)),
    "timestamptz": (
        "'2024-01-02 03:04:05+00'::timestamptz", "timestamp[us, tz=UTC]", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    ),
    "integer array": ("'{1,2}'::int4[]", "list<item: int32>", [1, 2]),
    "text array": ("ARRAY['a', NULL]", "list<item: string>", ["a", None]),
    "uuid": (
        "'6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d'::uuid::text", "string", "6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d"
    ),
}  # fmt: skip
for _name, (_expression, _type, _value) in ADBC_VALUES.items():
    feature(f"ADBC: read {_name}")(
        lambda expression=_expression, kind=_type, value=_value: adbc_value(expression, kind, value)
    )


@feature("ADBC: many rows")
def adbc_rows():
    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute(NUMBERS)
        table = cursor.fetch_arrow_table()
        equal((table.num_rows, table.column("id").to_pylist()[-1], table.column("name")[999].as_py()), (1000, 1000, "n1000"))


@feature("ADBC: table with every type")
def adbc_table():
    prepare()
    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM ar_all ORDER BY i")
        rows = cursor.fetch_arrow_table().to_pylist()
        equal((rows[0]["n"], rows[0]["tz"], rows[0]["a"], rows[1]["t"]), ("12.345", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), [1, 2], None))


@feature("ADBC: without COPY")
def adbc_no_copy():
    with adbc() as connection, connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.use_copy": "false"}) as cursor:
        cursor.execute(NUMBERS)
        equal(cursor.fetch_arrow_table().num_rows, 1000)


@feature("ADBC: parameters")
def adbc_parameters():
    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT $1::int + $2::int, $3::text", (40, 2, "x"))
        equal(cursor.fetchall(), [(42, "x")])


@feature("ADBC: executemany")
def adbc_executemany():
    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS ar_many")
        cursor.execute("CREATE TABLE ar_many (a bigint, b text)")
        cursor.executemany("INSERT INTO ar_many VALUES ($1, $2)", [(1, "x"), (2, None)])
        cursor.execute("SELECT a, b FROM ar_many ORDER BY a")
        equal(cursor.fetchall(), [(1, "x"), (2, None)])


def ingest_table():
    import pyarrow as pa

    return pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "x": pa.array([1.5, None, 3.5], pa.float64()),
            "s": pa.array(["a", None, "ü"], pa.string()),
            "b": pa.array([True, False, None]),
            "day": pa.array([dt.date(2024, 1, 1), None, None]),
            "at": pa.array([dt.datetime(2024, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", tz="UTC")),
            "y": pa.array([b"\x00", None, b""], pa.binary()),
        }
    )


def adbc_ingest(*modes, **options):
    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS ar_ingest")
        for mode in modes:
            equal(cursor.adbc_ingest("ar_ingest", ingest_table(), mode=mode, **options), 3)
        cursor.execute("SELECT * FROM ar_ingest ORDER BY id")
        found = cursor.fetch_arrow_table()
        equal(found.column("s").to_pylist()[-1], "ü")
        return found.num_rows


@feature("ADBC: ingest, create")
def adbc_create():
    equal(adbc_ingest("create"), 3)


@feature("ADBC: ingest, append and replace")
def adbc_append():
    equal(adbc_ingest("create", "append"), 6)
    equal(adbc_ingest("create_append", "replace"), 3)


@feature("ADBC: ingest, temporary")
def adbc_temporary():
    equal(adbc_ingest("create", temporary=True), 3)


@feature("ADBC: get_objects and table schema")
def adbc_objects():
    prepare()
    with adbc() as connection:
        schema = connection.adbc_get_table_schema("ar_all")
        equal([str(schema.field(name).type) for name in ("i", "l", "t", "tz")], ["int32", "int64", "string", "timestamp[us, tz=UTC]"])
        objects = connection.adbc_get_objects(depth="all", catalog_filter=DATABASE, table_name_filter="ar_all").read_all().to_pylist()
        tables = [t for s in objects[0]["catalog_db_schemas"] for t in s["db_schema_tables"]]
        equal([(t["table_name"], len(t["table_columns"])) for t in tables], [("ar_all", 17)])
        assert "table" in connection.adbc_get_table_types()


@feature("ADBC: transaction")
def adbc_transaction():
    import adbc_driver_postgresql.dbapi

    with adbc() as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS ar_tx")
        cursor.execute("CREATE TABLE ar_tx (a bigint)")
    with adbc_driver_postgresql.dbapi.connect(URI) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO ar_tx VALUES (1)")
        connection.rollback()
        cursor.execute("SELECT count(*) FROM ar_tx")
        equal(cursor.fetchone(), (0,))


@feature("ADBC: errors have an SQLSTATE")
def adbc_error():
    with adbc() as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SELECT * FROM ar_missing")
            cursor.fetchall()
        except Exception as error:
            equal(getattr(error, "sqlstate", None), "42P01")
        else:
            raise AssertionError("no error")


@feature("pandas: read_sql and to_sql by ADBC")
def pandas_adbc():
    import pandas as pd

    with adbc() as connection:
        frame = pd.read_sql(NUMBERS, connection)
        equal(len(frame), 1000)
        frame.to_sql("ar_pandas", connection, if_exists="replace", index=False)
        equal(len(pd.read_sql_table("ar_pandas", connection)), 1000)


# connectorx


def connectorx_protocol(protocol):
    import connectorx

    frame = connectorx.read_sql(URI, NUMBERS, protocol=protocol, return_type="arrow")
    equal((frame.num_rows, frame.column("name")[999].as_py()), (1000, "n1000"))


for _protocol in ("binary", "csv", "cursor", "simple"):
    feature(f"connectorx: protocol {_protocol}")(lambda protocol=_protocol: connectorx_protocol(protocol))


@feature("connectorx: partitions")
def connectorx_partitions():
    import connectorx

    prepare()
    frame = connectorx.read_sql(URI, "SELECT i, t FROM ar_all", partition_on="i", partition_num=2, return_type="arrow")
    equal(sorted(frame.column("i").to_pylist()), [1, 2])


@feature("connectorx: table with every type")
def connectorx_types():
    import connectorx

    prepare()
    frame = connectorx.read_sql(URI, "SELECT i, s, l, f, d, n, t, v, b, day, tm, ts, tz, y, u, j FROM ar_all ORDER BY i", return_type="pandas")
    equal((frame.t[0], bool(frame.b[0]), float(frame.n[0])), ("ü", True, 12.345))


# polars


@feature("polars: read_database_uri by connectorx")
def polars_connectorx():
    import polars as pl

    frame = pl.read_database_uri(NUMBERS, URI, engine="connectorx")
    equal((frame.height, frame["id"].sum()), (1000, 500500))


@feature("polars: read_database_uri by ADBC")
def polars_adbc():
    import polars as pl

    frame = pl.read_database_uri(NUMBERS, URI, engine="adbc")
    equal((frame.height, frame["id"].sum()), (1000, 500500))


@feature("polars: read_database by psycopg")
def polars_psycopg():
    import polars as pl
    import psycopg

    with psycopg.connect(URI) as connection:
        frame = pl.read_database(NUMBERS, connection)
    equal((frame.height, frame["id"].sum()), (1000, 500500))


@feature("polars: write_database by ADBC")
def polars_write():
    import polars as pl

    frame = pl.DataFrame({"a": [1, 2], "s": ["x", None]})
    frame.write_database("ar_polars", URI, engine="adbc", if_table_exists="replace")
    equal(pl.read_database_uri("SELECT * FROM ar_polars ORDER BY a", URI, engine="adbc").rows(), [(1, "x"), (2, None)])


@feature("polars: write_database by SQLAlchemy")
def polars_write_sqlalchemy():
    import polars as pl

    uri = URI.replace("postgresql://", "postgresql+psycopg://")
    pl.DataFrame({"a": [1, 2]}).write_database("ar_polars2", uri, engine="sqlalchemy", if_table_exists="replace")
    equal(pl.read_database_uri("SELECT sum(a)::bigint AS s FROM ar_polars2", URI).rows(), [(3,)])


if __name__ == "__main__":
    main(
        "ADBC, connectorx, polars",
        preload=["psycopg", "pyarrow", "adbc_driver_postgresql.dbapi", "pandas", "connectorx", "polars"],
    )
