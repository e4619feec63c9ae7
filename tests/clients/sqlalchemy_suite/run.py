"""Runs SQLAlchemy's own suite for dialects against a fresh Nyala (`--postgresql`: PostgreSQL 15), and sums up.

`test.requirements`, which says what PostgreSQL can do, is in SQLAlchemy's source package only: pip fetches that once, in
the pinned version. A server that refuses CREATE EXTENSION is not asked for it. What comes after the lack of foreign keys can be seen
with --without-foreign-keys.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import servers  # noqa: E402

SECONDS_MAX = 3600
REASONS_SHOWN = 40


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="against PostgreSQL, which has to pass all")
    parser.add_argument("--without-foreign-keys", action="store_true", help="tables without them")
    parser.add_argument("--seconds", type=int, default=SECONDS_MAX, help="when to stop; what is done by then is summed up")
    parser.set_defaults(without_extensions=False)
    parser.add_argument("rest", nargs="*", help="for pytest, such as -k NAME after --")
    return parser.parse_args()


def source():
    """Where the source package is unpacked."""
    pinned = (HERE.parent / "python" / "requirements.txt").read_text()
    version = re.search(r"^SQLAlchemy.*==(\S+)", pinned, re.M).group(1)
    folder = servers.ROOT / ".venv" / "sqlalchemy-suite"
    unpacked = folder / f"sqlalchemy-{version}"
    if not unpacked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--no-binary", ":all:", "-d", str(folder), f"sqlalchemy=={version}"], check=True)
        with tarfile.open(folder / f"sqlalchemy-{version}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return unpacked


def main():
    options = arguments()
    sources = source()
    with servers.scratch("nyala-sqlalchemy-") as path, servers.postgres() if options.postgresql else servers.nyala() as server:
        # What the suite expects to be there.
        server.psql("CREATE SCHEMA test_schema")
        try:
            server.psql("CREATE EXTENSION IF NOT EXISTS citext")
        except servers.Broken as refused:
            # The suite would not begin at all.
            print(f"CREATE EXTENSION is left out: {' '.join(str(refused).split())}")
            options.without_extensions = True
        began = time.monotonic()
        ended = pytest(options, server, sources, path)
        print(f"{server.name}: SQLAlchemy's suite took {time.monotonic() - began:.0f} s, {ended}")
        server.check_alive()
        return sum_up(path / "outcomes")


def pytest(options, server, sources, path):
    """Runs pytest to its end, or until the time is over; says which."""
    uri = f"postgresql+psycopg://{servers.USER}:{servers.PASSWORD}@127.0.0.1:{server.port}/{servers.USER}"
    switches = {"SUITE_WITHOUT_EXTENSIONS": options.without_extensions, "SUITE_WITHOUT_FOREIGN_KEYS": options.without_foreign_keys}
    environment = os.environ | {"PYTHONPATH": str(sources), "SUITE_OUTCOMES": str(path / "outcomes")}
    environment |= {name: "1" for name, on in switches.items() if on}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=line", "--dburi", uri, *options.rest]
    with open(path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=log, stderr=log)
        try:
            process.wait(options.seconds)
            ended = f"status {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"stopped after {options.seconds} s"
    if not (path / "outcomes").exists():
        raise servers.Broken(f"the suite does not begin:\n{(path / 'log').read_text()[-3000:]}")
    return ended


def sum_up(path):
    """Counts, and the reasons by how many tests have them. A test counts once: its worst phase is its outcome."""
    worst, reasons = {}, {}
    order = ["passed", "skipped", "failed"]
    for line in path.read_text().splitlines():
        one = json.loads(line)
        if order.index(one["outcome"]) >= order.index(worst.get(one["test"], "passed")):
            worst[one["test"]] = one["outcome"]
        if one["outcome"] == "failed":
            # The first phase that fails is the reason.
            reasons.setdefault(one["test"], general(one["reason"]))
    for reason, count in collections.Counter(reasons.values()).most_common(REASONS_SHOWN):
        print(f"{count:5} {reason}")
    counts = collections.Counter(worst.values())
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


def general(reason):
    """An error without what differs from test to test."""
    first = next((line for line in reason.splitlines() if line.strip()), "")
    first = re.sub(r"^sqlalchemy\.exc\.|^psycopg\.errors\.", "", first.strip())
    return re.sub(r"\d+", "N", re.sub(r'"[^"]*"', '"…"', first))[:160]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.Broken as broken:
        print(f"FAILED {broken}\n0 passed, 1 failed")
        sys.exit(1)
