"""Features of a client, each tried on its own against a running server.

A program registers functions with `@feature("name")` and calls `main("client name")`. Each function runs in a
process of its own, so that one that hangs or crashes costs only itself. It prints one JSON line per feature:
{"client", "feature", "ok", "error", "seconds"}. Where the server is, the environment says: PGHOST, PGPORT, PGUSER,
PGPASSWORD, PGDATABASE. Arguments choose features whose names contain one of them.
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback

SECONDS_MAX = int(os.environ.get("FEATURE_SECONDS", "20"))
ERROR_CHARACTERS_MAX = 1200

HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = int(os.environ.get("PGPORT", "5433"))
USER = os.environ.get("PGUSER", "nyala")
PASSWORD = os.environ.get("PGPASSWORD", "")
DATABASE = os.environ.get("PGDATABASE", "nyala")
URI = f"postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{DATABASE}"

FEATURES = []


def feature(name):
    """Registers a function under the name of what it tries."""

    def register(function):
        FEATURES.append((name, function))
        return function

    return register


def equal(found, expected):
    """Asserts that two values are equal, and shows both otherwise."""
    if found != expected:
        raise AssertionError(f"found {found!r}, expected {expected!r}")


def raises(kind, function, *arguments, **named):
    """The exception of a kind that a call raises; no exception is a failure."""
    try:
        function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"{kind} was not raised")


def fails(sqlstate, function, *arguments, **named):
    """The exception that a call raises, whose SQLSTATE must be the given one."""
    try:
        function(*arguments, **named)
    except Exception as error:
        found = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if found != sqlstate:
            raise AssertionError(f"SQLSTATE {found}, expected {sqlstate}: {error}") from error
        return error
    raise AssertionError(f"no error, expected SQLSTATE {sqlstate}")


def main(client, preload=()):
    """Runs the features and prints their lines; exits with 1 when one failed. Modules to preload are imported once
    here, and not again by each feature's process."""
    for module in preload:
        importlib.import_module(module)
    chosen = [pair for pair in FEATURES if not sys.argv[1:] or any(word in pair[0] for word in sys.argv[1:])]
    failed = 0
    for name, function in chosen:
        began = time.monotonic()
        error = attempt(function)
        failed += error is not None
        seconds = round(time.monotonic() - began, 2)
        line = {"client": client, "feature": name, "ok": error is None, "error": error, "seconds": seconds}
        print(json.dumps(line), flush=True)
    sys.exit(1 if failed else 0)


def attempt(function):
    """Runs a function in a child process; what went wrong, or None."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        error = run(function)
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(error))
        os._exit(0)
    os.close(writing)

    def give_up(_signal, _frame):
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS_MAX)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    if answer:
        return json.loads(answer)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return f"no end after {SECONDS_MAX} s"
    return f"the client crashed with status {status}"


def run(function):
    try:
        function()
        return None
    except BaseException as error:
        place = [frame for frame in traceback.extract_tb(error.__traceback__) if "tests/clients" in frame.filename]
        lines = [f"{frame.name}:{frame.lineno}" for frame in place if frame.name not in ("run", "equal", "fails")]
        text = f"{type(error).__name__}: {error}".strip()
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state:
            text = f"{state} {text}"
        return f"{text[:ERROR_CHARACTERS_MAX]} [{', '.join(lines)}]"
