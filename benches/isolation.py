"""Latency of point lookups while analytics run beside them, against the latency without."""

import itertools
import statistics
import threading
from contextlib import contextmanager

import psycopg

import harness
import tpch_data
from datasets import ACCOUNTS, write_csv
from report import at_most

SCALE = 1
ROWS = 500_000
CLIENTS = 4
# Well below what either server can do, so that what is measured is latency.
RATE = 1000
# PostgreSQL takes minutes for some of the others.
QUERIES = (1, 3, 5, 6, 7, 9, 10, 12, 13, 14, 18, 19)


def isolation(report, size):
    scale = SCALE * size.factor
    note = (
        f"`pgbench -M prepared -f lookup.sql -c {CLIENTS} --rate {RATE} -l`, {2 * size.seconds} s, median of {size.runs}, latency counted "
        f"from when a transaction was due. TPC-H at scale {scale:g}, queries {', '.join(map(str, QUERIES))} in a loop over "
        "one other connection; Nyala on the files, PostgreSQL on its tables."
    )
    report.table("Point lookups while TPC-H runs", ("what", "beside TPC-H (ms)", "idle (ms)", "ratio", "bar", ""), note)
    with harness.scratch() as folder:
        tpch_data.files(scale, folder)
        csv = write_csv(ACCOUNTS, size.rows(ROWS), folder / "accounts.csv")
        for start in (harness.nyala, harness.postgres):
            with start() as server:
                measure(report, server, csv, folder, scale, size)


def measure(report, server, csv, folder, scale, size):
    server.execute(ACCOUNTS.create("accounts"))
    server.copy("accounts", csv)
    if server.name == "nyala":
        with server.connect() as connection:
            tpch_data.open_files(connection, folder)
    else:
        tpch_data.load_postgres(server, folder)
    latencies(server, size)
    idle = percentiles(server, size)
    with analytics(server, scale) as done:
        loaded = percentiles(server, size)
    if not done:
        report.problem(f"{server.name}: no query ended beside the lookups")
    for name in idle:
        bar = at_most(3) if (server.name, name) == ("nyala", "p99") else None
        report.line(f"{server.name}, {name}", loaded[name], idle[name], bar)
    report.fact(f"{server.name}, TPC-H queries answered beside them", len(done))


def latencies(server, size):
    return server.pgbench_latencies("lookup.sql", CLIENTS, 2 * size.seconds, size.rows(ROWS), RATE)


def percentiles(server, size):
    """Medians over the runs."""
    runs = [latencies(server, size) for _ in range(size.runs)]
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: statistics.median(run[int(len(run) * share)] for run in runs) for name, share in shares.items()}


@contextmanager
def analytics(server, scale):
    """Runs the queries one after the other until the block ends; yields the list of those that ended."""
    done = []
    stop = threading.Event()
    connection = server.connect()

    def loop():
        for number in itertools.cycle(QUERIES):
            try:
                connection.execute(tpch_data.query(number, scale)).fetchall()
            except psycopg.Error:
                if stop.is_set():
                    return
                raise
            done.append(number)
            if stop.is_set():
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        connection.cancel_safe()
        thread.join()
        connection.close()
