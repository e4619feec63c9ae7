"""Offload and housekeeping: how fast rows become Parquet, how small, and in how much memory."""

import statistics

import harness
from datasets import RECORDS, write_csv
from report import at_least

ROWS = 5_000_000
BIG_ROWS = 50_000_000

# Options of the table, where the files go, rows a second wanted.
CALLS = {
    "offload": ("", "snapshots", at_least(1_500_000, "")),
    "housekeeping": ("WITH (closed_when = 'true')", "closed", at_least(1_000_000, "")),
}


def offload(report, size):
    rows = size.rows(ROWS, BIG_ROWS)
    runs = 1 if size.big else size.runs
    note = (
        f"{rows:,} rows loaded by COPY into a new server, median of {runs}. Housekeeping moves all of them. Memory is the highest "
        "resident size of the server during the call, from `/proc/<pid>/status`."
    )
    report.table("Offload and housekeeping", ("what", "Nyala", "", "", "bar", ""), note)
    with harness.scratch() as folder:
        csv = write_csv(RECORDS, rows, folder / "records.csv")
        for call, (options, below, bar) in CALLS.items():
            found = [move(call, options, below, csv) for _ in range(runs)]
            took, disk, load_peak, peak = (statistics.median(values) for values in zip(*found))
            report.fact(f"{call}, rows/s", rows / took, bar)
            report.fact(f"{call}, bytes a row in Parquet", disk / rows)
            report.fact(f"{call}, bytes against the CSV's", f"{disk / csv.stat().st_size:.3f}x")
            report.fact(f"{call}, peak memory, MB", peak / 2**20)
            report.fact("COPY before it, peak memory, MB", load_peak / 2**20)


def move(call, options, below, csv):
    """Seconds of the call, bytes of the files it wrote, peak memory of the load and of the call."""
    with harness.nyala() as server:
        server.execute(RECORDS.create("moving", options))
        server.copy("moving", csv)
        load_peak = server.peak_memory()
        server.reset_peak_memory()
        took = harness.seconds(lambda: server.execute(f"CALL nyala.{call}('moving')"))
        return took, server.bytes_on_disk(below), load_peak, server.peak_memory()
