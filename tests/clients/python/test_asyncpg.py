"""asyncpg: its binary protocol, introspection of types, cursors, COPY, pool and notifications."""

import asyncio
import datetime as dt
import ipaddress
import json
import sys
import uuid
from decimal import Decimal

import asyncpg

from features import DATABASE, HOST, PASSWORD, PORT, USER, equal, feature, main

UTC = dt.timezone.utc
LONG = "SELECT sum(a + b) FROM generate_series(1, 100000) AS a, generate_series(1, 1000000) AS b"


async def connect(**options):
    return await asyncpg.connect(host=HOST, port=PORT, user=USER, password=PASSWORD, database=DATABASE, **options)


def asynchronous(name):
    """Registers a coroutine that is given a connection."""

    def register(function):
        async def work():
            connection = await connect()
            await function(connection)
            await connection.close(timeout=5)

        feature(name)(lambda: asyncio.run(work()))
        return function

    return register


async def table(connection, name, columns):
    await connection.execute(f"DROP TABLE IF EXISTS {name}")
    await connection.execute(f"CREATE TABLE {name} ({columns})")


async def raises(kind, awaitable):
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{kind} was not raised")


@asynchronous("connect")
async def connecting(connection):
    equal(await connection.fetchval("SELECT 41 + 1"), 42)
    equal(connection.get_server_version().major, 15)
    settings = connection.get_settings()
    equal((settings.server_encoding, settings.client_encoding, settings.TimeZone), ("UTF8", "UTF8", "UTC"))
    equal(connection.get_server_pid(), await connection.fetchval("SELECT pg_backend_pid()"))


VALUES = {
    "boolean": True,
    "smallint": -32768,
    "integer": 2147483647,
    "bigint": -(2**63),
    "real": 1.5,
    "double precision": 1e-300,
    "numeric": Decimal("-12345678901234567890.0987654321"),
    "numeric(10,4)": Decimal("1.1000"),
    "text": "häß€😀",
    "varchar(10)": "abc",
    "char(5)": "abc  ",
    "bytea": b"\x00\xff",
    "date": dt.date(1, 1, 1),
    "time": dt.time(12, 34, 56, 789),
    "timetz": dt.time(12, 34, 56, tzinfo=UTC),
    "timestamp": dt.datetime(2024, 2, 29, 12, 34, 56, 123456),
    "timestamptz": dt.datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC),
    "interval": dt.timedelta(days=1, seconds=3, microseconds=7),
    "uuid": uuid.UUID(int=5),
    "json": '{"a": 1}',
    "jsonb": '{"a": 1}',
    "integer[]": [1, None, 3],
    "bigint[]": [2**40],
    "text[]": ["a", "b,c", None],
    "numeric[]": [Decimal("1.5")],
    "timestamptz[]": [dt.datetime(2024, 1, 1, tzinfo=UTC)],
    "uuid[]": [uuid.UUID(int=7)],
    "jsonb[]": ['{"a": 1}'],
    "bytea[]": [b"x"],
    "integer[][]": [[1, 2], [3, 4]],
    "inet": ipaddress.ip_address("10.0.0.1"),
    "int4range": asyncpg.Range(1, 5),
}


def register_types():
    for type_name, value in VALUES.items():

        async def there_and_back(connection, type_name=type_name, value=value):
            equal(await connection.fetchval(f"SELECT $1::{type_name}", value), value)
            await table(connection, "ap_type", f"id integer PRIMARY KEY, v {type_name}")
            await connection.execute("INSERT INTO ap_type VALUES ($1, $2)", 1, value)
            await connection.execute("INSERT INTO ap_type VALUES ($1, $2)", 2, None)
            equal([row["v"] for row in await connection.fetch("SELECT v FROM ap_type ORDER BY id")], [value, None])

        asynchronous(f"type {type_name}")(there_and_back)


register_types()


@asynchronous("prepared statement: parameters and attributes")
async def prepared(connection):
    await table(connection, "ap_prep", "a integer, b varchar(9), c jsonb, d timestamptz")
    statement = await connection.prepare("SELECT a, b, c, d, a + 1 AS e FROM ap_prep WHERE a = $1 AND b = $2")
    equal([p.name for p in statement.get_parameters()], ["int4", "text"])
    equal([(a.name, a.type.name) for a in statement.get_attributes()],
          [("a", "int4"), ("b", "varchar"), ("c", "jsonb"), ("d", "timestamptz"), ("e", "int4")])  # fmt: skip
    equal(await statement.fetch(1, "x"), [])
    equal(statement.get_statusmsg(), "SELECT 0")


@asynchronous("introspection of arrays of unusual types")
async def introspection(connection):
    equal(await connection.fetchval("SELECT ARRAY['a'::name]"), ["a"])
    row = await connection.fetchrow("SELECT typname, typacl FROM pg_type WHERE oid = 23")
    equal(row["typname"], "int4")


@asynchronous("introspection of a composite type")
async def composite(connection):
    await table(connection, "ap_composite", "a integer, b text")
    await connection.execute("INSERT INTO ap_composite VALUES (1, 'x')")
    value = await connection.fetchval("SELECT t FROM ap_composite AS t")
    equal(tuple(value), (1, "x"))


@asynchronous("anonymous record")
async def record(connection):
    equal(tuple(await connection.fetchval("SELECT ROW(1, 'x'::text, NULL)")), (1, "x", None))


@asynchronous("type codec for json")
async def codec(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    equal(await connection.fetchval("SELECT $1::jsonb", {"a": [1]}), {"a": [1]})


@asynchronous("type codec in text format")
async def codec_text(connection):
    await connection.set_type_codec("numeric", encoder=str, decoder=float, schema="pg_catalog", format="text")
    equal(await connection.fetchval("SELECT $1::numeric", 1.5), 1.5)


@asynchronous("enum type")
async def enums(connection):
    await connection.execute("DROP TYPE IF EXISTS ap_mood")
    await connection.execute("CREATE TYPE ap_mood AS ENUM ('sad', 'ok')")
    equal(await connection.fetchval("SELECT 'ok'::ap_mood"), "ok")


@asynchronous("cursor, iteration and fetch")
async def cursor(connection):
    async with connection.transaction():
        total = 0
        async for row in connection.cursor("SELECT g FROM generate_series(1, $1::int) AS g", 1000, prefetch=37):
            total += row["g"]
        equal(total, 500500)
        held = await connection.cursor("SELECT g FROM generate_series(1, 100) AS g")
        equal((await held.fetchrow())["g"], 1)
        equal([row["g"] for row in await held.fetch(3)], [2, 3, 4])


@asynchronous("cursor, forward")
async def cursor_forward(connection):
    async with connection.transaction():
        held = await connection.cursor("SELECT g FROM generate_series(1, 100) AS g")
        equal(await held.forward(10), 10)
        equal((await held.fetchrow())["g"], 11)


@asynchronous("executemany")
async def executemany(connection):
    await table(connection, "ap_many", "a integer PRIMARY KEY, b text")
    await connection.executemany("INSERT INTO ap_many VALUES ($1, $2)", [(n, str(n)) for n in range(1000)])
    equal(tuple(await connection.fetchrow("SELECT count(*), sum(a) FROM ap_many")), (1000, 499500))
    await raises(
        asyncpg.UniqueViolationError,
        connection.executemany("INSERT INTO ap_many VALUES ($1, $2)", [(2000, "x"), (1, "y")]),
    )
    equal(await connection.fetchval("SELECT count(*) FROM ap_many"), 1000)


@asynchronous("fetchmany")
async def fetchmany(connection):
    await table(connection, "ap_fetchmany", "a integer")
    found = await connection.fetchmany("INSERT INTO ap_fetchmany VALUES ($1) RETURNING a * 2 AS d", [(1,), (2,)])
    equal([row["d"] for row in found], [2, 4])


@asynchronous("copy_records_to_table")
async def copy_records(connection):
    await table(connection, "ap_records", "a integer, b text, c timestamptz, d numeric(9,3), e jsonb, f integer[]")
    rows = [
        (1, "x\ty", dt.datetime(2024, 1, 1, tzinfo=UTC), Decimal("1.500"), '{"k": 1}', [1, 2]),
        (2, None, None, None, None, None),
    ]
    equal(await connection.copy_records_to_table("ap_records", records=rows), "COPY 2")
    equal([tuple(row) for row in await connection.fetch("SELECT * FROM ap_records ORDER BY a")], rows)


@asynchronous("copy_to_table, csv")
async def copy_to_table(connection):
    import io

    await table(connection, "ap_copy_to", "a integer, b text")
    source = io.BytesIO(b'a;b\n1;"x;y"\n2;\n')
    await connection.copy_to_table("ap_copy_to", source=source, format="csv", delimiter=";", header=True)
    equal([tuple(row) for row in await connection.fetch("SELECT * FROM ap_copy_to ORDER BY a")], [(1, "x;y"), (2, None)])


@asynchronous("copy_from_query, csv and binary")
async def copy_from_query(connection):
    import io

    out = io.BytesIO()
    await connection.copy_from_query("SELECT $1::int AS a, 'x,y' AS b", 5, output=out, format="csv", header=True)
    equal(out.getvalue(), b'a,b\n5,"x,y"\n')
    out = io.BytesIO()
    await connection.copy_from_query("SELECT 5::int4", output=out, format="binary")
    equal(out.getvalue()[:11], b"PGCOPY\n\xff\r\n\0")


@asynchronous("copy_from_table, text")
async def copy_from_table(connection):
    import io

    await table(connection, "ap_copy_from", "a integer, b text")
    await connection.execute("INSERT INTO ap_copy_from VALUES (1, 'x')")
    out = io.BytesIO()
    equal(await connection.copy_from_table("ap_copy_from", output=out, columns=["b"]), "COPY 1")
    equal(out.getvalue(), b"x\n")


@asynchronous("transactions and savepoints")
async def transactions(connection):
    await table(connection, "ap_tx", "a integer PRIMARY KEY")
    async with connection.transaction():
        await connection.execute("INSERT INTO ap_tx VALUES (1)")
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO ap_tx VALUES (2)")
                await connection.execute("INSERT INTO ap_tx VALUES (2)")
        except asyncpg.UniqueViolationError:
            pass
        await connection.execute("INSERT INTO ap_tx VALUES (3)")
    equal([row["a"] for row in await connection.fetch("SELECT a FROM ap_tx ORDER BY a")], [1, 3])


@asynchronous("transaction options")
async def options(connection):
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        equal(await connection.fetchval("SHOW transaction_isolation"), "repeatable read")
        error = await raises(asyncpg.ReadOnlySQLTransactionError, connection.execute("CREATE TABLE ap_x (a int)"))
        equal(str(error), "cannot execute CREATE TABLE in a read-only transaction")
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        equal(await connection.fetchval("SHOW transaction_isolation"), "serializable")


@asynchronous("errors")
async def errors(connection):
    await table(connection, "ap_err", "a integer PRIMARY KEY, b text NOT NULL")
    await connection.execute("INSERT INTO ap_err VALUES (1, 'x')")
    error = await raises(asyncpg.UniqueViolationError, connection.execute("INSERT INTO ap_err VALUES (1, 'x')"))
    equal((error.constraint_name, error.table_name, error.schema_name, error.detail),
          ("ap_err_pkey", "ap_err", "public", "Key (a)=(1) already exists."))  # fmt: skip
    error = await raises(asyncpg.NotNullViolationError, connection.execute("INSERT INTO ap_err VALUES (2)"))
    equal((error.column_name, error.table_name), ("b", "ap_err"))
    await raises(asyncpg.UndefinedTableError, connection.fetch("SELECT * FROM ap_missing"))
    await raises(asyncpg.DivisionByZeroError, connection.fetch("SELECT 1 / $1::int", 0))
    await raises(asyncpg.PostgresSyntaxError, connection.fetch("SELEKT"))


@asynchronous("several statements by execute")
async def script(connection):
    status = await connection.execute(
        "DROP TABLE IF EXISTS ap_script; CREATE TABLE ap_script (a int); INSERT INTO ap_script VALUES (1), (2)"
    )
    equal(status, "INSERT 0 2")
    equal(await connection.fetchval("SELECT count(*) FROM ap_script"), 2)


@asynchronous("prepared statement after a change of the table")
async def changed(connection):
    await table(connection, "ap_changed", "a integer")
    await connection.execute("INSERT INTO ap_changed VALUES (1)")
    equal(tuple(await connection.fetchrow("SELECT * FROM ap_changed")), (1,))
    await connection.execute("ALTER TABLE ap_changed ADD COLUMN b text")
    equal(tuple(await connection.fetchrow("SELECT * FROM ap_changed")), (1, None))


@asynchronous("timeout of a query")
async def timeout(connection):
    await raises(asyncio.TimeoutError, connection.fetch(LONG, timeout=0.5))
    equal(await connection.fetchval("SELECT 1"), 1)


@asynchronous("pg_sleep")
async def sleep(connection):
    equal(await connection.execute("SELECT pg_sleep(0.1)"), "SELECT 1")


@asynchronous("listen and notify")
async def listen(connection):
    other = await connect()
    seen = asyncio.get_running_loop().create_future()
    await connection.add_listener("ap_channel", lambda _c, _pid, channel, payload: seen.set_result((channel, payload)))
    await other.execute("NOTIFY ap_channel, 'hello'")
    equal(await asyncio.wait_for(seen, 5), ("ap_channel", "hello"))
    await connection.remove_listener("ap_channel", print)
    await other.close()


@asynchronous("notices")
async def notices(connection):
    seen = []
    connection.add_log_listener(lambda _c, message: seen.append((message.severity, message.message)))
    await connection.execute("DROP TABLE IF EXISTS ap_missing")
    await asyncio.sleep(0.1)
    equal(seen, [("NOTICE", 'table "ap_missing" does not exist, skipping')])


@asynchronous("reset of a connection")
async def reset(connection):
    # SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
    await connection.execute("SET statement_timeout = 1234")
    await connection.reset()
    equal(await connection.fetchval("SHOW statement_timeout"), "0")


@asynchronous("pool")
async def pool(_connection):
    async with asyncpg.create_pool(
        host=HOST, port=PORT, user=USER, password=PASSWORD, database=DATABASE, min_size=2, max_size=3
    ) as connections:

        async def one(number):
            async with connections.acquire() as connection:
                return await connection.fetchval("SELECT $1::int * 2", number)

        equal(await asyncio.gather(*[one(number) for number in range(20)]), [number * 2 for number in range(20)])


@asynchronous("server settings at start")
async def settings(_connection):
    connection = await connect(server_settings={"application_name": "ap", "search_path": "pg_catalog", "jit": "off"})
    equal(await connection.fetchval("SHOW application_name"), "ap")
    equal(await connection.fetchval("SHOW jit"), "off")
    await connection.close()


@asynchronous("one hundred queries at once over ten connections")
async def many(_connection):
    connections = [await connect() for _ in range(10)]
    found = await asyncio.gather(*[c.fetchval("SELECT sum(g) FROM generate_series(1, 1000) AS g") for c in connections])
    equal(found, [500500] * 10)
    await asyncio.gather(*[c.close() for c in connections])


@asynchronous("any of a list, and unnest of columns")
async def lists(connection):
    equal(await connection.fetchval("SELECT count(*) FROM generate_series(1, 9) AS g WHERE g = ANY($1::int[])", [1, 5, 99]), 2)
    rows = await connection.fetch("SELECT * FROM unnest($1::int[], $2::text[]) AS t (a, b)", [1, 2], ["x", "y"])
    equal([tuple(row) for row in rows], [(1, "x"), (2, "y")])


if __name__ == "__main__":
    # The client looks types up recursively: where the answers go in circles, it should find out soon.
    sys.setrecursionlimit(300)
    main("asyncpg")
