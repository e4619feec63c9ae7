"""Queries of the kinds that BI tools send by themselves, each compared with what a real PostgreSQL answers.

A statement group begins at `-- name: …`. Names and types of the columns must be PostgreSQL's; with `-- rows` in that line the rows too.
PGHOST, PGPORT … name the server under test, ORACLE_HOST … the PostgreSQL."""

import os
import re
import sys
from pathlib import Path

import psycopg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

from features import URI, feature, main  # noqa: E402

ENV = os.environ
ORACLE = "postgresql://{ORACLE_USER}:{ORACLE_PASSWORD}@{ORACLE_HOST}:{ORACLE_PORT}/{ORACLE_DATABASE}".format(**ENV)


def ask(uri, script):
    """What each statement of a script answers: column names with type OIDs, rows as text, or the error."""
    answers = []
    with psycopg.connect(uri, autocommit=True) as connection:
        for statement in re.split(r";\s", script):
            if not statement.strip():
                continue
            try:
                cursor = connection.execute(statement)
            except psycopg.Error as error:
                answers.append(("error", f"{error.sqlstate} {error.diag.message_primary}", statement))
                continue
            columns = [(column.name, column.type_code) for column in cursor.description or []]
            result = cursor.pgresult
            rows = [tuple(result.get_value(row, n) for n in range(result.nfields)) for row in range(result.ntuples)]
            answers.append((columns, rows, statement))
    return answers


def compare(script, with_rows):
    for found, expected in zip(ask(URI, script), ask(ORACLE, script), strict=True):
        if expected[0] == "error":
            raise AssertionError(f"PostgreSQL refuses it: {expected[1]}: {expected[2]}")
        if found[0] == "error":
            raise AssertionError(f"{found[1]} | {' '.join(found[2].split())}")
        if found[0] != expected[0]:
            differing = [f"{f} for {e}" for f, e in zip(found[0], expected[0]) if f != e] or [found[0], expected[0]]
            raise AssertionError(f"columns (name, type OID): {differing} | {' '.join(found[2].split())[:300]}")
        if with_rows and found[1] != expected[1]:
            differing = [f"{f} for {e}" for f, e in zip(found[1], expected[1]) if f != e] or [len(found[1]), len(expected[1])]
            raise AssertionError(f"rows: {differing[:2]} | {' '.join(found[2].split())[:300]}")


for _file in sorted(HERE.glob("*.sql")):
    if _file.stem == "setup":
        continue
    for _part in re.split(r"^-- name: ", _file.read_text(), flags=re.M)[1:]:
        _title, _script = _part.split("\n", 1)
        _rows = _title.endswith("-- rows")
        feature(f"{_file.stem}: {_title.removesuffix('-- rows').strip()}")(
            lambda script=_script + "\n", rows=_rows: compare(script, rows)
        )

if __name__ == "__main__":
    for _uri in (URI, ORACLE):
        with psycopg.connect(_uri, autocommit=True) as _connection:
            for _statement in (HERE / "setup.sql").read_text().split(";\n"):
                if _statement.strip():
                    _connection.execute(_statement)
    main("BI tools")
