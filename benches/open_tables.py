"""Open tables against PostgreSQL: point lookups, durable upserts, bulk load."""

import io
import random
import statistics

import harness

ROWS = 500_000
LOAD_ROWS = 5_000_000
SECONDS = 5
RUNS = 5

CREATE = "CREATE TABLE accounts (id bigint PRIMARY KEY, owner bigint, balance bigint, note text)"
NOTE = "an account of the bench with a note of about sixty bytes in it"


def fill(server, rows):
    """Loads rows by COPY, as a user would."""
    server.execute(CREATE)
    copy(server, accounts(rows))
    if server.name == "postgres":
        server.execute("VACUUM ANALYZE accounts", "CHECKPOINT")


def accounts(rows):
    """CSV of the table, in blocks, in random order of keys within a block."""
    generator = random.Random(7)
    for start in range(1, rows + 1, 100_000):
        ids = list(range(start, min(start + 100_000, rows + 1)))
        generator.shuffle(ids)
        text = io.StringIO()
        for id in ids:
            text.write(f"{id},{id % 1000},{generator.randrange(100_000)},{NOTE}\n")
        yield text.getvalue()


def copy(server, blocks):
    with server.connect() as connection, connection.cursor() as cursor:
        with cursor.copy("COPY accounts FROM STDIN (FORMAT csv)") as copying:
            for block in blocks:
                copying.write(block)


def rates(script, clients, rows=ROWS):
    """Median rates of Nyala and PostgreSQL."""
    found = []
    for start in (harness.nyala, harness.postgres):
        with start() as server:
            fill(server, rows)
            measured = {}
            for count in clients:
                server.pgbench(script, count, 2, rows)
                runs = [server.pgbench(script, count, SECONDS, rows) for _ in range(RUNS)]
                measured[count] = statistics.median(runs)
            found.append(measured)
    return found


def lookups(report):
    report.section("Prepared point lookups, open table", "PostgreSQL 15", "tps", f"{ROWS:,} rows, `pgbench -M prepared -f lookup.sql`, {SECONDS} s.")
    bars = {1: "", 8: "at least 1.2x", 32: "at least 1.6x"}
    ours, theirs = rates("lookup.sql", bars)
    for clients, bar in bars.items():
        report.line(f"{clients} clients", ours[clients], theirs[clients], bar)


def indexed_lookups(report):
    report.section(
        "Prepared lookups by an indexed column",
        "PostgreSQL 15",
        "tps",
        f"{ROWS:,} journeys, 5 of each customer; all of one customer's, `pgbench -M prepared -f indexed_lookup.sql`, 8 clients, {SECONDS} s.",
    )
    found = []
    for start in (harness.nyala, harness.postgres):
        with start() as server:
            server.execute(
                "CREATE TABLE journeys (id bigint PRIMARY KEY, customer bigint, state text, note text)",
                f"INSERT INTO journeys SELECT x, x % {ROWS // 5}, 'open', '{NOTE}' FROM generate_series(1, {ROWS}) AS g(x)",
                "CREATE INDEX ON journeys (customer)",
            )
            if server.name == "postgres":
                server.execute("VACUUM ANALYZE journeys", "CHECKPOINT")
            server.pgbench("indexed_lookup.sql", 8, 2, ROWS // 5)
            runs = [server.pgbench("indexed_lookup.sql", 8, SECONDS, ROWS // 5) for _ in range(RUNS)]
            found.append(statistics.median(runs))
    report.line("8 clients", *found, "at least 1.0x")


def upserts(report):
    report.section("Durable single-row upserts", "PostgreSQL 15", "tps", f"{ROWS:,} rows, fsync on both sides, `pgbench -M prepared -f upsert.sql`, {SECONDS} s.")
    bars = {1: "at least 1.0x", 8: "", 32: "at least 2x"}
    ours, theirs = rates("upsert.sql", bars)
    for clients, bar in bars.items():
        report.line(f"{clients} clients", ours[clients], theirs[clients], bar)


def load(report):
    report.section("COPY FROM with a primary key", "PostgreSQL 15", "rows/s", f"{LOAD_ROWS:,} rows of CSV, sent by psycopg.")
    blocks = list(accounts(LOAD_ROWS))
    found = []
    for start in (harness.nyala, harness.postgres):
        times = []
        for _ in range(3):
            with start() as server:
                server.execute(CREATE)
                times.append(harness.seconds(lambda: copy(server, blocks)))
                assert server.value("SELECT count(*) FROM accounts") == LOAD_ROWS
                disk = server.bytes_on_disk()
        found.append((LOAD_ROWS / statistics.median(times), disk))
    report.line("one connection", found[0][0], found[1][0], "at least 1.5x")
    report.line("bytes on disk", found[0][1], found[1][1], more_is_better=False)


# Analysts' queries over the accounts: grouped, filtered, and one column's range.
QUERIES = {
    "group by": "SELECT owner, count(*), sum(balance) FROM {} GROUP BY owner ORDER BY 3 DESC, 1 LIMIT 5",
    "filter": "SELECT count(*), sum(balance), min(note) FROM {} WHERE balance > 50000",
    "distinct": "SELECT count(DISTINCT owner), avg(balance) FROM {}",
}


def analytics(report):
    report.section(
        "Analytics over open rows, after an offload",
        "peer named in the line",
        "s",
        f"{LOAD_ROWS:,} rows; then 1% of the keys updated. The same rows as one Parquet table are the files of the snapshot, "
        "opened as an external table of the same server.",
    )
    blocks = list(accounts(LOAD_ROWS))
    changes = "UPDATE accounts SET balance = balance + 1 WHERE id % 100 = 7"
    ours = {}
    with harness.nyala() as server:
        server.execute(CREATE)
        copy(server, blocks)
        with server.connect() as connection:
            run = lambda query: connection.execute(query).fetchall()
            for name, query in QUERIES.items():
                ours[name, "row store"] = harness.median_seconds(lambda: run(query.format("accounts")), 3)
            spent = harness.seconds(lambda: run("CALL nyala.offload('accounts')"))
            report.fact("offload, rows/s", f"{LOAD_ROWS / spent:,.0f}")
            report.fact("bytes a row in the snapshot", f"{server.bytes_on_disk('snapshots') / LOAD_ROWS:.1f}")
            folder = next((server.directory / "snapshots").iterdir())
            connection.execute(f"CREATE EXTERNAL TABLE files STORED AS PARQUET LOCATION '{folder}/'")
            for state, statement in (("nothing changed", None), ("1% changed", changes)):
                if statement:
                    connection.execute(statement)
                for name, query in QUERIES.items():
                    whole = harness.median_seconds(lambda: run(query.format("accounts")), RUNS)
                    files = harness.median_seconds(lambda: run(query.format("files")), RUNS)
                    ours[name, state] = whole
                    report.line(f"{name}, {state}, against the files alone", whole, files, "at most 1.2x", more_is_better=False)
    with harness.postgres() as server:
        server.execute(CREATE)
        copy(server, blocks)
        server.execute("VACUUM ANALYZE accounts", changes)
        with server.connect() as connection:
            for name, query in QUERIES.items():
                theirs = harness.median_seconds(lambda: connection.execute(query.format("accounts")).fetchall(), 3)
                report.line(f"{name}, row store, against PostgreSQL", ours[name, "row store"], theirs, "", more_is_better=False)
                report.line(f"{name}, 1% changed, against PostgreSQL", ours[name, "1% changed"], theirs, "at most 0.1x", more_is_better=False)
