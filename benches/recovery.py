"""Opening a database after a crash under writes: seconds from the start of the process to the
first answers."""

import statistics
import time

import harness
from datasets import ACCOUNTS, write_csv

ROWS = 5_000_000
BIG_ROWS = 50_000_000


def recovery(report, size):
    rows = size.rows(ROWS, BIG_ROWS)
    note = (
        f"{rows:,} rows; ended without warning while 8 clients upsert (SIGKILL; for PostgreSQL SIGQUIT, its immediate shutdown), "
        f"{size.runs} times over. Seconds from the start of the process."
    )
    report.section("First answer after a crash", "PostgreSQL 15", "s", note)
    with harness.scratch() as folder:
        csv = write_csv(ACCOUNTS, rows, folder / "accounts.csv")
        ours = recoveries(harness.nyala, csv, rows, folder / "nyala", size)
        theirs = recoveries(harness.postgres, csv, rows, folder / "postgres", size)
    for what in ours:
        report.line(what, ours[what], theirs[what])


def recoveries(start, csv, rows, directory, size):
    """Median seconds to each first answer."""
    directory.mkdir(mode=0o755)
    with start(directory) as server:
        server.execute(ACCOUNTS.create("accounts"))
        server.copy("accounts", csv)
        crash_under_writes(server, rows, size.seconds)
    found = []
    for _ in range(size.runs):
        with start(directory) as server:
            found.append(first_answers(server, rows))
            crash_under_writes(server, rows, size.seconds)
    return {what: statistics.median(run[what] for run in found) for what in found[0]}


def crash_under_writes(server, rows, seconds):
    writers = server.pgbench_start("upsert.sql", 8, 3600, rows)
    time.sleep(seconds)
    server.crash()
    writers.wait(60)


def first_answers(server, rows):
    """Seconds from the launch to a point lookup, then to a count, over one connection."""
    with server.connect() as connection:
        id = connection.execute("SELECT id FROM accounts WHERE id = %s", [rows // 2]).fetchone()[0]
        lookup = time.perf_counter() - server.launched
        count = connection.execute("SELECT count(*) FROM accounts").fetchone()[0]
        counted = time.perf_counter() - server.launched
    if (id, count) != (rows // 2, rows):
        raise RuntimeError(f"{server.name} lost rows: {count} of {rows}")
    return {"point lookup": lookup, "count(*)": counted}
