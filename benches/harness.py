"""Servers on scratch directories, timings, and the report.

Every figure is a ratio against a peer that ran in the same run on the same data, because
absolute times tell about the machine. Peers run one after the other, never side by side.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "bench"


def nyala_binary():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "nyala"


class Server:
    """A server that listens on 127.0.0.1, and how to reach it."""

    def __init__(self, name, port, user, database, process, directory):
        self.name = name
        self.port = port
        self.user = user
        self.database = database
        self.process = process
        self.directory = Path(directory)

    def connect(self, **options):
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=PASSWORD,
            dbname=self.database,
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

    def environment(self):
        return {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": self.database,
        }

    def pgbench(self, script, clients, seconds, rows):
        """Transactions a second of a pgbench script with prepared statements."""
        output = subprocess.run(
            [
                POSTGRES_BIN / "pgbench",
                "-n",
                "-M", "prepared",
                "-f", ROOT / "benches" / script,
                "-D", f"rows={rows}",
                "-c", str(clients),
                "-j", str(min(clients, 2)),
                "-T", str(seconds),
            ],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        failed = int(re.search(r"number of failed transactions: (\d+)", output).group(1))
        if failed:
            raise RuntimeError(f"{self.name}: {failed} transactions failed")
        return float(re.search(r"tps = ([0-9.]+)", output).group(1))

    def peak_memory(self):
        """Bytes of resident memory at the highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024

    def bytes_on_disk(self, below="."):
        files = (self.directory / below).rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def nyala(directory=None):
    """A Nyala server; with a directory, one that is kept."""
    with scratch(directory) as path:
        log = open(path / "nyala.log", "w")
        process = subprocess.Popen(
            [nyala_binary(), "serve", "--data-dir", path / "data", "--listen", "127.0.0.1:0"],
            env={**os.environ, "NYALA_PASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            for line in process.stdout:
                found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
                if found:
                    break
            else:
                raise RuntimeError(f"nyala did not start: {(path / 'nyala.log').read_text()}")
            yield Server("nyala", int(found.group(1)), "nyala", "nyala", process, path / "data")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def postgres():
    """A PostgreSQL 15 cluster with the memory settings its users give it, and fsync on."""
    with scratch(None) as path:
        # PostgreSQL refuses to run as root.
        user = {} if os.geteuid() else {"user": "postgres", "group": "postgres"}
        password = path / "password"
        password.write_text(PASSWORD)
        if user:
            shutil.chown(path, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        data = path / "data"
        subprocess.run(
            [POSTGRES_BIN / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256",
             "--pwfile", password, "-E", "UTF8", "--locale", "C"],
            check=True,
            capture_output=True,
            cwd=path,
            **user,
        )
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": path,
            "shared_buffers": "2GB",
            "work_mem": "256MB",
            "maintenance_work_mem": "512MB",
            "max_wal_size": "8GB",
            "max_connections": 300,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = open(path / "postgres.log", "w")
        process = subprocess.Popen(
            [POSTGRES_BIN / "postgres", "-D", data, *options], cwd=path, stdout=log, stderr=log, **user
        )
        server = Server("postgres", port, "postgres", "postgres", process, data)
        try:
            for _ in range(100):
                try:
                    server.connect().close()
                    break
                except psycopg.OperationalError:
                    time.sleep(0.1)
            else:
                raise RuntimeError(f"postgres did not start: {(path / 'postgres.log').read_text()}")
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@contextmanager
def scratch(directory):
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
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work, runs):
    """The median of several runs after one that is not counted."""
    work()
    return statistics.median(seconds(work) for _ in range(runs))


class Report:
    """Lines of the form: what, Nyala, peer, ratio, bar."""

    def __init__(self):
        self.sections = []

    def section(self, title, peer, unit, note=""):
        self.sections.append((title, peer, unit, note, []))
        print(f"\n## {title} ({unit}; peer: {peer})", flush=True)

    def line(self, what, ours, theirs, bar="", more_is_better=True):
        ratio = ours / theirs if theirs else float("nan")
        better = "more" if more_is_better else "less"
        self.sections[-1][4].append((what, ours, theirs, ratio, bar, better))
        print(f"{what}: {ours:,.4g} against {theirs:,.4g}: {ratio:.2f}x  [{bar}]", flush=True)

    def fact(self, what, value):
        self.sections[-1][4].append((what, value, None, None, "", ""))
        print(f"{what}: {value}", flush=True)

    def markdown(self):
        lines = []
        for title, peer, unit, note, rows in self.sections:
            lines += [f"## {title}", ""]
            if note:
                lines += [note, ""]
            lines += [f"| what | Nyala ({unit}) | {peer} ({unit}) | ratio | bar |", "| --- | --- | --- | --- | --- |"]
            for what, ours, theirs, ratio, bar, better in rows:
                if theirs is None:
                    lines.append(f"| {what} | {ours} | | | |")
                else:
                    lines.append(f"| {what} | {ours:,.4g} | {theirs:,.4g} | {ratio:.2f}x ({better} is better) | {bar} |")
            lines.append("")
        return "\n".join(lines)
