"""The page `docs/compatibility.md`: client by feature, PostgreSQL beside Nyala, made from a run."""

import json
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILE = HERE.parents[1] / "docs" / "compatibility.md"
HEAD = """\
# What clients can do

Made by `make compatibility` from a run of the programs in `tests/clients`; `make test` runs them again and fails when this
page is not what they find. Each feature is tried with the real client, against Nyala and against PostgreSQL 15.
"""


def page(nyala, postgres, gaps):
    """The page's text. `nyala` and `postgres` are outcomes by client and feature."""
    clients = list(dict.fromkeys(client for client, _ in nyala))
    lines = [HEAD, "| client | features | PostgreSQL 15 | Nyala |", "| --- | ---: | ---: | ---: |"]
    for client in clients:
        features = of(nyala, client)
        lines.append(
            f"| [{client}](#{anchor(client)}) | {len(features)} | {passed(of(postgres, client))} | {passed(features)} |"
        )
    lines.append(f"| all | {len(nyala)} | {passed(postgres.values())} | {passed(nyala.values())} |")
    for client in clients:
        lines += ["", f"## {client}", ""]
        lines += [f"Versions: {versions(client)}.", ""] if versions(client) else []
        lines += ["| feature | PostgreSQL 15 | Nyala | why not |", "| --- | --- | --- | --- |"]
        for (one, feature), outcome in nyala.items():
            if one == client:
                known = postgres.get((one, feature))
                there = "no" if known is None or known.error else "yes"
                here, reason = ("no", gaps.get((one, feature), "")) if outcome.error else ("yes", "")
                lines.append(f"| {cell(feature)} | {there} | {here} | {cell(reason)} |")
    return "\n".join(lines) + "\n"


def of(outcomes, client):
    return [outcome for (one, _), outcome in outcomes.items() if one == client]


def passed(outcomes):
    return sum(not outcome.error for outcome in outcomes)


def anchor(client):
    """The name of a heading in a link."""
    return re.sub(r"[^\w\- ]", "", client.lower()).replace(" ", "-")


def cell(text):
    return re.sub(r"([|\\<>*_`])", r"\\\1", " ".join(text.split()))


def versions(client):
    """The pinned packages that a client's name speaks of."""
    pinned = {}
    for line in (HERE / "python" / "requirements.txt").read_text().splitlines():
        if found := re.match(r"([\w-]+)(?:\[.*\])?==(\S+)", line):
            pinned[found.group(1)] = found.group(2)
    pinned |= {f"npm {name}": version for name, version in json.loads((HERE / "node/package.json").read_text())["dependencies"].items()}
    words = PACKAGES.get(client, [client])
    return ", ".join(f"{word} {pinned[word]}" for word in words if word in pinned)


# Clients whose packages have other names.
PACKAGES = {
    "psycopg2": ["psycopg2-binary"],
    "SQLAlchemy, pandas": ["SQLAlchemy", "pandas", "psycopg", "psycopg2-binary", "asyncpg"],
    "ADBC, connectorx, polars": ["adbc-driver-postgresql", "connectorx", "polars"],
    "psqlODBC": ["pyodbc"],
    "npm pg": ["npm pg", "npm pg-cursor", "npm pg-query-stream", "npm pg-copy-streams"],
    "DuckDB, postgres_fdw, notebook": ["duckdb", "duckdb-ext-postgres", "ipykernel", "nbclient"],
}
