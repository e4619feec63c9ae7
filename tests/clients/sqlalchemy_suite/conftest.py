"""Makes SQLAlchemy's testing plugin the one that sets pytest up.

The suite begins with CREATE EXTENSION of citext and hstore. SUITE_WITHOUT_EXTENSIONS=1 leaves them out, to see the
rest on a server without extensions. SUITE_WITHOUT_FOREIGN_KEYS=1 leaves those out of all tables, to see what
comes after them on a server that refuses them. SUITE_OUTCOMES names a file for a line of JSON per test, written as it ends."""

import json
import os

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import AddConstraint, DropConstraint, SetConstraintComment

pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F401, F403

if os.environ.get("SUITE_WITHOUT_EXTENSIONS"):

    @sa.event.listens_for(sa.engine.Engine, "before_cursor_execute", retval=True)
    def without_extensions(_connection, _cursor, statement, parameters, _context, _many):
        return ("SELECT 1" if statement.startswith("CREATE EXTENSION") else statement), parameters


if os.environ.get("SUITE_WITHOUT_FOREIGN_KEYS"):

    @compiles(sa.ForeignKeyConstraint)
    def without_foreign_key(_constraint, _compiler, **_options):
        return None

    def around(kind):
        @compiles(kind)
        def without_foreign_key(change, compiler, **options):
            if isinstance(change.element, sa.ForeignKeyConstraint):
                return "SELECT 1"
            return getattr(compiler, f"visit_{kind.__visit_name__}")(change, **options)

    for kind in (AddConstraint, DropConstraint, SetConstraintComment):
        around(kind)


of_the_plugin = pytest_runtest_logreport  # noqa: F405


def pytest_runtest_logreport(report):
    of_the_plugin(report)
    if report.when != "call" and report.passed or "SUITE_OUTCOMES" not in os.environ:
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    line = {"test": report.nodeid, "outcome": report.outcome, "reason": crash.message if crash else str(report.longrepr)}
    with open(os.environ["SUITE_OUTCOMES"], "a") as file:
        file.write(json.dumps(line) + "\n")
