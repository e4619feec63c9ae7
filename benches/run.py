"""Runs the benchmarks and writes RESULTS.md: `make bench`, or `run.py NAME …` for some of them."""

import platform
import subprocess
import sys
from datetime import date

import harness
import open_tables

BENCHES = {
    "lookups": open_tables.lookups,
    "indexed_lookups": open_tables.indexed_lookups,
    "upserts": open_tables.upserts,
    "load": open_tables.load,
    "analytics": open_tables.analytics,
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
    return f"{nyala.stdout.strip()}; {postgres.stdout.strip()}"


def main(names):
    report = harness.Report()
    for name in names or BENCHES:
        BENCHES[name](report)
    text = "\n".join(
        [
            "# Measurements",
            "",
            "Made by `make bench`. Each line is a ratio against a peer of the same run; peers run one after the other.",
            "",
            f"- {date.today().isoformat()}, {machine()}",
            f"- {versions()}",
            "",
            report.markdown(),
        ]
    )
    if not names:
        (harness.ROOT / "benches" / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
