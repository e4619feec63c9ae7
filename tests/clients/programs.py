"""The client programs, and how one is run against a server: lines of JSON in, one outcome per feature out.

Every program runs in a process group of its own and in a database of its own, and is killed with all its children when
its time is up. Knows no expectations.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import servers

HERE = Path(__file__).resolve().parent

# A feature that takes longer has hung; the programs themselves end it.
FEATURE_SECONDS_MAX = 40
# All features of one program. When even this does not hold, the features without an outcome have failed.
PROGRAM_SECONDS_MAX = 300
# One that waits for a server and one that computes, on two cores.
PROGRAMS_AT_ONCE = 3

JARS = ["postgresql", "scram-client", "scram-common", "stringprep", "saslprep"]


@dataclass(frozen=True)
class Program:
    """One program: its name, its command, and the database it works in."""

    name: str
    command: tuple
    # psql's \\l and the catalog queries of BI tools look at the database by this name.
    database: str = ""

    def database_name(self):
        return self.database or f"clients_{self.name}"


def programs(classes):
    """All programs, the longest first. `classes` is the directory with the compiled Java classes."""
    jars = ":".join([*(f"/usr/share/java/{name}.jar" for name in JARS), str(classes)])
    return [
        python("asyncpg"),
        python("psycopg"),
        python("sqlalchemy"),
        python("psql", "psql", database=servers.USER),
        python("arrow"),
        Program("pgjdbc", ("java", "-Duser.timezone=UTC", "-cp", jars, "TestPgjdbc")),
        python("bi", "bi", database=servers.USER),
        python("others"),
        python("psycopg2"),
        python("odbc"),
        Program("node", ("node", str(HERE / "node/test_pg.js"))),
    ]


def python(name, folder="python", database=""):
    return Program(name, (sys.executable, str(HERE / folder / f"test_{name}.py")), database)


def compile_java(into):
    """Compiles the programs for pgjdbc."""
    sources = [str(path) for path in sorted((HERE / "jdbc").glob("*.java"))]
    done = subprocess.run(
        ["javac", "-cp", f"/usr/share/java/{JARS[0]}.jar", "-d", str(into), *sources], capture_output=True, text=True
    )
    if done.returncode:
        raise servers.Broken(f"javac failed: {done.stderr}")


@dataclass(frozen=True)
class Outcome:
    """How a feature went: the error is empty when it passed."""

    error: str
    seconds: float


def run_all(chosen, server, oracle):
    """Outcomes by client and feature, and complaints about programs that did not end as they should."""
    for database in sorted({program.database_name() for program in chosen}):
        server.create_database(database)
    outcomes, complaints = {}, []
    with ThreadPoolExecutor(PROGRAMS_AT_ONCE) as pool:
        for lines, complaint in pool.map(lambda program: run(program, server, oracle), chosen):
            for line in lines:
                key = (line["client"], line["feature"])
                if key in outcomes:
                    complaints.append(f"two features are named {key}")
                error = "" if line["ok"] else line["error"] or "failed without a word"
                outcomes[key] = Outcome(error, line["seconds"])
            complaints.extend(complaint)
    server.check_alive()
    return outcomes, complaints


def run(program, server, oracle):
    """The lines that a program printed about a server, and what is wrong with its end."""
    remote = {name.replace("PG", "ORACLE_"): value for name, value in oracle.environment(servers.USER).items()}
    foreign = {name.replace("PG", "FDW_"): value for name, value in oracle.environment(servers.USER).items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "NYALA_"))}
    where = f"{program.name} on {server.name}"
    if not shutil.which(program.command[0]):
        return [], [f"{where}: {program.command[0]} is not installed: `make client-packages` does it"]
    process = subprocess.Popen(
        program.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=HERE,
        env=environment | server.environment(program.database_name()) | remote | foreign
        | {"FEATURE_SECONDS": str(FEATURE_SECONDS_MAX), "PYTHONPYCACHEPREFIX": str(servers.ROOT / ".venv" / "pycache")},
    )  # fmt: skip
    late = False
    try:
        output, errors = process.communicate(timeout=PROGRAM_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        late = True
        end_group(process)
        output, errors = process.communicate()
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if late:
        return lines, [f"{where}: no end after {PROGRAM_SECONDS_MAX} s"]
    failed = any(not line["ok"] for line in lines)
    if not lines or process.returncode != int(failed):
        return lines, [f"{where}: {len(lines)} features, then status {process.returncode}: {errors[-2000:]}"]
    return lines, []


def end_group(process):
    """Kills a program and what it started; it leads a process group of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
