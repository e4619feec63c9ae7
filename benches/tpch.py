"""TPC-H, each of the 22 queries over the wire against DuckDB on the files: Nyala on the same files,
then on closed tables and on offloaded open tables of its own."""

import harness
import tpch_data
from report import at_most, geometric_mean

SCALE = 2

# How Nyala holds the tables: their options, and what makes columns of their rows.
HELD = {
    "the same files": None,
    "closed tables": ("WITH (closed_when = 'true')", "housekeeping"),
    "offloaded open tables": ("", "offload"),
}


def tpch(report, size):
    scale = SCALE * size.factor
    with harness.scratch() as folder:
        tpch_data.files(scale, folder)
        duck = tpch_data.duck(folder)
        for held, how in HELD.items():
            with harness.nyala() as server, server.connect() as connection:
                note = (
                    f"Scale {scale:g}, both warm, in turns, median of {size.runs}. Nyala holds {held} and answers over the wire "
                    "(psycopg); DuckDB reads the files in the client's process with 2 threads. Answers are compared row by row."
                )
                report.table(f"TPC-H, {held}", ("query", "Nyala (s)", "DuckDB 2 (s)", "ratio", "bar", ""), note)
                if how:
                    load(report, server, connection, folder, *how)
                else:
                    tpch_data.open_files(connection, folder)
                compare(report, connection, duck, scale, size.runs)


def load(report, server, connection, folder, options, call):
    rows, took = tpch_data.load_nyala(connection, folder, options)
    report.fact("INSERT … SELECT from the files, rows/s", rows / took)
    took = harness.seconds(lambda: [connection.execute(f"CALL nyala.{call}('{table}')") for table in tpch_data.TABLES])
    report.fact(f"{call}, rows/s", rows / took)
    report.fact(f"work in the background after {call}, s", server.settle())


def compare(report, connection, duck, scale, runs):
    """Runs the queries on both sides. A query that fails is a line with its error."""
    ratios = []
    for number in tpch_data.QUERIES:
        query = tpch_data.query(number, scale)
        ours = lambda: connection.execute(query).fetchall()
        theirs = lambda: duck.execute(query).fetchall()
        expected = theirs()
        try:
            wrong = tpch_data.difference(ours(), expected)
            ours_s, theirs_s = harness.paired_seconds(ours, theirs, runs)
        except Exception as error:  # noqa: BLE001, the report tells it
            report.row(f"q{number}", "failed", "", "", "", "")
            report.problem(f"q{number}: {error}")
            continue
        if wrong:
            report.problem(f"q{number}: {wrong}")
        ratios.append(ours_s / theirs_s)
        report.line(f"q{number}", ours_s, theirs_s)
    report.ratio(f"geometric mean of {len(ratios)} queries", geometric_mean(ratios), at_most(1.3))
