"""Fresh servers on scratch directories: the Nyala under test, and a PostgreSQL 15 to prove the programs with.

Each listens on a free port of 127.0.0.1 and is gone with its directory when the context ends. Knows no client.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POSTGRES_BIN = Path(os.environ.get("NYALA_PG_BIN", "/usr/lib/postgresql/15/bin"))
USER = "nyala"
PASSWORD = "secret"

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# A port is chosen before PostgreSQL binds it, so another process may take it in between.
START_ATTEMPTS = 5


class Broken(Exception):
    """A server that does not start, or does not live to the end."""


@dataclass
class Server:
    """How a running server is reached."""

    name: str
    port: int
    process: subprocess.Popen
    log: Path

    def environment(self, database):
        """The variables by which programs find it."""
        named = {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": USER, "PASSWORD": PASSWORD}
        return {f"PG{name}": value for name, value in named.items()} | {"PGDATABASE": database}

    def create_database(self, database):
        if database != USER:
            self.psql(f"CREATE DATABASE {database}")

    def psql(self, statement, database=USER):
        done = subprocess.run(
            ["psql", "-X", "-q", "-o", os.devnull, "-v", "ON_ERROR_STOP=1", "-c", statement],
            env={**os.environ, **self.environment(database)}, capture_output=True, text=True, timeout=START_SECONDS_MAX,
        )  # fmt: skip
        if done.returncode:
            raise Broken(f"{self.name}: {statement}: {done.stderr}")

    def check_alive(self):
        if self.process.poll() is not None:
            raise Broken(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def tail(self, characters=6000):
        return self.log.read_text(errors="replace")[-characters:]


def nyala_binary():
    """The server that `make build` makes, or the one that NYALA_BIN names."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = Path(os.environ.get("NYALA_BIN", target / "release" / "nyala"))
    if not binary.is_file():
        raise Broken(f"{binary} does not exist: `make build` makes it, or name another in NYALA_BIN")
    return binary


@contextmanager
def nyala(*arguments):
    """A Nyala with an empty data directory; `arguments` are further ones of `serve`."""
    with scratch("nyala-clients-") as path:
        log = path / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("NYALA_", "PG"))}
        with open(log, "w") as file:
            process = subprocess.Popen(
                [nyala_binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", path / "data", *arguments],
                env={**environment, "NYALA_PASSWORD": PASSWORD}, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        with ended(process, signal.SIGTERM):
            yield Server("Nyala", listening_port(process, log), process, log)


def listening_port(process, log):
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS_MAX and process.poll() is None:
        if found := re.search(r"^listening on .*:(\d+)$", log.read_text(errors="replace"), re.M):
            return int(found.group(1))
        time.sleep(0.05)
    raise Broken(f"Nyala does not listen:\n{log.read_text(errors='replace')}")


@contextmanager
def postgres():
    """A PostgreSQL 15 cluster of its own. PostgreSQL refuses to run as root: there it runs as its package's user."""
    if not (POSTGRES_BIN / "initdb").is_file():
        raise Broken(f"PostgreSQL 15 is not installed in {POSTGRES_BIN}: `make packages` does it")
    unprivileged = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    with scratch("nyala-clients-pg-") as path:
        if unprivileged:
            shutil.chown(path, "postgres")
        password = path / "password"
        password.write_text(PASSWORD)
        initdb = [POSTGRES_BIN / "initdb", "-D", path / "data", f"--username={USER}", f"--pwfile={password}"]
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        done = subprocess.run([*unprivileged, *initdb, *options], cwd=path, capture_output=True, text=True)
        if done.returncode:
            raise Broken(f"initdb failed: {done.stderr}")
        server = launch_cluster(unprivileged, path)
        # SIGINT is PostgreSQL's fast shutdown: it ends its own children.
        with ended(server.process, signal.SIGINT):
            server.psql(f"CREATE DATABASE {USER}", "postgres")
            yield server


def launch_cluster(unprivileged, path):
    """The server of the cluster in `path`, when it answers."""
    log = path / "log"
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": path, "fsync": "off", "full_page_writes": "off",
        "shared_buffers": "64MB", "TimeZone": "UTC", "lc_messages": "C",
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    for _ in range(START_ATTEMPTS):
        port = free_port()
        with open(log, "w") as file:
            process = subprocess.Popen(
                [*unprivileged, POSTGRES_BIN / "postgres", "-D", path / "data", "-p", str(port), *options],
                cwd=path, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        server = Server("PostgreSQL", port, process, log)
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS_MAX and process.poll() is None:
            try:
                server.psql("SELECT 1", "postgres")
                return server
            except Broken:
                time.sleep(0.1)
        process.kill()
        process.wait()
    raise Broken(f"PostgreSQL does not start:\n{log.read_text(errors='replace')}")


@contextmanager
def ended(process, polite):
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(polite)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def scratch(prefix):
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        # PostgreSQL's own user has to come in.
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
