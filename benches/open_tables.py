"""Tables of rows that change, against PostgreSQL: point lookups, durable upserts, bulk load, and
analytics after an offload."""

import statistics

import harness
from datasets import ACCOUNTS, write_csv, write_parquet
from report import at_least, at_most, geometric_mean

ROWS = 500_000
LOAD_ROWS = 5_000_000


def open_table(server, csv):
    """Loads the accounts by COPY, as a user would."""
    server.execute(ACCOUNTS.create("accounts"))
    server.copy("accounts", csv)
    if server.name == "postgres":
        server.execute("VACUUM ANALYZE accounts", "CHECKPOINT")


def closed_table(server, csv):
    """The accounts as rows of Parquet files."""
    server.execute(ACCOUNTS.create("accounts", "WITH (closed_when = 'true')"))
    server.copy("accounts", csv)
    server.execute("CALL nyala.housekeeping('accounts')")
    server.settle()


def rates(start, fill, script, clients, size):
    """Transactions a second of a pgbench script by number of clients, on a server of its own."""
    rows = size.rows(ROWS)
    with harness.scratch() as folder, start() as server:
        fill(server, write_csv(ACCOUNTS, rows, folder / "accounts.csv"))
        found = {}
        for count in clients:
            server.pgbench(script, count, 2, rows)
            runs = [server.pgbench(script, count, size.seconds, rows) for _ in range(size.runs)]
            found[count] = statistics.median(runs)
        return found


def rates_section(report, title, script, size):
    note = f"{size.rows(ROWS):,} rows, fsync on both sides, `pgbench -M prepared -f {script} -T {size.seconds}`, median of {size.runs}."
    report.section(title, "PostgreSQL 15", "tps", note)


def lookups(report, size):
    rates_section(report, "Prepared point lookups", "lookup.sql", size)
    bars = {8: at_least(1.2), 32: at_least(1.6)}
    ours = rates(harness.nyala, open_table, "lookup.sql", bars, size)
    closed = rates(harness.nyala, closed_table, "lookup.sql", bars, size)
    theirs = rates(harness.postgres, open_table, "lookup.sql", bars, size)
    for clients, bar in bars.items():
        report.line(f"open table, {clients} clients", ours[clients], theirs[clients], bar)
    for clients in bars:
        report.line(f"closed rows of a hybrid table, {clients} clients", closed[clients], theirs[clients])


def indexed_table(server, csv):
    """Journeys made of the accounts, five of each customer, with an index on the customer."""
    server.execute(
        "CREATE TABLE journeys (id bigint PRIMARY KEY, customer bigint, state text, note text)",
    )
    open_table(server, csv)
    server.execute(
        "INSERT INTO journeys SELECT id, id / 5, 'open', note FROM accounts",
        "CREATE INDEX ON journeys (customer)",
    )
    if server.name == "postgres":
        server.execute("VACUUM ANALYZE journeys", "CHECKPOINT")


def indexed_lookups(report, size):
    rates_section(report, "Prepared lookups by an indexed column, five rows each", "indexed_lookup.sql", size)
    ours = rates(harness.nyala, indexed_table, "indexed_lookup.sql", [8], size)
    theirs = rates(harness.postgres, indexed_table, "indexed_lookup.sql", [8], size)
    report.line("8 clients", ours[8], theirs[8])


def upserts(report, size):
    rates_section(report, "Durable single-row upserts", "upsert.sql", size)
    bars = {1: at_least(1.0), 8: None, 32: at_least(2.0)}
    ours = rates(harness.nyala, open_table, "upsert.sql", bars, size)
    theirs = rates(harness.postgres, open_table, "upsert.sql", bars, size)
    for clients, bar in bars.items():
        report.line(f"{clients} clients", ours[clients], theirs[clients], bar)


def load(report, size):
    rows = size.rows(LOAD_ROWS)
    note = f"{rows:,} rows of CSV over one connection, median of {size.runs}."
    report.section("COPY FROM with a primary key", "PostgreSQL 15", "rows/s", note)
    with harness.scratch() as folder:
        csv = write_csv(ACCOUNTS, rows, folder / "accounts.csv")
        ours, our_bytes, memory = load_times(harness.nyala, csv, rows, size.runs)
        theirs, their_bytes, _ = load_times(harness.postgres, csv, rows, size.runs)
        report.line("rows/s", rows / ours, rows / theirs, at_least(1.5))
        report.line("bytes on disk a row", our_bytes / rows, their_bytes / rows)
        report.fact("peak memory of the server, MB", memory / 2**20)


def load_times(start, csv, rows, runs):
    """Median seconds of a COPY into a new server, then its bytes on disk and its peak memory."""
    times = []
    for _ in range(runs):
        with start() as server:
            empty = server.bytes_on_disk()
            server.execute(ACCOUNTS.create("accounts"))
            times.append(harness.seconds(lambda: server.copy("accounts", csv)))
            assert server.value("SELECT count(*) FROM accounts") == rows
            disk, memory = server.bytes_on_disk() - empty, server.peak_memory()
    return statistics.median(times), disk, memory


# Analysts' queries over the accounts: grouped, filtered, and one column's range.
QUERIES = {
    "group by": "SELECT owner, count(*), sum(balance) FROM {} GROUP BY owner ORDER BY 3 DESC, 1 LIMIT 5",
    "filter": "SELECT count(*), sum(balance), min(note) FROM {} WHERE balance > 50000",
    "distinct": "SELECT count(DISTINCT owner), sum(balance) FROM {}",
}


def analytics(report, size):
    rows = size.rows(LOAD_ROWS)
    note = (
        f"{rows:,} rows, median of {size.runs}. The one file is Parquet with the same rows, also after the change, sorted and "
        "encoded as Nyala does it, opened by the same server with `CREATE EXTERNAL TABLE`."
    )
    report.section("Analytics over open rows, after an offload", "peer named in the line", "s", note)
    with harness.scratch() as folder:
        csv = write_csv(ACCOUNTS, rows, folder / "accounts.csv")
        ours, answers = analytics_of_nyala(report, csv, rows, folder, size)
        with harness.postgres() as server:
            open_table(server, csv)
            server.execute(ACCOUNTS.update.format(table="accounts"), "VACUUM ANALYZE accounts")
            with server.connect() as connection:
                for name, query in QUERIES.items():
                    run = lambda: connection.execute(query.format("accounts")).fetchall()
                    if run() != answers[name]:
                        report.problem(f"{name}: Nyala answers {answers[name]}, PostgreSQL {run()}")
                    theirs = harness.median_seconds(run, size.runs)
                    report.line(f"{name}, 1% changed, against PostgreSQL", ours[name], theirs, at_most(0.1))


def analytics_of_nyala(report, csv, rows, folder, size):
    """Seconds and answers of the queries once 1% of the rows have changed."""
    with harness.nyala() as server:
        open_table(server, csv)
        with server.connect() as connection:
            connection.execute("CALL nyala.offload('accounts')")
            server.settle()
            for changed in (False, True):
                if changed:
                    connection.execute(ACCOUNTS.update.format(table="accounts"))
                path = write_parquet(ACCOUNTS, rows, folder / f"accounts-{changed}.parquet", changed)
                state = "1% changed" if changed else "nothing changed"
                bar = at_most(1.2) if changed else None
                found = against_one_file(report, connection, "accounts", path, QUERIES, state, size.runs, bar)
            return found


def against_one_file(report, connection, table, path, queries, state, runs, bar):
    """Times queries over a table and over one Parquet file of the same rows, in turns. Returns the
    table's seconds and answers."""
    connection.execute("DROP TABLE IF EXISTS one_file")
    connection.execute(f"CREATE EXTERNAL TABLE one_file STORED AS PARQUET LOCATION '{path}'")
    times, answers, ratios = {}, {}, []
    for name, query in queries.items():
        ours = lambda: connection.execute(query.format(table)).fetchall()
        file = lambda: connection.execute(query.format("one_file")).fetchall()
        answers[name] = ours()
        if answers[name] != file():
            report.problem(f"{name}, {state}: the table answers {answers[name][:3]}, the file {file()[:3]}")
        times[name], alone = harness.paired_seconds(ours, file, runs)
        ratios.append(times[name] / alone)
        report.line(f"{name}, {state}, against one file", times[name], alone, bar)
    report.ratio(f"geometric mean, {state}, against one file", geometric_mean(ratios), bar)
    return times, answers
