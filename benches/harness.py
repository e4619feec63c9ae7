"""Servers on scratch directories: how they are started, reached, measured from outside and ended.

Owns processes and their directories; knows no table and no figure. Peers run one after the other
or take turns, never side by side.
"""

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
BENCHES = ROOT / "benches"
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "bench"

# Memory settings that users of PostgreSQL give a machine of this size; fsync stays on.
POSTGRES_SETTINGS = {
    "shared_buffers": "2GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "max_connections": 300,
}


# After this long no further repetition of one piece of work begins, and background work is not waited for any more.
MEASURING_SECONDS_MAX = 60
SETTLING_SECONDS_MAX = 120

COPY_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Size:
    """How large a run is. The factor scales rows; a quick run also repeats less."""

    factor: float = 1.0
    runs: int = 5
    seconds: int = 5
    big: bool = False

    def rows(self, ordinary, big=None):
        rows = big if self.big and big else ordinary
        return max(int(rows * self.factor), 1000)


def nyala_binary():
    """The server that `make bench` builds, or the one that NYALA_BINARY names."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return Path(os.environ.get("NYALA_BINARY", target / "release" / "nyala"))


class Server:
    """A server that listens on 127.0.0.1, and how to reach it."""

    def __init__(self, name, port, user, process, directory, launched):
        self.name = name
        self.port = port
        self.user = user
        self.process = process
        self.directory = Path(directory)
        self.launched = launched

    def connect(self, **options):
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=PASSWORD,
            dbname=self.user,
            autocommit=True,
            **options,
        )

    def execute(self, *statements):
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def value(self, query):
        with self.connect() as connection:
            return connection.execute(query).fetchone()[0]

    def copy(self, table, csv):
        """Loads a CSV file by one COPY FROM STDIN; the client only passes blocks on."""
        with self.connect() as connection, connection.cursor() as cursor, open(csv, "rb") as file:
            with cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copying:
                while block := file.read(COPY_BLOCK_BYTES):
                    copying.write(block)

    def environment(self):
        return {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": self.user,
        }

    def psql(self, statement):
        """Runs a statement and lets psql print its rows to nowhere."""
        subprocess.run(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def pgbench_command(self, script, clients, seconds, rows):
        return [
            POSTGRES_BIN / "pgbench", "-n", "-M", "prepared", "-f", BENCHES / script, "-D", f"rows={rows}",
            "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds),
        ]  # fmt: skip

    def pgbench_start(self, script, clients, seconds, rows):
        """Load that nobody measures; whoever starts it ends it."""
        return subprocess.Popen(
            self.pgbench_command(script, clients, seconds, rows),
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def pgbench(self, script, clients, seconds, rows):
        """Transactions a second of a pgbench script with prepared statements."""
        output = self._pgbench(self.pgbench_command(script, clients, seconds, rows))
        return float(re.search(r"tps = ([0-9.]+)", output).group(1))

    def pgbench_latencies(self, script, clients, seconds, rows, rate):
        """Milliseconds of each transaction at a given rate, counted from when it was due, sorted."""
        with tempfile.TemporaryDirectory(prefix="nyala-bench-") as folder:
            log = ["--rate", str(rate), "-l", "--log-prefix", f"{folder}/log"]
            self._pgbench(self.pgbench_command(script, clients, seconds, rows) + log)
            lines = [line for path in Path(folder).iterdir() for line in path.read_text().splitlines()]
        return sorted(int(line.split()[2]) / 1000 for line in lines)

    def _pgbench(self, command):
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        if done.returncode or not failed or int(failed.group(1)):
            raise RuntimeError(f"{self.name}: pgbench failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        return done.stdout

    def peak_memory(self):
        """Bytes of resident memory at the highest since the last reset."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024

    def reset_peak_memory(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def bytes_on_disk(self, below="."):
        """What the files take; journals that are reserved and not yet written take nothing."""
        files = (self.directory / below).rglob("*")
        return sum(file.stat().st_blocks * 512 for file in files if file.is_file())

    def settle(self):
        """Waits until work in the background, such as compaction, is done: a second without use of
        a processor. Returns the seconds waited."""
        began = time.monotonic()
        while time.monotonic() - began < SETTLING_SECONDS_MAX:
            before = self.cpu_seconds()
            time.sleep(1)
            if self.cpu_seconds() - before < 0.05:
                break
        return time.monotonic() - began

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def crash(self):
        """Ends the server without a word: SIGKILL; PostgreSQL's own form of it takes its children along."""
        self.process.send_signal(signal.SIGKILL if self.name == "nyala" else signal.SIGQUIT)
        self.process.wait(60)


@contextmanager
def nyala(directory=None):
    """A Nyala server; with a directory, one whose data is kept."""
    with scratch(directory) as path:
        launched = time.perf_counter()
        with open(path / "nyala.log", "a") as log:
            process = subprocess.Popen(
                [nyala_binary(), "serve", "--data-dir", path / "data", "--listen", "127.0.0.1:0"],
                env={**os.environ, "NYALA_PASSWORD": PASSWORD},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        with ended(process, signal.SIGTERM):
            for line in process.stdout:
                found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
                if found:
                    break
            else:
                raise RuntimeError(f"nyala did not start: {(path / 'nyala.log').read_text()}")
            yield Server("nyala", int(found.group(1)), "nyala", process, path / "data", launched)


@contextmanager
def postgres(directory=None):
    """A PostgreSQL 15 cluster; with a directory, one whose data is kept."""
    with scratch(directory) as path:
        # PostgreSQL refuses to run as root.
        user = {} if os.geteuid() else {"user": "postgres", "group": "postgres"}
        data = path / "data"
        if not data.exists():
            initdb(path, data, user)
        port = free_port()
        settings = {
            **POSTGRES_SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": path,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        launched = time.perf_counter()
        with open(path / "postgres.log", "a") as log:
            command = [POSTGRES_BIN / "postgres", "-D", data, *options]
            process = subprocess.Popen(command, cwd=path, stdout=log, stderr=log, **user)
        with ended(process, signal.SIGINT):
            server = Server("postgres", port, "postgres", process, data, launched)
            wait_until_up(server, path / "postgres.log")
            yield server


def initdb(path, data, user):
    password = path / "password"
    password.write_text(PASSWORD)
    if user:
        shutil.chown(path, "postgres", "postgres")
        shutil.chown(password, "postgres", "postgres")
    command = [
        POSTGRES_BIN / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256",
        "--pwfile", password, "-E", "UTF8", "--locale", "C",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, cwd=path, **user)


def wait_until_up(server, log):
    while server.process.poll() is None:
        try:
            server.connect().close()
            return
        except psycopg.OperationalError:
            time.sleep(0.01)
    raise RuntimeError(f"{server.name} did not start: {log.read_text()}")


@contextmanager
def ended(process, polite):
    """Ends a process at the end of the block, if it still runs."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(polite)
        process.wait(120)


@contextmanager
def scratch(directory=None):
    """A folder: the one that is named, or a new one (below TMPDIR) that goes away with the block."""
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        yield Path(directory)
        return
    path = Path(tempfile.mkdtemp(prefix="nyala-bench-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work, runs):
    """The median of several runs after one that is not counted."""
    return paired_seconds(work, None, runs)[0]


def paired_seconds(ours, theirs, runs):
    """Medians of two pieces of work that take turns, so that both meet the same noise; the first
    round is not counted. What is very slow is repeated less."""
    works = [work for work in (ours, theirs) if work]
    began = time.monotonic()
    for work in works:
        work()
    rounds = []
    while len(rounds) < runs and (not rounds or time.monotonic() - began < MEASURING_SECONDS_MAX):
        rounds.append([seconds(work) for work in works])
    return [statistics.median(side) for side in zip(*rounds)]
