"""Results on their way to the client: how fast all rows of a table leave the server."""

import harness
from datasets import MIXED, write_csv

ROWS = 2_000_000
ALL = "SELECT * FROM mixed"


def results(report, size):
    rows = size.rows(ROWS)
    note = f"{rows:,} rows of 8 columns of mixed types, an offloaded open table, median of {size.runs}; the client throws the rows away."
    report.section("Results to the client", "PostgreSQL 15", "rows/s", note)
    with harness.scratch() as folder:
        csv = write_csv(MIXED, rows, folder / "mixed.csv")
        ours = result_rates(report, harness.nyala, csv, rows, size)
        theirs = result_rates(report, harness.postgres, csv, rows, size)
    for what in theirs:
        if what in ours:
            report.line(what, ours[what], theirs[what])


def result_rates(report, start, csv, rows, size):
    """Rows a second by way of fetching; a way that fails is reported."""
    with start() as server:
        server.execute(MIXED.create("mixed"))
        server.copy("mixed", csv)
        server.execute("VACUUM ANALYZE mixed" if server.name == "postgres" else "CALL nyala.offload('mixed')")
        found = {}
        for what, fetch in WAYS.items():
            try:
                found[what] = rows / harness.median_seconds(lambda: fetch(server, rows), size.runs)
            except Exception as error:  # noqa: BLE001, the report tells it
                report.problem(f"{server.name}, {what}: {error}")
        return found


def text_through_psql(server, rows):
    server.psql(ALL)


def csv_through_psql(server, rows):
    server.psql("COPY mixed TO STDOUT (FORMAT csv)")


def binary_stream(server, rows):
    """Binary rows in libpq's chunks, not decoded."""
    with server.connect() as connection:
        done = connection.pgconn
        done.send_query_params(ALL.encode(), None, result_format=1)
        done.set_chunked_rows_mode(1000)
        fetched = 0
        while result := done.get_result():
            fetched += result.ntuples
            if result.error_message:
                raise RuntimeError(result.error_message.decode())
    check(fetched, rows)


def binary_stream_decoded(server, rows):
    with server.connect() as connection, connection.cursor(binary=True) as cursor:
        check(sum(1 for _ in cursor.stream(ALL, size=1000)), rows)


def binary_server_side_cursor(server, rows):
    with server.connect() as connection, connection.transaction():
        with connection.cursor("rows", binary=True) as cursor:
            cursor.itersize = 10_000
            cursor.execute(ALL)
            check(sum(1 for _ in cursor), rows)


def check(fetched, rows):
    if fetched != rows:
        raise RuntimeError(f"{fetched} rows of {rows}")


WAYS = {
    "SELECT *, text, psql": text_through_psql,
    "COPY TO STDOUT, csv, psql": csv_through_psql,
    "SELECT *, binary, libpq in chunks": binary_stream,
    "SELECT *, binary, psycopg stream to Python values": binary_stream_decoded,
    "SELECT *, binary, psycopg server-side cursor to Python values": binary_server_side_cursor,
}
