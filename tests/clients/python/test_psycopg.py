"""psycopg 3: what its documentation promises, with values checked."""

import datetime as dt
import ipaddress
import json
import threading
import time
import uuid
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row, namedtuple_row, scalar_row
from psycopg.types import TypeInfo
from psycopg.types.enum import EnumInfo
from psycopg.types.composite import CompositeInfo
from psycopg.types.json import Json, Jsonb
from psycopg.types.range import Range

from features import DATABASE, HOST, PASSWORD, PORT, URI, USER, equal, fails, feature, main, raises


def connect(**options):
    return psycopg.connect(
        host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, **{"autocommit": True, **options}
    )


def table(connection, name, columns):
    connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.execute(f"CREATE TABLE {name} ({columns})")


UTC = dt.timezone.utc

# One value of each type: the SQL literal, what Python sees, the parameter's type.
VALUES = {
    "boolean": ("true", True),
    "smallint": ("'-32768'::int2", -32768),
    "integer": ("2147483647", 2147483647),
    "bigint": ("'-9223372036854775808'::int8", -9223372036854775808),
    "real": ("1.5::float4", 1.5),
    "double": ("1.1e300::float8", 1.1e300),
    "infinity": ("'-Infinity'::float8", float("-inf")),
    "numeric": ("-12345678901234567890.0987654321::numeric", Decimal("-12345678901234567890.0987654321")),
    "numeric zeros": ("1.10::numeric(12,4)", Decimal("1.1000")),
    "numeric nan": ("'NaN'::numeric::text", "NaN"),
    "text": ("'häß€😀'::text", "häß€😀"),
    "varchar": ("'abc'::varchar(10)", "abc"),
    "char": ("'abc'::char(5)", "abc  "),
    "name": ("'abc'::name", "abc"),
    "bytea": ("'\\x00ff10'::bytea", b"\x00\xff\x10"),
    "date": ("'2024-02-29'::date", dt.date(2024, 2, 29)),
    "time": ("'12:34:56.789'::time", dt.time(12, 34, 56, 789000)),
    "timetz": ("'12:34:56+02'::timetz", dt.time(12, 34, 56, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
    "timestamp": ("'2024-02-29 12:34:56.123456'::timestamp", dt.datetime(2024, 2, 29, 12, 34, 56, 123456)),
    "timestamptz": (
        "'2024-02-29 12:34:56.5+02'::timestamptz",
        dt.datetime(2024, 2, 29, 10, 34, 56, 500000, tzinfo=UTC),
    ),
    "interval": ("'1 day 02:03:04.5'::interval", dt.timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    "negative interval": ("'-3 days -04:00'::interval", dt.timedelta(days=-3, hours=-4)),
    "uuid": (
        "'6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d'::uuid",
        uuid.UUID("6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d"),
    ),
    "json": ('\'{"a": [1, 2.5, null, "x"]}\'::json', {"a": [1, 2.5, None, "x"]}),
    "jsonb": ('\'{"b": {"c": true}}\'::jsonb', {"b": {"c": True}}),
    "oid": ("16::oid", 16),
    "int array": ("'{1,NULL,3}'::int4[]", [1, None, 3]),
    "text array": ("ARRAY['a', 'b c', '\"q\"', NULL]::text[]", ["a", "b c", '"q"', None]),
    "two-dimensional array": ("'{{1,2},{3,4}}'::int4[]", [[1, 2], [3, 4]]),
    "empty array": ("'{}'::text[]", []),
    "numeric array": ("ARRAY[1.5, 2.25]::numeric[]", [Decimal("1.5"), Decimal("2.25")]),
    "timestamptz array": ("ARRAY['2024-01-01 00:00+00'::timestamptz]", [dt.datetime(2024, 1, 1, tzinfo=UTC)]),
    "uuid array": (
        "ARRAY['6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d'::uuid]",
        [uuid.UUID("6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d")],
    ),
    "jsonb array": ("ARRAY['{\"a\":1}'::jsonb]", [{"a": 1}]),
    "inet": ("'10.0.0.1'::inet", ipaddress.ip_address("10.0.0.1")),
    "range": ("'[1,5)'::int4range", Range(1, 5)),
    "null": ("NULL", None),
    "untyped literal": ("'abc'", "abc"),
}


def read_value(literal, expected, binary):
    with connect() as connection:
        cursor = connection.cursor(binary=binary)
        equal(cursor.execute(f"SELECT {literal} AS v").fetchone()[0], expected)


for _name, (_literal, _expected) in VALUES.items():
    for _binary in (False, True):
        feature(f"read {_name}, {'binary' if _binary else 'text'}")(
            lambda literal=_literal, expected=_expected, binary=_binary: read_value(literal, expected, binary)
        )

PARAMETERS = {
    "boolean": (True, "boolean"),
    "small int": (12, "integer"),
    "int": (70000, "integer"),
    "bigint": (2**40, "bigint"),
    "numeric of int": (2**70, "numeric"),
    "float": (1.25, "double precision"),
    "numeric": (Decimal("-1234.5678"), "numeric"),
    "text": ("häß'\\€", "text"),
    "bytes": (b"\x00\x01\xff'\\", "bytea"),
    "date": (dt.date(1, 1, 1), "date"),
    "time": (dt.time(1, 2, 3, 4), "time"),
    "timestamp": (dt.datetime(1999, 12, 31, 23, 59, 59, 999999), "timestamp"),
    "timestamptz": (dt.datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC), "timestamptz"),
    "interval": (dt.timedelta(days=400, seconds=5, microseconds=6), "interval"),
    "uuid": (uuid.UUID(int=2**127 + 5), "uuid"),
    "json": (Json({"a": [1, "x"]}), "json"),
    "jsonb": (Jsonb({"a": [1, "x"]}), "jsonb"),
    "int list": ([70000, 2, None], "integer[]"),
    "bigint list": ([2**40, 1], "bigint[]"),
    "text list": (["a", 'b"c', "d,e", None], "text[]"),
    "nested list": ([[70000, 2], [3, 4]], "integer[]"),
    "date list": ([dt.date(2024, 1, 1)], "date[]"),
    "float list": ([1.5, 2.5], "double precision[]"),
    "uuid list": ([uuid.UUID(int=7)], "uuid[]"),
    "none": (None, "text"),
}


def write_value(value, type_name, style):
    with connect() as connection:
        table(connection, "p3_params", f"id integer PRIMARY KEY, v {type_name}")
        connection.execute(f"INSERT INTO p3_params VALUES (%s, {style})", (1, value))
        stored = connection.execute("SELECT v FROM p3_params WHERE id = %s", (1,)).fetchone()[0]
        equal(stored, value.obj if isinstance(value, Json | Jsonb) else value)
        if not isinstance(value, Json | Jsonb) and value is not None:
            found = connection.execute(f"SELECT count(*) FROM p3_params WHERE v = {style}", (value,)).fetchone()[0]
            equal(found, 1)


for _name, (_value, _type) in PARAMETERS.items():
    for _style in ("%t", "%b"):
        if isinstance(_value, type(None)) and _style == "%b":
            continue
        feature(f"write {_name}, {'text' if _style == '%t' else 'binary'} parameter")(
            lambda value=_value, name=_type, style=_style: write_value(value, name, style)
        )


@feature("parameters without context")
def untyped_parameters():
    with connect() as connection:
        row = connection.execute("SELECT %s, %s, %s, %s", ("a", 1, 1.5, None)).fetchone()
        equal(row, ("a", 1, 1.5, None))
        equal(connection.execute("SELECT %s || %s", ("a", "b")).fetchone()[0], "ab")
        equal(connection.execute("SELECT %s::int + 1", ("41",)).fetchone()[0], 42)
        equal(connection.execute("SELECT %(x)s + %(x)s", {"x": 2}).fetchone()[0], 4)


@feature("any of a list")
def any_list():
    with connect() as connection:
        rows = connection.execute(
            "SELECT g FROM generate_series(1, 10) AS g WHERE g = ANY(%s) ORDER BY g", ([2, 4, 99],)
        ).fetchall()
        equal(rows, [(2,), (4,)])


@feature("limit and offset as parameters")
def limit_offset():
    with connect() as connection:
        rows = connection.execute(
            "SELECT g FROM generate_series(1, 10) AS g ORDER BY g LIMIT %s OFFSET %s", (2, 3)
        ).fetchall()
        equal(rows, [(4,), (5,)])


@feature("client-side binding cursor")
def client_cursor():
    with connect(cursor_factory=psycopg.ClientCursor) as connection:
        row = connection.execute(
            "SELECT %s, %s, %s, %s, %s",
            ("it's", 5, dt.date(2024, 1, 1), [1, 2], b"\x01"),
        ).fetchone()
        equal(row, ("it's", 5, dt.date(2024, 1, 1), [1, 2], b"\x01"))
        cursor = connection.cursor()
        equal(cursor.mogrify("SELECT %s", ("x",)), "SELECT 'x'")


@feature("raw cursor with $1")
def raw_cursor():
    with psycopg.RawCursor(connect()) as cursor:
        equal(cursor.execute("SELECT $1::int + $2::int", [1, 2]).fetchone()[0], 3)


@feature("row factories")
def row_factories():
    with connect() as connection:
        query = "SELECT 1 AS a, 'x' AS b"
        equal(connection.cursor(row_factory=dict_row).execute(query).fetchone(), {"a": 1, "b": "x"})
        equal(connection.cursor(row_factory=namedtuple_row).execute(query).fetchone().b, "x")
        equal(connection.cursor(row_factory=scalar_row).execute(query).fetchone(), 1)


@feature("description and rowcount")
def description():
    with connect() as connection:
        table(connection, "p3_desc", "a integer, b varchar(12), c numeric(10,3), d timestamp(3)")
        cursor = connection.execute("INSERT INTO p3_desc VALUES (1, 'x', 1.5, now()), (2, 'y', 2.5, now())")
        equal((cursor.rowcount, cursor.statusmessage), (2, "INSERT 0 2"))
        cursor = connection.execute("SELECT a, b, c, d, a + 1, count(*) OVER () FROM p3_desc")
        equal([column.name for column in cursor.description], ["a", "b", "c", "d", "?column?", "count"])
        equal([column.type_code for column in cursor.description], [23, 1043, 1700, 1114, 23, 20])
        equal(cursor.description[1].display_size, 12)
        equal((cursor.description[2].precision, cursor.description[2].scale), (10, 3))
        equal(cursor.rowcount, 2)


@feature("result knows its table column")
def table_oid():
    with connect() as connection:
        table(connection, "p3_ftable", "a integer, b text")
        cursor = connection.execute("SELECT b, 1 FROM p3_ftable")
        oid = connection.execute("SELECT 'p3_ftable'::regclass::oid").fetchone()[0]
        equal((cursor.pgresult.ftable(0), cursor.pgresult.ftablecol(0)), (oid, 2))
        equal((cursor.pgresult.ftable(1), cursor.pgresult.ftablecol(1)), (0, 0))


@feature("several statements in one query")
def several_statements():
    with connect() as connection:
        cursor = connection.execute("SELECT 1; SELECT 'a', 'b'; SELECT 3")
        results = [cursor.fetchall()]
        while cursor.nextset():
            results.append(cursor.fetchall())
        equal(results, [[(1,)], [("a", "b")], [(3,)]])


@feature("server cursor")
def server_cursor():
    with connect(autocommit=False) as connection:
        with connection.cursor("c") as cursor:
            cursor.execute("SELECT g FROM generate_series(1, %s) AS g", (1000,))
            equal(cursor.fetchone(), (1,))
            equal(cursor.fetchmany(3), [(2,), (3,), (4,)])
            equal(len(cursor.fetchall()), 996)


@feature("server cursor, binary")
def server_cursor_binary():
    with connect(autocommit=False) as connection:
        with connection.cursor("c", binary=True) as cursor:
            cursor.execute("SELECT g, g::text FROM generate_series(1, 10) AS g")
            equal(cursor.fetchmany(2), [(1, "1"), (2, "2")])


@feature("server cursor, iteration by itersize")
def server_cursor_iterate():
    with connect(autocommit=False) as connection:
        with connection.cursor("c") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT g FROM generate_series(1, 100) AS g")
            equal(sum(row[0] for row in cursor), 5050)


@feature("server cursor, scrollable")
def server_cursor_scroll():
    with connect(autocommit=False) as connection:
        with connection.cursor("c", scrollable=True) as cursor:
            cursor.execute("SELECT g FROM generate_series(1, 100) AS g")
            cursor.scroll(50, mode="absolute")
            equal(cursor.fetchone(), (51,))
            cursor.scroll(-10)
            equal(cursor.fetchone(), (42,))


@feature("server cursor, with hold")
def server_cursor_hold():
    with connect(autocommit=False) as connection:
        cursor = connection.cursor("c", withhold=True)
        cursor.execute("SELECT g FROM generate_series(1, 10) AS g")
        equal(cursor.fetchone(), (1,))
        connection.commit()
        equal(cursor.fetchmany(2), [(2,), (3,)])
        cursor.close()


@feature("server cursor, description")
def server_cursor_description():
    with connect(autocommit=False) as connection:
        with connection.cursor("c") as cursor:
            cursor.execute("SELECT 1 AS a, 'x'::text AS b")
            equal([(column.name, column.type_code) for column in cursor.description], [("a", 23), ("b", 25)])


@feature("stream")
def stream():
    with connect() as connection:
        rows = list(connection.cursor().stream("SELECT g FROM generate_series(1, %s) AS g", (5,)))
        equal(rows, [(1,), (2,), (3,), (4,), (5,)])


@feature("pipeline")
def pipeline():
    with connect() as connection:
        table(connection, "p3_pipe", "a integer PRIMARY KEY, b text")
        with connection.pipeline():
            for number in range(50):
                connection.execute("INSERT INTO p3_pipe VALUES (%s, %s)", (number, str(number)))
            cursor = connection.execute("SELECT count(*), max(b) FROM p3_pipe")
            other = connection.execute("SELECT 7")
        equal(cursor.fetchone(), (50, "9"))
        equal(other.fetchone(), (7,))


@feature("pipeline with an error in the middle")
def pipeline_error():
    with connect() as connection:
        table(connection, "p3_pipe_error", "a integer PRIMARY KEY")
        with connect() as piped:
            try:
                with piped.pipeline() as pipe:
                    piped.execute("INSERT INTO p3_pipe_error VALUES (1)")
                    pipe.sync()
                    piped.execute("INSERT INTO p3_pipe_error VALUES (2)")
                    piped.execute("INSERT INTO p3_pipe_error VALUES (1)")
                    piped.execute("INSERT INTO p3_pipe_error VALUES (3)")
                    pipe.sync()
            except psycopg.errors.UniqueViolation:
                pass
            else:
                raise AssertionError("no unique violation")
            piped.execute("INSERT INTO p3_pipe_error VALUES (4)")
        rows = connection.execute("SELECT a FROM p3_pipe_error ORDER BY a").fetchall()
        equal(rows, [(1,), (4,)])


@feature("pipeline, executemany with returning")
def pipeline_executemany():
    with connect() as connection:
        table(connection, "p3_many_ret", "a integer PRIMARY KEY, b text")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO p3_many_ret VALUES (%s, %s) RETURNING a * 10", [(1, "a"), (2, "b")], returning=True
            )
            results = [cursor.fetchone()]
            while cursor.nextset():
                results.append(cursor.fetchone())
        equal(results, [(10,), (20,)])


@feature("executemany")
def executemany():
    with connect(autocommit=False) as connection:
        table(connection, "p3_many", "a integer, b text")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO p3_many VALUES (%s, %s)", [(n, f"r{n}") for n in range(500)])
            equal(cursor.rowcount, 500)
        connection.commit()
        equal(connection.execute("SELECT count(*), sum(a) FROM p3_many").fetchone(), (500, 124750))


COPY_COLUMNS = "a integer, b text, c numeric(12,3), d timestamptz, e bytea, f jsonb, g integer[]"
COPY_ROWS = [
    (1, "tab\t nl\n bs\\ q\" c,", Decimal("1.500"), dt.datetime(2024, 1, 1, tzinfo=UTC), b"\x00\xff", {"k": 1}, [1, 2]),
    (2, "", Decimal("-0.001"), dt.datetime(1999, 12, 31, 23, 59, tzinfo=UTC), b"", {"k": "\n"}, []),
    (3, None, None, None, None, None, None),
]
COPY_TYPES = ["int4", "text", "numeric", "timestamptz", "bytea", "jsonb", "int4[]"]


def copy_in(connection, name, options=""):
    table(connection, name, COPY_COLUMNS)
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {name} FROM STDIN {options}") as copy:
            if "BINARY" in options:
                copy.set_types(COPY_TYPES)
            for row in COPY_ROWS:
                copy.write_row([Jsonb(value) if isinstance(value, dict) else value for value in row])
        equal(cursor.rowcount, 3)
    equal(connection.execute(f"SELECT * FROM {name} ORDER BY a").fetchall(), COPY_ROWS)


@feature("copy from, text rows")
def copy_from_text():
    with connect() as connection:
        copy_in(connection, "p3_copy_text")


@feature("copy from, binary rows")
def copy_from_binary():
    with connect() as connection:
        copy_in(connection, "p3_copy_binary", "(FORMAT BINARY)")


@feature("copy from, csv block")
def copy_from_csv():
    with connect() as connection:
        table(connection, "p3_copy_csv", "a integer, b text, c date")
        with connection.cursor().copy("COPY p3_copy_csv (a, b, c) FROM STDIN WITH (FORMAT csv, HEADER true)") as copy:
            copy.write('a,b,c\n1,"x, ""y""\nz",2024-01-01\n2,,\n3,"",2024-01-02\n')
        equal(
            connection.execute("SELECT * FROM p3_copy_csv ORDER BY a").fetchall(),
            [(1, 'x, "y"\nz', dt.date(2024, 1, 1)), (2, None, None), (3, "", dt.date(2024, 1, 2))],
        )


@feature("copy from, options delimiter null quote escape force")
def copy_from_options():
    with connect() as connection:
        table(connection, "p3_copy_options", "a integer, b text, c text")
        with connection.cursor().copy(
            "COPY p3_copy_options FROM STDIN (FORMAT csv, DELIMITER ';', NULL 'NIL', QUOTE '''', ESCAPE '\\',"
            " FORCE_NOT_NULL (c))"
        ) as copy:
            copy.write("1;NIL;NIL\n2;'a;\\'b';''\n")
        equal(
            connection.execute("SELECT * FROM p3_copy_options ORDER BY a").fetchall(),
            [(1, None, "NIL"), (2, "a;'b", "")],
        )


@feature("copy from, error keeps nothing and tells the line")
def copy_from_error():
    with connect() as connection:
        table(connection, "p3_copy_error", "a integer, b text")

        def load():
            with connection.cursor().copy("COPY p3_copy_error FROM STDIN") as copy:
                copy.write("1\tx\nzwei\ty\n")

        error = fails("22P02", load)
        equal(error.diag.context, 'COPY p3_copy_error, line 2, column a: "zwei"')
        equal(connection.execute("SELECT count(*) FROM p3_copy_error").fetchone()[0], 0)


@feature("copy from, abandoned by the client")
def copy_from_abandoned():
    with connect() as connection:
        table(connection, "p3_copy_abandoned", "a integer")

        def load():
            with connection.cursor().copy("COPY p3_copy_abandoned FROM STDIN") as copy:
                copy.write("1\n")
                raise ZeroDivisionError

        raises(ZeroDivisionError, load)
        equal(connection.execute("SELECT count(*) FROM p3_copy_abandoned").fetchone()[0], 0)


@feature("copy to, text rows")
def copy_to_text():
    with connect() as connection:
        copy_in(connection, "p3_copy_out")
        with connection.cursor().copy("COPY (SELECT * FROM p3_copy_out ORDER BY a) TO STDOUT") as copy:
            copy.set_types(COPY_TYPES)
            equal(list(copy.rows()), COPY_ROWS)


@feature("copy to, raw text of a table")
def copy_to_raw():
    with connect() as connection:
        copy_in(connection, "p3_copy_raw")
        with connection.cursor().copy("COPY p3_copy_raw TO STDOUT") as copy:
            data = b"".join(bytes(block) for block in copy)
        equal(
            sorted(data.splitlines())[0],
            b'1\ttab\\t nl\\n bs\\\\ q" c,\t1.500\t2024-01-01 00:00:00+00\t\\\\x00ff\t{"k": 1}\t{1,2}',
        )


@feature("copy to, binary rows")
def copy_to_binary():
    with connect() as connection:
        table(connection, "p3_copy_out_b", COPY_COLUMNS)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO p3_copy_out_b VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [[Jsonb(value) if isinstance(value, dict) else value for value in row] for row in COPY_ROWS],
            )
            with cursor.copy("COPY (SELECT * FROM p3_copy_out_b ORDER BY a) TO STDOUT (FORMAT BINARY)") as copy:
                copy.set_types(COPY_TYPES)
                equal(list(copy.rows()), COPY_ROWS)


@feature("copy to, csv with header and forced quotes")
def copy_to_csv():
    with connect() as connection:
        with connection.cursor().copy(
            "COPY (SELECT 1 AS a, 'x,y' AS b, NULL::text AS c, '' AS d) TO STDOUT"
            " WITH (FORMAT csv, HEADER, FORCE_QUOTE (a))"
        ) as copy:
            equal(b"".join(bytes(block) for block in copy), b'a,b,c,d\n"1","x,y",,""\n')


@feature("copy from one connection to another, binary")
def copy_between():
    with connect() as one, connect() as two:
        table(two, "p3_copy_two", "a integer, b text")
        with one.cursor().copy(
            "COPY (SELECT g, g::text FROM generate_series(1, 1000) AS g) TO STDOUT (FORMAT BINARY)"
        ) as source:
            with two.cursor().copy("COPY p3_copy_two FROM STDIN (FORMAT BINARY)") as target:
                for block in source:
                    target.write(block)
        equal(two.execute("SELECT count(*), sum(a), max(b) FROM p3_copy_two").fetchone(), (1000, 500500, "999"))


@feature("prepared statement by use")
def prepared_by_use():
    with connect(prepare_threshold=2) as connection:
        for number in range(6):
            equal(connection.execute("SELECT %s::int * 2", (number,)).fetchone()[0], number * 2)
        rows = connection.execute("SELECT statement FROM pg_prepared_statements", prepare=False).fetchall()
        equal(rows, [("SELECT $1::int * 2",)])


@feature("prepared statement after a change of the table")
def prepared_after_change():
    with connect() as connection:
        table(connection, "p3_prep_change", "a integer")
        connection.execute("INSERT INTO p3_prep_change VALUES (1)")
        query = "SELECT a FROM p3_prep_change WHERE a = %s"
        for _ in range(3):
            equal(connection.execute(query, (1,), prepare=True).fetchall(), [(1,)])
        connection.execute("ALTER TABLE p3_prep_change ADD COLUMN b text")
        equal(connection.execute(query, (1,), prepare=True).fetchall(), [(1,)])


@feature("prepared statements are dropped when many")
def prepared_many():
    with connect() as connection:
        connection.prepared_max = 3
        for number in range(10):
            connection.execute(f"SELECT {number}, %s::int", (1,), prepare=True)
        equal(connection.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone()[0], 3)


@feature("SQL prepare and execute")
def sql_prepare():
    with connect() as connection:
        connection.execute("PREPARE p3_plan (int, text) AS SELECT $1 + 1, $2 || '!'")
        equal(connection.execute("EXECUTE p3_plan (1, 'a')").fetchone(), (2, "a!"))
        row = connection.execute(
            "SELECT name, statement, parameter_types::text[], from_sql FROM pg_prepared_statements"
        ).fetchone()
        equal(
            row,
            ("p3_plan", "PREPARE p3_plan (int, text) AS SELECT $1 + 1, $2 || '!'", ["integer", "text"], True),
        )
        connection.execute("DEALLOCATE p3_plan")
        fails("26000", connection.execute, "EXECUTE p3_plan (1, 'a')")


@feature("transaction blocks and savepoints")
def transactions():
    with connect() as connection:
        table(connection, "p3_tx", "a integer")
        with connection.transaction():
            connection.execute("INSERT INTO p3_tx VALUES (1)")
            try:
                with connection.transaction("named point"):
                    connection.execute("INSERT INTO p3_tx VALUES (2)")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            with connection.transaction():
                connection.execute("INSERT INTO p3_tx VALUES (3)")
            with connection.transaction() as inner:
                connection.execute("INSERT INTO p3_tx VALUES (4)")
                raise psycopg.Rollback(inner)
        equal(connection.execute("SELECT a FROM p3_tx ORDER BY a").fetchall(), [(1,), (3,)])


@feature("savepoint after an error")
def savepoint_error():
    with connect() as connection:
        table(connection, "p3_sp", "a integer PRIMARY KEY")
        with connection.transaction():
            connection.execute("INSERT INTO p3_sp VALUES (1)")
            try:
                with connection.transaction():
                    connection.execute("INSERT INTO p3_sp VALUES (1)")
            except psycopg.errors.UniqueViolation:
                pass
            connection.execute("INSERT INTO p3_sp VALUES (2)")
        equal(connection.execute("SELECT count(*) FROM p3_sp").fetchone()[0], 2)


@feature("failed transaction refuses until rollback")
def failed_transaction():
    with connect(autocommit=False) as connection:
        fails("42P01", connection.execute, "SELECT * FROM p3_no_such_table")
        equal(connection.info.transaction_status.name, "INERROR")
        fails("25P02", connection.execute, "SELECT 1")
        connection.rollback()
        equal(connection.execute("SELECT 1").fetchone()[0], 1)


@feature("transaction characteristics")
def characteristics():
    with connect(autocommit=False) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        equal(connection.execute("SHOW transaction_isolation").fetchone()[0], "repeatable read")
        equal(connection.execute("SHOW transaction_read_only").fetchone()[0], "on")
        fails("25006", connection.execute, "CREATE TABLE p3_never (a integer)")
        connection.rollback()
        connection.read_only = None
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        equal(connection.execute("SHOW transaction_isolation").fetchone()[0], "read committed")


@feature("serializable and deferrable")
def serializable():
    with connect(autocommit=False) as connection:
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        connection.deferrable = True
        connection.read_only = True
        equal(connection.execute("SHOW transaction_isolation").fetchone()[0], "serializable")
        equal(connection.execute("SHOW transaction_deferrable").fetchone()[0], "on")


@feature("two-phase commit is answered")
def two_phase():
    # PostgreSQL as it is installed refuses it as well (max_prepared_transactions = 0).
    connection = connect(autocommit=False)
    connection.tpc_begin(connection.xid(1, "g", "b"))
    connection.execute("SELECT 1")
    error = raises(psycopg.NotSupportedError, connection.tpc_prepare)
    assert str(error).startswith("prepared transactions are disabled"), error


@feature("notices")
def notices():
    with connect() as connection:
        seen = []
        connection.add_notice_handler(lambda diag: seen.append((diag.severity, diag.sqlstate, diag.message_primary)))
        connection.execute("DROP TABLE IF EXISTS p3_no_such_table")
        equal(seen, [("NOTICE", "00000", 'table "p3_no_such_table" does not exist, skipping')])


@feature("raise notice by DO")
def do_block():
    with connect() as connection:
        seen = []
        connection.add_notice_handler(lambda diag: seen.append((diag.severity, diag.message_primary)))
        connection.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 1; END $$")
        equal(seen, [("NOTICE", "hello 1")])


@feature("error fields: position")
def error_position():
    with connect() as connection:
        error = fails("42703", connection.execute, "SELECT 1, p3_missing")
        equal((error.diag.severity, error.diag.statement_position), ("ERROR", "11"))
        equal(error.diag.message_primary, 'column "p3_missing" does not exist')
        error = fails("42601", connection.execute, "SELEKT 1")
        equal((error.diag.message_primary, error.diag.statement_position), ('syntax error at or near "SELEKT"', "1"))


@feature("error fields: position of unknown table and function")
def error_position_names():
    with connect() as connection:
        error = fails("42P01", connection.execute, "SELECT * FROM p3_missing")
        equal((error.diag.message_primary, error.diag.statement_position), ('relation "p3_missing" does not exist', "15"))
        error = fails("42883", connection.execute, "SELECT p3_missing(1)")
        equal(error.diag.message_primary, "function p3_missing(integer) does not exist")
        equal(error.diag.statement_position, "8")
        equal(
            error.diag.message_hint,
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )


@feature("error fields: unique violation")
def error_unique():
    with connect() as connection:
        table(connection, "p3_unique", "a integer PRIMARY KEY, b text")
        connection.execute("INSERT INTO p3_unique VALUES (1, 'x')")
        error = fails("23505", connection.execute, "INSERT INTO p3_unique VALUES (1, 'y')")
        equal(type(error).__name__, "UniqueViolation")
        equal(error.diag.message_detail, "Key (a)=(1) already exists.")
        equal(
            (error.diag.schema_name, error.diag.table_name, error.diag.constraint_name),
            ("public", "p3_unique", "p3_unique_pkey"),
        )


@feature("error fields: not null violation")
def error_not_null():
    with connect() as connection:
        table(connection, "p3_notnull", "a integer, b text NOT NULL")
        error = fails("23502", connection.execute, "INSERT INTO p3_notnull VALUES (1, NULL)")
        equal(error.diag.message_detail, "Failing row contains (1, null).")
        equal((error.diag.table_name, error.diag.column_name), ("p3_notnull", "b"))


@feature("error fields: check constraint")
def error_check():
    with connect() as connection:
        table(connection, "p3_check", "a integer CONSTRAINT positive CHECK (a > 0)")
        error = fails("23514", connection.execute, "INSERT INTO p3_check VALUES (-1)")
        equal(error.diag.constraint_name, "positive")


@feature("error fields: foreign key")
def error_foreign():
    with connect() as connection:
        connection.execute("DROP TABLE IF EXISTS p3_child, p3_parent")
        connection.execute("CREATE TABLE p3_parent (a integer PRIMARY KEY)")
        connection.execute("CREATE TABLE p3_child (a integer REFERENCES p3_parent)")
        error = fails("23503", connection.execute, "INSERT INTO p3_child VALUES (5)")
        equal(error.diag.message_detail, 'Key (a)=(5) is not present in table "p3_parent".')


@feature("error codes of values")
def error_values():
    with connect() as connection:
        fails("22012", connection.execute, "SELECT 1 / 0")
        fails("22003", connection.execute, "SELECT 2147483647 + 1")
        fails("22P02", connection.execute, "SELECT 'x'::integer")
        fails("22007", connection.execute, "SELECT 'x'::date")
        fails("42804", connection.execute, "SELECT CASE WHEN 1 THEN 2 END")


@feature("error code of a text too long")
def error_length():
    with connect() as connection:
        table(connection, "p3_len", "a varchar(2)")
        error = fails("22001", connection.execute, "INSERT INTO p3_len VALUES ('abc')")
        equal(error.diag.message_primary, "value too long for type character varying(2)")


@feature("temporary table")
def temporary():
    with connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE p3_temp (a integer)")
        connection.execute("INSERT INTO p3_temp VALUES (1)")
        equal(connection.execute("SELECT a FROM p3_temp").fetchone()[0], 1)
        with connect() as other:
            fails("42P01", other.execute, "SELECT a FROM p3_temp")


@feature("temporary table, on commit drop")
def temporary_drop():
    with connect(autocommit=False) as connection:
        connection.execute("CREATE TEMP TABLE p3_temp_drop (a integer) ON COMMIT DROP")
        connection.execute("INSERT INTO p3_temp_drop VALUES (1)")
        connection.commit()
        fails("42P01", connection.execute, "SELECT a FROM p3_temp_drop")


@feature("serial column")
def serial():
    with connect() as connection:
        table(connection, "p3_serial", "id serial PRIMARY KEY, a text")
        equal(connection.execute("INSERT INTO p3_serial (a) VALUES ('x') RETURNING id").fetchone()[0], 1)


@feature("identity column")
def identity():
    with connect() as connection:
        table(connection, "p3_identity", "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text")
        equal(connection.execute("INSERT INTO p3_identity (a) VALUES ('x') RETURNING id").fetchone()[0], 1)


@feature("listen and notify")
def listen():
    with connect() as connection, connect() as other:
        connection.execute("LISTEN p3_channel")
        other.execute("NOTIFY p3_channel, 'hello'")
        other.execute("SELECT pg_notify('p3_channel', 'again')")
        found = [(item.channel, item.payload) for item in connection.notifies(timeout=5, stop_after=2)]
        equal(found, [("p3_channel", "hello"), ("p3_channel", "again")])


# Runs for minutes on any server.
LONG = "SELECT sum(a + b) FROM generate_series(1, 100000) AS a, generate_series(1, 1000000) AS b"


@feature("pg_sleep")
def pg_sleep():
    with connect() as connection:
        start = time.monotonic()
        equal(connection.execute("SELECT pg_sleep(0.5)").fetchone(), ("",))
        assert 0.4 < time.monotonic() - start < 5


@feature("cancel")
def cancel():
    with connect() as connection:
        threading.Timer(0.5, connection.cancel).start()
        start = time.monotonic()
        fails("57014", connection.execute, LONG)
        assert time.monotonic() - start < 10
        equal(connection.execute("SELECT 1").fetchone()[0], 1)


@feature("cancel_safe")
def cancel_safe():
    with connect() as connection:
        threading.Timer(0.5, connection.cancel_safe).start()
        fails("57014", connection.execute, LONG)


@feature("cancel by pg_cancel_backend and pg_terminate_backend")
def cancel_backend():
    with connect() as connection, connect() as other:
        pid = connection.info.backend_pid
        equal(connection.execute("SELECT pg_backend_pid()").fetchone()[0], pid)
        threading.Timer(0.5, lambda: other.execute("SELECT pg_cancel_backend(%s)", (pid,))).start()
        fails("57014", connection.execute, LONG)
        equal(other.execute("SELECT pg_terminate_backend(%s)", (pid,)).fetchone()[0], True)
        time.sleep(0.3)
        fails("57P01", connection.execute, "SELECT 1")


@feature("statement timeout")
def statement_timeout():
    with connect(options="-c statement_timeout=300") as connection:
        equal(connection.execute("SHOW statement_timeout").fetchone()[0], "300ms")
        fails("57014", connection.execute, LONG)


@feature("type info of base types")
def type_info():
    with connect() as connection:
        for name, oid, array in [("int4", 23, 1007), ("text", 25, 1009), ("jsonb", 3802, 3807), ("uuid", 2950, 2951)]:
            info = TypeInfo.fetch(connection, name)
            equal((info.name, info.oid, info.array_oid), (name, oid, array))
        equal(TypeInfo.fetch(connection, "no_such_type"), None)
        info = TypeInfo.fetch(connection, sql.Identifier("pg_catalog", "timestamptz"))
        equal((info.oid, info.regtype), (1184, "timestamp with time zone"))


@feature("enum types")
def enum_info():
    with connect() as connection:
        connection.execute("DROP TYPE IF EXISTS p3_mood")
        connection.execute("CREATE TYPE p3_mood AS ENUM ('sad', 'ok')")
        info = EnumInfo.fetch(connection, "p3_mood")
        equal(list(info.labels), ["sad", "ok"])


@feature("composite types")
def composite_info():
    with connect() as connection:
        table(connection, "p3_comp", "a integer, b text")
        info = CompositeInfo.fetch(connection, "p3_comp")
        equal((list(info.field_names), list(info.field_types)), (["a", "b"], [23, 25]))


@feature("connection parameters")
def parameters():
    with connect(application_name="p3", client_encoding="UTF8") as connection:
        info = connection.info
        assert 150000 <= info.server_version < 160000, info.server_version
        equal(info.encoding, "utf-8")
        equal(str(info.timezone), "UTC")
        equal((info.dbname, info.user, info.host, info.port), (DATABASE, USER, HOST, PORT))
        wanted = {
            "server_encoding": "UTF8", "client_encoding": "UTF8", "is_superuser": "on", "session_authorization": USER,
            "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "TimeZone": "UTC", "integer_datetimes": "on",
            "standard_conforming_strings": "on", "application_name": "p3", "default_transaction_read_only": "off",
            "in_hot_standby": "off",
        }  # fmt: skip
        equal({name: info.parameter_status(name) for name in wanted}, wanted)


@feature("parameter status follows SET")
def parameter_status():
    with connect() as connection:
        connection.execute("SET TimeZone TO 'Europe/Berlin'")
        equal(connection.info.parameter_status("TimeZone"), "Europe/Berlin")
        value = connection.execute("SELECT '2024-07-01 12:00+00'::timestamptz").fetchone()[0]
        equal((value.hour, value.utcoffset()), (14, dt.timedelta(hours=2)))
        connection.execute("SET application_name TO 'renamed'")
        equal(connection.info.parameter_status("application_name"), "renamed")
        connection.execute("RESET ALL")
        equal(connection.info.parameter_status("TimeZone"), "UTC")


@feature("client encoding latin1")
def latin1():
    with connect(client_encoding="latin1") as connection:
        equal(connection.info.encoding, "iso8859-1")
        equal(connection.execute("SELECT %s::text, length('ä')", ("ä",)).fetchone(), ("ä", 1))
        fails("22P05", connection.execute, "SELECT chr(8364)")


@feature("date and interval styles")
def styles():
    with connect() as connection:
        connection.execute("SET DateStyle TO 'German'")
        equal(connection.execute("SELECT '2024-02-01'::date::text").fetchone()[0], "01.02.2024")
        connection.execute("SET IntervalStyle TO 'iso_8601'")
        equal(connection.execute("SELECT '1 day 2 hours'::interval::text").fetchone()[0], "P1DT2H")


@feature("options at start: search_path and a custom setting")
def start_options():
    with connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS p3_schema CASCADE")
        connection.execute("CREATE SCHEMA p3_schema")
    with connect(options="-c search_path=p3_schema,public -c my.setting=7") as connection:
        equal(connection.execute("SELECT current_schema(), current_setting('my.setting')").fetchone(), ("p3_schema", "7"))
        equal(connection.execute("SHOW search_path").fetchone()[0], "p3_schema,public")


@feature("advisory locks")
def advisory():
    with connect() as connection, connect() as other:
        equal(connection.execute("SELECT pg_try_advisory_lock(42)").fetchone()[0], True)
        equal(other.execute("SELECT pg_try_advisory_lock(42)").fetchone()[0], False)
        equal(connection.execute("SELECT pg_advisory_unlock(42)").fetchone()[0], True)


@feature("select for update")
def for_update():
    with connect(autocommit=False) as connection:
        table(connection, "p3_lock", "a integer PRIMARY KEY, b integer")
        connection.execute("INSERT INTO p3_lock VALUES (1, 1)")
        equal(connection.execute("SELECT b FROM p3_lock WHERE a = 1 FOR UPDATE").fetchone()[0], 1)
        connection.execute("UPDATE p3_lock SET b = b + 1 WHERE a = 1")
        connection.commit()
        equal(connection.execute("SELECT b FROM p3_lock FOR UPDATE SKIP LOCKED").fetchone()[0], 2)


@feature("composed identifiers and literals")
def composed():
    with connect() as connection:
        name = 'p3 "odd" Name'
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE TABLE {} ({} integer)").format(sql.Identifier(name), sql.Identifier("Ä b")))
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(name), sql.Literal(5)))
        cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("public", name)))
        equal((cursor.description[0].name, cursor.fetchone()), ("Ä b", (5,)))
        text = connection.execute(sql.SQL("SELECT {}").format(sql.Literal("it's \\ E"))).fetchone()[0]
        equal(text, "it's \\ E")


@feature("insert returning and upsert")
def upsert():
    with connect() as connection:
        table(connection, "p3_upsert", "a integer PRIMARY KEY, b text DEFAULT 'd', c timestamptz DEFAULT now()")
        row = connection.execute("INSERT INTO p3_upsert (a) VALUES (%s) RETURNING *", (1,)).fetchone()
        equal(row[:2], (1, "d"))
        assert abs((row[2] - dt.datetime.now(UTC)).total_seconds()) < 60
        row = connection.execute(
            "INSERT INTO p3_upsert (a, b) VALUES (1, 'n') ON CONFLICT (a) DO UPDATE SET b = excluded.b || p3_upsert.b"
            " RETURNING b"
        ).fetchone()
        equal(row, ("nd",))


@feature("merge")
def merge():
    with connect() as connection:
        table(connection, "p3_merge", "a integer PRIMARY KEY, b text")
        connection.execute("INSERT INTO p3_merge VALUES (1, 'x')")
        cursor = connection.execute(
            "MERGE INTO p3_merge t USING (VALUES (1, 'y'), (2, 'z')) AS s (a, b) ON t.a = s.a"
            " WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT VALUES (s.a, s.b)"
        )
        equal(cursor.statusmessage, "MERGE 2")
        equal(connection.execute("SELECT * FROM p3_merge ORDER BY a").fetchall(), [(1, "y"), (2, "z")])


@feature("asynchronous connection")
def asynchronous():
    import asyncio

    async def work():
        async with await psycopg.AsyncConnection.connect(URI, autocommit=True) as connection:
            cursor = await connection.execute("SELECT g FROM generate_series(1, 3) AS g")
            equal([row[0] async for row in cursor], [1, 2, 3])
            task = asyncio.create_task(connection.execute(LONG))
            await asyncio.sleep(0.5)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            cursor = await connection.execute("SELECT 5")
            equal(await cursor.fetchone(), (5,))

    asyncio.run(work())


@feature("pool")
def pool():
    from psycopg_pool import ConnectionPool

    with ConnectionPool(URI, min_size=2, max_size=4, check=ConnectionPool.check_connection) as connections:
        connections.wait(10)
        pids = set()
        for _ in range(8):
            with connections.connection() as connection:
                pids.add(connection.execute("SELECT pg_backend_pid()").fetchone()[0])
        assert 1 <= len(pids) <= 4


@feature("wide result and large value")
def large():
    with connect() as connection:
        columns = ", ".join(f"{n} AS c{n}" for n in range(1000))
        row = connection.execute(f"SELECT {columns}").fetchone()
        equal((len(row), row[999]), (1000, 999))
        text = "ä" * 2_000_000
        equal(connection.execute("SELECT %s::text, length(%s)", (text, text)).fetchone(), (text, 2_000_000))
        data = bytes(range(256)) * 4096
        equal(connection.execute("SELECT %b::bytea", (data,)).fetchone()[0], data)


@feature("many parameters")
def many_parameters():
    with connect() as connection:
        holders = ", ".join(["%s"] * 5000)
        row = connection.execute(f"SELECT count(*) FROM (VALUES (1)) AS t (a) WHERE a IN ({holders})", list(range(5000)))
        equal(row.fetchone()[0], 1)


if __name__ == "__main__":
    main("psycopg")
