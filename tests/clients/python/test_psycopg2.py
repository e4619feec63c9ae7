"""psycopg2: cursors of every kind, its helpers for many rows, COPY, types and errors."""

import datetime as dt
import io
import json
import select
import threading
import time
import uuid
from decimal import Decimal

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
from psycopg2 import sql

from features import DATABASE, HOST, PASSWORD, PORT, USER, equal, fails, feature, main

UTC = dt.timezone.utc


def connect(autocommit=True, **options):
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, **options)
    connection.autocommit = autocommit
    return connection


def rows(connection, query, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def run(connection, query, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)


def table(connection, name, columns):
    run(connection, f"DROP TABLE IF EXISTS {name}")
    run(connection, f"CREATE TABLE {name} ({columns})")


VALUES = {
    "boolean": ("boolean", True),
    "integer": ("integer", -5),
    "bigint": ("bigint", 2**62),
    "float": ("double precision", 1e-300),
    "nan": ("double precision", None),
    "numeric": ("numeric(20,5)", Decimal("12345.67890")),
    "text": ("text", "it's \\ ü %s €😀"),
    "bytea": ("bytea", bytes(range(256))),
    "date": ("date", dt.date(9999, 12, 31)),
    "time": ("time", dt.time(23, 59, 59, 999999)),
    "timestamp": ("timestamp", dt.datetime(1970, 1, 1, 0, 0, 0, 1)),
    "timestamptz": ("timestamptz", dt.datetime(2024, 7, 1, 12, tzinfo=UTC)),
    "interval": ("interval", dt.timedelta(days=-1, seconds=3, microseconds=5)),
    "integer array": ("integer[]", [1, None, 3]),
    "text array": ("text[]", ["a", "b,c", 'd"e', "", None, "null"]),
    "nested array": ("integer[]", [[1, 2], [3, 4]]),
    "numeric array": ("numeric[]", [Decimal("1.50")]),
    "boolean array": ("boolean[]", [True, False]),
    "date array": ("date[]", [dt.date(2024, 1, 1)]),
    "empty array": ("text[]", []),
}


def round_trip(type_name, value):
    connection = connect()
    table(connection, "p2_type", f"id integer PRIMARY KEY, v {type_name}")
    run(connection, "INSERT INTO p2_type VALUES (%s, %s)", (1, value))
    found = rows(connection, "SELECT v FROM p2_type WHERE id = 1")[0][0]
    equal(bytes(found) if isinstance(found, memoryview) else found, value)
    if value is not None and not isinstance(value, list):
        equal(rows(connection, "SELECT count(*) FROM p2_type WHERE v = %s", (value,)), [(1,)])


for _name, (_type, _value) in VALUES.items():
    feature(f"type {_name}")(lambda type_name=_type, value=_value: round_trip(type_name, value))


@feature("Json and json columns")
def json_values():
    connection = connect()
    table(connection, "p2_json", "a json, b jsonb")
    value = {"k": [1, 2.5, "it's", None, True]}
    run(connection, "INSERT INTO p2_json VALUES (%s, %s)", (psycopg2.extras.Json(value), psycopg2.extras.Json(value)))
    equal(rows(connection, "SELECT a, b, b -> 'k' -> 0, b ->> 'k' FROM p2_json"),
          [(value, value, 1, '[1, 2.5, "it\'s", null, true]')])  # fmt: skip


@feature("uuid by register_uuid")
def uuids():
    connection = connect()
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    value = uuid.UUID(int=12345)
    equal(rows(connection, "SELECT %s, ARRAY[%s]", (value, value)), [(value, [value])])


@feature("hstore is looked up")
def hstore():
    connection = connect()
    try:
        psycopg2.extras.register_hstore(connection)
    except psycopg2.ProgrammingError as error:
        equal(str(error), "hstore type not found in the database. please install it from your 'contrib/hstore.sql' file")


@feature("composite type lookup")
def composite():
    connection = connect()
    table(connection, "p2_composite", "a integer, b text")
    caster = psycopg2.extras.register_composite("p2_composite", connection)
    equal((caster.attnames, caster.atttypes), (["a", "b"], [23, 25]))


@feature("description")
def description():
    connection = connect()
    table(connection, "p2_desc", "a integer, b varchar(7), c numeric(9,2), d boolean, e char(3)")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM p2_desc")
        equal([(c.name, c.type_code) for c in cursor.description],
              [("a", 23), ("b", 1043), ("c", 1700), ("d", 16), ("e", 1042)])  # fmt: skip
        equal((cursor.description[2].precision, cursor.description[2].scale), (9, 2))
        equal([c.internal_size for c in cursor.description][:2], [4, 7])
        assert cursor.description[0].table_oid == rows(connection, "SELECT 'p2_desc'::regclass::oid")[0][0]
        equal(cursor.description[1].table_column, 2)


@feature("named cursor")
def named():
    connection = connect(autocommit=False)
    with connection.cursor("p2_c") as cursor:
        cursor.execute("SELECT g, g::text FROM generate_series(1, %s) AS g", (1000,))
        equal(cursor.fetchone(), (1, "1"))
        equal(cursor.fetchmany(2), [(2, "2"), (3, "3")])
        equal(len(cursor.fetchall()), 997)
        equal(cursor.description[0].name, "g")


@feature("named cursor, itersize")
def named_itersize():
    connection = connect(autocommit=False)
    with connection.cursor("p2_c") as cursor:
        cursor.itersize = 13
        cursor.execute("SELECT g FROM generate_series(1, 1000) AS g")
        equal(sum(row[0] for row in cursor), 500500)


@feature("named cursor, scrollable")
def named_scroll():
    connection = connect(autocommit=False)
    with connection.cursor("p2_c", scrollable=True) as cursor:
        cursor.execute("SELECT g FROM generate_series(1, 100) AS g")
        cursor.scroll(9)
        equal(cursor.fetchone(), (10,))
        cursor.scroll(-5)
        equal(cursor.fetchone(), (6,))
        cursor.scroll(98, mode="absolute")
        equal(cursor.fetchall(), [(99,), (100,)])


@feature("named cursor, with hold")
def named_hold():
    connection = connect(autocommit=False)
    cursor = connection.cursor("p2_c", withhold=True)
    cursor.execute("SELECT g FROM generate_series(1, 100) AS g")
    equal(cursor.fetchone(), (1,))
    connection.commit()
    equal(cursor.fetchmany(2), [(2,), (3,)])
    connection.commit()
    cursor.close()


@feature("named cursor over a table that another changes")
def named_snapshot():
    connection = connect(autocommit=False)
    table(connection, "p2_snap", "a integer PRIMARY KEY")
    run(connection, "INSERT INTO p2_snap SELECT g FROM generate_series(1, 5000) AS g")
    connection.commit()
    other = connect()
    with connection.cursor("p2_c") as cursor:
        cursor.execute("SELECT a FROM p2_snap ORDER BY a")
        equal(cursor.fetchone(), (1,))
        run(other, "DELETE FROM p2_snap WHERE a > 10")
        equal(len(cursor.fetchall()), 4999)


@feature("row classes")
def row_classes():
    connection = connect()
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT 1 AS a, 'x' AS b")
        equal(dict(cursor.fetchone()), {"a": 1, "b": "x"})
    with connection.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor) as cursor:
        cursor.execute("SELECT 1 AS a")
        equal(cursor.fetchone().a, 1)
    with connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
        cursor.execute("SELECT 1 AS a")
        equal(cursor.fetchone()["a"], 1)


@feature("executemany")
def executemany():
    connection = connect(autocommit=False)
    table(connection, "p2_many", "a integer, b text")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO p2_many VALUES (%s, %s)", [(n, str(n)) for n in range(300)])
        cursor.executemany("UPDATE p2_many SET b = %(b)s WHERE a = %(a)s", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    connection.commit()
    equal(rows(connection, "SELECT count(*), min(b), max(b) FROM p2_many"), [(300, "0", "y")])


@feature("execute_values")
def execute_values():
    connection = connect()
    table(connection, "p2_values", "a integer, b text, c timestamptz")
    data = [(n, f"n{n}" if n % 3 else None, dt.datetime(2024, 1, 1, tzinfo=UTC)) for n in range(1000)]
    with connection.cursor() as cursor:
        returned = psycopg2.extras.execute_values(
            cursor, "INSERT INTO p2_values VALUES %s RETURNING a", data, page_size=100, fetch=True
        )
        equal([row[0] for row in returned], list(range(1000)))
        psycopg2.extras.execute_values(
            cursor,
            "UPDATE p2_values SET b = data.b FROM (VALUES %s) AS data (a, b) WHERE p2_values.a = data.a",
            [(1, "one"), (2, "two")],
        )
    equal(rows(connection, "SELECT a, b FROM p2_values WHERE a < 4 ORDER BY a"),
          [(0, None), (1, "one"), (2, "two"), (3, None)])  # fmt: skip


@feature("execute_batch")
def execute_batch():
    connection = connect()
    table(connection, "p2_batch", "a integer, b text")
    with connection.cursor() as cursor:
        psycopg2.extras.execute_batch(
            cursor, "INSERT INTO p2_batch VALUES (%s, %s)", [(n, "x") for n in range(250)], page_size=50
        )
    equal(rows(connection, "SELECT count(*), sum(a) FROM p2_batch"), [(250, 31125)])


@feature("copy_expert in and out, csv")
def copy_expert():
    connection = connect()
    table(connection, "p2_copy", "a integer, b text, c numeric(8,2)")
    with connection.cursor() as cursor:
        cursor.copy_expert(
            "COPY p2_copy FROM STDIN WITH CSV HEADER", io.StringIO('a,b,c\n1,"x,\n""y""",1.50\n2,,\n3,"",0\n')
        )
        equal(cursor.rowcount, 3)
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT * FROM p2_copy ORDER BY a) TO STDOUT WITH CSV HEADER", out)
        equal(out.getvalue(), 'a,b,c\n1,"x,\n""y""",1.50\n2,,\n3,"",0.00\n')


@feature("copy_from and copy_to")
def copy_from():
    connection = connect()
    table(connection, "p2_copy2", "a integer, b text, c text")
    with connection.cursor() as cursor:
        cursor.copy_from(io.StringIO("1|x|NIL\n2|y\\|z|w\n"), "p2_copy2", sep="|", null="NIL", columns=("a", "b", "c"))
        out = io.StringIO()
        cursor.copy_to(out, "p2_copy2", sep="|", null="-")
        equal(sorted(out.getvalue().splitlines()), ["1|x|-", "2|y\\|z|w"])


@feature("copy_expert binary")
def copy_binary():
    connection = connect()
    table(connection, "p2_copy3", "a integer, b text")
    with connection.cursor() as cursor:
        out = io.BytesIO()
        cursor.copy_expert("COPY (SELECT 1, 'x'::text) TO STDOUT WITH BINARY", out)
        out.seek(0)
        cursor.copy_expert("COPY p2_copy3 FROM STDIN WITH BINARY", out)
    equal(rows(connection, "SELECT * FROM p2_copy3"), [(1, "x")])


@feature("transactions by with")
def transactions():
    connection = connect(autocommit=False)
    table(connection, "p2_tx", "a integer")
    connection.commit()
    with connection:
        run(connection, "INSERT INTO p2_tx VALUES (1)")
    try:
        with connection:
            run(connection, "INSERT INTO p2_tx VALUES (2)")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    equal(rows(connection, "SELECT a FROM p2_tx"), [(1,)])
    equal(connection.get_transaction_status(), psycopg2.extensions.TRANSACTION_STATUS_INTRANS)
    connection.rollback()
    equal(connection.get_transaction_status(), psycopg2.extensions.TRANSACTION_STATUS_IDLE)


@feature("set_session and isolation levels")
def set_session():
    connection = connect(autocommit=False)
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    equal(rows(connection, "SHOW transaction_isolation"), [("repeatable read",)])
    fails("25006", run, connection, "CREATE TABLE p2_never (a integer)")
    connection.rollback()
    connection.set_session(isolation_level="READ COMMITTED", readonly=False)
    equal(rows(connection, "SHOW transaction_isolation"), [("read committed",)])
    connection.rollback()
    connection.set_session(isolation_level="SERIALIZABLE")
    equal(rows(connection, "SHOW transaction_isolation"), [("serializable",)])


@feature("autocommit with set_session defaults")
def default_characteristics():
    connection = connect()
    connection.set_session(readonly=True, autocommit=True)
    equal(rows(connection, "SHOW default_transaction_read_only"), [("on",)])
    fails("25006", run, connection, "CREATE TABLE p2_never (a integer)")


@feature("two-phase is answered")
def two_phase():
    connection = connect(autocommit=False)
    connection.tpc_begin(connection.xid(1, "g", "b"))
    run(connection, "SELECT 1")
    fails("55000", connection.tpc_prepare)


@feature("errors with diagnostics")
def errors():
    connection = connect()
    table(connection, "p2_err", "a integer PRIMARY KEY, b text NOT NULL")
    run(connection, "INSERT INTO p2_err VALUES (1, 'x')")
    error = fails("23505", run, connection, "INSERT INTO p2_err VALUES (1, 'y')")
    assert isinstance(error, psycopg2.errors.UniqueViolation)
    equal(str(error), 'duplicate key value violates unique constraint "p2_err_pkey"\n'
                      "DETAIL:  Key (a)=(1) already exists.\n")  # fmt: skip
    equal((error.diag.table_name, error.diag.constraint_name, error.diag.severity),
          ("p2_err", "p2_err_pkey", "ERROR"))  # fmt: skip
    error = fails("23502", run, connection, "INSERT INTO p2_err (a) VALUES (2)")
    equal(str(error), 'null value in column "b" of relation "p2_err" violates not-null constraint\n'
                      "DETAIL:  Failing row contains (2, null).\n")  # fmt: skip
    error = fails("42P01", run, connection, "SELECT * FROM p2_missing")
    equal(str(error), 'relation "p2_missing" does not exist\nLINE 1: SELECT * FROM p2_missing\n'
                      "                      ^\n")  # fmt: skip
    error = fails("42703", run, connection, "SELECT c FROM p2_err")
    equal(str(error), 'column "c" does not exist\nLINE 1: SELECT c FROM p2_err\n               ^\n')


@feature("notices")
def notices():
    connection = connect()
    run(connection, "DROP TABLE IF EXISTS p2_missing")
    equal(connection.notices, ['NOTICE:  table "p2_missing" does not exist, skipping\n'])


@feature("rowcount and statusmessage")
def status():
    connection = connect()
    table(connection, "p2_status", "a integer")
    with connection.cursor() as cursor:
        found = []
        for query in [
            "INSERT INTO p2_status VALUES (1), (2)", "UPDATE p2_status SET a = a + 1", "SELECT * FROM p2_status",
            "DELETE FROM p2_status WHERE a = 2", "TRUNCATE p2_status", "SET work_mem = '5MB'",
            "CREATE TABLE IF NOT EXISTS p2_status (a integer)",
        ]:  # fmt: skip
            cursor.execute(query)
            found.append((cursor.statusmessage, cursor.rowcount))
    equal(found, [("INSERT 0 2", 2), ("UPDATE 2", 2), ("SELECT 2", 2), ("DELETE 1", 1), ("TRUNCATE TABLE", -1),
                  ("SET", -1), ("CREATE TABLE", -1)])  # fmt: skip


@feature("listen, notify and poll")
def listen():
    connection, other = connect(), connect()
    run(connection, "LISTEN p2_channel")
    run(other, "NOTIFY p2_channel, 'hello'")
    equal(bool(select.select([connection], [], [], 5)[0]), True)
    connection.poll()
    equal([(item.channel, item.payload) for item in connection.notifies], [("p2_channel", "hello")])


@feature("cancel")
def cancel():
    connection = connect()
    threading.Timer(0.5, connection.cancel).start()
    fails(
        "57014", run, connection,
        "SELECT sum(a + b) FROM generate_series(1, 100000) AS a, generate_series(1, 1000000) AS b",
    )  # fmt: skip
    equal(rows(connection, "SELECT 1"), [(1,)])


@feature("asynchronous connection")
def asynchronous():
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE, async_=1)
    psycopg2.extras.wait_select(connection)
    cursor = connection.cursor()
    cursor.execute("SELECT 42")
    psycopg2.extras.wait_select(connection)
    equal(cursor.fetchone(), (42,))


@feature("reset of a connection")
def reset():
    connection = connect()
    run(connection, "SET statement_timeout = 1234")
    connection.reset()
    equal(rows(connection, "SHOW statement_timeout"), [("0",)])


@feature("pool")
def pool():
    connections = psycopg2.pool.ThreadedConnectionPool(
        1, 3, host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE
    )
    connection = connections.getconn()
    equal(rows(connection, "SELECT 1"), [(1,)])
    connections.putconn(connection)
    connections.closeall()


@feature("connection information")
def information():
    connection = connect(application_name="p2")
    assert connection.server_version // 10000 == 15
    equal((connection.encoding, connection.info.dbname, connection.info.user), ("UTF8", DATABASE, USER))
    equal(connection.get_parameter_status("application_name"), "p2")
    equal(connection.info.backend_pid, rows(connection, "SELECT pg_backend_pid()")[0][0])
    connection.set_client_encoding("UTF8")


@feature("client encoding latin1")
def latin1():
    connection = connect()
    connection.set_client_encoding("LATIN1")
    equal(rows(connection, "SELECT %s, length('ä')", ("ä",)), [("ä", 1)])


@feature("composed SQL")
def composed():
    connection = connect()
    query = sql.SQL("SELECT {} AS {}").format(sql.Literal("it's"), sql.Identifier('odd "name"'))
    with connection.cursor() as cursor:
        cursor.execute(query)
        equal((cursor.description[0].name, cursor.fetchone()), ('odd "name"', ("it's",)))


@feature("callproc")
def callproc():
    connection = connect()
    with connection.cursor() as cursor:
        cursor.callproc("upper", ["abc"])
        equal(cursor.fetchone(), ("ABC",))


@feature("tuples and IN")
def tuples():
    connection = connect()
    equal(rows(connection, "SELECT 2 IN %s, ROW(1, 'a') = %s", ((1, 2, 3), (1, "a"))), [(True, True)])


@feature("logical replication is answered")
def replication():
    # A server without wal_level=logical refuses to make a slot; the connection itself is let in.
    connection = psycopg2.connect(
        host=HOST, port=PORT, user=USER, password=PASSWORD, dbname=DATABASE,
        connection_factory=psycopg2.extras.LogicalReplicationConnection,
    )  # fmt: skip
    cursor = connection.cursor()
    cursor.execute("IDENTIFY_SYSTEM")
    equal(cursor.fetchone()[3], DATABASE)


if __name__ == "__main__":
    main("psycopg2")
