"""Runs the benchmarks and writes RESULTS.md: `make bench`, or `run.py NAME …` for some of them.

RESULTS.md is only written by an ordinary run of all benches, or to where `--output` says.
"""

import argparse
import platform
import subprocess
import time
from datetime import date
from pathlib import Path

import duckdb

import harness
import hybrid_tables
import isolation
import moves
import open_tables
import recovery
import results
import tpch
from report import Report

BENCHES = {
    "lookups": open_tables.lookups,
    "indexed_lookups": open_tables.indexed_lookups,
    "upserts": open_tables.upserts,
    "load": open_tables.load,
    "analytics": open_tables.analytics,
    "union": hybrid_tables.union,
    "tpch": tpch.tpch,
    "offload": moves.offload,
    "isolation": isolation.isolation,
    "recovery": recovery.recovery,
    "results": results.results,
}


def machine():
    cpu = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    memory = int(open("/proc/meminfo").readline().split()[1]) / 2**20
    return f"{cores} cores of {cpu}, {memory:.0f} GB, Linux {platform.release()}"


def versions():
    postgres = subprocess.run([harness.POSTGRES_BIN / "postgres", "--version"], capture_output=True, text=True)
    nyala = subprocess.run([harness.nyala_binary(), "--version"], capture_output=True, text=True)
    return f"{nyala.stdout.strip()}; {postgres.stdout.strip()}; DuckDB {duckdb.__version__}"


def arguments():
    parser = argparse.ArgumentParser(description="Measures Nyala against its peers.")
    parser.add_argument("names", nargs="*", help=f"which benches: {', '.join(BENCHES)}; all if none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="rows are multiplied by it")
    parser.add_argument("--runs", type=int, default=5, help="repetitions; figures are their medians")
    parser.add_argument("--seconds", type=int, default=5, help="how long a run of pgbench takes")
    parser.add_argument("--quick", action="store_true", help="a trial: --scale 0.02 --runs 1 --seconds 1")
    parser.add_argument("--big", action="store_true", help="50 million rows for offload and recovery")
    parser.add_argument("--output", type=Path, help="where to write the report")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    return chosen


def main(chosen):
    size = harness.Size(chosen.scale, chosen.runs, chosen.seconds, chosen.big)
    if chosen.quick:
        size = harness.Size(0.02, 1, 1, chosen.big)
    report = Report()
    start = time.monotonic()
    for name in chosen.names or BENCHES:
        began = time.monotonic()
        BENCHES[name](report, size)
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    whole = not chosen.names and size == harness.Size()
    output = chosen.output or (harness.BENCHES / "RESULTS.md" if whole else None)
    if output:
        output.write_text(page(report, time.monotonic() - start))


def page(report, took):
    return "\n".join(
        [
            "# Measurements",
            "",
            "Made by `make bench`; `make bench ONLY=NAME` prints one section again. Each line is a ratio against a peer of the same run; peers run one after the other or take turns.",
            "",
            f"- {date.today().isoformat()}, {machine()}, {took / 60:.0f} minutes",
            f"- {versions()}",
            f"- PostgreSQL's settings: {', '.join(f'{name} = {value}' for name, value in harness.POSTGRES_SETTINGS.items())}",
            "",
            report.markdown(),
        ]
    )


if __name__ == "__main__":
    main(arguments())
